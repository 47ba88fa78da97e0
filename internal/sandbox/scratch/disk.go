package scratch

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// How often the disk is looked at: often enough that what is between now and
// the reserve cannot be filled before the next look.
const (
	fastest = 4 << 30 // bytes that all volumes together write in a second
	soonest = 50 * time.Millisecond
	latest  = 5 * time.Second
)

// watch keeps the disk from running full while volumes are in use.
func (s *Store) watch(ctx context.Context) {
	for {
		var next <-chan time.Time
		if s.inUse() {
			next = time.After(s.look())
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-s.used:
		}
	}
}

func (s *Store) inUse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.volumes) > 0
}

// look compares the disk with the reserve, brakes or releases the volumes, and
// says when to look again.
func (s *Store) look() time.Duration {
	free, err := s.space()
	if err != nil {
		s.cfg.Log.Error("free space of the disk is unknown", "error", err)
		return latest
	}
	room := free - s.cfg.ReserveBytes
	if room <= 0 && !s.isLow() {
		// What functions have deleted is still taken until it is trimmed.
		s.trim()
		if free, err = s.space(); err == nil {
			room = free - s.cfg.ReserveBytes
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Released with some distance, so that it does not go to and fro.
	low := room <= 0 || s.low && room < s.cfg.ReserveBytes/8
	if low != s.low {
		s.low = low
		held := int64(0)
		for v := range s.volumes {
			held += v.onDisk()
			if err := v.brake(low); err != nil {
				s.cfg.Log.Error("volume cannot be limited", "error", err)
			}
		}
		s.cfg.Log.Warn("disk space for /tmp of functions", "exhausted", low, "free", free, "reserve", s.cfg.ReserveBytes, "held", held)
	}
	if low {
		return latest / 5
	}
	return min(max(time.Duration(room)*time.Second/fastest, soonest), latest)
}

func (s *Store) isLow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low
}

// nearlyFull tells of a disk whose last blocks are for what needs them at once.
func (s *Store) nearlyFull() bool {
	free, err := s.space()
	return err == nil && free < s.cfg.ReserveBytes/16
}

func (s *Store) trim() {
	s.mu.Lock()
	volumes := slices.Collect(maps.Keys(s.volumes))
	s.mu.Unlock()
	for _, v := range volumes {
		if err := v.trim(); err != nil {
			s.cfg.Log.Error("volume cannot be trimmed", "error", err)
		}
	}
}

// free is what an ordinary user may still write to the disk.
func (s *Store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(s.dir.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: s.dir.Name(), Err: err}
	}
	if st.Bavail > 1<<50 || st.Bsize <= 0 {
		return 0, fmt.Errorf("statfs %s: %d blocks of %d bytes", s.dir.Name(), st.Bavail, st.Bsize)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
