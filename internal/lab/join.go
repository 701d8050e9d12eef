package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/lab/qlik"
)

// How long what Qlik Sense does takes in the lab.
const (
	patience     = time.Second           // until the central node gives up dialling a rim
	initialising = 75 * time.Millisecond // a rim's repository service, with its certificates
	starting     = 30 * time.Millisecond // each of the other services
)

// startQlik makes the site: its certificates, and what its repository service knows.
func (l *Lab) startQlik(version string) (err error) {
	if l.qlik, err = newCA("qs-central-CA", qlikMark); err != nil {
		return err
	}
	if l.client, err = l.qlik.issueClient("QlikClient"); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(l.client.PrivateKey)
	if err != nil {
		return err
	}
	l.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	central := qlik.Node{Name: "Central", HostName: "qs-central", Engine: true, Proxy: true, Scheduler: true}
	l.qrs, err = qlik.NewQRS(version, central, l.register, l.serviceState)
	return err
}

// node is a rim as a node that runs all its services.
func node(h *host.Host) qlik.Node {
	return qlik.Node{Name: h.Name, HostName: h.Name, Engine: true, Proxy: true, Scheduler: true}
}

// serveQRS answers on the central node's qrsPort, other servers of the lab and this machine alike.
func (l *Lab) serveQRS(h *host.Host, pid int, own tls.Certificate) error {
	ln, err := h.Listen(qrsPort, pid)
	if err != nil {
		return err
	}
	l.site.Join.QRS = ln.Addr().String()
	l.serve(tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: l.qlik.pool(),
	}), l.qrs)
	return nil
}

// theService is what a service of the API is on a server.
var theService = map[qlik.Service]string{qlik.Repository: "Repository", qlik.Proxy: "Proxy", qlik.Engine: "Engine", qlik.Scheduler: "Scheduler"}

// serviceState is the state of a service as the central node sees it.
func (l *Lab) serviceState(n qlik.Node, s qlik.Service) qlik.State {
	h := l.Host(n.HostName)
	switch {
	case h == nil || h != l.central() && !l.central().Reaches(h, setupPort):
		return qlik.NoCommunication
	case h != l.central() && s == qlik.Repository:
		return qlik.State(h.State()) // the first three are the same
	case h.Runs(service{name: theService[s]}.windows()):
		return qlik.Running
	}
	return qlik.Initializing
}

// register sends a node its certificates, as the central node does: from there, through the rim's firewall
// (help.qlik.com, "Certificate installation: Install certificate").
func (l *Lab) register(ctx context.Context, n qlik.Node) (password string, err error) {
	own, err := l.qlik.issue(n.HostName)
	if err != nil {
		return "", err
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		return "", err
	}
	password = oneTimePassword()
	p := qlik.Package{Password: qlik.Hash(password), Root: l.qlik.cert.Raw, Own: own.Leaf.Raw, Key: key}
	for s, name := range theService {
		if n.Runs(s) {
			p.Services = append(p.Services, name)
		}
	}
	if err := l.send(ctx, n.HostName, p); err != nil {
		return "", fmt.Errorf("sending %s its certificate: %w", n.HostName, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passwords = append(l.passwords, password)
	return password, nil
}

// send posts a package to a rim.
func (l *Lab) send(ctx context.Context, name string, p qlik.Package) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dialling, stop := context.WithTimeout(ctx, patience)
	defer stop()
	c, err := l.central().Dial(dialling, name, setupPort)
	if err != nil {
		return err
	}
	defer c.Close()
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s:%d/setup/certificatedistribution", name, setupPort), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	a, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return errors.New(a.Status)
	}
	return nil
}

// oneTimePassword is a password with what clients have to write in another way in a form, in JSON or in both.
func oneTimePassword() string {
	text := random()
	var b strings.Builder
	for i, special := range []string{"&", "+", "%", `"`, `\`, " ", "="} {
		b.WriteString(text[2*i:2*i+2] + special)
	}
	return b.String() + text[14:]
}

// waiting is a rim's repository service while it has no certificates.
type waiting struct {
	l *Lab
	h *host.Host

	mu     sync.Mutex
	came   qlik.Package // the newest
	unlock net.Listener // on unlockPort, once one has come
}

// serveSetup answers on a rim's setupPort as its repository service does.
func (l *Lab) serveSetup(h *host.Host) error {
	ln, err := h.Listen(setupPort, l.services(h)[0].pid)
	if err != nil {
		return err
	}
	w := &waiting{l: l, h: h}
	l.serve(ln, qlik.Setup{State: h.State, Install: w.install})
	return nil
}

// install keeps a package, and waits for its password on the rim itself. A later one replaces it. What a repository
// service that has its certificates does with another package is not known; here it does not take it.
func (w *waiting) install(p qlik.Package) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.h.State() != 1 {
		return errors.New("the certificates are installed already")
	}
	if w.unlock == nil {
		ln, err := w.h.ListenLocally(unlockPort, w.l.services(w.h)[0].pid)
		if err != nil {
			return err
		}
		w.unlock = ln
		w.l.serve(ln, qlik.Unlock{Try: w.try})
	}
	w.came = p
	return nil
}

// try unlocks the package, if the password is right: the port closes, and the node comes up.
func (w *waiting) try(password string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unlock == nil || qlik.Hash(password) != w.came.Password {
		return false
	}
	w.unlock.Close()
	w.unlock = nil
	w.h.SetState(0)
	p := w.came
	w.l.spawn(func() { w.l.comeUp(w.h, p) })
	return true
}

// comeUp installs certificates on a rim, and starts its services one after the other. One whose port somebody else has
// does not start; without the repository service none does.
func (l *Lab) comeUp(h *host.Host, p qlik.Package) {
	own := tls.Certificate{Certificate: [][]byte{p.Own}}
	root, err1 := x509.ParseCertificate(p.Root)
	leaf, err2 := x509.ParseCertificate(p.Own)
	key, err3 := x509.ParsePKCS8PrivateKey(p.Key)
	if errors.Join(err1, err2, err3) != nil {
		return // the state stays: it goes on initialising
	}
	own.Leaf, own.PrivateKey = leaf, key
	h.AddCertificate(installed("root", root))
	h.AddCertificate(installed("my", leaf))
	for i, s := range l.services(h) {
		takes := starting
		if i == 0 {
			takes = initialising
		}
		if !l.wait(takes) {
			return
		}
		if s.program == "" && !slices.Contains(p.Services, s.name) {
			continue
		}
		err := l.startService(h, s, own)
		switch {
		case i == 0 && err != nil:
			return
		case i == 0:
			h.SetState(2)
		}
	}
}

// wait tells whether the lab is still there after a while.
func (l *Lab) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// QRSCertificate is the client certificate QlikClient, its key and the site's root certificate, as PEM: what a client of
// the repository service needs.
func (l *Lab) QRSCertificate() (cert, key, root []byte) {
	return certificatePEM(l.client.Leaf), slices.Clone(l.key), certificatePEM(l.qlik.cert)
}

// Nodes are the host names of the site's nodes, as its repository service has them.
func (l *Lab) Nodes() []string {
	var names []string
	for _, n := range l.qrs.Nodes() {
		names = append(names, n.HostName)
	}
	return names
}

// VirtualProxy is the virtual proxy with a prefix as the repository service has it, as JSON; nil if there is none.
func (l *Lab) VirtualProxy(prefix string) []byte { return l.qrs.VirtualProxy(prefix) }

// OneTimePasswords are all that were given out so far.
func (l *Lab) OneTimePasswords() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.passwords)
}
