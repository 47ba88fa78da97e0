package runtimes

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

//go:embed bootstrap
var bootstraps embed.FS

// Paths inside an execution environment.
const (
	RuntimeDir = "/var/runtime" // bootstrap, LAMBDA_RUNTIME_DIR
	CAFile     = "/var/runtime/ca-cert.pem"
	BundleFile = "/var/runtime/ca-bundle.pem" // that authority and the public ones
	TaskRoot   = "/var/task"                  // the function's code, LAMBDA_TASK_ROOT
	LayerDir   = "/opt"

	// SDKScope begins the names of the AWS SDK's packages, which runtimes
	// carry. SDKModule is the one of them that the others have most in common
	// with.
	SDKScope  = "@aws-sdk/"
	SDKModule = "@aws-sdk/client-s3"

	langDir = "/var/lang"
)

// ModulesView names the folder of links to all modules that layers have for a
// release of Node.js.
func ModulesView(major string) string { return "modules-" + NodeJS + major }

// LayerModules are the folders of layers with modules for a release of Node.js:
// what is made for the release comes first.
// https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html
func LayerModules(major string) []string {
	return []string{"nodejs/node" + major + "/node_modules", "nodejs/node_modules"}
}

// writeBootstrap puts the bootstrap and the authority's certificate into a
// folder named by their content, once.
func (s *Store) writeBootstrap(name string) (string, error) {
	src, err := fs.Sub(bootstraps, path.Join("bootstrap", name))
	if err != nil {
		return "", err
	}
	files := map[string][]byte{"ca-cert.pem": s.cfg.CAPEM}
	hash := sha256.New()
	entries, err := fs.ReadDir(src, ".")
	if err != nil && name != Provided { // which has none of Davy's
		return "", fmt.Errorf("bootstrap %q: %w", name, err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(src, e.Name())
		if err != nil {
			return "", err
		}
		files[e.Name()] = b
		fmt.Fprintf(hash, "%s %d\n%s", e.Name(), len(b), b)
	}
	hash.Write(s.cfg.CAPEM)
	bundle := slices.Concat(s.cfg.CAPEM, s.cfg.PublicCAs)
	files["ca-bundle.pem"] = bundle
	hash.Write(bundle)

	dir := filepath.Join(s.cfg.BootDir, "bootstrap-"+name+"-"+hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(s.cfg.BootDir, ".tmp-bootstrap-*")
	if err != nil {
		return "", fmt.Errorf("write bootstrap: %w", err)
	}
	defer os.RemoveAll(tmp)
	for file, b := range files {
		if err := os.WriteFile(filepath.Join(tmp, file), b, 0o644); err != nil {
			return "", fmt.Errorf("write bootstrap: %w", err)
		}
	}
	// A mount point for the SDKs.
	if err := os.Mkdir(filepath.Join(tmp, "node_modules"), 0o755); err != nil {
		return "", fmt.Errorf("write bootstrap: %w", err)
	}
	if err := publish(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write bootstrap: %w", err)
	}
	return dir, nil
}

// publish makes a finished folder visible under its name, durably.
func publish(tmp, dir string) error {
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}
