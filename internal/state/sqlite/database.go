package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	driver "modernc.org/sqlite"
)

// openDB opens a pool of n connections to the file at path. The settings are
// part of the name so that every connection of the pool gets them.
func openDB(path string, n, cacheKB int, synchronous string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {
		"busy_timeout(2000)", // only a foreign reader, as the sqlite3 shell, can make us wait
		"journal_mode(WAL)",
		"synchronous(" + synchronous + ")",
		"cache_size(-" + strconv.Itoa(cacheKB) + ")",
		"journal_size_limit(67108864)",
		"wal_autocheckpoint(4000)", // pages: 16 MB, so checkpoints are few
	}}
	c, err := driver.NewConnector((&url.URL{Scheme: "file", Path: abs}).String() + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// prepare brings the schema of a file up to the version that the last of steps
// makes. A newer file is refused: an older program would not keep its rules.
func prepare(ctx context.Context, db *sql.DB, steps []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer func() { _ = tx.Rollback() }()
	var tables, version int
	if err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'schema'), 0) FROM sqlite_master WHERE type = 'table'`).Scan(&tables, &version); err != nil {
		return classify(err)
	}
	switch {
	case tables == 0:
		if _, err := tx.ExecContext(ctx, `CREATE TABLE schema (version INTEGER NOT NULL); INSERT INTO schema VALUES (0)`); err != nil {
			return classify(err)
		}
	case version == 0:
		return fmt.Errorf("%w: no schema table", ErrDamaged)
	}
	if err := tx.QueryRowContext(ctx, `SELECT version FROM schema`).Scan(&version); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if version > len(steps) {
		return fmt.Errorf("%w: schema %d, this version knows %d", ErrNewer, version, len(steps))
	}
	if version == len(steps) {
		return nil
	}
	for _, step := range steps[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return classify(err)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE schema SET version = ?`, len(steps)); err != nil {
		return classify(err)
	}
	return classify(tx.Commit())
}

// statements prepares each statement once, on one connection or on a pool.
type statements struct {
	on interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	prepared map[string]*sql.Stmt
}

// prepareAll prepares the given queries.
func prepareAll(ctx context.Context, on interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}, queries ...string,
) (statements, error) {
	s := statements{on: on, prepared: make(map[string]*sql.Stmt, len(queries))}
	for _, q := range queries {
		st, err := on.PrepareContext(ctx, q)
		if err != nil {
			return s, errors.Join(fmt.Errorf("prepare %q: %w", q, classify(err)), s.close())
		}
		s.prepared[q] = st
	}
	return s, nil
}

func (s statements) close() error {
	var errs []error
	for _, st := range s.prepared {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}
