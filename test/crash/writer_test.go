package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"davy/internal/blob/disk"
	"davy/internal/state"
	"davy/internal/state/sqlite"
)

// Environment variables that make the test binary a writer.
const (
	envDir   = "DAVY_CRASH_DIR"
	envRound = "DAVY_CRASH_ROUND" // distinguishes the keys of processes
	envSync  = "DAVY_CRASH_SYNC"  // sqlite.Config.UnsafeSync
	envParts = "DAVY_CRASH_PARTS" // "state": no blobs and no logs, whose syncs would hide a missing one
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		err := write(dir)
		fmt.Fprintln(os.Stderr, "writer ended:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// stores is what is under test.
type stores struct {
	state *sqlite.Store
	blobs *disk.Store
	logs  *sqlite.Logs
}

func openStores(ctx context.Context, dir string) (s stores, err error) {
	if s.state, err = sqlite.Open(ctx, sqlite.Config{Dir: dir, UnsafeSync: os.Getenv(envSync)}); err != nil {
		return s, err
	}
	if s.blobs, err = disk.Open(disk.Config{Dir: filepath.Join(dir, "blobs")}); err != nil {
		return s, err
	}
	s.logs, err = sqlite.OpenLogs(ctx, sqlite.LogsConfig{Dir: filepath.Join(dir, "logs")})
	return s, err
}

// The names that a key has in each store.
const (
	queue    = "work"
	space    = "rows"
	logGroup = "lines"
)

// write commits until it is killed. On standard output, in one write each:
//
//	a KEY    the batch of this key is acknowledged
//	d KEY    its message is acknowledged as done
//	l KEY    its log line is acknowledged
func write(dir string) error {
	ctx := context.Background()
	s, err := openStores(ctx, dir)
	if err != nil {
		return err
	}
	failed := make(chan error)
	start := func(work func() error) {
		go func() {
			for {
				if err := work(); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for w := range 12 {
		n := 0
		start(func() error {
			n++
			return s.commit(ctx, fmt.Sprintf("%s-%d-%d", os.Getenv(envRound), w, n))
		})
	}
	start(func() error { return s.consume(ctx) })
	return <-failed
}

func ack(kind, key string) {
	if _, err := os.Stdout.WriteString(kind + " " + key + "\n"); err != nil {
		os.Exit(1)
	}
}

// commit makes one batch in all stores.
func (s stores) commit(ctx context.Context, key string) error {
	all := os.Getenv(envParts) != "state"
	value := "no blob"
	if all {
		data := content(key)
		w, err := s.blobs.Create(ctx)
		if err != nil {
			return err
		}
		defer w.Abort()
		if _, err := w.Write(data); err != nil {
			return err
		}
		id, err := w.Commit()
		if err != nil {
			return err
		}
		value = string(id)
	}
	_, err := s.state.Commit(ctx, state.Batch{
		Ops: []state.Op{
			{Key: "doc/" + key, Value: []byte(value), IfRev: state.Absent},
			{Space: space, Key: key, Value: []byte(value), IfRev: state.Absent},
		},
		Send: []state.Msg{{Queue: queue, Body: []byte(key)}},
	})
	if err != nil {
		return err
	}
	ack("a", key)
	if !all {
		return nil
	}
	err = s.logs.Append(ctx, logGroup, []state.LogEvent{{Stream: key[:strings.LastIndex(key, "-")], Timestamp: time.Now().UnixMilli(), Message: key}})
	if err != nil {
		return err
	}
	ack("l", key)
	return nil
}

// consume turns messages into documents.
func (s stores) consume(ctx context.Context) error {
	got, err := s.state.Receive(ctx, queue, 8, time.Second)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(got))
	for i, d := range got {
		wg.Go(func() {
			key := string(d.Body)
			_, errs[i] = s.state.Commit(ctx, state.Batch{
				Ops:    []state.Op{{Key: "done/" + key, Value: []byte("x"), IfRev: state.Absent}},
				Settle: []state.Settle{{Receipt: d.Receipt, Delete: true}},
			})
			if errs[i] == nil {
				ack("d", key)
			}
		})
	}
	wg.Wait()
	if len(got) == 0 {
		<-s.state.Wake()
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// content is the blob of a key: what it says is known from the key alone.
func content(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	r := rand.New(rand.NewChaCha8(sum))
	return bytes.Repeat([]byte(hex.EncodeToString(sum[:])), 1+r.IntN(300))
}
