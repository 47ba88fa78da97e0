package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
)

// Version 1 counts what sockets buffer only for groups that have a limit for
// it, named after TCP and meant for all protocols. Without one, a function
// with little memory could fill sockets until the host has none left for
// anybody (net.ipv4.tcp_mem): 128 MB held 2 GiB. Version 2 counts it as the
// memory that it is.
const socketLimit = "memory.kmem.tcp.limit_in_bytes"

// socketMemory is what the sockets of a group with a memory limit may buffer
// besides.
func socketMemory(limit int64) int64 {
	const least, most = 16 << 20, 64 << 20
	return min(max(limit/4, least), most)
}

// limitSockets must be done before the group has a socket: earlier ones are not
// counted.
func (g *Group) limitSockets(memory int64) error {
	dir := g.dir["memory"]
	if g.t.v2 || dir == "" || !exists(filepath.Join(dir, socketLimit)) {
		return nil
	}
	return write(filepath.Join(dir, socketLimit), strconv.FormatInt(socketMemory(memory), 10))
}

// limitAllSockets leaves the host half of what it has for sockets, whatever the
// groups have together. It also keeps the kernel's accounting on, which would
// otherwise be switched with the first group and the last.
func (t *Tree) limitAllSockets() error {
	dir := t.base["memory"]
	pages := readFields("/proc/sys/net/ipv4/tcp_mem")
	if t.v2 || dir == "" || len(pages) != 3 || !exists(filepath.Join(dir, socketLimit)) {
		return nil
	}
	most, err := strconv.ParseInt(pages[2], 10, 64)
	if err != nil || most <= 0 {
		return nil // not a number that bounds anything
	}
	return write(filepath.Join(dir, socketLimit), strconv.FormatInt(most/2*int64(os.Getpagesize()), 10))
}
