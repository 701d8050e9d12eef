package wizard_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

func twoNodes(name string) site.Site {
	in := site.WinRM{User: `CORP\qs-admin`}
	return site.Site{Name: name, Release: "1.0.2", Nodes: []site.Node{
		{Name: "qs-central", Role: site.Central, WinRM: in}, {Name: "qs-rim1", Role: site.Rim, WinRM: in},
		{Name: "qs-rim2", Role: site.Rim, WinRM: site.WinRM{User: `corp\QS-ADMIN`}},
	}}
}

var errBad = errors.New(`bad.yaml:14:17: role "slave" is not known`)

// setup has two sites that can be chosen, one that cannot, and the lab.
func setup() wizard.Setup {
	return wizard.Setup{
		Candidates: []wizard.Candidate{
			{Name: "finance-bi", Site: twoNodes("finance-bi"), File: "finance-bi.yaml"},
			{Name: "bad.yaml", File: "bad.yaml", Wrong: errBad},
			{Name: "lab", Simulated: true},
		},
		Open: func(file string) (wizard.Candidate, error) {
			switch name := strings.TrimSuffix(file, ".yaml"); name {
			case "there", "finance-bi":
				return wizard.Candidate{Name: name, Site: twoNodes(name), File: file}, nil
			case "bad":
				return wizard.Candidate{}, errBad
			}
			return wizard.Candidate{}, errors.New("reading the site file " + file + ": no such file")
		},
		Passwords: func(site.Site) (wizard.Passwords, error) { return wizard.Passwords{}, nil },
	}
}

func password(a wizard.Answers) string {
	p, _ := a.Passwords.Of(`corp\QS-ADMIN`)
	return p.Reveal()
}

func begun(t *testing.T, s wizard.Setup) wizard.Wizard {
	t.Helper()
	w, err := wizard.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// answers gives answers, each of which has to be taken.
func answers(t *testing.T, w wizard.Wizard, all ...string) wizard.Wizard {
	t.Helper()
	for _, a := range all {
		next, err := w.Answer(a)
		if err != nil {
			q, _ := w.Question()
			t.Fatalf("%s: %q: %v", q.ID, a, err)
		}
		w = next
	}
	return w
}

// asks checks which question is asked; "" for none.
func asks(t *testing.T, w wizard.Wizard, id string, step wizard.Step) wizard.Question {
	t.Helper()
	q, ok := w.Question()
	if ok != (id != "") || q.ID != id || w.Step() != step || ok && q.Step != step {
		t.Fatalf("%q is asked in step %v (%v), want %q in %v", q.ID, q.Step, w.Step(), id, step)
	}
	return q
}

// does checks which action is to be done, and has events happen in it.
func does(t *testing.T, w wizard.Wizard, want wizard.Action, events ...record.Event) wizard.Wizard {
	t.Helper()
	if a, ok := w.Action(); !ok || a != want {
		q, _ := w.Question()
		t.Fatalf("to be done is %q (%v), asked is %q; want %q done", a, ok, q.ID, want)
	}
	if q, ok := w.Question(); ok {
		t.Fatalf("%q is asked while %s runs", q.ID, want)
	}
	for _, e := range events {
		w = w.Event(e)
	}
	return w
}

var at = time.Date(2026, 11, 24, 10, 18, 0, 0, time.UTC)

func command(name string, events ...record.Event) []record.Event {
	return append([]record.Event{record.CommandStarted{Name: name, At: at}}, events...)
}

// planned are the events of a plan with one rule; a rim is waiting for its certificates.
func planned() []record.Event {
	return append([]record.Event{record.RunStarted{RunID: "finance-bi-1", Site: twoNodes("finance-bi"), At: at}}, command("plan",
		record.StageStarted{Stage: "connect"}, record.StageStarted{Stage: "inspect"}, rimIs("installed"), record.StageStarted{Stage: "plan"},
		record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-rim1"}}}, record.CommandEnded{At: at})...)
}

// rimIs inspects qs-rim1.
func rimIs(phase string) record.Event {
	e := record.ServerInspected{Server: "qs-rim1", Role: site.Rim}
	e.Facts.Releases.V = []string{"Qlik Sense 1.0.2"}
	if phase == "installed" {
		e.Facts.State.V = 1
	} else {
		e.Facts.State.V = 2
	}
	return e
}

func applied() []record.Event {
	return command("apply", record.StageStarted{Stage: "connect"}, record.StageStarted{Stage: "prove"}, record.StageStarted{Stage: "apply"},
		record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Done, At: at}, record.StageStarted{Stage: "prove"}, record.CommandEnded{At: at})
}

func brokeOff(name, why string) []record.Event {
	return command(name, record.CommandEnded{Error: why, At: at})
}

// reviewed is a conversation that has come to the review.
func reviewed(t *testing.T) wizard.Wizard {
	t.Helper()
	w := answers(t, begun(t, setup()), "finance-bi", "secret", "CHG1")
	return answers(t, does(t, w, wizard.DoPlan, planned()...).Done(nil), "next")
}

// TestWhole: the conversation from its first question to the end, with a join by hand, and what may be changed when.
func TestWhole(t *testing.T) {
	t.Parallel()
	w := begun(t, setup())
	asks(t, w, "site", wizard.Site)
	if w.CanGoBack() || w.Changed() {
		t.Error("there is a way back from the first question, or something was changed")
	}
	w = answers(t, w, "1")
	q := asks(t, w, "password", wizard.SignIn)
	if q.Of != `CORP\qs-admin` || q.Kind != wizard.Secret || q.Given {
		t.Errorf("asked is %+v", q)
	}
	w = answers(t, w, " s3cret ") // a password is taken as it is typed; one user has one, however it is written
	asks(t, w, "ticket", wizard.SignIn)
	w = answers(t, w, " CHG0031337 ")
	if a := w.Answers(); a.Ticket != "CHG0031337" || password(a) != " s3cret " || a.Candidate.File != "finance-bi.yaml" {
		t.Errorf("the answers are %+v", a)
	}
	w = does(t, w, wizard.DoPlan, planned()[:3]...)
	asks(t, w, "", wizard.Connect)
	w = does(t, w, wizard.DoPlan, planned()[3:]...)
	asks(t, w, "", wizard.Inspect)
	w = w.Done(nil)
	asks(t, w, "inspect", wizard.Inspect)
	w = answers(t, w, "")
	asks(t, w, "review", wizard.Review)
	w = answers(t, w, "n")
	asks(t, w, "approve", wizard.Apply)
	if w.Changed() || !w.CanGoBack() {
		t.Error("before the approval something was changed, or there is no way back")
	}
	if _, err := w.Answer("finance"); err == nil || !strings.Contains(err.Error(), `"finance" is not it: write finance-bi`) {
		t.Errorf("another name than the site's: %v", err)
	}
	w = answers(t, w, "finance-bi")
	if w.Changed() {
		t.Error("before applying was begun it is said that something was changed")
	}
	if w := w.Event(command("apply")[0]); !w.Changed() || w.CanGoBack() || w.Answers().Approval != "finance-bi" {
		t.Error("after the approval nothing was changed, or there is a way back")
	}
	w = does(t, w, wizard.DoApply, applied()[:3]...)
	asks(t, w, "", wizard.Apply)
	w = does(t, w, wizard.DoApply, applied()[3:6]...)
	asks(t, w, "", wizard.Prove)
	w = does(t, w, wizard.DoApply, applied()[6:]...).Done(nil)
	q = asks(t, w, "prove", wizard.Prove)
	if q.Text != "Go on to the join of qs-rim1?" {
		t.Errorf("what comes next is %q", q.Text)
	}
	w = does(t, answers(t, w, "again"), wizard.DoVerify, command("verify", record.CommandEnded{At: at})...).Done(nil)
	w = answers(t, w, "next")
	asks(t, w, "join", wizard.Join)
	w = answers(t, w, "by hand")
	if a := w.Answers(); a.Rim != "qs-rim1" || !a.ByHand {
		t.Errorf("the answers are %+v", a)
	}
	w = does(t, w, wizard.DoJoin, command("join", rimIs("joined"), record.CommandEnded{At: at})...).Done(nil)
	asks(t, w, "report", wizard.Report)
	if w = answers(t, w, ""); !w.Over() {
		t.Error("it is not over")
	}
}

// TestBack: every question before the approval can be gone back from, to the one before it, and what was answered is
// proposed again; the password is kept and never shown. What was planned stands until it is planned again.
func TestBack(t *testing.T) {
	t.Parallel()
	w := answers(t, reviewed(t), "next")
	for _, want := range []struct {
		id, proposed string
		given        bool
	}{{"review", "next", false}, {"inspect", "next", false}, {"ticket", "CHG1", false}, {"password", "", true}, {"site", "finance-bi", false}} {
		before := w
		w = w.Back()
		q, _ := w.Question()
		if q.ID != want.id || q.Default != want.proposed || q.Given != want.given {
			t.Fatalf("back is %s, proposed %q, given %v; want %+v", q.ID, q.Default, q.Given, want)
		}
		if w.Record().Change.PlanSHA256 != "9f2c" {
			t.Errorf("at %s the plan is forgotten", q.ID)
		}
		if b, _ := before.Question(); b.ID == q.ID {
			t.Errorf("going back has changed the value it began from")
		}
	}
	if w.CanGoBack() || w.Back().Step() != wizard.Site {
		t.Error("there is a way back from the first question")
	}
	w = answers(t, w, "", "", "CHG1")
	if a := w.Answers(); a.Ticket != "CHG1" || password(a) != "secret" {
		t.Errorf("what was answered before is not kept: %+v", a)
	}
	does(t, w, wizard.DoPlan)

	// Looking once more is nothing to go back to, nor is trouble that was mended.
	w = does(t, w, wizard.DoPlan, planned()...).Done(nil)
	w = does(t, answers(t, w, "again"), wizard.DoPlan, planned()...).Done(nil)
	if q := asks(t, w, "inspect", wizard.Inspect); q.Default != "next" {
		t.Errorf("proposed is %q, which was said before", q.Default)
	}
	w = does(t, answers(t, w, "again"), wizard.DoPlan, planned()...).Done(errors.New("unreachable"))
	asks(t, w, "connect", wizard.Connect)
	w = does(t, answers(t, w, "again"), wizard.DoPlan, planned()...).Done(nil)
	asks(t, w.Back(), "ticket", wizard.SignIn)
	rejected := append(planned()[:3:3], record.ServerFailed{Server: "qs-rim1", Stage: "connect", Kind: "rejected"}, record.CommandEnded{Error: "rejected", At: at})
	w = does(t, answers(t, w, "again"), wizard.DoPlan, rejected...).Done(nil)
	asks(t, answers(t, w, "password").Back(), "connect", wizard.Connect)
	w = does(t, answers(t, w, "password", "another", ""), wizard.DoPlan, planned()...).Done(nil)
	for _, id := range []string{"ticket", "password"} {
		w = w.Back()
		asks(t, w, id, wizard.SignIn)
	}
	asks(t, w.Back(), "site", wizard.Site)

	// Of several users each password is a question of its own.
	two := setup()
	two.Open = func(file string) (wizard.Candidate, error) {
		s := twoNodes("two")
		s.Nodes[1].WinRM.User = "local"
		return wizard.Candidate{Name: "two", Site: s, File: file}, nil
	}
	w = does(t, answers(t, begun(t, two), "two.yaml", "a", "b", ""), wizard.DoPlan, planned()...).Done(nil)
	for _, of := range []string{"", "local", `CORP\qs-admin`} {
		w = w.Back()
		if q, _ := w.Question(); q.Of != of {
			t.Errorf("back is %s of %q, want it of %q", q.ID, q.Of, of)
		}
	}

	// Another site needs its own password.
	w = begun(t, setup())
	w = answers(t, w, "finance-bi", "secret").Back().Back()
	w = answers(t, w, "there.yaml")
	if q := asks(t, w, "password", wizard.SignIn); q.Given {
		t.Error("the password of another site is kept")
	}
}

// TestSite: what can be answered to the first question, and what is said against the rest.
func TestSite(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ answer, asks, err string }{
		{"", "password", ""}, // the first
		{"1", "password", ""},
		{"FIN", "password", ""},
		{"3", "ticket", ""}, // the lab has its own password
		{"lab", "ticket", ""},
		{"another file", "file", ""},
		{"4", "file", ""},
		{"there.yaml", "password", ""},
		{"2", "", errBad.Error()},
		{"none.yaml", "", "reading the site file none.yaml: no such file"},
		{"17", "", "reading the site file 17: no such file"},
		{"there.yaml\x1b[2J", "", "no such file"},
	} {
		w, err := begun(t, setup()).Answer(test.answer)
		q, _ := w.Question()
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: %v, want %q", test.answer, err, test.err)
		case test.err != "" && q.ID != "site":
			t.Errorf("%q: after an error %s is asked", test.answer, q.ID)
		case test.err == "" && (err != nil || q.ID != test.asks):
			t.Errorf("%q: %s is asked (%v), want %s", test.answer, q.ID, err, test.asks)
		}
	}

	// A site file that was edited meanwhile is taken as it is now.
	s := setup()
	s.Open = func(file string) (wizard.Candidate, error) {
		return wizard.Candidate{Name: "edited", Site: twoNodes("edited"), File: file}, nil
	}
	for _, file := range []string{"finance-bi", "bad.yaml"} {
		w := answers(t, begun(t, s), file)
		if c := w.Answers().Candidate; c.Site.Name != "edited" || c.Name != file || c.Wrong != nil {
			t.Errorf("of an edited %s this is taken: %+v", file, c)
		}
	}

	// What cannot be used is not proposed.
	wrong := setup()
	wrong.Candidates = wrong.Candidates[1:]
	if q := asks(t, begun(t, wrong), "site", wizard.Site); q.Default != "" {
		t.Errorf("proposed is %q, which cannot be used", q.Default)
	}

	// Without files there is nothing but the candidates.
	s.Open, s.Candidates = nil, s.Candidates[2:]
	if q := asks(t, begun(t, s), "site", wizard.Site); len(q.Options) != 1 || q.Free != "" {
		t.Errorf("without files the answers are %+v", q)
	}
	if _, err := begun(t, s).Answer("there.yaml"); err == nil {
		t.Error("without files one can be chosen")
	}
	if c, ok := begun(t, setup()).Chosen("finance-bi"); !ok || c.File != "finance-bi.yaml" {
		t.Errorf("finance-bi would choose %+v, %v", c, ok)
	}
	if _, ok := begun(t, setup()).Chosen("bad.yaml"); ok {
		t.Error("a site file that cannot be used can be chosen")
	}
}

// TestGiven: what was given before is not asked for.
func TestGiven(t *testing.T) {
	t.Parallel()
	s := setup()
	ticket := "CHG7"
	s.File, s.Ticket = "there.yaml", &ticket
	s.Passwords = func(site.Site) (wizard.Passwords, error) {
		return wizard.Passwords{}.With(`CORP\QS-admin`, "from a file"), nil
	}
	w := begun(t, s)
	does(t, w, wizard.DoPlan)
	if a := w.Answers(); a.Ticket != "CHG7" || password(a) != "from a file" || a.Candidate.Name != "there" {
		t.Errorf("the answers are %+v", a)
	}
	s.Passwords = func(site.Site) (wizard.Passwords, error) { return wizard.Passwords{}, errors.New("the file is empty") }
	if _, err := wizard.New(s); err == nil {
		t.Error("a file of passwords that cannot be read is no error")
	}
	s.File = "none.yaml"
	if _, err := wizard.New(s); err == nil {
		t.Error("a site file that is not there is no error")
	}
}

// TestTrouble: what can be done when an action broke off.
func TestTrouble(t *testing.T) {
	t.Parallel()
	names := func(w wizard.Wizard) (all []string) {
		q, _ := w.Question()
		for _, o := range q.Options {
			all = append(all, o.Name)
		}
		return all
	}
	failed := func(kind string) []record.Event {
		return append(planned()[:3:3], record.ServerFailed{Server: "qs-rim1", Stage: "connect", Kind: kind}, record.CommandEnded{Error: "1 of 3 servers could not be signed in to", At: at})
	}
	plan := answers(t, begun(t, setup()), "finance-bi", "wrong", "")

	w := does(t, plan, wizard.DoPlan, failed("refused")...).Done(nil)
	asks(t, w, "connect", wizard.Connect)
	if got := names(w); !slices.Equal(got, []string{"again", "leave"}) || w.Trouble() == "" {
		t.Errorf("refused: %q, %q", got, w.Trouble())
	}
	does(t, answers(t, w, ""), wizard.DoPlan)
	if w := answers(t, w, "leave"); !w.Over() {
		t.Error("leaving is not the end")
	}

	w = does(t, plan, wizard.DoPlan, failed("rejected")...).Done(nil)
	if got := names(w); !slices.Equal(got, []string{"password", "again", "leave"}) {
		t.Errorf("rejected: %q", got)
	}
	w = answers(t, w, "")
	if q := asks(t, w, "password", wizard.SignIn); q.Given {
		t.Error("a password that was rejected is kept")
	}
	if a := does(t, answers(t, w.Back(), "again"), wizard.DoPlan).Answers(); password(a) != "wrong" {
		t.Errorf("without another password servers are signed in to with %q, which counts towards a lock-out", password(a))
	}
	w = answers(t, w, "right")
	if a := does(t, answers(t, w.Back().Back(), "again"), wizard.DoPlan).Answers(); password(a) != "right" {
		t.Errorf("after another password servers are signed in to with %q", password(a))
	}

	// Of a file, it is asked for then; a simulated site has but the one it brings.
	fromFile := setup()
	fromFile.Passwords = func(site.Site) (wizard.Passwords, error) {
		return wizard.Passwords{}.With(`CORP\qs-admin`, "from a file"), nil
	}
	w = does(t, answers(t, begun(t, fromFile), "finance-bi", ""), wizard.DoPlan, failed("rejected")...).Done(nil)
	if q := asks(t, answers(t, w, "password"), "password", wizard.SignIn); q.Given {
		t.Error("a password of a file that was rejected is kept")
	}
	w = does(t, answers(t, begun(t, setup()), "lab", ""), wizard.DoPlan, failed("rejected")...).Done(nil)
	if got := names(w); !slices.Equal(got, []string{"again", "leave"}) {
		t.Errorf("rejected on a simulated site: %q", got)
	}

	w = plan.Done(errors.New("another preflight works on this run"))
	asks(t, w, "connect", wizard.Connect)
	if w.Trouble() != "another preflight works on this run" {
		t.Errorf("what kept it from being begun is %q", w.Trouble())
	}

	// Of an apply that broke off nothing is in: there is nothing to undo. Then something is.
	apply := answers(t, reviewed(t), "next", "finance-bi")
	w = does(t, apply, wizard.DoApply, brokeOff("apply", "drift")...).Done(nil)
	asks(t, w, "applied", wizard.Apply)
	if got := names(w); !slices.Equal(got, []string{"again", "leave"}) {
		t.Errorf("nothing is in: %q", got)
	}
	partly := command("apply", record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Done, At: at}, record.CommandEnded{Error: "access is denied", At: at})
	w = does(t, answers(t, w, "again"), wizard.DoApply, partly...).Done(nil)
	if got := names(w); !slices.Equal(got, []string{"again", "undo", "leave"}) {
		t.Errorf("a rule is in: %q", got)
	}
	w = answers(t, w, "undo")
	if q := asks(t, w, "undo", wizard.Apply); q.Default != "no" || !strings.Contains(q.Text, "1 rule ") {
		t.Errorf("undoing is asked as %+v", q)
	}
	asks(t, answers(t, w, ""), "applied", wizard.Apply) // no
	w = does(t, answers(t, w, "yes"), wizard.DoBackOut, brokeOff("backout", "unreachable")...).Done(nil)
	asks(t, w, "undo", wizard.Apply) // not what would add rules again
	if w.Trouble() != "unreachable" {
		t.Errorf("why rules are still there is %q", w.Trouble())
	}
	asks(t, answers(t, w, "no"), "prove", wizard.Prove)
	asks(t, does(t, answers(t, w, "yes"), wizard.DoBackOut).Done(errors.New("the folder is locked")), "undo", wizard.Apply)
	w = answers(t, w, "y")
	w = does(t, w, wizard.DoBackOut, command("backout", record.RemovalEnded{ID: "a", Server: "qs-rim1", State: record.Removed, At: at}, record.CommandEnded{At: at})...).Done(nil)
	asks(t, w, "report", wizard.Report)
}

// TestForgotten: what kept an action from being begun is said at the question after it, and not any more once that is
// answered or gone back from; what was proven in an action before says nothing of the step of the next one.
func TestForgotten(t *testing.T) {
	t.Parallel()
	why := errors.New("the disk is full")
	quiet := func(what string, w wizard.Wizard) {
		t.Helper()
		if w.Trouble() != "" {
			t.Errorf("%s: %q is said still", what, w.Trouble())
		}
	}
	w := answers(t, begun(t, setup()), "finance-bi", "secret", "")
	rejected := append(planned()[:3:3], record.ServerFailed{Server: "qs-rim1", Stage: "connect", Kind: "rejected"})
	w = does(t, w, wizard.DoPlan, rejected...).Done(why)
	quiet("back from it", w.Back())
	quiet("another password", answers(t, w, "password"))

	apply := answers(t, reviewed(t), "next", "finance-bi")
	w = does(t, apply, wizard.DoApply).Done(why)
	asks(t, w, "applied", wizard.Apply)
	if w.Changed() || !w.CanGoBack() {
		t.Error("what was not begun has changed something, or leaves no way back to plan again")
	}
	asks(t, w.Back(), "approve", wizard.Apply)
	w = does(t, answers(t, w, "again"), wizard.DoApply, applied()...)
	if w = w.Event(record.StageStarted{Stage: "inspect"}); w.Step() != wizard.Prove {
		t.Errorf("after the proofs the step is %v", w.Step())
	}
	w = w.Done(why)
	if again := answers(t, w, "again"); again.Step() != wizard.Apply {
		t.Errorf("applying again begins in step %v", again.Step())
	}
	quiet("undo", answers(t, w, "undo"))

	w = does(t, apply, wizard.DoApply, applied()...).Done(nil)
	w = does(t, answers(t, w, "again"), wizard.DoVerify).Done(why)
	if asks(t, w, "prove", wizard.Prove); w.Trouble() == "" {
		t.Error("why nothing was proven once more is not said")
	}
	quiet("next", answers(t, w, "next"))
}

// TestKept: a rim is kept from joining by what fails there or on the central node, unless that is the join itself.
func TestKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		check, server string
		verdict       checks.Verdict
		asks          string
		step          wizard.Step
	}{
		{"flow.reachable", "qs-rim1", checks.Fail, "report", wizard.Report},
		{"flow.reachable", "qs-central", checks.Fail, "report", wizard.Report},
		{"flow.reachable", "qs-rim2", checks.Fail, "join", wizard.Join},
		{"flow.reachable", "qs-rim1", checks.Warn, "join", wizard.Join},
		{checks.JoinComplete, "qs-rim1", checks.Fail, "join", wizard.Join},
	} {
		w := does(t, answers(t, reviewed(t), "next", "finance-bi"), wizard.DoApply, applied()...)
		w = w.Event(record.Judged{Findings: []checks.Finding{{Check: test.check, Server: test.server, Verdict: test.verdict}}}).Done(nil)
		if q := asks(t, w, "prove", wizard.Prove); strings.HasPrefix(q.Text, "No join of qs-rim1 while a check fails. ") != (test.asks == "report") {
			t.Errorf("%+v: asked is %q", test, q.Text)
		}
		asks(t, answers(t, w, "next"), test.asks, test.step)
	}
}

// TestApprovalNotes: what is approved is said with its numbers, also if it is nothing but the proofs.
func TestApprovalNotes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		plan  record.Planned
		notes string
	}{
		{record.Planned{}, "No rule has to be added. What works is proven, with listeners of preflight's own"},
		{record.Planned{Changes: []record.PlannedChange{{ID: "a", Server: "qs-rim1"}, {ID: "b", Server: "qs-rim1"}, {ID: "c", Server: "qs-rim2"}}},
			"2 rules will be added on qs-rim1.|1 rule will be added on qs-rim2.|Nothing else is changed. The way back is written already.|After this step"},
		{record.Planned{Requests: []record.PlannedRequest{{Server: "qs-rim1"}}}, "|1 rule waits for the owners of policies in gpo-request.txt; "},
	} {
		w := answers(t, begun(t, setup()), "finance-bi", "secret", "")
		second := record.ServerInspected{Server: "qs-rim2", Role: site.Rim}
		w = does(t, w, wizard.DoPlan, append(planned(), second, test.plan)...).Done(nil)
		q, _ := answers(t, w, "next", "next").Question()
		if got := strings.Join(q.Notes, "|"); !strings.Contains(got, test.notes) {
			t.Errorf("noted is %q, want %q", got, test.notes)
		}
	}
}

// TestJoin: who does the central node's part is asked for every rim; the site's client certificate is confirmed on its own.
func TestJoin(t *testing.T) {
	t.Parallel()
	s := setup()
	w := answers(t, begun(t, s), "finance-bi", "secret", "")
	second := record.ServerInspected{Server: "qs-rim2", Role: site.Rim, Facts: rimIs("installed").(record.ServerInspected).Facts}
	w = does(t, w, wizard.DoPlan, append(planned(), second)...).Done(nil)
	w = answers(t, w, "next", "next", "finance-bi")
	w = does(t, w, wizard.DoApply, applied()...).Done(nil)
	first := answers(t, w, "next")
	w = answers(t, first, "later")
	if q := asks(t, w, "join", wizard.Join); q.Of != "qs-rim2" {
		t.Errorf("after the first rim %s is asked about", q.Of)
	}
	w = answers(t, w, "certificate")
	asks(t, w, "certificate", wizard.Join)
	w = answers(t, w, "client.pem", "key.pem")
	if q := asks(t, w, "confirm certificate", wizard.Join); q.Default != "no" || !strings.Contains(q.Notes[0], "master key") {
		t.Errorf("the certificate is asked about as %+v", q)
	}
	again := answers(t, w, "", "certificate") // no
	if q := asks(t, again, "certificate", wizard.Join); q.Default != "client.pem" {
		t.Errorf("proposed is %q, not what was answered before", q.Default)
	}
	w = answers(t, w, "yes")
	if a := w.Answers(); a.Certificate != "client.pem" || a.Key != "key.pem" || a.ByHand || a.Rim != "qs-rim2" {
		t.Errorf("the answers are %+v", a)
	}
	w = does(t, w, wizard.DoJoin, brokeOff("join", "4444 is closed")...).Done(nil)
	asks(t, w, "joined", wizard.Join)
	asks(t, answers(t, w, "again"), "join", wizard.Join)
	if q, _ := w.Question(); q.Options[0].Text != "to the report" {
		t.Errorf("where nothing else is to join, next leads %s", q.Options[0].Text)
	}
	asks(t, answers(t, w, "next"), "report", wizard.Report)

	// Whatever became of a rim, the others can be joined.
	w = answers(t, first, "by hand")
	w = does(t, w, wizard.DoJoin, brokeOff("join", "4444 is closed")...).Done(nil)
	if q, _ := w.Question(); q.Options[0].Text != "to the join of qs-rim2; qs-rim1 is left as it is" {
		t.Errorf("after a rim that could not be joined, next leads %s", q.Options[0].Text)
	}
	if q := asks(t, answers(t, w, "next"), "join", wizard.Join); q.Of != "qs-rim2" {
		t.Errorf("after a rim that could not be joined %s is asked about", q.Of)
	}

	// A simulated site brings its certificate, and has nothing to click in.
	w = answers(t, begun(t, s), "lab", "")
	w = does(t, w, wizard.DoPlan, planned()...).Done(nil)
	w = answers(t, w, "next", "next", "finance-bi")
	w = does(t, w, wizard.DoApply, applied()...).Done(nil)
	w = answers(t, w, "next")
	q, _ := w.Question()
	if q.Options[0].Name != "certificate" || len(q.Options) != 2 {
		t.Errorf("on a simulated site the answers are %+v", q.Options)
	}
	asks(t, answers(t, w, ""), "confirm certificate", wizard.Join)
}

// TestCheck: what is taken for an answer.
func TestCheck(t *testing.T) {
	t.Parallel()
	choice := wizard.Question{Kind: wizard.Choice, Text: "What now?", Options: []wizard.Option{{Name: "next"}, {Name: "again"}, {Name: "nothing"}}}
	optional := wizard.Question{Kind: wizard.Text, Text: "Number of the change ticket", Optional: true}
	must := wizard.Question{Kind: wizard.Text, Text: "Type the site's name", Must: "lab"}
	secretly := wizard.Question{Kind: wizard.Secret, Text: "Password of x"}
	for _, test := range []struct {
		q            wizard.Question
		answer, want string
		err          string
	}{
		{choice, " AGAIN ", "again", ""},
		{choice, "a", "again", ""},
		{choice, "2", "again", ""},
		{choice, "n", "", `"n" is none of the answers: write a number from 1 to 3, or one of next, again, nothing`},
		{choice, "0", "", "none of the answers"},
		{choice, "4", "", "none of the answers"},
		{choice, "", "", "an answer is needed"},
		{optional, "", "", ""},
		{optional, "CHG\x1b[31m", "", "control characters"},
		{optional, "CHG\x7f", "", "control characters"},
		{must, "LAB", "", `"LAB" is not it: write lab`},
		{must, "lab ", "lab", ""},
		{secretly, " a b ", " a b ", ""},
		{secretly, "", "", "an answer is needed: type it"},
	} {
		got, err := test.q.Check(test.answer)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s %q: %q, %v; want %q, %q", test.q.Text, test.answer, got, err, test.want, test.err)
		}
	}
}

// TestSecret: no value of a conversation shows the password that is in it, and no question proposes it.
func TestSecret(t *testing.T) {
	t.Parallel()
	w := answers(t, begun(t, setup()), "finance-bi", "c4nary", "")
	if p := password(w.Answers()); p != "c4nary" {
		t.Fatalf("the password is %q", p)
	}
	for _, v := range []any{w, w.Answers(), w.Back(), struct{ w wizard.Wizard }{w}} {
		if s := sprint(v); strings.Contains(s, "c4nary") {
			t.Errorf("the password is in %s", s)
		}
	}
	q, _ := w.Back().Back().Question()
	if s := sprint(q); !q.Given || strings.Contains(s, "c4nary") {
		t.Errorf("asked is %s", s)
	}
}
