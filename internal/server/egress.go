package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"davy/internal/egress"
	"davy/internal/execenv"
	"davy/internal/metrics"
)

// Egress says what functions may reach. Rules are CIDR, CIDR:PORT or
// CIDR:PORT-PORT.
type Egress struct {
	Mode  string   // egress.Internet or egress.None; empty: Internet
	Allow []string // private networks and addresses of this machine
	Deny  []string // refused whatever else is said
}

// Check says what is wrong with it; the error names the flag.
func (e Egress) Check() error {
	_, err := e.policy()
	return err
}

func (e Egress) policy() (egress.Policy, error) {
	p := egress.Policy{Mode: e.Mode}
	for _, list := range []struct {
		flag string
		from []string
		to   *[]egress.Rule
	}{{"--egress-allow", e.Allow, &p.Allow}, {"--egress-deny", e.Deny, &p.Deny}} {
		for _, text := range list.from {
			r, err := egress.ParseRule(text)
			if err != nil {
				return p, fmt.Errorf("%s %w", list.flag, err)
			}
			*list.to = append(*list.to, r)
		}
	}
	if err := (egress.Policy{Mode: p.Mode}).Check(); err != nil {
		return p, fmt.Errorf("--egress %w", err)
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("--egress-allow %w", err)
	}
	if p.Closed() && len(p.Deny) > 0 {
		return p, errors.New("--egress-deny: with --egress none and nothing allowed there is nothing to deny")
	}
	return p, nil
}

// wayOut gives execenv the gate.
type wayOut struct{ gate *egress.Gate }

func (w wayOut) Attach(ctx context.Context, env string, device *os.File) (execenv.Way, error) {
	return w.gate.Attach(ctx, env, device)
}

// openGate builds the way out; nil when the policy leaves none.
func openGate(cfg Config, r *metrics.Registry) (*egress.Gate, error) {
	p, err := cfg.Egress.policy()
	if err != nil || p.Closed() {
		return nil, err
	}
	return egress.New(egress.Config{Policy: p, Observer: newEgressMeter(r), Log: cfg.Log})
}

// egressMeter turns what flows do into metrics.
type egressMeter struct{ opened, refused, bytes *metrics.Counter }

func newEgressMeter(r *metrics.Registry) egressMeter {
	return egressMeter{
		opened:  r.Counter("davy_egress_flows_total", "Flows of functions to other networks that were opened.", "protocol"),
		refused: r.Counter("davy_egress_refused_total", "Flows of functions that the policy or a bound refused.", "protocol"),
		bytes:   r.Counter("davy_egress_bytes_total", "Bytes of payload that flows carried out of environments and in.", "direction"),
	}
}

// FlowOpened implements egress.Observer.
func (m egressMeter) FlowOpened(protocol string) { m.opened.Add(1, protocol) }

// FlowRefused implements egress.Observer.
func (m egressMeter) FlowRefused(protocol string) { m.refused.Add(1, protocol) }

// Carried implements egress.Observer.
func (m egressMeter) Carried(out, in int64) {
	if out > 0 {
		m.bytes.Add(float64(out), "out")
	}
	if in > 0 {
		m.bytes.Add(float64(in), "in")
	}
}

// publicBundles are where distributions keep the authorities that programs
// trust, all in one file.
var publicBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL, Amazon Linux
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // newer RHEL
	"/etc/ssl/cert.pem",
}

// publicCAs reads this machine's. Without any, TLS to the internet fails in
// programs that bring no authorities of their own.
func publicCAs(files []string, log *slog.Logger) []byte {
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
			return b
		}
	}
	log.Warn("no public certificate authorities on this machine: custom runtimes cannot verify https on the internet", "fix", "install ca-certificates")
	return nil
}
