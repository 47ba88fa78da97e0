package server

import (
	"context"
	"log/slog"
	"time"

	"davy/internal/blob"
)

// sweepAge is how old a package without an owner must be before it goes: far
// longer than it takes to create a function.
const (
	sweepAge   = time.Hour
	sweepEvery = 6 * time.Hour
)

// packageOwners names every blob that a function's code is in.
type packageOwners interface {
	EachBlob(ctx context.Context, fn func(blob.ID) error) error
}

// sweepPackages removes deployment packages that no function names: what a
// crash between writing a package and creating its function leaves.
func sweepPackages(packages blob.Store, owners packageOwners, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			if n, err := sweep(ctx, packages, owners, time.Now().Add(-sweepAge)); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "search for unused packages ended early", "error", err)
			} else if n > 0 {
				log.InfoContext(ctx, "unused packages removed", "count", n)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func sweep(ctx context.Context, packages blob.Store, owners packageOwners, before time.Time) (removed int, err error) {
	// Candidates first, owners second: a package that finds its owner in
	// between is kept.
	candidates := make(map[blob.ID]bool)
	err = packages.Each(ctx, before, func(id blob.ID, _ int64) error {
		candidates[id] = true
		return nil
	})
	if err != nil || len(candidates) == 0 {
		return 0, err
	}
	err = owners.EachBlob(ctx, func(id blob.ID) error {
		delete(candidates, id)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for id := range candidates {
		if err := packages.Delete(ctx, id); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
