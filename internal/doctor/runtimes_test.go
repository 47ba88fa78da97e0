package doctor

import (
	"fmt"
	"testing"

	"davy/internal/runtimes"
)

func TestRuntimesOf(t *testing.T) {
	node := runtimes.Runtime{Name: "nodejs22.x", Family: runtimes.NodeJS}
	python := func(name string) runtimes.Runtime {
		return runtimes.Runtime{Name: name, Family: runtimes.Python}
	}
	got := runtimesOf([]runtimes.Status{
		{Runtime: node, Missing: "why"},
		{Runtime: python("python3.11"), Source: "host", Version: "3.11.2"},
		{Runtime: python("python3.12"), Missing: "why"},
		{Runtime: python("python3.13"), Missing: "why"},
		{Runtime: runtimes.Runtime{Name: "provided.al2023", Family: runtimes.Provided}, Source: "function", Version: "al2023"},
	})
	want := []Finding{
		{"runtime nodejs22.x", false, "not installed", "run scripts/fetch-runtimes DIR, then davy runtime add --from DIR"},
		{"runtime python3.11", true, "host 3.11.2", ""},
		{"runtime provided.al2023", true, "brought by each function", ""},
		{"other runtimes", true, "python3.12, python3.13: not on this machine; install your distribution's package of one to use it", ""},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found\n%v\nwant\n%v", got, want)
	}
}
