package tui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// canary is the password that is typed in tests. No screen may show it.
const canary = "c4n4ry-Z"

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func twoNodes(name string) site.Site {
	in := site.WinRM{User: `CORP\qs-admin`}
	return site.Site{Name: name, Release: "1.0.2", Nodes: []site.Node{
		{Name: "qs-central", Role: site.Central, Services: []site.Service{site.Repository}, WinRM: in},
		{Name: "qs-rim1", Role: site.Rim, Services: []site.Service{site.Repository}, WinRM: in},
	}}
}

var errSite = errors.New("bad.yaml:3:1: unknown key")

func setup() wizard.Setup {
	return wizard.Setup{
		Candidates: []wizard.Candidate{
			{Name: "finance-bi", Site: twoNodes("finance-bi"), File: "finance-bi.yaml"},
			{Name: "bad", File: "bad.yaml", Wrong: errSite},
			{Name: "lab", Site: twoNodes("lab"), Simulated: true},
		},
		Open: func(file string) (wizard.Candidate, error) {
			if file != "finance-bi.yaml" {
				return wizard.Candidate{}, errSite
			}
			return wizard.Candidate{Name: "finance-bi", Site: twoNodes("finance-bi"), File: file}, nil
		},
		Passwords: func(site.Site) (wizard.Passwords, error) { return wizard.Passwords{}, nil },
	}
}

// planned are the events of a plan with one rule.
func planned() []record.Event {
	inspected := record.ServerInspected{Server: "qs-rim1", Role: site.Rim}
	inspected.Facts.Releases.V, inspected.Facts.State.V = []string{"Qlik Sense 1.0.2"}, 1
	return []record.Event{
		record.RunStarted{RunID: "finance-bi-1", Site: twoNodes("finance-bi"), At: noon}, record.CommandStarted{Name: "plan", At: noon},
		record.StageStarted{Stage: "connect"}, record.StageStarted{Stage: "inspect"}, inspected, record.StageStarted{Stage: "plan"},
		record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-rim1", Ports: []uint16{4242}, PowerShell: "New-NetFirewallRule"}}},
		record.CommandEnded{At: noon},
	}
}

// runner does what a test says.
type runner func(context.Context, wizard.Action, wizard.Answers, wizard.Operator) error

func (r runner) Do(ctx context.Context, a wizard.Action, with wizard.Answers, o wizard.Operator) error {
	return r(ctx, a, with, o)
}

// telling is a runner that tells events and ends.
func telling(events ...record.Event) runner {
	return func(_ context.Context, _ wizard.Action, _ wizard.Answers, o wizard.Operator) error {
		for _, e := range events {
			o.Tell(e)
		}
		return nil
	}
}

// stage is a model without a terminal: commands run beside it, and what they bring is taken in when the test says so.
type stage struct {
	*testing.T
	m       *model
	clock   time.Time
	came    chan tea.Msg
	ticks   []tick // that were begun and have not come round
	paces   []time.Duration
	copied  string
	quit    bool
	screens []string
}

func enact(t *testing.T, w wizard.Wizard, r wizard.Runner) *stage {
	t.Helper()
	s := &stage{T: t, clock: noon.Add(time.Minute), came: make(chan tea.Msg, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s.m = &model{
		w: w, runner: r, ctx: ctx, theme: newTheme(termenv.Ascii, true, full), now: func() time.Time { return s.clock },
		after: func(d time.Duration, msg tea.Msg) tea.Cmd {
			s.ticks, s.paces = append(s.ticks, msg.(tick)), append(s.paces, d)
			return nil
		},
		copy: func(text string) tea.Cmd { s.copied = text; return nil },
	}
	s.run(s.m.Init())
	s.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	return s
}

func begun(t *testing.T) wizard.Wizard {
	t.Helper()
	w, err := wizard.New(setup())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *stage) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() { s.came <- cmd() }()
}

// send has the model take a message in.
func (s *stage) send(msg tea.Msg) {
	s.Helper()
	_, cmd := s.m.Update(msg)
	s.screens = append(s.screens, s.m.View())
	s.run(cmd)
}

// until takes in what commands bring until something holds.
func (s *stage) until(what string, holds func() bool) {
	s.Helper()
	late := time.After(10 * time.Second)
	for !holds() {
		select {
		case msg := <-s.came:
			switch msg := msg.(type) {
			case nil:
			case tea.BatchMsg:
				for _, cmd := range msg {
					s.run(cmd)
				}
			case tea.QuitMsg:
				s.quit = true
			default:
				s.send(msg)
			}
		case <-late:
			s.Fatalf("it never came to: %s\n%s", what, s.m.View())
		}
	}
}

// asks takes in what comes until a question is asked.
func (s *stage) asks(id string) {
	s.Helper()
	s.until(id+" is asked", func() bool { q, ok := s.m.question(); return ok && q.ID == id })
}

var special = map[string]tea.KeyType{
	"enter": tea.KeyEnter, "esc": tea.KeyEsc, "tab": tea.KeyTab, "shift+tab": tea.KeyShiftTab, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "home": tea.KeyHome, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "backspace": tea.KeyBackspace,
	"delete": tea.KeyDelete, "ctrl+c": tea.KeyCtrlC, "ctrl+u": tea.KeyCtrlU, "space": tea.KeySpace,
}

// press presses keys, a second apart.
func (s *stage) press(keys ...string) {
	s.Helper()
	for _, k := range keys {
		s.clock = s.clock.Add(time.Second)
		s.strike(k)
	}
}

// strike presses a key at once.
func (s *stage) strike(k string) {
	s.Helper()
	if t, ok := special[k]; ok {
		s.send(tea.KeyMsg{Type: t})
		return
	}
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
}

// write types a text.
func (s *stage) write(text string) {
	s.Helper()
	for _, r := range text {
		s.press(string(r))
	}
}

// shows checks what is on the screen now.
func (s *stage) shows(all ...string) {
	s.Helper()
	for _, want := range all {
		if !strings.Contains(s.m.View(), want) {
			s.Errorf("%q is not shown:\n%s", want, s.m.View())
		}
	}
}

func (s *stage) hides(all ...string) {
	s.Helper()
	for _, unwanted := range all {
		if strings.Contains(s.m.View(), unwanted) {
			s.Errorf("%q is shown:\n%s", unwanted, s.m.View())
		}
	}
}

// TestWay: from the first question to leaving, with every kind of question, by keys alone.
func TestWay(t *testing.T) {
	t.Parallel()
	var with wizard.Answers
	s := enact(t, begun(t), runner(func(ctx context.Context, a wizard.Action, got wizard.Answers, o wizard.Operator) error {
		with = got
		return telling(planned()...)(ctx, a, got, o)
	}))
	s.shows("1/9 Site", "> 1  finance-bi", "finance-bi: release 1.0.2", "nothing has been changed", "enter use")
	s.press("down")
	s.shows("> 2  bad")
	s.hides("finance-bi: release")
	s.press("enter")
	s.shows("error: bad.yaml:3:1: unknown key")
	s.press("up")
	s.hides("error: bad.yaml")
	s.press("enter")
	s.asks("password")
	s.shows("2/9 Sign-in", "finance-bi", `CORP\qs-admin`, "> Password", "shift+tab back", "tried on one server first")
	s.write(canary)
	s.shows("> Password   ********_")
	s.press("enter")
	s.asks("ticket")
	s.shows("Password   ********", "> Ticket")
	s.write("CHG1")
	s.press("enter")
	s.asks("inspect")
	if p, _ := with.Passwords.Of(`CORP\qs-admin`); p.Reveal() != canary || with.Ticket != "CHG1" {
		t.Errorf("the action got %q and ticket %q", p.Reveal(), with.Ticket)
	}
	s.shows("finance-bi  CHG1", "4/9 Inspect", "n next", "w leave", "b back")
	s.press("n")
	s.asks("review")
	s.press("n")
	s.asks("approve")
	s.shows("Type the site's name", "1 rule will be added on qs-rim1", "enter apply")
	s.write("finance")
	s.press("enter")
	s.shows(`error: "finance" is not it: write finance-bi`, "> finance_")
	s.write("-bi")
	s.hides("error:")
	s.m.runner = telling(record.CommandStarted{Name: "apply", At: noon}, record.StageStarted{Stage: "apply"}, record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Done},
		record.StageStarted{Stage: "prove"}, record.CommandEnded{At: noon})
	s.press("enter")
	s.asks("prove")
	s.hides("nothing has been changed", "b back")
	s.press("w")
	s.until("the end", func() bool { return s.quit })
	if !s.m.w.Over() || s.m.err != nil {
		t.Errorf("over is %v, with %v", s.m.w.Over(), s.m.err)
	}
	for _, screen := range s.screens {
		if strings.Contains(screen, canary) || strings.Contains(screen, canary[:4]) {
			t.Fatalf("a screen shows the password:\n%s", screen)
		}
	}
	if text := fmt.Sprintf("%q", s.m.field.text); len(s.m.field.text) > 0 {
		t.Errorf("the field still holds %s", text)
	}
}

// TestPaste: what is pasted with its line end answers one question and not the next one, whether the terminal tells a
// paste or turns it into keys.
func TestPaste(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.press("enter")
	s.asks("password")
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(canary + "\r\n"), Paste: true})
	if got := string(s.m.field.text); got != canary {
		t.Errorf("pasted is %q", got)
	}
	s.press("enter")
	s.asks("ticket")
	for _, k := range []string{"enter", "C", "enter"} { // in the same burst
		s.clock = s.clock.Add(burst / 10)
		s.strike(k)
	}
	if q, _ := s.m.question(); q.ID != "ticket" || string(s.m.field.text) != "C" {
		t.Errorf("%s is asked, %q is written", q.ID, string(s.m.field.text))
	}
	s.clock = s.clock.Add(-time.Hour) // somebody sets it
	s.strike("enter")
	if _, running := s.m.w.Action(); !running {
		t.Error("after the clock was set back no answer is taken")
	}
}

// TestField: a field is edited where its cursor is, and no more of it is drawn than there is room for.
func TestField(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.press("enter", "x", "enter") // a password
	s.asks("ticket")
	s.write("bäd")
	s.press("left", "left", "delete", "a", "home", "C", "end", "space", "backspace", "backspace", "!")
	if got := string(s.m.field.text); got != "Cba!" {
		t.Errorf("written is %q", got)
	}
	s.press("ctrl+u")
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("@"), Alt: true}) // AltGr on Windows
	if got := string(s.m.field.text); got != "@" {
		t.Errorf("written is %q", got)
	}
	f := field{}
	f.set("secret", true)
	f.bindings()[6].do() // ctrl+u
	if rest := string(f.text[:6]); rest != strings.Repeat("\x00", 6) {
		t.Errorf("what was deleted stays in memory: %q", rest)
	}
	s.write(strings.Repeat("0123456789", 12))
	s.shows("0123456789_")
	s.press("home")
	s.shows("|@0123456789")
}

// TestBack: back keeps what was answered, but for a password, which is kept without being shown.
func TestBack(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), telling(planned()...))
	s.press("enter", "x", "enter")
	s.write("CHG1")
	s.press("esc")
	s.shows("b back", "enter write on")
	s.press("b")
	s.asks("password")
	s.shows("******** is kept unless you write another")
	s.write("xyz")
	s.shows("> Password   ***_")
	s.hides("is kept unless")
	s.press("ctrl+u", "enter")
	s.asks("ticket")
	s.press("shift+tab", "shift+tab")
	s.asks("site")
	s.press("enter", "enter")
	s.asks("ticket")
	s.write("CHG2")
	s.press("enter")
	s.asks("inspect")
	s.press("b")
	s.asks("ticket")
	s.shows("CHG2_")
}

// TestUsers: of several users one password is asked for at a time, and those of the others are said to be given or to come.
func TestUsers(t *testing.T) {
	t.Parallel()
	two := setup()
	two.Open = func(file string) (wizard.Candidate, error) {
		in := twoNodes("finance-bi")
		in.Nodes[1].WinRM.User = "local"
		return wizard.Candidate{Name: "finance-bi", Site: in, File: file}, nil
	}
	w, err := wizard.New(two)
	if err != nil {
		t.Fatal(err)
	}
	s := enact(t, w, nil)
	s.press("enter")
	s.shows("> Password   _", "Password   comes next")
	s.press("x", "enter")
	s.shows("> Password   _", "Password   ********")
}

// TestAsk: what an action asks is asked on the screen, and nothing of it stays once nobody waits for it.
func TestAsk(t *testing.T) {
	t.Parallel()
	type answered struct {
		text string
		err  error
	}
	got := make(chan answered, 2)
	gone, stopAsking := context.WithCancel(context.Background())
	s := enact(t, begun(t), runner(func(ctx context.Context, _ wizard.Action, _ wizard.Answers, o wizard.Operator) error {
		a, err := o.Ask(ctx, wizard.Question{ID: "one-time", Kind: wizard.Secret, Text: "One-time password"})
		got <- answered{a, err}
		a, err = o.Ask(gone, wizard.YesNo("clicked", "Is it done in the QMC?"))
		got <- answered{a, err}
		<-ctx.Done()
		return ctx.Err()
	}))
	s.press("enter", "x", "enter", "enter")
	s.asks("one-time")
	s.shows("One-time password")
	s.write(canary)
	s.press("enter")
	if a := <-got; a.text != canary || a.err != nil {
		t.Errorf("the answer is %q, %v", a.text, a.err)
	}
	s.asks("clicked")
	s.shows("Is it done in the QMC?", "  y  yes") // neither is proposed
	s.hides("b back")
	stopAsking()
	if a := <-got; !errors.Is(a.err, context.Canceled) {
		t.Errorf("the answer is %q, %v", a.text, a.err)
	}
	s.until("nothing is asked", func() bool { _, ok := s.m.question(); return !ok })
	s.hides("QMC")
	s.shows("working: plan")
	s.press("ctrl+c")
	s.shows("stopping after what is running; ctrl+c again to leave now")
	s.asks("connect")
	for _, screen := range s.screens {
		if strings.Contains(screen, canary) {
			t.Fatalf("a screen shows the password:\n%s", screen)
		}
	}
}

// TestInterrupt: the first ctrl+c loses nothing, the second leaves at once.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.press("ctrl+c")
	s.shows("press ctrl+c again to leave")
	s.press("down", "ctrl+c")
	if s.m.over {
		t.Error("it left at a ctrl+c that was the first again")
	}
	s.press("ctrl+c")
	s.until("the end", func() bool { return s.quit })
	if !errors.Is(s.m.err, ErrInterrupted) {
		t.Errorf("err = %v", s.m.err)
	}

	deaf := make(chan struct{})
	t.Cleanup(func() { close(deaf) })
	s = enact(t, begun(t), runner(func(context.Context, wizard.Action, wizard.Answers, wizard.Operator) error {
		<-deaf
		return nil
	}))
	s.press("enter", "x", "enter", "enter", "ctrl+c", "ctrl+c")
	s.until("the end", func() bool { return s.quit })
	if !errors.Is(s.m.err, ErrInterrupted) || s.m.job == nil || s.m.job.ctx.Err() == nil {
		t.Errorf("err = %v, job %v", s.m.err, s.m.job)
	}
}

// TestStop: the end of the process stops what runs, and is waited for.
func TestStop(t *testing.T) {
	t.Parallel()
	ending := make(chan struct{})
	s := enact(t, begun(t), runner(func(ctx context.Context, _ wizard.Action, _ wizard.Answers, o wizard.Operator) error {
		<-ctx.Done()
		<-ending
		telling(planned()...)(ctx, wizard.DoPlan, wizard.Answers{}, o)
		return ctx.Err()
	}))
	s.press("enter", "x", "enter", "enter")
	s.send(stop{})
	if s.m.over {
		t.Error("it did not wait for the action")
	}
	close(ending)
	s.until("the end", func() bool { return s.quit })
	if !errors.Is(s.m.err, ErrInterrupted) || s.m.w.Record().Run.ID != "finance-bi-1" {
		t.Errorf("err = %v, run %q: what the action said last is lost", s.m.err, s.m.w.Record().Run.ID)
	}
}

// TestLeave: q asks, and only y leaves.
func TestLeave(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.press("q")
	s.shows("Leave? y/n")
	s.press("n", "down", "q", "y")
	s.until("the end", func() bool { return s.quit })
	if s.m.err != nil || s.m.w.Over() {
		t.Errorf("err = %v, over %v", s.m.err, s.m.w.Over())
	}
}

// TestLeaveAsking: an action that asks something is ended before its operator leaves, and its last words are heard.
func TestLeaveAsking(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), runner(func(ctx context.Context, a wizard.Action, with wizard.Answers, o wizard.Operator) error {
		_, err := o.Ask(ctx, wizard.YesNo("clicked", "Is it done in the QMC?"))
		telling(planned()...)(ctx, a, with, o)
		return err
	}))
	s.press("enter", "x", "enter", "enter")
	s.asks("clicked")
	s.press("?")
	s.shows("ctrl+c", "stop")
	s.hides("if pressed twice")
	s.press("esc", "q")
	s.shows("Leave? y/n")
	s.press("y")
	if s.m.over {
		t.Error("it did not wait for the action")
	}
	s.until("the end", func() bool { return s.quit })
	if !errors.Is(s.m.err, ErrInterrupted) || s.m.w.Record().Run.ID != "finance-bi-1" {
		t.Errorf("err = %v, run %q: what the action said last is lost", s.m.err, s.m.w.Record().Run.ID)
	}
}

// TestTicks: whatever happens, at most one tick is under way that counts; it is fast while something runs, slow while only
// the clock goes, and there is none before.
func TestTicks(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := enact(t, begun(t), runner(func(ctx context.Context, a wizard.Action, with wizard.Answers, o wizard.Operator) error {
		telling(planned()...)(ctx, a, with, o)
		<-hold
		return nil
	}))
	// live are the ticks under way that would begin others.
	live := func() int {
		n := 0
		for _, k := range s.ticks {
			if k.chain == s.m.chain && s.m.pace > 0 {
				n++
			}
		}
		return n
	}
	round := func() {
		before := s.ticks
		s.ticks = nil
		for _, k := range before {
			s.send(k)
		}
	}
	s.press("down", "up")
	if len(s.ticks) > 0 {
		t.Error("it ticks before anything moves")
	}
	s.press("enter", "x", "enter", "enter")
	s.until("the plan is there", func() bool { return s.m.w.Record().Change.PlanSHA256 != "" })
	for range 5 {
		s.press("?", "esc")
		s.send(tea.WindowSizeMsg{Width: 80, Height: 24})
		round()
		if n := live(); n != 1 || s.m.pace != working {
			t.Fatalf("%d chains of ticks, every %v", n, s.m.pace)
		}
	}
	turn := s.m.turn
	round()
	if s.m.turn != turn+1 {
		t.Errorf("one round of ticks turned %d times", s.m.turn-turn)
	}
	close(hold)
	s.asks("inspect")
	for range 5 {
		s.press("down")
		round()
		if n := live(); n != 1 || s.m.pace != idling {
			t.Fatalf("%d chains of ticks, every %v", n, s.m.pace)
		}
	}
	s.press("q", "y")
	if live() != 0 {
		t.Error("it ticks at the end")
	}
}

// TestOrder: the end of an action comes after everything that it said, and what another action says is not taken in.
func TestOrder(t *testing.T) {
	t.Parallel()
	j := newJob(context.Background())
	many := make([]record.Event, 1000)
	for i := range many {
		many[i] = record.StageStarted{Stage: fmt.Sprint(i)}
	}
	j.do(telling(many...), wizard.DoPlan, wizard.Answers{})()
	got := j.wait()().(happened)
	if len(got.said) != len(many)+1 {
		t.Fatalf("%d things were said", len(got.said))
	}
	if _, last := got.said[len(many)].(ended); !last {
		t.Errorf("the last thing said is %T", got.said[len(many)])
	}
	s := enact(t, begun(t), runner(func(ctx context.Context, _ wizard.Action, _ wizard.Answers, _ wizard.Operator) error {
		<-ctx.Done()
		return ctx.Err()
	}))
	s.press("enter", "x", "enter", "enter")
	s.send(got)
	if _, running := s.m.w.Action(); !running || s.m.w.Stage() != "" {
		t.Error("an action that does not run was listened to")
	}
}

// TestUnanswered: what an action asked is not asked any more once the action has ended.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), runner(func(ctx context.Context, a wizard.Action, with wizard.Answers, o wizard.Operator) error {
		o.(*job).put(&ask{wizard.YesNo("clicked", "Is it done in the QMC?"), make(chan string, 1)})
		return telling(planned()...)(ctx, a, with, o)
	}))
	s.press("enter", "x", "enter", "enter")
	s.until("the end of the plan", func() bool { return s.m.job == nil && s.m.w.Record().Change.PlanSHA256 != "" })
	s.hides("QMC")
	s.shows("Go on to the review?")
}

// TestStopAsking: once an action is told to stop it asks nothing any more, however long it takes to end; when it has ended
// nothing of it waits for an answer.
func TestStopAsking(t *testing.T) {
	t.Parallel()
	ending := make(chan struct{})
	s := enact(t, begun(t), runner(func(ctx context.Context, _ wizard.Action, _ wizard.Answers, o wizard.Operator) error {
		o.Ask(context.Background(), wizard.YesNo("clicked", "Is it done in the QMC?"))
		<-ending
		return nil
	}))
	s.press("enter", "x", "enter", "enter")
	s.asks("clicked")
	s.press("ctrl+c")
	s.until("nothing is asked", func() bool { _, ok := s.m.question(); return !ok })
	s.shows("stopping after what is running")
	close(ending)
	s.asks("inspect")

	j := newJob(context.Background())
	j.do(telling(), wizard.DoPlan, wizard.Answers{})()
	if j.ctx.Err() == nil {
		t.Error("what an action has begun to ask waits for ever")
	}
}

// TestNewStep: what was chosen, opened and scrolled to in one step says nothing of the next one.
func TestNewStep(t *testing.T) {
	t.Parallel()
	m := still(walk(t, fixture("clean"), afterEvent(1, isA[record.ChangeEnded](wizard.Apply))), termenv.Ascii, full).do(80, 24, "down", "enter")
	if !m.open || m.chosen == "" {
		t.Fatalf("nothing is open:\n%s", m.View())
	}
	m.Update(happened{m.job, []any{told{record.StageStarted{Stage: "apply"}}, told{record.StageStarted{Stage: "prove"}}}})
	if m.open || m.chosen != "" || m.w.Step() != wizard.Prove {
		t.Errorf("in step %v open is %v, chosen %q", m.w.Step(), m.open, m.chosen)
	}
}

// TestHelp: the help names every key that works, what the question is about, and how to do without the wizard.
func TestHelp(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.press("?")
	s.shows("enter", "use", "q ", "leave", "ctrl+c", "without the wizard: -f FILE", "simulated servers on this machine")
	s.press("esc")
	s.hides("without the wizard")
	s.press("enter", "x", "enter", "?")
	s.hides("without the wizard")
	if got := string(s.m.field.text); got != "?" {
		t.Errorf("written is %q", got)
	}
	s.press("esc", "?")
	s.shows("without the wizard: --ticket", "It goes into the record")
}

// TestScroll: a page is scrolled to its end and back from there at once, and what is typed meanwhile is in no field.
func TestScroll(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.send(tea.WindowSizeMsg{Width: 80, Height: minHeight})
	s.press("?")
	top := s.m.View()
	s.press("end", "down", "pgdown")
	end := s.m.View()
	s.press("up")
	if s.m.View() == end || end == top {
		t.Errorf("up from the end it is still\n%s", s.m.View())
	}
	s.press("home", "up")
	if s.m.View() != top {
		t.Errorf("at the beginning it is\n%s\nwas\n%s", s.m.View(), top)
	}

	m := still(asking(t, "approve"), termenv.Ascii, full).do(80, 24, "x")
	m.open = true
	m.do(80, 24, "z", "space")
	if got := string(m.field.text); got != "x" {
		t.Errorf("written is %q", got)
	}
}

// TestSimulated: every screen says that servers are simulated, whatever the size, and none does of real ones.
func TestSimulated(t *testing.T) {
	t.Parallel()
	long := setup()
	long.Candidates[2].Name = strings.Repeat("a-long-name-", 8)
	w, err := wizard.New(long)
	if err != nil {
		t.Fatal(err)
	}
	s := enact(t, w, telling(planned()...))
	s.press("3")
	s.asks("ticket")
	s.write("CHG0031337")
	s.press("enter")
	s.asks("inspect")
	for _, size := range [][2]int{{80, 24}, {60, 20}, {40, 12}, {30, 8}} {
		s.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		s.shows(simulatedServers)
		s.press("?")
		s.shows(simulatedServers)
		s.press("esc")
	}
	s = enact(t, begun(t), nil)
	s.press("enter")
	s.hides(simulatedServers)
}

// TestSmall: below the smallest size there is one line, and nothing before a size is known.
func TestSmall(t *testing.T) {
	t.Parallel()
	s := enact(t, begun(t), nil)
	s.send(tea.WindowSizeMsg{Width: 38, Height: 10})
	if got := s.m.View(); got != "make the window larger (now 38x10)" {
		t.Errorf("shown is %q", got)
	}
	s.press("enter")
	s.asks("site")
	s.send(tea.WindowSizeMsg{})
	if got := s.m.View(); got != "" {
		t.Errorf("shown is %q", got)
	}
}

// TestNothingActs: text from a server or a file that could act does not.
func TestNothingActs(t *testing.T) {
	t.Parallel()
	events := planned()
	events = append(events[:len(events)-1], record.CommandEnded{Error: "a\x1b[2Jb\u202ec\r\nd", At: noon})
	s := enact(t, begun(t), telling(events...))
	s.press("enter", "x", "enter", "enter")
	s.until("the end of the plan", func() bool { _, ok := s.m.question(); return ok })
	for _, screen := range s.screens {
		if strings.ContainsAny(screen, "\x1b\r\u202e") {
			t.Fatalf("a screen acts: %q", screen)
		}
	}
}

// TestWrapped: texts are broken at spaces, and only words that are wider than a line within.
func TestWrapped(t *testing.T) {
	t.Parallel()
	var got []string
	for _, l := range wrapped("on qs-rim1:  Get-ChildItem aaaaaaaaaaaaaaaaaaaa end", plain, 14) {
		got = append(got, l[0].text)
		if l.width() > 14 {
			t.Errorf("%q is wider than 14", l[0].text)
		}
	}
	if want := "on qs-rim1:|Get-ChildItem|aaaaaaaaaaaaaa|aaaaaa end"; strings.Join(got, "|") != want {
		t.Errorf("wrapped is %q, want %q", got, want)
	}
	if w := ansi.StringWidth("…"); w != 1 {
		t.Errorf("the mark of what is cut is %d wide", w)
	}
}
