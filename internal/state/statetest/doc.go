// Package statetest says what a state.Store must do: a conformance suite that
// every engine passes, and Memory, the plain model of a store, which unit
// tests of other packages may use as theirs.
package statetest
