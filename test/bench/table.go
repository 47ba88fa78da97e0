package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// reading is one number of a series.
type reading struct {
	series string
	at     float64 // quantile
}

// goal is what a row must reach. The zero value asks for nothing.
type goal struct {
	sense senseOf
	bound float64 // times the floor, for ratios
}

type senseOf int

const (
	none senseOf = iota
	atMost
	atLeast
	ratioAtMost
	ratioAtLeast
	aboveAtMost // the floor
)

func (g goal) met(value, ratio float64) bool {
	switch g.sense {
	case atMost:
		return value <= g.bound
	case atLeast:
		return value >= g.bound
	case ratioAtMost:
		return ratio <= g.bound
	case ratioAtLeast:
		return ratio >= g.bound
	case aboveAtMost:
		return value-value/ratio <= g.bound
	}
	return true
}

func (g goal) text(unit string) string {
	n := strconv.FormatFloat(g.bound, 'f', -1, 64)
	switch g.sense {
	case atMost:
		return "≤ " + n + " " + unit
	case atLeast:
		return "≥ " + n + " " + unit
	case ratioAtMost:
		return "≤ " + n + " × floor"
	case ratioAtLeast:
		return "≥ " + n + " × floor"
	case aboveAtMost:
		return "≤ floor + " + n + " " + unit
	}
	return ""
}

// spec is a row of the table before it is measured.
type spec struct {
	group string // of measures that it needs
	what  string // for people
	name  string // for programs: it must not change
	unit  string
	of    reading
	floor reading // its series is empty: none
	bare  string  // what the floor is
	goal  goal
	note  string // for a row that cannot be measured: why
}

// line is a row of the table. What was not measured is NaN.
type line struct {
	spec
	value, floorValue float64
	hasFloor          bool
}

func (l line) ratio() float64 {
	if !l.hasFloor || l.floorValue == 0 {
		return math.NaN()
	}
	return l.value / l.floorValue
}

func (l line) verdict() string {
	switch {
	case l.note != "":
		return l.note
	case math.IsNaN(l.value):
		return "not measured"
	case l.goal.sense == none:
		return ""
	case l.goal.met(l.value, l.ratio()):
		return "yes"
	}
	return "NO"
}

// evaluate reads the rows' numbers.
func evaluate(specs []spec, s samples) []line {
	lines := make([]line, 0, len(specs))
	for _, sp := range specs {
		l := line{spec: sp, value: math.NaN()}
		if sp.note == "" {
			l.value = s.quantile(sp.of.series, sp.of.at)
		}
		if sp.floor.series != "" {
			l.hasFloor, l.floorValue = true, s.quantile(sp.floor.series, sp.floor.at)
		}
		lines = append(lines, l)
	}
	return lines
}

// number writes a value with three significant digits or as a whole number.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func print(w io.Writer, lines []line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tmeasured\tfloor\tratio\ttarget\tmet")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\n", l.what, strings.Join(l.cells(), "\t"))
	}
	return t.Flush()
}

// cells is the row after its name.
func (l line) cells() []string {
	measured, floor := number(l.value), "-"
	if !math.IsNaN(l.value) {
		measured += " " + l.unit
	}
	if l.hasFloor {
		floor = number(l.floorValue) + " (" + l.bare + ")"
	}
	return []string{measured, floor, number(l.ratio()), l.goal.text(l.unit), l.verdict()}
}

// appendResults adds the measured lines to a file of JSON lines.
func appendResults(path string, at time.Time, lines []line) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeResults(f, at, lines)
}

func writeResults(w io.Writer, at time.Time, lines []line) error {
	out := json.NewEncoder(w)
	for _, l := range lines {
		if math.IsNaN(l.value) {
			continue
		}
		err := out.Encode(struct {
			Name  string   `json:"name"`
			Value float64  `json:"value"`
			Unit  string   `json:"unit"`
			Floor *float64 `json:"floor"`
			Ratio *float64 `json:"ratio"`
			Run   string   `json:"run"`
		}{l.name, rounded(l.value), l.unit, known(l.floorValue, l.hasFloor), known(l.ratio(), l.hasFloor), at.UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
	}
	return nil
}

// known is null in JSON for what is not there.
func known(v float64, there bool) *float64 {
	if !there || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return new(rounded(v))
}

func rounded(v float64) float64 { return math.Round(v*10000) / 10000 }
