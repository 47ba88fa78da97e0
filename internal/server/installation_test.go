package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClientFiles_KeepWhatTheUserAdded(t *testing.T) {
	i := installation{dir: t.TempDir()}
	if err := i.clientFiles("AKIA1", "secret1", "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(i.path("credentials"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\n[ann]\naws_access_key_id = AKIAANN\naws_secret_access_key = anns\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		if err := i.clientFiles("AKIA2", "secret2", "http://127.0.0.1:2"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(i.path("credentials"))
	if err != nil {
		t.Fatal(err)
	}
	want := "[davy]\naws_access_key_id = AKIA2\naws_secret_access_key = secret2\n" +
		"\n[ann]\naws_access_key_id = AKIAANN\naws_secret_access_key = anns\n"
	if string(got) != want {
		t.Fatalf("credentials:\n%s\nwant:\n%s", got, want)
	}
	info, err := os.Stat(i.path("credentials"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("credentials have mode %o", info.Mode().Perm())
	}
	config, err := os.ReadFile(i.path("config"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config), "[profile davy]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:2\n") {
		t.Fatalf("config:\n%s", config)
	}
}

func TestAuthority_SurvivesRestart(t *testing.T) {
	i := installation{dir: t.TempDir()}
	first, err := i.authority("amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	second, err := i.authority("amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	if string(first.CertificatePEM()) != string(second.CertificatePEM()) {
		t.Fatal("the authority changed")
	}
	info, err := os.Stat(i.path("ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Fatalf("the key has mode %o", info.Mode().Perm())
	}
	left, err := filepath.Glob(i.path(".*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}
