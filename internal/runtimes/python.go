package runtimes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// hostPrefixes are where a host's Python may be. Sandboxes have /usr, and
// nothing of what a user installed in a home folder.
var hostPrefixes = []string{"/usr", "/usr/local"}

// pythonSDKMinor is the first Python 3.MINOR that the pinned boto3 runs on.
const pythonSDKMinor = 10

// hostPython is a Python that the host brings.
type hostPython struct {
	path    string // of the executable, without symbolic links
	version string
	boto3   bool // the host has a package of it for this Python
}

// findHostPython finds the interpreter of a minor version, with its library.
func (s *Store) findHostPython(minor int) (hostPython, error) {
	if s.cfg.HostPython == "none" {
		return hostPython{}, errors.New("use of the host's python is switched off")
	}
	name := "python3." + strconv.Itoa(minor)
	prefixes := hostPrefixes
	if s.cfg.HostPython != "" {
		prefixes = []string{s.cfg.HostPython}
	}
	for _, prefix := range prefixes {
		real, err := filepath.EvalSymlinks(filepath.Join(prefix, "bin", name))
		if err != nil || !strings.HasPrefix(real, prefix+"/") {
			continue
		}
		library := ""
		for _, lib := range []string{"lib", "lib64"} {
			if dir := filepath.Join(prefix, lib, name); isFile(filepath.Join(dir, "os.py")) {
				library = dir
			}
		}
		if library == "" {
			continue // an interpreter alone does not start
		}
		version, err := pythonVersion(real, minor)
		if err != nil {
			return hostPython{}, err
		}
		return hostPython{path: real, version: version, boto3: hasBoto3(prefix, library)}, nil
	}
	return hostPython{}, fmt.Errorf("the host has no %s (with its library) in %s; install your distribution's package of it", name, strings.Join(prefixes, " or "))
}

func hasBoto3(prefix, library string) bool {
	for _, dir := range []string{filepath.Join(prefix, "lib/python3/dist-packages"), filepath.Join(library, "site-packages"), filepath.Join(library, "dist-packages")} {
		if isDir(filepath.Join(dir, "boto3")) {
			return true
		}
	}
	return false
}

// pythonVersion reads the release out of a Python executable, or the library
// that it is linked against, without running it.
func pythonVersion(path string, minor int) (string, error) {
	release := regexp.MustCompile(`\x00(3\.` + strconv.Itoa(minor) + `\.\d{1,3})(?:\+|(?:a|b|rc)\d+)?\x00`)
	candidates := []string{path}
	for _, dir := range append([]string{"/usr/local/lib"}, libraryFolders...) {
		candidates = append(candidates, fmt.Sprintf("%s/libpython3.%d.so.1.0", dir, minor))
	}
	for _, file := range candidates {
		if version, err := scanRelease(file, release); err == nil {
			return version, nil
		}
	}
	return "", fmt.Errorf("%s does not tell its version", path)
}

func (s *Store) launchPython(r Runtime, boot string) (Launch, error) {
	host, err := s.python(r.Minor)
	if err != nil {
		return Launch{}, fmt.Errorf("%w: %s: %w", ErrNotInstalled, r.Name, err)
	}
	l := Launch{
		Runtime: r,
		Version: host.version,
		Args:    []string{host.path, RuntimeDir + "/bootstrap.py"},
		Env: append(
			commonEnv(),
			"PYTHONPATH="+RuntimeDir,
		),
		Mounts: []Mount{{Source: boot, Target: RuntimeDir}},
		HasSDK: host.boto3,
	}
	if sdk := s.pythonSDKDir(); r.Minor >= pythonSDKMinor && s.present(sdk) {
		l.HasSDK = true
		l.Mounts = append(l.Mounts, Mount{Source: sdk, Target: fmt.Sprintf("%s/lib/python3.%d/site-packages", langDir, r.Minor)})
	}
	return l, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
