package winrm

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	dialLimit      = 10 * time.Second // for TCP and, once more, for TLS
	answerLimit    = 10 * time.Second // for an answer, over the time the server is allowed to wait itself
	answerMax      = 8 << 20          // bytes of one answer; Windows keeps to the 150 KB that are asked for
	contentType    = "application/soap+xml;charset=UTF-8"
	defaultTimeout = 20 * time.Second
)

// errSlow is why a request failed whose time was up while its caller still had some.
var errSlow = errors.New("no answer in time")

// errClosed is why a request failed on a closed wire.
var errClosed = errors.New("the session is closed")

// wire carries messages to one server and its answers back. It follows no redirect, no proxy setting of the
// environment and no offer of HTTP/2, and repeats no message of which the server may have seen a part.
type wire struct {
	server       string // its name in errors
	scheme, port string
	host         string
	url          string
	limit        time.Duration // the longest that one exchange may take
	tls          *tls.Config
	pinned       bool

	// authorise puts the sign-in on a request; nil is none. It holds the credential, so that this struct does not.
	authorise func(*http.Request)

	transport *http.Transport
	life      context.Context // ends with close
	end       context.CancelFunc
}

func newWire(ep Endpoint) (*wire, error) {
	w := &wire{server: ep.Name, scheme: "https", host: ep.Host, port: strconv.Itoa(ep.Port)}
	if w.server == "" {
		w.server = ep.Host
	}
	if !ep.HTTPS {
		w.scheme = "http"
	}
	if ep.Port == 0 {
		w.port = map[string]string{"http": "5985", "https": "5986"}[w.scheme]
	}
	w.limit = ep.operationTimeout() + answerLimit

	u := url.URL{Scheme: w.scheme, Host: net.JoinHostPort(ep.Host, w.port), Path: "/wsman"}
	w.url = u.String()
	if again, err := url.Parse(w.url); ep.Host == "" || err != nil || again.Hostname() != ep.Host {
		return nil, &Error{Kind: KindNoName, Server: w.server, Doing: "connecting", Err: fmt.Errorf("%q is not a host name", clean(ep.Host, 100))}
	}

	w.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ep.Roots, ServerName: ep.ServerName}
	if w.tls.ServerName == "" {
		w.tls.ServerName = ep.Host
	}
	if ep.Pin != "" {
		digest, err := parsePin(ep.Pin)
		if err == nil && !ep.HTTPS {
			err = errors.New("a pinned certificate needs https")
		}
		if err != nil {
			return nil, &Error{Kind: KindPin, Server: w.server, Doing: "connecting", Err: err}
		}
		w.pinned = true
		w.tls.InsecureSkipVerify = true // and this instead:
		w.tls.VerifyConnection = func(cs tls.ConnectionState) error { return w.checkPin(digest, cs) }
	}

	w.life, w.end = context.WithCancel(context.Background())
	w.transport = &http.Transport{
		DialContext:    w.dial,
		DialTLSContext: w.dialTLS,
		Protocols:      new(http.Protocols),
		// One for the request for output, which waits on the server, one for input, one to end a command.
		MaxConnsPerHost:        3,
		IdleConnTimeout:        60 * time.Second, // less than the 120 s of HTTP.sys, so that it does not close first
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	w.transport.Protocols.SetHTTP1(true)
	return w, nil
}

func (ep Endpoint) operationTimeout() time.Duration {
	if ep.OperationTimeout > 0 {
		return ep.OperationTimeout
	}
	return defaultTimeout
}

// close ends everything under way and closes all connections.
func (w *wire) close() {
	w.end()
	w.transport.CloseIdleConnections()
}

// bind returns a context that ends with ctx, after limit with errSlow, or when the wire is closed.
func (w *wire) bind(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	stop := context.AfterFunc(w.life, cancel)
	return ctx, func() { stop(); cancel() }
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	bound, cancel := w.bind(ctx, dialLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(bound, network, addr)
	if err != nil {
		return nil, w.dialError(bound, addr, err)
	}
	return conn, nil
}

func (w *wire) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	bound, cancel := w.bind(ctx, dialLimit)
	defer cancel()
	conn := tls.Client(plain, w.tls)
	if err := conn.HandshakeContext(bound); err != nil {
		plain.Close()
		return nil, w.tlsError(bound, addr, err)
	}
	return conn, nil
}

// Windows' own error numbers, which package syscall does not name; no other system has any this high.
const (
	wsaEACCES       = syscall.Errno(10013)
	wsaENETUNREACH  = syscall.Errno(10051)
	wsaETIMEDOUT    = syscall.Errno(10060)
	wsaECONNREFUSED = syscall.Errno(10061)
	wsaEHOSTUNREACH = syscall.Errno(10065)
)

func (w *wire) dialError(ctx context.Context, addr string, err error) *Error {
	e := &Error{Kind: KindNoRoute, Server: w.server, Doing: "connecting to " + addr, Err: err}
	var (
		dns   *net.DNSError
		op    *net.OpError
		errno syscall.Errno
		slow  = context.Cause(ctx) == errSlow
	)
	if errors.As(err, &op) {
		e.Err = op.Err // it would name the address once more
	}
	errors.As(err, &errno)
	switch {
	case errors.As(err, &dns):
		e.Kind = KindNoName
		e.Err = fmt.Errorf("its name does not resolve (%s)", clean(dns.Err, 100))
		e.Hints = []string{`give the server's full DNS name or its address`}
	case errno == syscall.ECONNREFUSED || errno == wsaECONNREFUSED:
		e.Kind = KindRefused
		e.Err = errors.New("connection refused, nothing listens there")
		e.Hints = w.listenerHints()
	case slow || errno == syscall.ETIMEDOUT || errno == wsaETIMEDOUT:
		e.Kind = KindTimeout
		e.Err = fmt.Errorf("%w: a firewall drops the connection, or nothing has this address", errSlow)
		e.Hints = w.firewallHints()
	case errno == syscall.EHOSTUNREACH || errno == syscall.ENETUNREACH || errno == wsaEHOSTUNREACH || errno == wsaENETUNREACH:
		e.Hints = []string{`check the address, and the network or VPN that leads to it`}
	case errno == syscall.EACCES || errno == syscall.EPERM || errno == wsaEACCES:
		e.Hints = []string{`a firewall on this machine forbids the connection`}
	}
	return e
}

func (w *wire) tlsError(ctx context.Context, addr string, err error) *Error {
	e := &Error{Kind: KindNotTLS, Server: w.server, Doing: "connecting to " + addr + " with TLS"}
	var (
		pin        *Error
		unverified *tls.CertificateVerificationError
		record     tls.RecordHeaderError
		op         *net.OpError
	)
	switch {
	case errors.As(err, &pin):
		pin.Doing = e.Doing
		return pin
	case errors.As(err, &unverified):
		return w.certificateError(e, unverified)
	case errors.As(err, &record):
		e.Err = errors.New("what answers does not speak TLS")
	case context.Cause(ctx) == errSlow:
		e.Err = fmt.Errorf("%w to TLS, though the port is open", errSlow)
	case errors.Is(err, io.EOF), errors.As(err, &op) && op.Op != "remote error":
		e.Err = fmt.Errorf("the connection was closed instead of an answer to TLS: %w", err)
	default:
		e.Err = fmt.Errorf("no TLS: %s", clean(err.Error(), 200))
		e.Hints = append(e.Hints, `TLS 1.2 is needed; on Windows Server 2012 and older it may be off`)
	}
	e.Hints = append(e.Hints, `WinRM has HTTPS on port 5986 and plain HTTP on 5985: check the port, and that no proxy stands in between`)
	return e
}

func (w *wire) certificateError(e *Error, unverified *tls.CertificateVerificationError) *Error {
	e.Kind = KindCertificate
	c := new(Certificate)
	if len(unverified.UnverifiedCertificates) > 0 {
		c = describe(unverified.UnverifiedCertificates[0])
		e.Certificate = c
	}
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(unverified, &unknown):
		e.Err = fmt.Errorf("its certificate is signed by an authority not known here (subject %s, issuer %s, %s): %w", c.Subject, c.Issuer, c.Pin(), unverified.Err)
		e.Hints = []string{
			`write the PEM file of that authority's certificate into the site file, under winrm, as ca: FILE (with preflight init: --ca FILE)`,
			`or compare the fingerprint on the server, then write under the node's winrm: pin: ` + c.Pin() + ` (with preflight init: --pin ` + w.server + `=` + c.Pin() + `)`,
		}
	case errors.As(unverified, &name):
		e.Err = fmt.Errorf("its certificate is not for %s: it names %s", w.tls.ServerName, orNone(c.Names))
		e.Hints = []string{
			`connect by one of the names in the certificate`,
			fmt.Sprintf(`or issue a new one on the server: New-SelfSignedCertificate -DnsName %s -CertStoreLocation Cert:\LocalMachine\My`, w.host),
		}
	case errors.As(unverified, &invalid) && invalid.Reason == x509.Expired:
		e.Err = fmt.Errorf("its certificate is valid from %s to %s only", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
		e.Hints = []string{
			`check the clock of this machine`,
			`renew it and give the listener the new one: Set-Item WSMan:\localhost\Listener\<listener>\CertificateThumbprint <thumbprint>`,
		}
	default:
		e.Err = fmt.Errorf("its certificate cannot be verified: %s", clean(unverified.Err.Error(), 200))
	}
	return e
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (w *wire) listenerHints() []string {
	hints := []string{`on the server, elevated: Enable-PSRemoting -Force`}
	if w.scheme == "https" {
		hints = []string{
			fmt.Sprintf(`Windows has no HTTPS listener until one is made; on the server, elevated: $c = New-SelfSignedCertificate -DnsName %s -CertStoreLocation Cert:\LocalMachine\My; New-Item WSMan:\localhost\Listener -Transport HTTPS -Address * -CertificateThumbPrint $c.Thumbprint -Force`, w.host),
			w.ruleHint(),
		}
	}
	return append(hints, `see what listens: winrm enumerate winrm/config/listener`)
}

func (w *wire) firewallHints() []string {
	hints := []string{fmt.Sprintf(`from another machine: Test-NetConnection %s -Port %s`, w.host, w.port)}
	if w.scheme == "https" {
		return append(hints, w.ruleHint())
	}
	return append(hints, `on the server, if its network is of the public profile: Set-NetFirewallRule -Name WINRM-HTTP-In-TCP-PUBLIC -RemoteAddress Any`)
}

func (w *wire) ruleHint() string {
	return fmt.Sprintf(`on the server, elevated: New-NetFirewallRule -DisplayName "WinRM HTTPS" -Direction Inbound -Protocol TCP -LocalPort %s -Action Allow`, w.port)
}

// parsePin returns the digest of "sha256:<hex>".
func parsePin(pin string) ([]byte, error) {
	digits, ok := strings.CutPrefix(pin, "sha256:")
	digest, err := hex.DecodeString(digits)
	if !ok || err != nil || len(digest) != sha256.Size {
		return nil, fmt.Errorf(`the pin %q is not "sha256:" and 64 hexadecimal digits`, clean(pin, 100))
	}
	return digest, nil
}

func (w *wire) checkPin(digest []byte, cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0] // TLS clients do not get this far without one
	got := sha256.Sum256(leaf.Raw)
	if subtle.ConstantTimeCompare(got[:], digest) == 1 {
		return nil
	}
	c := describe(leaf)
	return &Error{
		Kind: KindPin, Server: w.server, Certificate: c,
		Err:   fmt.Errorf("its certificate is not the pinned one but %s (subject %s)", c.Pin(), c.Subject),
		Hints: []string{`if the certificate was renewed, compare the new fingerprint on the server and pin that; if not, somebody else is answering`},
	}
}

func describe(c *x509.Certificate) *Certificate {
	sum := sha256.Sum256(c.Raw)
	d := &Certificate{
		Subject:   clean(c.Subject.String(), 200),
		Issuer:    clean(c.Issuer.String(), 200),
		NotBefore: c.NotBefore,
		NotAfter:  c.NotAfter,
		SHA256:    hex.EncodeToString(sum[:]),
	}
	for _, name := range c.DNSNames {
		d.Names = append(d.Names, clean(name, 200))
	}
	for _, ip := range c.IPAddresses {
		d.Names = append(d.Names, ip.String())
	}
	return d
}

// post sends one message and reads the whole answer, whatever its status.
func (w *wire) post(ctx context.Context, doing, message string, header http.Header) (*http.Response, []byte, error) {
	bound, cancel := w.bind(ctx, w.limit)
	defer cancel()
	req, err := http.NewRequestWithContext(bound, http.MethodPost, w.url, strings.NewReader(message))
	if err != nil {
		return nil, nil, w.fail(ctx, bound, doing, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "preflight")
	if w.authorise != nil {
		w.authorise(req)
	}
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		return nil, nil, w.fail(ctx, bound, doing, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMax+1))
	if err == nil && len(body) > answerMax {
		err = fmt.Errorf("an answer of more than %d bytes", answerMax)
	}
	if err == nil {
		err = bound.Err() // the answer may be short because we hung up
	}
	if err != nil {
		return nil, nil, w.fail(ctx, bound, doing, err)
	}
	return resp, body, nil
}

// call sends one message and decodes the answer. A fault is returned as an error.
func (w *wire) call(ctx context.Context, doing, message string) (answer, error) {
	resp, body, err := w.post(ctx, doing, message, nil)
	if err != nil {
		return answer{}, err
	}
	return w.read(doing, resp, body)
}

// read decodes an answer. Only a 200 can be anything but an error.
func (w *wire) read(doing string, resp *http.Response, body []byte) (answer, error) {
	if resp.StatusCode == http.StatusUnauthorized {
		return answer{}, w.rejected(doing, resp)
	}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "application/soap+xml" {
		return answer{}, w.notWinRM(doing, resp, "the answer is not SOAP")
	}
	a, err := decode(body)
	switch {
	case err != nil:
		return answer{}, w.notWinRM(doing, resp, err.Error())
	case a.fault != nil:
		return answer{}, w.faultError(doing, a.fault)
	case resp.StatusCode != http.StatusOK:
		return answer{}, w.notWinRM(doing, resp, "no fault in the answer")
	}
	return a, nil
}

// fail is the error for a request, made under ctx and limited by bound, that got no answer.
func (w *wire) fail(ctx, bound context.Context, doing string, err error) error {
	e := &Error{Kind: KindLost, Server: w.server, Doing: doing}
	var (
		typed *Error
		own   *inputError
	)
	switch {
	case w.life.Err() != nil:
		e.Kind, e.Err = KindCancelled, errClosed
	case ctx.Err() != nil:
		e.Kind, e.Err = KindCancelled, context.Cause(ctx)
		if errors.As(e.Err, &own) {
			return own.err
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Kind = KindTimeout
		}
		if !errors.Is(e.Err, ctx.Err()) {
			e.Err = fmt.Errorf("%w (%w)", ctx.Err(), e.Err)
		}
	case errors.As(err, &typed): // from dialling
		return typed
	case context.Cause(bound) == errSlow:
		e.Kind, e.Err = KindTimeout, fmt.Errorf("%w (%v)", errSlow, w.limit)
	case errors.Is(err, io.EOF):
		e.Err = errors.New("the server closed the connection")
	default: // may quote the server
		e.Err = fmt.Errorf("no answer: %s", clean(err.Error(), 200))
	}
	return e
}

var schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,39}$`)

// schemes returns the ways to sign in that a 401 offers.
func schemes(h http.Header) []string {
	var names []string
	for _, value := range h.Values("WWW-Authenticate") {
		for part := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(part), " ")
			if schemeForm.MatchString(name) && len(names) < 10 {
				names = append(names, name)
			}
		}
	}
	return names
}
