// Package starter is the first workload process of a sandbox whose function
// has extensions: it starts them, then the runtime, tells how each ended, and
// connects Davy with the ports that extensions listen on.
//
// It is this same program, mounted read-only at [Path] and recognised by that
// name. It runs as what it starts: without privileges, under the same limits
// and filter. Function code can end it or speak in its place, so who reads its
// reports treats them as hostile.
//
// Its commands come as packets on descriptor 3. Descriptors from 4 on are the
// runtime's, then one for the output of each extension; its own output is the
// runtime's. It ends with the socket.
package starter

import (
	"os"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is where the program's folder is mounted inside a sandbox, File its name
// there, and Path both: argv[0] of a starter.
const (
	Dir  = "/var/rapid"
	File = "init"
	Path = Dir + "/" + File
)

// Env is the environment that a starter is started with: it bounds its memory,
// which is the function's.
func Env() []string { return []string{"GOMAXPROCS=1", "GOGC=25", "GOMEMLIMIT=6MiB"} }

const (
	control   = 3
	firstFile = 4
)

// A starter never comes as far as main: this package needs so few others that
// it is initialised before those that would cost memory.
func init() {
	if len(os.Args) == 0 || os.Args[0] != Path {
		return
	}
	debug.SetMaxThreads(64)
	// Nobody inside may look into it, or trace it.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	syscall.CloseOnExec(control)
	s := newStarter()
	s.serve()
	os.Exit(0)
}
