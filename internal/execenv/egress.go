package execenv

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/miekg/dns"

	"davy/internal/sandbox"
)

// WayOut carries what environments send to other networks, as far as it likes.
type WayOut interface {
	// Attach carries what is sent to the network device of an environment
	// until the Way is closed. The descriptor stays the caller's.
	Attach(ctx context.Context, env string, device *os.File) (Way, error)
}

// Way is the way out of one environment. Close ends all its flows and waits
// until nothing of them is left.
type Way interface {
	io.Closer
	// Resolve answers a query for a name that is not Davy's. It always
	// answers, at length: the asker may take less.
	Resolve(ctx context.Context, q *dns.Msg) *dns.Msg
}

// device is the network device of an environment with a way out: its own
// address, which nobody else sees. It is the last of the sockets.
const device = "tun:169.254.100.2/32"

// withDevice adds the device to an environment's sockets, if there is a way
// out and the sandbox can have one.
func (es *Environments) withDevice(sockets []string) []string {
	if es.cfg.Egress == nil || !sandbox.HasEgress(es.cfg.Driver) {
		return sockets
	}
	return append(sockets[:len(sockets):len(sockets)], device)
}

// connect gives a process its way out, if its sandbox has a device, and
// returns what answers its name queries.
func (es *Environments) connect(p *process, sockets []string, files []*os.File) (dns.Handler, error) {
	r := es.resolver
	last := len(files) - 1
	if last < 0 || !strings.HasPrefix(sockets[last], "tun:") {
		return r, nil
	}
	way, err := es.cfg.Egress.Attach(es.ctx, p.sb.ID(), files[last])
	if err != nil {
		return nil, fmt.Errorf("way out of the sandbox: %w", err)
	}
	p.closers = append(p.closers, way)
	r.ctx, r.out = es.ctx, way
	return r, nil
}
