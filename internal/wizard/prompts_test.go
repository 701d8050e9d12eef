package wizard_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

func sprint(v any) string { return fmt.Sprintf("%v %+v", v, v) }

// script is a runner whose actions are events.
type script map[wizard.Action][]record.Event

func (s script) Do(_ context.Context, a wizard.Action, _ wizard.Answers, o wizard.Operator) error {
	for _, e := range s[a] {
		o.Tell(e)
	}
	return nil
}

var whole = script{
	wizard.DoPlan: planned(), wizard.DoApply: applied(),
	wizard.DoJoin: command("join", rimIs("joined"), record.CommandEnded{At: at}),
}

// typed are prompts whose answers are lines of a text; passwords are among them.
func typed(text string) (*wizard.Prompts, *bytes.Buffer) {
	var out bytes.Buffer
	in := bufio.NewReader(strings.NewReader(text))
	line := func(context.Context) (string, error) {
		s, err := in.ReadString('\n')
		if s != "" {
			err = nil
		}
		return strings.TrimRight(s, "\n"), err
	}
	return &wizard.Prompts{
		Out: &out, Line: line, Before: func() {},
		Hidden: func(ctx context.Context, prompt string) (secret.Text, error) {
			fmt.Fprintln(&out, prompt)
			s, err := line(ctx)
			return secret.Text(s), err
		},
		Show: func(_ wizard.Wizard, q wizard.Question) string { return "(what there is to read at " + q.ID + ")\n" },
	}, &out
}

// TestPrompts: the whole conversation in lines, with help, a way back and answers that are none, reads as
// testdata/prompts.txt does.
func TestPrompts(t *testing.T) {
	t.Parallel()
	p, out := typed(`?
bad.yaml
nowhere.yaml
1
c4nary
?
b

CHG1
b

b
-
next
1
finance
finance-bi
next
by hand
leave
`)
	w, err := p.Lead(t.Context(), begun(t, setup()), whole)
	if err != nil || !w.Over() {
		t.Fatalf("over is %v: %v\n%s", w.Over(), err, out)
	}
	if w.Record().Run.ID == "" || w.Answers().Ticket != "" {
		t.Errorf("the run is %q, the ticket %q", w.Record().Run.ID, w.Answers().Ticket)
	}
	if strings.Contains(out.String(), "c4nary") {
		t.Errorf("the password is shown: %s", out)
	}
	golden(t, "prompts.txt", out.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -update writes it anew. Got:\n%s", path, got)
	}
}

// TestEndOfInput: where the input ends, the error names the question, and how it is answered without being asked.
func TestEndOfInput(t *testing.T) {
	t.Parallel()
	for input, want := range map[string][2]string{
		"":                          {"Which site is this about", "-f FILE"},
		"1\n":                       {`Password of CORP\qs-admin`, "--password-stdin"},
		"1\nx\n":                    {"Number of the change ticket", "--ticket"},
		"1\nx\n\nnext\nnext\n":      {"Type the site's name to go on", "preflight apply RUN --approve DIGEST"},
		"1\nx\n\nnext\nnext\nlab\n": {"Type the site's name to go on", "preflight apply RUN --approve DIGEST"},
	} {
		p, _ := typed(input)
		_, err := p.Lead(t.Context(), begun(t, setup()), whole)
		var missing *wizard.MissingError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), want[0]) || missing.Question.Flag != want[1] {
			t.Errorf("after %q: %v, want %q", input, err, want)
		}
	}
}

// TestCancelled: what ends the context ends the conversation, at a question and while an action runs.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, _ := typed("1\nx\n\n")
	_, err := p.Lead(ctx, begun(t, setup()), runs(func(ctx context.Context, _ wizard.Operator) error { cancel(); return ctx.Err() }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while an action ran: %v", err)
	}
	p.Line = func(ctx context.Context) (string, error) { return "", ctx.Err() }
	if _, err := p.Lead(ctx, begun(t, setup()), whole); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled at a question: %v", err)
	}
}

// runs is a runner whose every action is a function.
type runs func(context.Context, wizard.Operator) error

func (r runs) Do(ctx context.Context, _ wizard.Action, _ wizard.Answers, o wizard.Operator) error {
	return r(ctx, o)
}

// TestPasswordIsNoCommand: what is a command at other questions is a password where one is asked for.
func TestPasswordIsNoCommand(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"?", "b", "back"} {
		p, out := typed("1\n" + word + "\n\n")
		w, _ := p.Lead(t.Context(), begun(t, setup()), whole)
		if got := password(w.Answers()); got != word {
			t.Errorf("the password is %q, typed was %q:\n%s", got, word, out)
		}
	}
}

// TestPromptsAct: text from a server or an answer that could act does not.
func TestPromptsAct(t *testing.T) {
	t.Parallel()
	p, out := typed("1\nx\nCHG\u202e1\nCHG1\nb\n")
	p.Lead(t.Context(), begun(t, setup()), script{wizard.DoPlan: append(planned(), brokeOff("plan", "a\x1b[2Jb\u202ec")...)})
	if s := out.String(); strings.ContainsAny(s, "\x1b\u202e") || !strings.Contains(s, "error: a[2Jbc\n") || !strings.Contains(s, "error: there are control characters in it\n") || !strings.Contains(s, "[CHG1]: ") {
		t.Errorf("it reads as %q", s)
	}
}

// TestPromptsWrap: no line of options and a question is so long that a terminal breaks it within a word.
func TestPromptsWrap(t *testing.T) {
	t.Parallel()
	p, out := typed("1\n")
	long := strings.Repeat("word ", 30) + strings.Repeat("x", 90) + " end"
	q := wizard.Question{Kind: wizard.Choice, Text: "Which of these " + strings.Repeat("long ", 20) + "is it?", Options: []wizard.Option{{Name: "one", Text: long}, {Name: "two"}}}
	if a, err := p.Ask(t.Context(), q); err != nil || a != "one" {
		t.Fatalf("the answer is %q: %v", a, err)
	}
	for line := range strings.Lines(out.String()) {
		if l := strings.TrimRight(line, "\n"); len(l) > 81 && !strings.HasSuffix(l, strings.Repeat("x", 90)) {
			t.Errorf("a line has %d columns: %s", len(l), l)
		}
	}
	says := out.String()
	for _, want := range []string{"  1  one  word word", "\n          word word", "\n          " + strings.Repeat("x", 90) + "\n          end\n", "is it? Number or name: \n"} {
		if !strings.Contains(says, want) {
			t.Errorf("%q is not in\n%s", want, says)
		}
	}
}

// TestTicket: the number of a ticket is one short line.
func TestTicket(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "CHG0031337": "", strings.Repeat("ä", 200): "", strings.Repeat("x", 201): "it has 201 characters",
		"CHG\x1b[2J": "control characters", "CHG\n1": "control characters", "CHG\u202e1": "control characters", "CHG\xff": "control characters",
	} {
		if err := wizard.CheckTicket(text); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	w := answers(t, begun(t, setup()), "", "x")
	if _, err := w.Answer(strings.Repeat("x", 201)); err == nil || !strings.Contains(err.Error(), "200 are the most") {
		t.Errorf("a long ticket: %v", err)
	}
}

// TestAsk: what an action itself asks is asked until there is an answer; at the end of the input it is missing.
func TestAsk(t *testing.T) {
	t.Parallel()
	p, out := typed("1\nx\n\nperhaps\ny\n\nword\n")
	before := 0
	p.Before = func() { before++ }
	var answers []string
	_, err := p.Lead(t.Context(), begun(t, setup()), runs(func(ctx context.Context, o wizard.Operator) error {
		for _, q := range []wizard.Question{
			wizard.YesNo("done", "Is that done?"), {ID: "one-time password", Kind: wizard.Secret, Text: "One-time password"}, wizard.YesNo("done", "Is it?"),
		} {
			was := before
			a, err := o.Ask(ctx, q)
			if before == was {
				t.Error("what there was to read was not written before it was asked")
			}
			answers = append(answers, fmt.Sprint(a, " ", errors.As(err, new(*wizard.MissingError))))
		}
		return errors.New("nobody answers")
	}))
	if want := "yes false, word false,  true"; strings.Join(answers, ", ") != want {
		t.Errorf("the answers are %q, want %q; %v\n%s", strings.Join(answers, ", "), want, err, out)
	}
	for _, want := range []string{"Is that done? yes or no: \n", `error: "perhaps" is none of the answers`, "error: nobody answers\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}

// TestStillWorking: an action of which nothing is heard is said to run still, but not while it waits for an answer, nor
// before it was silent for long enough.
func TestStillWorking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := typed("1\nx\n\n")
		var out written
		p.Out, p.Silence = &out, 30*time.Second
		said := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(out.String(), "Still working: plan, nothing new for "); n != want {
				t.Errorf("%s it was said %d times, want %d:\n%s", when, n, want, out.String())
			}
		}
		p.Lead(t.Context(), begun(t, setup()), runs(func(ctx context.Context, o wizard.Operator) error {
			time.Sleep(29 * time.Second)
			o.Tell(record.StageStarted{Stage: "connect"})
			time.Sleep(10 * time.Second)
			said("after 10 s", 0)
			time.Sleep(25 * time.Second)
			said("after 35 s", 1)
			p.Line = func(context.Context) (string, error) {
				time.Sleep(time.Hour)
				return "y", nil
			}
			o.Ask(ctx, wizard.YesNo("done", "Is it done?"))
			said("while it was asked", 1)
			p.Line = func(context.Context) (string, error) { return "", io.EOF }
			return nil
		}))
	})
}

// written is what was written, from any goroutine.
type written struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
