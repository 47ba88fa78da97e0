package execenv

import (
	"testing"

	"github.com/miekg/dns"
)

func TestResolver_Answers(t *testing.T) {
	r := newResolver([]string{"amazonaws.com", "Lambda.Example."})
	for _, tc := range []struct {
		name  string
		kind  uint16
		code  int
		found bool
	}{
		{"s3.eu-west-1.amazonaws.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"Bucket.S3.AmazonAWS.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"amazonaws.com.", dns.TypeA, dns.RcodeSuccess, true},
		{"x.lambda.example.", dns.TypeA, dns.RcodeSuccess, true},
		{"s3.amazonaws.com.", dns.TypeAAAA, dns.RcodeSuccess, false}, // exists, without IPv6
		{"s3.amazonaws.com.", dns.TypeTXT, dns.RcodeSuccess, false},
		{"evilamazonaws.com.", dns.TypeA, dns.RcodeNameError, false},
		{"amazonaws.com.evil.example.", dns.TypeA, dns.RcodeNameError, false},
		{"example.com.", dns.TypeA, dns.RcodeNameError, false},
		{".", dns.TypeNS, dns.RcodeNameError, false},
	} {
		m := r.answer(new(dns.Msg).SetQuestion(tc.name, tc.kind))
		if m.Rcode != tc.code || (len(m.Answer) == 1) != tc.found {
			t.Errorf("%s %s: %v", tc.name, dns.TypeToString[tc.kind], m)
			continue
		}
		if tc.found && m.Answer[0].(*dns.A).A.String() != Address {
			t.Errorf("%s leads to %v", tc.name, m.Answer[0])
		}
	}
	for name, q := range map[string]*dns.Msg{
		"no question":   {},
		"two questions": {Question: make([]dns.Question, 2)},
		"another class": {Question: []dns.Question{{Name: "s3.amazonaws.com.", Qtype: dns.TypeA, Qclass: dns.ClassCHAOS}}},
		"an update":     {MsgHdr: dns.MsgHdr{Opcode: dns.OpcodeUpdate}, Question: make([]dns.Question, 1)},
	} {
		if m := r.answer(q); m.Rcode != dns.RcodeRefused {
			t.Errorf("%s: %s, want REFUSED", name, dns.RcodeToString[m.Rcode])
		}
	}
}

func TestResolver_IsServedInEachEnvironment(t *testing.T) {
	b := newBench(t, nil)
	b.invoke(b.js(waiting), `{}`)
	p := b.envs.fleets["arn:aws:lambda:eu-west-1:000000000000:function:f $LATEST"].idle[0].current.Load()
	for network, addr := range map[string]string{
		"udp": p.addrs[listenUDPNames].String(),
		"tcp": p.addrs[listenTCPNames].String(),
	} {
		m, _, err := (&dns.Client{Net: network}).Exchange(new(dns.Msg).SetQuestion("sqs.us-east-1.amazonaws.com.", dns.TypeA), addr)
		if err != nil || len(m.Answer) != 1 {
			t.Errorf("%s: %v, %v", network, m, err)
		}
	}
}

func FuzzResolver(f *testing.F) {
	q, err := new(dns.Msg).SetQuestion("s3.amazonaws.com.", dns.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	r := newResolver([]string{"amazonaws.com"})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		if _, err := r.answer(m).Pack(); err != nil {
			t.Fatalf("the answer to %v does not pack: %v", m, err)
		}
	})
}
