package wizard

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/qlik-preflight/preflight/internal/record"
)

// Kind is what a question wants.
type Kind int

const (
	Choice Kind = iota // one of the options
	Text               // a line
	Secret             // a line that is never shown
)

// Question is what is asked.
type Question struct {
	ID       string // the same for every question of this sort
	Of       string // whom or what it is about: a user, a rim
	Step     Step
	Kind     Kind
	Text     string   // the question itself, one line
	Notes    []string // what to know before it is answered
	Options  []Option // of a choice
	Free     string   // of a choice: what else can be answered, "" for nothing
	Default  string   // what an empty answer means, "" if it has to be answered; what is proposed, if it is optional
	Optional bool     // an empty answer is one
	Given    bool     // of a secret: it was given before, and an empty answer keeps it
	Flag     string   // what answers it without being asked: a flag, a key of the site file, a command
	Must     string   // of a text: what alone is taken
}

// Option is one of the answers to a choice.
type Option struct {
	Key  string // one letter, where the screen has a key for it
	Name string // the answer
	Text string // what it means
}

// The answers that lead somewhere.
const (
	next        = "next"
	again       = "again"
	undo        = "undo"
	leave       = "leave"
	yes         = "yes"
	no          = "no"
	certificate = "certificate"
	byHand      = "by hand"
	later       = "later"
	anotherFile = "another file"
	newSite     = "new"
	password    = "password"
)

// Operator is the other end of the conversation while an action runs. Both its methods may be called from any goroutine.
type Operator interface {
	// Tell tells what happens. It never waits.
	Tell(record.Event)
	// Ask asks what the action itself has to know.
	Ask(ctx context.Context, q Question) (string, error)
}

// Runner does what a conversation leads to.
type Runner interface {
	// Do does an action. Its error is what kept it from being begun, or its end from being written; what became of it
	// otherwise is in the events.
	Do(ctx context.Context, a Action, with Answers, o Operator) error
}

// YesNo is a question that is answered with yes or no.
func YesNo(id, text string) Question {
	return Question{ID: id, Kind: Choice, Text: text, Options: []Option{{"y", yes, ""}, {"x", no, ""}}}
}

// Yes tells whether an answer to YesNo is yes.
func Yes(answer string) bool { return answer == yes }

// Check makes an answer what it has to be: of a choice, which can also be answered by number or by the beginning of a name,
// the name. The error says what to answer instead.
func (q Question) Check(answer string) (string, error) {
	if q.Kind != Secret {
		answer = strings.TrimSpace(answer)
	}
	if answer == "" {
		switch {
		case q.Optional, q.Given:
			return "", nil
		case q.Default != "":
			return q.Default, nil
		}
		return "", fmt.Errorf("an answer is needed: %s", q.wanted())
	}
	switch q.Kind {
	case Choice:
		return q.choose(answer)
	case Text:
		if q.Must != "" && answer != q.Must {
			return "", fmt.Errorf("%q is not it: %s", answer, q.wanted())
		}
		if strings.ContainsFunc(answer, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", fmt.Errorf("there are control characters in it: %s", q.wanted())
		}
	}
	return answer, nil
}

// choose finds the option that an answer names.
func (q Question) choose(answer string) (string, error) {
	if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(q.Options) {
		return q.Options[n-1].Name, nil
	}
	var begun []string
	for _, o := range q.Options {
		switch {
		case strings.EqualFold(o.Name, answer):
			return o.Name, nil
		case len(o.Name) > len(answer) && strings.EqualFold(o.Name[:len(answer)], answer):
			begun = append(begun, o.Name)
		}
	}
	switch {
	case len(begun) == 1:
		return begun[0], nil
	case q.Free != "":
		return answer, nil
	}
	return "", fmt.Errorf("%q is none of the answers: %s", answer, q.wanted())
}

// wanted says what to answer.
func (q Question) wanted() string {
	switch {
	case q.Kind == Choice:
		var names []string
		for _, o := range q.Options {
			names = append(names, o.Name)
		}
		return "write a number from 1 to " + strconv.Itoa(len(names)) + ", or one of " + strings.Join(names, ", ")
	case q.Must != "":
		return "write " + q.Must
	case q.Kind == Secret:
		return "type it, or paste it"
	}
	return "write " + strings.ToLower(q.Text[:1]) + q.Text[1:]
}
