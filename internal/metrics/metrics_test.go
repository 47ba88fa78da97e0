package metrics

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func text(r *Registry) string {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, nil)
	return w.Body.String()
}

func TestRegistry_WritesPrometheusText(t *testing.T) {
	r := new(Registry)
	c := r.Counter("calls_total", "Calls.", "function", "how")
	c.Add(1, "b", "x")
	c.Add(2, "a\"\\\n", "x")
	c.Add(0.5, "b", "x")
	h := r.Histogram("took_seconds", "Time.", []float64{0.1, 1}, "path")
	for _, v := range []float64{0.05, 0.1, 0.5, 7} {
		h.Observe(v, "warm")
	}
	r.Histogram("bare", "No labels.", []float64{1}).Observe(1)
	r.Gauge("things", "By state.", "state", func() map[string]float64 { return map[string]float64{"idle": 2, "busy": 1} })
	r.Gauge("bytes", "In all.", "", func() map[string]float64 { return map[string]float64{"": 1 << 30} })
	want := `# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{function="a\"\\\n",how="x"} 2
calls_total{function="b",how="x"} 1.5
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{path="warm",le="0.1"} 2
took_seconds_bucket{path="warm",le="1"} 3
took_seconds_bucket{path="warm",le="+Inf"} 4
took_seconds_sum{path="warm"} 7.65
took_seconds_count{path="warm"} 4
# HELP bare No labels.
# TYPE bare histogram
bare_bucket{le="1"} 1
bare_bucket{le="+Inf"} 1
bare_sum 1
bare_count 1
# HELP things By state.
# TYPE things gauge
things{state="busy"} 1
things{state="idle"} 2
# HELP bytes In all.
# TYPE bytes gauge
bytes 1.073741824e+09
`
	if got := text(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCounter_HasBoundedSeries(t *testing.T) {
	r := new(Registry)
	c := r.Counter("n_total", "N.", "function")
	var wg sync.WaitGroup
	for i := range maxSeries + 100 {
		wg.Go(func() { c.Add(1, fmt.Sprint(i)) })
	}
	wg.Wait()
	got := text(r)
	if n := strings.Count(got, "\n") - 2; n != maxSeries+1 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(got, `n_total{function="(other)"} 100`) {
		t.Error("the rest is not counted")
	}
}
