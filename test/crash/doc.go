// Package crash holds the proof that what the stores acknowledged is not lost:
// it kills real processes and models the loss of power, and counts what is
// missing afterwards. There is nothing to import here.
//
// A writer process commits batches that span a blob, a document, a row, a
// message and a log line, and says which were acknowledged on its standard
// output. The test kills it at a random moment, opens the same directory again
// and looks for every acknowledged batch, and for batches that are there by
// half.
package crash
