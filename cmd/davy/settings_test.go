package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadSettings_Precedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "davy.conf")
	if err := os.WriteFile(file, []byte("# comment\n\nlisten = file\ndata-dir=file\n drain = 5s \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DAVY_DATA_DIR": "env", "DAVY_LISTEN": "env", "DAVY_CONFIG": file}
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := fs.String("listen", "default", "")
	data := fs.String("data-dir", "default", "")
	drain := fs.Duration("drain", 0, "")
	domain := fs.String("domain", "default", "")
	if err := loadSettings(fs, []string{"--listen", "flag"}, func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	if *listen != "flag" || *data != "env" || drain.String() != "5s" || *domain != "default" {
		t.Fatalf("listen=%s data=%s drain=%s domain=%s, want flag env 5s default", *listen, *data, drain, *domain)
	}
}

func TestReadSettings_Refuses(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"no equals sign", "listen", `want "flag = value"`},
		{"unknown name", "lisen = x", `unknown setting "lisen"`},
		{"twice", "listen = a\nlisten = b", "listen is set twice"},
		{"itself", "config = x", `unknown setting "config"`},
		{"bad value", "drain = soon", `invalid value "soon" for drain`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := flag.NewFlagSet("serve", flag.ContinueOnError)
			fs.SetOutput(io.Discard)
			fs.String("listen", "", "")
			fs.String("config", "", "")
			fs.Duration("drain", 0, "")
			err := readSettings(fs, map[string]bool{}, strings.NewReader(tc.file), "davy.conf")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestDefaultDataDir(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, tc := range []struct {
		uid  int
		env  map[string]string
		want string
	}{
		{0, map[string]string{"HOME": "/h", "XDG_DATA_HOME": "/x"}, "/var/lib/davy"},
		{1000, map[string]string{"HOME": "/h"}, "/h/.local/share/davy"},
		{1000, map[string]string{"HOME": "/h", "XDG_DATA_HOME": "/x"}, "/x/davy"},
		{1000, map[string]string{"HOME": "/h", "XDG_DATA_HOME": "relative"}, "/h/.local/share/davy"},
	} {
		if got := defaultDataDir(tc.uid, env(tc.env)); got != tc.want {
			t.Errorf("defaultDataDir(%d, %v) = %s, want %s", tc.uid, tc.env, got, tc.want)
		}
	}
}
