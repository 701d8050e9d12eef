package lab_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/site"
)

// client is a client of the repository service that shares nothing with the product's.
type client struct {
	t    *testing.T
	base string
	http *http.Client
	key  string // of the query; the header's is always the same
	sent string // the header
	user string
}

const xrf = "0123456789abcDEF"

// ask signs in to a lab's repository service, with its client certificate or without.
func ask(t *testing.T, l *lab.Lab, s site.Site, certified bool) *client {
	t.Helper()
	cert, key, root := l.QRSCertificate()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		t.Fatal("no root certificate")
	}
	config := &tls.Config{RootCAs: roots, ServerName: s.Central().Host}
	if certified {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, "https://" + s.Join.QRS, &http.Client{Transport: transport}, xrf, xrf, "UserDirectory=INTERNAL; UserId=sa_api"}
}

func (c *client) do(method, path, filter string, body []byte) (status int, text []byte, err error) {
	query := url.Values{"xrfkey": {c.key}}
	if filter != "" {
		query.Set("filter", filter)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("X-Qlik-Xrfkey", c.sent)
	r.Header.Set("X-Qlik-User", c.user)
	a, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	text, err = io.ReadAll(a.Body)
	return a.StatusCode, text, err
}

// want asks for something and reads the answer, which has to have a status.
func (c *client) want(want int, method, path, filter string, body, answer any) {
	c.t.Helper()
	var sent []byte
	if body != nil {
		sent, _ = json.Marshal(body)
	}
	status, text, err := c.do(method, path, filter, sent)
	if err != nil || status != want {
		c.t.Fatalf("%s %s: %d %s, %v; want %d", method, path, status, text, err, want)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(text, answer); err != nil {
		c.t.Fatalf("%s %s: %s: %v", method, path, text, err)
	}
}

type qrsNode struct {
	ID, Name, HostName                                             string
	IsCentral                                                      *bool
	EngineEnabled, ProxyEnabled, SchedulerEnabled, PrintingEnabled *bool
	ServiceCluster                                                 struct{ ID string }
}

// create makes a node of a rim that runs everything but printing.
func (c *client) create(host string) string {
	c.t.Helper()
	var made struct {
		Configuration  qrsNode
		ProxyServiceID string
	}
	c.want(http.StatusCreated, "POST", "/qrs/servernodeconfiguration/container", "", map[string]any{"configuration": map[string]any{
		"name": host, "hostName": host, "engineEnabled": true, "proxyEnabled": true, "schedulerEnabled": true, "printingEnabled": false, "nodePurpose": 0,
	}}, &made)
	if made.Configuration.ID == "" || made.ProxyServiceID == "" || made.Configuration.ID == made.Configuration.ServiceCluster.ID {
		c.t.Fatalf("made %+v", made)
	}
	return made.Configuration.ID
}

// states are the states of a node's services by their type.
func (c *client) states(id string) map[int]int {
	c.t.Helper()
	var rows []struct {
		ServerNodeConfiguration   qrsNode
		ServiceType, ServiceState int
	}
	c.want(http.StatusOK, "GET", "/qrs/servicestatus/full", "serverNodeConfiguration.id eq "+id, nil, &rows)
	all := map[int]int{}
	for _, r := range rows {
		if r.ServerNodeConfiguration.ID != id {
			c.t.Errorf("a state of %+v", r.ServerNodeConfiguration)
		}
		all[r.ServiceType] = r.ServiceState
	}
	return all
}

func open4444(l *lab.Lab, rim string) {
	l.Host(rim).AddRule("local", "{4444}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4444|RA4=10.0.0.11|Name=setup|")
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func setup(t *testing.T, l *lab.Lab, rim string) *script.Setup {
	t.Helper()
	s := script.StartSetup(context.WithoutCancel(t.Context()), l.Host(rim)) // which is over before the clean-up
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func state(t *testing.T, s *script.Setup) facts.ServiceState {
	t.Helper()
	v, err := s.State()
	if err != nil || !v.OK() {
		t.Fatalf("State = %+v, %v", v, err)
	}
	return v.V
}

func portsOf(t *testing.T, s *script.Setup) []uint16 {
	t.Helper()
	open, err := s.Listening()
	if err != nil {
		t.Fatal(err)
	}
	var list []uint16
	for port := range open {
		list = append(list, port)
	}
	slices.Sort(list)
	return list
}

// unlock gives a rim a password, and tells whether it was the right one.
func unlock(t *testing.T, s *script.Setup, password string) bool {
	t.Helper()
	status, text, err := s.Unlock(secret.Text(password))
	right := strings.Contains(text, "The service was successfully unlocked.")
	if wrong := strings.Contains(text, "The password is incorrect.") && strings.Contains(text, `name="__pwd"`); err != nil || status != http.StatusOK || right == wrong {
		t.Fatalf("Unlock = %d, %q, %v", status, text, err)
	}
	return right
}

// TestJoin: a rim is taken into the site as the guide has it, and then is one that has joined.
func TestJoin(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{})
	c := ask(t, l, s, true)
	rim := setup(t, l, "qs-rim1")
	open4444(l, "qs-rim1")
	if got := state(t, rim); got != facts.CertificatesNotInstalled {
		t.Fatalf("the rim is %v", got)
	}
	id := c.create("qs-rim1")
	if diff := cmp.Diff(map[int]int{0: 1, 1: 0, 2: 0, 3: 0, 5: 4}, c.states(id)); diff != "" {
		t.Errorf("states of a new node:\n%s", diff)
	}
	if got := portsOf(t, rim); !slices.Equal(got, []uint16{4444}) {
		t.Errorf("the rim listens on %v", got)
	}
	if status, text, err := rim.Unlock("x"); err == nil || !strings.Contains(err.Error(), "Unable to connect to the remote server") {
		t.Errorf("Unlock before a certificate came = %d, %q, %v", status, text, err)
	}

	// The second distribution replaces the password.
	var first, password string
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, &first)
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, &password)
	if got := l.OneTimePasswords(); first == password || !slices.Equal(got, []string{first, password}) {
		t.Errorf("the passwords were %q and %q; given out: %q", first, password, got)
	}
	for _, special := range "&+%\"\\ " {
		if !strings.ContainsRune(password, special) {
			t.Errorf("the password has no %q", special)
		}
	}
	if got := portsOf(t, rim); !slices.Equal(got, []uint16{4444, 4570}) {
		t.Errorf("the rim listens on %v", got)
	}
	listeners := inspect(t, l, s)["qs-rim1"].Listeners.V
	if !slices.ContainsFunc(listeners, func(l facts.Listener) bool { return l.Address == netip.MustParseAddrPort("127.0.0.1:4570") }) {
		t.Errorf("netstat has %+v", listeners)
	}
	for _, wrong := range []string{first, "", "x", password + " "} {
		if unlock(t, rim, wrong) {
			t.Fatalf("%q was accepted", wrong)
		}
	}
	if got := state(t, rim); got != facts.CertificatesNotInstalled {
		t.Errorf("after a wrong password the rim is %v", got)
	}
	if !unlock(t, rim, password) {
		t.Fatal("the password was not accepted")
	}
	if got := portsOf(t, rim); slices.Contains(got, 4570) {
		t.Errorf("unlocked, the rim listens on %v", got)
	}
	seen := []facts.ServiceState{}
	eventually(t, "the rim runs", func() bool {
		v := state(t, rim)
		if len(seen) == 0 || seen[len(seen)-1] != v {
			seen = append(seen, v)
		}
		return v == facts.Running
	})
	if !slices.Equal(seen, []facts.ServiceState{facts.Initialising, facts.Running}) && !slices.Equal(seen, []facts.ServiceState{facts.Running}) {
		t.Errorf("the states were %v", seen)
	}
	eventually(t, "all services run", func() bool {
		return cmp.Equal(map[int]int{0: 2, 1: 2, 2: 2, 3: 2, 5: 4}, c.states(id))
	})
	if got, want := portsOf(t, rim), []uint16{443, 4144, 4241, 4242, 4243, 4444, 5051}; !slices.Equal(got, want) {
		t.Errorf("the rim listens on %v, want %v", got, want)
	}
	if status, text, err := rim.Unlock(secret.Text(password)); err == nil {
		t.Errorf("Unlock once more = %d, %q", status, text)
	}
	c.want(http.StatusBadRequest, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, nil)

	// With rules it cannot be told from one that joined long ago.
	for _, n := range []string{"qs-central", "qs-rim1"} {
		l.Host(n).AddRule("local", "{all}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|RA4=10.0.0.0/255.255.255.0|Name=all|")
	}
	reach(t, l, s, every)
	servers := inspect(t, l, s)
	if got, want := servers["qs-rim1"].Roots(), servers["qs-central"].Roots(); len(got) != 1 || !slices.Equal(got, want) {
		t.Errorf("the rim trusts %+v, want %+v", got, want)
	}
	for _, sv := range servers["qs-rim1"].Services.V {
		if sv.State != "Running" || sv.PID == 0 {
			t.Errorf("%+v", sv)
		}
	}
	if got := listening(servers["qs-rim1"]); got != "443 Proxy, 4144 Proxy, 4241 Repository, 4242 Repository, 4243 Proxy, 4444 Repository, 5051 Scheduler" {
		t.Errorf("the rim listens on %s", got)
	}
	if got := l.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
		t.Errorf("the nodes are %q", got)
	}
}

// TestJoinServices: a node runs what it was made for, and no service whose port somebody else has.
func TestJoinServices(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Scenario: "port-in-use"})
	c := ask(t, l, s, true)
	rim := setup(t, l, "qs-rim1")
	open4444(l, "qs-rim1")
	var made struct{ Configuration qrsNode }
	c.want(http.StatusCreated, "POST", "/qrs/servernodeconfiguration/container", "",
		map[string]any{"configuration": map[string]any{"name": "r", "hostName": "qs-rim1", "proxyEnabled": true, "schedulerEnabled": true}}, &made)
	var password string
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+made.Configuration.ID, "", nil, &password)
	if !unlock(t, rim, password) {
		t.Fatal("the password was not accepted")
	}
	eventually(t, "the services run", func() bool {
		return cmp.Equal(map[int]int{0: 2, 1: 0, 2: 2, 3: 4, 5: 4}, c.states(made.Configuration.ID))
	})
	if got, want := portsOf(t, rim), []uint16{443, 4241, 4242, 4444, 5051}; !slices.Equal(got, want) {
		t.Errorf("the rim listens on %v, want %v", got, want)
	}
}

// TestUnlockPort: it is open to the rim itself alone, whatever the firewall says.
func TestUnlockPort(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Scenario: "already-open"})
	c := ask(t, l, s, true)
	l.Host("qs-rim1").AddRule("local", "{all}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Name=all|")
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+c.create("qs-rim1"), "", nil, nil)
	if got := portsOf(t, setup(t, l, "qs-rim1")); !slices.Contains(got, 4570) {
		t.Fatalf("the rim listens on %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if conn, err := l.Host("qs-central").Dial(ctx, "qs-rim1", 4444); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if conn, err := l.Host("qs-central").Dial(short, "qs-rim1", 4570); err == nil {
		conn.Close()
		t.Error("the central node can reach it")
	}
}

// TestStartFails: the node stays, and its start can be had again once the rim can be reached.
func TestStartFails(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{})
	c := ask(t, l, s, true)
	id := c.create("qs-rim1")
	began := time.Now()
	c.want(http.StatusBadRequest, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, nil)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the start failed after %v", took)
	}
	if diff := cmp.Diff(map[int]int{0: 3, 1: 3, 2: 3, 3: 3, 5: 4}, c.states(id)); diff != "" {
		t.Errorf("the states:\n%s", diff)
	}
	if got := l.OneTimePasswords(); len(got) != 0 {
		t.Errorf("passwords %q", got)
	}
	c.want(http.StatusBadRequest, "POST", "/qrs/servernodeconfiguration/container", "",
		map[string]any{"configuration": map[string]any{"name": "again", "hostName": "qs-rim1"}}, nil)
	if got := l.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
		t.Errorf("the nodes are %q", got)
	}
	open4444(l, "qs-rim1")
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, nil)
	// Nor does it start what is not there.
	c.want(http.StatusNotFound, "GET", "/qrs/servernoderegistration/start/00000000-0000-0000-0000-000000000000", "", nil, nil)
	c.want(http.StatusBadRequest, "GET", "/qrs/servernoderegistration/start/"+c.create("qs-rim9"), "", nil, nil)
}

func halfJoined(t *testing.T, l *lab.Lab, s site.Site) {
	if got := l.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
		t.Errorf("the nodes are %q", got)
	}
	if got := l.OneTimePasswords(); len(got) != 0 {
		t.Errorf("passwords %q", got)
	}
	open4444(l, "qs-rim1")
	c := ask(t, l, s, true)
	var nodes []qrsNode
	c.want(http.StatusOK, "GET", "/qrs/servernodeconfiguration", "hostName eq 'qs-rim1'", nil, &nodes)
	if len(nodes) != 1 {
		t.Fatalf("the nodes are %+v", nodes)
	}
	var password string
	c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+nodes[0].ID, "", nil, &password)
	if !unlock(t, setup(t, l, "qs-rim1"), password) {
		t.Error("the password was not accepted")
	}
}

// TestCertified: the repository service asks for a certificate of its site, and shows the one that the central node has.
func TestCertified(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{})
	ask(t, l, s, true).want(http.StatusOK, "GET", "/qrs/about", "", nil, nil)
	if status, text, err := ask(t, l, s, false).do("GET", "/qrs/about", "", nil); err == nil {
		t.Errorf("without a certificate it answers %d %s", status, text)
	}
	other, _ := start(t, lab.Options{})
	stranger := ask(t, other, s, true)
	_, _, root := l.QRSCertificate()
	stranger.http.Transport.(*http.Transport).TLSClientConfig.RootCAs.AppendCertsFromPEM(root)
	if status, text, err := stranger.do("GET", "/qrs/about", "", nil); err == nil {
		t.Errorf("with another site's certificate it answers %d %s", status, text)
	}

	ca := parse(t, root)
	cert, _, _ := l.QRSCertificate()
	shown, err := tls.Dial("tcp4", s.Join.QRS, &tls.Config{RootCAs: ask(t, l, s, true).http.Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "qs-central"})
	if err != nil {
		t.Fatal(err)
	}
	defer shown.Close()
	own := shown.ConnectionState().PeerCertificates[0]
	if !slices.Equal(own.DNSNames, []string{"qs-central"}) || len(own.IPAddresses) != 0 || own.Subject.String() != "CN=qs-central" {
		t.Errorf("the server's certificate is for %v %v %v", own.Subject, own.DNSNames, own.IPAddresses)
	}
	if got := parse(t, cert).Subject.String(); got != "CN=QlikClient" {
		t.Errorf("the client's certificate is for %s", got)
	}
	for _, c := range []*x509.Certificate{ca, own, parse(t, cert)} {
		if !slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "1.3.6.1.5.5.7.13.3" }) {
			t.Errorf("%v has no Qlik extension", c.Subject)
		}
	}
	var got []string
	for _, c := range l.Host("qs-central").Certificates() {
		got = append(got, fmt.Sprint(c.Store, " ", c.Subject, " ", c.Thumbprint, " ", c.NotAfter.Equal(ca.NotAfter)))
	}
	want := []string{"root CN=qs-central-CA " + thumbprint(ca) + " true", "my CN=qs-central " + thumbprint(own) + " true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the certificates of the central node:\n%s", diff)
	}
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("not PEM: %s", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func thumbprint(c *x509.Certificate) string { return fmt.Sprintf("%X", sha1.Sum(c.Raw)) }

// TestRefusals: what the repository service does not do, and says.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{})
	const xsrf = "XSRF prevention check failed. Possible XSRF discovered."
	const unknown = "Unknown users not allowed. The request had a missing or malformed http header: X-Qlik-User"
	for _, test := range []struct {
		name   string
		change func(*client)
		method string
		path   string
		filter string
		body   string
		status int
		text   string
	}{
		{name: "as it should be", status: 200, text: `"nodeType":1`},
		{name: "the other account", change: func(c *client) { c.user = "userdirectory=internal;userid=SA_REPOSITORY" }, status: 200},
		{name: "no key", change: func(c *client) { c.key = "" }, status: 403, text: xsrf},
		{name: "another key in the header", change: func(c *client) { c.sent = strings.ToUpper(xrf) }, status: 403, text: xsrf},
		{name: "a short key", change: func(c *client) { c.key, c.sent = "0123456789abcde", "0123456789abcde" }, status: 403, text: xsrf},
		{name: "a key with something else", change: func(c *client) { c.key, c.sent = "0123456789abcde-", "0123456789abcde-" }, status: 403, text: xsrf},
		{name: "no user", change: func(c *client) { c.user = "" }, status: 403, text: unknown},
		{name: "with colons", change: func(c *client) { c.user = "UserDirectory: INTERNAL; UserId: sa_api" }, status: 403, text: unknown},
		{name: "another user", change: func(c *client) { c.user = "UserDirectory=INTERNAL; UserId=bob" }, status: 403, text: unknown},
		{name: "another path", path: "/qrs/app", status: 404},
		{name: "outside", path: "/hub", status: 404},
		{name: "another method", method: "DELETE", path: "/qrs/about", status: 404},
		{name: "no such node", path: "/qrs/servernodeconfiguration/00000000-0000-0000-0000-000000000000", status: 404},
		{name: "no such virtual proxy", path: "/qrs/virtualproxyconfig/00000000-0000-0000-0000-000000000000", status: 404},
		{name: "a filter that is none", path: "/qrs/servernodeconfiguration", filter: "hostName = 'x'", status: 400},
		{name: "a filter with a bare quote", path: "/qrs/servernodeconfiguration", filter: "hostName eq 'x'y'", status: 400},
		{name: "no host name", method: "POST", path: "/qrs/servernodeconfiguration/container", body: `{"configuration":{"name":"x"}}`, status: 400},
		{name: "no name", method: "POST", path: "/qrs/servernodeconfiguration/container", body: `{"configuration":{"hostName":"x"}}`, status: 400},
		{name: "not JSON", method: "POST", path: "/qrs/servernodeconfiguration/container", body: `name=x`, status: 400},
		{name: "the central node again", method: "POST", path: "/qrs/servernodeconfiguration/container", body: `{"configuration":{"name":"x","hostName":"QS-central"}}`, status: 400, text: "exists already"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := ask(t, l, s, true)
			if test.change != nil {
				test.change(c)
			}
			status, text, err := c.do(or(test.method, "GET"), or(test.path, "/qrs/about"), test.filter, []byte(test.body))
			if err != nil || status != test.status || !strings.Contains(string(text), test.text) {
				t.Errorf("%d %s, %v; want %d %s", status, text, err, test.status, test.text)
			}
		})
	}
	if got := l.Nodes(); !slices.Equal(got, []string{"qs-central"}) {
		t.Errorf("the nodes are %q", got)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// TestNodes: what tells the nodes of a site, in short and in full.
func TestNodes(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Scenario: "second-rim"})
	if got := l.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
		t.Errorf("the nodes are %q", got)
	}
	c := ask(t, l, s, true)
	odd := c.create(`o'hara\1`)
	get := func(path, filter string) []qrsNode {
		t.Helper()
		var nodes []qrsNode
		c.want(http.StatusOK, "GET", path, filter, nil, &nodes)
		return nodes
	}
	names := func(nodes []qrsNode) (all []string) {
		for _, n := range nodes {
			all = append(all, n.HostName)
		}
		return all
	}
	for filter, want := range map[string][]string{
		"":                         {"qs-central", "qs-rim1", `o'hara\1`},
		"hostName eq 'qs-rim1'":    {"qs-rim1"},
		"hostname eq 'qs-rim1'":    {"qs-rim1"},
		"hostName eq 'QS-RIM1'":    nil,
		`hostName eq 'o\'hara\\1'`: {`o'hara\1`},
		"hostName eq 'qs-rim2'":    nil,
		"id eq " + odd:             {`o'hara\1`},
	} {
		for _, path := range []string{"/qrs/servernodeconfiguration", "/qrs/servernodeconfiguration/full"} {
			if got := names(get(path, filter)); !slices.Equal(got, want) {
				t.Errorf("%s with %q has %q, want %q", path, filter, got, want)
			}
		}
	}
	for _, n := range get("/qrs/servernodeconfiguration", "") {
		if n.IsCentral != nil || n.EngineEnabled != nil || n.ProxyEnabled != nil || n.SchedulerEnabled != nil || n.PrintingEnabled != nil {
			t.Errorf("in short: %+v", n)
		}
	}
	for i, n := range get("/qrs/servernodeconfiguration/full", "") {
		if n.IsCentral == nil || *n.IsCentral != (i == 0) || n.EngineEnabled == nil || !*n.EngineEnabled || n.PrintingEnabled == nil || *n.PrintingEnabled {
			t.Errorf("in full: %+v", n)
		}
		var one qrsNode
		c.want(http.StatusOK, "GET", "/qrs/servernodeconfiguration/"+n.ID, "", nil, &one)
		if diff := cmp.Diff(n, one); diff != "" {
			t.Error(diff)
		}
		want := map[int]int{0: 2, 1: 2, 2: 2, 3: 2, 5: 4}
		if i == 2 { // no such server
			want = map[int]int{0: 3, 1: 3, 2: 3, 3: 3, 5: 4}
		}
		if diff := cmp.Diff(want, c.states(n.ID)); diff != "" {
			t.Errorf("%s:\n%s", n.HostName, diff)
		}
	}
	var rows []any
	c.want(http.StatusOK, "GET", "/qrs/servicestatus/full", "", nil, &rows)
	c.want(http.StatusOK, "GET", "/qrs/servicestatus/full", "serviceState ne Running", nil, &rows)
	if len(rows) != 15 {
		t.Errorf("%d states, want 15", len(rows))
	}
	if got := c.states(odd); len(got) != 5 {
		t.Errorf("states %v", got)
	}
}

// TestVirtualProxy: what a client changes is changed, what it does not know stays, and what it read long ago is refused.
func TestVirtualProxy(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Scenario: "joined"})
	c := ask(t, l, s, true)
	var all []map[string]json.RawMessage
	c.want(http.StatusOK, "GET", "/qrs/virtualproxyconfig/full", "defaultVirtualProxy eq true", nil, &all)
	if len(all) != 1 || string(all[0]["description"]) != `"Central Proxy (Default)"` {
		t.Fatalf("the default virtual proxies are %s", all)
	}
	c.want(http.StatusOK, "GET", "/qrs/virtualproxyconfig/full", "", nil, &all)
	if len(all) != 2 || string(all[1]["prefix"]) != `"hdr"` || string(all[1]["defaultVirtualProxy"]) != "false" {
		t.Fatalf("the virtual proxies are %s", all)
	}
	proxy, other := all[0], l.VirtualProxy("hdr")
	var id string
	json.Unmarshal(proxy["id"], &id)
	path := "/qrs/virtualproxyconfig/" + id
	var balanced []qrsNode
	var names []string
	json.Unmarshal(proxy["loadBalancingServerNodes"], &balanced)
	json.Unmarshal(proxy["websocketCrossOriginWhiteList"], &names)
	if len(balanced) != 2 || balanced[1].HostName != "qs-rim1" || !slices.Equal(names, []string{"qs-rim1"}) {
		t.Errorf("it serves %+v at %q", balanced, names)
	}

	change := func(field, value string) map[string]json.RawMessage {
		e := map[string]json.RawMessage{}
		for k, v := range proxy {
			e[k] = v
		}
		if e[field] = json.RawMessage(value); value == "" {
			delete(e, field)
		}
		return e
	}
	before := l.VirtualProxy("")
	for _, test := range []struct {
		field, value string
		status       int
	}{
		{"modifiedDate", "", 409},
		{"modifiedDate", `"2015-03-13T22:09:00.000Z"`, 409},
		{"id", `"00000000-0000-0000-0000-000000000000"`, 400},
		{"id", "", 400},
		{"loadBalancingServerNodes", `[{"id":"00000000-0000-0000-0000-000000000000"}]`, 400},
		{"loadBalancingServerNodes", "", 400},
		{"websocketCrossOriginWhiteList", `"qs-rim1"`, 400},
	} {
		c.want(test.status, "PUT", path, "", change(test.field, test.value), nil)
	}
	if got := l.VirtualProxy(""); !bytes.Equal(got, before) {
		t.Errorf("refused, it is %s, was %s", got, before)
	}

	node := c.create("qs-rim2")
	sent := change("loadBalancingServerNodes", fmt.Sprintf(`[{"id":%q},{"id":%q}]`, balanced[1].ID, node))
	var answer map[string]json.RawMessage
	c.want(http.StatusOK, "PUT", path, "", sent, &answer)
	var now map[string]json.RawMessage
	c.want(http.StatusOK, "GET", path, "", nil, &now)
	if diff := cmp.Diff(answer, now); diff != "" {
		t.Errorf("answered and read:\n%s", diff)
	}
	for field, v := range proxy {
		if changed := field == "modifiedDate" || field == "loadBalancingServerNodes"; bytes.Equal(now[field], v) == changed {
			t.Errorf("%s is %s, was %s", field, now[field], v)
		}
	}
	json.Unmarshal(now["loadBalancingServerNodes"], &balanced)
	if len(balanced) != 2 || balanced[0].HostName != "qs-rim1" || balanced[1].HostName != "qs-rim2" {
		t.Errorf("it serves %+v", balanced)
	}
	c.want(http.StatusConflict, "PUT", path, "", sent, nil)
	// The whole entity replaces the old one.
	delete(now, "ofAReleaseToCome")
	c.want(http.StatusOK, "PUT", path, "", now, nil)
	if got := l.VirtualProxy(""); bytes.Contains(got, []byte("ofAReleaseToCome")) {
		t.Errorf("it is %s", got)
	}
	if got := l.VirtualProxy("hdr"); !bytes.Equal(got, other) || len(got) == 0 {
		t.Errorf("the other virtual proxy is %s, was %s", got, other)
	}
	if got := l.VirtualProxy("x"); got != nil {
		t.Errorf("there is %s", got)
	}
}

// TestClose: a lab that is closed leaves nothing behind, whatever it was doing.
func TestClose(t *testing.T) {
	t.Parallel()
	// What a goroutine starts has its labels.
	pprof.Do(t.Context(), pprof.Labels("lab", t.Name()), func(context.Context) {
		l, err := lab.Start(lab.Options{Rims: 3, Scenario: "second-rim"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		text, err := l.SiteFile()
		if err != nil {
			t.Fatal(err)
		}
		s, err := site.Parse("lab.yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		c := ask(t, l, s, true)
		var nodes []qrsNode
		c.want(http.StatusOK, "GET", "/qrs/servernodeconfiguration", "", nil, &nodes)
		var wg sync.WaitGroup
		wg.Go(func() { // it waits for an answer that the central node's firewall drops
			c.do("GET", "/qrs/servernoderegistration/start/"+nodes[0].ID, "", nil)
		})
		id := c.create("qs-rim3")
		open4444(l, "qs-rim3")
		var password string
		c.want(http.StatusOK, "GET", "/qrs/servernoderegistration/start/"+id, "", nil, &password)
		rim := script.StartSetup(t.Context(), l.Host("qs-rim3"))
		rim.Unlock(secret.Text(password))
		if err := rim.Close(); err != nil {
			t.Error(err)
		}
		l.Close() // while the rim comes up
		l.Close()
		wg.Wait()
		c.http.CloseIdleConnections()
	})
	var all strings.Builder
	defer func() {
		if t.Failed() {
			t.Log(all.String())
		}
	}()
	eventually(t, "nothing is left", func() bool {
		all.Reset()
		pprof.Lookup("goroutine").WriteTo(&all, 1)
		return !strings.Contains(all.String(), fmt.Sprintf(`"lab":%q`, t.Name()))
	})
}
