package policy

import (
	"fmt"
	"testing"
)

// twentyPolicies is a caller as administrators make them: twenty policies of
// several statements, of which only the last allows the request.
func twentyPolicies(b *testing.B) *Grants {
	g := &Grants{}
	for i := range 20 {
		src := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:Query","dynamodb:BatchGet*"],"Resource":"arn:aws:dynamodb:us-east-1:111122223333:table/t%[1]d*"},
 {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::bucket-%[1]d/*","arn:aws:s3:::other-%[1]d/*/x-*"]},
 {"Effect":"Allow","Action":"s3:List*","Resource":"arn:aws:s3:::bucket-%[1]d","Condition":{"StringLike":{"s3:prefix":["home/*","${aws:username}/*"]}}},
 {"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16"]}}}]}`, i)
		doc, err := Parse(src, Identity)
		if err != nil {
			b.Fatal(err)
		}
		g.Identity = append(g.Identity, Attached{Name: fmt.Sprint("p", i), Document: doc})
	}
	return g
}

// BenchmarkDecide_20Policies must stay below 50 µs.
func BenchmarkDecide_20Policies(b *testing.B) {
	r := &Request{
		Principal: principalNamed("alice"), Action: "s3:PutObject", Resource: "arn:aws:s3:::bucket-19/some/long/key/of/an/object.jpg", Owner: home,
		Context: Values{"aws:securetransport": {"true"}, "aws:sourceip": {"10.1.2.3"}, "aws:username": {"alice"}},
		Grants:  twentyPolicies(b),
	}
	b.ReportAllocs()
	for b.Loop() {
		if d := Decide(r); !d.Allowed {
			b.Fatal(d.Explain())
		}
	}
}

func BenchmarkParse(b *testing.B) {
	src := statement(allowS3 + `,"Condition":{"StringEquals":{"aws:username":["a","b"]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(src, Identity); err != nil {
			b.Fatal(err)
		}
	}
}
