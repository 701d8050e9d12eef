package wizard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// Prompts is the conversation as lines: numbered answers, nothing painted over. It is for screen readers, for what is no
// terminal, and for terminals that cannot do more.
type Prompts struct {
	Out io.Writer
	// Line reads what is answered; at the end of the input its error is io.EOF.
	Line func(context.Context) (string, error)
	// Hidden is Line for a secret, after asking for it: nothing of it is shown.
	Hidden func(ctx context.Context, prompt string) (secret.Text, error)
	// Before is called before anything is asked: what the operator has to read is written then.
	Before func()
	// Show is what there is to read of the run so far at a question.
	Show func(w Wizard, q Question) string
	// Silence is how long an action may say nothing before it is said that it still runs.
	Silence time.Duration
	// Typed tells whether a person types the answers, who ends the line of the question.
	Typed bool
}

// MissingError says that the input ended at a question.
type MissingError struct{ Question Question }

func (e *MissingError) Error() string {
	return "the answer is missing: " + strings.TrimSuffix(e.Question.Text, "?")
}

// Lead leads through a conversation until it is over, and returns it as it ended. The error is a *MissingError, or what
// ended ctx.
func (p *Prompts) Lead(ctx context.Context, w Wizard, r Runner) (Wizard, error) {
	step := Step(0)
	for !w.Over() {
		if now := w.Step(); now != step {
			step = now
			p.Before()
			fmt.Fprintf(p.Out, "\nStep %d of %d, %s\n", step, Steps, step)
		}
		if a, ok := w.Action(); ok {
			w = p.act(ctx, w, a, r)
			if err := ctx.Err(); err != nil {
				return w, err
			}
			continue
		}
		q, _ := w.Question()
		p.Before()
		if w.Trouble() != "" {
			fmt.Fprintf(p.Out, "error: %s\n", printable.Line(w.Trouble()))
		}
		io.WriteString(p.Out, p.Show(w, q))
		answered, err := answer(ctx, p, w, q, !w.Changed())
		if err != nil {
			return w, err
		}
		w = answered
	}
	return w, nil
}

// Next asks the question of a draft. The error is a *MissingError at the end of the input.
func (p *Prompts) Next(ctx context.Context, d Draft) (Draft, error) {
	q, ok := d.Question()
	if !ok {
		return d, nil
	}
	p.Before()
	return answer(ctx, p, d, q, true)
}

// asking is what asks questions one after the other.
type asking[T any] interface {
	CanGoBack() bool
	Back() T
	Answer(string) (T, error)
}

// answer asks until there is an answer that can be one. unchanged says that nothing has been changed so far.
func answer[T asking[T]](ctx context.Context, p *Prompts, w T, q Question, unchanged bool) (T, error) {
	p.notes(q)
	for first := true; ; first = false {
		a, err := p.put(ctx, q, w.CanGoBack(), first)
		if err != nil {
			return w, err
		}
		switch word := strings.ToLower(strings.TrimSpace(a)); {
		case q.Kind != Secret && word == "?":
			p.help(q, w.CanGoBack(), unchanged)
			continue
		case q.Kind != Secret && w.CanGoBack() && (word == "b" || word == "back"):
			return w.Back(), nil
		}
		next, err := w.Answer(a)
		if err == nil {
			return next, nil
		}
		p.wrong(err)
	}
}

// notes are what to know before a question is answered.
func (p *Prompts) notes(q Question) {
	for _, n := range q.Notes {
		fmt.Fprintln(p.Out, hanging("", n))
	}
}

// columns are those of the narrowest terminal.
const columns = 80

// hanging is a text behind what stands before it, broken between words, so that no terminal breaks it within them. A word
// that is longer than a line stays whole.
func hanging(before, text string) string {
	var b strings.Builder
	b.WriteString(before)
	indent := utf8.RuneCountInString(before)
	at := indent
	for word := range strings.FieldsSeq(printable.Text(text)) {
		switch wide := utf8.RuneCountInString(word); {
		case at == indent:
			at += wide
		case at+1+wide <= columns:
			b.WriteByte(' ')
			at += 1 + wide
		default:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent + wide
		}
		b.WriteString(word)
	}
	return b.String()
}

// wrong says what is wrong with an answer.
func (p *Prompts) wrong(err error) {
	var placed interface{ Detail() string }
	if errors.As(err, &placed) {
		io.WriteString(p.Out, placed.Detail())
		return
	}
	fmt.Fprintf(p.Out, "error: %s\n", printable.Line(err.Error()))
}

// put puts a question and reads what is answered. all says to list the options.
func (p *Prompts) put(ctx context.Context, q Question, back, all bool) (string, error) {
	yesNo := len(q.Options) == 2 && q.Options[0].Name == yes
	prompt := q.Text
	switch {
	case yesNo:
		prompt += " yes or no"
	case q.Kind == Choice:
		if all {
			p.options(q)
		}
		prompt += " Number or name"
		if q.Free != "" {
			prompt += ", or " + q.Free
		}
	case q.Optional && q.Default == "":
		prompt += " (optional)"
	}
	if back && q.Kind != Secret {
		prompt += ", b to go back"
	}
	if q.Kind == Secret && q.Given {
		prompt += " (enter keeps the one given)"
	}
	if q.Default != "" {
		if q.Optional {
			prompt += ", - for none"
		}
		prompt += " [" + printable.Line(q.Default) + "]"
	}
	prompt += ": "
	var answer string
	var err error
	if q.Kind == Secret {
		var s secret.Text
		s, err = p.Hidden(ctx, prompt)
		answer = s.Reveal()
	} else {
		fmt.Fprint(p.Out, hanging("", prompt)+" ")
		if !p.Typed {
			fmt.Fprintln(p.Out)
		}
		answer, err = p.Line(ctx)
	}
	switch {
	case errors.Is(err, io.EOF):
		return "", &MissingError{q}
	case err == nil && q.Optional && q.Default != "" && strings.TrimSpace(answer) == "":
		answer = q.Default
	case q.Optional && strings.TrimSpace(answer) == "-":
		answer = ""
	}
	return answer, err
}

// options lists what can be answered.
func (p *Prompts) options(q Question) {
	width := 0
	for _, o := range q.Options {
		width = max(width, len([]rune(o.Name)))
	}
	for i, o := range q.Options {
		name := printable.Line(o.Name)
		l := fmt.Sprintf("%3d  %s%s  ", i+1, name, strings.Repeat(" ", max(0, width-len([]rune(name)))))
		fmt.Fprintln(p.Out, strings.TrimRight(hanging(l, printable.Line(o.Text)), " "))
	}
}

func (p *Prompts) help(q Question, back, unchanged bool) {
	p.notes(q)
	if q.Kind == Choice {
		p.options(q)
		fmt.Fprintln(p.Out, "Answer with the number or the name, or its beginning.")
	}
	if back {
		fmt.Fprintln(p.Out, "b goes back; what was answered is proposed again.")
	}
	if unchanged {
		fmt.Fprintln(p.Out, "Nothing has been changed.")
	}
	if q.Flag != "" {
		fmt.Fprintln(p.Out, "Without the question: "+q.Flag)
	}
}

// act does an action, and follows it.
func (p *Prompts) act(ctx context.Context, w Wizard, a Action, r Runner) Wizard {
	f := &follower{prompts: p, w: w, heard: time.Now()}
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { f.watch(a, done) })
	err := r.Do(ctx, a, w.Answers(), f)
	close(done)
	watch.Wait()
	return f.w.Done(err)
}

// follower is the operator's end while an action runs.
type follower struct {
	prompts *Prompts

	mu    sync.Mutex
	w     Wizard
	heard time.Time // when something was told last
	asks  bool      // the operator is asked something: the action waits
}

func (f *follower) Tell(e record.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.w, f.heard = f.w.Event(e), time.Now()
}

func (f *follower) Ask(ctx context.Context, q Question) (string, error) {
	f.set(true)
	defer f.set(false)
	return f.prompts.Ask(ctx, q)
}

func (f *follower) set(asks bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks, f.heard = asks, time.Now()
}

// watch says now and then that the action still runs, if nothing else is heard of it.
func (f *follower) watch(a Action, done chan struct{}) {
	if f.prompts.Silence <= 0 {
		return
	}
	tick := time.NewTicker(f.prompts.Silence)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			f.mu.Lock()
			if silent := time.Since(f.heard); !f.asks && silent >= f.prompts.Silence {
				fmt.Fprintf(f.prompts.Out, "Still working: %s, nothing new for %d s\n", a, int(silent.Seconds()))
			}
			f.mu.Unlock()
		}
	}
}

// Ask asks a question of its own until there is an answer that can be one. The error is a *MissingError at the end of the
// input.
func (p *Prompts) Ask(ctx context.Context, q Question) (string, error) {
	p.Before()
	for first := true; ; first = false {
		a, err := p.put(ctx, q, false, first)
		if err != nil {
			return "", err
		}
		if a, err = q.Check(a); err == nil {
			return a, nil
		}
		p.wrong(err)
	}
}
