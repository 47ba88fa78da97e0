// Package fulldisk holds the proof that a disk without a free block costs
// nothing that was acknowledged: a real server on a small file system that is
// really full. There is nothing to import here.
//
// Writers of every kind write until each is refused, and another program takes
// what is left. Then what is refused, what goes on, what a kill and a restart
// leave, and what deletions give back is compared with what was acknowledged.
package fulldisk
