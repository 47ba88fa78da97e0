// Package wire is the protocol between the server and the launcher, and
// between the launcher and the first process of a sandbox.
//
// One message is one packet of a SOCK_SEQPACKET socket, at most [MaxMessage]
// bytes, with at most [MaxFiles] descriptors beside it. A packet is a kind
// byte followed by the fields in order: integers are little-endian, strings
// and lists carry their length first.
//
//	request  0x01 | seq u32 | op u8 | id | body of the op
//	reply    0x02 | seq u32 | code u8 | text | usage
//	exited   0x03 | id | code i64 | signal u8 | oom u8 | tmp u8 | usage
//	hello    0x04 | missing [string]
//	plan     0x05 | see Plan
//	started  0x06 | code u8 | text
//
// The launcher treats what arrives as hostile: decoding allocates no more
// than the packet's own size, every list and string is bounded, trailing
// bytes are an error. What the fields mean is checked by the launcher, not
// here.
package wire

import (
	"syscall"

	"davy/internal/sandbox"
	"davy/internal/sandbox/field"
)

// Bounds of a message.
const (
	MaxMessage = field.MaxMessage
	MaxFiles   = 240 // the kernel takes 253
)

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = field.ErrMalformed

// Op names what a request asks for.
type Op uint8

// The operations.
const (
	OpCreate Op = iota + 1
	OpAttach
	OpLimit
	OpFreeze
	OpThaw
	OpUsage
	OpResetPeak
	OpKill
	OpDropTmp // ID is the name
	opEnd
)

// Code classifies the failure of a request.
type Code uint8

// The codes of a reply.
const (
	CodeOK Code = iota
	CodeInvalid
	CodeClosed
	CodeBusy
	CodeFailed
)

// Message kinds, the first byte of a packet.
const (
	kindRequest uint8 = iota + 1
	kindReply
	kindExited
	kindHello
	kindPlan
	kindStarted
)

// Mount is a directory to be seen at Target.
type Mount struct {
	Source string
	Target string
}

// Request is sent by the server. Fields beyond ID belong to some ops only.
type Request struct {
	Seq uint32
	Op  Op
	ID  string

	Limits sandbox.Limits // OpCreate, OpLimit
	Mounts []Mount        // OpCreate, OpAttach
	Create Create         // OpCreate
}

// Create is the part of a sandbox.Spec that only OpCreate carries. The
// descriptors beside the message are stdout, stderr (as the flags say), then
// the files.
type Create struct {
	Root   string
	Args   []string
	Env    []string
	Dir    string
	Tmp    string // see sandbox.Spec
	Listen []string
	Stdout bool
	Stderr bool
	Files  uint8
}

// FDs is the number of descriptors that belong beside the message.
func (c Create) FDs() int {
	n := int(c.Files)
	if c.Stdout {
		n++
	}
	if c.Stderr {
		n++
	}
	return n
}

// Reply answers the request with the same Seq. The reply to OpCreate has the
// listeners beside it, in the order of the request.
type Reply struct {
	Seq   uint32
	Code  Code
	Text  string
	Usage sandbox.Usage // OpUsage
}

// Exited tells that nothing is left of a sandbox.
type Exited struct {
	ID    string
	Exit  sandbox.Exit
	Usage sandbox.Usage // the last
}

// Hello is the first message of a launcher.
type Hello struct {
	Missing []string
}

// PlanMount is a mount of a Plan. The mounted tree itself travels as a
// descriptor.
type PlanMount struct {
	Target string
	File   bool // a file and not a directory
}

// Plan tells the first process of a sandbox what to build. Beside it travel,
// in this order: the image of the reaper, the pipe for the exit status, the
// trees of Mounts, then stdout, stderr and the files as in Create.
type Plan struct {
	Create
	Mounts    []PlanMount
	Links     []Mount // symbolic links: Source is the text of the link
	Texts     []Mount // generated files: Source is the content
	TmpBytes  int64
	PIDs      int64
	OpenFiles int64
	UID, GID  uint32 // of the workload, inside
	SetGroups bool   // the user namespace allows it
	CgroupNS  bool
	Hold      bool   // hold the namespaces for a container; start no workload
	Filter    []byte // seccomp program, 8 bytes an instruction
	Ablate    Ablation
}

// Ablation leaves protections out, so that a test of a protection can be seen
// to fail. A launcher accepts one only in a test program.
type Ablation uint32

// The protections that can be left out.
const (
	AblateFilter   Ablation = 1 << iota // system call filter
	AblateNesting                       // user.max_user_namespaces=0 and its kin
	AblateCaps                          // no capabilities, unprivileged user
	AblateNoGain                        // no_new_privs
	AblateReadOnly                      // read-only root and mounts
	AblateMasks                         // masks and read-only state of /proc
	AblateNetwork                       // own network namespace
	AblateIPC                           // own IPC namespace
	AblateCgroupNS                      // own cgroup namespace
	AblateHostname                      // neutral host name
	AblateMemory                        // memory limit
	AblatePIDs                          // process limit
	AblateTmp                           // size of /tmp
	AblateFiles                         // descriptor limit
	AblateDevices                       // device group and nodev mounts
	AblateOwnUIDs                       // uid range of its own
	AblateRoot                          // root of its own: the host's is kept
	AblatePIDNS                         // process namespace of its own
	AblateLandlock                      // Landlock's rules
	AblateNodev                         // nodev mounts, of AblateDevices
)

// Started answers a Plan. Beside it travel the listeners.
type Started struct {
	Code Code
	Text string
}

// Encode returns the packet.
func (r Request) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindRequest)
	e.U32(r.Seq)
	e.U8(uint8(r.Op))
	e.Str(r.ID)
	switch r.Op {
	case OpCreate:
		e.limits(r.Limits)
		e.mounts(r.Mounts)
		e.create(r.Create)
	case OpAttach:
		e.mounts(r.Mounts)
	case OpLimit:
		e.limits(r.Limits)
	}
	return e.Done()
}

// DecodeRequest reads a packet of the server.
func DecodeRequest(b []byte) (Request, error) {
	d := decode(b)
	d.kind(kindRequest)
	r := Request{Seq: d.U32(), Op: Op(d.U8()), ID: d.Str()}
	switch r.Op {
	case OpCreate:
		r.Limits = d.limits()
		r.Mounts = d.mounts()
		r.Create = d.create()
	case OpAttach:
		r.Mounts = d.mounts()
	case OpLimit:
		r.Limits = d.limits()
	default:
		if r.Op == 0 || r.Op >= opEnd {
			d.Fail("unknown operation")
		}
	}
	return r, d.Done()
}

// Encode returns the packet.
func (r Reply) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindReply)
	e.U32(r.Seq)
	e.U8(uint8(r.Code))
	e.Str(clip(r.Text))
	e.usage(r.Usage)
	return e.Done()
}

// Encode returns the packet.
func (x Exited) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindExited)
	e.Str(x.ID)
	e.I64(int64(x.Exit.Code))
	e.U8(uint8(x.Exit.Signal))
	e.Flag(x.Exit.OOMKilled)
	e.Flag(x.Exit.TmpKept)
	e.usage(x.Usage)
	return e.Done()
}

// Encode returns the packet.
func (h Hello) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindHello)
	e.Strs(h.Missing)
	return e.Done()
}

// FromLauncher is what the server can receive: exactly one field is set.
type FromLauncher struct {
	Reply  *Reply
	Exited *Exited
	Hello  *Hello
}

// DecodeFromLauncher reads a packet of the launcher.
func DecodeFromLauncher(b []byte) (FromLauncher, error) {
	d := decode(b)
	var m FromLauncher
	switch d.U8() {
	case kindReply:
		m.Reply = &Reply{Seq: d.U32(), Code: Code(d.U8()), Text: d.Str(), Usage: d.usage()}
	case kindExited:
		m.Exited = &Exited{ID: d.Str(), Exit: sandbox.Exit{Code: int(d.I64()), Signal: syscall.Signal(d.U8()), OOMKilled: d.Flag(), TmpKept: d.Flag()}, Usage: d.usage()}
	case kindHello:
		m.Hello = &Hello{Missing: d.Strs()}
	default:
		d.Fail("unknown kind")
	}
	return m, d.Done()
}

// Encode returns the packet.
func (p Plan) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindPlan)
	e.create(p.Create)
	e.Count(len(p.Mounts))
	for _, m := range p.Mounts {
		e.Str(m.Target)
		e.Flag(m.File)
	}
	e.mounts(p.Links)
	e.mounts(p.Texts)
	e.I64(p.TmpBytes)
	e.I64(p.PIDs)
	e.I64(p.OpenFiles)
	e.U32(p.UID)
	e.U32(p.GID)
	e.Flag(p.SetGroups)
	e.Flag(p.CgroupNS)
	e.Flag(p.Hold)
	e.Str(string(p.Filter))
	e.U32(uint32(p.Ablate))
	return e.Done()
}

// DecodePlan reads the launcher's packet to the first process of a sandbox.
func DecodePlan(b []byte) (Plan, error) {
	d := decode(b)
	d.kind(kindPlan)
	p := Plan{Create: d.create()}
	for range d.Count() {
		p.Mounts = append(p.Mounts, PlanMount{Target: d.Str(), File: d.Flag()})
	}
	p.Links = d.mounts()
	p.Texts = d.mounts()
	p.TmpBytes = d.I64()
	p.PIDs = d.I64()
	p.OpenFiles = d.I64()
	p.UID = d.U32()
	p.GID = d.U32()
	p.SetGroups = d.Flag()
	p.CgroupNS = d.Flag()
	p.Hold = d.Flag()
	p.Filter = []byte(d.Str())
	p.Ablate = Ablation(d.U32())
	return p, d.Done()
}

// Encode returns the packet.
func (s Started) Encode() ([]byte, error) {
	e := encoder{}
	e.U8(kindStarted)
	e.U8(uint8(s.Code))
	e.Str(clip(s.Text))
	return e.Done()
}

// DecodeStarted reads the answer to a Plan.
func DecodeStarted(b []byte) (Started, error) {
	d := decode(b)
	d.kind(kindStarted)
	return Started{Code: Code(d.U8()), Text: d.Str()}, d.Done()
}

// clip keeps error texts far below the bound of a string.
func clip(s string) string { return s[:min(len(s), 2048)] }
