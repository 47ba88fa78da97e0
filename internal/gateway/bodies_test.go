package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"davy/internal/sigv4"
)

// Whatever they ask for, together they have no more than the room, and one that
// has nothing yet gets something.
func TestBodies_AreShared(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		all := newBodies(nil)
		all.room = 1 << 20
		senders := make([]sender, rapid.IntRange(1, 8).Draw(r, "senders"))
		for i := range senders {
			senders[i].all = all
		}
		for range rapid.IntRange(1, 200).Draw(r, "asks") {
			s := &senders[rapid.IntRange(0, len(senders)-1).Draw(r, "who")]
			if n := rapid.Int64Range(1, 1<<18).Draw(r, "bytes"); s.may(n) {
				s.count(n)
			}
			if all.here.Load() > all.room {
				r.Fatalf("%d bytes in %d", all.here.Load(), all.room)
			}
			if newcomer := (&sender{all: all}); !newcomer.may(all.room >> (len(senders) + 2)) {
				r.Fatalf("a newcomer gets none of the %d that are left", all.room-all.here.Load())
			}
		}
	})
}

func TestGateway_BodiesInMemoryAreBounded(t *testing.T) {
	const room = 64 << 10
	s := newStandWith(t, func(g *Gateway) { g.bodies.room = room })
	invoke := func(size int) (int, string) {
		resp, body := s.do(t, ask{method: http.MethodPost, service: "lambda", path: "/2015-03-31/functions/fn/invocations", body: strings.Repeat("1", size)})
		return resp.StatusCode, body
	}
	for range 8 { // each is given back
		if status, body := invoke(16 << 10); status != 200 {
			t.Fatalf("refused: %d %.200s", status, body)
		}
	}
	for range 2 {
		if status, body := invoke(40 << 10); status != http.StatusTooManyRequests || !strings.Contains(body, "Rate exceeded") {
			t.Fatalf("one caller has more than half of the room: %d %.200s", status, body)
		}
	}
	if n := strings.Count(s.logged(), "take the memory"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if resp, body := s.do(t, ask{method: http.MethodPut, service: "s3", path: "/photos?tagging", body: strings.Repeat(" ", 40<<10)}); resp.StatusCode != 503 || !strings.Contains(body, "<Code>SlowDown</Code>") {
		t.Errorf("S3: %d %.200s", resp.StatusCode, body)
	}
	if resp, body := s.do(t, ask{method: http.MethodPut, service: "s3", path: "/photos/x", body: strings.Repeat("x", 1<<20)}); resp.StatusCode != 200 {
		t.Errorf("an object, which is not kept in memory: %d %.200s", resp.StatusCode, body)
	}

	// A function that never finishes what it sends.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var served sync.WaitGroup
	defer func() { stop(); served.Wait() }()
	served.Go(func() { _ = s.g.RunInside(ctx, time.Minute) })
	served.Go(func() { _ = s.g.ServeInside(ctx, l) })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/2015-03-31/functions/fn/invocations", nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(nil)
	sigv4.Sign(r, sigv4.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret}, "lambda", "eu-west-1", time.Now(), hex.EncodeToString(sum[:]))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nX-Amz-Date: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.URL.Path, r.Host, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Date"), 31<<10, strings.Repeat("1", 30<<10))
	has := func(want int64) {
		t.Helper()
		for s.g.bodies.here.Load() != want {
			select {
			case <-time.After(time.Millisecond):
			case <-t.Context().Done():
				t.Fatal("never")
			}
		}
	}
	has(30 << 10)
	if status, body := invoke(16 << 10); status != 200 {
		t.Errorf("another caller: %d %.200s", status, body)
	}
	if status, _ := invoke(20 << 10); status != http.StatusTooManyRequests {
		t.Errorf("there is more than the room: %d", status)
	}
	conn.Close()
	has(0)
	if status, body := invoke(20 << 10); status != 200 {
		t.Errorf("what was given back is gone: %d %.200s", status, body)
	}
}
