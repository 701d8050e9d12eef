package script

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/proof"
)

// fake answers as a server does, without one.
type fake func(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error)

func (f fake) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return f(ctx, command, stdin, stdout, stderr)
}

// talk is the server's end of a call.
type talk struct {
	t           *testing.T
	in          *bufio.Reader
	out, errout io.Writer
	text, key   string
	seconds     string
	sent        int
}

func (k *talk) read() Frame {
	line, err := k.in.ReadString('\n')
	if err != nil {
		return Frame{"end of input"}
	}
	f, err := ParseLine(line)
	if err != nil {
		k.t.Errorf("the script was sent %q: %v", line, err)
	}
	return f
}

func (k *talk) send(f ...string) {
	k.print(Frame(f).Answer(k.key, k.sent) + "\r\n")
	k.sent++
}

func (k *talk) print(s string) { io.WriteString(k.out, s) }

// drain waits for the end of the input, as PowerShell's console does after its script.
func (k *talk) drain() { io.Copy(io.Discard, k.in) }

// serve makes a runner that takes the script and its first line, then does as it is told.
func serve(t *testing.T, do func(ctx context.Context, k *talk) (int, error)) Runner {
	return fake(func(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		if command != Command {
			t.Errorf("command = %q", command)
		}
		k := &talk{t: t, in: bufio.NewReader(stdin), out: stdout, errout: stderr}
		for {
			line, err := k.in.ReadString('\n')
			if err != nil {
				t.Errorf("the script did not arrive: %v", err)
				return 1, nil
			}
			if line == RunLine+"\n" {
				break
			}
			k.text += line
		}
		start := k.read()
		k.key, k.seconds = start.Field(1), start.Field(2)
		if start.Kind() != "start" || len(start) != 3 || len(k.key) != 32 {
			t.Errorf("first line = %q", start)
		}
		return do(ctx, k)
	})
}

var testOp = Op{Name: "try", Text: "one\ntwo\n\n"}

func start(t *testing.T, do func(ctx context.Context, k *talk) (int, error)) *Call {
	return Start(t.Context(), serve(t, do), testOp, 90*time.Second)
}

func next(t *testing.T, c *Call, want ...string) {
	t.Helper()
	if f, err := c.Next(); err != nil || !slices.Equal(f, want) {
		t.Fatalf("Next() = %q, %v; want %q", f, err, want)
	}
}

func TestCallTalks(t *testing.T) {
	t.Parallel()
	over := make(chan bool)
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		defer close(over)
		if k.text != "one\ntwo\n" || k.seconds != "90" {
			t.Errorf("script %q, deadline %q", k.text, k.seconds)
		}
		for {
			f := k.read()
			if f.Kind() != "ask" {
				k.send("said", f.Kind())
				k.send("end", "ok")
				k.drain()
				return 0, nil
			}
			k.send("answer", f.Field(1))
		}
	})
	// Each answer comes while the input is open, so no side waits for the other's end.
	for _, word := range []string{"Größe", "a\tb", ""} {
		c.Send("ask", word)
		next(t, c, "answer", word)
	}
	c.Send("enough")
	next(t, c, "said", "enough")
	for range 2 {
		if f, err := c.Next(); err != io.EOF || f != nil {
			t.Fatalf("Next() = %q, %v; want io.EOF", f, err)
		}
	}
	<-over // the last frame closed the input: without that, drain would wait for ever
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	c.Send("too late")
}

func TestCallCloseEndsInput(t *testing.T) {
	t.Parallel()
	over := make(chan Frame, 1)
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		k.send("left over")
		over <- k.read()
		k.send("end", "ok")
		return 0, nil
	})
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if f := <-over; f.Kind() != "end of input" {
		t.Errorf("the script read %q after Close", f)
	}
}

func TestCallCloseWaitsForTheEnd(t *testing.T) {
	t.Parallel()
	ended, told := false, make(chan bool)
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		k.send("end", "ok")
		k.drain()
		<-told
		ended = true // the race detector sees whether Close waits
		return 0, nil
	})
	if _, err := c.Next(); err != io.EOF {
		t.Fatalf("Next() = %v; want io.EOF", err)
	}
	close(told)
	if err := c.Close(); err != nil || !ended {
		t.Errorf("Close() = %v, ended %v", err, ended)
	}
}

func TestCallErrorFrame(t *testing.T) {
	t.Parallel()
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		k.send("one")
		k.send("end", "error", "System.UnauthorizedAccessException", "80070005", "PermissionDenied", "Zugriff\r\nverweigert\x1b[0m")
		k.drain()
		return 1, nil
	})
	next(t, c, "one")
	_, err := c.Next()
	var said *Error
	if !errors.As(err, &said) || said.Op != "try" || said.Type != "System.UnauthorizedAccessException" || said.HResult != "80070005" {
		t.Fatalf("Next() = %#v; want the script's own error", err)
	}
	if got, want := err.Error(), "try: Zugriff verweigert[0m (0x80070005)"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if errors.Is(err, ErrEnded) || errors.Is(err, io.EOF) {
		t.Error("an error that was told is taken for an end that was not seen, or for success")
	}
	if again := c.Close(); !errors.Is(again, err) {
		t.Errorf("Close() = %v; want the same error", again)
	}
}

var errBroken = errors.New("the connection broke")

func TestCallEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		do     func(ctx context.Context, k *talk) (int, error)
		is     error
		want   []string // in the error
		absent string
	}{
		{"exit code 0 is no end", func(_ context.Context, k *talk) (int, error) { return 0, nil }, ErrEnded, []string{"try: ", "exit code 0"}, ""},
		{"exit code", func(_ context.Context, k *talk) (int, error) { return 3, nil }, ErrEnded, []string{"exit code 3"}, ""},
		{"stderr", func(_ context.Context, k *talk) (int, error) {
			io.WriteString(k.errout, "The term 'x'\r\nis not\x07 recognized")
			return 1, nil
		}, ErrEnded, []string{"exit code 1", ": The term 'x' is not recognized"}, "\x07"},
		{"stderr of a good run's runner error", func(_ context.Context, k *talk) (int, error) { return 0, errBroken }, errBroken, []string{"try: the connection broke"}, "exit code"},
		{"noise", func(_ context.Context, k *talk) (int, error) {
			k.print("\r\n  \r\nmotd \x1b]0;title\x07\r\ntwo\nthree\nfour\n")
			return 5, nil
		}, ErrEnded, []string{"exit code 5", "it printed: motd ]0;title / two / three"}, "four"},
		{"noise, then a broken runner", func(_ context.Context, k *talk) (int, error) {
			k.print("disk full\n")
			return 0, errBroken
		}, errBroken, []string{"the connection broke; it printed: disk full"}, ""},
		{"a last line cut short", func(_ context.Context, k *talk) (int, error) {
			k.print("#p")
			return 1, nil
		}, ErrEnded, []string{"it printed: #p"}, ""},
		{"the last frame cut short", func(_ context.Context, k *talk) (int, error) {
			s := Frame{"end", "ok"}.Answer(k.key, 0)
			k.print(s[:len(s)-1])
			return 0, nil
		}, nil, []string{"answer 0 is damaged"}, ""},
		{"a frame lost", func(_ context.Context, k *talk) (int, error) {
			k.sent++
			k.send("end", "ok")
			k.drain()
			return 0, nil
		}, nil, []string{"answer 0 is missing"}, ""},
		{"another run's end", func(_ context.Context, k *talk) (int, error) {
			k.key = testKey
			k.send("end", "ok")
			k.drain()
			return 0, nil
		}, nil, []string{"damaged"}, ""},
		{"an end without a word", func(_ context.Context, k *talk) (int, error) {
			k.send("end")
			k.drain()
			return 0, nil
		}, nil, []string{"try: "}, ""},
		{"a word that is not quite ok", func(_ context.Context, k *talk) (int, error) {
			k.send("end", "OK")
			k.drain()
			return 0, nil
		}, nil, []string{"try: "}, ""},
		{"too much output", func(_ context.Context, k *talk) (int, error) {
			_, err := k.out.Write(make([]byte, maxOutput))
			return 0, err
		}, nil, []string{"more than 64 MB"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, func(ctx context.Context, k *talk) (int, error) {
				if test.name == "too much output" {
					k.send("small")
				}
				return test.do(ctx, k)
			})
			if test.name == "too much output" {
				next(t, c, "small")
			}
			f, err := c.Next()
			if err == nil || err == io.EOF || f != nil {
				t.Fatalf("Next() = %q, %v; want an error", f, err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			for _, s := range test.want {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
			if test.absent != "" && strings.Contains(err.Error(), test.absent) {
				t.Errorf("error %q says %q", err, test.absent)
			}
			if strings.ContainsAny(err.Error(), "\r\n\x1b") {
				t.Errorf("error %q is not one plain line", err)
			}
			if again := c.Close(); !errors.Is(again, err) {
				t.Errorf("Close() = %v; want the same error", again)
			}
		})
	}
}

func TestCallNoise(t *testing.T) {
	t.Parallel()
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		k.print("Welcome\r\n\r\nGer\x84t #pf\r\n")
		k.print("WARNING: ")
		k.send("one")
		k.print("more\r\n")
		k.send("two")
		k.print(Frame{"end", "ok"}.Answer(k.key, k.sent)) // no line end
		return 0, nil
	})
	next(t, c, "one")
	next(t, c, "two")
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v; noise does no harm", err)
	}
}

// TestCallPieces: a frame may come in any pieces.
func TestCallPieces(t *testing.T) {
	t.Parallel()
	c := start(t, func(_ context.Context, k *talk) (int, error) {
		all := "noise\r\n" + Frame{"one", "x"}.Answer(k.key, 0) + "\r\n" + Frame{"two"}.Answer(k.key, 1) + "\n" + Frame{"end", "ok"}.Answer(k.key, 2) + "\r\n"
		for i := range len(all) {
			k.print(all[i : i+1])
		}
		return 0, nil
	})
	next(t, c, "one", "x")
	next(t, c, "two")
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func TestCallCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := Start(ctx, serve(t, func(ctx context.Context, k *talk) (int, error) {
		k.send("ready")
		<-ctx.Done()
		return 0, ctx.Err()
	}), testOp, time.Minute)
	next(t, c, "ready")
	cancel()
	if _, err := c.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("Next() = %v; want context.Canceled", err)
	}
}

// TestCallSendNeverBlocks: a server that reads nothing holds nobody up.
func TestCallSendNeverBlocks(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := Start(t.Context(), fake(func(context.Context, string, io.Reader, io.Writer, io.Writer) (int, error) {
		<-release
		return 1, nil
	}), testOp, time.Minute)
	line := strings.Repeat("x", 1000)
	for range 2000 {
		c.Send("line", line)
	}
	close(release)
	if err := c.Close(); !errors.Is(err, ErrEnded) {
		t.Errorf("Close() = %v; want ErrEnded", err)
	}
}

func TestCallKeysDiffer(t *testing.T) {
	t.Parallel()
	keys := make(chan string, 2)
	for range 2 {
		c := start(t, func(_ context.Context, k *talk) (int, error) { keys <- k.key; return 0, nil })
		c.Close()
	}
	if a, b := <-keys, <-keys; a == b {
		t.Errorf("two runs have the key %s", a)
	}
}

// TestLinesLong: one long line in many pieces takes time in proportion to its length.
func TestLinesLong(t *testing.T) {
	t.Parallel()
	l := newLines()
	piece := make([]byte, 4096)
	for i := range piece {
		piece[i] = 'x'
	}
	for range 1000 {
		if _, err := l.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	l.Write([]byte("\r\nshort\n\nend"))
	l.close(nil)
	for _, want := range []int{4096 * 1000, 5, 0, 3} {
		if line, err := l.next(); err != nil || len(line) != want {
			t.Errorf("a line of %d, %v; want %d", len(line), err, want)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var l tail
	for range 100 {
		if n, err := l.Write(make([]byte, 100)); n != 100 || err != nil {
			t.Fatalf("Write = %d, %v; a script that complains at length must not stop", n, err)
		}
	}
	if l.b.Len() != 2000 {
		t.Errorf("kept %d bytes", l.b.Len())
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stdout, stderr string
		err                  error
		want                 Language
		full, ok             bool
	}{
		{"full", "#pf-probe FullLanguage 5.1.17763.1\r\n", "", nil, Language{"FullLanguage", "5.1.17763.1"}, true, true},
		{"constrained", "#pf-probe ConstrainedLanguage 5.1\n", "", nil, Language{"ConstrainedLanguage", "5.1"}, false, true},
		{"noise", "motd\r\nx #pf-probe FullLanguage 3.0\r\nbye", "#< CLIXML", nil, Language{"FullLanguage", "3.0"}, true, true},
		{"a word too few", "#pf-probe FullLanguage\r\n", "", nil, Language{}, false, false},
		{"nothing", "", "is not\nrecognized", nil, Language{}, false, false},
		{"broken", "#pf-probe FullLanguage 5.1\r\n", "", errBroken, Language{}, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, err := Probe(t.Context(), fake(func(_ context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
				if b, _ := io.ReadAll(stdin); command != ProbeCommand || len(b) > 0 {
					t.Errorf("command %q, input %q", command, b)
				}
				io.WriteString(stdout, test.stdout)
				io.WriteString(stderr, test.stderr)
				return 0, test.err
			}))
			if (err == nil) != test.ok || l != test.want || l.Full() != test.full {
				t.Errorf("Probe = %+v, %v", l, err)
			}
			if test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("%v is not %v", err, test.err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
		})
	}
}

func TestSideRoundTrip(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("10.1.0.21"), netip.MustParseAddr("10.1.0.22")
	side := Side{
		Listens: []Listen{{Port: 4242, Key: "k", Tokens: []string{"t1", "t2"}}},
		Watches: []Watch{{Port: 443, From: []netip.Addr{a, b}}},
		Dials:   []Dial{{ID: "x:443", Address: b, Port: 443, Words: "tls", After: 5 * time.Second}, {ID: "x:4242", Address: a, Port: 4242, Words: "token", Token: "t3"}},
		Limits:  Limits{Dial: 4 * time.Second, Hold: time.Second, Least: 1500 * time.Millisecond, Most: 9 * time.Second},
	}
	frames := side.frames()
	got, err := ParseSide(func() (Frame, error) {
		f := frames[0]
		frames = frames[1:]
		return f, nil
	})
	if err != nil || len(frames) != 0 {
		t.Fatalf("ParseSide: %v, %d frames left", err, len(frames))
	}
	if want := side.frames(); !slices.EqualFunc(got.frames(), want, func(a, b Frame) bool { return slices.Equal(a, b) }) {
		t.Errorf("ParseSide reads %q; want %q", got.frames(), want)
	}
}

func TestProver(t *testing.T) {
	t.Parallel()
	source, to := netip.MustParseAddrPort("10.1.0.21:50111"), netip.MustParseAddrPort("10.1.0.31:4242")
	p := StartProve(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		for f := k.read(); f.Kind() != "set"; f = k.read() {
		}
		k.send("bound", "4242")
		k.send("busy", "443", "10048")
		k.send("ready")
		if f := k.read(); f.Kind() != "go" {
			t.Errorf("told %q, want go", f)
		}
		k.send("dialled", "a", "open", "0", "100", "1200", "10.1.0.31:50000", "485454502F312E31")
		k.send("dialled", "b", "timeout", "10060", "100", "4000", "", "")
		k.send("heard", "4242", "token", "[::ffff:10.1.0.21]:50111", to.String())
		k.send("seen", "443", source.String(), "10.1.0.31:443")
		k.send("gone", "5050")
		k.send("something newer")
		k.send("served", "5000", "120")
		k.send("end", "ok")
		k.drain()
		return 0, nil
	}), Side{})
	if err := p.Ready(); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	p.Go()
	r := p.Report()
	if r.Lost != "" || r.Served != 5*time.Second || r.Gap != 120*time.Millisecond || r.Went.Before(before) || !slices.Equal(r.Bound, []uint16{4242}) || r.Busy[443] != 10048 || !slices.Equal(r.Gone, []uint16{5050}) {
		t.Errorf("report %+v", r)
	}
	if want := time.Since(r.Began); want < r.Served {
		t.Errorf("it began %v ago, but served %v", want, r.Served)
	}
	if d := r.Dials["a"]; d.Result != "open" || string(d.Reply) != "HTTP/1.1" || d.After != 100*time.Millisecond || d.Took != 1200*time.Millisecond || d.Told.Before(before) {
		t.Errorf("dial %+v", d)
	}
	if d := r.Dials["b"]; d.Code != 10060 || d.From.IsValid() {
		t.Errorf("dial %+v", d)
	}
	if r.Heard["token"].From != source || len(r.Seen) != 1 || r.Seen[0].From != source {
		t.Errorf("heard %v, seen %v", r.Heard, r.Seen)
	}
}

// TestProverDoubts: what cannot be read is never a result, and makes the report incomplete.
func TestProverDoubts(t *testing.T) {
	t.Parallel()
	for _, f := range []Frame{
		{"bound", "x"}, {"bound", "65979"}, {"bound", "-1"}, {"bound"},
		{"busy", "443", ""}, {"busy", "70000", "10048"},
		{"dialled", "a", "open", "0", "1", "2", "nowhere", ""},
		{"dialled", "a", "open", "0", "1", "2", "10.0.0.1:5", "abc"},
		{"dialled", "a", "perhaps", "0", "1", "2", "", ""},
		{"dialled", "a", "failed", "", "1", "2", "", ""},
		{"dialled", "a", "timeout", "10060", "1", "-2", "", ""},
		{"dialled", "a"},
		{"heard", "4242", "token", "10.0.0.1", "10.0.0.2:4242"},
		{"seen", "443", "", ""}, {"seen", "65979", "10.0.0.1:5", "10.0.0.2:443"},
		{"gone", ""},
		{"served", "soon", "1"}, {"served", "-1", "1"}, {"served", "99999999999999999999", "1"}, {"served", "5000"}, {"served", "5000", "-1"},
	} {
		t.Run(f.Line(), func(t *testing.T) {
			t.Parallel()
			p := Prover{report: proof.Report{Busy: map[uint16]int{}, Dials: map[string]proof.Dial{}, Heard: map[string]proof.Heard{}}}
			p.add(f, time.Now())
			r := p.report
			if r.Lost == "" || len(r.Bound)+len(r.Busy)+len(r.Dials)+len(r.Heard)+len(r.Seen)+len(r.Gone) > 0 || r.Served != 0 {
				t.Errorf("report %+v; want nothing but a reason", r)
			}
		})
	}
}

func TestProverLost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(k *talk) (int, error)
		want string
	}{
		{"broken", func(k *talk) (int, error) { return 0, errors.New("reset\r\nby peer") }, "reset by peer"},
		{"ended", func(k *talk) (int, error) { return 255, nil }, "exit code 255"},
		{"no word on serving", func(k *talk) (int, error) { k.send("end", "ok"); k.drain(); return 0, nil }, "how long it listened"},
		{"failed", func(k *talk) (int, error) {
			k.send("end", "error", "", "80004005", "", "no")
			k.drain()
			return 0, nil
		}, "0x80004005"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := StartProve(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
				k.send("bound", "443")
				k.send("ready")
				return test.do(k)
			}), Side{})
			if err := p.Ready(); err != nil {
				t.Fatal(err)
			}
			p.Go()
			r := p.Report()
			if !strings.Contains(r.Lost, test.want) || strings.ContainsAny(r.Lost, "\r\n") || !slices.Equal(r.Bound, []uint16{443}) {
				t.Errorf("report %+v; want what was told and %q", r, test.want)
			}
		})
	}
}

func TestProverNotReady(t *testing.T) {
	t.Parallel()
	p := StartProve(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
		k.send("end", "ok")
		k.drain()
		return 0, nil
	}), Side{})
	if err := p.Ready(); !errors.Is(err, ErrEnded) {
		t.Errorf("Ready() = %v; an end before ready is no success", err)
	}
}

// TestChanger: an answer counts only if it is about the rule that was asked for. Only the server's own word on that rule is
// an error that says that nothing was done; after any other it is in doubt.
func TestChanger(t *testing.T) {
	t.Parallel()
	const id = "preflight-1"
	said := []string{"System.UnauthorizedAccessException", "80070005", "PermissionDenied", "Access is\r\ndenied"}
	for _, test := range []struct {
		name   string
		answer []string // nil: the process dies
		want   Outcome
		error  string
		said   bool // the error is a *Error
		is     error
	}{
		{"added", []string{"added", id, "stored"}, Outcome{"added", "stored"}, "", false, nil},
		{"exists", []string{"exists", id, "stored"}, Outcome{"exists", "stored"}, "", false, nil},
		{"removed", []string{"removed", id}, Outcome{"removed", ""}, "", false, nil},
		{"absent", []string{"absent", id}, Outcome{"absent", ""}, "", false, nil},
		{"differs", []string{"differs", id, "stored"}, Outcome{"differs", "stored"}, "", false, nil},
		{"failed", append([]string{"failed", id}, said...), Outcome{}, "Access is denied (0x80070005)", true, nil},
		{"doubt", append([]string{"doubt", id}, said...), Outcome{}, "Access is denied (0x80070005)", false, ErrInDoubt},
		{"about another rule", []string{"added", "preflight-2", "stored"}, Outcome{}, "another rule: preflight-2", false, nil},
		{"another rule failed", append([]string{"failed", "preflight-2"}, said...), Outcome{}, "another rule: preflight-2", false, nil},
		{"about no rule", []string{"added"}, Outcome{}, "another rule: ", false, nil},
		{"another kind", []string{"perhaps\x1b", id}, Outcome{}, "an answer of an unknown kind: perhaps", false, nil},
		{"the script failed", append([]string{"end", "error"}, said...), Outcome{}, "Access is denied (0x80070005)", false, ErrInDoubt},
		{"the script ended", []string{"end", "ok"}, Outcome{}, "without its last frame", false, ErrEnded},
		{"the process died", nil, Outcome{}, "exit code 255", false, ErrEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			runner := serve(t, func(_ context.Context, k *talk) (int, error) {
				if f := k.read(); f.Field(1) != id {
					t.Errorf("asked %q", f)
				}
				if test.answer == nil {
					return 255, nil
				}
				k.send(test.answer...)
				k.drain()
				return 0, nil
			})
			for name, ask := range map[string]func() (Outcome, error){
				"add":    func() (Outcome, error) { return StartAdd(t.Context(), runner).Add(Rule{ID: id}) },
				"remove": func() (Outcome, error) { return StartRemove(t.Context(), runner).Remove(id, "stored") },
			} {
				out, err := ask()
				var its *Error
				if out != test.want || (err != nil) != (test.error != "") || errors.As(err, &its) != test.said || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%s: %+v, %#v; want %+v, said %v", name, out, err, test.want, test.said)
				}
				if err != nil && (!strings.Contains(err.Error(), test.error) || strings.ContainsAny(err.Error(), "\r\n\x1b")) {
					t.Errorf("%s: error %q; want one plain line with %q", name, err, test.error)
				}
			}
		})
	}
}

// TestChangerFinish: whether the rules are in force is known only from the server's own word before a good end.
func TestChangerFinish(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answers [][]string // the last is the end
		live    bool
		unknown string // "" if it is known
		ok      bool   // no error
	}{
		{"in force", [][]string{{"group", "1"}, {"end", "ok"}}, true, "", true},
		{"not in force", [][]string{{"group", "0"}, {"end", "ok"}}, false, "", true},
		{"it could not be asked", [][]string{{"unknown", "group", "System.Exception", "80131500", "NotSpecified", "COM\r\nfailed"}, {"end", "ok"}}, false, "COM failed", true},
		{"nothing was said", [][]string{{"end", "ok"}}, false, "did not say", true},
		{"only something newer was said", [][]string{{"newer", "1"}, {"end", "ok"}}, false, "did not say", true},
		{"it failed after", [][]string{{"group", "1"}, {"end", "error", "", "", "", "time is up"}}, true, "", false},
		{"it ended before", [][]string{}, false, "did not say", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ch := StartAdd(t.Context(), serve(t, func(_ context.Context, k *talk) (int, error) {
				if f := k.read(); f.Kind() != "end of input" {
					t.Errorf("told %q", f)
				}
				for _, f := range test.answers {
					k.send(f...)
				}
				return 0, nil
			}))
			live, err := ch.Finish()
			if live.V != test.live || live.OK() != (test.unknown == "") || !strings.Contains(live.Unknown, test.unknown) || (err == nil) != test.ok {
				t.Errorf("Finish = %+v, %v", live, err)
			}
		})
	}
}
