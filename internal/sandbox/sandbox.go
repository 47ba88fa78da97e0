// Package sandbox starts processes that cannot reach anything they were not
// given: the isolation of execution environments.
//
// Nothing else in Davy starts a process. The server talks to a small
// privileged launcher (package launcher below this one) over a socket pair;
// the launcher builds namespaces, mounts and control groups and does nothing
// else.
package sandbox

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Errors of every driver. They come wrapped.
var (
	ErrClosed      = errors.New("sandbox: closed")
	ErrUnavailable = errors.New("sandbox: launcher is not available")
)

// Mount makes a host directory visible, read-only, at a path inside.
type Mount struct {
	Source string
	Target string
}

// Limits bound what the processes of a sandbox can use together. Zero: the
// driver's default.
type Limits struct {
	MemoryBytes int64 // of all processes; with MissingTmp also of what is in /tmp
	CPUMilli    int64 // thousandths of a core
	TmpBytes    int64 // size of /tmp, which cannot change where it is on disk
	// CPUWeight is the share of the processors among sandboxes that compete
	// for them, 1 to 10000. A new one has 100.
	CPUWeight int64
	PIDs      int64
	OpenFiles int64
}

// Spec describes a sandbox.
type Spec struct {
	ID     string   // unique among the running ones, [a-z0-9-]{1,64}
	Root   string   // host directory that becomes /, read-only; empty: a root assembled from the host's /usr
	Mounts []Mount  // in order, on existing or created mount points
	Args   []string // Args[0] is a path inside
	Env    []string // complete: nothing is inherited
	Dir    string   // working directory inside
	Limits Limits

	// Tmp names what is behind /tmp, [a-z0-9-]{1,64}. What is in it when the
	// sandbox ends waits for the next with this name (Exit.TmpKept), of the
	// same TmpBytes, whose user then owns the files; there is never more than
	// one at a time. Empty: it goes with the sandbox. So it does where
	// Driver.Missing names MissingTmp.
	Tmp string

	// Files become descriptors 3, 4, ... of the first process. Stdout and
	// Stderr become 1 and 2; nil: /dev/null.
	Files  []*os.File
	Stdout *os.File
	Stderr *os.File

	// Listen names sockets ("tcp:ADDR:PORT", "udp:ADDR:PORT") that are bound
	// in the sandbox's own network namespace, where nothing else is reachable
	// except its own loopback. The addresses are added to its loopback device.
	//
	// "tun:ADDR/BITS", at most once, makes a network device with that
	// link-local address and the default route: whatever else is sent there
	// can be read from the descriptor, a packet at a time with its IPv4
	// header, and answered by writing to it. Who reads decides what is
	// reached. A driver without such devices says so with MissingEgress.
	Listen []string
}

// MissingTmp begins what Driver.Missing says when /tmp of the sandboxes is in
// memory, and counts as theirs.
const MissingTmp = "/tmp on disk"

// MissingEgress begins what Driver.Missing says when no sandbox can have a
// network device.
const MissingEgress = "way out"

// HasEgress reports whether the sandboxes of a driver can have a network
// device ("tun:" in Spec.Listen).
func HasEgress(d Driver) bool {
	return !slices.ContainsFunc(d.Missing(), func(m string) bool { return strings.HasPrefix(m, MissingEgress) })
}

// Exit tells how the first process ended.
type Exit struct {
	Code      int            // when Signal is 0
	Signal    syscall.Signal // that killed it, or 0
	OOMKilled bool           // the memory limit killed a process of the sandbox
	Lost      bool           // what keeps sandboxes has ended, and the sandbox with it
	TmpKept   bool           // what is in /tmp waits: see Spec.Tmp
}

// Usage is a snapshot of what a sandbox consumed.
type Usage struct {
	// MemoryPeakBytes is the most that the processes had at a time: what they
	// allocate and share, and once what they map of files. What the kernel
	// keeps of files that they write is not in it, but where /tmp is in memory
	// or the workload's kernel its own.
	MemoryPeakBytes int64
	MemoryBytes     int64 // charged to the sandbox now, with what is kept of files
	CPUMicros       int64
}

// Driver creates sandboxes. Safe for concurrent use.
type Driver interface {
	Create(ctx context.Context, s Spec) (Sandbox, error)
	// Missing says in plain words which protections this machine or this
	// user cannot give; empty: all of them hold.
	Missing() []string
	Close() error
}

// Sandbox is a running one. Safe for concurrent use.
type Sandbox interface {
	ID() string
	// Listeners returns the sockets of Spec.Listen in its order. The caller
	// owns them.
	Listeners() []*os.File
	// Attach mounts directories into the running sandbox.
	Attach(ctx context.Context, m ...Mount) error
	// Limit changes the limits that are not zero. Those that Driver.Missing
	// names have no effect, as in Spec.
	Limit(ctx context.Context, l Limits) error
	Freeze(ctx context.Context) error
	Thaw(ctx context.Context) error
	Usage(ctx context.Context) (Usage, error)
	// ResetPeak starts MemoryPeakBytes anew from the present use.
	ResetPeak(ctx context.Context) error
	// Kill ends every process at once. Idempotent.
	Kill()
	// DropTmp gives up what the sandbox leaves under Spec.Tmp, or has left.
	DropTmp()
	// Done is closed when the first process has ended and nothing is left,
	// except for what Exit.TmpKept tells of.
	Done() <-chan struct{}
	// Exit is valid after Done.
	Exit() Exit
}
