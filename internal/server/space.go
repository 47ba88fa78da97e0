package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"davy/internal/blob"
	"davy/internal/metrics"
	"davy/internal/state"
	"davy/internal/state/sqlite"
)

// isFull: the reserve has told of the full disk, once for all requests.
func isFull(err error) bool { return errors.Is(err, state.ErrFull) || errors.Is(err, blob.ErrFull) }

// diskMetrics tells how much room the data directory has.
func diskMetrics(r *metrics.Registry, reserve *sqlite.Reserve, dir string) {
	r.Gauge("davy_disk_free_bytes", "What the server may still write to the file system of the data directory.", "", func() map[string]float64 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return nil
		}
		return map[string]float64{"": float64(st.Bavail) * float64(st.Bsize)}
	})
	r.Gauge("davy_disk_full", "1: the disk was found full, and what takes space is refused.", "", func() map[string]float64 {
		full := 0.0
		if reserve.Full() {
			full = 1
		}
		return map[string]float64{"": full}
	})
}
