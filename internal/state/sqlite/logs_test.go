package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"davy/internal/state"
)

func openLogs(t testing.TB, dir string) *Logs {
	t.Helper()
	l, err := OpenLogs(t.Context(), LogsConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// read collects what a query yields as "timestamp stream message".
func read(t *testing.T, l *Logs, q state.LogQuery) []string {
	t.Helper()
	out := []string{}
	for e, err := range l.Read(t.Context(), q) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, describeEvent(e))
	}
	return out
}

func describeEvent(e state.LogEvent) string {
	return fmt.Sprint(e.Timestamp, " ", e.Stream, " ", e.Message)
}

const dayMS = 24 * 60 * 60 * 1000

// The engine against a plain list, with appends, drops and restarts.
func TestLogs_Model(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			r.Fatal(err)
		}
		l, err := OpenLogs(t.Context(), LogsConfig{Dir: dir, unsafeSync: "OFF"})
		if err != nil {
			r.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		type stored struct {
			group string
			state.LogEvent
		}
		var model []stored
		groups, streams := []string{"g", "h"}, []string{"a", "b", "\xff'\x00"}
		start := time.Now().UnixMilli() - 3*dayMS
		stamp := rapid.OneOf(rapid.Int64Range(start, start+20), rapid.Int64Range(start, start+3*dayMS))
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				group := rapid.SampledFrom(groups).Draw(r, "group")
				var events []state.LogEvent
				for range rapid.IntRange(1, 40).Draw(r, "n") {
					e := state.LogEvent{Stream: rapid.SampledFrom(streams).Draw(r, "stream"), Timestamp: stamp.Draw(r, "ts")}
					e.Message = strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 100, 5000}).Draw(r, "size")) + fmt.Sprint(len(model))
					events = append(events, e)
					model = append(model, stored{group, e})
				}
				if err := l.Append(t.Context(), group, events); err != nil {
					r.Fatal(err)
				}
			},
			"drop": func(r *rapid.T) {
				group := rapid.SampledFrom(groups).Draw(r, "group")
				stream := rapid.SampledFrom(append([]string{""}, streams...)).Draw(r, "stream")
				before := rapid.SampledFrom([]int64{0, start + 5, start + dayMS}).Draw(r, "before")
				at := time.Time{}
				if before != 0 {
					at = time.UnixMilli(before)
				}
				if err := l.Drop(t.Context(), group, stream, at); err != nil {
					r.Fatal(err)
				}
				model = slices.DeleteFunc(model, func(s stored) bool {
					return s.group == group && (stream == "" || s.Stream == stream) && (before == 0 || s.Timestamp < before)
				})
			},
			"restart": func(r *rapid.T) {
				if err := l.Close(); err != nil {
					r.Fatal(err)
				}
				if l, err = OpenLogs(t.Context(), LogsConfig{Dir: dir, unsafeSync: "OFF"}); err != nil {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				q := state.LogQuery{Group: rapid.SampledFrom(groups).Draw(r, "group"), Reverse: rapid.Bool().Draw(r, "reverse")}
				if rapid.Bool().Draw(r, "some streams") {
					q.Streams = rapid.SliceOfNDistinct(rapid.SampledFrom(streams), 1, 2, rapid.ID).Draw(r, "streams")
				}
				q.From = rapid.SampledFrom([]int64{0, start + 5, start + dayMS}).Draw(r, "from")
				q.To = rapid.SampledFrom([]int64{0, start + 15, start + 2*dayMS}).Draw(r, "to")
				sorted := slices.Clone(model)
				slices.SortStableFunc(sorted, func(a, b stored) int { return int(a.Timestamp - b.Timestamp) })
				var want []string
				for _, s := range sorted {
					if s.group == q.Group && s.Timestamp >= q.From && (q.To == 0 || s.Timestamp < q.To) && (q.Streams == nil || slices.Contains(q.Streams, s.Stream)) {
						want = append(want, describeEvent(s.LogEvent))
					}
				}
				if q.Reverse {
					slices.Reverse(want)
				}
				// In two steps, the second one resumed behind the first.
				cut := rapid.IntRange(0, len(want)).Draw(r, "cut")
				var got []string
				for e, err := range l.Read(t.Context(), q) {
					if err != nil {
						r.Fatal(err)
					}
					if len(got) == cut {
						break
					}
					got = append(got, describeEvent(e))
					q.After = state.Cursor{Timestamp: e.Timestamp, Seq: e.Seq}
				}
				for e, err := range l.Read(t.Context(), q) {
					if err != nil {
						r.Fatal(err)
					}
					got = append(got, describeEvent(e))
				}
				if !slices.Equal(got, want) {
					r.Fatalf("%+v, cut %d:\ngot  %.2000q\nwant %.2000q", q, cut, got, want)
				}
			},
		})
	})
}

func TestLogs_ManyAppendersLoseNothing(t *testing.T) {
	l := openLogs(t, t.TempDir())
	now := time.Now().UnixMilli()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 50 {
				e := state.LogEvent{Stream: fmt.Sprint("s", w%4), Timestamp: now + int64(i), Message: fmt.Sprint(w, "-", i)}
				if err := l.Append(t.Context(), "g", []state.LogEvent{e}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	last := int64(0)
	for e, err := range l.Read(t.Context(), state.LogQuery{Group: "g"}) {
		if err != nil || e.Timestamp < last || seen[e.Message] || e.Ingested < now {
			t.Fatal(e, err)
		}
		seen[e.Message], last = true, e.Timestamp
	}
	if len(seen) != 800 {
		t.Fatalf("%d events, want 800", len(seen))
	}
}

func TestLogs_AnEmptyDayIsRemoved(t *testing.T) {
	dir := t.TempDir()
	l := openLogs(t, dir)
	old := time.Now().Add(-5 * 24 * time.Hour)
	for _, g := range []string{"g", "h"} {
		if err := l.Append(t.Context(), g, []state.LogEvent{{Stream: "s", Timestamp: old.UnixMilli(), Message: "m"}}); err != nil {
			t.Fatal(err)
		}
	}
	files := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for i, g := range []string{"g", "h"} {
		if files() == 0 {
			t.Fatal("the file of a day in use is gone")
		}
		if err := l.Drop(t.Context(), g, "", old.Add(time.Hour)); err != nil {
			t.Fatal(i, err)
		}
	}
	if n := files(); n != 0 {
		t.Fatalf("%d files left", n)
	}
	if err := l.Append(t.Context(), "g", []state.LogEvent{{Stream: "s", Timestamp: old.UnixMilli(), Message: "again"}}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, l, state.LogQuery{Group: "g"}); len(got) != 1 {
		t.Fatal(got)
	}
}

func FuzzBlock(f *testing.F) {
	c, err := newBlockCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(c.pack([]state.LogEvent{{Timestamp: 1, Seq: 2, Ingested: 3, Message: "m"}}))
	f.Add(c.pack([]state.LogEvent{{Timestamp: 1, Message: strings.Repeat("m", 1000)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := c.unpack("s", data)
		if err != nil {
			return
		}
		again, err := c.unpack("s", c.pack(events))
		if err != nil || !slices.Equal(events, again) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

func BenchmarkLogs(b *testing.B) {
	l := openLogs(b, b.TempDir())
	line := strings.Repeat("2026-11-22T16:00:00 INFO request handled status=200 ", 8)
	b.Run("append/writers=16/lines=5", func(b *testing.B) {
		parallel(b, 16, func(i int64) error {
			now := time.Now().UnixMilli()
			var events []state.LogEvent
			for range 5 {
				events = append(events, state.LogEvent{Stream: fmt.Sprint(i % 16), Timestamp: now, Message: line})
			}
			return l.Append(b.Context(), "g", events)
		})
	})
	b.Run("scan", func(b *testing.B) {
		n := 0
		for n < b.N {
			for _, err := range l.Read(b.Context(), state.LogQuery{Group: "g"}) {
				if err != nil {
					b.Fatal(err)
				}
				if n++; n >= b.N {
					break
				}
			}
		}
	})
}
