// Package sqlite is the embedded engine of package state, for one machine: one
// SQLite file for documents, rows and messages, and one a day for logs.
//
// A single committer goroutine owns the only writing connection and takes
// whatever batches have arrived as one transaction, so that many callers share
// one sync (group commit). The file is in WAL mode with synchronous=FULL: what
// Commit acknowledged is on the disk. Readers have their own connections and
// never wait for the committer.
//
//	callers ──batch──▶ requests ──▶ committer ──BEGIN, batches, COMMIT──▶ state.db-wal
//	   ▲                               │
//	   └───────────── result ──────────┘ after the sync
//
// A revision is a number that the committer counts up, one a batch. The
// documents and messages of a batch have ids revision<<16 + position, so one
// integer key gives uniqueness, order and revision at once.
//
// SQLite must not live on a network file system.
package sqlite
