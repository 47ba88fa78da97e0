package wire

import (
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"davy/internal/sandbox"
	"davy/internal/sandbox/field"
)

var requests = []Request{
	{Seq: 1, Op: OpKill, ID: "a"},
	{Seq: 5, Op: OpDropTmp, ID: "a-name"},
	{Seq: 2, Op: OpAttach, ID: "b-1", Mounts: []Mount{{"/var/lib/davy/code/x", "/var/task"}, {"/y", "/opt"}}},
	{Seq: 3, Op: OpLimit, ID: "c", Limits: sandbox.Limits{MemoryBytes: 1, CPUMilli: 2, TmpBytes: 3, PIDs: 4, OpenFiles: -5, CPUWeight: 6}},
	{
		Seq: 1<<32 - 1, Op: OpCreate, ID: "d", Limits: sandbox.Limits{MemoryBytes: 1 << 40}, Mounts: []Mount{{"/s", "/t"}},
		Create: Create{Root: "/r", Args: []string{"/bin/sh", ""}, Env: []string{"A=b"}, Dir: "/", Tmp: "t", Listen: []string{"tcp:127.0.0.1:1"}, Stdout: true, Files: 3},
	},
}

func TestRequest_RoundTrip(t *testing.T) {
	for _, r := range requests {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRequest(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v; want %+v", got, err, r)
		}
		for n := range b { // every cut is noticed
			if _, err := DecodeRequest(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := DecodeRequest(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

func TestFromLauncher_RoundTrip(t *testing.T) {
	u := sandbox.Usage{MemoryPeakBytes: 3, MemoryBytes: 2, CPUMicros: 1}
	for _, m := range []interface{ Encode() ([]byte, error) }{
		Reply{Seq: 7, Code: CodeBusy, Text: "no more", Usage: u},
		Exited{ID: "x", Exit: sandbox.Exit{Code: 3}, Usage: u},
		Exited{ID: "x", Exit: sandbox.Exit{Signal: syscall.SIGKILL, OOMKilled: true, TmpKept: true}},
		Hello{Missing: []string{"a", "b"}},
	} {
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeFromLauncher(b)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		switch {
		case got.Reply != nil:
			v = *got.Reply
		case got.Exited != nil:
			v = *got.Exited
		case got.Hello != nil:
			v = *got.Hello
		}
		if !reflect.DeepEqual(v, m) {
			t.Errorf("got %+v, want %+v", v, m)
		}
	}
}

func TestPlan_RoundTrip(t *testing.T) {
	p := Plan{
		Create: requests[3].Create, Mounts: []PlanMount{{"/usr", false}, {"/etc/x", true}}, Links: []Mount{{"usr/bin", "/bin"}},
		Texts: []Mount{{"content", "/etc/hosts"}}, TmpBytes: 1, PIDs: 2, OpenFiles: 3, UID: 993, GID: 990, SetGroups: true,
		CgroupNS: true, Hold: true, Filter: []byte{1, 2, 3}, Ablate: AblateFilter | AblatePIDNS,
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePlan(b)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v, %v; want %+v", got, err, p)
	}
}

func TestEncode_KeepsTheBounds(t *testing.T) {
	long := strings.Repeat("x", field.MaxString)
	for name, r := range map[string]Request{
		"string":  {Op: OpKill, ID: long + "x"},
		"list":    {Op: OpCreate, Create: Create{Env: make([]string, field.MaxList+1)}},
		"message": {Op: OpCreate, Create: Create{Args: []string{long, long, long}}},
	} {
		if _, err := r.Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s too long: %v", name, err)
		}
	}
}

// What decodes encodes to the same bytes: there is one form of each message.
func FuzzDecodeRequest(f *testing.F) {
	for _, r := range requests {
		b, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{kindRequest, 0, 0, 0, 0, byte(OpCreate), 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x encodes to %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeFromLauncher(f *testing.F) {
	for _, m := range []interface{ Encode() ([]byte, error) }{
		Reply{Seq: 7, Text: "t"}, Exited{ID: "x"}, Hello{Missing: []string{"a"}},
	} {
		b, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeFromLauncher(b)
		n := 0
		for _, set := range []bool{m.Reply != nil, m.Exited != nil, m.Hello != nil} {
			if set {
				n++
			}
		}
		if err == nil && n != 1 {
			t.Errorf("%x: %d messages", b, n)
		}
	})
}

func FuzzDecodePlan(f *testing.F) {
	b, err := Plan{Create: requests[3].Create, Mounts: []PlanMount{{"/usr", false}}, Filter: []byte{1}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePlan(b)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || string(again) != string(b) {
			t.Errorf("%x encodes to %x, %v", b, again, err)
		}
	})
}
