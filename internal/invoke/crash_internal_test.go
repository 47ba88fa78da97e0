package invoke

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/awsapi"
	"davy/internal/execenv"
	"davy/internal/state/sqlite"
)

const crashDir = "DAVY_INVOKE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crash(dir)
		return
	}
	os.Exit(m.Run())
}

// one is a catalogue of one function.
type one struct{}

func (one) Resolve(context.Context, string, string, string, string) (*execenv.Function, Settings, error) {
	const arn = "arn:aws:lambda:us-east-1:000000000000:function:fn"
	return &execenv.Function{ARN: arn, Account: "000000000000", Region: "us-east-1"},
		Settings{InvokedARN: arn, Reserved: -1, Unreserved: 1000, Concurrency: 1000, MaxRetries: 2, MaxEventAge: time.Hour}, nil
}

type runner func(ctx context.Context, id string) error

func (r runner) Invoke(ctx context.Context, _ execenv.Function, inv execenv.Invocation) (execenv.Outcome, error) {
	return execenv.Outcome{}, r(ctx, inv.RequestID)
}

// crashing opens a dispatcher on a database; what a killed one was running is
// delivered again soon.
func crashing(ctx context.Context, dir string, run runner) (*Dispatcher, *sqlite.Store, error) {
	store, err := sqlite.Open(ctx, sqlite.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	d, err := New(Config{Functions: one{}, Environments: run, State: store, Workers: 8})
	if err != nil {
		return nil, nil, err
	}
	d.queue.hide = 500 * time.Millisecond
	return d, store, nil
}

// crash acknowledges and runs events until it is killed. It tells what it did,
// one line each; every other event it starts never ends.
func crash(dir string) {
	ctx := context.Background()
	var mu sync.Mutex
	d, _, err := crashing(ctx, dir, func(_ context.Context, id string) error {
		if n, _ := strconv.Atoi(id); n%2 == 0 {
			select {}
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Println("ran", id)
		return nil
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = d.Run(ctx) }()
	for i := range 8 {
		go func() {
			for n := i; ; n += 8 {
				call := &awsapi.Call{RequestID: strconv.Itoa(n)}
				_, err := d.Invoke(awsapi.WithCall(ctx, call), &lambdaapi.InvocationRequest{FunctionName: new("fn"), InvocationType: new(lambdaapi.InvocationTypeEvent)})
				if err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println("acknowledged", n)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// Whatever was acknowledged before a kill -9 has run in the end.
func TestCrash_NoAcknowledgedEventIsLost(t *testing.T) {
	dir := t.TempDir()
	missing := map[string]bool{} // acknowledged and not known to have run
	ran := map[string]bool{}
	child := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test
	child.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		what, id, _ := strings.Cut(lines.Text(), " ")
		if what == "ran" {
			ran[id] = true
			continue
		}
		missing[id] = true
		if acknowledged++; acknowledged == 300 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if acknowledged < 300 {
		t.Fatalf("the child acknowledged %d events", acknowledged)
	}
	for id := range ran {
		delete(missing, id)
	}
	if len(missing) == 0 {
		t.Fatal("nothing was left to run: the test shows nothing")
	}

	var mu sync.Mutex
	again := make(chan struct{})
	d, store, err := crashing(t.Context(), dir, func(_ context.Context, id string) error {
		mu.Lock()
		defer mu.Unlock()
		if delete(missing, id); len(missing) == 0 && again != nil {
			close(again)
			again = nil
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	wait := again
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case <-wait:
	case <-time.After(5 * time.Minute):
		mu.Lock()
		t.Errorf("%d of %d acknowledged events never ran", len(missing), acknowledged)
		mu.Unlock()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
