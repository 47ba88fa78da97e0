package execenv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"davy/internal/rawio"
)

// MaxResponse is the longest response of a function in bytes: 6 MB and AWS's
// allowance for its envelope.
const MaxResponse = 6291556

// Frames to and from a managed runtime's bootstrap.
//
//	+----------------+----------+----------------------+
//	| length, u32 BE | type, u8 | body, length bytes   |
//	+----------------+----------+----------------------+
//
// A body is text, or metadata and bytes:
//
//	+-------------------------+------+-------+
//	| metadata length, u32 BE | JSON | bytes |
//	+-------------------------+------+-------+
type frameType uint8

const (
	frameInit   frameType = 1 // metadata initMeta
	frameInvoke frameType = 2 // metadata invokeMeta, bytes: the event
	frameWarm   frameType = 3 // metadata warmMeta; answered by frameBooted

	frameBooted    frameType = 16 // text: JSON, the bootstrap waits for a function
	frameReady     frameType = 17 // the handler is loaded
	frameInitError frameType = 18 // text: error payload; the process exits
	frameResponse  frameType = 19 // metadata replyMeta, bytes: the response
	frameError     frameType = 20 // metadata replyMeta, bytes: error payload
	frameLog       frameType = 21 // text: one log event
	frameOutput    frameType = 22 // text: bytes written to stdout or stderr
	frameTooLarge  frameType = 23 // text: JSON {id, size}, instead of a response
	frameChunk     frameType = 24 // text: a part of the response, before it
)

const (
	frameHeader = 5
	maxFrame    = MaxResponse + 4096
	maxPipe     = 1 << 20 // what an unprivileged process may ask for
)

var errProtocol = errors.New("execenv: runtime broke the control protocol")

type initMeta struct {
	Env             map[string]string `json:"env"`
	Handler         string            `json:"handler"`
	TaskRoot        string            `json:"taskRoot"`
	Callbacks       bool              `json:"callbacks"`
	CAFile          string            `json:"caFile,omitempty"`
	TrustedSuffixes []string          `json:"trustedSuffixes,omitempty"`
}

// warmMeta names the modules that a runtime of the pool imports before it has a
// function.
type warmMeta struct {
	Modules []string `json:"modules"`
	// ExerciseSDK: the modules are clients of the AWS SDK, whose code for a
	// call is run. CAFile and Host lead to Davy.
	ExerciseSDK bool   `json:"exerciseSDK,omitempty"`
	CAFile      string `json:"caFile,omitempty"`
	Host        string `json:"host,omitempty"`
}

type invokeMeta struct {
	ID            string `json:"id"`
	ARN           string `json:"arn"`
	Deadline      int64  `json:"deadline"` // ms since 1970
	Trace         string `json:"trace,omitempty"`
	ClientContext string `json:"clientContext,omitempty"`
}

type replyMeta struct {
	ID    string `json:"id"`
	Fatal bool   `json:"fatal"` // the process exits
	Size  int64  `json:"size"`  // of a response that is too large
}

type frame struct {
	kind frameType
	body []byte
	// errorType is what a custom runtime's header says of the error in body.
	errorType string
}

// split takes metadata and bytes of a body apart.
func (f frame) split() (replyMeta, []byte, error) {
	var meta replyMeta
	if len(f.body) < 4 {
		return meta, nil, errProtocol
	}
	n := binary.BigEndian.Uint32(f.body)
	if uint64(n) > uint64(len(f.body)-4) {
		return meta, nil, errProtocol
	}
	text, payload := f.body[4:4+n], f.body[4+n:]
	if id, ok := plainReply(text); ok {
		return replyMeta{ID: id}, payload, nil
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return meta, nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return meta, payload, nil
}

// plainReply reads the metadata of nearly all replies, {"id":"REQUEST-ID"},
// which is not worth a parser.
func plainReply(text []byte) (id string, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(`{"id":"`))
	if !ok {
		return "", false
	}
	rest, ok = bytes.CutSuffix(rest, []byte(`"}`))
	if !ok || bytes.ContainsFunc(rest, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
		return "", false
	}
	return string(rest), true
}

// channel is Davy's end of the control channel. One goroutine uses it.
type channel struct {
	to   *os.File  // the runtime's descriptor 3
	from *os.File  // the runtime's descriptor 4
	w    io.Writer // to
	r    *bufio.Reader
}

// newChannel returns a channel and the runtime's two ends of it.
func newChannel() (*channel, []*os.File, error) {
	theirIn, to, err := pipe(ourWrite)
	if err != nil {
		return nil, nil, err
	}
	from, theirOut, err := pipe(ourRead)
	if err != nil {
		return nil, nil, errors.Join(err, theirIn.Close(), to.Close())
	}
	w, err := rawio.New(to)
	if err != nil {
		return nil, nil, err
	}
	r, err := rawio.New(from)
	if err != nil {
		return nil, nil, err
	}
	return &channel{to: to, from: from, w: w, r: bufio.NewReaderSize(r, 4<<10)}, []*os.File{theirIn, theirOut}, nil
}

func (c *channel) close() {
	c.to.Close()
	c.from.Close()
}

// send writes a frame of metadata and bytes. A runtime that does not read
// makes it fail at the deadline.
func (c *channel) send(kind frameType, meta any, payload []byte, deadline time.Time) error {
	if err := c.to.SetWriteDeadline(deadline); err != nil {
		return err
	}
	m, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	head := make([]byte, 0, frameHeader+4+len(m)+len(payload))
	head = binary.BigEndian.AppendUint32(head, uint32(4+len(m)+len(payload)))
	head = append(head, byte(kind))
	head = binary.BigEndian.AppendUint32(head, uint32(len(m)))
	head = append(head, m...)
	head = append(head, payload...)
	_, err = c.w.Write(head)
	return err
}

// recv reads the next frame, until the deadline: then the error is
// os.ErrDeadlineExceeded. io.EOF: the runtime has ended.
func (c *channel) recv(deadline time.Time) (frame, error) {
	if err := c.from.SetReadDeadline(deadline); err != nil {
		return frame{}, err
	}
	return readFrame(c.r)
}

func readFrame(r io.Reader) (frame, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return frame{}, fmt.Errorf("%w: frame of %d bytes", errProtocol, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return frame{}, err
	}
	return frame{kind: frameType(head[4]), body: body}, nil
}

type pipeEnd int

const (
	ourRead  pipeEnd = 0
	ourWrite pipeEnd = 1
)

// pipe returns a pipe whose one end, ours, works with Go's poller and whose
// other end blocks, as the runtime's synchronous writes need.
func pipe(ours pipeEnd) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("control pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[ours], true); err != nil {
		return nil, nil, fmt.Errorf("control pipe: %w", err)
	}
	// A large payload then takes few wake-ups. Refused above the user's
	// share of pipe memory: the default size works too.
	_, _ = unix.FcntlInt(uintptr(fds[ours]), unix.F_SETPIPE_SZ, maxPipe)
	return os.NewFile(uintptr(fds[0]), "control-read"), os.NewFile(uintptr(fds[1]), "control-write"), nil
}
