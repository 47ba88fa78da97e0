package runtimes

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sdkLock pins the AWS SDKs that the Node.js runtimes carry, every package
// with its hash, which npm ci checks.
//
//go:embed sdk/package-lock.json
var sdkLock []byte

// sdkDir is where the SDKs of this version of Davy are, if installed.
func (s *Store) sdkDir() string {
	sum := sha256.Sum256(sdkLock)
	return filepath.Join(s.cfg.Dir, "sdk-"+hex.EncodeToString(sum[:])[:16])
}

type lockFile struct {
	Packages map[string]struct {
		Version   string `json:"version"`
		Integrity string `json:"integrity"`
	} `json:"packages"`
}

// InstallSDK copies the AWS SDKs into the store from a folder where npm ci
// installed them by sdk/package-lock.json. The error wraps ErrIntegrity when
// they are not the ones pinned there.
func (s *Store) InstallSDK(ctx context.Context, from string) error {
	dir := s.sdkDir()
	if isDir(dir) {
		return nil
	}
	modules := filepath.Join(from, "node_modules")
	if err := checkSDK(modules); err != nil {
		return fmt.Errorf("install SDKs: %w", err)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("install SDKs: %w", err)
	}
	tmp, err := os.MkdirTemp(s.cfg.Dir, ".tmp-sdk-*")
	if err != nil {
		return fmt.Errorf("install SDKs: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := copySDK(ctx, modules, filepath.Join(tmp, "node_modules")); err != nil {
		return fmt.Errorf("install SDKs: %w", err)
	}
	if err := publish(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("install SDKs: %w", err)
	}
	s.cfg.Log.InfoContext(ctx, "AWS SDKs installed")
	return nil
}

// checkSDK compares what npm says it installed with the pinned packages.
func checkSDK(modules string) error {
	b, err := os.ReadFile(filepath.Join(modules, ".package-lock.json"))
	if err != nil {
		return err
	}
	var want, got lockFile
	if err := json.Unmarshal(sdkLock, &want); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("%s: %w", modules, err)
	}
	delete(want.Packages, "") // the project itself
	for name, p := range want.Packages {
		if got.Packages[name] != p {
			return fmt.Errorf("%w: %s in %s is %q, want %q", ErrIntegrity, name, modules, got.Packages[name].Version, p.Version)
		}
	}
	if len(got.Packages) != len(want.Packages) {
		return fmt.Errorf("%w: %s holds %d packages, want %d", ErrIntegrity, modules, len(got.Packages), len(want.Packages))
	}
	return nil
}

// copySDK copies packages without what Node.js never loads: type
// declarations, source maps, and builds for browsers and bundlers.
func copySDK(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir() && unusedFolder(from, rel):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular() || unusedFile(d.Name()):
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return writeFile(target, f, 0o644)
	})
}

func unusedFile(name string) bool {
	for _, suffix := range []string{".d.ts", ".d.mts", ".d.cts", ".map", ".md"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return name == ".package-lock.json"
}

func unusedFolder(root, rel string) bool {
	switch filepath.Base(rel) {
	case ".bin", "dist-types":
		return true
	case "dist":
		return rel == filepath.Join("aws-sdk", "dist")
	case "dist-es":
		// Without "exports", Node.js loads "main" only, which is CommonJS.
		b, err := os.ReadFile(filepath.Join(root, filepath.Dir(rel), "package.json"))
		return err == nil && !strings.Contains(string(b), `"exports"`)
	default:
		return false
	}
}
