package script

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// asked checks what the server was asked.
func (k *talk) asked(want ...string) {
	k.t.Helper()
	if f := k.read(); !slices.Equal(f, want) {
		k.t.Errorf("the server was asked %q, want %q", f, want)
	}
}

// setUp starts a setup with a server that is asked once, and gives these answers.
func setUp(t *testing.T, asked [][]string, answers ...[]string) *Setup {
	t.Helper()
	return StartSetup(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		for _, f := range asked {
			k.asked(f...)
		}
		if answers == nil {
			return 255, nil
		}
		for _, f := range answers {
			k.send(f...)
		}
		if f := k.read(); f.Kind() != "end of input" {
			t.Errorf("the server was asked %q as well", f)
		}
		if answers[len(answers)-1][0] != "end" {
			k.send("end", "ok")
		}
		return 0, nil
	}))
}

// failure is the rest of a frame that says why something failed.
var failure = []string{"System.Net.Sockets.SocketException", "80004005", "NotSpecified", "No connection could be\r\nmade\x1b[0m"}

const failureText = "No connection could be made[0m (0x80004005)"

// setupEnds are the ways in which any question stays without its answer.
var setupEnds = []struct {
	name    string
	answers [][]string
	error   string
	is      error
}{
	{"an answer to something else", [][]string{{"perhaps\x1b", "200", "{}"}}, "an answer to something else: perhaps", nil},
	{"something else failed", [][]string{append([]string{"failed", "unknown"}, failure...)}, "an answer to something else: failed", nil},
	{"the script failed", [][]string{append([]string{"end", "error"}, failure...)}, failureText, nil},
	{"the script ended", [][]string{{"end", "ok"}}, "without its last frame", ErrEnded},
	{"the process died", nil, "exit code 255", ErrEnded},
}

// ended checks an error that is not the server's word on what it was asked.
func ended(t *testing.T, name string, err error, want string, is error) {
	t.Helper()
	var said *Error
	switch {
	case err == nil:
		t.Errorf("%s: no error", name)
	case errors.As(err, &said):
		t.Errorf("%s: %v is taken for the server's word on what it was asked", name, err)
	case !strings.HasPrefix(err.Error(), "setup: ") || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\r\n\x1b"):
		t.Errorf("%s: error %q; want one plain line of setup with %q", name, err, want)
	case is != nil && !errors.Is(err, is):
		t.Errorf("%s: %v is not %v", name, err, is)
	}
}

func TestSetupState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answer  []string
		want    facts.ServiceState
		unknown string // "" if it is known
	}{
		{"initialising", []string{"state", "200", `{"value":0}`}, facts.Initialising, ""},
		{"waiting", []string{"state", "200", `{"value":1}`}, facts.CertificatesNotInstalled, ""},
		{"running", []string{"state", "200", "{ \"value\" : 2 }\r\n"}, facts.Running, ""},
		{"another value", []string{"state", "200", `{"value":3}`}, 0, `port 4444 answered HTTP 200: {"value":3}`},
		{"a page", []string{"state", "404", "<html>\r\nnothing\x1b[0m here"}, 0, "port 4444 answered HTTP 404: <html> nothing[0m here"},
		{"a running one that failed", []string{"state", "500", `{"value":2}`}, 0, "port 4444 answered HTTP 500"},
		{"no words", []string{"state"}, 0, "port 4444 answered HTTP"},
		{"failed", append([]string{"failed", "state"}, failure...), 0, "No connection could be made[0m"},
	} {
		s := setUp(t, [][]string{{"state"}}, test.answer)
		state, err := s.State()
		if err != nil || state.OK() != (test.unknown == "") || state.V != test.want || !strings.Contains(state.Unknown, test.unknown) || strings.ContainsAny(state.Unknown, "\r\n\x1b") {
			t.Errorf("%s: State = %+v, %v; want %v, or %q", test.name, state, err, test.want, test.unknown)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close = %v", test.name, err)
		}
	}
	for _, end := range setupEnds {
		state, err := setUp(t, [][]string{{"state"}}, end.answers...).State()
		ended(t, end.name, err, end.error, end.is)
		if state.OK() || !strings.Contains(state.Unknown, end.error) || strings.ContainsAny(state.Unknown, "\r\n\x1b") {
			t.Errorf("%s: State = %+v; want unknown: … %s", end.name, state, end.error)
		}
	}
	// An answer to another question says nothing of the state.
	state, err := setUp(t, [][]string{{"state"}}, []string{"unlock", "200", `{"value":2}`}).State()
	if ended(t, "the wrong answer", err, "an answer to something else: unlock", nil); state.OK() {
		t.Errorf("the wrong answer: State = %+v", state)
	}
}

func TestSetupListening(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, ports string
		want        []uint16
		error       string
	}{
		{"some", "4444 135 65535 4570", []uint16{135, 4444, 4570, 65535}, ""},
		{"spaces", "  4444   4570 ", []uint16{4444, 4570}, ""},
		{"none", "", nil, ""},
		{"too high", "4444 65536", nil, "not a port: 65536"},
		{"below zero", "-1", nil, "not a port: -1"},
		{"a word", "4444 4570\x1b[0m", nil, "not a port: 4570[0m"},
	} {
		s := setUp(t, [][]string{{"ports"}}, []string{"ports", test.ports})
		open, err := s.Listening()
		if got := slices.Sorted(maps.Keys(open)); !slices.Equal(got, test.want) || (err != nil) != (test.error != "") || slices.Contains(slices.Collect(maps.Values(open)), false) {
			t.Errorf("%s: Listening = %v, %v; want %v", test.name, open, err, test.want)
		}
		if err != nil {
			ended(t, test.name, err, test.error, nil)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close = %v", test.name, err)
		}
	}
	open, err := setUp(t, [][]string{{"ports"}}, append([]string{"failed", "ports"}, failure...)).Listening()
	var said *Error
	if open != nil || !errors.As(err, &said) || said.Op != "setup" || said.HResult != "80004005" || !strings.Contains(err.Error(), failureText) {
		t.Errorf("failed: Listening = %v, %#v; want the server's word", open, err)
	}
	for _, end := range append(slices.Clone(setupEnds), struct {
		name    string
		answers [][]string
		error   string
		is      error
	}{"the state failed", [][]string{append([]string{"failed", "state"}, failure...)}, "an answer to something else: failed", nil}) {
		open, err := setUp(t, [][]string{{"ports"}}, end.answers...).Listening()
		if ended(t, end.name, err, end.error, end.is); open != nil {
			t.Errorf("%s: Listening = %v", end.name, open)
		}
	}
}

// password is one that every form of text writes otherwise.
const password = secret.Text("Ätsch&<Bätsch>+\"50 %\\'€=𝄞/ende")

// shows tells whether a text has anything of the password in it.
func shows(s string) bool {
	return strings.Contains(s, "tsch") || strings.Contains(s, "/ende") || strings.Contains(s, "50")
}

func TestSetupUnlock(t *testing.T) {
	t.Parallel()
	unlock := [][]string{{"unlock"}, {password.Reveal()}}
	for _, test := range []struct {
		name, status, text string
		wantStatus         int
		wantText           string
	}{
		{"unlocked", "200", "<html>The service is successfully unlocked.</html>", 200, "<html>The service is successfully unlocked.</html>"},
		{"wrong", "200", "Wrong pass", 200, "Wrong pass"},
		{"not there", "404", "", 404, ""},
		{"a server error that names it", "500", "Exception: " + password.Reveal() + "\r\n at Setup", 500, "Exception: ********\r\n at Setup"},
	} {
		s := setUp(t, unlock, []string{"unlock", test.status, test.text})
		status, text, err := s.Unlock(password)
		if err != nil || status != test.wantStatus || text != test.wantText {
			t.Errorf("%s: Unlock = %d, %q, %v; want %d, %q", test.name, status, text, err, test.wantStatus, test.wantText)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: Close = %v", test.name, err)
		}
	}

	// The server's word that it failed, which may name the password too.
	_, text, err := setUp(t, unlock, []string{"failed", "unlock", "System.Net.WebException", "80131509", "NotSpecified", "cannot send __pwd=" + password.Reveal()}).Unlock(password)
	var said *Error
	if text != "" || !errors.As(err, &said) || said.Type != "System.Net.WebException" || err.Error() != "setup: cannot send __pwd=******** (0x80131509)" {
		t.Errorf("failed: Unlock = %q, %#v", text, err)
	}
	for _, status := range []string{"", "OK", "200 OK", "99999999999999999999"} {
		code, text, err := setUp(t, unlock, []string{"unlock", status, "successfully unlocked"}).Unlock(password)
		if ended(t, status, err, "not an HTTP status: "+status, nil); code != 0 || text != "" {
			t.Errorf("status %q: Unlock = %d, %q", status, code, text)
		}
	}
	for _, end := range setupEnds {
		code, text, err := setUp(t, unlock, end.answers...).Unlock(password)
		if ended(t, end.name, err, end.error, end.is); code != 0 || text != "" || shows(err.Error()) {
			t.Errorf("%s: Unlock = %d, %q, %v", end.name, code, text, err)
		}
	}
}

// TestSetupHidesThePassword: a page that holds the password is told without it, whoever has written it there and how.
func TestSetupHidesThePassword(t *testing.T) {
	t.Parallel()
	p := password.Reveal()
	for name, written := range map[string]string{
		"plain":   p,
		"a query": url.QueryEscape(p),
		"a path":  url.PathEscape(p),
		"a query in lower case, as HttpUtility.UrlEncode writes it": strings.ToLower(url.QueryEscape("Ä")) + strings.NewReplacer("%C3%A4", "%c3%a4", "%3C", "%3c", "%3E", "%3e", "%2B", "%2b", "%25", "%25", "%5C", "%5c", "%E2%82%AC", "%e2%82%ac", "%3D", "%3d", "%F0%9D%84%9E", "%f0%9d%84%9e", "%2F", "%2f").Replace(url.QueryEscape(strings.TrimPrefix(p, "Ä"))),
		"Uri.EscapeDataString": strings.ReplaceAll(url.QueryEscape(p), "+", "%20"),
		"every byte escaped":   fmt.Sprintf("%%%s", strings.ReplaceAll(fmt.Sprintf("% X", p), " ", "%")),
		"HTML":                 html.EscapeString(p),
		"HTML as HttpUtility.HtmlEncode writes it": strings.NewReplacer("Ä", "&#196;", "ä", "&#228;", "&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "𝄞", "&#119070;").Replace(p),
		"HTML with names":                          strings.NewReplacer("Ä", "&Auml;", "ä", "&auml;", "&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "€", "&euro;").Replace(p),
		"HTML in hexadecimal":                      strings.NewReplacer("Ä", "&#xC4;", "ä", "&#x00e4;", "&", "&#x26;", "<", "&#X3c;", ">", "&#x3E;", `"`, "&#x22;", "€", "&#x20AC;").Replace(p),
		"JSON":                                     strings.NewReplacer(`\`, `\\`, `"`, `\"`, "/", `\/`).Replace(p),
		"JSON in ASCII": strings.NewReplacer(`\`, `\\`, `"`, `\u0022`, "Ä", `\u00C4`, "ä", `\u00e4`, "&", `\u0026`, "<", `\u003c`, ">", `\u003E`,
			"'", `\u0027`, "+", `\u002b`, "€", `\u20AC`, "𝄞", `\ud834\udd1e`).Replace(p),
	} {
		page := "before " + written + " between " + written + written + " after"
		_, text, err := setUp(t, [][]string{{"unlock"}, {p}}, []string{"unlock", "200", page}).Unlock(password)
		if want := "before ******** between **************** after"; err != nil || text != want {
			t.Errorf("%s: %s\nis told as %q (%v)", name, page, text, err)
		}
	}

	// Where the script cuts a page off, half the password may stand; what is told of it ends before that.
	long := strings.Repeat("x", 3980) + p
	_, text, err := setUp(t, [][]string{{"unlock"}, {p}}, []string{"unlock", "200", string([]rune(long)[:4000])}).Unlock(password)
	if err != nil || shows(text) || len(text) < 2000 {
		t.Errorf("a page cut off is told as …%s (%v)", text[max(0, len(text)-100):], err)
	}
	long = strings.Repeat("x", 3999)
	if _, text, _ := setUp(t, [][]string{{"unlock"}, {p}}, []string{"unlock", "200", long}).Unlock(password); text != long {
		t.Errorf("of a page that came whole %d characters are told", len(text))
	}

	// What the server prints besides may hold it in pieces, as where a console breaks lines.
	for name, print := range map[string]func(k *talk, s string){
		"noise":  func(k *talk, s string) { k.print(s) },
		"stderr": func(k *talk, s string) { io.WriteString(k.errout, s) },
	} {
		for _, of := range []string{"asked", "closed"} {
			s := StartSetup(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
				k.asked("unlock")
				k.asked(p)
				if of == "closed" {
					k.send("unlock", "200", "")
				}
				print(k, "not understood: "+p[:len(p)/2]+"\r\n"+p[len(p)/2:]+"\r\n")
				return 1, nil
			}))
			_, _, err := s.Unlock(password)
			if of == "closed" {
				err = s.Close()
			}
			if !errors.Is(err, ErrEnded) || shows(err.Error()) {
				t.Errorf("%s, when it is %s: %v", name, of, err)
			}
		}
	}
	s := StartSetup(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		k.asked("unlock")
		k.asked(p)
		k.send("unlock", "200", "")
		return 0, errors.New("lost after " + p)
	}))
	s.Unlock(password)
	if err := s.Close(); err == nil || shows(err.Error()) {
		t.Errorf("lost: Close = %v", err)
	}

	// Nor does any other word of the server's hold it, whatever becomes of the question.
	echo := append(slices.Clone(failure[:3]), "pwd="+p+" is wrong")
	far := append(slices.Clone(failure[:3]), strings.Repeat("x", 280)+p) // a line is cut off after 300
	for name, answers := range map[string][][]string{
		"it failed":                    {append([]string{"failed", "unlock"}, echo...)},
		"the script failed":            {append([]string{"end", "error"}, echo...)},
		"it failed, at length":         {append([]string{"failed", "unlock"}, far...)},
		"the script failed, at length": {append([]string{"end", "error"}, far...)},
		"an answer to something else":  {{p}},
		"another answer, at length":    {{strings.Repeat("x", 280) + p}},
		"no status":                    {{"unlock", p, "page"}},
	} {
		_, _, err := setUp(t, [][]string{{"unlock"}, {p}}, answers...).Unlock(password)
		if err == nil || shows(err.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is not the whole of it stays, or a page would not be readable.
	for _, test := range []struct{ password, text, want string }{
		{"abc", "ab bc ABC a b c successfully unlocked", "ab bc ABC a b c successfully unlocked"},
		{"a.c", "abc a.c", "abc ********"},
		{"a b", "a+b a b a%20b ab a\u00a0b", "******** ******** ******** ab a\u00a0b"},
		{"pw&", "pw&amp; pw& pw", "******** ******** pw"},
		{"a&amp;b", "a&amp;b a&amp;amp;b", "******** ********"},
		{`\E(?i)x`, `\E(?i)x \E(?i)X x`, `******** \E(?i)X x`},
		{"\xff", "a \ufffd b", "a ******** b"},
		{"", "all of it", "all of it"},
		{strings.Repeat("x", 1000), "a " + strings.Repeat("x", 1000) + " b", "a ******** b"},
		{strings.Repeat("x", 1001), "a page", ""},
	} {
		if got := without(test.text, secret.Text(test.password)); got != test.want {
			t.Errorf("%q without %.20q = %q, want %q", test.text, test.password, got, test.want)
		}
	}
}

// TestSetupTalks: one process answers one question after the other, also after one that failed, until it is closed.
func TestSetupTalks(t *testing.T) {
	t.Parallel()
	over := make(chan bool)
	s := StartSetup(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		defer close(over)
		if strings.TrimRight(k.text, "\n") != strings.TrimRight(SetupOp.Text, "\n") || k.seconds != "1800" {
			t.Errorf("deadline %q, script:\n%s", k.seconds, k.text)
		}
		k.asked("state")
		k.send(append([]string{"failed", "state"}, failure...)...)
		k.asked("state")
		k.send("state", "200", `{"value":1}`)
		k.asked("ports")
		k.send("ports", "4444 4570")
		k.asked("unlock")
		k.asked("first")
		k.send(append([]string{"failed", "unlock"}, failure...)...)
		k.asked("unlock")
		k.asked("a\tb\\c\n")
		k.send("unlock", "200", "successfully unlocked")
		k.asked("end of input")
		k.send("end", "ok")
		return 0, nil
	}))
	if state, err := s.State(); err != nil || state.OK() {
		t.Errorf("State = %+v, %v; want unknown", state, err)
	}
	if state, err := s.State(); err != nil || !state.OK() || state.V != facts.CertificatesNotInstalled {
		t.Errorf("State = %+v, %v", state, err)
	}
	if open, err := s.Listening(); err != nil || !open[4570] || open[443] {
		t.Errorf("Listening = %v, %v", open, err)
	}
	var said *Error
	if _, _, err := s.Unlock("first"); !errors.As(err, &said) {
		t.Errorf("Unlock = %v; want the server's word", err)
	}
	if status, text, err := s.Unlock("a\tb\\c\n"); err != nil || status != 200 || text != "successfully unlocked" {
		t.Errorf("Unlock = %d, %q, %v", status, text, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	<-over
	if state, err := s.State(); err == nil || state.OK() {
		t.Errorf("State after Close = %+v, %v", state, err)
	}
	if _, _, err := s.Unlock(password); !errors.Is(err, ErrEnded) || shows(err.Error()) {
		t.Errorf("Unlock after Close = %v; want ErrEnded", err)
	}
}

// TestSetupClose: it says how the conversation ended.
func TestSetupClose(t *testing.T) {
	t.Parallel()
	s := StartSetup(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		k.asked("end of input")
		k.send(append([]string{"end", "error"}, failure...)...)
		return 1, nil
	}))
	var said *Error
	if err := s.Close(); !errors.As(err, &said) || !strings.Contains(err.Error(), failureText) {
		t.Errorf("Close = %v; want the script's own error", err)
	}
	if err := setUp(t, nil).Close(); !errors.Is(err, ErrEnded) {
		t.Errorf("Close = %v; want ErrEnded", err)
	}
	broken := StartSetup(t.Context(), fake(func(context.Context, string, io.Reader, io.Writer, io.Writer) (int, error) { return 0, errBroken }))
	if _, err := broken.Listening(); !errors.Is(err, errBroken) {
		t.Errorf("Listening = %v; want what broke", err)
	}
	if err := broken.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close = %v; want what broke", err)
	}
}

// TestSetupCancel: a question that nobody answers ends with the context.
func TestSetupCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := StartSetup(ctx, serve(t, func(ctx context.Context, k *talk) (int, error) {
		k.asked("unlock")
		k.asked(password.Reveal())
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	if _, _, err := s.Unlock(password); !errors.Is(err, context.Canceled) || shows(err.Error()) {
		t.Errorf("Unlock = %v; want context.Canceled", err)
	}
}
