package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"davy/internal/blob"
	"davy/internal/state"
)

// collect deletes what no request will ever delete: blobs whose metadata was
// never committed, manifests whose last owner left just before a crash, and
// the uploads of deleted buckets.
func (s *Service) collect(ctx context.Context) error {
	return errors.Join(s.collectBuckets(ctx), s.collectUploads(ctx), s.collectBlobs(ctx))
}

func (s *Service) collectBlobs(ctx context.Context) error {
	return s.blobs.Each(ctx, s.now().Add(-s.age), func(id blob.ID, _ int64) error {
		if s.pending.has(id) {
			return nil
		}
		rows, err := s.store.Rows(ctx, spaceRef, string(id)+"/", string(id)+"/", 2)
		if err != nil {
			return storageError("read references", err)
		}
		if len(rows) == 0 {
			return storageError("delete orphan", s.blobs.Delete(ctx, id))
		}
		// A part is owned by its upload or manifest, which must be owned too.
		upload, isPart := strings.CutPrefix(rows[0].Key, string(id)+"/"+partOwner)
		if !isPart {
			return nil
		}
		if owned, err := s.owned(ctx, upload); err != nil || owned {
			return err
		}
		return s.destroy(ctx, extent{Kind: inManifest, ID: upload})
	})
}

// collectUploads finishes what ended uploads left.
func (s *Service) collectUploads(ctx context.Context) error {
	from := ""
	for {
		rows, err := s.store.Rows(ctx, spaceSweep, "", from, 100)
		if err != nil {
			return storageError("list ended uploads", err)
		}
		for _, r := range rows {
			if err := s.sweep(ctx, r.Key); err != nil {
				return err
			}
			from = r.Key + "\x00"
		}
		if len(rows) < 100 {
			return nil
		}
	}
}

// collectBuckets aborts the uploads of deleted buckets.
func (s *Service) collectBuckets(ctx context.Context) error {
	docs, err := s.store.List(ctx, droppedDocs, "", 100)
	if err != nil {
		return storageError("list deleted buckets", err)
	}
	for _, d := range docs {
		id := strings.TrimPrefix(d.Key, droppedDocs)
		for {
			rows, err := s.store.Rows(ctx, spaceUploads(id), "", "", 100)
			if err != nil {
				return storageError("list uploads", err)
			}
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				key, upload, err := splitRowKey(r.Key)
				if err != nil {
					return fmt.Errorf("s3: upload row %q: %w", r.Key, err)
				}
				if err := s.abort(ctx, id, key, upload, r.Rev); err != nil && !errors.Is(err, state.ErrConflict) {
					return err
				}
			}
		}
		_, err := s.store.Commit(ctx, state.Batch{Ops: []state.Op{{Key: d.Key, IfRev: d.Rev}}, Empty: []string{spaceUploads(id)}})
		if err != nil && !errors.Is(err, state.ErrConflict) {
			return storageError("forget bucket", err)
		}
	}
	return nil
}
