package server

import (
	"runtime"
	"time"

	"davy/internal/execenv"
	"davy/internal/metrics"
)

// meter turns what the data plane tells into metrics. Nothing in them is
// secret: names of functions and runtimes, counts and times.
type meter struct {
	invocations, errors, failures, throttles, seconds *metrics.Counter
	hits, misses                                      *metrics.Counter
	provisioned, spilled                              *metrics.Counter
	took, init                                        *metrics.Histogram
}

var timeBounds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}

func newMeter(r *metrics.Registry) *meter {
	return &meter{
		invocations: r.Counter("davy_invocations_total", "Invocations that ended, whatever came of them.", "function"),
		errors:      r.Counter("davy_invocation_errors_total", "Invocations that the function failed.", "function"),
		failures:    r.Counter("davy_invocation_failures_total", "Invocations that Davy could not run, or whose caller left before.", "function"),
		throttles:   r.Counter("davy_throttles_total", "Synchronous invocations refused by a concurrency limit.", "function"),
		seconds:     r.Counter("davy_invocation_seconds_total", "Time that invocations took in their environment, without init.", "function"),
		took:        r.Histogram("davy_invocation_duration_seconds", "Time in the environment, without init, by where the environment came from.", timeBounds, "path"),
		init:        r.Histogram("davy_init_duration_seconds", "Init phases, by where the runtime came from.", timeBounds, "runtime", "path", "result"),
		provisioned: r.Counter("davy_provisioned_invocations_total", "Invocations that ran in provisioned concurrency.", "function"),
		spilled:     r.Counter("davy_provisioned_spillover_invocations_total", "Invocations beyond their version's provisioned concurrency.", "function"),
		hits:        r.Counter("davy_pool_hits_total", "Cold starts that found a booted runtime.", "runtime"),
		misses:      r.Counter("davy_pool_misses_total", "Cold starts that could have used a booted runtime and found none.", "runtime"),
	}
}

// environments adds what can be asked of them.
func (m *meter) environments(r *metrics.Registry, envs *execenv.Environments) {
	r.Gauge("davy_environments", "Execution environments and booted runtimes without a function, by state.", "state", func() map[string]float64 {
		c := envs.Count()
		return map[string]float64{
			"starting": float64(c.Starting), "idle": float64(c.Idle), "busy": float64(c.Busy), "pooled": float64(c.Pooled), "booting": float64(c.Booting),
		}
	})
	r.Gauge("davy_provisioned_environments", "Provisioned concurrency: environments that are asked for, and those of them that are initialised.", "state", func() map[string]float64 {
		c := envs.Count()
		return map[string]float64{"requested": float64(c.Wanted), "allocated": float64(c.Ready)}
	})
	r.Gauge("go_goroutines", "Goroutines of the server.", "", func() map[string]float64 {
		return map[string]float64{"": float64(runtime.NumGoroutine())}
	})
	r.Gauge("davy_pool_bytes", "Memory that the booted runtimes hold, estimated.", "", func() map[string]float64 {
		return map[string]float64{"": float64(envs.Count().PoolBytes)}
	})
}

// Initialized implements execenv.Observer.
func (m *meter) Initialized(f execenv.Function, path execenv.InitPath, took time.Duration, ok bool) {
	result := "ok"
	if !ok {
		result = "failed"
	}
	m.init.Observe(took.Seconds(), f.Runtime, string(path), result)
}

// PoolAsked implements execenv.Observer.
func (m *meter) PoolAsked(f execenv.Function, hit bool) {
	if hit {
		m.hits.Add(1, f.Runtime)
	} else {
		m.misses.Add(1, f.Runtime)
	}
}

// Invoked implements execenv.Observer.
func (m *meter) Invoked(f execenv.Function, out execenv.Outcome, err error) {
	m.invocations.Add(1, f.Name)
	switch {
	case err != nil:
		m.failures.Add(1, f.Name)
		return
	case out.FunctionError != "":
		m.errors.Add(1, f.Name)
	}
	if out.Provisioned {
		m.provisioned.Add(1, f.Name)
	}
	if out.Spilled {
		m.spilled.Add(1, f.Name)
	}
	m.seconds.Add(out.Duration.Seconds(), f.Name)
	m.took.Observe(out.Duration.Seconds(), string(out.Path))
}

// Throttled implements invoke.Observer.
func (m *meter) Throttled(f *execenv.Function) { m.throttles.Add(1, f.Name) }
