package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine is what results depend on.
type machine struct {
	model      string
	processors int
	kernel     string
	load       string // averages over 1, 5 and 15 minutes
}

func readMachine() machine {
	m := machine{model: "unknown processor", processors: runtime.NumCPU()}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(text)) {
		if k, v, _ := strings.Cut(l, ":"); strings.TrimSpace(k) == "model name" {
			m.model = strings.TrimSpace(v)
			break
		}
	}
	text, _ = os.ReadFile("/proc/sys/kernel/osrelease")
	m.kernel = "Linux " + strings.TrimSpace(string(text))
	text, _ = os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(text)); len(f) >= 3 {
		m.load = strings.Join(f[:3], " ")
	}
	return m
}

func (m machine) load1() float64 {
	first, _, _ := strings.Cut(m.load, " ")
	n, _ := strconv.ParseFloat(first, 64)
	return n
}
