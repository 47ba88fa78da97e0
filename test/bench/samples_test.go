package main

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		name string
		v    []float64
		q    float64
		want float64
	}{
		{"one value is every quantile", []float64{7}, 0.99, 7},
		{"an odd median is a value", []float64{9, 1, 5}, median, 5},
		{"an even median lies between", []float64{4, 1, 2, 3}, median, 2.5},
		{"the least", []float64{3, 1, 2}, 0, 1},
		{"the greatest", []float64{3, 1, 2}, 1, 3},
		{"between neighbours", []float64{0, 10}, 0.99, 9.9},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := samples{}
			s.add("x", tc.v...)
			if got := s.quantile("x", tc.q); math.Abs(got-tc.want) > 1e-9 {
				t.Fatalf("quantile(%v, %v) = %v, want %v", tc.v, tc.q, got, tc.want)
			}
		})
	}
	if got := (samples{}).quantile("nothing", median); !math.IsNaN(got) {
		t.Errorf("quantile of no values = %v, want NaN", got)
	}
}

func TestQuantile_GrowsAndKeepsTheSeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "values")
		s := samples{"x": append([]float64(nil), v...)}
		low, high := rapid.Float64Range(0, 1).Draw(t, "q"), rapid.Float64Range(0, 1).Draw(t, "r")
		low, high = min(low, high), max(low, high)
		if a, b := s.quantile("x", low), s.quantile("x", high); a > b+1e-6 {
			t.Fatalf("quantile %v is %v, but %v is %v", low, a, high, b)
		}
		for i := range v {
			if s["x"][i] != v[i] {
				t.Fatal("reading a quantile changed the series")
			}
		}
	})
}

func TestSamples_KeepTimesInMilliseconds(t *testing.T) {
	s := samples{}
	s.addTimes("x", []time.Duration{1500 * time.Microsecond, time.Second})
	if got := s["x"]; len(got) != 2 || got[0] != 1.5 || got[1] != 1000 {
		t.Fatalf("got %v", got)
	}
}
