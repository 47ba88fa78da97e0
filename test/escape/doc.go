// Package escape holds hostile programs and the proof that a sandbox stops
// them.
//
// Each row of the table in escape_test.go is one attempt. It names the
// defence that stops it, is made in a full sandbox, where it must be stopped,
// and once more where it must get through: in a sandbox with that defence left
// out, or on the host. A row that cannot fail shows nothing.
//
// The whole table runs on every engine: Davy's own namespaces, runc, and gVisor
// where its runsc is installed. What an engine does otherwise is in the table
// with the reason (row.on, onOwnKernel).
//
// Passing is no proof of isolation. The host's kernel is shared; a bug in it
// that is reached through what the filter allows is outside of this suite.
package escape
