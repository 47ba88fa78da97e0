package runtimes

import (
	"archive/zip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newPrefix makes a folder such as /usr with a Python in it.
func newPrefix(t *testing.T, minor, library string) string {
	t.Helper()
	prefix, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(prefix, "bin", "python3."+minor), "\x7fELF\x003."+minor+".23\x00 3."+minor+".99 \x003.99.1\x00")
	if library != "" {
		write(t, filepath.Join(prefix, library, "python3."+minor, "os.py"), "")
	}
	return prefix
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestLaunch_HostPython(t *testing.T) {
	for _, library := range []string{"lib", "lib64"} {
		prefix := newPrefix(t, "12", library)
		s := newStore(t, func(c *Config) { c.HostPython = prefix })
		l, err := s.Launch(t.Context(), "python3.12")
		if err != nil {
			t.Fatal(err)
		}
		if l.Version != "3.12.23" || l.Args[0] != prefix+"/bin/python3.12" || l.HasSDK {
			t.Errorf("Launch = %+v", l)
		}
	}
}

func TestLaunch_PythonThatCannotRun(t *testing.T) {
	outside := newPrefix(t, "13", "lib")
	linked := newPrefix(t, "12", "lib")
	if err := os.Symlink(outside+"/bin/python3.13", linked+"/bin/python3.13"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(linked, "lib", "python3.13", "os.py"), "")
	for name, prefix := range map[string]string{
		"switched off":              "none",
		"another version":           newPrefix(t, "12", "lib"),
		"no library":                newPrefix(t, "13", ""),
		"executable is not in /usr": linked,
	} {
		s := newStore(t, func(c *Config) { c.HostPython = prefix })
		if _, err := s.Launch(t.Context(), "python3.13"); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s: Launch = %v, want ErrNotInstalled", name, err)
		}
	}
}

func TestLaunch_HostBoto3(t *testing.T) {
	prefix := newPrefix(t, "12", "lib")
	write(t, filepath.Join(prefix, "lib/python3/dist-packages/boto3/__init__.py"), "")
	s := newStore(t, func(c *Config) { c.HostPython = prefix })
	if l, err := s.Launch(t.Context(), "python3.12"); err != nil || !l.HasSDK {
		t.Errorf("Launch = %+v, %v", l, err)
	}
}

func TestPythonLock_PinsEveryWheel(t *testing.T) {
	wheels, err := pinnedWheels()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range wheels {
		names = append(names, w.name)
		if len(w.sha256) != 64 {
			t.Errorf("%s has hash %q", w.name, w.sha256)
		}
	}
	if got := strings.Join(names, " "); got != "boto3 botocore jmespath python-dateutil s3transfer six urllib3" {
		t.Errorf("pinned: %s", got)
	}
}

func TestInstallPythonSDK_RefusesOtherWheels(t *testing.T) {
	s := newStore(t, nil)
	from := t.TempDir()
	for _, name := range []string{"boto3-1.44.5", "botocore-1.44.5", "six-1.17.0"} {
		write(t, filepath.Join(from, name+"-py3-none-any.whl"), "evil")
	}
	if err := s.InstallPythonSDK(t.Context(), from); !errors.Is(err, ErrIntegrity) {
		t.Fatalf("InstallPythonSDK = %v, want ErrIntegrity", err)
	}
	assertNoTemporaries(t, s)
}

func TestInstallPythonSDK_Fetched(t *testing.T) {
	from := filepath.Join(fetched(t), "python-sdk")
	s := newStore(t, func(c *Config) { c.HostPython = newPrefix(t, "12", "lib") })
	for range 2 {
		if err := s.InstallPythonSDK(t.Context(), from); err != nil {
			t.Fatal(err)
		}
	}
	l, err := s.Launch(t.Context(), "python3.12")
	if err != nil || !l.HasSDK {
		t.Fatalf("Launch = %+v, %v", l, err)
	}
	sdk := l.Mounts[len(l.Mounts)-1]
	if sdk.Target != "/var/lang/lib/python3.12/site-packages" {
		t.Errorf("mounted at %s", sdk.Target)
	}
	for _, file := range []string{"boto3/__init__.py", "botocore/data/endpoints.json", "six.py"} {
		if !isFile(filepath.Join(sdk.Source, file)) {
			t.Errorf("%s is missing", file)
		}
	}
	assertNoTemporaries(t, s)
}

func TestCopyCompiled_OnlyOfModulesThatAreThere(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(to, "a", "m.py"), "")
	for _, name := range []string{"a/__pycache__/m.cpython-312.pyc", "a/__pycache__/other.cpython-312.pyc", "b/__pycache__/m.cpython-312.pyc", "a/m.so", "m.pyc"} {
		write(t, filepath.Join(from, name), "x")
	}
	if err := copyCompiled(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{"a/__pycache__/m.cpython-312.pyc", "a/__pycache__/other.cpython-312.pyc", "b", "a/m.so", "m.pyc"} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			got = append(got, name)
		}
	}
	if len(got) != 1 || got[0] != "a/__pycache__/m.cpython-312.pyc" {
		t.Errorf("copied %q", got)
	}
}

func FuzzUnpackWheel(f *testing.F) {
	f.Add("boto3/__init__.py", "x")
	f.Add("../../x", "x")
	f.Add("/x", "x")
	f.Add("a/../../x", "")
	f.Fuzz(func(t *testing.T, name, content string) {
		parent := t.TempDir()
		file := filepath.Join(t.TempDir(), "w.whl")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		zw := zip.NewWriter(out)
		if w, err := zw.Create(name); err == nil {
			_, _ = w.Write([]byte(content))
		}
		if err := errors.Join(zw.Close(), out.Close()); err != nil {
			t.Skip(err)
		}
		_ = unpackWheel(t.Context(), file, filepath.Join(parent, "in"))
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

func TestLaunch_Provided(t *testing.T) {
	s := newStore(t, nil)
	l, err := s.Launch(t.Context(), "provided.al2023")
	if err != nil || !l.Runtime.Custom() || l.Version != "al2023" || len(l.Args) != 0 {
		t.Fatalf("Launch = %+v, %v", l, err)
	}
	ca, err := os.ReadFile(filepath.Join(l.Mounts[0].Source, "ca-cert.pem"))
	if err != nil || string(ca) != "an authority\n" {
		t.Errorf("certificate = %q, %v", ca, err)
	}
}
