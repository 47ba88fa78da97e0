package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/test/davytest"
)

// binary is the davy to test; empty: there is none, and missing says why.
var binary, missing string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// Copied while nothing else runs: a process that is being started would
	// hold the file open for writing, and then it cannot be run.
	dir, err := os.MkdirTemp("", "davy-load-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built, err := davytest.Binary()
	if err == nil {
		err = copyFile(built, filepath.Join(dir, "davy"))
	}
	switch {
	case err != nil:
		missing = err.Error()
	case os.Getuid() != 0:
		missing = "needs root: without it functions have no groups to be counted by"
	case os.Getenv("DAVY_RUNTIMES") == "":
		missing = "DAVY_RUNTIMES names no installed runtimes: run `make load`"
	default:
		binary = filepath.Join(dir, "davy")
	}
	return m.Run()
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// journal keeps what servers say.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// lab is a server with a client.
type lab struct {
	*davytest.Server
	*client
	said  *journal
	flags []string
}

// newLab starts a server on an empty data directory.
func newLab(t *testing.T, flags ...string) *lab {
	t.Helper()
	if binary == "" {
		t.Skip(missing)
	}
	data, err := davytest.DataDir()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(filepath.Dir(data), "davy") // a name by which its processes are known
	if err := os.Link(binary, own); err != nil {
		t.Fatal(err)
	}
	l := &lab{said: &journal{}, flags: append(flags, "--runtimes", os.Getenv("DAVY_RUNTIMES"))}
	l.Server = &davytest.Server{Bin: own, Data: data, Log: l.said}
	t.Cleanup(func() {
		l.Kill()
		if t.Failed() {
			said := l.said.String()
			t.Logf("the server said:\n%s", said[max(0, len(said)-8000):])
		}
		os.RemoveAll(filepath.Dir(data))
	})
	l.start(t)
	if err := l.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// start starts the server, again with what it had.
func (l *lab) start(t *testing.T) {
	t.Helper()
	if err := l.Start(l.flags...); err != nil {
		t.Fatalf("%v\n%s", err, l.said)
	}
	id, secret, err := l.RootKey()
	if err != nil {
		t.Fatal(err)
	}
	if l.client == nil {
		l.client = newClient("", id, secret)
	}
	l.endpoint = l.API
}

// settle returns when the census is as it should be. It is the end of what
// others do at their own time: there is no event to wait for.
func (l *lab) settle(t *testing.T, what string, done func(census) bool) {
	t.Helper()
	l.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), davytest.Limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := count(l.Server)
		if err == nil && done(c) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, p := range processesOf(l.Server) {
				own, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
				held := slices.DeleteFunc(links(p.pid), func(l string) bool { return !strings.HasPrefix(l, "net:[") })
				t.Logf("process %d of %d: %s; in %s, holds %v", p.pid, p.parent, p.args, own, held)
			}
			t.Fatalf("%s: in the end %+v, %v", what, c, err)
		}
	}
}

// census counts when nothing happens any more: no environment is left, and
// many counts are the same.
func (l *lab) census(t *testing.T) census {
	t.Helper()
	const enough = 20
	var last census
	same := 0
	l.settle(t, "the server does not come to rest", func(c census) bool {
		if same++; c != last || c.Environments > 0 {
			same = 0
		}
		last = c
		return same == enough
	})
	return last
}

// load runs clients, each of which calls until there are no more ids, and
// returns what went wrong.
func load(clients, calls int, call func(client, n int) error) error {
	ids := make(chan int)
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := range ids {
				if err := call(i, n); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for n := range calls {
		ids <- n
	}
	close(ids)
	wg.Wait()
	if len(errs) > 10 {
		errs = append(errs[:10], fmt.Errorf("and %d more", len(errs)-10))
	}
	return errors.Join(errs...)
}
