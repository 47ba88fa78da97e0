package runtimes

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fetched is where scripts/fetch-runtimes put its files.
func fetched(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("DAVY_FETCHED_RUNTIMES")
	if dir == "" {
		t.Skip("DAVY_FETCHED_RUNTIMES is not set: run scripts/fetch-runtimes DIR and set it to DIR")
	}
	return dir
}

func newStore(t *testing.T, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: filepath.Join(t.TempDir(), "runtimes"), BootDir: filepath.Join(t.TempDir(), "boot"), CAPEM: []byte("an authority\n")}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArchives_EveryRuntimeIsPinnedForEveryMachine(t *testing.T) {
	for _, r := range All() {
		if r.Family != NodeJS {
			continue
		}
		for _, arch := range []string{"amd64", "arm64"} {
			a, err := r.archiveFor(arch)
			if err != nil {
				t.Errorf("%s on %s: %v", r.Name, arch, err)
				continue
			}
			if major, _, _ := strings.Cut(a.Version, "."); "nodejs"+major+".x" != r.Name {
				t.Errorf("%s is pinned to version %s", r.Name, a.Version)
			}
			if len(a.Integrity) != len("sha512-")+88 {
				t.Errorf("%s on %s: integrity %q is no SHA-512", r.Name, arch, a.Integrity)
			}
		}
	}
	if _, err := All()[0].archiveFor("mips"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("archive for an unknown machine: %v", err)
	}
}

func TestLookup_Unknown(t *testing.T) {
	if _, err := Lookup("nodejs18.x"); !errors.Is(err, ErrUnknown) {
		t.Fatalf("Lookup = %v, want ErrUnknown", err)
	}
}

func TestLock_NamesNoServerAndEveryHash(t *testing.T) {
	if bytes.Contains(sdkLock, []byte("http")) && bytes.Contains(sdkLock, []byte(`"resolved"`)) {
		t.Error("sdk/package-lock.json names where packages come from; use npm's omit-lockfile-registry-resolved")
	}
	var lock lockFile
	if err := json.Unmarshal(sdkLock, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s has integrity %q", name, p.Integrity)
		}
	}
	for _, name := range []string{"aws-sdk", "@aws-sdk/client-s3", "@aws-sdk/client-lambda", "@aws-sdk/lib-storage"} {
		if _, ok := lock.Packages["node_modules/"+name]; !ok {
			t.Errorf("the runtimes carry no %s", name)
		}
	}
}

func TestInstall_RefusesAnotherArchive(t *testing.T) {
	s := newStore(t, func(c *Config) { c.HostNode = "none" })
	file := filepath.Join(t.TempDir(), "node.tgz")
	if err := os.WriteFile(file, archive(t, map[string]string{"package/bin/node": "evil"}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Install(t.Context(), "nodejs22.x", file); !errors.Is(err, ErrIntegrity) {
		t.Fatalf("Install = %v, want ErrIntegrity", err)
	}
	if _, err := s.Launch(t.Context(), "nodejs22.x"); !errors.Is(err, ErrNotInstalled) {
		t.Fatalf("Launch after it = %v, want ErrNotInstalled", err)
	}
	assertNoTemporaries(t, s)
}

func TestUnpack(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string
		err   string
	}{
		{"keeps bin and licence", map[string]string{
			"package/bin/node": "x", "package/LICENSE": "l", "package/include/node/v8.h": "h",
		}, []string{"LICENSE", "bin/node"}, ""},
		{"escape by dots", map[string]string{"package/bin/node": "x", "package/../../evil": "x"}, nil, "archive holds"},
		{"absolute", map[string]string{"package//etc/passwd": "x", "package/bin/node": "x"}, nil, "archive holds"},
		{"no node", map[string]string{"package/README": "x"}, nil, "no bin/node"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			err := unpack(t.Context(), archive(t, tc.files), dir)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("unpack = %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
				if !d.IsDir() {
					rel, _ := filepath.Rel(dir, path)
					got = append(got, rel)
				}
				return nil
			})
			if !slices.Equal(got, tc.want) {
				t.Fatalf("unpacked %q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add(archive(f, map[string]string{"package/bin/node": "x"}))
	f.Add(archive(f, map[string]string{"../../x": "x"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		_ = unpack(t.Context(), b, dir)
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "in" {
				t.Fatalf("%q was written outside", e.Name())
			}
		}
	})
}

func TestInstallSDK_RefusesOtherPackages(t *testing.T) {
	s := newStore(t, nil)
	from := t.TempDir()
	modules := filepath.Join(from, "node_modules")
	if err := os.Mkdir(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	lock := `{"packages":{"node_modules/aws-sdk":{"version":"2.1693.0","integrity":"sha512-evil"}}}`
	if err := os.WriteFile(filepath.Join(modules, ".package-lock.json"), []byte(lock), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.InstallSDK(t.Context(), from); !errors.Is(err, ErrIntegrity) {
		t.Fatalf("InstallSDK = %v, want ErrIntegrity", err)
	}
}

func TestInstallFrom_Fetched(t *testing.T) {
	from := fetched(t)
	s := newStore(t, func(c *Config) { c.HostNode = "none" })
	if err := s.InstallFrom(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	if err := s.InstallFrom(t.Context(), from); err != nil {
		t.Fatalf("installing again: %v", err)
	}
	for _, st := range s.List(t.Context()) {
		if st.Runtime.Family != NodeJS {
			continue
		}
		if st.Source != "installed" {
			t.Errorf("%s: source %q, %s", st.Runtime.Name, st.Source, st.Missing)
		}
		l, err := s.Launch(t.Context(), st.Runtime.Name)
		if err != nil || !l.HasSDK {
			t.Errorf("Launch(%s) = %+v, %v", st.Runtime.Name, l, err)
		}
	}
	assertNoTemporaries(t, s)
}

func TestLaunch_HostNode(t *testing.T) {
	s := newStore(t, nil)
	host, err := s.host()
	if err != nil {
		t.Skipf("the host has no usable node: %v", err)
	}
	major, _, _ := strings.Cut(host.version, ".")
	if _, err := Lookup("nodejs" + major + ".x"); err != nil {
		t.Skipf("the host's node %s is none of the runtimes", host.version)
	}
	l, err := s.Launch(t.Context(), "nodejs"+major+".x")
	if err != nil {
		t.Fatal(err)
	}
	if l.Version != host.version || l.HasSDK {
		t.Errorf("Launch = %+v, want version %s without SDKs", l, host.version)
	}
	ca, err := os.ReadFile(filepath.Join(l.Mounts[0].Source, "ca-cert.pem"))
	if err != nil || string(ca) != "an authority\n" {
		t.Errorf("certificate = %q, %v", ca, err)
	}
}

func TestNew_AnotherAuthorityIsAnotherBootstrap(t *testing.T) {
	dir := t.TempDir()
	a := newStore(t, func(c *Config) { c.BootDir = dir })
	again := newStore(t, func(c *Config) { c.BootDir = dir })
	b := newStore(t, func(c *Config) { c.BootDir, c.CAPEM = dir, []byte("another") })
	if a.boot["nodejs"] != again.boot["nodejs"] || a.boot["nodejs"] == b.boot["nodejs"] {
		t.Fatalf("bootstraps: %s, again %s, another %s", a.boot["nodejs"], again.boot["nodejs"], b.boot["nodejs"])
	}
}

// Programs that Davy has no part in get the public authorities in the file that
// they trust; managed runtimes, which trust the installation's for AWS's names
// only, do not find it there beside others.
func TestLaunch_PublicAuthorities(t *testing.T) {
	s := newStore(t, func(c *Config) { c.PublicCAs = []byte("public ones\n") })
	l, err := s.Launch(t.Context(), "provided.al2023")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(l.Mounts[0].Source, filepath.Base(BundleFile)))
	if err != nil || string(bundle) != "an authority\npublic ones\n" {
		t.Errorf("bundle %q, %v", bundle, err)
	}
	if !slices.Contains(l.Env, "SSL_CERT_FILE="+BundleFile) || !slices.Contains(l.Env, "AWS_CA_BUNDLE="+BundleFile) {
		t.Errorf("environment %q", l.Env)
	}
	for _, family := range []string{"nodejs", "python"} {
		own, err := os.ReadFile(filepath.Join(s.boot[family], filepath.Base(CAFile)))
		if err != nil || string(own) != "an authority\n" {
			t.Errorf("%s trusts %q, %v", family, own, err)
		}
	}
}

func archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func assertNoTemporaries(t *testing.T, s *Store) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.cfg.Dir, ".tmp-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestNew_WithoutBootDirWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	t.Chdir(t.TempDir())
	s, err := New(Config{Dir: dir, HostNode: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.List(t.Context())); n != len(All()) {
		t.Errorf("List has %d lines", n)
	}
	if _, err := s.Launch(t.Context(), "nodejs22.x"); err == nil {
		t.Error("Launch without a bootstrap succeeds")
	}
	if isDir(dir) {
		t.Errorf("%s was made", dir)
	}
	if left, _ := filepath.Glob("*"); len(left) != 0 {
		t.Errorf("left in the working directory: %q", left)
	}
}
