package runtimes

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// pythonLock pins the wheels of boto3 and what it needs, in pip's format with
// hashes. They are Python code alone, the same for each version and machine.
//
//go:embed sdk/requirements.txt
var pythonLock string

// pythonSDKDir is where boto3 of this version of Davy is, if installed.
func (s *Store) pythonSDKDir() string {
	sum := sha256.Sum256([]byte(pythonLock))
	return filepath.Join(s.cfg.Dir, "python-sdk-"+hex.EncodeToString(sum[:])[:16])
}

// wheel is one pinned package.
type wheel struct {
	name, version, sha256 string
}

// pinnedWheels reads lines such as "six==1.17.0 --hash=sha256:HEX".
func pinnedWheels() ([]wheel, error) {
	var wheels []wheel
	for line := range strings.Lines(pythonLock) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		name, version, ok := strings.Cut(f[0], "==")
		if !ok || len(f) != 2 || !strings.HasPrefix(f[1], "--hash=sha256:") {
			return nil, fmt.Errorf("runtimes: bad pin %q", line)
		}
		wheels = append(wheels, wheel{name, version, strings.TrimPrefix(f[1], "--hash=sha256:")})
	}
	return wheels, nil
}

// InstallPythonSDK unpacks boto3 and what it needs into the store, out of a
// folder with the wheels that pip downloaded. The error wraps ErrIntegrity
// when one of them is missing or is not the one that is pinned.
//
// Compiled code that lies beside them, in compiled/, is copied too: functions
// cannot write theirs, and would compile the SDK at every cold start.
func (s *Store) InstallPythonSDK(ctx context.Context, from string) error {
	dir := s.pythonSDKDir()
	if isDir(dir) {
		return nil
	}
	files, err := wheelsIn(from)
	if err != nil {
		return fmt.Errorf("install boto3: %w", err)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("install boto3: %w", err)
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, ".tmp-python-*")
	if err != nil {
		return fmt.Errorf("install boto3: %w", err)
	}
	defer os.RemoveAll(tmp)
	for _, file := range files {
		if err := unpackWheel(ctx, file, tmp); err != nil {
			return fmt.Errorf("install boto3: %s: %w", filepath.Base(file), err)
		}
	}
	if err := copyCompiled(ctx, filepath.Join(from, "compiled"), tmp); err != nil {
		return fmt.Errorf("install boto3: %w", err)
	}
	if err := publish(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install boto3: %w", err)
	}
	s.cfg.Log.InfoContext(ctx, "boto3 installed")
	return nil
}

// wheelsIn finds the pinned wheels in a folder by their hashes.
func wheelsIn(dir string) ([]string, error) {
	pinned, err := pinnedWheels()
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		return nil, err
	}
	byHash := map[string]string{}
	for _, file := range found {
		content, err := readArchive(file)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		byHash[hex.EncodeToString(sum[:])] = file
	}
	var files []string
	for _, w := range pinned {
		file, ok := byHash[w.sha256]
		if !ok {
			return nil, fmt.Errorf("%w: no file in %s is %s %s with sha256 %s", ErrIntegrity, dir, w.name, w.version, w.sha256)
		}
		files = append(files, file)
	}
	return files, nil
}

// unpackWheel writes a wheel's modules into dir.
func unpackWheel(ctx context.Context, file, dir string) error {
	content, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer content.Close()
	var size uint64
	for _, entry := range content.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !filepath.IsLocal(entry.Name) {
			return fmt.Errorf("wheel holds %q", entry.Name)
		}
		// Scripts for a command line and the like.
		if strings.Contains(entry.Name, ".data/") || !entry.Mode().IsRegular() {
			continue
		}
		if size += entry.UncompressedSize64; size > maxUnpacked {
			return fmt.Errorf("wheel holds more than %d bytes", maxUnpacked)
		}
		r, err := entry.Open()
		if err != nil {
			return err
		}
		// Go's reader ends with an error beyond the size that was declared.
		err = writeFile(filepath.Join(dir, entry.Name), r, 0o644)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// copyCompiled copies what belongs to modules that are there.
func copyCompiled(ctx context.Context, from, to string) error {
	if !isDir(from) {
		return nil
	}
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(file, ".pyc") {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		folder, name := path.Split(filepath.ToSlash(rel))
		module, _, _ := strings.Cut(name, ".")
		if !isFile(filepath.Join(to, path.Dir(path.Clean(folder)), module+".py")) {
			return nil
		}
		r, err := os.Open(file)
		if err != nil {
			return err
		}
		defer r.Close()
		return writeFile(filepath.Join(to, rel), io.LimitReader(r, maxArchive), 0o644)
	})
}
