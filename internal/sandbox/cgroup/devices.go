package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devices that a sandbox may read and write: those bound into its /dev. All
// are character devices of one major number. It may make none.
var (
	deviceMajor  = int32(1)
	deviceMinors = []int32{3, 5, 7, 8, 9} // null, zero, full, random, urandom
)

// restrictDevices lets the processes of the group use no other device.
func (g *Group) restrictDevices() error {
	if g.t.v2 {
		return g.t.devices.attach(g.dir[""])
	}
	dir := g.dir["devices"]
	if dir == "" {
		return nil
	}
	if err := write(filepath.Join(dir, "devices.deny"), "a"); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	for _, minor := range deviceMinors {
		if err := write(filepath.Join(dir, "devices.allow"), fmt.Sprintf("c %d:%d rw", deviceMajor, minor)); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}

// deviceFilter is what version 2 has in place of the devices controller: a
// program that the kernel asks. It is loaded once and attached to each group;
// nil attaches nothing. A group's removal takes it off.
// https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller
type deviceFilter struct{ program int }

// newDeviceFilter loads the program and tries it on a group.
func newDeviceFilter(dir string) (*deviceFilter, error) {
	code := deviceProgram()
	license := []byte("Apache-2.0\x00")
	var pin runtime.Pinner // the kernel's structure holds addresses as numbers
	defer pin.Unpin()
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	attr := struct {
		kind, count   uint32
		code, license uint64
	}{
		unix.BPF_PROG_TYPE_CGROUP_DEVICE, uint32(len(code)),
		address(unsafe.Pointer(&code[0])), address(unsafe.Pointer(&license[0])),
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	f := &deviceFilter{fd}
	if err := f.attach(dir); err != nil {
		f.close()
		return nil, err
	}
	if err := f.change(unix.BPF_PROG_DETACH, dir); err != nil {
		f.close()
		return nil, fmt.Errorf("detach: %w", err)
	}
	return f, nil
}

func (f *deviceFilter) attach(dir string) error {
	if f == nil {
		return nil
	}
	if err := f.change(unix.BPF_PROG_ATTACH, dir); err != nil {
		return fmt.Errorf("attach the device filter: %w", err)
	}
	return nil
}

// change attaches or detaches the program. What else is attached, to this
// group or one above it, must allow a device as well.
func (f *deviceFilter) change(command int, dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	attr := struct{ target, program, kind, flags uint32 }{
		uint32(fd), uint32(f.program), unix.BPF_CGROUP_DEVICE, 0,
	}
	if command == unix.BPF_PROG_ATTACH {
		attr.flags = unix.BPF_F_ALLOW_MULTI
	}
	_, err = bpf(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func (f *deviceFilter) close() {
	if f != nil {
		unix.Close(f.program)
	}
}

// instruction is one of eBPF's, as the kernel takes it.
// https://docs.kernel.org/bpf/standardization/instruction-set.html
type instruction struct {
	op        uint8
	registers uint8 // source in the upper half, destination in the lower
	offset    int16
	value     int32
}

// deviceProgram answers 1 where deviceMajor and deviceMinors allow what is
// asked. Register 1 points to the question: {access<<16 | type, major, minor}.
func deviceProgram() []instruction {
	const (
		load  = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
		and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		other = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
		move  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
		exit  = unix.BPF_JMP | unix.BPF_EXIT

		question = 1 << 4 // register 1 as the source
		r2       = 2
		r3       = 3
		mknod    = unix.BPF_DEVCG_ACC_MKNOD << 16
	)
	n := int16(len(deviceMinors))
	p := []instruction{
		{load, question | r2, 0, 0},
		{and, r2, 0, mknod | 0xffff},
		// Neither a block device nor the making of a node.
		{other, r2, n + 3, unix.BPF_DEVCG_DEV_CHAR},
		{load, question | r3, 4, 0},
		{other, r3, n + 1, deviceMajor},
		{load, question | r3, 8, 0},
	}
	for i, minor := range deviceMinors {
		p = append(p, instruction{equal, r3, n - int16(i) + 1, minor})
	}
	return append(p,
		instruction{move, 0, 0, 0},
		instruction{exit, 0, 0, 0},
		instruction{move, 0, 0, 1},
		instruction{exit, 0, 0, 0})
}

func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		fd, _, e := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch e {
		case 0:
			return int(fd), nil
		case unix.EAGAIN, unix.EINTR: // the verifier was interrupted
		default:
			return -1, os.NewSyscallError("bpf", e)
		}
	}
}

func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }
