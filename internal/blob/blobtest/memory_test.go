package blobtest_test

import (
	"testing"

	"davy/internal/blob"
	"davy/internal/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blobtest.NewMemory() })
}
