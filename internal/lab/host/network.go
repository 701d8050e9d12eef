// Package host is a simulated Windows server: its firewall made of real rule strings, its listeners real sockets, and
// what the scripts of preflight would find and do there.
//
// It knows Windows Firewall on its own and not through the product's evaluation, so that the two cannot agree with each
// other's bugs.
package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Windows Sockets error codes (win32, windows-sockets-error-codes-2).
const (
	wsaeaddrinuse   = 10048
	wsaetimedout    = 10060
	wsaeconnrefused = 10061
	wsahostnotfound = 11001
)

// Network joins simulated servers. A server's listeners are real sockets on ports of loopback that the system chose;
// the network knows which simulated address and port they stand for, and lets through what the target's firewall does.
type Network struct {
	mu      sync.Mutex
	hosts   []*Host
	sources map[pair]netip.AddrPort // of the open connections, the simulated address each comes from
	opened  []connection            // all that there were
	known   *sync.Cond
}

// pair are the real ports at the two ends of a connection.
type pair struct{ from, to uint16 }

// connection is one that was opened to a real port, from a simulated address.
type connection struct {
	to   uint16
	from netip.AddrPort
}

// NewNetwork makes a network without servers.
func NewNetwork() *Network {
	n := &Network{sources: map[pair]netip.AddrPort{}}
	n.known = sync.NewCond(&n.mu)
	return n
}

// Add connects a server to the network.
func (n *Network) Add(h *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h.network = n
	n.hosts = append(n.hosts, h)
}

// resolve finds a server's address by name or address.
func (n *Network) resolve(name string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.Name == name || h.Address.Addr().String() == name {
			return h.Address.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func (n *Network) at(a netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		if h.Address.Addr() == a {
			return h
		}
	}
	return nil
}

// dial connects one server to another, as the target's firewall allows. It returns the dialler's simulated address, or
// the Windows Sockets error. A dropped connection waits until ctx is over.
func (n *Network) dial(ctx context.Context, from *Host, to netip.AddrPort) (net.Conn, netip.AddrPort, int) {
	target := n.at(to.Addr())
	port := uint16(0)
	if target != nil {
		port = target.real(from.Address.Addr(), to.Port())
	}
	switch {
	case target == nil || port == dropped:
		<-ctx.Done()
		return nil, netip.AddrPort{}, wsaetimedout
	case port == refused:
		return nil, netip.AddrPort{}, wsaeconnrefused
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		if ctx.Err() != nil {
			return nil, netip.AddrPort{}, wsaetimedout
		}
		return nil, netip.AddrPort{}, wsaeconnrefused
	}
	return c, n.register(c, from.Address.Addr()), 0
}

// Dial connects a server to a port of another, by name or address, as its own programs do. The error has the number of
// Windows Sockets. A dropped connection waits until ctx is over.
func (h *Host) Dial(ctx context.Context, name string, port uint16) (net.Conn, error) {
	a, ok := h.network.resolve(name)
	code := wsahostnotfound
	if ok {
		var c net.Conn
		if c, _, code = h.network.dial(ctx, h, netip.AddrPortFrom(a, port)); code == 0 {
			return c, nil
		}
	}
	return nil, fmt.Errorf("connecting to %s:%d: Windows Sockets error %d", name, port, code)
}

// Reaches tells whether a connection to a port of another server would be answered.
func (h *Host) Reaches(other *Host, port uint16) bool {
	real := other.real(h.Address.Addr(), port)
	return real != dropped && real != refused
}

// register notes which simulated address a connection comes from, on its dialling side.
func (n *Network) register(c net.Conn, from netip.Addr) netip.AddrPort {
	p := pair{portOf(c.LocalAddr()), portOf(c.RemoteAddr())}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sources[p] = netip.AddrPortFrom(from, p.from)
	n.opened = append(n.opened, connection{p.to, n.sources[p]})
	n.known.Broadcast()
	return n.sources[p]
}

// source is the simulated address that an accepted connection comes from. The dialling side may be about to register
// it; a connection from outside the network, which nobody registers, has none.
func (n *Network) source(c net.Conn) (netip.AddrPort, bool) {
	p := pair{portOf(c.RemoteAddr()), portOf(c.LocalAddr())}
	late := false
	timer := time.AfterFunc(time.Second, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		late = true
		n.known.Broadcast()
	})
	defer timer.Stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.sources[p].IsValid() && !late {
		n.known.Wait()
	}
	return n.sources[p], n.sources[p].IsValid()
}

// after are the connections opened after the first so many.
func (n *Network) after(many int) []connection {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.opened[many:])
}

// forget drops a connection that its accepting side is about to close.
func (n *Network) forget(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sources, pair{portOf(c.RemoteAddr()), portOf(c.LocalAddr())})
}

func portOf(a net.Addr) uint16 { return a.(*net.TCPAddr).AddrPort().Port() }
