package sqlite

import (
	"cmp"
	"database/sql"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"davy/internal/state"
)

// triesBase is what the tries column starts from: SQLite stores 0 and 1 in no
// byte and 2 to 127 in one, and a record that keeps its length is changed in
// place, without writing a large body again.
const triesBase = 2

// receive is a claim on visible messages.
type receive struct {
	queue string
	n     int
	vis   time.Duration
}

// stored is what a settlement needs of a message.
type stored struct {
	id    int64
	queue string
	exp   int64
}

func (g *group) enqueue(m state.Msg, id int64) error {
	vis, exp := g.now, int64(0)
	if !m.VisibleAt.IsZero() {
		vis = m.VisibleAt.UnixNano()
	}
	if !m.ExpiresAt.IsZero() {
		exp = m.ExpiresAt.UnixNano()
	}
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	g.wrote, g.wake = true, true
	g.queues[m.Queue]++
	return g.exec(sqlSend, id, []byte(m.Queue), vis, exp, g.gone(vis, exp), triesBase, g.now, encodeAttrs(m.Attrs), body)
}

// gone is when a message with this visibility and expiry is dropped, 0: never.
func (g *group) gone(vis, exp int64) int64 {
	if exp == 0 {
		return 0
	}
	at := max(vis, exp, 1)
	g.nextGone = min(g.nextGone, at)
	return at
}

// message finds the message that a receipt is valid for.
func (g *group) message(receipt string) (stored, bool, error) {
	id, tries, ok := parseReceipt(receipt)
	if !ok {
		return stored{}, false, nil
	}
	var q []byte
	m := stored{id: id}
	switch err := g.row(sqlMessage, id, tries).Scan(&q, &m.exp); {
	case errors.Is(err, sql.ErrNoRows):
		return stored{}, false, nil
	case err != nil:
		return stored{}, false, err
	}
	m.queue = string(q)
	return m, true, nil
}

func (g *group) settle(s state.Settle) error {
	m, ok, err := g.message(s.Receipt)
	if err != nil || !ok { // deleted by an earlier entry of this batch
		return err
	}
	g.wrote = true
	if s.Delete {
		g.queues[m.queue]--
		return g.exec(sqlDeleteMessage, m.id)
	}
	g.wake = true
	g.queues[m.queue] += 0
	vis := g.now
	if !s.VisibleAt.IsZero() {
		vis = s.VisibleAt.UnixNano()
	}
	if s.Body != nil {
		return g.exec(sqlRestore, vis, g.gone(vis, m.exp), s.Body, m.id)
	}
	return g.exec(sqlHide, vis, g.gone(vis, m.exp), 0, m.id)
}

// deliver claims messages.
func (g *group) deliver(r receive) ([]state.Delivery, error) {
	rows, err := g.prepared[sqlClaim].Query([]byte(r.queue), g.now, g.now, max(r.n, 0))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []state.Delivery
	var expiries []int64
	for rows.Next() {
		var d state.Delivery
		var exp, enq int64
		var attrs []byte
		if err := rows.Scan(&d.ID, &exp, &d.Attempts, &enq, &attrs, &d.Body); err != nil {
			return nil, err
		}
		d.Attempts -= triesBase - 1
		d.Queue, d.Body = r.queue, present(d.Body)
		d.Attrs = decodeAttrs(attrs)
		d.EnqueuedAt = time.Unix(0, enq)
		d.VisibleAt = time.Unix(0, g.now).Add(r.vis)
		if exp != 0 {
			d.ExpiresAt = time.Unix(0, exp)
		}
		d.Receipt = receiptFor(d.ID, d.Attempts)
		out = append(out, d)
		expiries = append(expiries, exp)
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i, d := range out {
		vis := d.VisibleAt.UnixNano()
		g.wrote = true
		g.queues[r.queue] += 0
		if err := g.exec(sqlHide, vis, g.gone(vis, expiries[i]), 1, d.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sweep drops the messages that expired unseen.
func (g *group) sweep() error {
	if g.nextGone > g.now {
		return nil
	}
	rows, err := g.prepared[sqlExpired].Query(g.now)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var q []byte
		if err := rows.Scan(&q); err != nil {
			return err
		}
		g.wrote = true
		g.queues[string(q)]--
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		return err
	}
	var next sql.NullInt64
	if err := g.row(sqlNextGone).Scan(&next); err != nil {
		return err
	}
	g.nextGone = never
	if next.Valid {
		g.nextGone = next.Int64
	}
	return nil
}

// updateQueue writes the summary row of a queue.
func (g *group) updateQueue(q string, gained int64) error {
	var due int64
	switch err := g.row(sqlFirstDue, []byte(q)).Scan(&due); {
	case errors.Is(err, sql.ErrNoRows):
		return g.exec(sqlDropQueue, []byte(q))
	case err != nil:
		return err
	}
	return g.exec(sqlSetQueue, []byte(q), gained, due)
}

// A receipt names a delivery: the message and which attempt it was.
func receiptFor(id int64, attempts int) string {
	return strconv.FormatInt(id, 36) + "." + strconv.Itoa(attempts)
}

// parseReceipt gives the id and the value of the tries column.
func parseReceipt(s string) (id, tries int64, ok bool) {
	a, b, _ := strings.Cut(s, ".")
	id, err1 := strconv.ParseInt(a, 36, 64)
	attempts, err2 := strconv.ParseInt(b, 10, 32)
	if err1 != nil || err2 != nil || attempts < 1 {
		return 0, 0, false
	}
	return id, attempts + triesBase, true
}

// encodeAttrs writes attributes as length-prefixed strings: any bytes survive.
func encodeAttrs(attrs map[string]string) []byte {
	out := []byte{}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		for _, s := range []string{k, attrs[k]} {
			out = append(binary.AppendUvarint(out, uint64(len(s))), s...)
		}
	}
	return out
}

func decodeAttrs(b []byte) map[string]string {
	var out map[string]string
	next := func() string {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			b = nil
			return ""
		}
		s := string(b[w : w+int(n)])
		b = b[w+int(n):]
		return s
	}
	for len(b) > 0 {
		if out == nil {
			out = map[string]string{}
		}
		k := next()
		out[k] = next()
	}
	return out
}

const (
	sqlSend          = `INSERT INTO msg (id, q, vis, exp, gone, tries, enq, attrs, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlMessage       = `SELECT q, exp FROM msg WHERE id = ? AND tries = ?`
	sqlDeleteMessage = `DELETE FROM msg WHERE id = ?`
	sqlHide          = `UPDATE msg SET vis = ?, gone = ?, tries = tries + ? WHERE id = ?`
	sqlRestore       = `UPDATE msg SET vis = ?, gone = ?, body = ? WHERE id = ?`
	sqlClaim         = `SELECT id, exp, tries, enq, attrs, body FROM msg
		WHERE q = ? AND vis <= ? AND (gone = 0 OR gone > ?) ORDER BY vis, id LIMIT ?`
	sqlExpired   = `DELETE FROM msg WHERE gone > 0 AND gone <= ? RETURNING q`
	sqlNextGone  = `SELECT min(gone) FROM msg WHERE gone > 0`
	sqlFirstDue  = `SELECT vis FROM msg WHERE q = ? ORDER BY vis LIMIT 1`
	sqlSetQueue  = `INSERT INTO queue (q, n, due) VALUES (?, ?, ?) ON CONFLICT (q) DO UPDATE SET n = n + excluded.n, due = excluded.due`
	sqlDropQueue = `DELETE FROM queue WHERE q = ?`
)
