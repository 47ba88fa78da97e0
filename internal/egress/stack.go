package egress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// mtu is that of the device (pid1.MTU): the largest packet that IPv4 has.
const mtu = 65535

// What a packet of an environment is.
const (
	packetOther   = iota // nothing that is carried
	packetOpening        // may open a flow
	packetOfFlow         // belongs to a flow, if there is one
)

// inspect looks at a packet before there is a stack for it. What cannot be
// read is nothing that is carried; the stack reads everything again.
func inspect(b []byte) int {
	if len(b) < header.IPv4MinimumSize || b[0]>>4 != 4 {
		return packetOther
	}
	// Nobody is meant by these: no answer, and no flow.
	if to := [4]byte(b[16:20]); to[0] >= 224 {
		return packetOther
	}
	size := int(b[0]&15) * 4
	if size < header.IPv4MinimumSize || len(b) < size {
		return packetOther
	}
	payload := b[size:]
	switch b[9] {
	case uint8(header.UDPProtocolNumber):
		return packetOpening
	case uint8(header.TCPProtocolNumber):
		if len(payload) < header.TCPMinimumSize {
			return packetOther
		}
		if header.TCP(payload).Flags().Contains(header.TCPFlagRst) {
			return packetOfFlow
		}
		return packetOpening
	case uint8(header.ICMPv4ProtocolNumber):
		// That a port is closed ends a flow. Anything else would be answered
		// by the stack itself, as though it were the destination.
		if len(payload) >= header.ICMPv4MinimumSize && header.ICMPv4(payload).Type() == header.ICMPv4DstUnreachable {
			return packetOfFlow
		}
	}
	return packetOther
}

// network is the stack that ends the flows of one environment.
type network struct {
	stack *stack.Stack
	link  *link
}

// newNetwork makes the stack of an environment.
func newNetwork(w *Way) (*network, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	n := &network{stack: s, link: &link{raw: w.raw}}
	const nic = 1
	moderate, linger, timeWait := tcpip.TCPModerateReceiveBufferOption(false), tcpip.TCPLingerTimeoutOption(10*time.Second), tcpip.TCPTimeWaitTimeoutOption(5*time.Second)
	var errs []error
	for _, err := range []tcpip.Error{
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: maxBuffer, Max: maxBuffer}),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: maxBuffer, Max: maxBuffer}),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &linger),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &timeWait),
		s.CreateNIC(nic, n.link),
		s.SetPromiscuousMode(nic, true), // it is every destination
		s.SetSpoofing(nic, true),        // and answers as such
	} {
		if err != nil {
			errs = append(errs, errors.New(err.String()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("network stack: %w", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	// Refused UDP is answered with ICMP, which the stack limits to 1,000/s.
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, flowsEach, w.forwardTCP).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, w.forwardUDP).HandlePacket)
	return n, nil
}

func (n *network) inject(packet []byte) {
	n.link.mu.RLock()
	to := n.link.to
	n.link.mu.RUnlock()
	if to == nil {
		return
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	to.DeliverNetworkPacket(header.IPv4ProtocolNumber, p)
	p.DecRef()
}

// close ends all flows at once.
func (n *network) close() { n.stack.Close() }

// wait returns when nothing of the stack runs any more.
func (n *network) wait() { n.stack.Wait() }

// destinationOf is where a flow of an environment goes.
func destinationOf(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
}

// link is the environment's device as the stack sees it.
type link struct {
	raw syscall.RawConn

	mu sync.RWMutex
	to stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*link)(nil)

// WritePackets writes to the device, which takes a packet or drops it and
// never waits.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	written := 0
	err := l.raw.Write(func(fd uintptr) bool {
		for _, p := range list.AsSlice() {
			_, _ = unix.Writev(int(fd), p.AsSlices()) // the transport repeats what is lost
			written++
		}
		return true
	})
	if err != nil {
		return written, &tcpip.ErrClosedForSend{}
	}
	return written, nil
}

// MTU implements stack.LinkEndpoint, as the following do.
func (*link) MTU() uint32                             { return mtu }
func (*link) SetMTU(uint32)                           {}
func (*link) MaxHeaderLength() uint16                 { return 0 }
func (*link) LinkAddress() tcpip.LinkAddress          { return "" }
func (*link) SetLinkAddress(tcpip.LinkAddress)        {}
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*link) AddHeader(*stack.PacketBuffer)           {}
func (*link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*link) Wait()                                   {}
func (*link) Close()                                  {}
func (*link) SetOnCloseAction(func())                 {}

// Capabilities: what comes from the device was in memory of this machine all
// the time, and its checksums were made by this machine's kernel.
func (*link) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityRXChecksumOffload }

func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = d
}

func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.to != nil
}

// unreachable is the ICMP message that a port of a destination is closed, as
// the destination would send it to the environment.
func unreachable(id stack.TransportEndpointID) []byte {
	const quoted = header.IPv4MinimumSize + header.UDPMinimumSize
	b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize+quoted)
	outer := header.IPv4(b)
	outer.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: id.LocalAddress, DstAddr: id.RemoteAddress,
	})
	outer.SetChecksum(^outer.CalculateChecksum())
	message := header.ICMPv4(b[header.IPv4MinimumSize:])
	message.SetType(header.ICMPv4DstUnreachable)
	message.SetCode(header.ICMPv4PortUnreachable)
	inner := header.IPv4(message[header.ICMPv4MinimumSize:])
	inner.Encode(&header.IPv4Fields{
		TotalLength: quoted, TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: id.RemoteAddress, DstAddr: id.LocalAddress,
	})
	inner.SetChecksum(^inner.CalculateChecksum())
	ports := inner[header.IPv4MinimumSize:]
	binary.BigEndian.PutUint16(ports, id.RemotePort)
	binary.BigEndian.PutUint16(ports[2:], id.LocalPort)
	binary.BigEndian.PutUint16(ports[4:], header.UDPMinimumSize)
	message.SetChecksum(header.ICMPv4Checksum(message, 0))
	return b
}
