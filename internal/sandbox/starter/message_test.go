package starter

import (
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func TestCommand_RoundTrip(t *testing.T) {
	for _, c := range []Command{
		{Begin: &Begin{RuntimeFiles: 2, Paths: []string{"/opt/extensions/a", "/opt/extensions/b"}, Env: []string{"A=b"}}},
		{Run: &Run{Args: []string{"/bin/x", "y"}, Env: []string{"A="}, Dir: "/var/task"}},
		{Signal: &Signal{Process: MaxExtensions, Signal: syscall.SIGTERM}},
		{Dial: &Dial{Port: 65535}},
	} {
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommand(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
		for n := range b {
			if _, err := DecodeCommand(b[:n]); err == nil {
				t.Errorf("%d of %d bytes of %+v were read", n, len(b), c)
			}
		}
		if _, err := DecodeCommand(append(b, 0)); err == nil {
			t.Errorf("%+v was read with a byte too many", c)
		}
	}
}

func TestReport_RoundTrip(t *testing.T) {
	for _, r := range []Report{
		{Started: &Started{Process: 3, Error: "permission denied"}},
		{Started: &Started{}},
		{Exited: &Exited{Process: 1, Code: 255}},
		{Exited: &Exited{Signal: syscall.SIGKILL}},
	} {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeReport(b); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v came back as %+v, %v", r, got, err)
		}
	}
}

func TestDecode_RefusesWhatIsOutOfBounds(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":            {},
		"an unknown kind":    {99},
		"a process too many": {kindExited, MaxProcesses, 0, 0},
		"an odd signal":      {kindExited, 0, 0, 65},
		"a long text":        append([]byte{kindStarted, 0, 1, 2, 0, 0}, strings.Repeat("x", 513)...),
		"a length that lies": {kindStarted, 0, 255, 255, 255, 255},
	} {
		if r, err := DecodeReport(b); err == nil {
			t.Errorf("%s was read as %+v", name, r)
		}
	}
	for name, b := range map[string][]byte{
		"another signal":   {kindSignal, 0, byte(syscall.SIGSTOP)},
		"no program":       {kindRun, 0, 0, 0, 0, 0, 0, 0, 0},
		"a list that lies": {kindBegin, 0, 255, 3},
	} {
		if c, err := DecodeCommand(b); err == nil {
			t.Errorf("%s was read as %+v", name, c)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Report{{Started: &Started{Process: 1, Error: "x"}}, {Exited: &Exited{Process: 2, Code: 1}}} {
		b, _ := r.Encode()
		f.Add(b)
	}
	for _, c := range []Command{{Begin: &Begin{Paths: []string{"/a"}, Env: []string{"A=b"}}}, {Run: &Run{Args: []string{"/a"}, Dir: "/"}}, {Dial: &Dial{Port: 1}}} {
		b, _ := c.Encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReport(b); err == nil {
			again, err := r.Encode()
			if err != nil || string(again) != string(b) {
				t.Errorf("%q is %+v is %q, %v", b, r, again, err)
			}
		}
		if c, err := DecodeCommand(b); err == nil {
			again, err := c.Encode()
			if err != nil || string(again) != string(b) {
				t.Errorf("%q is %+v is %q, %v", b, c, again, err)
			}
		}
	})
}
