package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"

	"davy/internal/sandbox/oci"
)

// sandboxSettings say what isolates functions.
type sandboxSettings struct {
	Driver  string // one of drivers
	Runtime string // of the driver oci
}

const (
	driverNamespaces = "namespaces"
	driverOCI        = "oci"
)

var drivers = []string{driverNamespaces, driverOCI}

func (s *sandboxSettings) flags(fs *flag.FlagSet) {
	fs.StringVar(&s.Driver, "sandbox", driverNamespaces, "what isolates functions: namespaces (Davy itself) or oci (an OCI `driver`)")
	fs.StringVar(&s.Runtime, "oci-runtime", "", "with --sandbox oci: `name` in PATH or path of an OCI runtime, such as runc or runsc (default runc)")
}

func (s *sandboxSettings) check() error {
	switch {
	case !slices.Contains(drivers, s.Driver):
		return fmt.Errorf("--sandbox %q: want namespaces or oci", s.Driver)
	case s.Driver != driverOCI && s.Runtime != "":
		return errors.New("--oci-runtime goes with --sandbox oci")
	}
	return nil
}

// program is the path of the OCI runtime; empty: none is asked for.
func (s *sandboxSettings) program(ctx context.Context) (string, error) {
	if s.Driver != driverOCI {
		return "", nil
	}
	if os.Geteuid() != 0 {
		return "", errors.New("--sandbox oci needs root")
	}
	name := s.Runtime
	if name == "" {
		name = oci.Known[0]
	}
	rt, err := oci.Find(ctx, name)
	if err != nil {
		return "", fmt.Errorf("--sandbox oci: %w (davy doctor says which runtimes this machine has)", err)
	}
	return rt.Path, nil
}
