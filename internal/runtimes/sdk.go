package runtimes

import "path/filepath"

func (s *Store) sdkDir() string { return filepath.Join(s.cfg.Dir, "sdk") }
