package crash

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"davy/internal/blob"
	"davy/internal/state"
)

// acks is what a writer said, by kind and key.
type acks map[string]map[string]bool

func (a acks) add(lines string) {
	for line := range strings.Lines(lines) {
		line, whole := strings.CutSuffix(line, "\n")
		kind, key, ok := strings.Cut(line, " ")
		if !whole || !ok {
			continue // torn by the kill: not said
		}
		if a[kind] == nil {
			a[kind] = map[string]bool{}
		}
		a[kind][key] = true
	}
}

// damage is what a directory shows after a crash.
type damage struct {
	batches, done, lines int      // acknowledged
	missing              []string // acknowledged and not there
	halves               []string // there in part
}

func (d damage) String() string {
	return fmt.Sprintf("acknowledged: %d batches, %d settlements, %d log lines; missing %d %q; halves %d %q",
		d.batches, d.done, d.lines, len(d.missing), d.missing[:min(5, len(d.missing))], len(d.halves), d.halves[:min(5, len(d.halves))])
}

// verify opens a directory after a crash and compares it with what was
// acknowledged.
func verify(t *testing.T, dir string, said acks, all bool) damage {
	t.Helper()
	ctx := t.Context()
	s, err := openStores(ctx, dir)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	out := damage{batches: len(said["a"]), done: len(said["d"]), lines: len(said["l"])}
	rows := s.allRows(t)
	docs := s.allDocs(t, "doc/")
	done := s.allDocs(t, "done/")
	for key := range said["a"] {
		if _, ok := rows[key]; !ok {
			out.missing = append(out.missing, "batch "+key)
		}
	}
	for key := range said["d"] {
		if _, ok := done[key]; !ok {
			out.missing = append(out.missing, "settlement "+key)
		}
	}
	if all {
		lines := s.allLines(t)
		for key := range said["l"] {
			if !lines[key] {
				out.missing = append(out.missing, "line "+key)
			}
		}
		for key, id := range rows {
			if err := s.checkBlob(ctx, blob.ID(id), content(key)); err != nil {
				out.halves = append(out.halves, fmt.Sprintf("blob of %s: %v", key, err))
			}
		}
	}
	if err := s.state.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.logs.Close(); err != nil {
		t.Fatal(err)
	}
	messages := integrity(t, filepath.Join(dir, "state.db"))
	for key, id := range rows {
		if docs[key] != id {
			out.halves = append(out.halves, "row without document "+key)
		}
		if _, isDone := done[key]; isDone == messages[key] {
			out.halves = append(out.halves, fmt.Sprintf("%s: message %v, done %v", key, messages[key], isDone))
		}
	}
	if len(docs) != len(rows) || len(messages)+len(done) != len(rows) {
		out.halves = append(out.halves, fmt.Sprintf("%d rows, %d documents, %d messages and %d done", len(rows), len(docs), len(messages), len(done)))
	}
	return out
}

func (s stores) allRows(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for from := ""; ; {
		page, err := s.state.Rows(t.Context(), space, "", from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			out[r.Key] = string(r.Value)
			from = r.Key + "\x00"
		}
		if len(page) < 1000 {
			return out
		}
	}
}

func (s stores) allDocs(t *testing.T, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for after := ""; ; {
		page, err := s.state.List(t.Context(), prefix, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			out[strings.TrimPrefix(d.Key, prefix)] = string(d.Value)
			after = d.Key
		}
		if len(page) < 1000 {
			return out
		}
	}
}

func (s stores) allLines(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for e, err := range s.logs.Read(t.Context(), state.LogQuery{Group: logGroup}) {
		if err != nil {
			t.Fatal(err)
		}
		out[e.Message] = true
	}
	return out
}

func (s stores) checkBlob(ctx context.Context, id blob.ID, want []byte) error {
	r, err := s.blobs.Open(ctx, id)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes that differ from the %d written", len(got), len(want))
	}
	return err
}

// integrity asks SQLite itself about the file, and returns the keys of the
// messages in it, hidden ones too.
func integrity(t *testing.T, path string) map[string]bool {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Fatalf("integrity of %s: %s, %v", path, verdict, err)
	}
	rows, err := db.QueryContext(t.Context(), `SELECT body FROM msg`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			t.Fatal(err)
		}
		out[string(body)] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
