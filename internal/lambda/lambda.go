// Package lambda is Lambda's control plane: functions, versions, aliases,
// layers, permissions, tags and concurrency settings, for package invoke, which runs
// them, and for the API's callers.
//
// The invariant: what Resolve answers is always one committed state of a
// function, and never older than what this process has acknowledged.
package lambda

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"time"

	"davy/api/lambdaapi"
	"davy/internal/blob"
	"davy/internal/state"
)

// Roles tells what may be used as an execution role.
type Roles interface {
	// AssumableByLambda fails when the role does not exist or does not trust
	// lambda.amazonaws.com.
	AssumableByLambda(ctx context.Context, roleARN string) error
}

// Objects reads code that is uploaded to S3. The caller of the operation, whom
// ctx carries, must be allowed to read the object: the implementation checks.
type Objects interface {
	// OpenObject opens an object; version is empty for the current one. An
	// error that implements awsapi.Error is shown to the caller.
	OpenObject(ctx context.Context, bucket, key, version string) (io.ReadCloser, error)
}

// Config is what a Service needs.
type Config struct {
	State state.Store // required
	Blobs blob.Store  // required
	Roles Roles       // required

	// Principals knows the users and roles that permissions name; nil: they
	// are kept as they are written.
	Principals Principals
	// Objects is where Code.S3Bucket is read; nil refuses such code.
	Objects Objects
	// CheckZip refuses a deployment package that could not be unpacked, and
	// gives the bytes of its files; its error is shown to the caller when it
	// implements awsapi.Error. Required.
	CheckZip func(zip io.ReaderAt, size int64) (unzipped int64, err error)
	// CheckLayers refuses layers that cannot be merged in this order, with an
	// error as CheckZip's. nil: none is refused.
	CheckLayers func(zips []*io.SectionReader) error
	// CodeURL makes the link that GetFunction gives for downloading the code
	// with this SHA-256 (hex); nil leaves Code.Location out.
	CodeURL func(ctx context.Context, sha256 string) (string, error)
	// Retired is called with the unqualified ARN of a function that was
	// deleted, so that its environments can go. nil: nobody cares.
	Retired func(functionARN string)

	// Provisioner keeps environments ready; nil: provisioned concurrency is
	// not implemented.
	Provisioner Provisioner

	// LimitsChanged is called when a reservation of concurrency was changed.
	// nil: nobody cares.
	LimitsChanged func()

	// Runtimes is the catalogue: the runtimes that functions can have. Required.
	Runtimes []string
	// Architecture of this machine, x86_64 or arm64; empty: of this binary.
	Architecture string
	// Concurrency is the number of concurrent executions of an account in a
	// region; 0 means 1000.
	Concurrency int
	// CacheSize is the number of functions that Resolve keeps in memory; 0
	// means 20,000.
	CacheSize int

	Log *slog.Logger // nil means discard
}

// Limits that AWS documents.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	maxZipUpload   = 52428800    // bytes of a directly uploaded package
	maxUnzipped    = 262144000   // bytes of an unpacked package, and of a function with its layers
	maxLayers      = 5           // layers of a function
	maxCodeStorage = 80530636800 // bytes of all packages of an account in a region
	minUnreserved  = 100         // concurrency that reservations must leave
	maxPolicy      = 20480       // bytes of a function policy
	maxTags        = 50
	maxPage        = 50 // items of a listing's page
)

// Service implements the control-plane operations of lambdaapi.API. The
// data-plane ones answer NotImplemented here. Safe for concurrent use.
type Service struct {
	lambdaapi.Unimplemented
	cfg   Config
	cache *cache
}

// New returns a Service. It starts nothing; Run keeps the cache of several
// processes on one store coherent.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.State == nil || cfg.Blobs == nil:
		return nil, errors.New("lambda: State and Blobs are required")
	case cfg.Roles == nil || cfg.CheckZip == nil:
		return nil, errors.New("lambda: Roles and CheckZip are required")
	case len(cfg.Runtimes) == 0:
		return nil, errors.New("lambda: Runtimes is required")
	}
	if cfg.Architecture == "" {
		cfg.Architecture = string(lambdaapi.ArchitectureX8664)
		if runtime.GOARCH == "arm64" {
			cfg.Architecture = string(lambdaapi.ArchitectureArm64)
		}
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 1000
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 20_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, cache: newCache(cfg.CacheSize)}, nil
}

// fullPause is between two looks at a disk that was full.
const fullPause = time.Second

// Run drops cached functions that other processes change, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		// The revision of a write of our own is where watching starts: without
		// it the whole history would be replayed at every start.
		rev, err := s.cfg.State.Commit(ctx, state.Batch{Frees: true, Ops: []state.Op{{Key: watchKey, Value: []byte("{}"), IfRev: state.Any}}})
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, state.ErrFull) {
			// Until there is room nothing is kept for long.
			s.cache.clear()
			select {
			case <-ctx.Done():
			case <-time.After(fullPause):
			}
			continue
		}
		if err != nil {
			return err
		}
		s.cache.clear()
		err = s.watch(ctx, rev)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, state.ErrCompacted):
			return err
		}
	}
}

func (s *Service) watch(ctx context.Context, from int64) error {
	for docs, err := range s.cfg.State.Watch(ctx, keyRoot, from) {
		if err != nil {
			return err
		}
		for _, d := range docs {
			s.cache.invalidate(d.Key)
		}
	}
	return nil
}

// now is the time in the resolution that AWS shows.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
