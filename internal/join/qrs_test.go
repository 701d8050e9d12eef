package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	qrsHost   = "qs-central.example.com"
	qrsNodeID = "5b0f6c1e-3a52-4c0e-9d57-2f1f6f5f7a01"
	qrsVPID   = "9a1d2c3b-0000-4000-8000-00000000beef"
)

// qrsCA makes certificates.
type qrsCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newQRSCA(name string) *qrsCA {
	ca := &qrsCA{key: qrsKey(), pool: x509.NewCertPool()}
	ca.cert = qrsSign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, ca.key, nil)
	ca.pool.AddCert(ca.cert)
	return ca
}

func qrsKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func qrsSign(template *x509.Certificate, key *ecdsa.PrivateKey, ca *qrsCA) *x509.Certificate {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

func (ca *qrsCA) issue(template *x509.Certificate) tls.Certificate {
	key := qrsKey()
	cert := qrsSign(template, key, ca)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// qrsCommonName is a certificate as Qlik makes them: a common name only, and a usage that no server has.
func qrsCommonName(cn string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

type qrsSite struct {
	ca, other      *qrsCA
	server, client tls.Certificate
}

var qrsTestSite = sync.OnceValue(func() *qrsSite {
	ca := newQRSCA(qrsHost + "-CA")
	return &qrsSite{ca, newQRSCA("other-CA"), ca.issue(qrsCommonName(qrsHost)), ca.issue(qrsCommonName("QlikClient"))}
})

// startQRS starts a repository service and returns a client of it.
func startQRS(t *testing.T, h http.HandlerFunc, change ...func(*tls.Config, *Options)) *QRS {
	t.Helper()
	site := qrsTestSite()
	ts := httptest.NewUnstartedServer(h)
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.TLS = &tls.Config{Certificates: []tls.Certificate{site.server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: site.ca.pool}
	o := Options{Address: ts.Listener.Addr().String(), Host: qrsHost, Certificate: site.client, Roots: site.ca.pool}
	for _, c := range change {
		c(ts.TLS, &o)
	}
	ts.StartTLS()
	t.Cleanup(ts.Close)
	q := NewQRS(o)
	return q
}

// qrsReply answers every request alike.
func qrsReply(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const (
	qrsJSONType  = "application/json"
	qrsGoodAbout = `{"buildVersion":"31.7.0.0","buildDate":"9/20/2013 10:09:00 AM","databaseProvider":"Devart.Data.PostgreSql","nodeType":1,"sharedPersistence":true,"requiresBootstrap":false}`
)

// wantQRSError checks an error's kind, and that it holds no secret and no second line.
func wantQRSError(t *testing.T, err error, kind Kind, parts ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error of kind %s", err, kind)
	}
	if e.Kind != kind {
		t.Errorf("kind %s, want %s: %v", e.Kind, kind, e)
	}
	text := e.Error() + " | " + e.Hint
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q lacks %q", text, p)
		}
	}
	if strings.ContainsAny(text, "\n\x1b") || strings.Contains(text, "xrfkey=") {
		t.Errorf("%q holds what it must not", text)
	}
	if len([]rune(e.Said)) > 200 {
		t.Errorf("%d characters said", len([]rune(e.Said)))
	}
	return e
}

func TestQRSRequest(t *testing.T) {
	t.Parallel()
	key := regexp.MustCompile(`^[A-Za-z0-9]{16}$`)
	seen := map[string]bool{}
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		k := r.URL.Query().Get("xrfkey")
		if !key.MatchString(k) || r.Header.Get("X-Qlik-Xrfkey") != k || seen[k] {
			t.Errorf("key %q, header %q, seen before: %v", k, r.Header.Get("X-Qlik-Xrfkey"), seen[k])
		}
		seen[k] = true
		got := []string{r.Method, r.URL.Path, r.Proto, r.Header.Get("X-Qlik-User"), r.Header.Get("Accept"), r.Header.Get("Content-Type"), r.Host}
		want := []string{"GET", "/qrs/about", "HTTP/1.1", "UserDirectory=INTERNAL;UserId=sa_repository", "application/json", "", r.Host}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if host, _, _ := net.SplitHostPort(r.Host); host != qrsHost {
			t.Errorf("Host is %q", r.Host)
		}
		if cn := r.TLS.PeerCertificates[0].Subject.CommonName; cn != "QlikClient" {
			t.Errorf("client certificate of %q", cn)
		}
		qrsReply(200, qrsJSONType, "\ufeff"+qrsGoodAbout)(w, r)
	})
	for range 2 {
		got, err := q.About(t.Context())
		if err != nil || got != (About{"31.7.0.0", true}) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if q.transport.Proxy != nil {
		t.Error("a proxy would be asked for")
	}
}

func TestQRSAbout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body    string
		central bool
		bad     string
	}{
		{body: `{"buildVersion":"1.0","nodeType":1}`, central: true},
		{body: `{"buildVersion":"1.0","nodeType":2}`},
		{body: `{"buildVersion":"1.0","nodeType":"Central"}`, central: true},
		{body: `{"buildVersion":"1.0","nodeType":0}`, bad: "neither central"},
		{body: `{"buildVersion":"1.0","nodeType":3}`, bad: "neither central"},
		{body: `{"buildVersion":"1.0"}`, bad: "neither central"},
		{body: `{"nodeType":1}`, bad: "no buildVersion"},
		{body: `{"buildVersion":"1.0" "nodeType": [1 or 2]}`, bad: "invalid character"},
		{body: ``, bad: "unexpected end"},
		{body: `null`, bad: "no buildVersion"},
		{body: `welcome`, bad: `the server says "welcome"`},
	} {
		got, err := startQRS(t, qrsReply(200, qrsJSONType, tt.body)).About(t.Context())
		if tt.bad != "" {
			wantQRSError(t, err, Malformed, tt.bad)
		} else if err != nil || got.Central != tt.central || got.Version != "1.0" {
			t.Errorf("%s: got %v, %v", tt.body, got, err)
		}
	}
}

func TestQRSKinds(t *testing.T) {
	t.Parallel()
	about := func(q *QRS) error { _, err := q.About(t.Context()); return err }
	start := func(q *QRS) error { _, err := q.StartRegistration(t.Context(), qrsNodeID, "qs-rim1"); return err }
	create := func(q *QRS) error { _, err := q.CreateNode(t.Context(), NewNode{}); return err }
	const page = "<!DOCTYPE html><html><head><style>p{x:1}</style><script>var a='<b>';</script><title>Log in</title></head><body><p>User&nbsp;name &lt;b&gt;\x1b[2J</p></body></html>"
	for _, tt := range []struct {
		name         string
		do           func(*QRS) error
		status       int
		ctype, body  string
		kind         Kind
		parts        []string
		said, unsaid string
	}{
		{"inactive account", about, 403, "text/plain", "Forbidden: This account is inactive. Ask an administrator.", NotAllowed, []string{"signed in, but not allowed"}, "Forbidden: This account is inactive. Ask an administrator.", ""},
		{"header", about, 403, "text/plain", "Unknown users not allowed: missing or malformed http header: X-Qlik-User", MalformedHeader, nil, "", ""},
		{"key", about, 403, "text/html", "<p>XSRF prevention check failed.</p>", WrongKey, nil, "XSRF prevention check failed.", "<"},
		{"403 of a web server", about, 403, "text/html", "<h1>Forbidden</h1>", Refused, nil, "Forbidden", ""},
		{"403 without a word", about, 403, "text/plain", "", Refused, nil, "", ""},
		{"host allow list", about, 400, "text/html", "<html><p>The request <b>header</b> is incorrect</p></html>", HostNotAllowed, []string{qrsHost, "host allow list"}, "", ""},
		{"host allow list, start", start, 400, "text/html", "The request header is incorrect", HostNotAllowed, nil, "", ""},
		{"bad request", about, 400, qrsJSONType, `"bad"`, Refused, []string{"HTTP 400"}, "", ""},
		{"not sent", start, 400, qrsJSONType, `"could not connect"`, NotSent, []string{"4444"}, "could not connect", ""},
		{"no such node", start, 404, "text/plain", "", NotFound, nil, "", ""},
		{"401", about, 401, "text/html", page, Rejected, []string{"client.pem"}, "", ""},
		{"login form", about, 200, "text/html; charset=utf-8", page, LoginPage, []string{"server Kestrel"}, "Log in User name", "x:1"},
		{"login form without type", about, 200, "", "\r\n <html>x", LoginPage, nil, "x", "html"},
		{"login form with 201", create, 201, "text/html", page, LoginPage, nil, "", ""},
		{"page, start", start, 200, "text/html", "<p>hunter2", LoginPage, nil, "", "hunter2"},
		{"JSON said to be HTML", about, 200, "text/html", qrsGoodAbout, "", nil, "", ""},
		{"not found", about, 404, "text/plain", "no", NotFound, nil, "no", ""},
		{"conflict", create, 409, "text/plain", "", Conflict, nil, "", ""},
		{"server error", about, 500, "text/plain", "oops", Refused, []string{"HTTP 500"}, "oops", ""},
		{"server error, create", create, 502, "text/html", page, Refused, []string{"not known", "server Kestrel"}, "", ""},
		{"no content", about, 204, "", "", Malformed, []string{"HTTP 204"}, "", ""},
		{"created in place of OK", about, 201, qrsJSONType, qrsGoodAbout, Malformed, nil, "", ""},
		{"too large", about, 200, qrsJSONType, `"` + strings.Repeat("x", qrsMaxBody), Malformed, []string{"8 MiB"}, "", ""},
		{"long", about, 500, "text/plain", strings.Repeat("ä ", 500), Refused, nil, strings.Repeat("ä ", 99), ""},
		{"no password", start, 200, qrsJSONType, `""`, NoPassword, []string{"no password"}, "", ""},
		{"blank password", start, 200, qrsJSONType, `" \n"`, NoPassword, nil, "", ""},
		{"no answer", start, 200, qrsJSONType, ``, NoPassword, nil, "", ""},
		{"null password", start, 200, qrsJSONType, `null`, Malformed, nil, "", ""},
		{"password not in JSON", start, 200, qrsJSONType, `hunter2`, Malformed, nil, "", "hunter2"},
		{"password in an object", start, 200, qrsJSONType, `{"hunter2":1}`, Malformed, nil, "", "hunter2"},
		{"password in HTML's name", start, 200, "text/html", `hunter2`, LoginPage, nil, "", "hunter2"},
		{"password with 201", start, 201, qrsJSONType, `"hunter2"`, Malformed, nil, "", "hunter2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Server", "Kestrel")
				qrsReply(tt.status, tt.ctype, tt.body)(w, r)
			})
			err := tt.do(q)
			if tt.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e := wantQRSError(t, err, tt.kind, tt.parts...)
			if e.Status != tt.status {
				t.Errorf("status %d", e.Status)
			}
			if !strings.Contains(e.Said, tt.said) || tt.unsaid != "" && strings.Contains(e.Error(), tt.unsaid) {
				t.Errorf("said %q in %q", e.Said, e)
			}
		})
	}
}

func TestQRSRedirect(t *testing.T) {
	t.Parallel()
	for where, kind := range map[string]Kind{
		"https://qs-central.example.com/login/?x=1":  LoginPage,
		"/internal_windows_authentication/?target=1": LoginPage,
		"https://else.example.com/qrs/about":         Refused,
		"://":                                        Refused,
	} {
		count := 0
		q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
			count++
			w.Header().Set("Location", where+"?xrfkey="+r.URL.Query().Get("xrfkey"))
			w.WriteHeader(http.StatusFound)
		})
		_, err := q.About(t.Context())
		wantQRSError(t, err, kind, "redirect to", "HTTP 302")
		if count != 1 {
			t.Errorf("%d requests", count)
		}
	}
}

func TestQRSKeyIsNotShown(t *testing.T) {
	t.Parallel()
	var key string
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		key = r.URL.Query().Get("xrfkey")
		qrsReply(400, "text/plain", "bad address "+r.URL.String()+" "+strings.ToLower(key)+" "+key[:8]+"\u200b"+key[8:])(w, r)
	})
	_, err := q.About(t.Context())
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Said, "********") || strings.Contains(strings.ToLower(e.Error()), strings.ToLower(key)) {
		t.Errorf("%v holds %s", err, key)
	}
}

func TestQRSServerCertificate(t *testing.T) {
	t.Parallel()
	site := qrsTestSite()
	ip := net.ParseIP("10.20.0.1")
	for _, tt := range []struct {
		name     string
		template *x509.Certificate
		host     string
		good     bool
	}{
		{"common name", qrsCommonName("QS-Central.Example.com"), qrsHost, true},
		{"short for long", qrsCommonName("QS-CENTRAL"), qrsHost, true},
		{"long for short", qrsCommonName(qrsHost), "qs-central", true},
		{"other domain", qrsCommonName("qs-central.example.org"), qrsHost, false},
		{"other short name", qrsCommonName("qs-rim1"), qrsHost, false},
		{"alternative name", &x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"y", qrsHost}}, qrsHost, true},
		{"alternative name, short", &x509.Certificate{DNSNames: []string{"qs-central"}}, qrsHost, true},
		{"common name does not count", &x509.Certificate{Subject: pkix.Name{CommonName: qrsHost}, DNSNames: []string{"y.example.com"}}, qrsHost, false},
		{"nor beside a mail address", &x509.Certificate{Subject: pkix.Name{CommonName: qrsHost}, EmailAddresses: []string{"a@example.com"}}, qrsHost, false},
		{"address", &x509.Certificate{IPAddresses: []net.IP{ip}}, "10.20.0.1", true},
		{"address as common name", qrsCommonName("10.20.0.1"), "10.20.0.1", true},
		{"address has no labels", qrsCommonName("10"), "10.20.0.1", false},
		{"no name", qrsCommonName(""), "", false},
		{"wildcard", &x509.Certificate{DNSNames: []string{"*.example.com"}}, qrsHost, false},
		{"expired", &x509.Certificate{Subject: pkix.Name{CommonName: qrsHost}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}, qrsHost, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := startQRS(t, qrsReply(200, qrsJSONType, qrsGoodAbout), func(c *tls.Config, o *Options) {
				c.Certificates, o.Host = []tls.Certificate{site.ca.issue(tt.template)}, tt.host
			})
			if _, err := q.About(t.Context()); tt.good && err != nil {
				t.Error(err)
			} else if !tt.good {
				wantQRSError(t, err, Untrusted, "certificate", "root.pem")
			}
		})
	}
	for name, change := range map[string]func(*tls.Config, *Options){
		"other root": func(_ *tls.Config, o *Options) { o.Roots = site.other.pool },
		"no root":    func(_ *tls.Config, o *Options) { o.Roots = nil },
		"self-signed": func(c *tls.Config, _ *Options) {
			c.Certificates = []tls.Certificate{(*qrsCA)(nil).issue(qrsCommonName(qrsHost))}
		},
	} {
		q := startQRS(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through: " + name) }, change)
		_, err := q.CreateNode(t.Context(), NewNode{HostName: "qs-rim1"})
		if e := wantQRSError(t, err, Untrusted); strings.Contains(e.Error(), "not known") {
			t.Errorf("nothing was sent, but: %v", e)
		}
	}
}

func TestQRSClientCertificate(t *testing.T) {
	t.Parallel()
	site := qrsTestSite()
	for _, tt := range []struct {
		name   string
		change func(*tls.Config, *Options)
		kind   Kind
	}{
		{"TLS 1.3 only", func(c *tls.Config, _ *Options) { c.MinVersion = tls.VersionTLS13 }, ""},
		{"TLS 1.2 only", func(c *tls.Config, _ *Options) { c.MaxVersion = tls.VersionTLS12 }, ""},
		{"TLS 1.1 only", func(c *tls.Config, _ *Options) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, Unreachable},
		{"not asked for", func(c *tls.Config, _ *Options) { c.ClientAuth = tls.NoClientCert }, ""},
		{"other authorities named", func(c *tls.Config, _ *Options) {
			c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, site.other.pool
		}, ""},
		{"of another site", func(_ *tls.Config, o *Options) { o.Certificate = site.other.issue(qrsCommonName("QlikClient")) }, Rejected},
		{"key of another", func(_ *tls.Config, o *Options) { o.Certificate.PrivateKey = qrsKey() }, Rejected},
		{"none", func(_ *tls.Config, o *Options) { o.Certificate = tls.Certificate{} }, Rejected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := startQRS(t, qrsReply(201, qrsJSONType, `{"configuration":{"id":"`+qrsNodeID+`"}}`), tt.change)
			_, err := q.CreateNode(t.Context(), NewNode{})
			switch {
			case tt.kind == "" && err != nil:
				t.Error(err)
			case tt.kind != "":
				if e := wantQRSError(t, err, tt.kind); strings.Contains(e.Error(), "not known") || e.Hint == "" {
					t.Errorf("%v (%s)", e, e.Hint)
				}
			}
		})
	}
}

// qrsRaw answers every connection with some bytes and closes it.
func qrsRaw(t *testing.T, tlsConfig *tls.Config, send string) *QRS {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if tlsConfig != nil {
		l = tls.NewListener(l, tlsConfig)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			io.WriteString(c, send)
			c.Close()
		}
	})
	return NewQRS(Options{Address: address, Host: qrsHost, Certificate: qrsTestSite().client, Roots: qrsTestSite().ca.pool})
}

// qrsClosedPort is a port that refuses connections: the own one of an open connection, which nobody else gets.
func qrsClosedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	c, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

func TestQRSConnection(t *testing.T) {
	t.Parallel()
	server := &tls.Config{Certificates: []tls.Certificate{qrsTestSite().server}}
	closed := qrsRaw(t, nil, "")
	closed.o.Address = qrsClosedPort(t)
	for _, tt := range []struct {
		name  string
		q     *QRS
		kind  Kind
		parts []string
		known bool
	}{
		{"refused", closed, Unreachable, []string{"Test-NetConnection 127.0.0.1 -Port ", "refused"}, true},
		{"no port", NewQRS(Options{Address: "127.0.0.1", Host: qrsHost}), Unreachable, []string{"missing port"}, true},
		{"plain HTTP", qrsRaw(t, nil, "HTTP/1.1 400 Bad Request\r\n\r\n"), Malformed, []string{"does not speak TLS"}, true},
		{"closed at once", qrsRaw(t, nil, ""), Unreachable, []string{"TLS"}, true},
		{"not HTTP", qrsRaw(t, server, "hunter2 hunter2\r\n\r\n"), Malformed, []string{"not HTTP"}, false},
		{"lost before the answer", qrsRaw(t, server, ""), Unreachable, nil, false},
		{"lost in the answer", qrsRaw(t, server, "HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{"), Unreachable, nil, false},
		{"answer without an id", qrsRaw(t, server, "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"), Malformed, nil, false},
		{"refused, words lost", qrsRaw(t, server, "HTTP/1.1 409 Conflict\r\nContent-Length: 99\r\n\r\nno"), Conflict, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := tt.q.CreateNode(t.Context(), NewNode{HostName: "qs-rim1"})
			e := wantQRSError(t, err, tt.kind, append(tt.parts, "creating the node qs-rim1")...)
			if known := !strings.Contains(e.Error(), "whether the node was created is not known"); known != tt.known {
				t.Errorf("known: %v in %v", known, e)
			}
			if strings.Contains(e.Error(), "hunter2") {
				t.Errorf("quoted: %v", e)
			}
		})
	}
}

// qrsHang lets a request wait for its client to go away.
func qrsHang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // only then the server notices
	<-r.Context().Done()
}

func TestQRSTimeout(t *testing.T) {
	t.Parallel()
	q := startQRS(t, qrsHang)
	if q.timeout != 30*time.Second || q.startTimeout != 120*time.Second {
		t.Errorf("time-outs %v, %v", q.timeout, q.startTimeout)
	}
	q.timeout, q.startTimeout = time.Second, time.Second
	_, err := q.CreateNode(t.Context(), NewNode{})
	wantQRSError(t, err, Unreachable, "within 1s", "not known")
	if errors.Is(err, context.DeadlineExceeded) {
		t.Error("this client's own limit looks like the caller's")
	}
	_, err = q.StartRegistration(t.Context(), qrsNodeID, "qs-rim1")
	wantQRSError(t, err, Unreachable, "4444", "not known")
}

func TestQRSCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) { cancel(); qrsHang(w, r) })
	_, err := q.CreateNode(ctx, NewNode{})
	wantQRSError(t, err, Cancelled, "not known")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
	_, err = q.CreateNode(ctx, NewNode{}) // not sent
	if wantQRSError(t, err, Cancelled); strings.Contains(err.Error(), "not known") {
		t.Error(err)
	}
	// In the answer's body.
	ctx, cancel = context.WithCancel(t.Context())
	q = startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		w.(http.Flusher).Flush()
		cancel()
		qrsHang(w, r)
	})
	_, err = q.About(ctx)
	if wantQRSError(t, err, Cancelled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = startQRS(t, qrsHang).About(ctx)
	if wantQRSError(t, err, Cancelled); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestQRSFilter(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"qs-rim1.example.com": `hostName%20eq%20%27qs-rim1.example.com%27`,
		"o'neil":              `hostName%20eq%20%27o%5C%27neil%27`,
		`a\b`:                 `hostName%20eq%20%27a%5C%5Cb%27`,
		"a#b&c d+e":           `hostName%20eq%20%27a%23b%26c%20d%2Be%27`,
		"münchen%":            `hostName%20eq%20%27m%C3%BCnchen%25%27`,
	} {
		q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
			key, filter, _ := strings.Cut(r.URL.RawQuery, "&filter=")
			if filter != want || !regexp.MustCompile(`^xrfkey=\w{16}$`).MatchString(key) {
				t.Errorf("%s: query %s, want %s", host, r.URL.RawQuery, want)
			}
			json.NewEncoder(w).Encode([]map[string]string{{"id": qrsNodeID, "hostName": host}})
		})
		nodes, err := q.Nodes(t.Context(), host, "no such name")
		if err != nil || len(nodes) != 1 || nodes[0].HostName != host {
			t.Errorf("%s: %v, %v", host, nodes, err)
		}
	}
}

const qrsTwoNodes = `[
 {"id":"11111111-2222-4333-8444-555555555555","name":"Central","hostName":"qs-central.example.com","isCentral":true,"engineEnabled":true,"proxyEnabled":true,"schedulerEnabled":true,"printingEnabled":true,"customProperties":null},
 {"id":"` + qrsNodeID + `","name":"Rim 1","hostName":"QS-Rim1.example.com","isCentral":false,"engineEnabled":true,"proxyEnabled":false,"schedulerEnabled":null,"roles":[{"id":"00000000-0000-0000-0000-000000000000"}]}]`

func TestQRSNodes(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	rim := Node{ID: qrsNodeID, Name: "Rim 1", HostName: "QS-Rim1.example.com", Central: &no, Engine: &yes, Proxy: &no}
	for _, tt := range []struct {
		host, filtered, full string
		want                 []Node
	}{
		{"QS-Rim1.example.com", qrsTwoNodes, "unused", []Node{rim}}, // a filter that is not heeded
		{"qs-rim1.example.com", "[]", qrsTwoNodes, []Node{rim}},
		{"qs-rim1", "[]", qrsTwoNodes, []Node{rim}},
		{"qs-rim1.example.org", "[]", qrsTwoNodes, nil},
		{"qs-rim10", "[]", qrsTwoNodes, nil},
		{"qs-rim1", "[]", "[]", nil},
		{"x", "[]", `[{"id":"` + qrsNodeID + `","name":"n","hostName":"x"}]`, []Node{{ID: qrsNodeID, Name: "n", HostName: "x"}}}, // condensed
	} {
		var paths []string
		q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.URL.Path)
			body := tt.full
			if r.URL.Query().Has("filter") {
				body = tt.filtered
			}
			qrsReply(200, qrsJSONType, body)(w, r)
		})
		got, err := q.Nodes(t.Context(), tt.host, "no such name")
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.host, d)
		}
		for _, p := range paths {
			if p != "/qrs/servernodeconfiguration/full" {
				t.Error(p)
			}
		}
	}
	for _, body := range []string{
		`null`, `{}`, `[{}]`, `[null]`, `[{"id":"00000000-0000-0000-0000-000000000000","hostName":"x"}]`,
		`[{"id":"` + qrsNodeID + `"}]`, `[{"id":"` + qrsNodeID + `","hostName":"x","isCentral":"no"}]`, `[] []`,
	} {
		_, err := startQRS(t, qrsReply(200, qrsJSONType, body)).Nodes(t.Context(), "x", "no such name")
		wantQRSError(t, err, Malformed, "looking for the node x")
	}
}

func TestQRSCreateNode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n    NewNode
		want string
	}{
		{NewNode{Name: "Rim 1", HostName: "qs-rim1", Engine: true, Printing: true}, `{"configuration":{"name":"Rim 1","hostName":"qs-rim1","engineEnabled":true,"proxyEnabled":false,"schedulerEnabled":false}}`},
		{NewNode{Name: "R", HostName: "r", Proxy: true, Scheduler: true, Printing: true, Since2: true}, `{"configuration":{"name":"R","hostName":"r","engineEnabled":false,"proxyEnabled":true,"schedulerEnabled":true,"printingEnabled":true,"nodePurpose":0,"failoverCandidate":false}}`},
	} {
		q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got := []string{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(b)}
			if d := cmp.Diff([]string{"POST", "/qrs/servernodeconfiguration/container", "application/json; charset=utf-8", tt.want}, got); d != "" {
				t.Error(d)
			}
			// Other ids come first.
			qrsReply(201, qrsJSONType, `{"engineServiceID":"aaaaaaaa-0000-4000-8000-000000000001","configuration":{"roles":[{"id":"aaaaaaaa-0000-4000-8000-000000000002"}],
				"serviceCluster":{"id":"aaaaaaaa-0000-4000-8000-000000000003"},"id":"`+qrsNodeID+`"},"id":"aaaaaaaa-0000-4000-8000-000000000004"}`)(w, r)
		})
		if id, err := q.CreateNode(t.Context(), tt.n); err != nil || id != qrsNodeID {
			t.Errorf("got %q, %v", id, err)
		}
	}
	for _, id := range []string{`"00000000-0000-0000-0000-000000000000"`, `"[GUID]"`, `""`, `null`, `7`} {
		_, err := startQRS(t, qrsReply(200, qrsJSONType, `{"configuration":{"id":`+id+`}}`)).CreateNode(t.Context(), NewNode{HostName: "qs-rim1\nx"})
		wantQRSError(t, err, Malformed, "creating the node qs-rim1 x", "whether the node was created is not known")
	}
}

func TestQRSStartRegistration(t *testing.T) {
	t.Parallel()
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/qrs/servernoderegistration/start/"+qrsNodeID {
			t.Error(r.Method, r.URL)
		}
		qrsReply(200, qrsJSONType, `"a\"b\\c\u00e4&"`)(w, r)
	})
	got, err := q.StartRegistration(t.Context(), qrsNodeID, "qs-rim1")
	if err != nil || got.Reveal() != `a"b\cä&` || fmt.Sprint(got) != "********" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	for _, id := range []string{"", "../about", strings.Repeat("0", 8) + "-0000-0000-0000-000000000000"} {
		_, err := q.StartRegistration(t.Context(), id, "qs-rim1")
		wantQRSError(t, err, Malformed, "is not an id")
	}
}

func TestQRSServices(t *testing.T) {
	t.Parallel()
	row := func(id, typ, state string) string {
		return fmt.Sprintf(`{"serverNodeConfiguration":{"id":%q},"serviceType":%s,"serviceState":%s,"timestamp":"1753-01-01T00:00:00.000Z"}`, id, typ, state)
	}
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Path + "?" + r.URL.Query().Get("filter"); got != "/qrs/servicestatus/full?serverNodeConfiguration.id eq "+qrsNodeID {
			t.Error(got)
		}
		qrsReply(200, qrsJSONType, "["+strings.Join([]string{
			row(strings.ToUpper(qrsNodeID), "0", "2"), row("11111111-2222-4333-8444-555555555555", "1", "3"), row(qrsNodeID, `"Proxy"`, `"Running"`),
			row(qrsNodeID, `"AppMigration"`, `"certificatesNotInstalled"`), row(qrsNodeID, "3", "9"), row(qrsNodeID, `"Hub"`, "null"),
			row(qrsNodeID, "17", "-3"), `{"serviceType":2,"serviceState":2}`,
		}, ",")+"]")(w, r)
	})
	got, err := q.Services(t.Context(), qrsNodeID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]ServiceStatus{{0, 2}, {1, 2}, {4, 1}, {3, 9}, {-1, -1}, {17, -1}}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("[repository running proxy running app migration certificates not installed engine state 9 "+
		"(unreadable service) (unreadable state) service 17 (unreadable state)]", fmt.Sprint(got)); d != "" {
		t.Error(d)
	}
	_, err = startQRS(t, qrsReply(200, qrsJSONType, `{}`)).Services(t.Context(), qrsNodeID)
	wantQRSError(t, err, Malformed)
	_, err = q.Services(t.Context(), "x' or 1 eq 1")
	wantQRSError(t, err, Malformed, "is not an id")
}

// qrsEntity is a virtual proxy with values that decoding would change.
const qrsEntity = `{"id":"` + qrsVPID + `","createdDate":"2017-02-22T18:09:51.8960Z","modifiedDate":"@DATE","prefix":"","description":"Central <Proxy> & more",
 "loadBalancingServerNodes":[{"id":"11111111-2222-4333-8444-555555555555","name":"Central","big":12345678901234567890}],
 "sessionInactivityTimeout":30.0,"rate":1e3,"none":null,"websocketCrossOriginWhiteList":["QS-Rim1"],"defaultVirtualProxy":true,"oidcClientSecret":"s\u00e4","afterwards":{"b":1,"a":[ ]}}`

func TestQRSVirtualProxies(t *testing.T) {
	t.Parallel()
	q := startQRS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/qrs/virtualproxyconfig/full" {
			t.Error(r.URL.Path)
		}
		qrsReply(200, qrsJSONType, `[`+qrsEntity+`,{"id":"`+qrsNodeID+`","prefix":"a"},{"id":"`+qrsNodeID+`","loadBalancingServerNodes":null,"websocketCrossOriginWhiteList":null}]`)(w, r)
	})
	got, err := q.VirtualProxies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []VirtualProxy{
		{qrsVPID, "", "Central <Proxy> & more", true, []string{"11111111-2222-4333-8444-555555555555"}, []string{"QS-Rim1"}},
		{ID: qrsNodeID, Prefix: "a"},
		{ID: qrsNodeID, Nodes: []string{}, Hosts: []string{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, body := range []string{`null`, `[{"prefix":"x"}]`, `[{"id":"` + qrsVPID + `","loadBalancingServerNodes":{}}]`,
		`[{"id":"` + qrsVPID + `","loadBalancingServerNodes":[{}]}]`, `[{"id":"` + qrsVPID + `","websocketCrossOriginWhiteList":[1]}]`,
		`[{"id":"` + qrsVPID + `","oidcClientSecret":"hunter2"`} {
		_, err := startQRS(t, qrsReply(200, qrsJSONType, body)).VirtualProxies(t.Context())
		if wantQRSError(t, err, Malformed); strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	}
}

// qrsVPServer keeps one virtual proxy. put may answer in place of it.
type qrsVPServer struct {
	entity string
	gets   int
	puts   []string
	put    func(n int, w http.ResponseWriter) bool
}

func (s *qrsVPServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.URL.Path, "/qrs/virtualproxyconfig/"+qrsVPID) {
		w.WriteHeader(404)
		return
	}
	if r.Method == "PUT" {
		b, _ := io.ReadAll(r.Body)
		s.puts = append(s.puts, string(b))
		if s.put != nil && s.put(len(s.puts), w) {
			return
		}
		s.entity = string(b)
	} else {
		s.gets++
	}
	qrsReply(200, qrsJSONType, s.entity)(w, r)
}

func TestQRSAddToVirtualProxy(t *testing.T) {
	t.Parallel()
	s := &qrsVPServer{entity: qrsEntity}
	q := startQRS(t, s.ServeHTTP)
	hosts := []string{"qs-rim1", "qs-rim1.example.com", "QS-RIM1.example.com", ""}
	got, err := q.AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, hosts)
	if err != nil {
		t.Fatal(err)
	}
	want := VirtualProxy{
		qrsVPID, "", "Central <Proxy> & more", true,
		[]string{"11111111-2222-4333-8444-555555555555", qrsNodeID}, []string{"QS-Rim1", "qs-rim1.example.com"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Field by field, as text.
	fields := func(text string) map[string]string {
		var raw map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &raw); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for k, v := range raw {
			out[k] = string(v)
		}
		return out
	}
	wantFields := fields(qrsEntity)
	wantFields["loadBalancingServerNodes"] = `[{"id":"11111111-2222-4333-8444-555555555555","name":"Central","big":12345678901234567890},{"id":"` + qrsNodeID + `"}]`
	wantFields["websocketCrossOriginWhiteList"] = `["QS-Rim1","qs-rim1.example.com"]`
	wantFields["afterwards"] = `{"b":1,"a":[]}`
	if d := cmp.Diff(wantFields, fields(s.puts[0])); d != "" {
		t.Error(d)
	}
	if s.gets != 2 || len(s.puts) != 1 {
		t.Errorf("%d GETs, %d PUTs", s.gets, len(s.puts))
	}
	again, err := q.AddToVirtualProxy(t.Context(), strings.ToUpper(qrsVPID), strings.ToUpper(qrsNodeID), hosts)
	if err != nil || !cmp.Equal(again, want) || len(s.puts) != 1 {
		t.Errorf("got %v, %v after %d PUTs", again, err, len(s.puts))
	}
}

func TestQRSAddToVirtualProxyEmptyLists(t *testing.T) {
	t.Parallel()
	for _, empty := range []string{"[]", "null"} {
		s := &qrsVPServer{entity: `{"id":"` + qrsVPID + `","loadBalancingServerNodes":` + empty + `,"websocketCrossOriginWhiteList":` + empty + `}`}
		got, err := startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, []string{"r"})
		if err != nil || !cmp.Equal(got, VirtualProxy{ID: qrsVPID, Nodes: []string{qrsNodeID}, Hosts: []string{"r"}}) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	for _, body := range []string{
		`{"id":"` + qrsVPID + `","loadBalancingServerNodes":[]}`,
		`{"id":"` + qrsVPID + `","websocketCrossOriginWhiteList":[]}`,
		`{"id":"` + qrsVPID + `","loadBalancingServerNodes":[],"websocketCrossOriginWhiteList":"*"}`,
		`{"id":"` + qrsNodeID + `","loadBalancingServerNodes":[],"websocketCrossOriginWhiteList":[]}`,
		`[]`, `null`,
	} {
		s := &qrsVPServer{entity: body}
		_, err := startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, []string{"r"})
		wantQRSError(t, err, Malformed)
		if len(s.puts) != 0 {
			t.Errorf("%s: overwritten", body)
		}
	}
	q := startQRS(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	for _, ids := range [][2]string{{"", qrsNodeID}, {qrsVPID, ""}, {"..", qrsNodeID}} {
		_, err := q.AddToVirtualProxy(t.Context(), ids[0], ids[1], nil)
		wantQRSError(t, err, Malformed)
	}
}

func TestQRSAddToVirtualProxyConflict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		conflicts, puts int
		kind            Kind
	}{{1, 2, ""}, {2, 3, ""}, {3, 3, Conflict}} {
		s := &qrsVPServer{entity: strings.Replace(qrsEntity, "@DATE", "date 0", 1)}
		s.put = func(n int, w http.ResponseWriter) bool {
			if n > tt.conflicts {
				return false
			}
			s.entity = strings.Replace(s.entity, fmt.Sprint("date ", n-1), fmt.Sprint("date ", n), 1)
			w.WriteHeader(409)
			return true
		}
		_, err := startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, nil)
		if tt.kind != "" {
			wantQRSError(t, err, tt.kind)
		} else if err != nil {
			t.Error(err)
		}
		if len(s.puts) != tt.puts {
			t.Errorf("%d PUTs, want %d", len(s.puts), tt.puts)
		}
		for i, p := range s.puts { // each with the date that was read just before
			if !strings.Contains(p, fmt.Sprintf(`"modifiedDate":"date %d"`, i)) {
				t.Errorf("PUT %d: %s", i, p)
			}
		}
	}
	// Somebody else added the same.
	s := &qrsVPServer{entity: qrsEntity}
	s.put = func(_ int, w http.ResponseWriter) bool {
		s.entity = s.puts[0]
		w.WriteHeader(409)
		return true
	}
	got, err := startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, nil)
	if err != nil || len(got.Nodes) != 2 || len(s.puts) != 1 {
		t.Errorf("got %v, %v after %d PUTs", got, err, len(s.puts))
	}
	// Taken, but not kept.
	s = &qrsVPServer{entity: qrsEntity, put: func(_ int, w http.ResponseWriter) bool { w.WriteHeader(204); return true }}
	_, err = startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, nil)
	wantQRSError(t, err, Malformed, "not there when read again")
	// Lost.
	s = &qrsVPServer{entity: qrsEntity, put: func(int, http.ResponseWriter) bool { panic(http.ErrAbortHandler) }}
	_, err = startQRS(t, s.ServeHTTP).AddToVirtualProxy(t.Context(), qrsVPID, qrsNodeID, nil)
	wantQRSError(t, err, Unreachable, "whether it was added is not known")
	if len(s.puts) != 1 {
		t.Errorf("%d PUTs", len(s.puts))
	}
}

func TestQRSErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*Error{
		"reading: refused": {Kind: Refused, Doing: "reading"},
		`reading: no; the server says "it is \"no\""`: {Kind: Refused, Doing: "reading", Err: errors.New("no"), Said: `it is "no"`},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e, want)
		}
	}
}

func FuzzQRSAnswers(f *testing.F) {
	for _, s := range []string{qrsGoodAbout, qrsTwoNodes, "[" + qrsEntity + "]", qrsEntity, `""`, `"a\u0000"`, `null`, `{"configuration":{"id":"` + qrsNodeID + `"}}`,
		`[{"serverNodeConfiguration":{"id":"` + qrsNodeID + `"},"serviceType":"Proxy","serviceState":2}]`, `<html><p>XSRF`, "\ufeff{}", `{"id":1e999}`} {
		f.Add([]byte(s), s)
	}
	f.Fuzz(func(t *testing.T, b []byte, location string) {
		if a, err := qrsAbout(b); err == nil && a.Version == "" {
			t.Error("no version")
		}
		nodes, _ := qrsNodes(b)
		for _, n := range nodes {
			if !qrsGUID(n.ID) || n.HostName == "" {
				t.Errorf("node %+v", n)
			}
		}
		if id, err := qrsCreated(b); err == nil && !qrsGUID(id) {
			t.Errorf("id %q", id)
		}
		if p, err := qrsPassword(b); (err == nil) == (strings.TrimSpace(p.Reveal()) == "") {
			t.Errorf("password %q, %v", p.Reveal(), err)
		}
		if services, err := qrsServices(b, qrsNodeID); err == nil {
			_ = fmt.Sprint(services)
		}
		qrsProxies(b)
		a, err := qrsAdd(b, qrsVPID, qrsNodeID, []string{"h"})
		if err == nil && a.body != nil {
			second, err := qrsAdd(a.body, qrsVPID, qrsNodeID, []string{"H"})
			if err != nil || second.body != nil {
				t.Errorf("%s: %v", a.body, err)
			}
			var before, after map[string]any
			json.Unmarshal(b, &before)
			json.Unmarshal(a.body, &after)
			for _, m := range []map[string]any{before, after} {
				delete(m, qrsNodeList)
				delete(m, qrsHostList)
			}
			if d := cmp.Diff(before, after); d != "" {
				t.Error(d)
			}
		}
		q := NewQRS(Options{Address: "h:1", Host: "h"})
		for _, status := range []int{200, 302, 400, 403, 500} {
			e := q.judge(qrsCall{doing: "d"}, &qrsAnswer{status: status, header: http.Header{"Location": {location}}, body: b, key: "k"})
			if e == nil {
				continue
			}
			if text := e.Error(); strings.ContainsAny(text, "\n\r\x1b\u202e") || len([]rune(e.Said)) > 200 || e.Status != status {
				t.Errorf("%q", text)
			}
		}
		if got, err := url.QueryUnescape(qrsEscape(location)); err != nil || got != location {
			t.Errorf("%q: %q, %v", location, got, err)
		}
	})
}
