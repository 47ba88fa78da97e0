package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPressCount_MakesEachCallOnce(t *testing.T) {
	var mu sync.Mutex
	calls := map[int]int{}
	p, err := pressCount(t.Context(), 4, 100, func(_ context.Context, i int) error {
		mu.Lock()
		defer mu.Unlock()
		calls[i]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.took) != 100 || len(calls) != 100 {
		t.Fatalf("%d times taken, %d different calls", len(p.took), len(calls))
	}
	for i, n := range calls {
		if n != 1 || i < 0 || i >= 100 {
			t.Errorf("call %d was made %d times", i, n)
		}
	}
}

func TestPress_ClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := press(t.Context(), 3, time.Second, func(context.Context, int) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if p.rate() != 30 || len(p.took) != 30 || p.took[0] != 100*time.Millisecond {
			t.Fatalf("rate %v, %d calls of %v", p.rate(), len(p.took), p.took[0])
		}
	})
}

func TestPress_TheFirstErrorEndsAll(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := press(t.Context(), 3, time.Hour, func(_ context.Context, i int) error {
			time.Sleep(time.Second)
			if i == 5 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) || time.Since(began) > time.Minute {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

func TestFloor_KeepsWhatItIsGiven(t *testing.T) {
	server := httptest.NewServer(floorHandler(t.TempDir()))
	defer server.Close()
	c := newClient(server.URL, "AKIA", "secret")
	defer c.close()
	if _, err := c.s3(t.Context(), "PUT", "/name", nil, kibibyte); err != nil {
		t.Fatal(err)
	}
	a, err := c.s3(t.Context(), "GET", "/name", nil, payload{})
	if err != nil {
		t.Fatal(err)
	}
	if string(a.body) != string(kibibyte.bytes) {
		t.Fatalf("read %d bytes back", len(a.body))
	}
	if len(kibibyte.bytes) != 1024 || !strings.HasPrefix(string(kibibyte.bytes), "{") {
		t.Errorf("the small payload has %d bytes", len(kibibyte.bytes))
	}
	if _, err := c.s3(t.Context(), "GET", "/absent", nil, payload{}); err == nil {
		t.Error("a file that is not there was read")
	}
}
