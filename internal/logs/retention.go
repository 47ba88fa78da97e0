package logs

import (
	"context"
	"strings"
	"time"

	"davy/internal/state"
)

// retentionEvery is how often expired events are removed from disk. They are
// out of every answer as soon as they have expired.
const retentionEvery = time.Hour

// Run removes expired events and the rest of deleted groups until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "removal of expired log events ended early", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) expire(ctx context.Context) error {
	err := s.each(ctx, goneRoot, func(d state.Doc) error {
		return s.collectGroup(ctx, strings.TrimPrefix(d.Key, goneRoot))
	})
	if err != nil {
		return err
	}
	return s.each(ctx, groupRoot, func(d state.Doc) error {
		g, err := readGroup(d, place{})
		if err != nil {
			return err
		}
		if cutoff := g.cutoff(s.cfg.Now()); cutoff > 0 {
			return s.cfg.Logs.Drop(ctx, g.ID, "", time.UnixMilli(cutoff))
		}
		return nil
	})
}

func (s *Service) each(ctx context.Context, prefix string, fn func(state.Doc) error) error {
	for after := ""; ; {
		docs, err := s.cfg.State.List(ctx, prefix, after, 200)
		if err != nil {
			return err
		}
		for _, d := range docs {
			after = d.Key
			if err := fn(d); err != nil {
				return err
			}
		}
		if len(docs) < 200 {
			return nil
		}
	}
}
