package script_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// oneTime is a password that has to be escaped wherever it stands. core is what no form of it escapes.
const (
	core    = "QlikRim04"
	oneTime = secret.Text("ä&+%\"\\ \t€=?#/;:@$,<>{}[]|^`~-_." + core)
)

// overheard keeps what a PowerShell prints.
type overheard struct {
	powerShell
	out, errout bytes.Buffer
}

func (o *overheard) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return o.powerShell.Run(ctx, command, stdin, io.MultiWriter(stdout, &o.out), io.MultiWriter(stderr, &o.errout))
}

// silent checks, after the end, that nothing that was printed has anything of the password.
func (o *overheard) silent(t *testing.T) {
	t.Helper()
	for _, s := range []string{o.out.String(), o.errout.String()} {
		if strings.Contains(s, core) || strings.Contains(s, "__pwd") || strings.Contains(s, "%26%2B%25") || strings.Contains(s, "<>{}") {
			t.Errorf("the script printed the password:\n%s", s)
		}
	}
	if !strings.Contains(o.out.String(), "#pf 0 ") {
		t.Errorf("the script printed nothing: %q", &o.out)
	}
}

// port serves one port of a rim to itself: each request is answered by the next of its handlers.
type port struct {
	*httptest.Server
	next chan http.HandlerFunc
}

// servePort serves one method and path.
func servePort(t *testing.T, method, path string) port {
	t.Helper()
	p := port{next: make(chan http.HandlerFunc, 1)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method || r.URL.String() != path {
			t.Errorf("%s %s was asked; want %s %s", r.Method, r.URL, method, path)
		}
		select {
		case answer := <-p.next:
			answer(w, r)
		default:
			t.Errorf("%s %s was asked once more", r.Method, r.URL)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// answers says how the next request is answered.
func (p port) answers(h http.HandlerFunc) {
	select {
	case <-p.next: // the last one never came
	default:
	}
	p.next <- h
}

func (p port) number(t *testing.T) uint16 {
	t.Helper()
	_, s, err := net.SplitHostPort(p.Listener.Addr().String())
	n, err2 := strconv.ParseUint(s, 10, 16)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

func page(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// moved sends the client elsewhere, with a page of its own.
func moved(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", "/elsewhere")
	page(http.StatusFound, "it is elsewhere")(w, r)
}

// endless writes until nobody reads it any more.
func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := io.WriteString(w, strings.Repeat("ü", 1000)); err != nil {
			return
		}
	}
}

// rim is a server whose repository service is that of the test, on its ports 4444 and 4570.
func rim(t *testing.T, state, unlock string) *overheard {
	t.Helper()
	p := standIns(t)
	p.put(t, "http", fmt.Sprintf("4444 %s\n4570 %s\n", state, unlock))
	return &overheard{powerShell: p}
}

// TestPowerShellSetup: one conversation with a repository service.
func TestPowerShellSetup(t *testing.T) {
	t.Parallel()
	if n := utf8.RuneCountInString(oneTime.Reveal()); n != 40 {
		t.Fatalf("the password has %d characters", n)
	}
	state, unlock := servePort(t, "GET", "/status/servicestate"), servePort(t, "POST", "/certificateSetup")
	o := rim(t, fmt.Sprint(state.number(t)), fmt.Sprint(unlock.number(t)))
	s := script.StartSetup(t.Context(), o)

	for _, test := range []struct {
		answer  http.HandlerFunc
		want    facts.ServiceState
		unknown string
	}{
		{page(200, `{"value":1}`), facts.CertificatesNotInstalled, ""},
		{page(503, "<html>\r\nnot yet, für später</html>"), 0, "port 4444 answered HTTP 503: <html> not yet, für später</html>"},
		{moved, 0, "port 4444 answered HTTP 302: it is elsewhere"},
		{endless, 0, "port 4444 answered HTTP 200: " + strings.Repeat("ü", 80)},
		{page(200, `{"value":2}`), facts.Running, ""},
	} {
		state.answers(test.answer)
		got, err := s.State()
		if err != nil || got.OK() != (test.unknown == "") || got.V != test.want || got.Unknown != test.unknown {
			t.Errorf("State = %+v, %v; want %v, or unknown: %s", got, err, test.want, test.unknown)
		}
	}

	open, err := s.Listening()
	if err != nil || !open[state.number(t)] || !open[unlock.number(t)] || open[1] {
		t.Errorf("Listening = %v, %v; want those of the test", open, err)
	}

	const unlocked = "<html><body>The certificate was successfully unlocked, für immer.\r\n</body></html>"
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		text   string
	}{
		{"unlocked", page(200, unlocked), 200, unlocked},
		{"wrong password", page(200, "Wrong password, try again"), 200, "Wrong password, try again"},
		{"an error", page(500, "<h1>Server Error</h1>"), 500, "<h1>Server Error</h1>"},
		{"an error that says nothing", page(404, ""), 404, ""},
		{"elsewhere", moved, 302, "it is elsewhere"},
		{"endless", endless, 200, strings.Repeat("ü", 3000)}, // what was cut off may end within the password
		{"4000 characters", page(200, strings.Repeat("x", 3999)+"€"), 200, strings.Repeat("x", 3000)},
		{"3999 characters", page(200, strings.Repeat("x", 3998)+"€"), 200, strings.Repeat("x", 3998) + "€"},
	} {
		unlock.answers(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			want := "__pwd=" + strings.ReplaceAll(url.QueryEscape(oneTime.Reveal()), "+", "%20")
			if string(body) != want || err != nil {
				t.Errorf("%s: the body is %q (%v), want %q", test.name, body, err, want)
			}
			if form, err := url.ParseQuery(string(body)); err != nil || form.Get("__pwd") != oneTime.Reveal() {
				t.Errorf("%s: a server reads the password as %q (%v)", test.name, form, err)
			}
			if kind := r.Header.Get("Content-Type"); kind != "application/x-www-form-urlencoded" || r.ContentLength != int64(len(want)) {
				t.Errorf("%s: the body is of kind %q, and its length %d", test.name, kind, r.ContentLength)
			}
			test.answer(w, r)
		})
		status, text, err := s.Unlock(oneTime)
		if status != test.status || text != test.text || err != nil {
			t.Errorf("%s: Unlock = %d, %.100q, %v", test.name, status, text, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	o.silent(t)
}

// TestPowerShellSetupNobody: a service that does not answer is no end of the conversation.
func TestPowerShellSetupNobody(t *testing.T) {
	t.Parallel()
	o := rim(t, "1", "1") // where nobody listens
	s := script.StartSetup(t.Context(), o)
	for range 2 {
		if state, err := s.State(); err != nil || state.OK() || state.Unknown == "" {
			t.Errorf("State = %+v, %v; want unknown", state, err)
		}
		status, text, err := s.Unlock(oneTime)
		var said *script.Error
		if status != 0 || text != "" || !errors.As(err, &said) || !strings.HasSuffix(said.Type, ".SocketException") || said.Message == "" {
			t.Errorf("Unlock = %d, %q, %#v; want the server's word", status, text, err)
		}
	}
	if open, err := s.Listening(); err != nil || open[1] {
		t.Errorf("Listening = %v, %v", open, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	o.silent(t)
}

// TestPowerShellSetupGarbage: what setup does not do is refused, and it goes on; its input may end anywhere.
func TestPowerShellSetupGarbage(t *testing.T) {
	t.Parallel()
	state := servePort(t, "GET", "/status/servicestate")
	o := rim(t, fmt.Sprint(state.number(t)), "1")
	c := script.Start(t.Context(), o, script.SetupOp, time.Minute)
	for _, f := range []script.Frame{{"garbage"}, {"STATE"}, {"Unlock"}, {""}, {"$(exit)", "x"}, {"http://localhost:1/"}} {
		c.Send(f...)
		if got, err := c.Next(); err != nil || got.Kind() != "failed" || got.Field(1) != "unknown" || got.Field(5) != "not something that setup does" {
			t.Fatalf("%q: %q, %v; want a refusal", f, got, err)
		}
	}
	state.answers(page(200, `{"value":0}`))
	c.Send("state", "4570", "http://localhost:1/")
	if got, err := c.Next(); err != nil || got.Kind() != "state" || got.Field(2) != `{"value":0}` {
		t.Errorf("state: %q, %v", got, err)
	}
	c.Send("unlock")
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if printed := o.out.String(); !strings.Contains(printed, "failed\tunlock\t") || !strings.Contains(printed, "no password came") || !strings.HasSuffix(strings.TrimSpace(printed), " end\tok") {
		t.Errorf("without a password's line, setup printed:\n%s", printed)
	}
}
