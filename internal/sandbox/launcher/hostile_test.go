package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"davy/internal/sandbox/packet"
	"davy/internal/sandbox/wire"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// hostile is a server that was taken over: it has the socket and nothing else.
type hostile struct {
	t    *testing.T
	conn *packet.Conn
	p    *Process
}

func takeOver(t *testing.T, cfg Config) *hostile {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cfg.Instance = fmt.Sprintf("hostile-%d", os.Getpid())
	p, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := packet.NewConn(p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{t: t, conn: conn, p: p}
	t.Cleanup(func() {
		conn.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("the launcher: %v", err)
		}
	})
	if m := h.receive(); m.Hello == nil {
		t.Fatalf("first message: %+v", m)
	}
	return h
}

func (h *hostile) receive() wire.FromLauncher {
	h.t.Helper()
	b, files, err := h.conn.Receive()
	if err != nil {
		h.t.Fatal(err)
	}
	packet.CloseFiles(files)
	m, err := wire.DecodeFromLauncher(b)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *hostile) send(b []byte, fds ...int) {
	h.t.Helper()
	if err := h.conn.Send(b, fds...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hostile) ask(r wire.Request, fds ...int) wire.Reply {
	h.t.Helper()
	b, err := r.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	h.send(b, fds...)
	for {
		if m := h.receive(); m.Reply != nil && m.Reply.Seq == r.Seq {
			return *m.Reply
		}
	}
}

func create(seq uint32, id string) wire.Request {
	return wire.Request{Seq: seq, Op: wire.OpCreate, ID: id, Create: wire.Create{Args: []string{"/bin/sleep", "1000"}}}
}

// Whatever arrives, the launcher goes on serving.
func TestLauncher_SurvivesAHostileServer(t *testing.T) {
	h := takeOver(t, Config{Spares: -1, MaxSandboxes: 3})
	good, err := create(1, "x").Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if n > 0 {
			h.send(good[:n])
		}
	}
	h.send(bytes.Repeat([]byte{0xff}, wire.MaxMessage))
	h.send([]byte{1})
	var many []int
	for range wire.MaxFiles {
		many = append(many, 0)
	}
	h.send([]byte("descriptors"), many...)
	if r := h.ask(create(2, "fds"), many...); r.Code != wire.CodeInvalid {
		t.Errorf("descriptors that belong to nothing: %+v", r)
	}
	for i, op := range []wire.Op{wire.OpAttach, wire.OpLimit, wire.OpFreeze, wire.OpThaw, wire.OpUsage, wire.OpResetPeak, wire.OpKill} {
		if r := h.ask(wire.Request{Seq: 10 + uint32(i), Op: op, ID: "../../x"}); r.Code != wire.CodeClosed {
			t.Errorf("operation %d on nothing: %+v", op, r)
		}
	}
	for i := range uint32(3) {
		if r := h.ask(create(20+i, fmt.Sprint("box-", i))); r.Code != wire.CodeOK {
			t.Errorf("create: %+v", r)
		}
	}
	if r := h.ask(create(30, "box-1")); r.Code != wire.CodeInvalid {
		t.Errorf("an id twice: %+v", r)
	}
	if r := h.ask(create(31, "box-9")); r.Code != wire.CodeBusy {
		t.Errorf("one sandbox too many: %+v", r)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.p.PID()))
	if err != nil || len(entries) > 60 {
		t.Errorf("the launcher has %d descriptors open, %v", len(entries), err)
	}
}

// A link in a root leads nowhere while the root is put together, when / is the
// host's still.
func TestLauncher_FollowsNoLinkOfARoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "way")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Dir(outside), outside} { // whoever the sandbox is outside
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	h := takeOver(t, Config{Spares: -1, Roots: []string{dir}})
	r := create(1, "links")
	r.Create.Root = root
	r.Mounts = []wire.Mount{{Source: root, Target: "/way/made/here"}}
	if got := h.ask(r); got.Code != wire.CodeInvalid || !strings.Contains(got.Text, unix.ELOOP.Error()) {
		t.Errorf("%+v", got)
	}
	if made, err := os.ReadDir(outside); err != nil || len(made) > 0 {
		t.Errorf("outside of the root there is now %v, %v", made, err)
	}
}

// With control groups of version 1, what is frozen cannot die.
func TestLauncher_WhatIsKilledDoesNotStayFrozen(t *testing.T) {
	h := takeOver(t, Config{Spares: 2})
	for i := range uint32(40) {
		id := fmt.Sprint("cold-", i)
		if r := h.ask(create(3*i, id)); r.Code != wire.CodeOK {
			t.Fatalf("create: %+v", r)
		}
		for n, op := range []wire.Op{wire.OpKill, wire.OpFreeze} {
			b, err := wire.Request{Seq: 3*i + 1 + uint32(n), Op: op, ID: id}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			h.send(b)
		}
		for h.receive().Exited == nil {
		}
	}
}

func TestLauncher_RefusesToLeaveProtectionsOut(t *testing.T) {
	_, err := newLauncher(settings{Config: Config{Instance: "x", Ablate: wire.AblateFilter}}, nil)
	if err == nil || !strings.Contains(err.Error(), "protections") {
		t.Errorf("error %v", err)
	}
}

// What passes validation is safe to act upon.
func FuzzValidateCreate(f *testing.F) {
	for _, r := range []wire.Request{
		create(1, "a"),
		{Op: wire.OpCreate, ID: "b", Mounts: []wire.Mount{{Source: "/x", Target: "/var/task"}}, Create: wire.Create{
			Args: []string{"/bin/sh"}, Env: []string{"A=b"}, Dir: "/tmp", Listen: []string{"tcp:169.254.100.1:80"}, Root: "/r",
		}},
		{Op: wire.OpCreate, ID: "..", Mounts: []wire.Mount{{Source: "/", Target: "/proc/../.."}}, Create: wire.Create{Args: []string{"x"}}},
	} {
		b, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.DecodeRequest(b)
		if err != nil || r.Op != wire.OpCreate || validateCreate(&r, r.Create.FDs()) != nil {
			return
		}
		if strings.ContainsAny(r.ID, "./\x00") || r.ID == "" {
			t.Errorf("id %q", r.ID)
		}
		for _, m := range r.Mounts {
			if strings.Contains(m.Target, "..") && strings.Contains(m.Target+"/", "/../") || !strings.HasPrefix(m.Target, "/") {
				t.Errorf("target %q", m.Target)
			}
		}
		if l := r.Limits; l.MemoryBytes <= 0 || l.PIDs <= 0 || l.TmpBytes <= 0 || l.CPUMilli <= 0 || l.OpenFiles <= 0 {
			t.Errorf("a limit is open: %+v", l)
		}
	})
}

func TestTrees_OpensBelowTheRootsOnly(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"in/a/b", "out", "in-sibling"} {
		if err := os.MkdirAll(dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"in/abs": dir + "/out", "in/rel": "../out", "in/a/self": "b"} {
		if err := os.Symlink(to, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	trees, err := openRoots(Config{Roots: []string{dir + "/in"}})
	if err != nil {
		t.Fatal(err)
	}
	defer trees.close()
	for path, ok := range map[string]bool{
		"/in": true, "/in/a": true, "/in/a/b": true,
		"/out": false, "/in-sibling": false, "/in/../out": false, "/in/abs": false, "/in/rel": false, "/in/a/self": false,
		"/in/": false, "/in//a": false, "/in/a/.": false, "/in/none": false, "": false,
	} {
		fd, err := trees.open(dir + path)
		if (err == nil) != ok {
			t.Errorf("open %s: %v", path, err)
		}
		if err == nil {
			os.NewFile(uintptr(fd), path).Close()
		}
	}
	if _, err := openRoots(Config{Roots: []string{dir + "/none"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	for _, root := range []string{"/in/abs", "/in/rel"} {
		if _, err := openRoots(Config{Roots: []string{dir + root}}); !errors.Is(err, unix.ELOOP) {
			t.Errorf("a root that became a link, %s: %v", root, err)
		}
	}
}
