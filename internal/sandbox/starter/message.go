package starter

import (
	"encoding/binary"
	"errors"
	"syscall"
)

// Bounds of a message.
const (
	MaxMessage   = 64 << 10
	MaxProcesses = 1 + MaxExtensions // the runtime is number 0
	// MaxExtensions is AWS's limit of a function's extensions.
	MaxExtensions = 10
	maxString     = 32 << 10
	maxList       = 1024
	maxText       = 512 // of an error
)

// Runtime is the number of the runtime among the processes; extensions count
// from 1 in the order of Begin.Paths.
const Runtime = 0

// ErrMalformed is every decoding error.
var ErrMalformed = errors.New("starter: malformed message")

// Kinds of messages, the first byte of a packet.
const (
	kindBegin uint8 = iota + 1
	kindRun
	kindSignal
	kindDial

	kindStarted uint8 = 16
	kindExited  uint8 = 17
)

// Begin starts the extensions. It is the first command, and comes once.
type Begin struct {
	RuntimeFiles int      // descriptors from 4 on that are the runtime's
	Paths        []string // programs of the extensions; none: only a runtime comes
	Env          []string // of each extension, complete
}

// Run starts the runtime. It comes once.
type Run struct {
	Args []string
	Env  []string
	Dir  string
}

// Signal is sent to the process group of a process: SIGTERM or SIGKILL. Of a
// process that has ended nothing is left to be told.
type Signal struct {
	Process int
	Signal  syscall.Signal
}

// Dial connects the socket beside it, both ways, with a port of the
// sandbox's loopback. If that fails the socket is closed.
type Dial struct{ Port uint16 }

// Command is what the starter is told: one field is set.
type Command struct {
	Begin  *Begin
	Run    *Run
	Signal *Signal
	Dial   *Dial
}

// Started answers Begin, once for each extension, and Run.
type Started struct {
	Process int
	Error   string // empty: it runs
}

// Exited tells the end of a process.
type Exited struct {
	Process int
	Code    int // when Signal is 0
	Signal  syscall.Signal
}

// Report is what the starter tells: one field is set.
type Report struct {
	Started *Started
	Exited  *Exited
}

// Encode returns the packet.
func (c Command) Encode() ([]byte, error) {
	var e encoder
	switch {
	case c.Begin != nil:
		e.u8(kindBegin)
		e.u8(uint8(c.Begin.RuntimeFiles))
		e.strs(c.Begin.Paths)
		e.strs(c.Begin.Env)
	case c.Run != nil:
		e.u8(kindRun)
		e.strs(c.Run.Args)
		e.strs(c.Run.Env)
		e.str(c.Run.Dir)
	case c.Signal != nil:
		e.u8(kindSignal)
		e.u8(uint8(c.Signal.Process))
		e.u8(uint8(c.Signal.Signal))
	case c.Dial != nil:
		e.u8(kindDial)
		e.b = binary.LittleEndian.AppendUint16(e.b, c.Dial.Port)
	}
	return e.done()
}

// DecodeCommand reads a packet to the starter.
func DecodeCommand(b []byte) (Command, error) {
	d := decoder{b: b}
	var c Command
	switch d.u8() {
	case kindBegin:
		c.Begin = &Begin{RuntimeFiles: int(d.u8()), Paths: d.strs(), Env: d.strs()}
		if len(c.Begin.Paths) > MaxExtensions {
			d.fail()
		}
	case kindRun:
		c.Run = &Run{Args: d.strs(), Env: d.strs(), Dir: d.str()}
		if len(c.Run.Args) == 0 {
			d.fail()
		}
	case kindSignal:
		c.Signal = &Signal{Process: d.process(), Signal: syscall.Signal(d.u8())}
		if c.Signal.Signal != syscall.SIGTERM && c.Signal.Signal != syscall.SIGKILL {
			d.fail()
		}
	case kindDial:
		c.Dial = &Dial{Port: d.u16()}
	default:
		d.fail()
	}
	if err := d.done(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// Encode returns the packet.
func (r Report) Encode() ([]byte, error) {
	var e encoder
	switch {
	case r.Started != nil:
		e.u8(kindStarted)
		e.u8(uint8(r.Started.Process))
		e.str(r.Started.Error[:min(len(r.Started.Error), maxText)])
	case r.Exited != nil:
		e.u8(kindExited)
		e.u8(uint8(r.Exited.Process))
		e.u8(uint8(r.Exited.Code))
		e.u8(uint8(r.Exited.Signal))
	}
	return e.done()
}

// DecodeReport reads a packet of the starter, which is hostile: a function's
// code runs as the same user as the starter.
func DecodeReport(b []byte) (Report, error) {
	d := decoder{b: b}
	var r Report
	switch d.u8() {
	case kindStarted:
		r.Started = &Started{Process: d.process(), Error: d.str()}
		if len(r.Started.Error) > maxText {
			d.fail()
		}
	case kindExited:
		r.Exited = &Exited{Process: d.process(), Code: int(d.u8()), Signal: syscall.Signal(d.u8())}
		if r.Exited.Signal > 64 {
			d.fail()
		}
	default:
		d.fail()
	}
	if err := d.done(); err != nil {
		return Report{}, err
	}
	return r, nil
}

// encoder appends fields; strings and lists carry their length first.
type encoder struct {
	b   []byte
	bad bool
}

func (e *encoder) u8(v uint8) { e.b = append(e.b, v) }

func (e *encoder) str(s string) {
	e.bad = e.bad || len(s) > maxString
	e.b = binary.LittleEndian.AppendUint32(e.b, uint32(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strs(v []string) {
	e.bad = e.bad || len(v) > maxList
	e.b = binary.LittleEndian.AppendUint16(e.b, uint16(len(v)))
	for _, s := range v {
		e.str(s)
	}
}

func (e *encoder) done() ([]byte, error) {
	if e.bad || len(e.b) == 0 || len(e.b) > MaxMessage {
		return nil, ErrMalformed
	}
	return e.b, nil
}

// decoder reads fields; after the first error every read gives zero. It
// allocates no more than the packet holds.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) process() int {
	n := int(d.u8())
	if n >= MaxProcesses {
		d.fail()
		return 0
	}
	return n
}

func (d *decoder) str() string {
	v := d.take(4)
	if v == nil {
		return ""
	}
	n := binary.LittleEndian.Uint32(v)
	if n > maxString {
		d.fail()
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) strs() []string {
	n := int(d.u16())
	if n > maxList || 4*n > len(d.b) {
		d.fail()
		return nil
	}
	var v []string
	for range n {
		v = append(v, d.str())
	}
	return v
}

func (d *decoder) done() error {
	if d.bad || len(d.b) != 0 {
		return ErrMalformed
	}
	return nil
}
