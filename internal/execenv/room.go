package execenv

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNoMemory tells that the machine has too little memory for one environment
// more. To callers it is a throttle, as ErrBurst, which it wraps.
var ErrNoMemory = fmt.Errorf("%w: the machine has no memory left for another", ErrBurst)

// noMemoryReason is why environments that are to be kept ready are not there.
// AWS, which has room always, has no words for it; its code for lack of room
// elsewhere is InsufficientCapacity.
const noMemoryReason = "InsufficientCapacity: this machine has not enough memory left for the requested provisioned concurrency."

// room keeps environments from using up the machine's memory, which is less
// than the sum of what their functions may have: most need a small part of it.
// A new environment needs what others of its function version were seen to
// have. Safe for concurrent use.
//
// It is not a promise. A function that suddenly needs more than ever gets it,
// up to its own limit; should the machine run out nevertheless, the kernel
// chooses processes of functions, which have a higher score than all others.
type room struct {
	memory  func() (available, total int64, err error)
	reserve int64 // 0: by the machine's size
	log     *slog.Logger

	mu       sync.Mutex
	promised int64 // to environments that have not grown yet
	refused  int   // since it was told
	told     time.Time
}

// Bounds of what is left to the rest of the machine: a twentieth of its memory.
const (
	leastReserve = 64 << 20
	mostReserve  = 2 << 30
	tellRefusals = time.Second
)

// guessNeed is for a function of which no environment was seen.
const guessNeed = guessSDK

// take promises memory to an environment until released is called, once or
// more often. More is asked to make room when there is too little, for as long
// as it does.
func (r *room) take(need int64, more func() bool) (released func(), ok bool) {
	for !r.fits(need) {
		if !more() {
			return nil, false
		}
	}
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.promised -= need
	}), true
}

func (r *room) fits(need int64) bool {
	available, total, err := r.memory()
	if err != nil {
		r.log.Debug("memory of the machine is unknown", "error", err)
		available = 1<<62 - 1
	}
	reserve := r.reserve
	if reserve == 0 {
		reserve = min(max(total/20, leastReserve), mostReserve)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if available-r.promised-need < reserve {
		return false
	}
	r.promised += need
	return true
}

// refuse tells the operator, not for each environment.
func (r *room) refuse(f Function, need int64) {
	r.mu.Lock()
	r.refused++
	n, promised := r.refused, r.promised
	tell := time.Since(r.told) >= tellRefusals
	if tell {
		r.refused, r.told = 0, time.Now()
	}
	r.mu.Unlock()
	if tell {
		available, total, _ := r.memory()
		r.log.Warn("no memory on this machine for another environment: throttled", "function", f.ARN, "version", f.Version,
			"need", need, "available", available, "promised", promised, "total", total, "refused", n)
	}
}

// roomFor promises memory to an environment that begins, if need be by ending
// booted runtimes without a function and environments that are idle.
func (es *Environments) roomFor(e *environment) error {
	need := max(e.fleet.need.Load(), guessNeed)
	if limit := int64(e.fn.MemoryMB) << 20; limit > 0 {
		need = min(need, limit)
	}
	released, ok := es.room.take(need, func() bool { return es.pool.relieve() || es.endIdle() })
	if !ok {
		es.room.refuse(e.fn, need)
		return ErrNoMemory
	}
	e.grown = released
	return nil
}

// endIdle ends the longest idle environment of the function version that has
// most of them, and waits until nothing of it is left.
func (es *Environments) endIdle() bool {
	es.mu.Lock()
	var from *fleet
	for _, fl := range es.fleets {
		if len(fl.idle) > 0 && (from == nil || len(fl.idle) > len(from.idle)) {
			from = fl
		}
	}
	if from == nil {
		es.mu.Unlock()
		return false
	}
	e := from.idle[0]
	from.idle = from.idle[1:]
	close(e.quit)
	es.mu.Unlock()
	select {
	case <-e.gone:
	case <-es.ctx.Done():
	}
	return true
}

// machineMemory reads what the kernel could give to new processes without
// swapping, and all there is, in bytes.
func machineMemory() (available, total int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	available = -1
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		var to *int64
		switch name {
		case "MemTotal":
			to = &total
		case "MemAvailable":
			to = &available
		default:
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/meminfo: %w", err)
		}
		*to = kb << 10
	}
	if available < 0 || total == 0 {
		return 0, 0, fmt.Errorf("/proc/meminfo: no MemAvailable")
	}
	return available, total, nil
}

// saw notes what an environment of the fleet had of memory.
func (fl *fleet) saw(peak int64) {
	for {
		known := fl.need.Load()
		if peak <= known || fl.need.CompareAndSwap(known, peak) {
			return
		}
	}
}
