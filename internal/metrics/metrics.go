// Package metrics keeps counts and distributions and writes them in the text
// format of Prometheus, for the console port's /metrics.
//
// It is small so that it can be here: the launcher and the first process of
// every sandbox are the same binary, and pay for what a package does when it is
// loaded. A metric has a bounded number of series: labels beyond it share one.
package metrics

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxSeries of one metric. What comes later is counted under the label value
// "(other)".
const maxSeries = 2000

// Registry is the metrics of a server. The zero value is empty. Safe for
// concurrent use.
type Registry struct {
	mu  sync.Mutex
	all []metric
}

type metric interface{ write(w io.Writer) }

// ServeHTTP writes all metrics.
// https://prometheus.io/docs/instrumenting/exposition_formats/
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var b strings.Builder
	r.mu.Lock()
	all := slices.Clone(r.all)
	r.mu.Unlock()
	for _, m := range all {
		m.write(&b)
	}
	_, _ = io.WriteString(w, b.String()) // the reader may be gone
}

func (r *Registry) add(m metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m)
}

// family is a metric's name and its series by the values of its labels.
type family[T any] struct {
	name, help, kind string
	labels           []string

	mu     sync.Mutex
	series map[string]*T // by written labels
}

// with calls f with the series of the values, which are as many as the labels.
func (m *family[T]) with(values []string, f func(*T)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := labelText(m.labels, values)
	s := m.series[key]
	if s == nil && len(m.series) >= maxSeries {
		other := make([]string, len(m.labels))
		for i := range other {
			other[i] = "(other)"
		}
		key = labelText(m.labels, other)
		s = m.series[key]
	}
	if s == nil {
		if m.series == nil {
			m.series = map[string]*T{}
		}
		s = new(T)
		m.series[key] = s
	}
	f(s)
}

// each calls f for each series, sorted by labels, after the head is written.
func (m *family[T]) each(w io.Writer, f func(labels string, s *T)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	head(w, m.name, m.help, m.kind)
	keys := make([]string, 0, len(m.series))
	for k := range m.series {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f(k, m.series[k])
	}
}

func head(w io.Writer, name, help, kind string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func labelText(names, values []string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n + `="` + escape.Replace(values[i]) + `"`)
	}
	return b.String()
}

func braces(labels string) string {
	if labels == "" {
		return ""
	}
	return "{" + labels + "}"
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// Counter is a number for each combination of label values that only grows.
type Counter struct{ f family[float64] }

// Counter adds a counter to the registry.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{family[float64]{name: name, help: help, kind: "counter", labels: labels}}
	r.add(c)
	return c
}

// Add counts n, not below 0, for the values of the labels in their order.
func (c *Counter) Add(n float64, values ...string) {
	c.f.with(values, func(v *float64) { *v += n })
}

func (c *Counter) write(w io.Writer) {
	c.f.each(w, func(labels string, v *float64) {
		fmt.Fprintf(w, "%s%s %s\n", c.f.name, braces(labels), number(*v))
	})
}

// Histogram is a distribution for each combination of label values.
type Histogram struct {
	f      family[distribution]
	bounds []float64 // upper, ascending
}

type distribution struct {
	counts []uint64 // one for each bound, and for what is above
	sum    float64
}

// Histogram adds a histogram to the registry; bounds are the buckets' upper
// ends, ascending, without infinity.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{f: family[distribution]{name: name, help: help, kind: "histogram", labels: labels}, bounds: bounds}
	r.add(h)
	return h
}

// Observe counts v for the values of the labels in their order.
func (h *Histogram) Observe(v float64, values ...string) {
	h.f.with(values, func(d *distribution) {
		if d.counts == nil {
			d.counts = make([]uint64, len(h.bounds)+1)
		}
		i, _ := slices.BinarySearch(h.bounds, v)
		d.counts[i]++
		d.sum += v
	})
}

func (h *Histogram) write(w io.Writer) {
	h.f.each(w, func(labels string, d *distribution) {
		var n uint64
		with := labels
		if with != "" {
			with += ","
		}
		for i, c := range d.counts {
			n += c
			end := math.Inf(1)
			if i < len(h.bounds) {
				end = h.bounds[i]
			}
			fmt.Fprintf(w, "%s_bucket{%sle=\"%s\"} %d\n", h.f.name, with, number(end), n)
		}
		fmt.Fprintf(w, "%s_sum%s %s\n%s_count%s %d\n", h.f.name, braces(labels), number(d.sum), h.f.name, braces(labels), n)
	})
}

// Gauge adds a metric with one label whose values read gives when it is asked,
// by the value of the label. With an empty label there is one, under "".
func (r *Registry) Gauge(name, help, label string, read func() map[string]float64) {
	r.add(gauge{name, help, label, read})
}

type gauge struct {
	name, help, label string
	read              func() map[string]float64
}

func (g gauge) write(w io.Writer) {
	head(w, g.name, g.help, "gauge")
	values := g.read()
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		labels := ""
		if g.label != "" {
			labels = labelText([]string{g.label}, []string{k})
		}
		fmt.Fprintf(w, "%s%s %s\n", g.name, braces(labels), number(values[k]))
	}
}
