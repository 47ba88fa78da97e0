package starter

import (
	"syscall"

	"davy/internal/sandbox/field"
)

// Bounds of a message.
const (
	MaxMessage   = field.MaxMessage
	MaxProcesses = 1 + MaxExtensions // the runtime is number 0
	// MaxExtensions is AWS's limit of a function's extensions.
	MaxExtensions = 10
	maxText       = 512 // of an error
)

// Runtime is the number of the runtime among the processes; extensions count
// from 1 in the order of Begin.Paths.
const Runtime = 0

// ErrMalformed is every decoding error.
var ErrMalformed = field.ErrMalformed

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
	var e field.Encoder
	switch {
	case c.Begin != nil:
		e.U8(kindBegin)
		e.U8(uint8(c.Begin.RuntimeFiles))
		e.Strs(c.Begin.Paths)
		e.Strs(c.Begin.Env)
	case c.Run != nil:
		e.U8(kindRun)
		e.Strs(c.Run.Args)
		e.Strs(c.Run.Env)
		e.Str(c.Run.Dir)
	case c.Signal != nil:
		e.U8(kindSignal)
		e.U8(uint8(c.Signal.Process))
		e.U8(uint8(c.Signal.Signal))
	case c.Dial != nil:
		e.U8(kindDial)
		e.U16(c.Dial.Port)
	}
	return e.Done()
}

// DecodeCommand reads a packet to the starter.
func DecodeCommand(b []byte) (Command, error) {
	d := field.NewDecoder(b)
	var c Command
	switch d.U8() {
	case kindBegin:
		c.Begin = &Begin{RuntimeFiles: int(d.U8()), Paths: d.Strs(), Env: d.Strs()}
		if len(c.Begin.Paths) > MaxExtensions {
			d.Fail("too many extensions")
		}
	case kindRun:
		c.Run = &Run{Args: d.Strs(), Env: d.Strs(), Dir: d.Str()}
		if len(c.Run.Args) == 0 {
			d.Fail("no program")
		}
	case kindSignal:
		c.Signal = &Signal{Process: process(&d), Signal: syscall.Signal(d.U8())}
		if c.Signal.Signal != syscall.SIGTERM && c.Signal.Signal != syscall.SIGKILL {
			d.Fail("another signal")
		}
	case kindDial:
		c.Dial = &Dial{Port: d.U16()}
	default:
		d.Fail("unknown kind")
	}
	if err := d.Done(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// Encode returns the packet.
func (r Report) Encode() ([]byte, error) {
	var e field.Encoder
	switch {
	case r.Started != nil:
		e.U8(kindStarted)
		e.U8(uint8(r.Started.Process))
		e.Str(r.Started.Error[:min(len(r.Started.Error), maxText)])
	case r.Exited != nil:
		e.U8(kindExited)
		e.U8(uint8(r.Exited.Process))
		e.U8(uint8(r.Exited.Code))
		e.U8(uint8(r.Exited.Signal))
	}
	return e.Done()
}

// DecodeReport reads a packet of the starter, which is hostile: a function's
// code runs as the same user as the starter.
func DecodeReport(b []byte) (Report, error) {
	d := field.NewDecoder(b)
	var r Report
	switch d.U8() {
	case kindStarted:
		r.Started = &Started{Process: process(&d), Error: d.Str()}
		if len(r.Started.Error) > maxText {
			d.Fail("text too long")
		}
	case kindExited:
		r.Exited = &Exited{Process: process(&d), Code: int(d.U8()), Signal: syscall.Signal(d.U8())}
		if r.Exited.Signal > 64 {
			d.Fail("no signal")
		}
	default:
		d.Fail("unknown kind")
	}
	if err := d.Done(); err != nil {
		return Report{}, err
	}
	return r, nil
}

// process reads the number of a process.
func process(d *field.Decoder) int {
	n := int(d.U8())
	if n >= MaxProcesses {
		d.Fail("no process")
		return 0
	}
	return n
}
