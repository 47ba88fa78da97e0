package execenv

import (
	"testing"
)

// A child of a function that never stops writing must not keep the function's
// answer back.
func TestOutlet_DrainEnds(t *testing.T) {
	o, in, err := newOutlet()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	o.to(func(b []byte) {
		got += len(b)
		// It writes whenever it is read.
		if _, err := in.Write(b); err != nil {
			t.Error(err)
		}
	})
	if _, err := in.WriteString("one line\n"); err != nil {
		t.Fatal(err)
	}
	o.drain()
	if got != len("one line\n") {
		t.Errorf("%d bytes were passed on", got)
	}
	o.to(func(b []byte) { got -= len(b) })
	in.Close()
	o.pump()
	if got != 0 {
		t.Errorf("the pump left %d bytes", got)
	}
	o.file.Close()
}
