// Package load holds the proof that Davy stands load and leaves nothing behind:
// real servers with many clients, counted before and after, and killed in the
// middle of it. There is nothing to import here.
//
// `make load` runs what continuous integration does; `make soak` repeats it for
// SOAK (a duration).
package load
