package script

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// keeping is a server of which the transcripts are kept.
type keeping struct {
	Runner
	kept chan Transcript
}

func keep(r Runner) keeping { return keeping{r, make(chan Transcript, 1)} }

func (k keeping) Keep(op Op) func(Transcript) {
	return func(t Transcript) {
		if t.Op != op {
			t.Op = Op{Name: "not what was announced"}
		}
		k.kept <- t
	}
}

// marked are a transcript's lines without their times.
func (t Transcript) marked() []string {
	var out []string
	for _, l := range t.Lines {
		out = append(out, string(l.Mark)+" "+l.Text)
	}
	return out
}

// TestTranscript: the bytes of the file, for a conversation that has everything in it.
func TestTranscript(t *testing.T) {
	t.Parallel()
	r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
		k.print("Willkommen, Jörg \x1b[2J\r\n")
		k.asked("peer", "qs-rim1", "qs-rim1.corp.example")
		k.send("rule", "local", "{5d0a}", `v2.29|App=C:\Größe.exe|`)
		k.asked("unlock")
		k.asked("pass&word")
		k.send("unlock", "200", "<p>pass&amp;word is right</p>")
		k.print("PS> pass&\r\nword\r\n")
		k.print("#pf 9 1 00000000 x\n")
		io.WriteString(k.errout, "a trace of pass&word")
		k.send("end", "ok")
		k.print("cut off")
		k.drain()
		return 3, nil
	}))
	c := Start(t.Context(), r, testOp, 90*time.Second)
	c.Send("peer", "qs-rim1", "qs-rim1.corp.example")
	next(t, c, "rule", "local", "{5d0a}", `v2.29|App=C:\Größe.exe|`)
	c.Send("unlock")
	c.SendSecret("pass&word")
	next(t, c, "unlock", "200", "<p>pass&amp;word is right</p>")
	if _, err := c.Next(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Next = %v", err)
	}
	got := <-r.kept
	if got.Began.IsZero() || time.Since(got.Began) < got.Took {
		t.Errorf("it began %v and took %v", got.Began, got.Took)
	}
	for i := range got.Lines {
		if at := got.Lines[i].At; at > got.Took || i > 0 && at < got.Lines[i-1].At {
			t.Errorf("line %d came after %v, of %v in all", i, at, got.Took)
		}
	}
	got.Began, got.Took = time.Date(2026, 11, 24, 11, 20, 10, 114_500_000, time.FixedZone("", 3600)), 2041*time.Millisecond
	for i := range got.Lines {
		got.Lines[i].At = time.Duration(i*i) * 25 * time.Millisecond
	}
	want := `run      finance-bi-20261124-1018
server   qs-rim1[31m
script   try
sha256   ` + testOp.SHA256() + `
began    2026-11-24T10:20:10.114Z
took     2041 ms
ended    exit code 3
stderr   <redacted>

  Milliseconds since it began; > a line that was sent, after the script itself,
  < an answer, ? something else that was printed. Fields are separated by tabs;
  \\ is a backslash, \uXXXX a character by its number.

      0 > start	<redacted>	90
     25 > peer	qs-rim1	qs-rim1.corp.example
    100 ? Willkommen, J\u00f6rg \u001b[2J
    225 < rule	local	{5d0a}	v2.29|App=C:\\Gr\u00f6\u00dfe.exe|
    400 > unlock
    625 > <redacted>
    900 < unlock	200	<p><redacted> is right</p>
   1225 ? <redacted>
   1600 ? <redacted>
   2025 ? <redacted>
   2500 < end	ok
   3025 ? <redacted>
`
	if diff := cmp.Diff(want, string(got.Text([2]string{"run", "finance-bi-20261124-1018"}, [2]string{"server", "qs-rim1\x1b[31m"}))); diff != "" {
		t.Errorf("the transcript (-want +got):\n%s", diff)
	}
	long := strings.Repeat("ä", 2*pageLimit)
	line := func(warned bool) string {
		_, text := answer(taped{text: "x", warned: warned}, func(s string) string { return s }, func(string) (Frame, bool) { return Frame{"rule", long}, true })
		return text
	}
	if line(false) != (Frame{"rule", long}).Line() || line(true) != (Frame{"rule", long[:2*pageLimit] + "…"}).Line() {
		t.Error("a long answer is not whole, or one that comes after a password is")
	}
	got.Left, got.LeftBytes, got.Stderr = 12, 345, ""
	if text := string(got.Text()); !strings.HasSuffix(text, "<redacted>\n\n  12 more lines, 345 bytes, are not kept\n") || strings.Contains(text, "stderr") {
		t.Errorf("cut short:\n%s", text)
	}
}

// TestTranscriptOfEach: what each operation is sent stands in its transcript, but for what is secret.
func TestTranscriptOfEach(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("10.1.0.21")
	for _, test := range []struct {
		op     Op
		do     func(ctx context.Context, r Runner)
		answer []string // to each line
		want   []string
	}{
		{InspectOp, func(ctx context.Context, r Runner) { Inspect(ctx, r, true, []Peer{{"qs-rim1", "rim.example"}}) }, nil,
			[]string{"start\t<redacted>\t60", "peer\tqs-rim1\trim.example", "state", "go"}},
		{AddOp, func(ctx context.Context, r Runner) {
			ch := StartAdd(ctx, r)
			ch.Add(Rule{ID: "preflight-1", Name: "n", Description: "d", Ports: []uint16{443, 4144}, From: []netip.Prefix{netip.PrefixFrom(a, 32)}, Profiles: rule.Profiles(rule.Domain)})
			ch.Finish()
		}, []string{"added", "preflight-1", "v2.29|"},
			[]string{"start\t<redacted>\t300", "add\tpreflight-1\tn\td\t443,4144\t10.1.0.21\tDomain"}},
		{RemoveOp, func(ctx context.Context, r Runner) {
			ch := StartRemove(ctx, r)
			ch.Remove("preflight-1", "v2.29|")
			ch.Finish()
		}, []string{"removed", "preflight-1"},
			[]string{"start\t<redacted>\t300", "remove\tpreflight-1\tv2.29|"}},
		{ProveOp, func(ctx context.Context, r Runner) {
			p := StartProve(ctx, r, Side{
				Listens: []Listen{{Port: 4242, Key: "k", Tokens: []string{"t1", "t2"}}}, Watches: []Watch{{Port: 443, From: []netip.Addr{a, a}}},
				Dials:  []Dial{{ID: "x:443", Address: a, Port: 443, Words: "tls", After: time.Second}, {ID: "x:4242", Address: a, Port: 4242, Words: "token", Token: "t3"}},
				Limits: Limits{Dial: 4 * time.Second, Hold: time.Second, Least: 1500 * time.Millisecond, Most: 9 * time.Second},
			})
			p.Ready()
			p.Go()
			p.Report()
		}, []string{"ready"},
			[]string{
				"start\t<redacted>\t69", "listen\t4242\t<redacted>\t<redacted>", "watch\t443\t10.1.0.21 10.1.0.21", "dial\tx:443\t10.1.0.21\t443\ttls\t\t1000",
				"dial\tx:4242\t10.1.0.21\t4242\ttoken\t<redacted>\t0", "limits\t4000\t1000\t1500\t9000", "set", "go",
			}},
		{SetupOp, func(ctx context.Context, r Runner) {
			s := StartSetup(ctx, r)
			s.State()
			s.Listening()
			s.Unlock("state") // no less a secret for being a word of the conversation
			s.Close()
		}, []string{"state", "200", ""},
			[]string{"start\t<redacted>\t1800", "state", "ports", "unlock", "<redacted>"}},
	} {
		r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
			for f := k.read(); f.Kind() != "end of input" && f.Kind() != "go"; f = k.read() {
				if test.answer != nil {
					k.send(test.answer...)
				}
			}
			k.send("end", "ok")
			k.drain()
			return 0, nil
		}))
		test.do(t.Context(), r)
		got := <-r.kept
		var sent []string
		for _, l := range got.Lines {
			if l.Mark == '>' {
				sent = append(sent, l.Text)
			}
		}
		if diff := cmp.Diff(test.want, sent); diff != "" || got.Op != test.op || got.Ended != "exit code 0" {
			t.Errorf("%s: %s, %s (-want +got):\n%s", test.op.Name, got.Op.Name, got.Ended, diff)
		}
	}
}

// TestTranscriptUnknown: what the transcript has no name for is taken for a secret, sent or sent back.
func TestTranscriptUnknown(t *testing.T) {
	t.Parallel()
	r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
		for range 3 {
			k.read()
		}
		k.send("said", "topic and more", "hidden")
		k.send("end", "ok")
		return 0, nil
	}))
	c := Start(t.Context(), r, testOp, time.Minute)
	c.Send("newer", "hidden topic", "")
	c.Send("peer", "name", "host", "more")
	c.Send("")
	c.Close()
	want := []string{"> start\t<redacted>\t60", "> <redacted>\t<redacted>\t", "> peer\tname\thost\t<redacted>", "> ", "< said\t<redacted> and <redacted>\t<redacted>", "< end\tok"}
	if diff := cmp.Diff(want, (<-r.kept).marked()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTranscriptHidesKeys: the keys and tokens of a call are in its transcript in no way in which a server may send them back.
func TestTranscriptHidesKeys(t *testing.T) {
	t.Parallel()
	key, tokens := newKey(), []string{newKey(), newKey()}
	secrets := append([]string{key}, tokens...)
	began := ""
	r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
		began = k.key
		for f := k.read(); f.Kind() != "set"; f = k.read() {
		}
		for _, s := range append(secrets, k.key) {
			h := hex.EncodeToString([]byte(s)) // of hexadecimal digits: there is no other case
			k.print("debug: " + s + "\n")
			k.send("heard", "4242", s, "x")
			k.send(s, "dialled", h, "a"+s+"b", "#"+h)
		}
		k.print(Frame{"heard", "4242", tokens[1]}.Answer("another key", 0) + "\n")
		io.WriteString(k.errout, "not understood: "+tokens[0])
		return 0, fmt.Errorf("lost while sending %s", k.key)
	}))
	p := StartProve(t.Context(), r, Side{Listens: []Listen{{Port: 4242, Key: key, Tokens: tokens}}, Dials: []Dial{{Token: tokens[1]}}})
	p.Ready()
	got := <-r.kept
	text := string(got.Text())
	for _, s := range append(secrets, began) {
		for _, form := range []string{s, hex.EncodeToString([]byte(s))} {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("a secret is to be read: …%s", text[max(0, i-80):i+len(form)])
			}
		}
	}
	if got.Ended != "lost while sending <redacted>" || got.Stderr != "not understood: <redacted>" || !slices.Contains(got.marked(), "< heard\t4242\t<redacted>\tx") || !slices.Contains(got.marked(), "? debug: <redacted>") {
		t.Errorf("the rest is to be read too:\n%s", text)
	}
}

// TestTranscriptHidesThePassword: nor is the one-time password, whatever the server makes of it.
func TestTranscriptHidesThePassword(t *testing.T) {
	t.Parallel()
	p := password.Reveal()
	page := strings.Repeat("x", 4000-len([]rune(p))/2) + p
	for name, answer := range map[string]func(k *talk){
		"a page": func(k *talk) { k.send("unlock", "200", "<b>"+html.EscapeString(p)+"</b>", p) },
		"JSON in the page": func(k *talk) {
			k.send("unlock", "200", strings.NewReplacer(`\`, `\\`, "Ä", `\u00C4`, "ä", `\u00e4`).Replace(p))
		},
		"a page cut off":      func(k *talk) { k.send("unlock", "200", string([]rune(page)[:4000])) },
		"a kind":              func(k *talk) { k.send(p) },
		"a failure":           func(k *talk) { k.send("failed", "unlock", "T", "80131500", "C", "cannot send "+p) },
		"its own error":       func(k *talk) { k.send("end", "error", "T", "80131500", "C", "cannot send "+p) },
		"noise, line by line": func(k *talk) { k.print(p[:len(p)/2] + "\r\n" + p[len(p)/2:] + "\r\n") },
		"a damaged frame":     func(k *talk) { k.print(Frame{"unlock", p}.Answer(k.key, 7) + "\r\n") },
		"stderr":              func(k *talk) { io.WriteString(k.errout, p[:len(p)/2]+"\r\n"+p[len(p)/2:]) },
	} {
		r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
			k.asked("unlock")
			k.asked(p)
			answer(k)
			return 0, errors.New("lost after " + p)
		}))
		s := StartSetup(t.Context(), r)
		s.Unlock(password)
		got := <-r.kept
		text := strings.Join(append(got.marked(), got.Ended, got.Stderr), "\n")
		for i := range len([]rune(p)) - 3 { // not even a piece of it
			for _, piece := range []string{string([]rune(p)[i : i+4]), escape(string([]rune(p)[i : i+4])), html.EscapeString(string([]rune(p)[i : i+4]))} {
				if strings.Contains(text, piece) {
					t.Errorf("%s: %q of the password is to be read:\n%.600s", name, piece, text)
				}
			}
		}
		if want := []string{"> unlock", "> <redacted>"}; !slices.Equal(got.marked()[1:3], want) || got.Ended != "lost after <redacted>" {
			t.Errorf("%s: %q, %s", name, got.marked(), got.Ended)
		}
	}
}

// TestRevealed: a secret is revealed where it is sent and where it is looked for, and nowhere else.
func TestRevealed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		function := ""
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "func ") {
				function = line
			}
			if strings.Contains(line, ".Reveal(") {
				where = append(where, file+": "+strings.TrimSpace(function))
			}
		}
	}
	want := []string{"script.go: func (c *Call) SendSecret(s secret.Text) {", "setup.go: func eraser(s secret.Text, mask string) func(text string) string {"}
	if diff := cmp.Diff(want, where); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTranscriptBounded: however much a server prints, the file stays small, its beginning is kept and the rest counted.
func TestTranscriptBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, line string
		times      int
	}{
		{"answers", "", 6_000},
		{"noise", strings.Repeat("x", 200), 6_000},
		{"noise that takes more room when it is escaped", strings.Repeat("ä", 100), 3_000},
		{"one line", strings.Repeat("x", 3<<20), 1},
	} {
		r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
			if test.name != "answers" {
				k.print(strings.Repeat(test.line+"\n", test.times))
			}
			for test.name == "answers" && k.sent < test.times {
				k.send("rule", "local", strings.Repeat("x", 200))
			}
			k.send("end", "ok")
			return 0, nil
		}))
		c := Start(t.Context(), r, testOp, time.Minute)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		got := <-r.kept
		if n := len(got.Text()); n > transcriptLimit+1000 || n < transcriptLimit*9/10 && test.times > 1 {
			t.Errorf("%s: the file has %d bytes", test.name, n)
		}
		if n := len(got.Lines) + got.Left; n != test.times+2 || got.Lines[0].Text != "start\t<redacted>\t60" {
			t.Errorf("%s: %d lines, want %d; the first is %q", test.name, n, test.times+2, got.Lines[0].Text)
		}
		if last := got.Lines[len(got.Lines)-1].Text; last == "end\tok" {
			t.Errorf("%s: the end is kept, and what came before it is not", test.name)
		}
		if least := got.Left * len(test.line) / 2; got.Left == 0 || got.LeftBytes < least {
			t.Errorf("%s: %d lines, %d bytes are left out; want %d bytes at least", test.name, got.Left, got.LeftBytes, least)
		}
	}
}

// TestTape: what is kept in memory is bounded as the file is, and each line has its time.
func TestTape(t *testing.T) {
	t.Parallel()
	p := &tape{began: time.Now().Add(-time.Hour)}
	for range 3000 {
		p.answered(strings.Repeat("x", 1000))
	}
	if n := len(p.lines); n > 1048 || n < 1000 || p.left != 3000-n {
		t.Errorf("%d lines of 1000 characters are kept, %d counted", n, p.left)
	}
	empty := &tape{began: time.Now()}
	for range 100_000 {
		empty.answered("")
	}
	if n := len(empty.lines); n*linePrefix > transcriptLimit || n*linePrefix < transcriptLimit-linePrefix {
		t.Errorf("%d empty lines are kept", n)
	}
	if at := p.lines[0].at; at < time.Hour || at > 2*time.Hour {
		t.Errorf("a line that comes after an hour came after %v", at)
	}
}

// TestTranscriptEnds: why a script did not come to its end.
func TestTranscriptEnds(t *testing.T) {
	t.Parallel()
	r := keep(deaf{})
	c := startWithin(t.Context(), r, testOp, time.Minute, 10*time.Millisecond)
	if got := <-r.kept; !strings.Contains(got.Ended, "given up after 10ms") || len(got.Lines) != 1 {
		t.Errorf("given up: %+v", got)
	}
	io.Copy(io.Discard, c.in) // ends: nobody waits for more to be sent
	ctx, cancel := context.WithCancel(t.Context())
	r = keep(deaf{})
	Start(ctx, r, testOp, time.Minute)
	cancel()
	if got := <-r.kept; !strings.Contains(got.Ended, "context canceled") {
		t.Errorf("cancelled: %+v", got)
	}
	r = keep(fake(func(context.Context, string, io.Reader, io.Writer, io.Writer) (int, error) {
		return -1, errors.New("the server\r\nsaid \x1b[2Jno")
	}))
	Start(t.Context(), r, testOp, time.Minute)
	if got := <-r.kept; got.Ended != "the server said [2Jno" {
		t.Errorf("broken: %+v", got)
	}
}

// TestTranscriptOfProbe: the probe leaves one too, above all where it says that scripts cannot run.
func TestTranscriptOfProbe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stdout, stderr string
		err            error
		want           []string
		ended, errout  string
	}{
		{"hello\r\n#pf-probe FullLanguage 5.1\r\n", "", nil, []string{"? hello", "< #pf-probe\tFullLanguage\t5.1"}, "exit code 4", ""},
		{"#pf-probe ConstrainedLanguage 5.1", "no\x07 profile", nil, []string{"< #pf-probe\tConstrainedLanguage\t5.1"}, "exit code 4", "no profile"},
		{"", "", errBroken, nil, "the connection broke", ""},
	} {
		r := keep(fake(func(_ context.Context, _ string, _ io.Reader, stdout, stderr io.Writer) (int, error) {
			io.WriteString(stdout, test.stdout)
			io.WriteString(stderr, test.stderr)
			return 4, test.err
		}))
		Probe(t.Context(), r)
		got := <-r.kept
		if diff := cmp.Diff(test.want, got.marked()); diff != "" || got.Op != ProbeOp || got.Ended != test.ended || got.Stderr != test.errout {
			t.Errorf("%q: %+v\n%s", test.stdout, got, diff)
		}
	}
}

// TestTranscriptsAtOnce: calls share nothing, and a line may be sent while others come and after the end.
func TestTranscriptsAtOnce(t *testing.T) {
	t.Parallel()
	r := keep(serve(t, func(_ context.Context, k *talk) (int, error) {
		for f := k.read(); f.Kind() == "peer"; f = k.read() {
			k.send("said", f.Field(1))
		}
		k.send("end", "ok")
		return 0, nil
	}))
	var calls sync.WaitGroup
	for n := range 8 {
		calls.Go(func() {
			c := Start(t.Context(), r, testOp, time.Minute)
			for range 50 {
				c.Send("peer", fmt.Sprint(n), "")
			}
			c.SendSecret(secret.Text("password"))
			c.Close()
			c.Send("go")
		})
	}
	for range 8 {
		got := (<-r.kept).marked()
		name := strings.Split(got[1], "\t")[1]
		said := 0
		for _, l := range got {
			if l == "< said\t"+name {
				said++
			} else if strings.HasPrefix(l, "< said") {
				t.Errorf("the transcript of %s has %q", name, l)
			}
		}
		if said != 50 {
			t.Errorf("the transcript of %s has %d answers", name, said)
		}
	}
	calls.Wait()
}
