package winrm

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/lab/wsman"
)

const canary = "correct horse battery staple"

type shellFunc func(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error)

func (f shellFunc) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return f(ctx, command, stdin, stdout, stderr)
}

// serve starts h with TLS and returns an endpoint that trusts it.
func serve(t *testing.T, h http.Handler) (Endpoint, *httptest.Server) {
	t.Helper()
	ts := httptest.NewUnstartedServer(h)
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return endpoint(t, ts.Listener, ts), ts
}

func endpoint(t *testing.T, l net.Listener, ts *httptest.Server) Endpoint {
	t.Helper()
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ep := Endpoint{Name: "qs-rim1", Host: host, HTTPS: true, OperationTimeout: 5 * time.Second}
	ep.Port, _ = strconv.Atoi(port)
	if ts != nil {
		ep.Roots = ts.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	}
	return ep
}

var administrator = Credential{"Administrator", canary}

// lab starts a simulated server with the shell.
func lab(t *testing.T, shell shellFunc) (Endpoint, *wsman.Server) {
	t.Helper()
	s := &wsman.Server{User: "Administrator", Password: canary, Shell: shell}
	ep, _ := serve(t, s)
	t.Cleanup(s.Close) // before the HTTP server's: it waits for its handlers
	return ep, s
}

func dial(t *testing.T, ep Endpoint) *Session {
	t.Helper()
	s, err := Dial(t.Context(), ep, administrator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// wantError checks an error's kind and text, and that the text is one that may be printed.
func wantError(t *testing.T, err error, kind Kind, contains string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error of kind %s", err, kind)
	}
	text := e.Error()
	if e.Kind != kind || !strings.Contains(text, contains) {
		t.Errorf("got %s: %s\nwant %s: … %s", e.Kind, text, kind, contains)
	}
	if e.Server != "qs-rim1" || !strings.HasPrefix(text, "qs-rim1: "+e.Doing+": ") {
		t.Errorf("%q does not say what was being done to which server", text)
	}
	if regexp.MustCompile(`[\x00-\x1f\x7f-\x9f]|\.$`).MatchString(text) {
		t.Errorf("%q is not fit to be printed", text)
	}
	for _, s := range []string{text, fmt.Sprintf("%+v %#v", e, e)} {
		noCanary(t, s)
	}
	return e
}

func noCanary(t *testing.T, s string) {
	t.Helper()
	for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte("Administrator:" + canary)), fmt.Sprintf("%x", canary)} {
		if strings.Contains(s, secret) {
			t.Errorf("the password is in %q", s)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 5 s: %s", what)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	ep, _ := lab(t, func(_ context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		input, err := io.ReadAll(stdin)
		fmt.Fprintf(stdout, "%s|%s", command, input)
		fmt.Fprint(stderr, "not so good\r\n")
		return 3, err
	})
	s := dial(t, ep)
	for _, command := range []string{"hostname", `echo <a & "b" 'c'> ]]> é`, "\tcmd"} {
		var stdout, stderr bytes.Buffer
		code, err := s.Run(t.Context(), command, strings.NewReader("some\r\ninput"), &stdout, &stderr)
		if err != nil || code != 3 || stdout.String() != command+"|some\r\ninput" || stderr.String() != "not so good\r\n" {
			t.Errorf("%q: exit code %d, error %v, stdout %q, stderr %q", command, code, err, &stdout, &stderr)
		}
	}
	if code, err := s.Run(t.Context(), "without streams", nil, nil, nil); err != nil || code != 3 {
		t.Errorf("without streams: exit code %d, error %v", code, err)
	}
	for _, command := range []string{"", "a\x00b", "a\nb", "\xff", "\ufffe"} {
		code, err := s.Run(t.Context(), command, nil, nil, nil)
		wantError(t, err, KindFault, "running a command")
		if code == 0 {
			t.Errorf("%q: exit code 0", command)
		}
	}
	if got, want := s.SignIn(), (SignIn{"Administrator", "basic", "https", "tls", "verified"}); got != want {
		t.Errorf("signed in as %v, want %v", got, want)
	}
}

// A command may answer input before there is more: both directions are open at once.
func TestDuplex(t *testing.T) {
	t.Parallel()
	ep, _ := lab(t, func(_ context.Context, _ string, stdin io.Reader, stdout, _ io.Writer) (int, error) {
		buf := make([]byte, 100)
		for {
			n, err := stdin.Read(buf)
			if err == io.EOF {
				return 0, nil
			}
			if err != nil {
				return 1, err
			}
			fmt.Fprintf(stdout, "got %s", buf[:n])
		}
	})
	s := dial(t, ep)
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	result := make(chan error, 1)
	go func() {
		code, err := s.Run(t.Context(), "talk", in, out, nil)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		out.CloseWithError(io.EOF)
		result <- err
	}()
	for i := range 5 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(stdin, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len("got "+line))
		if _, err := io.ReadFull(stdout, got); err != nil || string(got) != "got "+line {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	stdin.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// More than one answer's worth of output, with characters cut in two between answers, and as much input.
func TestLarge(t *testing.T) {
	t.Parallel()
	ep, _ := lab(t, func(_ context.Context, _ string, stdin io.Reader, stdout, _ io.Writer) (int, error) {
		_, err := io.Copy(stdout, stdin)
		return 0, err
	})
	want := "x" + strings.Repeat("é", 1<<19)
	var stdout bytes.Buffer
	code, err := dial(t, ep).Run(t.Context(), "more", strings.NewReader(want), &stdout, nil)
	if err != nil || code != 0 || stdout.String() != want {
		t.Errorf("exit code %d, error %v, %d bytes of %d", code, err, stdout.Len(), len(want))
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	ep, _ := lab(t, func(ctx context.Context, _ string, _ io.Reader, _, _ io.Writer) (int, error) {
		started <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return 1, nil
	})
	s := dial(t, ep)
	why := errors.New("the operator pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	var cancelled time.Time
	go func() {
		<-started
		cancelled = time.Now()
		cancel(why)
	}()
	stdin, _ := io.Pipe() // that nobody ever writes to or closes
	_, err := s.Run(ctx, "wait", stdin, nil, nil)
	if d := time.Since(cancelled); d > time.Second {
		t.Errorf("returned after %v", d)
	}
	wantError(t, err, KindCancelled, "Ctrl-C")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("%v does not wrap what ended it", err)
	}
	<-ended

	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err = s.Run(ctx, "wait", nil, nil, nil)
	wantError(t, err, KindTimeout, "context deadline exceeded")
}

func TestTurns(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	ep, _ := lab(t, func(_ context.Context, command string, stdin io.Reader, _, _ io.Writer) (int, error) {
		if command == "long" {
			close(started)
			io.ReadAll(stdin)
		}
		return 0, nil
	})
	s := dial(t, ep)
	in, stdin := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Run(t.Context(), "long", in, nil, nil); err != nil {
			t.Error(err)
		}
	})
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Run(ctx, "short", nil, nil, nil)
	wantError(t, err, KindTimeout, "")
	stdin.Close()
	wg.Wait()
	if _, err := s.Run(t.Context(), "short", nil, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan struct{})
	ep, _ := lab(t, func(ctx context.Context, _ string, _ io.Reader, _, _ io.Writer) (int, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return 1, nil
	})
	s := dial(t, ep)
	result := make(chan error, 1)
	go func() {
		_, err := s.Run(t.Context(), "wait", nil, nil, nil)
		result <- err
	}()
	<-started
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	<-ended
	<-result // an error or the exit code of the ended command, whichever came first
	_, err := s.Run(t.Context(), "more", nil, nil, nil)
	wantError(t, err, KindCancelled, "session is closed")
}

// Not parallel, as it counts goroutines.
func TestNothingLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("session", func(t *testing.T) {
		ep, _ := lab(t, func(ctx context.Context, command string, stdin io.Reader, stdout, _ io.Writer) (int, error) {
			if command == "wait" {
				<-ctx.Done()
			}
			_, err := io.Copy(stdout, stdin)
			return 0, err
		})
		s := dial(t, ep)
		if _, err := Look(t.Context(), ep); err != nil {
			t.Error(err)
		}
		for range 3 {
			if _, err := s.Run(t.Context(), "sort", strings.NewReader("b\na\n"), io.Discard, io.Discard); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		s.Run(ctx, "wait", nil, nil, nil)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestRejected(t *testing.T) {
	t.Parallel()
	ep, server := lab(t, nil)
	_, err := Dial(t.Context(), ep, Credential{"Administrator", canary + "!"})
	e := wantError(t, err, KindRejected, "signing in: user name or password rejected (HTTP 401; the server offers Negotiate, Kerberos, Basic)")
	if len(e.Hints) == 0 {
		t.Error("no hint")
	}
	if ok, rejected := server.Attempts(); ok != 0 || rejected != 1 {
		t.Errorf("%d attempts accepted and %d rejected, want 0 and 1", ok, rejected)
	}
}

func TestLook(t *testing.T) {
	t.Parallel()
	ep, server := lab(t, nil)
	id, err := Look(t.Context(), ep)
	if err != nil {
		t.Fatal(err)
	}
	if id.Vendor != "preflight lab, simulated server" || id.Verified != "verified" || id.Certificate == nil || strings.Join(id.Schemes, " ") != "Negotiate Kerberos Basic" {
		t.Errorf("got %+v", id)
	}
	if ok, rejected := server.Attempts(); ok != 0 || rejected != 0 {
		t.Errorf("looking was %d accepted and %d rejected attempts to sign in", ok, rejected)
	}

	plain := httptest.NewServer(server)
	defer plain.Close()
	ep = endpoint(t, plain.Listener, nil)
	ep.HTTPS = false
	if id, err = Look(t.Context(), ep); err != nil || id.Vendor == "" || id.Certificate != nil || id.Verified != "" {
		t.Errorf("over plain HTTP: %+v, %v", id, err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ep, server := lab(t, nil)
	known, err := Look(t.Context(), ep)
	if err != nil {
		t.Fatal(err)
	}

	unknown := ep
	unknown.Roots = nil
	_, err = Dial(t.Context(), unknown, administrator)
	e := wantError(t, err, KindCertificate, known.Certificate.Pin())
	if e.Certificate == nil || e.Certificate.SHA256 != known.Certificate.SHA256 || len(e.Certificate.Names) == 0 {
		t.Errorf("the error shows certificate %+v, want %+v", e.Certificate, known.Certificate)
	}
	hints := strings.Join(e.Hints, "\n")
	for _, typed := range []string{"ca: FILE", "--ca FILE", "pin: " + known.Certificate.Pin() + " ", "--pin " + e.Server + "=" + known.Certificate.Pin() + ")"} {
		if !strings.Contains(hints, typed) {
			t.Errorf("%q is not in the hints:\n%s", typed, hints)
		}
	}

	name := ep
	name.ServerName = "qs-rim1.corp.example"
	_, err = Look(t.Context(), name)
	wantError(t, err, KindCertificate, "not for qs-rim1.corp.example: it names example.com")

	pinned := unknown
	pinned.ServerName = "whatever"
	pinned.Pin = known.Certificate.Pin()
	if id, err := Look(t.Context(), pinned); err != nil || id.Verified != "pinned" {
		t.Errorf("pinned: %+v, %v", id, err)
	}
	if s := dial(t, pinned); s.SignIn().Identity != "pinned" {
		t.Errorf("signed in as %+v", s.SignIn())
	}

	accepted, _ := server.Attempts()
	pinned.Roots = ep.Roots // an authority's word does not make up for the wrong certificate
	pinned.ServerName = ""
	pinned.Pin = "sha256:" + strings.Repeat("00", 32)
	_, err = Dial(t.Context(), pinned, administrator)
	if e := wantError(t, err, KindPin, "not the pinned one"); e.Certificate == nil {
		t.Error("the error does not show the certificate")
	}
	for _, pin := range []string{"sha256:", "sha256:00", "md5:00", strings.Repeat("00", 32), "sha256:" + strings.Repeat("x", 64)} {
		pinned.Pin = pin
		_, err = Dial(t.Context(), pinned, administrator)
		wantError(t, err, KindPin, "64 hexadecimal digits")
	}
	pinned.Pin, pinned.HTTPS = known.Certificate.Pin(), false
	_, err = Look(t.Context(), pinned)
	wantError(t, err, KindPin, "needs https")
	if ok, rejected := server.Attempts(); ok != accepted || rejected != 0 {
		t.Errorf("a credential was sent to a server that had not proved who it is")
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	ts := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer ts.Close()
	ep := endpoint(t, ts.Listener, nil)
	ep.HTTPS = false
	_, err := Dial(t.Context(), ep, administrator)
	wantError(t, err, KindRefusedInsecure, "not sent over plain HTTP")
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ep := endpoint(t, l, nil)
	l.Close()
	_, err = Look(t.Context(), ep)
	wantError(t, err, KindRefused, "connection refused")

	ep.Host = "no-such-host.invalid" // RFC 6761: this one never resolves
	_, err = Look(t.Context(), ep)
	wantError(t, err, KindNoName, "does not resolve")

	for _, host := range []string{"", "a b", "host/path", "user@host"} {
		ep.Host = host
		_, err = Look(t.Context(), ep)
		wantError(t, err, KindNoName, "not a host name")
	}
}

func TestNotTLS(t *testing.T) {
	t.Parallel()
	ts := httptest.NewServer(http.NotFoundHandler())
	defer ts.Close()
	_, err := Look(t.Context(), endpoint(t, ts.Listener, nil))
	wantError(t, err, KindNotTLS, "does not speak TLS")

	for _, greeting := range []string{"", "SSH-2.0-OpenSSH_9.2\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(conn, greeting)
				conn.Close()
			}
		}()
		ep := endpoint(t, l, nil)
		_, err = Look(t.Context(), ep)
		wantError(t, err, KindNotTLS, "")
		if ep.HTTPS = false; greeting != "" {
			_, err = Look(t.Context(), ep)
			wantError(t, err, KindNotWinRM, "no answer")
		}
	}
}

// A port that accepts and then says nothing must not cost more than the caller's patience.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = Dial(ctx, endpoint(t, l, nil), administrator)
	wantError(t, err, KindTimeout, "deadline")
	if d := time.Since(began); d > time.Second {
		t.Errorf("returned after %v", d)
	}
}

// fake is a server that answers by the last word of the action: "Create", "Command", "Receive", "Send", "Signal",
// "Delete". It counts what it is asked. An action without an answer gets that of a good server.
type fake struct {
	answers map[string]http.HandlerFunc
	mu      sync.Mutex
	asked   map[string]int
}

var actionForm = regexp.MustCompile(`Action[^>]*>[^<]*/(\w+)<`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	action := "Identify"
	if m := actionForm.FindSubmatch(body); m != nil {
		action = string(m[1])
	}
	f.mu.Lock()
	if f.asked == nil {
		f.asked = map[string]int{}
	}
	f.asked[action]++
	f.mu.Unlock()
	if h := f.answers[action]; h != nil {
		h(w, r)
		return
	}
	reply(200, map[string]string{
		"Create":  `<Shell><ShellId>S</ShellId></Shell>`,
		"Command": `<CommandResponse><CommandId>C</CommandId></CommandResponse>`,
		"Receive": done(0),
	}[action])(w, r)
}

func (f *fake) count(action string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[action]
}

func reply(status int, body string) http.HandlerFunc {
	return raw(status, contentType, `<Envelope><Body>`+body+`</Body></Envelope>`)
}

func raw(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func done(code any) string {
	return fmt.Sprintf(`<ReceiveResponse><CommandState State="x/CommandState/Done"><ExitCode>%v</ExitCode></CommandState></ReceiveResponse>`, code)
}

func faulty(code, text string) http.HandlerFunc {
	return reply(500, fmt.Sprintf(`<Fault><Code><Subcode><Value>w:Some</Value></Subcode></Code><Detail><WSManFault Code="%s"><Message>%s</Message></WSManFault></Detail></Fault>`, code, text))
}

func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		at, code string
		kind     Kind
	}{
		{"Create", "5", KindNotAllowed},
		{"Create", "2147942405", KindNotAllowed},
		{"Create", "2150859180", KindNotAllowed},
		{"Create", "2150859173", KindQuota},
		{"Create", "2150858817", KindFault},
		{"Create", "2150858793", KindFault}, // the time-out is something to go on after only where there is output to wait for
		{"Command", "2147942606", KindFault},
		{"Command", "2150858843", KindFault}, // the shell is gone, so the command did not run
		{"Receive", "5", KindNotAllowed},
		{"Receive", "2150858843", KindLost},
		{"Receive", "995", KindFault},
	} {
		f := &fake{answers: map[string]http.HandlerFunc{test.at: faulty(test.code, "So\x1b[31m, it went wrong.  ")}}
		if test.code == "5" {
			f.answers[test.at] = faulty(test.code, "Access is denied. ")
		} else {
			f.answers[test.at] = faulty(test.code, "So,\n it &#x202e;went wrong.  ")
		}
		ep, _ := serve(t, f)
		s, err := Dial(t.Context(), ep, administrator)
		if err == nil {
			_, err = s.Run(t.Context(), "x", nil, nil, nil)
			s.Close()
		}
		e := wantError(t, err, test.kind, "(fault "+test.code+")")
		if e.Code != test.code {
			t.Errorf("%s: code is %q", test.code, e.Code)
		}
		if n := f.count(test.at); n != 1 {
			t.Errorf("%s at %s: asked %d times", test.code, test.at, n)
		}
	}
}

func TestReceiveGoesOnAfterTimeout(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	f := &fake{answers: map[string]http.HandlerFunc{"Receive": func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) < 4 {
			faulty("2150858793", "not yet")(w, r)
			return
		}
		reply(200, done(7))(w, r)
	}}}
	ep, _ := serve(t, f)
	began := time.Now()
	code, err := dial(t, ep).Run(t.Context(), "x", nil, nil, nil)
	if err != nil || code != 7 {
		t.Errorf("exit code %d, error %v", code, err)
	}
	if d := time.Since(began); d < 3*pace {
		t.Errorf("a server that does not wait was asked 4 times in %v", d)
	}
}

func TestBadAnswers(t *testing.T) {
	t.Parallel()
	html := "<html><h1>\x1b]0;Sign in</h1></html>"
	bad := map[string]http.HandlerFunc{
		"html":             raw(200, "text/html", html),
		"http.sys":         raw(400, "text/html; charset=us-ascii", html),
		"no type":          raw(500, "", ""),
		"redirect":         func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"proxy":            raw(407, "text/plain", ""),
		"empty":            raw(200, contentType, ""),
		"cut off":          raw(200, contentType, "<Envelope><Body><Shell>"),
		"other xml":        raw(200, contentType, "<a/>"),
		"nothing in it":    reply(200, ""),
		"500 without":      reply(500, ""),
		"id of markup":     reply(200, `<Shell><ShellId>a"/&gt;</ShellId></Shell><CommandResponse><CommandId>&lt;</CommandId></CommandResponse><ReceiveResponse><CommandState State="/CommandState/Done"/></ReceiveResponse>`),
		"end without code": reply(200, `<ReceiveResponse><CommandState State="/CommandState/Done"/></ReceiveResponse>`),
		"code no number":   reply(200, done("zero")),
		"code empty":       reply(200, done("")),
		"code too large":   reply(200, done("4294967296")),
		"not base64":       reply(200, `<ReceiveResponse><Stream Name="stdout">?</Stream></ReceiveResponse>`),
		"too long":         raw(200, contentType, "<Envelope><Body>"+strings.Repeat(" ", answerMax)+"</Body></Envelope>"),
		"dropped":          drop,
	}
	for name, h := range bad {
		for _, at := range []string{"Identify", "Create", "Command", "Receive"} {
			t.Run(name+" at "+at, func(t *testing.T) {
				t.Parallel()
				f := &fake{answers: map[string]http.HandlerFunc{at: h}}
				ep, _ := serve(t, f)
				if at == "Identify" {
					_, err := Look(t.Context(), ep)
					var e *Error
					if !errors.As(err, &e) || e.Kind != KindNotWinRM && e.Kind != KindLost {
						t.Fatalf("got %v", err)
					}
					wantError(t, err, e.Kind, "")
					return
				}
				s, err := Dial(t.Context(), ep, administrator)
				if at == "Create" {
					var e *Error
					if !errors.As(err, &e) || e.Kind != KindNotWinRM && e.Kind != KindLost && e.Kind != KindFault {
						t.Fatalf("got %v", err)
					}
					wantError(t, err, e.Kind, "")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				code, err := s.Run(ctx, "x", nil, nil, nil)
				want := KindLost
				if at == "Receive" && name == "nothing in it" {
					want = KindTimeout // a server may say that there is nothing, for ever
				}
				wantError(t, err, want, "")
				if code == 0 {
					t.Error("exit code 0")
				}
				if n := f.count("Command"); n != 1 {
					t.Errorf("the command was sent %d times", n)
				}
				if n := f.count("Receive"); n > 25 {
					t.Errorf("output was asked for %d times", n)
				}
			})
		}
	}
}

func TestNotWinRMSaysWhatItSaw(t *testing.T) {
	t.Parallel()
	ep, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "nginx/1.2 "+strings.Repeat("long", 100))
		raw(404, "text/html", "<html>")(w, r)
	}))
	_, err := Look(t.Context(), ep)
	e := wantError(t, err, KindNotWinRM, "404 Not Found; server nginx/1.2")
	if len(e.Error()) > 300 || len(e.Hints) == 0 {
		t.Errorf("%d characters, hints %q", len(e.Error()), e.Hints)
	}

	ep, _ = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="intranet"`)
		raw(401, "text/html", "<html>")(w, r)
	}))
	_, err = Look(t.Context(), ep)
	wantError(t, err, KindNotWinRM, "something else asks for a sign-in")
}

func TestBasicIsOff(t *testing.T) {
	t.Parallel()
	ep, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Negotiate, Kerberos`)
		w.WriteHeader(401)
	}))
	_, err := Dial(t.Context(), ep, administrator)
	wantError(t, err, KindRejected, "Basic rejected (HTTP 401; the server offers Negotiate, Kerberos)")
}

func TestShellID(t *testing.T) {
	t.Parallel()
	selector := func(id string) string {
		return `<ResourceCreated><ReferenceParameters><SelectorSet><Selector Name="Other">x</Selector><Selector Name="ShellId">` + id + `</Selector></SelectorSet></ReferenceParameters></ResourceCreated>`
	}
	for _, test := range []struct{ body, want string }{
		{selector("\n\t A-1 \n"), "A-1"},
		{`<Shell><ShellId> A-1</ShellId></Shell>`, "A-1"},
		{selector("a-1") + `<Shell><ShellId>A-1</ShellId></Shell>`, "A-1"},
		{selector("B-2") + `<Shell><ShellId>A-1</ShellId></Shell>`, ""},
		{selector(" "), ""},
	} {
		ep, _ := serve(t, &fake{answers: map[string]http.HandlerFunc{"Create": reply(200, test.body)}})
		s, err := Dial(t.Context(), ep, administrator)
		switch {
		case test.want == "" && err == nil:
			t.Errorf("%s: no error", test.body)
		case test.want != "" && (err != nil || s.shell != test.want):
			t.Errorf("%s: got %v, %v", test.body, s, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestDeadServer(t *testing.T) {
	t.Parallel()
	f := &fake{answers: map[string]http.HandlerFunc{}}
	ep, ts := serve(t, f)
	f.answers["Receive"] = func(w http.ResponseWriter, r *http.Request) {
		ts.Listener.Close()
		drop(w, r)
	}
	s := dial(t, ep)
	code, err := s.Run(t.Context(), "x", nil, nil, nil)
	wantError(t, err, KindLost, "whether the command ran to its end is not known")
	if code == 0 {
		t.Error("exit code 0")
	}
}

func TestHungServer(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	halfway := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, "<Envelope>")
		w.(http.Flusher).Flush()
		hang(w, r)
	}
	for name, receive := range map[string]http.HandlerFunc{"no answer": hang, "half an answer": halfway} {
		ep, _ := serve(t, &fake{answers: map[string]http.HandlerFunc{"Receive": receive, "Send": hang, "Signal": hang}})
		s := dial(t, ep)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := s.Run(ctx, "x", nil, nil, nil)
		wantError(t, err, KindTimeout, "deadline")
		if d := time.Since(began); d > time.Second {
			t.Errorf("%s: returned after %v", name, d)
		}
	}

	// Without a deadline, one exchange still has its limit.
	ep, _ := serve(t, &fake{answers: map[string]http.HandlerFunc{"Receive": hang}})
	s := dial(t, ep)
	s.wire.limit = 100 * time.Millisecond
	_, err := s.Run(t.Context(), "x", nil, nil, nil)
	wantError(t, err, KindLost, "no answer in time")
}

func TestInputFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	t.Run("reading", func(t *testing.T) {
		t.Parallel()
		ended := make(chan error, 1)
		ep, _ := lab(t, func(_ context.Context, _ string, stdin io.Reader, _, _ io.Writer) (int, error) {
			_, err := io.ReadAll(stdin)
			ended <- err
			return 0, err
		})
		_, err := dial(t, ep).Run(t.Context(), "x", io.MultiReader(strings.NewReader("half"), iotestErr{broken}), nil, nil)
		wantError(t, err, KindCancelled, "disk on fire")
		if !errors.Is(err, broken) {
			t.Error("the cause is not wrapped")
		}
		if <-ended == nil {
			t.Error("the command took half the input for all of it")
		}
	})
	t.Run("refused, and the command ends", func(t *testing.T) {
		t.Parallel()
		ep, _ := lab(t, func(_ context.Context, _ string, _ io.Reader, stdout, _ io.Writer) (int, error) {
			io.WriteString(stdout, "no, thanks")
			return 4, nil
		})
		var stdout bytes.Buffer
		stdin, w := io.Pipe()
		go func() {
			for {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}()
		code, err := dial(t, ep).Run(t.Context(), "x", stdin, &stdout, nil)
		stdin.Close()
		if code != 4 || err != nil || stdout.String() != "no, thanks" {
			t.Errorf("exit code %d, error %v, stdout %q", code, err, &stdout)
		}
	})
	t.Run("refused, and the command waits", func(t *testing.T) {
		t.Parallel()
		f := &fake{answers: map[string]http.HandlerFunc{
			"Send":    faulty("2150858793", "the pipe is full"),
			"Receive": faulty("2150858793", "not yet"),
		}}
		ep, _ := serve(t, f)
		_, err := dial(t, ep).Run(t.Context(), "x", strings.NewReader("input"), nil, nil)
		wantError(t, err, KindFault, "the pipe is full")
		if n := f.count("Send"); n != 1 {
			t.Errorf("input was sent %d times", n)
		}
		if f.count("Signal") != 1 {
			t.Error("the command was not ended")
		}
	})
}

type iotestErr struct{ err error }

func (r iotestErr) Read([]byte) (int, error) { return 0, r.err }

func TestOutputFails(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	ep, _ := lab(t, func(ctx context.Context, _ string, _ io.Reader, stdout, _ io.Writer) (int, error) {
		io.WriteString(stdout, "hello")
		<-ctx.Done()
		close(ended)
		return 0, nil
	})
	r, w := io.Pipe()
	r.CloseWithError(os.ErrClosed)
	_, err := dial(t, ep).Run(t.Context(), "x", nil, w, nil)
	wantError(t, err, KindCancelled, "writing a command's output")
	if !errors.Is(err, os.ErrClosed) {
		t.Error("the cause is not wrapped")
	}
	<-ended
}

func TestPasswordDoesNotShow(t *testing.T) {
	t.Parallel()
	ep, _ := lab(t, nil)
	s := dial(t, ep)
	for _, v := range []any{administrator, &administrator, administrator.Password, ep, s, struct{ S *Session }{s}, s.SignIn(), struct{ C Credential }{administrator}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			noCanary(t, fmt.Sprintf(verb, v))
		}
	}
	b, err := json.Marshal([]any{administrator, s})
	if err != nil || !strings.Contains(string(b), "********") {
		t.Errorf("as JSON: %s, %v", b, err)
	}
	noCanary(t, string(b))
	if administrator.Password.Reveal() != canary {
		t.Error("not revealed either")
	}
}

func TestDecodeFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, fault, header, want string }{
		{"deepest text", `<Detail><WSManFault Code="1"><Message> <ProviderFault> <WSManFault Code="2"><Message>deep </Message></WSManFault></ProviderFault></Message></WSManFault></Detail><Reason><Text>general</Text></Reason>`, "", "1 n deep"},
		{"provider's text", `<Detail><WSManFault Code=" 87 "><Message><ProviderFault>theirs</ProviderFault></Message></WSManFault></Detail>`, "", "87 n theirs"},
		{"reason only", `<Reason><Text>general</Text></Reason>`, "", " n general"},
		{"a quota's", `<Detail><MSFT_WmiError><error_Code>2150859173</error_Code><Message>too many</Message></MSFT_WmiError></Detail><Reason><Text>general</Text></Reason>`, "", "2150859173 n too many"},
		{"not understood", ``, `<NotUnderstood qname="w:Odd"/>`, " n "},
		{"nothing", ``, ``, " n "},
	} {
		a, err := decode([]byte(`<Envelope><Header>` + test.header + `</Header><Body><Fault><Code><Value>v</Value><Subcode><Value>n</Value></Subcode></Code>` + test.fault + `</Fault></Body></Envelope>`))
		if err != nil || a.fault == nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := a.fault.code + " " + a.fault.name + " " + a.fault.text; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	a, err := decode([]byte(`<Envelope><Header><NotUnderstood qname="w:Odd"/></Header><Body><Fault><Code><Value>s:MustUnderstand</Value></Code></Fault></Body></Envelope>`))
	if err != nil || a.fault == nil || a.fault.name != "s:MustUnderstand w:Odd" {
		t.Errorf("not understood: %+v, %v", a.fault, err)
	}
}

func TestDecodeExitCode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"0": 0, " 123\n": 123, "-1": -1, "4294967295": 4294967295, "3221225786": 3221225786} {
		a, err := decode([]byte(`<Envelope><Body>` + done(text) + `</Body></Envelope>`))
		if err != nil || !a.done || a.exit != want {
			t.Errorf("%q: got %+v, %v", text, a, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		"", "<Envelope/>", done(1),
		`<Shell><ShellId> x </ShellId></Shell>`,
		`<Fault><Detail><WSManFault Code="5"/></Detail></Fault>`,
		`<ReceiveResponse><Stream Name="stdout"> aGk= </Stream></ReceiveResponse>`,
		`<IdentifyResponse><ProductVendor>v</ProductVendor></IdentifyResponse>`,
	} {
		f.Add([]byte(body))
		f.Add([]byte(`<Envelope><Body>` + body + `</Body></Envelope>`))
	}
	w := &wire{server: "s"}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decode(body)
		if err != nil {
			if clean(err.Error(), 10000) != err.Error() {
				t.Errorf("%q is not fit to be printed", err)
			}
			return
		}
		if !idForm.MatchString(a.shell) || !idForm.MatchString(a.command) {
			t.Errorf("ids %q and %q", a.shell, a.command)
		}
		if a.fault != nil {
			if s := w.faultError("d", a.fault).Error(); strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q is not fit to be printed", s)
			}
		}
	})
}
