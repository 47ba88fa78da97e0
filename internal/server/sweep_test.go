package server

import (
	"context"
	"testing"
	"time"

	"davy/internal/blob"
	"davy/internal/blob/blobtest"
)

type owned []blob.ID

func (o owned) EachBlob(_ context.Context, fn func(blob.ID) error) error {
	for _, id := range o {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

func TestSweep_RemovesOnlyOldPackagesWithoutOwner(t *testing.T) {
	packages := blobtest.NewMemory()
	put := func() blob.ID {
		w, err := packages.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	kept, orphan := put(), put()
	if n, err := sweep(t.Context(), packages, owned{kept}, time.Now().Add(-time.Minute)); n != 0 || err != nil {
		t.Fatalf("young packages: removed %d, %v", n, err)
	}
	if n, err := sweep(t.Context(), packages, owned{kept}, time.Now().Add(time.Minute)); n != 1 || err != nil {
		t.Fatalf("removed %d, %v; want 1", n, err)
	}
	if _, err := packages.Open(t.Context(), kept); err != nil {
		t.Errorf("the owned package: %v", err)
	}
	if _, err := packages.Open(t.Context(), orphan); err == nil {
		t.Error("the orphan is still there")
	}
}
