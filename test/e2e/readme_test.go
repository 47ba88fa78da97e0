package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"davy/test/davytest"
)

// The README's tour is what a newcomer types: it must work as it stands.
func TestReadme_Tour(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed: run `make test`, which installs it")
	}
	bin, err := davytest.Binary()
	if err != nil {
		t.Skip(err)
	}
	data, err := davytest.DataDir()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := &davytest.Server{Bin: bin, Data: data, Log: &log}
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(filepath.Dir(data))
	})
	if err := s.Start("--runtimes", os.Getenv("DAVY_RUNTIMES")); err != nil {
		t.Fatalf("start: %v\n%s", err, &log)
	}
	blocks := tour(t)
	if len(blocks) < 6 || !strings.Contains(blocks[0], "davy serve") {
		t.Fatalf("the tour has %d blocks; the first should start the server", len(blocks))
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "README.md"), readme, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(script string) ([]byte, error) {
		script = "set -eu\n" + strings.ReplaceAll(script, "/var/lib/davy", data)
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(aws)+":"+os.Getenv("PATH"), "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_CONFIG_FILE="+data+"/config", "AWS_SHARED_CREDENTIALS_FILE="+data+"/credentials", "AWS_PROFILE=davy")
		return cmd.CombinedOutput()
	}
	last := blocks[len(blocks)-1]
	for _, script := range blocks[1 : len(blocks)-1] {
		if out, err := run(script); err != nil {
			t.Fatalf("%s\n%v\n%s\n%s", script, err, out, &log)
		}
	}
	// The copy happens by itself: a person looks until it is there.
	for deadline := time.Now().Add(davytest.Limit); ; time.Sleep(50 * time.Millisecond) {
		out, err := run(last)
		if err == nil && strings.Contains(string(out), "README.md") && strings.Contains(string(out), "copied in/README.md") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s\n%v\n%s\n%s", last, err, out, &log)
		}
	}
}

// tour returns the shell blocks of the README's tour.
func tour(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## The tour\n")
	if !ok {
		t.Fatal("the README has no tour")
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	for {
		_, after, ok := strings.Cut(rest, "```sh\n")
		if !ok {
			return blocks
		}
		block, tail, _ := strings.Cut(after, "```")
		blocks, rest = append(blocks, block), tail
	}
}
