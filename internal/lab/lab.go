// Package lab is a simulated site: a central node and rim nodes in this process, each a real WinRM endpoint on
// loopback, with a firewall made of real rule strings, real TCP listeners, and Qlik Sense services that answer as
// documented. It needs no privilege, no fixed port and no address but 127.0.0.1.
//
// The servers say what they are when asked who they are (WS-Man Identify), so that everything shown of such a run can
// say it too.
package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
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

// Release is the release that the lab's site runs.
const Release = "1.0.2"

// Lab is a running site.
type Lab struct {
	site     site.Site
	caPEM    []byte
	password string
	hosts    []*host.Host
	winrm    map[string]*wsman.Server
	close    []func()
}

// Start starts a central node and rims rim nodes. The central node runs; the rims wait for their certificates.
func Start(rims int) (*Lab, error) {
	password := make([]byte, 18)
	rand.Read(password)
	l := &Lab{password: base64.RawURLEncoding.EncodeToString(password), winrm: map[string]*wsman.Server{}}
	if err := l.start(rims); err != nil {
		l.Close()
		return nil, fmt.Errorf("starting the lab: %w", err)
	}
	return l, nil
}

func (l *Lab) start(rims int) error {
	ca, err := newCA()
	if err != nil {
		return err
	}
	l.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.der})
	network := host.NewNetwork()
	l.site = site.Site{Name: "lab", Release: Release, WinRM: site.WinRM{User: User, Transport: "https", Auth: "basic", CA: CAFile}, Clients: site.Networks{netip.MustParsePrefix("10.20.0.0/16")}}
	services := []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler}
	for i := range rims + 1 {
		name, role := "qs-central", site.Central
		if i > 0 {
			name, role = fmt.Sprintf("qs-rim%d", i), site.Rim
		}
		h := host.New(name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), 24), rule.Domain)
		network.Add(h)
		l.hosts = append(l.hosts, h)
		l.close = append(l.close, h.Close)
		furnish(h)
		if role == site.Central {
			err = l.runCentral(h, ca)
		} else {
			err = l.runRim(h)
		}
		if err != nil {
			return err
		}
		port, err := l.serveWinRM(h, ca)
		if err != nil {
			return err
		}
		l.site.Nodes = append(l.site.Nodes, site.Node{
			Name: name, Role: role, Host: name, Services: services, WinRM: site.WinRM{Address: "127.0.0.1", Port: port},
		})
	}
	return nil
}

// furnish gives a server what a Windows Server has anyway.
func furnish(h *host.Host) {
	h.AddRule("local", "WINRM-HTTP-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=5985|App=System|Name=Windows Remote Management (HTTP-In)|Desc=|EmbedCtxt=Windows Remote Management|")
	h.AddRule("local", "{5d0aa3b4-64f3-4c1e-9d51-0f6a5a0f2f11}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5986|Name=WinRM HTTPS|")
	h.AddRule("local", "RemoteDesktop-UserMode-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|Svc=termservice|Name=Remote Desktop - User Mode (TCP-In)|Desc=|EmbedCtxt=Remote Desktop|")
	h.AddRule("local", "FPS-SMB-In-TCP", "v2.29|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Private|LPort=445|App=System|Name=File and Printer Sharing (SMB-In)|Desc=|EmbedCtxt=File and Printer Sharing|")
	h.AddRelease("Qlik Sense 1.0.2")
}

const programs = `C:\Program Files\Qlik\Sense\`

// runCentral starts the services of a central node that is in use.
func (l *Lab) runCentral(h *host.Host, ca *ca) error {
	for _, s := range []struct {
		name, process string
		pid           int
		ports         []uint16
	}{
		{"Repository", "Repository", 2104, []uint16{4241, 4242}},
		{"Proxy", "Proxy", 2380, []uint16{443, 4144, 4243}},
		{"Engine", "Engine", 2512, nil},
		{"Scheduler", "Scheduler", 2640, []uint16{5050, 5051}},
	} {
		h.AddService(host.Service{Name: "QlikSense" + s.name + "Service", State: "Running", Start: "Auto", PID: s.pid, Path: programs + s.name + `\` + s.process + ".exe"}, s.process)
		for _, port := range s.ports {
			if err := l.serveTLS(h, ca, port, s.pid); err != nil {
				return err
			}
		}
	}
	return nil
}

// runRim starts what runs on a rim node before it is joined: its repository service, which waits for certificates on
// 4444. Proxy, engine and scheduler wait for it.
func (l *Lab) runRim(h *host.Host) error {
	for i, name := range []string{"Repository", "Proxy", "Engine", "Scheduler"} {
		s := host.Service{Name: "QlikSense" + name + "Service", State: "Stopped", Start: "Auto", Path: programs + name + `\` + name + ".exe"}
		if i == 0 {
			s.State, s.PID = "Running", 1988
		}
		h.AddService(s, name)
	}
	h.SetState(1)
	ln, err := h.Listen(4444, 1988)
	if err != nil {
		return err
	}
	l.serve(ln, qlik.Setup{State: h.State})
	return nil
}

// serve answers HTTP on a port of a server until the lab is closed.
func (l *Lab) serve(ln net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(ln)
	l.close = append(l.close, func() { server.Close() })
}

// serveTLS answers TLS on a port of a server, and nothing more: what a service that nobody asks anything shows.
func (l *Lab) serveTLS(h *host.Host, ca *ca, port uint16, pid int) error {
	ln, err := h.Listen(port, pid)
	if err != nil {
		return err
	}
	cert, err := ca.issue(h.Name)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, tls.Server(c, config))
			}()
		}
	}()
	l.close = append(l.close, func() { ln.Close() })
	return nil
}

// serveWinRM is a server's WinRM endpoint: HTTPS with a certificate of the lab's CA, on a port that the system chose.
func (l *Lab) serveWinRM(h *host.Host, ca *ca) (port int, err error) {
	cert, err := ca.issue(h.Name, "127.0.0.1")
	if err != nil {
		return 0, err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	server := &wsman.Server{Shell: h, User: User, Password: l.password, Vendor: Vendor}
	l.winrm[h.Name] = server
	l.serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), server)
	l.close = append(l.close, func() { server.Close() })
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// CAFile is the name under which the site file refers to the lab's CA.
const CAFile = "lab-ca.pem"

// SiteFile is the lab's site file. It names CAFile.
func (l *Lab) SiteFile() ([]byte, error) {
	text, err := l.site.Marshal()
	return append([]byte("# A simulated site on this machine. It touches nothing real.\n"), text...), err
}

// CA is the lab's CA certificate, as PEM.
func (l *Lab) CA() []byte { return l.caPEM }

// Password is the password of User.
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

// Close stops every server.
func (l *Lab) Close() {
	for i := len(l.close) - 1; i >= 0; i-- {
		l.close[i]()
	}
	l.close = nil
}

// ca issues the lab's certificates. It lives as long as the lab.
type ca struct {
	der  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA() (*ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("preflight lab CA")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &ca{der, cert, key}, err
}

func (c *ca) issue(name string, addresses ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(name)
	t.DNSNames = []string{name}
	for _, a := range addresses {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(a))
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, c.cert, &key.PublicKey, c.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
}
