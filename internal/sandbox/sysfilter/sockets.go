package sysfilter

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The sockets that a function has a use for. Each of the other families and
// protocols is code of the kernel's that anybody may have loaded by asking for
// a socket of it, and little else uses: SCTP, TIPC, RDS, Bluetooth, CAN,
// netfilter's netlink and so on.
var sockets = []struct {
	family    uint64
	kind      uint64   // SOCK_STREAM, ...; 0: any
	protocols []uint64 // nil: any
}{
	{unix.AF_UNIX, 0, nil},
	{unix.AF_INET, unix.SOCK_STREAM, []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP}},
	{unix.AF_INET, unix.SOCK_DGRAM, []uint64{0, unix.IPPROTO_UDP, unix.IPPROTO_ICMP}},
	{unix.AF_INET6, unix.SOCK_STREAM, []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP}},
	{unix.AF_INET6, unix.SOCK_DGRAM, []uint64{0, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6}},
	// The list of network devices and addresses.
	{unix.AF_NETLINK, 0, []uint64{unix.NETLINK_ROUTE}},
}

// The kernel takes the arguments as 32 bits, and flags beside the kind.
const (
	wholeInt = 1<<32 - 1
	kindMask = 0xf
)

// socketRules allow what sockets has.
func socketRules() []Rule {
	equal := func(arg uint, value, mask uint64) Cond {
		return Cond{Arg: arg, Op: specs.OpEqualTo, Value: value, Mask: mask}
	}
	var rules []Rule
	for _, s := range sockets {
		conds := []Cond{equal(0, s.family, wholeInt)}
		if s.kind != 0 {
			conds = append(conds, equal(1, s.kind, kindMask))
		}
		if s.protocols == nil {
			rules = append(rules, Rule{Conds: conds, Outcome: Outcome{Allow: true}})
		}
		for _, p := range s.protocols {
			rules = append(rules, Rule{
				Conds:   append(conds[:len(conds):len(conds)], equal(2, p, wholeInt)),
				Outcome: Outcome{Allow: true},
			})
		}
	}
	return rules
}
