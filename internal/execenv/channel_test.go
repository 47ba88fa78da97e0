package execenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestChannel_CarriesFramesBothWays(t *testing.T) {
	c, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	defer closeAll(theirs)
	payload := bytes.Repeat([]byte("å"), 3<<20)
	go func() { // the runtime: answers with what it got
		f, err := readFrame(theirs[0])
		if err != nil {
			t.Error(err)
			return
		}
		f.body = append(bytes.Clone(f.body[:4]), f.body[4:]...)
		head := []byte{byte(len(f.body) >> 24), byte(len(f.body) >> 16), byte(len(f.body) >> 8), byte(len(f.body)), byte(frameResponse)}
		if _, err := theirs[1].Write(append(head, f.body...)); err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(time.Minute)
	if err := c.send(frameInvoke, invokeMeta{ID: "r"}, payload, deadline); err != nil {
		t.Fatal(err)
	}
	f, err := c.recv(deadline)
	if err != nil {
		t.Fatal(err)
	}
	meta, got, err := f.split()
	if err != nil || meta.ID != "r" || !bytes.Equal(got, payload) {
		t.Fatalf("got %+v and %d bytes, %v", meta, len(got), err)
	}
}

func TestChannel_Deadlines(t *testing.T) {
	c, theirs, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	past := time.Now().Add(-time.Second)
	if _, err := c.recv(past); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("recv = %v", err)
	}
	// Nobody reads: the pipe fills, then the deadline ends the write.
	big := make([]byte, 4*maxPipe)
	if err := c.send(frameInvoke, invokeMeta{}, big, time.Now().Add(10*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("send = %v", err)
	}
	closeAll(theirs)
	if _, err := c.recv(time.Now().Add(time.Minute)); !endOfProcess(err) {
		t.Errorf("recv after the end = %v", err)
	}
	if err := c.send(frameInvoke, invokeMeta{}, nil, time.Now().Add(time.Minute)); !endOfProcess(err) {
		t.Errorf("send after the end = %v", err)
	}
}

func TestReadFrame_RefusesWhatIsTooLong(t *testing.T) {
	if _, err := readFrame(strings.NewReader("\xff\xff\xff\xff\x13")); !errors.Is(err, errProtocol) {
		t.Errorf("readFrame = %v, want errProtocol", err)
	}
	for _, cut := range []string{"", "\x00", "\x00\x00\x00\x05\x13abc"} {
		if _, err := readFrame(strings.NewReader(cut)); !errors.Is(err, io.EOF) {
			t.Errorf("readFrame(%q) = %v, want EOF", cut, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0b\x13\x00\x00\x00\x05{\"a\"}xx"))
	f.Add([]byte("\x00\x00\x00\x04\x14\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00\x15"))
	f.Add([]byte("\x00\x00\x00\x0f\x17{\"id\":\"\",\"size\":-1}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			frame, err := readFrame(r)
			if err != nil {
				return
			}
			meta, payload, err := frame.split()
			if err == nil && len(payload)+4 > len(frame.body) {
				t.Fatalf("%+v with %d of %d bytes", meta, len(payload), len(frame.body))
			}
			(&environment{}).answer(frame, Invocation{RequestID: meta.ID})
		}
	})
}

// The short way to read metadata reads what the parser reads, or nothing.
func TestPlainReply_AgreesWithTheParser(t *testing.T) {
	for text, plain := range map[string]bool{
		`{"id":"8f507cfc-5b2a-4f1d-9d3e-000000000001"}`: true,
		`{"id":""}`:                  true,
		`{"id":"a","fatal":true}`:    false,
		`{"id":"a","size":7}`:        false,
		`{"id":"\u0061"}`:            false,
		`{"id":"a"b"}`:               false,
		`{"id":"`:                    false,
		`{"fatal":true,"id":"a"}`:    false,
		` {"id":"a"}`:                false,
		`{"id":"a"},{"fatal":true}`:  false,
		`{"id":"a","fatal":"b"}`:     false,
		`{"id":"å","id":"b"}`:        false,
		`{"id":"a","id":"b"}`:        false,
		`{"ID":"a"}`:                 false,
		`{"id":"a` + "\x00" + `b"}`:  false,
		`{"id":"a\","fatal":"true"}`: false,
		`{"id":"a"}` + "\n":          false,
		`{"id":"request/1"}`:         false,
	} {
		id, ok := plainReply([]byte(text))
		if ok != plain {
			t.Errorf("%s: read %v", text, ok)
		}
		var meta replyMeta
		if err := json.Unmarshal([]byte(text), &meta); ok && (err != nil || meta != replyMeta{ID: id}) {
			t.Errorf("%s: %q, the parser %+v, %v", text, id, meta, err)
		}
	}
}
