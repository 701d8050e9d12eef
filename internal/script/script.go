// Package script holds everything preflight sends to a server: constant PowerShell, the bootstrap that starts it, and
// the frames both sides speak while it runs.
//
// A script fetches or does one thing; what its answers mean is decided in Go. It is never put together from data: its
// text is always the same, which `preflight scripts` prints with its SHA-256, and what it is to work on follows as
// frames on its standard input.
package script

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// Runner runs one command on one server, its standard streams being streams: input is sent as it can be read, output
// written as it comes. It returns when the command has ended, with its exit code, or with an error if the end was not
// seen. It does not wait for stdin once the command has ended.
type Runner interface {
	Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (exitCode int, err error)
}

// Op is one operation on a server: a constant script.
type Op struct {
	Name string
	Does string // one sentence for the person who has to allow it
	Text string
}

// SHA256 is the checksum of the script's text, as `preflight scripts` prints it.
func (op Op) SHA256() string {
	sum := sha256.Sum256([]byte(op.Text))
	return hex.EncodeToString(sum[:])
}

//go:embed ps/frames.ps1
var frames string

//go:embed ps/http.ps1
var httpText string

//go:embed ps/inspect.ps1
var inspectText string

//go:embed ps/add.ps1
var addText string

//go:embed ps/remove.ps1
var removeText string

//go:embed ps/prove.ps1
var proveText string

//go:embed ps/setup.ps1
var setupText string

// The operations. Each text is the common part followed by its own; what speaks HTTP has that part between them.
var (
	InspectOp = Op{"inspect", "reads the firewall, addresses, listeners, services and the repository service's state; changes nothing", frames + httpText + inspectText}
	AddOp     = Op{"add", "adds inbound allow rules for TCP ports, each named preflight-…, and never touches a rule that is there", frames + addText}
	RemoveOp  = Op{"remove", "removes rules named preflight-… that are still exactly as preflight left them", frames + removeText}
	ProveOp   = Op{"prove", "listens on unused ports while a proof lasts, seconds as a rule and about a minute at most, dials the other servers, and reports what it saw", frames + proveText}
	SetupOp   = Op{"setup", "asks a rim's own repository service for its state, which ports are listened on, and gives that service the one-time password that unlocks its certificate, at http://localhost:4570", frames + httpText + setupText}
)

// Ops are all operations, in the order of a run.
var Ops = []Op{InspectOp, AddOp, RemoveOp, ProveOp, SetupOp}

// Command is the fixed command line that runs any script: PowerShell reads the script from standard input up to the
// line "#run", runs it, and hands it the lines that follow. It stays far below the 8191 characters that cmd.exe allows
// (research: winrs runs commands through cmd.exe /c) and names no file.
const Command = `powershell.exe -NoLogo -NoProfile -NonInteractive -Command "` + Bootstrap + `"`

// Bootstrap is the PowerShell of Command.
const Bootstrap = `$e=$input;$b=[Activator]::CreateInstance([Text.StringBuilder]);while($e.MoveNext()){$l=[string]$e.Current;if($l -ceq '` + RunLine + `'){& ([ScriptBlock]::Create($b.ToString())) $e;break};[void]$b.AppendLine($l)}`

// RunLine ends the script on standard input.
const RunLine = "#run"

// Error is a script's own report that it failed, or the news that it ended without its last frame.
type Error struct {
	Op      string
	Type    string // .NET type of the exception
	HResult string // eight hexadecimal digits
	Message string // as the server wrote it, in its language
}

func (e *Error) Error() string {
	s := e.Op + ": " + printable.Line(e.Message)
	if e.HResult != "" {
		s += " (0x" + printable.Line(e.HResult) + ")"
	}
	return s
}

// ErrEnded is wrapped by the error of a script whose end was not seen: what it was doing then is in doubt.
var ErrEnded = errors.New("the script ended without its last frame")

// patience is how much longer than a script's own deadline its end is waited for.
const patience = 15 * time.Second

// Call is one running script. Its methods are for one goroutine.
type Call struct {
	op     Op
	key    string
	in     *feed
	out    *lines
	tape   *tape
	number int
	ended  bool
	err    error
	noise  []string
	secret atomic.Bool // one was sent: what the script prints besides its answers may hold it, in pieces too
}

// Start starts op on a server. The script ends itself after deadline at the latest, and is given up a little later; a
// cancelled ctx ends it at once.
func Start(ctx context.Context, r Runner, op Op, deadline time.Duration) *Call {
	return startWithin(ctx, r, op, deadline, deadline+patience)
}

func startWithin(ctx context.Context, r Runner, op Op, deadline, limit time.Duration) *Call {
	c := &Call{op: op, key: newKey(), in: newFeed(), out: newLines(), tape: newTape(r, op)}
	c.out.tape = c.tape
	c.in.write(strings.TrimRight(op.Text, "\n") + "\n" + RunLine + "\n")
	c.send(Frame{"start", c.key, fmt.Sprint(int(deadline / time.Second))})
	// The script ends itself; but if it never came to run, nobody would.
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was given up after %v", limit))
	go func() {
		defer cancel()
		var complaint tail
		code, err := r.Run(ctx, Command, c.in, c.out, &complaint)
		c.in.close()
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		broke := err
		switch {
		case err != nil:
		case complaint.String() != "" && !c.secret.Load():
			err = fmt.Errorf("%w (exit code %d): %s", ErrEnded, code, complaint.String())
		default:
			err = fmt.Errorf("%w (exit code %d)", ErrEnded, code)
		}
		c.out.close(err)
		c.tape.end(code, broke, complaint.String(), answers(c.key))
	}()
	return c
}

// answers tells of a script's lines, from the first on, which are its answers.
func answers(key string) func(line string) (Frame, bool) {
	number := 0
	return func(line string) (Frame, bool) {
		f, ok, err := parseAnswer(line, key, number)
		if !ok || err != nil {
			return nil, false
		}
		number++
		return f, true
	}
}

func newKey() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Send hands the script one more line. It never blocks.
func (c *Call) Send(f ...string) { c.send(f) }

func (c *Call) send(f Frame) {
	c.tape.sent(f)
	c.in.write(f.Line() + "\n")
}

// SendSecret hands the script a line that is a secret.
func (c *Call) SendSecret(s secret.Text) {
	c.tape.password(s)
	c.secret.Store(true)
	c.in.write(Frame{s.Reveal()}.Line() + "\n")
}

// Next is the script's next frame. It returns io.EOF after the script said that it is done, a *Error if it said that
// it failed, and an error that wraps ErrEnded or the runner's if it ended without saying so.
func (c *Call) Next() (Frame, error) {
	for {
		if c.ended {
			return nil, c.err
		}
		line, err := c.out.next()
		if err != nil {
			if len(c.noise) > 0 {
				err = fmt.Errorf("%w; it printed: %s", err, strings.Join(c.noise, " / "))
			}
			return nil, c.end(fmt.Errorf("%s: %w", c.op.Name, err))
		}
		f, ok, err := parseAnswer(line, c.key, c.number)
		if err != nil {
			return nil, c.end(fmt.Errorf("%s: %w", c.op.Name, err))
		}
		if !ok {
			if text := printable.Line(line); text != "" && len(c.noise) < 3 && !c.secret.Load() {
				c.noise = append(c.noise, text)
			}
			continue
		}
		c.number++
		if f.Kind() != "end" {
			return f, nil
		}
		if f.Field(1) == "ok" {
			return nil, c.end(io.EOF)
		}
		return nil, c.end(&Error{Op: c.op.Name, Type: f.Field(2), HResult: f.Field(3), Message: f.Field(5)})
	}
}

func (c *Call) end(err error) error {
	c.ended, c.err = true, err
	c.in.close()
	return err
}

// Close ends the script's input, reads what is left and waits for the script's end. It returns nil only if the script
// said that it is done.
func (c *Call) Close() error {
	c.in.close()
	for {
		if _, err := c.Next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	c.out.wait()
	return nil
}

// feed is a script's standard input: an unbounded buffer that readers wait for.
type feed struct {
	mu     sync.Mutex
	more   *sync.Cond
	data   []byte
	closed bool
}

func newFeed() *feed {
	f := &feed{}
	f.more = sync.NewCond(&f.mu)
	return f
}

func (f *feed) write(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append(f.data, s...)
	f.more.Broadcast()
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.more.Broadcast()
}

func (f *feed) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.data) == 0 && !f.closed {
		f.more.Wait()
	}
	if len(f.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

// maxOutput bounds what one script may print; more is an error, not memory.
const maxOutput = 64 << 20

// lines is a script's standard output, cut into lines for a reader that waits for them.
type lines struct {
	mu    sync.Mutex
	more  *sync.Cond
	ready []string
	part  []byte
	size  int
	done  bool
	err   error
	tape  *tape
}

func newLines() *lines {
	l := &lines{}
	l.more = sync.NewCond(&l.mu)
	return l
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size += len(p); l.size > maxOutput {
		return 0, fmt.Errorf("the script printed more than %d MB", maxOutput>>20)
	}
	for rest := p; ; {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line...)
		if !found {
			break
		}
		l.add(strings.TrimRight(string(l.part), "\r"))
		l.part, rest = l.part[:0], after
	}
	l.more.Broadcast()
	return len(p), nil
}

func (l *lines) add(line string) {
	l.ready = append(l.ready, line)
	l.tape.answered(line)
}

func (l *lines) close(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		l.add(string(l.part))
	}
	l.done, l.err = true, err
	l.more.Broadcast()
}

func (l *lines) next() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) == 0 && !l.done {
		l.more.Wait()
	}
	if len(l.ready) == 0 {
		return "", l.err
	}
	line := l.ready[0]
	l.ready = l.ready[1:]
	return line, nil
}

func (l *lines) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.done {
		l.more.Wait()
	}
}

// tail keeps the beginning of what a script wrote to standard error, for diagnosis.
type tail struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 2000 - t.b.Len(); room > 0 {
		t.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return printable.Line(t.b.String())
}
