package main

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestGoal(t *testing.T) {
	for _, tc := range []struct {
		goal         goal
		value, ratio float64
		met          bool
		text         string
	}{
		{goal{atMost, 3}, 3, 99, true, "≤ 3 ms"},
		{goal{atMost, 3}, 3.1, 0, false, "≤ 3 ms"},
		{goal{atLeast, 50}, 50, 0, true, "≥ 50 ms"},
		{goal{atLeast, 50}, 49.9, 99, false, "≥ 50 ms"},
		{goal{ratioAtMost, 0.25}, 99, 0.25, true, "≤ 0.25 × floor"},
		{goal{ratioAtMost, 0.25}, 0, 0.26, false, "≤ 0.25 × floor"},
		{goal{ratioAtLeast, 0.33}, 0, 0.33, true, "≥ 0.33 × floor"},
		{goal{ratioAtLeast, 0.33}, 99, 0.32, false, "≥ 0.33 × floor"},
		{goal{ratioAtMost, 2}, 1, math.NaN(), false, "≤ 2 × floor"}, // a floor that is missing meets nothing
		{goal{aboveAtMost, 10}, 15, 3, true, "≤ floor + 10 ms"},
		{goal{aboveAtMost, 10}, 15.1, 3.02, false, "≤ floor + 10 ms"}, // a floor of 5
		{goal{aboveAtMost, 10}, 15, math.NaN(), false, "≤ floor + 10 ms"},
		{goal{}, 1, 1, true, ""},
	} {
		if got := tc.goal.met(tc.value, tc.ratio); got != tc.met {
			t.Errorf("%+v.met(%v, %v) = %v", tc.goal, tc.value, tc.ratio, got)
		}
		if got := tc.goal.text("ms"); got != tc.text {
			t.Errorf("%+v.text = %q, want %q", tc.goal, got, tc.text)
		}
	}
}

var (
	exampleRows = []spec{
		{what: "warm", name: "warm_p50", unit: "ms", of: of("warm"), floor: of("warm.floor"), bare: "echo", goal: goal{ratioAtMost, 2}},
		{what: "warm, tail", name: "warm_p99", unit: "ms", of: p99("warm"), floor: p99("warm.floor"), bare: "echo"},
		{what: "rate", name: "rate", unit: "/s", of: of("rate"), goal: goal{atLeast, 2000}},
		{what: "python", name: "python", unit: "ms", of: of("python"), goal: goal{ratioAtMost, 0.5}, note: "not measured yet"},
		{what: "skipped", name: "skipped", unit: "ms", of: of("skipped"), floor: of("skipped.floor"), bare: "echo", goal: goal{ratioAtMost, 2}},
	}
	exampleSamples = samples{"warm": {0.9, 0.7, 0.8}, "warm.floor": {0.4, 0.5, 0.3}, "rate": {1900, 12345}}
)

func TestTable_Golden(t *testing.T) {
	lines := evaluate(exampleRows, exampleSamples)
	var shown, page, results bytes.Buffer
	if err := print(&shown, lines); err != nil {
		t.Fatal(err)
	}
	if err := writeResults(&results, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), lines); err != nil {
		t.Fatal(err)
	}
	if err := markdown(&page, "A machine", lines); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", shown.Bytes())
	golden(t, "table.md", page.Bytes())
	golden(t, "results.jsonl", results.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

func TestResults_Accumulate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "day.jsonl")
	lines := evaluate(exampleRows, exampleSamples)
	for range 2 {
		if err := appendResults(path, time.Unix(0, 0), lines); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(text, []byte("\n")); got != 6 {
		t.Errorf("two runs left %d lines, want 3 each:\n%s", got, text)
	}
}

// The names of rows are keys of a history, and each row must be readable.
func TestTable_RowsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table(extent{1, 1}) {
		if seen[r.name] {
			t.Errorf("two rows are named %q", r.name)
		}
		seen[r.name] = true
		if r.what == "" || r.unit == "" || r.group == "" {
			t.Errorf("%q lacks words, unit or group", r.name)
		}
		if (r.note == "") == (r.of.series == "") {
			t.Errorf("%q has a series and a reason to have none, or neither", r.name)
		}
		if (r.floor.series == "") != (r.bare == "") {
			t.Errorf("%q: a floor and its name go together", r.name)
		}
		if needs := r.goal.sense == ratioAtMost || r.goal.sense == ratioAtLeast; needs && r.floor.series == "" && r.note == "" {
			t.Errorf("%q has a ratio for its goal and no floor", r.name)
		}
	}
}
