package join

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/secret"
)

const (
	qrsTimeout      = 30 * time.Second
	qrsStartTimeout = 120 * time.Second // the central node dials the rim meanwhile (ansible-qliksense-collection, register.yaml)
	qrsMaxBody      = 8 << 20
)

// Options say which repository service to ask, and as whom.
type Options struct {
	Address     string          // host:port that is dialled
	Host        string          // the central node's host name: what its certificate has to name
	Certificate tls.Certificate // the site's client certificate with its key
	Roots       *x509.CertPool  // the site's root; nil trusts nobody
}

// QRS is a client of the central node's repository service. It asks as INTERNAL\sa_repository, with the rights of a full
// administrator (help.qlik.com, Repository Service API: Connecting to the QRS API). It dials for each request, never
// goes through a proxy of the environment, follows no redirect and sends no request twice by itself. Its methods may be
// called at the same time. Every error of it is an [*Error].
type QRS struct {
	o              Options
	transport      *http.Transport
	timeout        time.Duration
	startTimeout   time.Duration
	hostPort, port string // hostPort is what the Host header says
}

// NewQRS makes a client; nothing is dialled yet, and nothing is held between two requests.
func NewQRS(o Options) *QRS {
	q := &QRS{o: o, timeout: qrsTimeout, startTimeout: qrsStartTimeout, hostPort: o.Host}
	if _, port, err := net.SplitHostPort(o.Address); err == nil {
		q.port, q.hostPort = port, net.JoinHostPort(o.Host, port)
	}
	q.transport = &http.Transport{
		Proxy:                  nil, // an environment's proxy would answer in the server's place
		DialTLSContext:         q.dial,
		DisableKeepAlives:      true, // a fresh connection each time: net/http repeats requests only on used ones
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return q
}

// About is what the service says of itself.
type About struct {
	Version string // buildVersion, for example "12.0.0.0"
	Central bool   // it is the central node, not a rim
}

// About asks the service what it is: the test of the sign-in, and of the right server (help.qlik.com, Repository
// Service API: About: Get). A node type that is neither central (1) nor rim (2), or no version, is [Malformed].
func (q *QRS) About(ctx context.Context) (About, error) {
	return qrsAsk(ctx, q, qrsCall{doing: "asking the repository service what it is", path: "/qrs/about"}, qrsAbout)
}

// Node is a node as the repository knows it.
type Node struct {
	ID, Name, HostName                 string
	Central                            *bool // nil, here and below: the answer does not say
	Engine, Proxy, Scheduler, Printing *bool
}

// Nodes returns the nodes with the host name, by ServerNodeConfiguration's full form, as the condensed one does not tell
// isCentral. The service is asked with a filter; where that finds none, its whole list is looked through. The case of a
// host name does not count, and a short name is also found under its full name and the other way round: what is returned
// is near the host name, or has the same name, and the caller compares HostName (help.qlik.com, Repository Service API: Full versus condensed
// objects; Qlik-DSC, QlikNode.psm1).
func (q *QRS) Nodes(ctx context.Context, host, name string) ([]Node, error) {
	c := qrsCall{
		doing:  "looking for the node " + printable.Line(host),
		path:   "/qrs/servernodeconfiguration/full",
		filter: "hostName eq " + qrsQuote(host),
	}
	for {
		all, err := qrsAsk(ctx, q, c, qrsNodes)
		if err != nil {
			return nil, err
		}
		var near []Node
		for _, n := range all {
			if qrsSameHost(n.HostName, host) || strings.EqualFold(n.Name, name) {
				near = append(near, n)
			}
		}
		if near != nil || c.filter == "" {
			return near, nil
		}
		c.filter = ""
	}
}

// NewNode is a node to be created. Its host name cannot be changed later (help.qlik.com, Creating a node).
type NewNode struct {
	Name, HostName                     string
	Engine, Proxy, Scheduler, Printing bool // Printing is sent only with Since2
	Since2                             bool // also send what release 1 does not know: printing, and that it is a production node and no failover candidate
}

// CreateNode creates the node in the repository and returns its id; nothing is sent to the rim yet (Repository Service
// API reference: POST /servernodeconfiguration/container; ahaydon/Qlik-Cli-Windows, node.ps1). It does not look for one
// that is there already. Where an error leaves open whether the node was created, its text says so.
func (q *QRS) CreateNode(ctx context.Context, n NewNode) (id string, err error) {
	type since2 struct {
		Printing  bool `json:"printingEnabled"`
		Purpose   int  `json:"nodePurpose"` // 0: production
		Candidate bool `json:"failoverCandidate"`
	}
	// Services are always named, also those that are off: what the service takes for a missing one is not documented.
	type configuration struct {
		Name      string `json:"name"`
		HostName  string `json:"hostName"`
		Engine    bool   `json:"engineEnabled"`
		Proxy     bool   `json:"proxyEnabled"`
		Scheduler bool   `json:"schedulerEnabled"`
		*since2
	}
	c := configuration{n.Name, n.HostName, n.Engine, n.Proxy, n.Scheduler, nil}
	if n.Since2 {
		c.since2 = &since2{Printing: n.Printing}
	}
	body, err := json.Marshal(map[string]configuration{"configuration": c})
	doing := "creating the node " + printable.Line(n.HostName)
	if err != nil {
		return "", &Error{Kind: Malformed, Doing: doing, Err: err}
	}
	return qrsAsk(ctx, q, qrsCall{
		doing: doing, method: http.MethodPost, path: "/qrs/servernodeconfiguration/container", body: body,
		lost: "whether the node was created is not known",
	}, qrsCreated)
}

// StartRegistration has the central node send its certificates to the rim's port 4444 and returns the one-time password
// that unlocks them there. It waits up to 120 s. The node's id is that of CreateNode or Nodes, rim its host name. It may be called again
// for a node whose registration was not finished (Repository Service API reference: GET
// /servernoderegistration/start/{id}; Qlik-DSC, QlikNode.psm1). [NotSent]: the rim was not reached (Qlik-Cli-Windows
// issue 189); [NoPassword]: the answer is empty.
func (q *QRS) StartRegistration(ctx context.Context, id, rim string) (secret.Text, error) {
	c := qrsCall{
		doing: "sending the certificates to the rim", path: "/qrs/servernoderegistration/start/" + id,
		timeout: q.startTimeout, rim: rim, quiet: true, lost: "whether they reached the rim is not known",
	}
	if err := c.ids(id); err != nil {
		return "", err
	}
	return qrsAsk(ctx, q, c, qrsPassword)
}

// Services returns the states of the node's services, one row each, in the service's order. Rows of other nodes are left
// out whatever the service sends (Repository Service API reference: ServiceStatus; Qlik-DSC, WaitForQlikServiceReady).
func (q *QRS) Services(ctx context.Context, nodeID string) ([]ServiceStatus, error) {
	c := qrsCall{
		doing: "asking for the state of the node's services", path: "/qrs/servicestatus/full",
		filter: "serverNodeConfiguration.id eq " + nodeID,
	}
	if err := c.ids(nodeID); err != nil {
		return nil, err
	}
	return qrsAsk(ctx, q, c, func(b []byte) ([]ServiceStatus, error) { return qrsServices(b, nodeID) })
}

// VirtualProxy is a virtual proxy as far as a join needs it.
type VirtualProxy struct {
	ID, Prefix, Description string
	Default                 bool
	Nodes                   []string // loadBalancingServerNodes: ids of nodes, not of services; nil if the answer does not say
	Hosts                   []string // websocketCrossOriginWhiteList, in the QMC "Host allow list"; nil if the answer does not say
}

// VirtualProxies returns all virtual proxies of the site (ahaydon/Qlik-Cli-Windows, proxy.ps1: virtualproxyconfig/full).
func (q *QRS) VirtualProxies(ctx context.Context) ([]VirtualProxy, error) {
	return qrsAsk(ctx, q, qrsCall{doing: "reading the virtual proxies", path: "/qrs/virtualproxyconfig/full", quiet: true}, qrsProxies)
}

// AddToVirtualProxy adds the node and the hosts to the virtual proxy's lists and returns the virtual proxy as it is
// afterwards. What is there stays, and where nothing is missing nothing is sent. The whole entity is sent back, every
// other field as it came, as a missing one may be set to its default (help.qlik.com, Repository Service API: Updating an
// entity and handling PUT request conflict responses). If somebody else saved it in between (409), it is read again and
// tried again, three times in all, then the error is [Conflict]. A list that the entity does not have is [Malformed] and
// never made up, and so is an entity that lacks an addition when read again.
func (q *QRS) AddToVirtualProxy(ctx context.Context, id, nodeID string, hosts []string) (VirtualProxy, error) {
	c := qrsCall{doing: "adding the node to the virtual proxy", path: "/qrs/virtualproxyconfig/" + id, quiet: true}
	if err := c.ids(id, nodeID); err != nil {
		return VirtualProxy{}, err
	}
	read := func() (qrsAddition, error) {
		return qrsAsk(ctx, q, c, func(b []byte) (qrsAddition, error) { return qrsAdd(b, id, nodeID, hosts) })
	}
	put := c
	put.method, put.lost = http.MethodPut, "whether it was added is not known"
	for try := 1; ; try++ {
		a, err := read()
		if err != nil || a.body == nil {
			return a.proxy, err
		}
		put.body = a.body
		_, err = q.send(ctx, put)
		var e *Error
		switch {
		case errors.As(err, &e) && e.Kind == Conflict && try < 3:
			continue
		case err != nil:
			return VirtualProxy{}, err
		}
		if a, err = read(); err == nil && a.body != nil {
			err = &Error{Kind: Malformed, Doing: c.doing, Err: errors.New("the server took the change, but it is not there when read again"),
				Hint: "look at the virtual proxy's load balancing nodes and host allow list in the QMC"}
		}
		return a.proxy, err
	}
}

// qrsCall is one request.
type qrsCall struct {
	doing   string
	method  string // GET if empty
	path    string
	filter  string
	body    []byte
	timeout time.Duration
	rim     string // the host name of the one whose registration it starts
	quiet   bool   // its answer may hold a secret: never quote it
	lost    string // what is not known if it is broken off
}

// ids checks ids before they become part of an address.
func (c *qrsCall) ids(ids ...string) error {
	for _, id := range ids {
		if !qrsGUID(id) {
			return &Error{Kind: Malformed, Doing: c.doing, Err: fmt.Errorf("%q is not an id", printable.Line(id))}
		}
	}
	return nil
}

// qrsAsk sends a request and decodes the answer.
func qrsAsk[T any](ctx context.Context, q *QRS, c qrsCall, decode func([]byte) (T, error)) (T, error) {
	var none T
	a, err := q.send(ctx, c)
	if err != nil {
		return none, err
	}
	v, err := decode(a.body)
	switch {
	case errors.Is(err, errNoPassword):
		return none, &Error{Kind: NoPassword, Doing: c.doing, Status: a.status, Err: err, Hint: q.hint(NoPassword)}
	case err != nil:
		e := &Error{Kind: Malformed, Doing: c.doing, Status: a.status, Hint: q.hint(Malformed)}
		e.Err = c.inDoubt(fmt.Errorf("the answer is not what was expected: %s", printable.Line(err.Error())))
		if !c.quiet && !json.Valid(a.body) {
			e.Said = a.said()
		}
		return none, e
	}
	return v, nil
}

// qrsAnswer is an answer of the server, as it came.
type qrsAnswer struct {
	status int
	header http.Header
	body   []byte
	key    string // the xrfkey, which it may repeat
}

// send sends a request and returns the answer if it is a good one.
func (q *QRS) send(parent context.Context, c qrsCall) (*qrsAnswer, error) {
	limit := q.timeout
	if c.timeout != 0 {
		limit = c.timeout
	}
	var sent atomic.Bool // a connection was there for it
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})

	failed := func(err error) error {
		e := q.failure(parent, ctx, limit, err)
		e.Doing = c.doing
		if sent.Load() && e.Kind != Rejected {
			e.Err = c.inDoubt(e.Err)
		}
		if c.rim != "" && e.Kind == Unreachable && sent.Load() {
			e.Hint = c.reach()
		}
		return e
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "https://host/", bytes.NewReader(c.body))
	if err != nil {
		return nil, failed(err)
	}
	a := &qrsAnswer{key: rand.Text()[:16]}
	req.URL = &url.URL{Scheme: "https", Host: q.hostPort, Path: c.path, RawQuery: "xrfkey=" + a.key}
	if c.filter != "" {
		req.URL.RawQuery += "&filter=" + qrsEscape(c.filter)
	}
	req.Host = q.hostPort
	req.Header.Set("X-Qlik-Xrfkey", a.key)
	req.Header.Set("X-Qlik-User", "UserDirectory=INTERNAL;UserId=sa_repository") // with colons it is refused: stefanwalther/qrs issue 15
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "preflight")
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	// Not by an http.Client: it follows redirects, and its errors hold the address and with it the key.
	resp, err := q.transport.RoundTrip(req)
	if err != nil {
		return nil, failed(err)
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, qrsMaxBody+1))
	a.body = bytes.TrimPrefix(a.body, []byte("\ufeff"))
	if err == nil {
		err = ctx.Err() // a server may answer because this side hangs up, before the connection is really closed
	}
	if err != nil && (a.status < 300 || parent.Err() != nil) { // a refusal is one even without its words
		return nil, failed(err)
	}
	if e := q.judge(c, a); e != nil {
		return nil, e
	}
	return a, nil
}

// reach is how to see whether the central node reaches the rim.
func (c *qrsCall) reach() string {
	return fmt.Sprintf("on the central node see whether it reaches the rim: Test-NetConnection %s -Port 4444; the node is there, so run the same again then", printable.Line(c.rim))
}

// inDoubt adds to an error what is not known now.
func (c *qrsCall) inDoubt(err error) error {
	if c.lost == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, c.lost)
}

// dial makes a TLS connection. TLS 1.2 is tried first and 1.3 only with a server that refuses it, as only with 1.2 a
// server can ask for the client's certificate after it has read the request (Windows does, unless told otherwise;
// crypto/tls has no part in 1.3's way), and only with 1.2 a certificate is refused before the request is sent.
func (q *QRS) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	conn, err := q.handshake(ctx, network, tls.VersionTLS12)
	if err != nil && qrsAlert(err) && strings.Contains(err.Error(), "protocol version") {
		return q.handshake(ctx, network, tls.VersionTLS13)
	}
	return conn, err
}

func (q *QRS) handshake(ctx context.Context, network string, version uint16) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, q.o.Address)
	if err != nil {
		return nil, err
	}
	asked := false
	tc := tls.Client(conn, &tls.Config{
		MinVersion:    version,
		MaxVersion:    version,
		Renegotiation: tls.RenegotiateOnceAsClient,
		ServerName:    q.o.Host,
		// crypto/tls cannot verify the certificates that Qlik makes: they have no alternative names and odd key usages.
		// VerifyConnection, which runs in every handshake, verifies them instead, chain and name.
		InsecureSkipVerify: true,
		VerifyConnection:   q.verify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true // and whatever authorities it names: Windows may name none, or others
			return &q.o.Certificate, nil
		},
	})
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &qrsHandshakeError{err, asked}
	}
	return tc, nil
}

// verify is the check of the server's certificate: its chain ends at the site's root, and it names the central node.
func (q *QRS) verify(cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0] // crypto/tls makes sure that a client gets one
	o := x509.VerifyOptions{
		Roots:         q.o.Roots,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if o.Roots == nil {
		o.Roots = x509.NewCertPool() // not the system's
	}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return &qrsUntrustedError{fmt.Errorf("the server's certificate cannot be verified: %w", err)}
	}
	if names := qrsNames(leaf); !qrsNamed(names, q.o.Host) {
		return &qrsUntrustedError{fmt.Errorf("the server's certificate is for %q, not for %q", strings.Join(names, ", "), q.o.Host)}
	}
	return nil
}

// qrsNames are the host names of a certificate: the alternative ones, or the common name if there is none at all.
func qrsNames(c *x509.Certificate) []string {
	if len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) == 0 {
		return []string{c.Subject.CommonName}
	}
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func qrsNamed(names []string, host string) bool {
	for _, n := range names {
		if qrsSameHost(n, host) {
			return true
		}
	}
	return false
}

// qrsSameHost tells whether two names mean one host: they are the same but for case, or one of them has no dot and is the
// other's first label. Addresses have no labels.
func qrsSameHost(a, b string) bool {
	a, b = strings.TrimSuffix(a, "."), strings.TrimSuffix(b, ".")
	if a == "" || b == "" {
		return false
	}
	ipA, errA := netip.ParseAddr(a)
	ipB, errB := netip.ParseAddr(b)
	if errA == nil || errB == nil {
		return errA == nil && errB == nil && ipA.Unmap() == ipB.Unmap()
	}
	if strings.EqualFold(a, b) {
		return true
	}
	shortA, _, longA := strings.Cut(a, ".")
	shortB, _, longB := strings.Cut(b, ".")
	return longA != longB && strings.EqualFold(shortA, shortB)
}

// qrsQuote makes a string of the filter language. A quote in it needs a backslash, and so a backslash does too.
func qrsQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// qrsEscape encodes a whole filter. A "#" left in it would cut off what follows, and the service would then speak of XSRF.
func qrsEscape(filter string) string {
	return strings.ReplaceAll(url.QueryEscape(filter), "+", "%20")
}
