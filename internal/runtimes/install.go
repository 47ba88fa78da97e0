package runtimes

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what Install unpacks.
const (
	maxArchive  = 256 << 20
	maxUnpacked = 1 << 30
)

// Install unpacks a runtime's archive, as npm pack fetched it, into the store.
// The error wraps ErrIntegrity when the file is not the one that is pinned.
// A runtime that is installed already stays.
func (s *Store) Install(ctx context.Context, name, archive string) error {
	r, err := Lookup(name)
	if err != nil {
		return err
	}
	pinned, err := r.Archive()
	if err != nil {
		return err
	}
	dir := s.runtimeDir(r)
	if isDir(dir) {
		return nil
	}
	content, err := readArchive(archive)
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	sum := sha512.Sum512(content)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != pinned.Integrity {
		return fmt.Errorf("install %s: %w: %s is %s, want %s (%s)", name, ErrIntegrity, archive, got, pinned.Integrity, pinned.Spec())
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, ".tmp-runtime-*")
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	defer os.RemoveAll(tmp)
	if err := unpack(ctx, content, tmp); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	if err := publish(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install %s: %w", name, err)
	}
	s.cfg.Log.InfoContext(ctx, "runtime installed", "runtime", name, "version", pinned.Version)
	return nil
}

// InstallFrom installs what scripts/fetch-runtimes left in a folder: the
// archives that are there, and the SDKs.
func (s *Store) InstallFrom(ctx context.Context, dir string) error {
	for _, r := range All() {
		if r.Family != NodeJS {
			continue // of the host, or of the function
		}
		a, err := r.Archive()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, a.FileName())
		if _, err := os.Stat(file); err != nil {
			continue
		}
		if err := s.Install(ctx, r.Name, file); err != nil {
			return err
		}
	}
	if sdk := filepath.Join(dir, "python-sdk"); isFile(filepath.Join(sdk, "requirements.txt")) { // written last
		if err := s.InstallPythonSDK(ctx, sdk); err != nil {
			return err
		}
	}
	if sdk := filepath.Join(dir, "sdk"); isDir(sdk) {
		return s.InstallSDK(ctx, sdk)
	}
	return nil
}

func readArchive(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxArchive+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxArchive {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxArchive)
	}
	return content, nil
}

// unpack writes what a function needs of an archive into dir: bin and the
// licence. Everything else in it is headers and manuals.
func unpack(ctx context.Context, archive []byte, dir string) error {
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	tr := tar.NewReader(io.LimitReader(zr, maxUnpacked))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// npm's archives have one folder at the top.
		_, name, _ := strings.Cut(h.Name, "/")
		if !filepath.IsLocal(name) {
			return fmt.Errorf("archive holds %q", h.Name)
		}
		if h.Typeflag != tar.TypeReg || (!strings.HasPrefix(name, "bin/") && name != "LICENSE") {
			continue
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := writeFile(filepath.Join(dir, name), tr, mode); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "bin", "node")); err != nil {
		return errors.New("archive holds no bin/node")
	}
	return nil
}

func writeFile(path string, r io.Reader, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
