package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pressed is what closed-loop clients saw.
type pressed struct {
	took []time.Duration // of each operation
	span time.Duration   // from the first to the last
}

func (p pressed) rate() float64 { return float64(len(p.took)) / p.span.Seconds() }

// press lets n clients repeat op until d is over; i differs for every call.
// The first error ends all.
func press(ctx context.Context, n int, d time.Duration, op func(ctx context.Context, i int) error) (pressed, error) {
	began := time.Now()
	return pressWhile(ctx, n, func(int) bool { return time.Since(began) < d }, op)
}

// pressCount lets n clients make count calls of op between them.
func pressCount(ctx context.Context, n, count int, op func(ctx context.Context, i int) error) (pressed, error) {
	return pressWhile(ctx, n, func(i int) bool { return i < count }, op)
}

func pressWhile(ctx context.Context, n int, more func(i int) bool, op func(ctx context.Context, i int) error) (pressed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	each := make([][]time.Duration, n)
	began := time.Now()
	var all sync.WaitGroup
	for c := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if !more(i) {
					return
				}
				start := time.Now()
				if err := op(ctx, i); err != nil {
					cancel(err)
					return
				}
				each[c] = append(each[c], time.Since(start))
			}
		})
	}
	all.Wait()
	p := pressed{span: time.Since(began)}
	for _, took := range each {
		p.took = append(p.took, took...)
	}
	return p, context.Cause(ctx)
}
