package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"davy/internal/blob"
	"davy/internal/state"
)

// openRange returns the bytes [from, from+n) of a version. errAgain means
// that the version went away: look it up once more.
func (s *Service) openRange(ctx context.Context, v *version, from, n int64) (io.ReadCloser, error) {
	if n == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	switch e := v.Data; e.Kind {
	case inBody:
		row, err := s.store.GetRow(ctx, spaceBody, e.ID)
		if errors.Is(err, state.ErrNotFound) {
			return nil, errAgain
		}
		if err != nil {
			return nil, storageError("read body", err)
		}
		if int64(len(row.Value)) != v.Size {
			return nil, fmt.Errorf("s3: body %s has %d bytes, its object %d", e.ID, len(row.Value), v.Size)
		}
		return io.NopCloser(bytes.NewReader(row.Value[from : from+n])), nil
	case inBlob:
		return s.openBlob(ctx, blob.ID(e.ID), from, n)
	case inManifest:
		return s.openManifest(ctx, e, from, n)
	}
	return nil, fmt.Errorf("s3: object of %d bytes has no data", v.Size)
}

func (s *Service) openBlob(ctx context.Context, id blob.ID, from, n int64) (io.ReadCloser, error) {
	r, err := s.blobs.Open(ctx, id)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, errAgain
	}
	if err != nil {
		return nil, storageError("open body", err)
	}
	if from != 0 {
		if _, err := r.Seek(from, io.SeekStart); err != nil {
			r.Close()
			return nil, storageError("seek in body", err)
		}
	}
	return &section{LimitedReader: io.LimitedReader{R: r, N: n}, c: r}, nil
}

// section is a part of one blob; a blob that ends early is an error, not EOF.
type section struct {
	io.LimitedReader
	c io.Closer
}

func (s *section) Read(p []byte) (int, error) {
	n, err := s.LimitedReader.Read(p)
	if errors.Is(err, io.EOF) && s.N > 0 {
		err = fmt.Errorf("s3: blob is %d bytes short: %w", s.N, io.ErrUnexpectedEOF)
	}
	return n, err
}

// WriteTo lets a blob in a plain file go to a socket without passing through
// this process's memory.
func (s *section) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, &s.LimitedReader)
	if err == nil && s.N > 0 {
		err = fmt.Errorf("s3: blob is %d bytes short: %w", s.N, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (s *section) Close() error { return s.c.Close() }

func (s *Service) readManifest(ctx context.Context, id string) (*manifest, error) {
	row, err := s.store.GetRow(ctx, spaceManifest(id), "")
	if errors.Is(err, state.ErrNotFound) {
		return nil, errAgain
	}
	if err != nil {
		return nil, storageError("read manifest", err)
	}
	return decode[manifest]("manifest", row.Value)
}

// openManifest reads a multipart object. The pin is taken before the
// reference is seen to exist, so its bytes stay until Close.
func (s *Service) openManifest(ctx context.Context, e extent, from, n int64) (io.ReadCloser, error) {
	s.pins.pin(e.ID)
	r := &manifestReader{s: s, ctx: ctx, extent: e}
	if _, err := s.store.GetRow(ctx, spaceRef, e.ref()); err != nil {
		r.Close()
		if errors.Is(err, state.ErrNotFound) {
			return nil, errAgain
		}
		return nil, storageError("read reference", err)
	}
	m, err := s.readManifest(ctx, e.ID)
	if err != nil {
		r.Close()
		return nil, err
	}
	for _, p := range m.Parts {
		if from >= p.Size {
			from -= p.Size
			continue
		}
		take := min(p.Size-from, n)
		if take > 0 {
			r.todo = append(r.todo, piece{p.Blob, from, take})
		}
		n -= take
		from = 0
	}
	if n != 0 {
		r.Close()
		return nil, fmt.Errorf("s3: manifest %s is %d bytes short", e.ID, n)
	}
	return r, nil
}

type piece struct {
	id      blob.ID
	from, n int64
}

type manifestReader struct {
	s      *Service
	ctx    context.Context // of the request that reads
	extent extent
	todo   []piece
	open   io.ReadCloser
	closed bool
}

func (r *manifestReader) next() error {
	if r.open != nil || len(r.todo) == 0 {
		return nil
	}
	p := r.todo[0]
	rc, err := r.s.openBlob(r.ctx, p.id, p.from, p.n)
	if err != nil {
		return fmt.Errorf("s3: open part: %w", err)
	}
	r.todo, r.open = r.todo[1:], rc
	return nil
}

func (r *manifestReader) done() error {
	err := r.open.Close()
	r.open = nil
	return err
}

func (r *manifestReader) Read(p []byte) (int, error) {
	for {
		if err := r.next(); err != nil {
			return 0, err
		}
		if r.open == nil {
			return 0, io.EOF
		}
		n, err := r.open.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := r.done(); err != nil || n > 0 {
			return n, err
		}
	}
}

func (r *manifestReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.next(); err != nil || r.open == nil {
			return total, err
		}
		n, err := io.Copy(w, r.open)
		if total += n; err != nil {
			return total, err
		}
		if err := r.done(); err != nil {
			return total, err
		}
	}
}

func (r *manifestReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	var err error
	if r.open != nil {
		err = r.done()
	}
	if e, orphan := r.s.pins.unpin(r.extent.ID); orphan {
		r.s.bury(context.WithoutCancel(r.ctx), e)
	}
	return err
}

// bury hands bytes that lost an owner to Run. When Run is behind or absent
// the caller does the work, so that the backlog stays bounded.
func (s *Service) bury(ctx context.Context, e extent) {
	select {
	case s.dead <- e:
	default:
		if err := s.destroy(context.WithoutCancel(ctx), e); err != nil {
			s.log.WarnContext(ctx, "unreferenced bytes not deleted yet", "id", e.ID, "error", err)
		}
	}
}

// owned tells whether somebody owns the blob or manifest. False is final: see
// the package comment.
func (s *Service) owned(ctx context.Context, id string) (bool, error) {
	rows, err := s.store.Rows(ctx, spaceRef, id+"/", id+"/", 1)
	return len(rows) > 0, storageError("read references", err)
}

// destroy deletes bytes that nobody owns any more.
func (s *Service) destroy(ctx context.Context, e extent) error {
	if e.Kind == leftovers {
		return s.sweep(ctx, e.ID)
	}
	if owned, err := s.owned(ctx, e.ID); err != nil || owned {
		return err
	}
	switch e.Kind {
	case inBlob:
		return storageError("delete body", s.blobs.Delete(ctx, blob.ID(e.ID)))
	case inManifest:
		if !s.pins.retire(e) {
			return nil // the last reader brings it back
		}
		m, err := s.readManifest(ctx, e.ID)
		if errors.Is(err, errAgain) {
			return nil // somebody else was faster
		}
		if err != nil {
			return err
		}
		return s.destroyParts(ctx, e.ID, m.Parts, []state.Op{{Space: spaceManifest(e.ID), Key: "", IfRev: state.Any}})
	}
	return nil
}

// destroyParts removes the claims of an upload on its parts, then the blobs
// that nobody else claims.
func (s *Service) destroyParts(ctx context.Context, upload string, parts []part, ops []state.Op) error {
	for _, p := range parts {
		if p.Blob != "" {
			ops = append(ops, state.Op{Space: spaceRef, Key: partRef(p.Blob, upload), IfRev: state.Any})
		}
	}
	if _, err := s.store.Commit(ctx, state.Batch{Ops: ops}); err != nil {
		return storageError("drop parts", err)
	}
	var errs []error
	for _, p := range parts {
		if p.Blob != "" {
			errs = append(errs, s.destroy(ctx, extent{Kind: inBlob, ID: string(p.Blob)}))
		}
	}
	return errors.Join(errs...)
}

// partRef is the row by which an upload, or the manifest that it became, owns
// a part's blob.
func partRef(id blob.ID, upload string) string { return string(id) + "/" + partOwner + upload }

const partOwner = "u" // before an upload's id: tells it from a version's owner, which is hex

// Run deletes bytes that lost their last owner and, now and then, what a
// crash left behind. It returns when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-s.dead:
			if err := s.destroy(ctx, e); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "unreferenced bytes not deleted yet", "id", e.ID, "error", err)
			}
		case <-tick.C:
			if err := s.collect(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "collection of unreferenced bytes failed", "error", err)
			}
		}
	}
}
