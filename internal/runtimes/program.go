package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// programPrefix begins the folders of copies of Davy's program.
const programPrefix = "program-"

// Program puts this very program as an executable file into a folder of its
// own, from where sandboxes can be given it, and returns the folder. Programs
// of other versions go.
func (s *Store) Program(file string) (string, error) {
	if s.cfg.BootDir == "" {
		return "", errors.New("runtimes: a store without BootDir has no programs")
	}
	s.programs.Lock()
	defer s.programs.Unlock()
	if s.program[file] != "" {
		return s.program[file], nil
	}
	dir, err := s.writeProgram(file)
	if err != nil {
		return "", fmt.Errorf("copy the program: %w", err)
	}
	if s.program == nil {
		s.program = map[string]string{}
	}
	s.program[file] = dir
	return dir, nil
}

func (s *Store) writeProgram(file string) (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, self); err != nil {
		return "", err
	}
	name := programPrefix + hex.EncodeToString(hash.Sum(nil))[:16] + "-" + file
	dir := filepath.Join(s.cfg.BootDir, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(s.cfg.BootDir, ".tmp-program-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := copyProgram(filepath.Join(tmp, file), self); err != nil {
		return "", err
	}
	if err := publish(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	s.removePrograms(name)
	return dir, nil
}

func copyProgram(path string, self *os.File) error {
	if _, err := self.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, self)
	return errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
}

// removePrograms removes all but one. Sandboxes that run one of them keep it.
func (s *Store) removePrograms(keep string) {
	entries, err := os.ReadDir(s.cfg.BootDir)
	if err != nil {
		return // they take some space, no more
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), programPrefix) && e.Name() != keep {
			_ = os.RemoveAll(filepath.Join(s.cfg.BootDir, e.Name()))
		}
	}
}
