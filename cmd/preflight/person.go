package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/internal/join"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// person is the operator at a join by hand. The end of the input is no answer.
type person struct {
	ask func(context.Context, wizard.Question) (string, error)
}

// OneTimePassword asks for what the QMC shows.
func (p person) OneTimePassword(ctx context.Context) (secret.Text, error) {
	text, err := p.ask(ctx, wizard.Question{ID: "one-time password", Step: wizard.Join, Kind: wizard.Secret, Text: "One-time password"})
	var missing *wizard.MissingError
	if errors.As(err, &missing) {
		err = nil
	}
	return secret.Text(strings.TrimSpace(text)), err
}

// Confirm asks a question that is answered with yes or no.
func (p person) Confirm(ctx context.Context, question string) (join.Answer, error) {
	q := wizard.YesNo("by hand", question)
	q.Step = wizard.Join
	text, err := p.ask(ctx, q)
	var missing *wizard.MissingError
	switch {
	case errors.As(err, &missing):
		return join.NoAnswer, nil
	case err != nil:
		return join.NoAnswer, err
	case wizard.Yes(text):
		return join.Yes, nil
	}
	return join.No, nil
}

// prompts asks in lines: on standard error, answered on standard input. before shows what there is to read before something
// is asked.
func (a *app) prompts(before func()) *wizard.Prompts {
	t := &typist{app: a, lines: bufio.NewReader(a.stdin)}
	if in, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		t.terminal = in
	}
	return &wizard.Prompts{Out: a.stderr, Line: t.line, Hidden: t.hidden, Before: before, Typed: t.terminal != nil}
}

// typist is who answers on standard input.
type typist struct {
	app      *app
	terminal *os.File // nil: lines come from standard input
	lines    *bufio.Reader
}

// hidden asks for a secret, on a terminal without echo.
func (t *typist) hidden(ctx context.Context, prompt string) (secret.Text, error) {
	if t.terminal != nil {
		return t.app.prompt(ctx, t.terminal, prompt)
	}
	fmt.Fprint(t.app.stderr, prompt+"\n")
	s, err := t.line(ctx)
	return secret.Text(s), err
}

// line is a line of standard input; at its end the error is io.EOF. A question that was broken off may be reading still:
// then its line is taken.
func (t *typist) line(ctx context.Context) (string, error) {
	if t.app.unread == nil {
		t.app.unread = make(chan answer, 1)
		go func(to chan answer) {
			s, err := t.lines.ReadString('\n')
			to <- answer{strings.TrimRight(s, "\r\n"), err}
		}(t.app.unread)
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(t.app.stderr)
		return "", ctx.Err()
	case got := <-t.app.unread:
		t.app.unread = nil
		switch {
		case got.err == nil, errors.Is(got.err, io.EOF) && got.text != "": // the last line has no end
			return got.text, nil
		case errors.Is(got.err, io.EOF):
			return "", io.EOF
		}
		return got.text, fmt.Errorf("reading standard input: %w", got.err)
	}
}
