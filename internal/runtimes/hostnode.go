package runtimes

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A Node.js executable names its own release, in the address of its headers.
var nodeRelease = regexp.MustCompile(`/v(\d{2,3}\.\d+\.\d+)/node-v`)

// Distributions link node against libnode.so.ABI, which then names the release.
var libraryFolders = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"}

// lookPath finds an executable of the host and returns its real path.
func lookPath(name string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, name))
			}
		}
	}
	for _, c := range candidates {
		if info, err := os.Stat(c); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.EvalSymlinks(c)
		}
	}
	return "", fmt.Errorf("the host has no %s in PATH", name)
}

// nodeVersion reads the version out of a Node.js executable without running it.
func nodeVersion(path string) (string, error) {
	exe, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s is not a node executable: %w", path, err)
	}
	libs, err := exe.ImportedLibraries()
	exe.Close()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	candidates := []string{path}
	for _, lib := range libs {
		if strings.HasPrefix(lib, "libnode.so") {
			for _, dir := range libraryFolders {
				candidates = append(candidates, dir+"/"+lib)
			}
		}
	}
	for _, file := range candidates {
		if version, err := scanRelease(file, nodeRelease); err == nil {
			return version, nil
		}
	}
	return "", fmt.Errorf("%s does not tell its version", path)
}

func scanRelease(path string, release *regexp.Regexp) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const overlap = 64
	r := bufio.NewReaderSize(f, 1<<20)
	buf := make([]byte, 0, 1<<20+overlap)
	for {
		keep := min(len(buf), overlap)
		copy(buf[:keep], buf[len(buf)-keep:])
		n, err := io.ReadAtLeast(r, buf[keep:cap(buf)], 1)
		buf = buf[:keep+n]
		if m := release.FindSubmatch(buf); m != nil {
			return string(m[1]), nil
		}
		if err != nil {
			return "", errors.New("no release found")
		}
	}
}

// knowsOptions tells whether a release of Node.js knows what Runtime.Disabled
// turns off. In older ones of the host's it is off, or not there.
func knowsOptions(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	return err == nil && (major != "20" || n >= 19)
}
