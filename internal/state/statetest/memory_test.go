package statetest_test

import (
	"testing"

	"davy/internal/state"
	"davy/internal/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Run(t, func(*testing.T) state.Store { return statetest.NewMemory() })
}
