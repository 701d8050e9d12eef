package host

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// Host is one simulated server. Its exported fields are set before it is used and not changed after.
type Host struct {
	Name    string
	Address netip.Prefix
	Profile rule.Profile // of its one network

	ToBegin time.Duration // how long each script takes until it begins
	ToAdd   time.Duration // and each rule to be added

	network *Network

	mu           sync.Mutex
	rules        map[string]map[string]string // by store, by id
	settings     []Setting
	listeners    map[uint16]*listener
	services     []Service
	releases     []string
	certificates []Certificate
	state        int            // of the repository service, as /status/servicestate tells it
	owners       map[int]string // names of processes, by id
}

// Setting is one value of a firewall profile in the registry.
type Setting struct {
	Store, Profile, Name string // Profile is the key: DomainProfile, …
	Value                int
}

// Service is a Windows service.
type Service struct {
	Name, State, Start, Path string
	PID                      int
}

// Certificate is one that Qlik Sense made, in a certificate store of the computer.
type Certificate struct {
	Store           string // root or my
	Subject, Issuer string
	Thumbprint      string // 40 capital hex digits
	NotAfter        time.Time
}

// listener is a port somebody listens on.
type listener struct {
	net.Listener
	pid      int
	loopback bool // open to the server itself alone, whatever the firewall says

	mu     sync.Mutex
	conns  map[*conn]bool
	closed bool // its server is
}

type conn struct {
	net.Conn
	l    *closing
	once sync.Once
}

// New makes a server with Windows' firewall on in all profiles and no rule.
func New(name string, address netip.Prefix, profile rule.Profile) *Host {
	h := &Host{
		Name: name, Address: address, Profile: profile,
		rules:     map[string]map[string]string{"local": {}, "policy": {}, "mdm": {}},
		listeners: map[uint16]*listener{}, owners: map[int]string{4: "System"}, state: -1,
	}
	for _, p := range []string{"DomainProfile", "StandardProfile", "PublicProfile"} {
		h.settings = append(h.settings, Setting{"local", p, "EnableFirewall", 1})
	}
	return h
}

// AddRule puts a rule into a store: local, policy or mdm.
func (h *Host) AddRule(store, id, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules[store][id] = text
}

// RemoveRule takes a rule out of a store, as somebody at the server would.
func (h *Host) RemoveRule(store, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.rules[store], id)
}

// Rules are the rules of a store, by id.
func (h *Host) Rules(store string) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]string{}
	for id, text := range h.rules[store] {
		all[id] = text
	}
	return all
}

// RuleSet is every rule of every store, byte for byte and in a fixed order, to be compared.
func (h *Host) RuleSet() string {
	var b strings.Builder
	for _, store := range []string{"local", "policy", "mdm"} {
		for _, r := range h.sortedRules(store) {
			fmt.Fprintf(&b, "%s\t%s\t%s\n", store, r[0], r[1])
		}
	}
	return b.String()
}

// Set sets a value of a firewall profile.
func (h *Host) Set(s Setting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settings = slices.DeleteFunc(h.settings, func(old Setting) bool {
		return old.Store == s.Store && old.Profile == s.Profile && old.Name == s.Name
	})
	h.settings = append(h.settings, s)
}

// AddService installs a service.
func (h *Host) AddService(s Service, process string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.services = append(h.services, s)
	if s.PID != 0 {
		h.owners[s.PID] = process
	}
}

// StartService starts a service that is installed.
func (h *Host) StartService(name string, pid int, process string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.services {
		if s.Name == name {
			h.services[i].State, h.services[i].PID = "Running", pid
		}
	}
	h.owners[pid] = process
}

// Runs tells whether a service runs.
func (h *Host) Runs(service string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.services, func(s Service) bool { return s.Name == service && s.State == "Running" })
}

// AddProcess starts a process that is no service.
func (h *Host) AddProcess(pid int, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owners[pid] = name
}

// AddCertificate puts a certificate into its store.
func (h *Host) AddCertificate(c Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.certificates = append(h.certificates, c)
}

// AddRelease installs a product.
func (h *Host) AddRelease(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.releases = append(h.releases, name)
}

// SetState sets what the repository service says of itself.
func (h *Host) SetState(state int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
}

// State is what the repository service says of itself.
func (h *Host) State() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// Certificates are those in its stores, in the order in which they came.
func (h *Host) Certificates() []Certificate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.certificates)
}

// Listen opens a port of the server for a process. Connections come from simulated addresses.
func (h *Host) Listen(port uint16, pid int) (net.Listener, error) {
	return h.listen(port, pid, false)
}

// ListenLocally opens a port of the server to the server itself alone.
func (h *Host) ListenLocally(port uint16, pid int) (net.Listener, error) {
	return h.listen(port, pid, true)
}

func (h *Host) listen(port uint16, pid int, loopback bool) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[port] != nil {
		return nil, errInUse
	}
	real, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: real, pid: pid, loopback: loopback, conns: map[*conn]bool{}}
	h.listeners[port] = l
	return &closing{l, h, port}, nil
}

// Close closes every port of the server.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for port, l := range h.listeners {
		l.Listener.Close()
		l.mu.Lock()
		l.closed = true
		for c := range l.conns {
			c.Conn.Close()
		}
		l.mu.Unlock()
		delete(h.listeners, port)
	}
}

var errInUse = &net.OpError{Op: "listen", Net: "tcp", Err: net.ErrClosed}

// closing is a listener that leaves its server's table when it is closed.
type closing struct {
	*listener
	h    *Host
	port uint16
}

func (c *closing) Close() error {
	c.h.mu.Lock()
	if c.h.listeners[c.port] == c.listener {
		delete(c.h.listeners, c.port)
	}
	c.h.mu.Unlock()
	return c.listener.Close()
}

// Accept waits for a connection and enters it into the server's TCP table until it is closed.
func (c *closing) Accept() (net.Conn, error) {
	real, err := c.listener.Accept()
	if err != nil {
		return nil, err
	}
	in := &conn{Conn: real, l: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		real.Close()
		return nil, net.ErrClosed
	}
	c.conns[in] = true
	return in, nil
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		delete(c.l.conns, c)
		c.l.mu.Unlock()
		c.l.h.network.forget(c.Conn)
	})
	return c.Conn.Close()
}

// realPort is the real port behind one of the server's, 0 if nobody listens there.
func (h *Host) realPort(port uint16) uint16 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.listeners[port]; l != nil {
		return portOf(l.Addr())
	}
	return 0
}

// What real finds instead of a port.
const (
	dropped = 0
	refused = 1
)

// real finds the real port behind one of the server's, for a connection from an address: dropped if the firewall does
// not admit it, and also, for that is what Windows does (stealth mode), if it does but nobody listens.
func (h *Host) real(from netip.Addr, port uint16) uint16 {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.listeners[port]
	if l != nil && l.loopback { // to others, nobody listens there
		l = nil
	}
	switch {
	case h.enabled(h.Profile) && (!h.admits(from, port, l) || l == nil && h.stealth(h.Profile)):
		return dropped
	case l == nil:
		return refused
	}
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// rows are the listening rows of netstat -ano.
func (h *Host) rows() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rows []string
	for _, port := range slices.Sorted(maps.Keys(h.listeners)) {
		rows = append(rows, netstatRow(h.listeners[port].loopback, port, h.listeners[port].pid))
	}
	return rows
}

// sortedRules are the rules of a store in the order of their ids.
func (h *Host) sortedRules(store string) [][2]string {
	var all [][2]string
	for id, text := range h.Rules(store) {
		all = append(all, [2]string{id, text})
	}
	slices.SortFunc(all, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a[0]), strings.ToLower(b[0])), cmp.Compare(a[0], b[0]))
	})
	return all
}
