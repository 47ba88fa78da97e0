package runtimes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Config of a Store.
type Config struct {
	Dir     string // required: where runtimes are installed; only Install writes there. With View, a real path
	View    string // Dir as this process can reach it, when Dir is below a folder that it cannot pass; empty: Dir
	BootDir string // where the bootstraps are written, for Launch; empty: a store that installs and lists
	CAPEM   []byte // the authority that functions trust for AWS's host names; empty: none
	// PublicCAs are authorities, as PEM, that the programs of custom runtimes
	// trust besides; managed runtimes bring or find their own. Empty: none.
	PublicCAs []byte
	HostNode  string // a Node.js of the host, used for the runtime of its major version when that is not installed; empty: the one in PATH; "none": never
	// HostPython is the prefix under which the host's Python interpreters are;
	// empty: /usr and /usr/local; "none": they are not used.
	HostPython string
	Log        *slog.Logger // nil: discard
}

// Store finds and installs runtimes. Safe for concurrent use.
type Store struct {
	cfg  Config
	boot map[string]string // bootstrap name → folder
	host func() (hostNode, error)

	programs sync.Mutex
	program  map[string]string // folder of this program, by its file's name

	mu      sync.Mutex
	pythons map[int]func() (hostPython, error) // by minor version
}

// New opens the runtimes in cfg.Dir and writes the bootstraps to cfg.BootDir.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("runtimes: Dir is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.View == "" {
		if cfg.Dir, err = realPath(cfg.Dir); err != nil {
			return nil, fmt.Errorf("runtimes: %w", err)
		}
		cfg.View = cfg.Dir
	}
	s := &Store{cfg: cfg, boot: map[string]string{}}
	s.host = sync.OnceValues(s.findHostNode)
	s.pythons = map[int]func() (hostPython, error){}
	if cfg.BootDir == "" {
		return s, nil
	}
	if err := os.MkdirAll(cfg.BootDir, 0o755); err != nil {
		return nil, fmt.Errorf("runtimes: %w", err)
	}
	if s.cfg.BootDir, err = realPath(cfg.BootDir); err != nil {
		return nil, fmt.Errorf("runtimes: %w", err)
	}
	for _, r := range All() {
		if _, ok := s.boot[r.Bootstrap]; ok {
			continue
		}
		dir, err := s.writeBootstrap(r.Bootstrap)
		if err != nil {
			return nil, fmt.Errorf("runtimes: %w", err)
		}
		s.boot[r.Bootstrap] = dir
	}
	return s, nil
}

// Mount is a folder of the host that a runtime needs, read-only.
type Mount struct {
	Source string // on the host
	Target string // inside
}

// Launch is how a runtime is started in a sandbox.
type Launch struct {
	Runtime Runtime
	Version string   // of the interpreter that will run
	Args    []string // interpreter and bootstrap, paths inside; of a custom runtime: none
	Env     []string // what the runtime needs at process start, the same for all functions
	Mounts  []Mount
	HasSDK  bool // the AWS SDKs are installed
}

// Launch describes how to start a runtime. The error wraps ErrUnknown or
// ErrNotInstalled.
func (s *Store) Launch(_ context.Context, name string) (Launch, error) {
	r, err := Lookup(name)
	if err != nil {
		return Launch{}, err
	}
	boot, ok := s.boot[r.Bootstrap]
	if !ok {
		return Launch{}, errors.New("runtimes: Launch needs Config.BootDir")
	}
	return s.launch(r, boot)
}

func (s *Store) launch(r Runtime, boot string) (Launch, error) {
	switch r.Family {
	case Python:
		return s.launchPython(r, boot)
	case Provided:
		return s.launchCustom(r, boot), nil
	default:
		return s.launchNode(r, boot)
	}
}

// python finds the host's interpreter of a minor version, once.
func (s *Store) python(minor int) (hostPython, error) {
	s.mu.Lock()
	find := s.pythons[minor]
	if find == nil {
		find = sync.OnceValues(func() (hostPython, error) { return s.findHostPython(minor) })
		s.pythons[minor] = find
	}
	s.mu.Unlock()
	return find()
}

func (s *Store) launchNode(r Runtime, boot string) (Launch, error) {
	l := Launch{
		Runtime: r,
		Args:    []string{langDir + "/bin/node", RuntimeDir + "/index.js"},
		Env:     nodeEnv(r.Major),
		Mounts:  []Mount{{Source: boot, Target: RuntimeDir}},
	}
	if dir := s.runtimeDir(r); s.present(dir) {
		pinned, err := r.Archive()
		if err != nil {
			return Launch{}, err
		}
		l.Version = pinned.Version
		l.Mounts = append(l.Mounts, Mount{Source: dir, Target: langDir})
	} else {
		host, err := s.host()
		if err != nil {
			return Launch{}, fmt.Errorf("%w: %s: %w", ErrNotInstalled, r.Name, err)
		}
		if !strings.HasPrefix(host.version, strconv.Itoa(r.Major)+".") {
			return Launch{}, fmt.Errorf("%w: %s: the host's %s is version %s", ErrNotInstalled, r.Name, host.path, host.version)
		}
		l.Version = host.version
		l.Args[0] = host.path
		if !strings.HasPrefix(host.path, "/usr/") { // which every sandbox has
			l.Args[0] = langDir + "/bin/" + filepath.Base(host.path)
			l.Mounts = append(l.Mounts, Mount{Source: filepath.Dir(host.path), Target: langDir + "/bin"})
		}
	}
	if knowsOptions(l.Version) {
		for _, option := range r.Disabled {
			l.Args = slices.Insert(l.Args, 1, "--no-"+option)
		}
	}
	if sdk := s.sdkDir(); s.present(sdk) {
		l.HasSDK = true
		modules := filepath.Join(sdk, "node_modules")
		l.Mounts = append(
			l.Mounts,
			Mount{Source: modules, Target: RuntimeDir + "/node_modules"},
			// Where the search of every module ends, import as well as
			// require, after the function's own node_modules.
			Mount{Source: modules, Target: "/node_modules"},
		)
	}
	return l, nil
}

// Status is one line of `davy runtime list`.
type Status struct {
	Runtime Runtime
	Source  string // "installed", "host", "function" (a custom runtime) or ""
	Version string // of the interpreter, when there is one
	Missing string // why it cannot run, and what to do
}

// List tells for each runtime whether it can run.
func (s *Store) List(context.Context) []Status {
	var all []Status
	for _, r := range All() {
		st := Status{Runtime: r}
		switch l, err := s.launch(r, ""); {
		case err != nil:
			st.Missing = err.Error()
		case s.present(s.runtimeDir(r)):
			st.Source, st.Version = "installed", l.Version
		default:
			st.Source, st.Version = "host", l.Version
		}
		all = append(all, st)
	}
	return all
}

// runtimeDir is where a runtime is, if installed.
func (s *Store) runtimeDir(r Runtime) string {
	version := "unpinned"
	if a, err := r.Archive(); err == nil {
		version = a.Version
	}
	return filepath.Join(s.cfg.Dir, r.Name+"-"+version)
}

// hostNode is a Node.js that the host brings.
type hostNode struct {
	path    string // of the executable, without symbolic links
	version string
}

func (s *Store) findHostNode() (hostNode, error) {
	name := s.cfg.HostNode
	if name == "none" {
		return hostNode{}, errors.New("use of the host's node is switched off")
	}
	if name == "" {
		name = "node"
	}
	found, err := lookPath(name)
	if err != nil {
		return hostNode{}, err
	}
	version, err := nodeVersion(found)
	return hostNode{path: found, version: version}, err
}

// nodeEnv is AWS's environment of a Node.js process, as far as it is fixed
// before a function is assigned.
func nodeEnv(major int) []string {
	return append(
		commonEnv(),
		"NODE_PATH=/opt/nodejs/node"+strconv.Itoa(major)+"/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task",
	)
}

// commonEnv is what every runtime has.
func commonEnv() []string {
	return []string{
		"PATH=/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
		"LAMBDA_TASK_ROOT=" + TaskRoot,
		"LAMBDA_RUNTIME_DIR=" + RuntimeDir,
	}
}

// realPath is an absolute path without symbolic links, which a sandbox needs.
// It need not exist.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, nil
	}
	return real, err
}

// present tells whether a folder of Dir is there.
func (s *Store) present(dir string) bool {
	return isDir(filepath.Join(s.cfg.View, filepath.Base(dir)))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
