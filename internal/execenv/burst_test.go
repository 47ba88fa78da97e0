package execenv

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bursts
		take := func(function string, most int) (n int) {
			for n < most && b.take(function, time.Now()) {
				n++
			}
			return n
		}
		want := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d new environments, want %d", what, got, want)
			}
		}
		want("at once", take("f", 5000), 1000)
		want("another function at the same time", take("g", 5000), 1000)
		time.Sleep(time.Second)
		want("a second later", take("f", 5000), 100)
		time.Sleep(9999 * time.Millisecond)
		want("almost ten seconds later", take("f", 5000), 999)
		time.Sleep(time.Hour)
		want("what was not used does not add up", take("f", 5000), 1000)
		b.refund("f", time.Now())
		want("given back", take("f", 5000), 1)
		for range 2000 {
			b.refund("f", time.Now())
		}
		want("given back too often", take("f", 5000), 1000)
		time.Sleep(time.Hour)
		for i := range 2 * maxBuckets {
			b.take(string(rune(i)), time.Now())
			time.Sleep(time.Second)
		}
		if n := len(b.buckets); n > maxBuckets {
			t.Errorf("%d buckets are kept, most of them full", n)
		}
	})
}
