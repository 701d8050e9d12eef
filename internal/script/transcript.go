package script

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// Keeper is what a Runner is as well that keeps transcripts. Keep is called before a script is run there; what it returns
// is called once, when that has ended, from any goroutine. No call waits for it.
type Keeper interface {
	Keep(op Op) func(Transcript)
}

// Transcript is what one run of a script on a server was sent, and what it answered. There is no secret in it, and nothing
// that could act on a terminal.
type Transcript struct {
	Op        Op
	Began     time.Time
	Took      time.Duration
	Ended     string // the exit code, or why the end was not seen
	Stderr    string // how it began, "" if there was none
	Lines     []TranscriptLine
	Left      int // lines that are not kept, after these
	LeftBytes int
}

// TranscriptLine is a line of a transcript: in ASCII, as lines of a script are.
type TranscriptLine struct {
	At   time.Duration // since the script was started
	Mark byte          // '>' sent, '<' answered, '?' printed, but no answer that could be understood
	Text string
}

// shown names the fields of the lines that go to scripts, after their kind; "-" is a secret. A transcript shows what has a
// name here: a field or a line that is new is taken for a secret until it is given one. Passwords go by SendSecret.
var shown = func() map[string][]string {
	kinds := map[string][]string{}
	for _, s := range []string{
		"start - seconds", "peer name host", "state", "ports", "unlock", "go", "set",
		"add id name description ports from profiles", "remove id stored",
		"listen port - -", "watch port from", "dial id address port words - after", "limits dial hold least most",
	} {
		fields := strings.Fields(s)
		kinds[fields[0]] = fields
	}
	return kinds
}()

const (
	redacted = "<redacted>"
	// transcriptLimit is how much of a conversation is kept, with what stands before each line.
	transcriptLimit = 1 << 20
	linePrefix      = len("1234567 > \n")
	// A page that answers a password is kept up to here: where the script cuts it off (http.ps1), half the password may stand.
	pageLimit = 2000
)

// tape keeps the lines of a script that runs, until it has ended. A nil tape keeps nothing.
type tape struct {
	op    Op
	began time.Time
	keep  func(Transcript)

	mu        sync.Mutex
	lines     []taped
	size      int
	left      int
	leftBytes int
	secrets   []string      // of fields
	passwords []secret.Text // lines of their own
}

type taped struct {
	at     time.Duration
	text   string
	sent   bool // and fit to be shown
	warned bool // a password had been sent
}

func newTape(r Runner, op Op) *tape {
	k, ok := r.(Keeper)
	if !ok {
		return nil
	}
	return &tape{op: op, keep: k.Keep(op), began: time.Now()}
}

// sent takes a line that goes to the script.
func (t *tape) sent(f Frame) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	names := shown[f.Kind()]
	line := make(Frame, len(f))
	for i, s := range f {
		if line[i] = s; s != "" && (i >= len(names) || names[i] == "-") {
			line[i] = redacted
			t.secrets = append(t.secrets, strings.Fields(s)...)
		}
	}
	t.add(taped{text: line.Line(), sent: true})
}

// password takes a line that is nothing but a password.
func (t *tape) password(p secret.Text) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passwords = append(t.passwords, p)
	t.add(taped{text: redacted, sent: true})
}

// answered takes a line that the script printed.
func (t *tape) answered(line string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(taped{text: line})
}

func (t *tape) add(l taped) {
	t.size += len(l.text) + linePrefix
	if t.left > 0 || t.size > transcriptLimit {
		t.left++
		t.leftBytes += len(l.text)
		return
	}
	l.at, l.warned = time.Since(t.began), len(t.passwords) > 0
	t.lines = append(t.lines, l)
}

// end hands on the transcript of a script that has ended. frame tells whether a line that was printed is an answer.
func (t *tape) end(code int, err error, stderr string, frame func(line string) (Frame, bool)) {
	if t == nil {
		return
	}
	t.keep(t.transcript(code, err, stderr, frame))
}

func (t *tape) transcript(code int, err error, stderr string, frame func(line string) (Frame, bool)) Transcript {
	t.mu.Lock()
	defer t.mu.Unlock()
	clean := t.cleaner()
	out := Transcript{
		Op: t.op, Began: t.began, Took: time.Since(t.began), Ended: fmt.Sprintf("exit code %d", code),
		Stderr: printable.Line(clean(stderr)), Left: t.left, LeftBytes: t.leftBytes,
	}
	if err != nil {
		out.Ended = printable.Line(clean(err.Error()))
	}
	if stderr != "" && len(t.passwords) > 0 {
		out.Stderr = redacted
	}
	size := 0
	for i, l := range t.lines {
		line := TranscriptLine{At: l.at, Mark: '>', Text: l.text}
		if !l.sent {
			line.Mark, line.Text = answer(l, clean, frame)
		}
		if size += len(line.Text) + linePrefix; size > transcriptLimit {
			for _, rest := range t.lines[i:] {
				out.Left++
				out.LeftBytes += len(rest.text)
			}
			break
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}

// answer is a line that was printed as a transcript shows it. What is no answer may hold a password in pieces; after one was
// sent it is not shown.
func answer(l taped, clean func(string) string, frame func(line string) (Frame, bool)) (mark byte, text string) {
	f, ok := frame(l.text)
	switch {
	case ok:
		for i, s := range f {
			f[i] = clean(s)
			if r := []rune(f[i]); l.warned && len(r) > pageLimit {
				f[i] = string(r[:pageLimit]) + "…"
			}
		}
		return '<', f.Line()
	case l.warned:
		return '?', redacted
	}
	return '?', escape(clean(l.text))
}

// cleaner takes out of a text every secret that was sent. Passwords are looked for in all forms; the others mean nothing to
// anybody but the scripts, which send them back as they are or, in what a dial was answered, in hexadecimal.
func (t *tape) cleaner() func(string) string {
	var pairs []string
	for _, s := range t.secrets {
		pairs = append(pairs, s, redacted, hex.EncodeToString([]byte(s)), redacted)
	}
	exact := strings.NewReplacer(pairs...)
	var forms []func(string) string
	for _, p := range t.passwords {
		forms = append(forms, eraser(p, redacted))
	}
	return func(s string) string {
		for _, erase := range forms {
			s = erase(s)
		}
		return exact.Replace(s)
	}
}

// Text is the transcript as a file. rows are the first of its head.
func (t Transcript) Text(rows ...[2]string) []byte {
	var b bytes.Buffer
	row := func(name, value string) { fmt.Fprintf(&b, "%-9s%s\n", name, value) }
	for _, r := range rows {
		row(r[0], printable.Line(r[1]))
	}
	row("script", t.Op.Name)
	row("sha256", t.Op.SHA256())
	row("began", t.Began.UTC().Format("2006-01-02T15:04:05.000Z"))
	row("took", fmt.Sprintf("%d ms", t.Took.Milliseconds()))
	row("ended", t.Ended)
	if t.Stderr != "" {
		row("stderr", t.Stderr)
	}
	b.WriteString(`
  Milliseconds since it began; > a line that was sent, after the script itself,
  < an answer, ? something else that was printed. Fields are separated by tabs;
  \\ is a backslash, \uXXXX a character by its number.

`)
	for _, l := range t.Lines {
		fmt.Fprintf(&b, "%7d %c %s\n", l.At.Milliseconds(), l.Mark, l.Text)
	}
	if t.Left > 0 {
		fmt.Fprintf(&b, "\n  %d more lines, %d bytes, are not kept\n", t.Left, t.LeftBytes)
	}
	return b.Bytes()
}
