package sqlite

import (
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"davy/internal/state"
)

// Errors of opening and closing. They come wrapped.
var (
	ErrInUse   = errors.New("sqlite: data directory is in use by another process")
	ErrNewer   = errors.New("sqlite: data was written by a newer version of Davy")
	ErrDamaged = errors.New("sqlite: file is damaged or not a Davy database")
	ErrClosed  = errors.New("sqlite: store is closed")
)

// code is SQLite's primary result code of err, or -1.
func code(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return -1
}

// classify adds the sentinel that callers know to an error of SQLite that
// left nothing changed.
func classify(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case code(err) == codes.SQLITE_FULL, e.Code() == codes.SQLITE_IOERR_SHMSIZE, e.Code() == codes.SQLITE_IOERR_IN_PAGE:
		// The last two: the log's index is a file in shared memory, and the
		// disk had no block for a page of it.
		return fmt.Errorf("%w: %w", state.ErrFull, err)
	case code(err) == codes.SQLITE_CORRUPT, code(err) == codes.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case code(err) == codes.SQLITE_BUSY, code(err) == codes.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}
