package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"davy/internal/state"
)

// A block is the events of one stream, sorted by (Timestamp, Seq):
//
//	format byte: 0 plain, 1 zstd
//	for each event: varint timestamp, varint seq, varint ingested (each the
//	difference to the event before), uvarint length, message
const (
	blockPlain = 0
	blockZstd  = 1

	blockEvents = 256       // a block with as many takes no more
	blockBytes  = 64 << 10  // nor one as large
	blockMax    = 256 << 20 // when unpacked: more is damage
	plainBelow  = 256       // bytes: less is not worth compressing
)

var errBlock = errors.New("log block is damaged")

// blockCodec packs and unpacks blocks. Safe for concurrent use.
type blockCodec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newBlockCodec() (*blockCodec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(blockMax))
	return &blockCodec{enc, dec}, err
}

func (c *blockCodec) close() {
	c.dec.Close()
}

// plainBlock is a block that is being filled, not compressed. Events come in
// their order.
type plainBlock struct {
	data []byte
	last state.LogEvent // without its texts
	n    int            // events
}

func (p *plainBlock) add(e state.LogEvent) {
	if p.n == 0 {
		p.data = append(p.data[:0], blockPlain)
	}
	p.data = binary.AppendVarint(p.data, e.Timestamp-p.last.Timestamp)
	p.data = binary.AppendVarint(p.data, e.Seq-p.last.Seq)
	p.data = binary.AppendVarint(p.data, e.Ingested-p.last.Ingested)
	p.data = append(binary.AppendUvarint(p.data, uint64(len(e.Message))), e.Message...)
	p.last = state.LogEvent{Timestamp: e.Timestamp, Seq: e.Seq, Ingested: e.Ingested}
	p.n++
}

// pack makes a block of events that are in order.
func (c *blockCodec) pack(events []state.LogEvent) []byte {
	var p plainBlock
	for _, e := range events {
		p.add(e)
	}
	return c.compress(p.data)
}

// compress compresses a plain block if that is worth it.
func (c *blockCodec) compress(plain []byte) []byte {
	if len(plain) < plainBelow {
		return plain
	}
	return c.enc.EncodeAll(plain[1:], []byte{blockZstd})
}

func (c *blockCodec) unpack(stream string, data []byte) ([]state.LogEvent, error) {
	if len(data) == 0 {
		return nil, errBlock
	}
	raw := data[1:]
	switch data[0] {
	case blockPlain:
	case blockZstd:
		var err error
		if raw, err = c.dec.DecodeAll(raw, nil); err != nil {
			return nil, fmt.Errorf("%w: %w", errBlock, err)
		}
	default:
		return nil, errBlock
	}
	var out []state.LogEvent
	bad := false
	varint := func() int64 {
		v, n := binary.Varint(raw)
		if n <= 0 {
			bad = true
			return 0
		}
		raw = raw[n:]
		return v
	}
	var last state.LogEvent
	for len(raw) > 0 {
		e := state.LogEvent{Stream: stream}
		e.Timestamp = last.Timestamp + varint()
		e.Seq = last.Seq + varint()
		e.Ingested = last.Ingested + varint()
		size, n := binary.Uvarint(raw)
		if bad || n <= 0 || size > uint64(len(raw)-n) {
			return nil, errBlock
		}
		e.Message = string(raw[n : n+int(size)])
		raw = raw[n+int(size):]
		out = append(out, e)
		last = e
	}
	return out, nil
}
