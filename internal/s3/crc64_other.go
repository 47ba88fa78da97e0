//go:build !amd64

package s3

// foldNVME sums nothing where this program has no instructions for it.
func foldNVME(sum uint64, p []byte) (uint64, []byte) { return sum, p }
