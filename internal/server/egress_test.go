package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEgress_Check(t *testing.T) {
	for _, tc := range []struct {
		settings Egress
		say      string // empty: they are fine
	}{
		{Egress{}, ""},
		{Egress{Mode: "internet", Allow: []string{"10.0.0.0/8", "192.168.1.5:5432"}, Deny: []string{"0.0.0.0/0:25"}}, ""},
		{Egress{Mode: "none"}, ""},
		{Egress{Mode: "none", Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.1.0.0/16"}}, ""},
		{Egress{Mode: "all"}, `--egress "all": want internet or none`},
		{Egress{Allow: []string{"10.0.0.1/8"}}, "--egress-allow"},
		{Egress{Allow: []string{"127.0.0.1"}}, "--egress-allow"},
		{Egress{Allow: []string{"0.0.0.0/0"}}, "--egress-allow"},
		{Egress{Deny: []string{"example.com"}}, "--egress-deny"},
		{Egress{Mode: "none", Deny: []string{"10.0.0.0/8"}}, "nothing to deny"},
	} {
		err := tc.settings.Check()
		if (err == nil) != (tc.say == "") || err != nil && !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%+v: %v, want %q", tc.settings, err, tc.say)
		}
	}
}

func TestPublicCAs_TheFirstThatIsThere(t *testing.T) {
	dir := t.TempDir()
	empty, full := filepath.Join(dir, "empty"), filepath.Join(dir, "full")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte("authorities"), 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	if got := publicCAs([]string{filepath.Join(dir, "none"), empty, full}, log); string(got) != "authorities" || said.Len() > 0 {
		t.Errorf("%q, %s", got, said.String())
	}
	if got := publicCAs([]string{empty}, log); got != nil || !strings.Contains(said.String(), "install ca-certificates") {
		t.Errorf("%q, %s", got, said.String())
	}
}
