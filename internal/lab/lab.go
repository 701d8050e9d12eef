// Package lab is a simulated site: a central node and rim nodes in this process, each a real WinRM endpoint on
// loopback, with a firewall made of real rule strings, real TCP listeners, and Qlik Sense services that answer as
// documented. It needs no privilege, no fixed port and no address but 127.0.0.1.
//
// The servers say what they are when asked who they are (WS-Man Identify), so that everything shown of such a run can
// say it too.
package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/lab/qlik"
	"github.com/qlik-preflight/preflight/internal/lab/wsman"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Vendor is what a simulated server calls itself to whoever asks.
const Vendor = "preflight lab (simulated server)"

// User is the account that signs in to the lab's servers.
const User = `LAB\qs-admin`

// Release is the release that a site runs of which nothing else is asked.
const Release = "1.0.2"

// Lab is a running site.
type Lab struct {
	site     site.Site
	ca       *ca
	password string // what it gives away
	accepted string // what its servers accept
	silent   string // the server whose WinRM port refuses connections
	hosts    []*host.Host
	winrm    map[string]*wsman.Server

	generation generation

	qlik   *ca // whose root certificate is the site's
	client tls.Certificate
	key    []byte // of client, as PEM
	qrs    *qlik.QRS

	ctx    context.Context // until Close
	cancel context.CancelFunc
	work   sync.WaitGroup // what goes on in the background

	mu        sync.Mutex
	close     []func()
	closed    bool
	passwords []string // one-time, given out
}

// Options say which site to simulate. The zero value is the scenario "clean" with one rim.
type Options struct {
	Rims     int    // how many rim nodes; 0 is one, or as many as the scenario needs
	Scenario string // a name in Scenarios; "" is "clean"
	Release  string // as a site file has it, 1.0.2 or may-2021; "" is Release
}

// maxRims is how many rim nodes a site of the lab has at most.
const maxRims = 20

// OptionError says that what was asked of the lab cannot be had: a mistake of whoever asked, not of the lab.
type OptionError string

func (e OptionError) Error() string { return string(e) }

// Start starts a site. The error is an OptionError if there is no such site.
func Start(o Options) (*Lab, error) {
	s, rims, err := o.choose()
	if err != nil {
		return nil, err
	}
	release, err := releaseOf(cmp.Or(o.Release, Release))
	if err != nil {
		return nil, err
	}
	l := &Lab{winrm: map[string]*wsman.Server{}, generation: release.generation}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.start(s, rims, release); err != nil {
		l.Close()
		return nil, fmt.Errorf("starting the lab: %w", err)
	}
	return l, nil
}

// choose finds the scenario and the number of rim nodes.
func (o Options) choose() (Scenario, int, error) {
	var names []string
	for _, s := range Scenarios {
		names = append(names, s.Name)
	}
	i := slices.Index(names, cmp.Or(o.Scenario, "clean"))
	if i < 0 {
		return Scenario{}, 0, OptionError(fmt.Sprintf("scenario %q is not known; there are %s", o.Scenario, strings.Join(names, ", ")))
	}
	s := Scenarios[i]
	least := max(1, s.rims)
	rims := cmp.Or(o.Rims, least)
	switch {
	case rims < 1 || rims > maxRims:
		return s, 0, OptionError(fmt.Sprintf("a lab has 1 to %d rim nodes, not %d", maxRims, rims))
	case rims < least:
		return s, 0, OptionError(fmt.Sprintf("scenario %q needs at least %d rim nodes, not %d", s.Name, least, rims))
	}
	return s, rims, nil
}

func (l *Lab) start(s Scenario, rims int, r release) (err error) {
	if l.ca, err = newCA("preflight lab CA", nil); err != nil {
		return err
	}
	if err := l.startQlik(r.version); err != nil {
		return err
	}
	l.accepted = random()
	l.password = l.accepted
	network := host.NewNetwork()
	l.site = site.Site{Name: "lab", Release: r.name, WinRM: site.WinRM{User: User, Transport: "https", Auth: "basic", CA: CAFile}, Clients: site.Networks{clients}}
	var joined []*host.Host
	for i := range rims + 1 {
		name, role := "qs-central", site.Central
		if i > 0 {
			name, role = fmt.Sprintf("qs-rim%d", i), site.Rim
		}
		h := host.New(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), nodes.Bits()), rule.Domain)
		network.Add(h)
		l.hosts = append(l.hosts, h)
		l.onClose(h.Close)
		l.site.Nodes = append(l.site.Nodes, site.Node{
			Name: name, Role: role, Host: name, Services: []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler},
		})
		furnish(h, r.product)
		in := i == 0 || s.joined != nil && s.joined(i, rims)
		if in && i > 0 {
			joined = append(joined, h)
		}
		if err := l.run(h, in); err != nil {
			return err
		}
	}
	l.openByHand(joined)
	if s.change != nil {
		if err := s.change(l); err != nil {
			return err
		}
	}
	for i, h := range l.hosts {
		port, err := l.serveWinRM(h)
		if err != nil {
			return err
		}
		l.site.Nodes[i].WinRM = site.WinRM{Address: "127.0.0.1", Port: port}
	}
	return nil
}

// central is the central node, last the last rim node.
func (l *Lab) central() *host.Host { return l.hosts[0] }
func (l *Lab) last() *host.Host    { return l.hosts[len(l.hosts)-1] }
func (l *Lab) rims() []*host.Host  { return l.hosts[1:] }

// random is a password.
func random() string {
	b := make([]byte, 18)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// serve answers HTTP on a port of a server until the lab is closed.
func (l *Lab) serve(ln net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler: handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return l.ctx },
	}
	l.spawn(func() { server.Serve(ln) })
	l.onClose(func() {
		server.Close()
		ln.Close() // it may not have come to serve
	})
}

// serveTLS answers TLS on a port of a server, and nothing more: what a service that nobody asks anything shows.
func (l *Lab) serveTLS(h *host.Host, port uint16, pid int, cert tls.Certificate) error {
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	return l.listen(h, port, pid, func(c net.Conn) net.Conn { return tls.Server(c, config) })
}

// serveSilence takes connections and waits to be told something, as a database does.
func (l *Lab) serveSilence(h *host.Host, port uint16, pid int) error {
	return l.listen(h, port, pid, func(c net.Conn) net.Conn { return c })
}

// listen reads whatever is said on a port of a server, and answers what the connection itself does.
func (l *Lab) listen(h *host.Host, port uint16, pid int, as func(net.Conn) net.Conn) error {
	ln, err := h.Listen(port, pid)
	if err != nil {
		return err
	}
	l.spawn(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() {
				defer c.Close()
				io.Copy(io.Discard, as(c))
			})
		}
	})
	l.onClose(func() { ln.Close() })
	return nil
}

// serveWinRM is a server's WinRM endpoint: HTTPS with a certificate of the lab's CA, on a port that the system chose.
func (l *Lab) serveWinRM(h *host.Host) (port int, err error) {
	server := &wsman.Server{Shell: h, User: User, Password: l.accepted, Vendor: Vendor}
	l.winrm[h.Name] = server
	if h.Name == l.silent {
		return l.refuse()
	}
	cert, err := l.ca.issue(h.Name, "127.0.0.1")
	if err != nil {
		return 0, err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	l.serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), server)
	l.onClose(func() { server.Close() })
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// refuse finds a port that refuses connections until the lab is closed. It is the own port of an open connection: in
// use, so that nobody else gets it, and nobody listens there.
func (l *Lab) refuse() (port int, err error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	// The own address is given: a port that was chosen without may serve other connections at the same time.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	near, err := d.Dial("tcp4", ln.Addr().String())
	if err != nil {
		return 0, err
	}
	l.onClose(func() { near.Close() })
	for {
		far, err := ln.Accept()
		if err != nil {
			return 0, err
		}
		if far.RemoteAddr().String() != near.LocalAddr().String() { // a stranger's
			far.Close()
			continue
		}
		l.onClose(func() { far.Close() })
		return near.LocalAddr().(*net.TCPAddr).Port, nil
	}
}

// CAFile is the name under which the site file refers to the lab's CA.
const CAFile = "lab-ca.pem"

// siteComment begins every site file of a lab; a file that begins otherwise is somebody's own.
const siteComment = "# A simulated site on this machine. It touches nothing real.\n"

// SiteFile is the lab's site file. It names CAFile.
func (l *Lab) SiteFile() ([]byte, error) {
	text, err := l.site.Marshal()
	return append([]byte(siteComment), text...), err
}

// CA is the lab's CA certificate, as PEM.
func (l *Lab) CA() []byte { return certificatePEM(l.ca.cert) }

// Password is the password of User; in the scenario "wrong-password" it is not.
func (l *Lab) Password() string { return l.password }

// Attempts counts the requests with a credential that a server accepted and rejected.
func (l *Lab) Attempts(server string) (accepted, rejected int) { return l.winrm[server].Attempts() }

// Host finds a server by name.
func (l *Lab) Host(name string) *host.Host {
	for _, h := range l.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Close stops every server, and waits for what goes on there.
func (l *Lab) Close() {
	l.cancel()
	l.mu.Lock()
	closers := l.close
	l.close, l.closed = nil, true
	l.mu.Unlock()
	for _, c := range slices.Backward(closers) {
		c()
	}
	l.work.Wait()
}

// onClose has something done when the lab is closed: at once if it is.
func (l *Lab) onClose(f func()) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.close = append(l.close, f)
	}
	l.mu.Unlock()
	if closed {
		f()
	}
}

// spawn does something in the background, which has to end when the lab is closed; nothing if it is.
func (l *Lab) spawn(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.work.Go(f)
	}
}
