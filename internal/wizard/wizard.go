// Package wizard is the conversation with an operator as a value: what is asked now, what an answer leads to, and what is
// to be done between two questions. It draws nothing and does nothing; its faces are the line prompts here and the screens
// of package tui.
package wizard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Step is one of the steps that the operator is led through.
type Step int

const (
	Site Step = iota + 1
	SignIn
	Connect
	Inspect
	Review
	Apply
	Prove
	Join
	Report
)

// Steps is how many steps there are.
const Steps = int(Report)

func (s Step) String() string {
	names := []string{"", "Site", "Sign-in", "Connect", "Inspect", "Review", "Apply", "Prove", "Join", "Report"}
	return names[s]
}

// Action is what is done between two questions: a command on the run.
type Action string

const (
	DoPlan    Action = "plan" // begins a run, unless it is one again of the same site and ticket
	DoApply   Action = "apply"
	DoVerify  Action = "verify"
	DoJoin    Action = "join"
	DoBackOut Action = "backout"
)

// Candidate is a site that can be chosen.
type Candidate struct {
	Name      string // what is chosen by
	Site      site.Site
	File      string // "" if it is in no file
	Last      string // its last run, in a few words
	Wrong     error  // why it cannot be used, nil if it can
	Simulated bool   // a site of the lab: it brings its password and its client certificate
}

// Setup is what a wizard begins with: what there is to choose, and answers that were given before it began.
type Setup struct {
	Candidates []Candidate
	// Open reads a site file; nil if there is none but the candidates.
	Open   func(file string) (Candidate, error)
	New    DraftSetup // of a new site file; without Make none can be made
	File   string     // the site file, "" to be asked for
	Ticket *string    // nil to be asked for
	// Passwords are those of a site's users that need not be asked for.
	Passwords func(site.Site) (Passwords, error)
}

// Passwords are passwords by user. Windows knows accounts without regard to case. However a value is printed that they are
// in, they are not.
type Passwords struct{ all *map[string]secret.Text } // fmt follows no pointer within a value

// Of is the password of a user; false if there is none.
func (p Passwords) Of(user string) (secret.Text, bool) {
	if p.all == nil {
		return "", false
	}
	s, ok := (*p.all)[strings.ToLower(user)]
	return s, ok
}

// With adds the password of a user.
func (p Passwords) With(user string, password secret.Text) Passwords {
	all := map[string]secret.Text{}
	if p.all != nil {
		all = *p.all
	}
	all = with(all, strings.ToLower(user), password)
	return Passwords{&all}
}

// or are these passwords, and for users without one those of others.
func (p Passwords) or(others Passwords) Passwords {
	if p.all == nil || others.all == nil {
		return Passwords{cmp.Or(p.all, others.all)}
	}
	all := maps.Clone(*others.all)
	maps.Copy(all, *p.all)
	return Passwords{&all}
}

// Answers are what the operator has answered.
type Answers struct {
	Candidate Candidate
	Ticket    string
	Passwords Passwords
	Approval  string // the site's name, as it was typed
	Rim       string // that is to join
	ByHand    bool   // the central node's part of it is done by people
	// Certificate and Key are the files of the site's client certificate, "" if a simulated site brings its own.
	Certificate, Key string
}

// Wizard is how far the conversation has come. Its methods return the next value and leave the one before as it was.
type Wizard struct {
	setup   Setup
	at      place
	answers Answers
	draft   Draft             // the site file that is being made
	user    int               // the one whose password is asked for
	given   Passwords         // that are not asked for
	signsIn string            // the site whose passwords the answers have
	later   []string          // rims that are not to join now
	said    map[string]string // answers as they were given, by question, to be proposed again; no secret is among them
	before  []Wizard          // what Back goes to

	rec     record.Record
	stage   string // of the action that runs
	applied bool   // what was approved was begun: there is no way back to the questions
	proving bool   // the action that runs has come to its proofs
	failed  error  // what kept the last action from being begun
}

// place is where the conversation is: at a question, or waiting for an action.
type place int

const (
	atSite place = iota
	atFile
	atNew
	atPassword
	atTicket
	planning
	atConnect
	atInspect
	atReview
	atApproval
	applying
	atApplied
	atProve
	verifying
	atUndo
	undoing
	atJoin
	atCertificate
	atKey
	atConfirm
	joining
	atJoined
	atReport
	over
)

var actions = map[place]Action{planning: DoPlan, applying: DoApply, verifying: DoVerify, joining: DoJoin, undoing: DoBackOut}

// New begins a conversation. The error is a site file's, if one was given.
func New(s Setup) (Wizard, error) {
	w := Wizard{setup: s, said: map[string]string{}}
	if s.File == "" {
		return w, nil
	}
	return w.open(s.File)
}

// Action is what is to be done now; false while there is a question.
func (w Wizard) Action() (Action, bool) {
	a, ok := actions[w.at]
	return a, ok
}

// Over tells whether the conversation has ended.
func (w Wizard) Over() bool { return w.at == over }

// Answers are those given so far.
func (w Wizard) Answers() Answers { return w.answers }

// Record is the run so far; its ID is "" before there is one.
func (w Wizard) Record() record.Record { return w.rec }

// Changed tells whether the command was begun that changes the servers. Until then nothing has been changed.
func (w Wizard) Changed() bool { return w.applied }

// Stage is the stage that the action that runs has come to, "" if none runs.
func (w Wizard) Stage() string { return w.stage }

// Step is the step that the conversation has come to.
func (w Wizard) Step() Step {
	switch w.at {
	case atSite, atFile, atNew:
		return Site
	case atPassword, atTicket:
		return SignIn
	case planning:
		if w.stage == "inspect" || w.stage == "plan" {
			return Inspect
		}
		return Connect
	case atConnect:
		if slices.ContainsFunc(w.rec.Servers, func(s record.Server) bool { return s.Failure != nil && s.Failure.Stage == "inspect" }) {
			return Inspect
		}
		return Connect
	case atInspect:
		return Inspect
	case atReview:
		return Review
	case applying:
		if w.proving {
			return Prove
		}
		return Apply
	case atApproval, atApplied, atUndo, undoing:
		return Apply
	case atProve, verifying:
		return Prove
	case atJoin, atCertificate, atKey, atConfirm, joining, atJoined:
		return Join
	}
	return Report
}

// Event takes in an event of the action that runs.
func (w Wizard) Event(e record.Event) Wizard {
	if _, fresh := e.(record.RunStarted); !fresh {
		w.rec = w.rec.Clone()
	}
	w.rec.Apply(e)
	switch e := e.(type) {
	case record.CommandStarted:
		if e.Name == string(DoApply) {
			w.applied, w.before = true, nil
		}
	case record.StageStarted:
		w.proving = w.proving || e.Stage == "prove" && w.stage == "apply"
		w.stage = e.Stage
	}
	return w
}

// Done ends the action that ran. failed is what kept it from being begun, or its end from being written; what became of it
// otherwise is in the record.
func (w Wizard) Done(failed error) Wizard {
	was := w.at
	w.stage, w.proving, w.failed = "", false, failed
	switch was {
	case planning:
		w.at = atInspect
		if w.broke() != "" || failed != nil {
			w.at = atConnect
			break
		}
		w.before = once(w.before)
	case applying:
		w.at = atProve
		if w.broke() != "" || failed != nil {
			w.at = atApplied
		}
	case verifying:
		w.at = atProve
	case joining:
		w.at = atJoined
		if w.broke() == "" && failed == nil {
			w = w.otherRim()
		}
	case undoing:
		w.at = atReport
		if w.rec.InPlace() > 0 { // not atApplied: what is tried again there is to add
			w.at = atUndo
		}
	}
	return w
}

// once are the questions to go back to once an action was done: each as it was asked last, and none about trouble that is
// mended.
func once(before []Wizard) []Wizard {
	var out []Wizard
	for i, b := range before {
		again := slices.ContainsFunc(before[i+1:], func(o Wizard) bool { return o.at == b.at && o.user == b.user })
		if b.at != atConnect && !again {
			out = append(out, b)
		}
	}
	return out
}

// broke is why the last command broke off, "" if it came to its end.
func (w Wizard) broke() string {
	if n := len(w.rec.Run.Commands); n > 0 {
		return w.rec.Run.Commands[n-1].Error
	}
	return ""
}

// Trouble is what went wrong with the last action, "" if nothing did.
func (w Wizard) Trouble() string {
	if w.failed != nil {
		return w.failed.Error()
	}
	return w.broke()
}

// CanGoBack tells whether there is a question to go back to.
func (w Wizard) CanGoBack() bool { return len(w.before) > 0 }

// Back goes to the question before. What was answered is kept, to be proposed again; a password that was about to be typed
// anew and was not is the one before.
func (w Wizard) Back() Wizard {
	n := len(w.before)
	if n == 0 {
		return w
	}
	was := w.before[n-1]
	was.before = w.before[:n-1]
	if w.at == atNew {
		if w.draft.CanGoBack() {
			was = w
			was.draft = w.draft.Back()
			return was
		}
		was.draft = w.draft
	}
	was.said, was.answers.Passwords, was.signsIn = w.said, w.answers.Passwords.or(was.answers.Passwords), w.signsIn
	was.rec, was.failed = w.rec, nil
	return was
}

// Answer answers the question. The error says what to answer instead, and then nothing has happened.
func (w Wizard) Answer(answer string) (Wizard, error) {
	q, ok := w.Question()
	if !ok {
		return w, errors.New("nothing is asked")
	}
	a, err := q.Check(answer)
	if err != nil {
		return w, err
	}
	if w.at == atNew {
		return w.drafts(a)
	}
	next, err := w.answer(a)
	if err != nil {
		return w, err
	}
	if q.Kind != Secret {
		next.said = with(w.said, q.ID+" "+q.Of, a)
	}
	if !w.applied && a != again { // the same is asked once more then
		next.before = append(slices.Clone(w.before), w)
	}
	return next, nil
}

func with[V any](m map[string]V, key string, v V) map[string]V {
	out := map[string]V{key: v}
	for k, o := range m {
		if k != key {
			out[k] = o
		}
	}
	return out
}

// answer goes on from the question with an answer that can be one.
func (w Wizard) answer(a string) (Wizard, error) {
	switch w.at {
	case atSite:
		switch {
		case a == anotherFile:
			w.at = atFile
			return w, nil
		case a == newSite && w.setup.New.Make != nil:
			draft, err := w.draft.again(w.setup.New)
			w.at, w.draft = atNew, draft
			return w, err
		}
		i := slices.IndexFunc(w.setup.Candidates, func(c Candidate) bool { return c.Name == a })
		if i < 0 {
			return w.open(a)
		}
		c := w.setup.Candidates[i]
		if c.File != "" { // it may have been edited since
			now, err := w.setup.Open(c.File)
			if err != nil {
				return w, err
			}
			c.Site, c.Wrong = now.Site, nil
		}
		return w.chosen(c)
	case atFile:
		return w.open(a)
	case atPassword:
		users := w.users()
		if a != "" { // else the one that was given before is kept
			w.answers.Passwords = w.answers.Passwords.With(users[w.user], secret.Text(a))
		}
		w.user++
		return w.signIn(), nil
	case atTicket:
		if err := CheckTicket(a); err != nil {
			return w, err
		}
		w.answers.Ticket, w.at = a, planning
	case atConnect:
		if a == password {
			w.given, w.answers.Passwords, w.user, w.failed = Passwords{}, Passwords{}, 0, nil
			return w.signIn(), nil
		}
		w = w.option(a, map[string]place{again: planning})
	case atInspect:
		w = w.option(a, map[string]place{next: atReview, again: planning})
	case atReview:
		w = w.option(a, map[string]place{next: atApproval})
	case atApproval:
		w.answers.Approval, w.at = a, applying
	case atApplied:
		w = w.option(a, map[string]place{again: applying, undo: atUndo})
	case atProve:
		if a == next {
			return w.nextRim(), nil
		}
		w = w.option(a, map[string]place{again: verifying, undo: atUndo})
	case atUndo:
		w = w.option(a, map[string]place{yes: undoing, no: atProve})
		if n := len(w.rec.Run.Commands); w.at == atProve && n > 0 && w.rec.Run.Commands[n-1].Name == string(DoApply) && w.broke() != "" {
			w.at = atApplied
		}
	case atJoin:
		w.answers.ByHand = a == byHand
		switch {
		case a == later:
			return w.otherRim(), nil
		case a == byHand:
			w.at = joining
		case w.answers.Candidate.Simulated:
			w.at = atConfirm
		default:
			w.at = atCertificate
		}
	case atCertificate:
		w.answers.Certificate, w.at = a, atKey
	case atKey:
		w.answers.Key, w.at = a, atConfirm
	case atConfirm:
		w = w.option(a, map[string]place{yes: joining, no: atJoin})
	case atJoined:
		if a == next {
			return w.otherRim(), nil
		}
		w = w.option(a, map[string]place{again: atJoin})
	default:
		w.at = over
	}
	return w, nil
}

// option goes to the place that an answer leads to; leaving leads to the end.
func (w Wizard) option(a string, to map[string]place) Wizard {
	w.failed = nil
	p, ok := to[a]
	if !ok {
		p = over
	}
	w.at = p
	return w
}

// drafts goes on with the new site file. Once it is made it is a candidate as any other, and chosen.
func (w Wizard) drafts(a string) (Wizard, error) {
	draft, err := w.draft.Answer(a)
	if err != nil {
		return w, err
	}
	w.draft = draft
	if !draft.Done() {
		return w, nil
	}
	c, err := w.setup.Open(draft.File())
	if err != nil {
		return w, err
	}
	if slices.ContainsFunc(w.setup.Candidates, func(o Candidate) bool { return o.Name == c.Name }) {
		c.Name = c.File
	}
	w.setup.Candidates = slices.Insert(slices.Clone(w.setup.Candidates), 0, c)
	w.said = with(w.said, "site ", c.Name)
	choice := w.before[len(w.before)-1] // which Back goes to
	choice.setup, choice.said = w.setup, w.said
	w.draft, w.before = Draft{}, []Wizard{choice}
	return w.chosen(c)
}

func (w Wizard) open(file string) (Wizard, error) {
	c, err := w.setup.Open(file)
	if err != nil {
		return w, err
	}
	return w.chosen(c)
}

// chosen goes on with a site.
func (w Wizard) chosen(c Candidate) (Wizard, error) {
	if c.Wrong != nil {
		return w, c.Wrong
	}
	var given Passwords
	if !c.Simulated {
		var err error
		if given, err = w.setup.Passwords(c.Site); err != nil {
			return w, err
		}
	}
	keep := Passwords{}
	if w.signsIn == c.File {
		keep = w.answers.Passwords
	}
	w.answers, w.signsIn = Answers{Candidate: c, Passwords: keep}, c.File
	w.given, w.user = given, 0
	return w.signIn(), nil
}

// signIn asks for what is missing to sign in, then for the ticket.
func (w Wizard) signIn() Wizard {
	users := w.users()
	if !w.answers.Candidate.Simulated {
		for ; w.user < len(users); w.user++ {
			p, given := w.given.Of(users[w.user])
			if !given {
				w.at = atPassword
				return w
			}
			w.answers.Passwords = w.answers.Passwords.With(users[w.user], p)
		}
	}
	w.at = atTicket
	if w.setup.Ticket != nil {
		w.answers.Ticket, w.at = *w.setup.Ticket, planning
	}
	return w
}

func (w Wizard) users() []string { return w.answers.Candidate.Site.Users() }

// nextRim asks about the next rim that can be joined.
func (w Wizard) nextRim() Wizard {
	w.failed = nil
	for _, name := range w.toJoin() {
		if !w.kept(name) {
			w.answers.Rim, w.at = name, atJoin
			return w
		}
	}
	w.at = atReport
	return w
}

// otherRim asks about the next rim that can be joined, but this one.
func (w Wizard) otherRim() Wizard {
	w.later = append(slices.Clone(w.later), w.answers.Rim)
	return w.nextRim()
}

// toJoin are the rims that wait for their certificates, and were not put off.
func (w Wizard) toJoin() []string {
	var rims []string
	for _, s := range w.rec.Servers {
		if s.Role == site.Rim && s.Phase == "installed" && !slices.Contains(w.later, s.Name) {
			rims = append(rims, s.Name)
		}
	}
	return rims
}

// kept tells whether a rim is kept from joining by a check that fails there or on the central node.
func (w Wizard) kept(rim string) bool {
	return slices.ContainsFunc(w.rec.Findings, func(f checks.Finding) bool {
		return f.Verdict == checks.Fail && f.Check != checks.JoinComplete && (f.Server == rim || f.Server == w.rec.Site.Central().Name)
	})
}

// CheckTicket checks the number of a change ticket: one short line, for it stands in every report. The error is a
// *site.Mistake.
func CheckTicket(text string) error {
	switch n := utf8.RuneCountInString(text); {
	case printable.Text(text) != text || strings.Contains(text, "\n"):
		return &site.Mistake{Text: "there are control characters in it", Hint: "write the number alone, as CHG0031337"}
	case n > 200:
		return &site.Mistake{Text: fmt.Sprintf("it has %d characters, and 200 are the most", n), Hint: "write the number alone, as CHG0031337"}
	}
	return nil
}
