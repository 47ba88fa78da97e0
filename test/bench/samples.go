package main

import (
	"math"
	"slices"
	"time"
)

// samples are what the rounds observed: values by the name of their series.
// Durations are in milliseconds, memory in MiB.
type samples map[string][]float64

func (s samples) add(series string, values ...float64) {
	s[series] = append(s[series], values...)
}

func (s samples) addTime(series string, d time.Duration) { s.add(series, milliseconds(d)) }

func (s samples) addTimes(series string, ds []time.Duration) {
	for _, d := range ds {
		s.addTime(series, d)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

const median = 0.5

// quantile returns the value below which the share q of the series lies,
// interpolated between neighbours; NaN for a series without values.
func (s samples) quantile(series string, q float64) float64 {
	v := slices.Sorted(slices.Values(s[series]))
	if len(v) == 0 {
		return math.NaN()
	}
	at := q * float64(len(v)-1)
	low := int(at)
	high := min(low+1, len(v)-1)
	return v[low] + (at-float64(low))*(v[high]-v[low])
}
