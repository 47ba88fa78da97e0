package launcher

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/pid1"
)

// openTun opens what a device in the network namespace of a process will be
// made of.
func openTun(pid int) (*os.File, error) {
	var fd int
	err := apart(func() error {
		ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		fd, err = pid1.OpenTun()
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// rehearseTun tells whether this machine lets us make such devices.
func rehearseTun() error { return apart(pid1.RehearseTun) }

// apart runs f on a thread that ends with it, and so may leave the launcher's
// namespaces. It is never the process's first, which would not end: it would
// stay where f went, and hold the namespace of a sandbox that is long gone.
func apart(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := apart(f) // elsewhere, since this thread is taken
			runtime.UnlockOSThread()
			result <- err
			return
		}
		result <- f() // and never unlock: the thread ends
	}()
	return <-result
}
