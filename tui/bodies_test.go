package tui

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

var updateBodies = flag.Bool("update-bodies", false, "write the goldens of bodies anew")

// afterEvent is a stop of walk: the n-th event that is so.
func afterEvent(n int, so func(wizard.Wizard, record.Event) bool) func(wizard.Wizard, record.Event) bool {
	return func(w wizard.Wizard, e record.Event) bool {
		if e != nil && so(w, e) {
			n--
		}
		return n <= 0
	}
}

func isA[E record.Event](step wizard.Step) func(wizard.Wizard, record.Event) bool {
	return func(w wizard.Wizard, e record.Event) bool {
		_, ok := e.(E)
		return ok && w.Step() == step
	}
}

// shots are the moments of runs whose bodies are goldens.
var shots = []struct {
	name string
	at   func(t *testing.T) wizard.Wizard
}{
	{"connect-running", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("three"), afterEvent(1, isA[record.ServerConnected](wizard.Connect)))
	}},
	{"connect", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Connect, "clean") }},
	{"connect-refused", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Connect, "refused") }},
	{"inspect-running", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("three"), afterEvent(2, isA[record.ServerInspected](wizard.Inspect)))
	}},
	{"inspect", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Inspect, "gpo") }},
	{"review", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Review, "clean") }},
	{"review-gpo", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Review, "gpo") }},
	{"review-twenty", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Review, "twenty") }},
	{"apply-approval", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Apply, "clean") }},
	{"apply-baseline", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("clean"), afterEvent(5, isA[record.Proved](wizard.Apply)))
	}},
	{"apply-running", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("clean"), afterEvent(4, isA[record.ChangeStarted](wizard.Apply)))
	}},
	{"apply-partly", func(t *testing.T) wizard.Wizard { return broken(t, "partly") }},
	{"prove-running", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("three"), afterEvent(10, isA[record.Proved](wizard.Prove)))
	}},
	{"prove", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Prove, "clean") }},
	{"prove-gpo", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Prove, "gpo") }},
	{"prove-three", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Prove, "three") }},
	{"prove-twenty", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Prove, "twenty") }},
	{"join", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Join, "clean") }},
	{"join-proving", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("clean"), afterEvent(3, isA[record.Proved](wizard.Join)))
	}},
	{"join-running", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("clean"), afterEvent(4, isA[record.StepStarted](wizard.Join)))
	}},
	{"join-closing", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("clean"), afterEvent(20, isA[record.Proved](wizard.Join)))
	}},
	{"join-waiting", func(t *testing.T) wizard.Wizard {
		return walk(t, fixture("three"), afterEvent(1, isA[record.StepWaiting](wizard.Join)))
	}},
	{"join-failed", func(t *testing.T) wizard.Wizard {
		const why = "qs-central answered 400: the certificate could not be sent to qs-rim1.corp.example"
		return broken(t, "clean", func(e record.Event) (record.Event, bool) {
			if s, ok := e.(record.StepEnded); ok && s.Step == "certificate" {
				s.State, s.Seen, s.Owner, s.Remedy = record.StepFailed, why, "you", "prove port 4444: preflight verify finance-bi-20261124-1018"
				return s, true
			}
			return e, false
		}, "qs-rim1: send the certificate: "+why)
	}},
	{"report", func(t *testing.T) wizard.Wizard { return wizardAt(t, wizard.Report, "clean") }},
	{"report-undone", func(t *testing.T) wizard.Wizard { return undone(t) }},
}

// broken is a wizard at the question that follows a command that broke off. changed may change an event, after which the
// command ends.
func broken(t *testing.T, name string, with ...any) wizard.Wizard {
	events := fixture(name)
	if len(with) > 0 {
		changed, why := with[0].(func(record.Event) (record.Event, bool)), with[1].(string)
		for i, e := range events {
			if other, ok := changed(e); ok {
				at := time.Date(2026, 11, 24, 11, 0, 0, 0, time.UTC)
				events = append(slices.Clone(events[:i]), other, record.CommandEnded{Error: why, At: at})
				break
			}
		}
	}
	return walk(t, events, func(w wizard.Wizard, e record.Event) bool { return e == nil && w.Trouble() != "" })
}

// undone is a wizard whose rules were taken back, but for one.
func undone(t *testing.T) wizard.Wizard {
	w := wizardAt(t, wizard.Prove, "gpo")
	for _, a := range []string{"undo", "yes"} {
		var err error
		if w, err = w.Answer(a); err != nil {
			t.Fatal(err)
		}
	}
	m := &making{site: w.Record().Site, rec: w.Record().Clone(), clock: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
	m.command("backout")
	m.look()
	m.add(record.StageStarted{Stage: "backout", At: m.at()})
	for _, c := range m.rec.Plan.Changes {
		m.add(record.RemovalStarted{ID: c.ID, Server: c.Server, Stored: "v2.31|", At: m.at()}, record.RemovalEnded{ID: c.ID, Server: c.Server, State: record.Removed, At: m.at()})
	}
	m.add(record.Judged{Findings: []checks.Finding{{Check: "backout.complete", Verdict: checks.Pass, Server: "qs-central", Seen: "taken back"}}, At: m.at()})
	m.end("")
	for _, e := range m.events {
		w = w.Event(e)
	}
	return w.Done(nil)
}

// TestNow: what is shown is of the site that was chosen, of the command that runs, and of what it has seen itself.
func TestNow(t *testing.T) {
	t.Parallel()
	answered := func(w wizard.Wizard, all ...string) wizard.Wizard {
		t.Helper()
		for _, a := range all {
			next, err := w.Answer(a)
			if err != nil {
				t.Fatal(err)
			}
			w = next
		}
		return w
	}
	check := func(what string, w wizard.Wizard, want, unwanted string) {
		t.Helper()
		b := bodyOf(w, 100, later)
		var all strings.Builder
		for _, l := range b.head {
			all.WriteString(text(l) + "\n")
		}
		for _, r := range b.rows {
			all.WriteString(text(r.line) + "\n")
			for _, c := range r.cells {
				all.WriteString(text(c.text) + "\n")
			}
		}
		if !strings.Contains(all.String(), want) || unwanted != "" && strings.Contains(all.String(), unwanted) {
			t.Errorf("%s: shown is\n%swant %q and not %q", what, all.String(), want, unwanted)
		}
	}

	// Another site, of which there is no run yet.
	w := wizardAt(t, wizard.Inspect, "three").Back().Back().Back()
	check("another site", answered(w, "lab", ""), "connecting", "qs-rim2")

	// Why an action broke off is not said while it is tried again.
	w = wizardAt(t, wizard.Connect, "clean").Done(errors.New("the disk is full"))
	check("not begun", w, "FAILED: the disk is full", "")
	check("tried again", answered(w, "again"), "qs-central", "the disk is full")
	w = broken(t, "partly")
	check("broke off", w, "PARTLY APPLIED: ", "")
	check("applied again", answered(w, "again"), "qs-central", "PARTLY APPLIED: ")

	// Proofs of a verify before this one are not coming in, and only a verify is compared.
	w = wizardAt(t, wizard.Prove, "clean")
	check("after apply", w, "14 of 14 flows proven", "unchanged")
	verify := func(w wizard.Wizard, hour int) wizard.Wizard {
		m := &making{site: w.Record().Site, rec: w.Record().Clone(), clock: time.Date(2026, 11, 24, hour, 0, 0, 0, time.UTC)}
		m.command("verify")
		m.prove(proof.Verify, func(p *proof.Proof) { p.Verdict, p.Level = proof.Service, facts.Proven })
		for _, e := range m.events {
			w = w.Event(e)
		}
		return w
	}
	w = verify(answered(w, "again"), 12).Done(nil)
	check("after a verify", w, "unchanged", "")
	w = answered(w, "again").Event(record.CommandStarted{Name: "verify", At: time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)}).Event(record.StageStarted{Stage: "prove"})
	check("in the second verify", w, "0 of 14 flows so far", "...  ")
	check("in the second verify", w, "7/7 proven", "... 0/7")
}

var later = time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)

func TestBodies(t *testing.T) {
	t.Parallel()
	for _, shot := range shots {
		w := shot.at(t)
		for _, width := range []int{60, 80, 120} {
			if strings.HasSuffix(shot.name, "-twenty") && width != 80 {
				continue
			}
			t.Run(fmt.Sprintf("%s-%d", shot.name, width), func(t *testing.T) {
				t.Parallel()
				now := later
				if s := w.Record().Join; s != nil && len(s.Steps) > 0 {
					now = s.Steps[len(s.Steps)-1].StartedAt.Add(12 * time.Second)
				}
				b := bodyOf(w, width, now)
				sound(t, b)
				golden(t, fmt.Sprintf("%s-%d.txt", shot.name, width), written(b))
			})
		}
	}
}

func TestSiteLines(t *testing.T) {
	t.Parallel()
	all := []wizard.Candidate{
		{Name: "finance-bi", Site: fixtureSite(2), File: "finance-bi.yaml"},
		{Name: "broken", Wrong: errors.New("broken.yaml:3:1: role \"slave\" is not known")},
		{Name: "wide", Site: fixtureSite(20)},
	}
	for _, width := range []int{60, 80} {
		var b bytes.Buffer
		for _, c := range all {
			for _, l := range siteLines(c, width) {
				fmt.Fprintln(&b, strings.TrimRight(text(l), " "))
			}
			fmt.Fprintln(&b)
		}
		golden(t, fmt.Sprintf("site-%d.txt", width), b.Bytes())
	}
}

func text(l line) string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.text)
	}
	return b.String()
}

// written is a body as text: head, rows, and then all that is said of each row and cell.
func written(b body) []byte {
	var out bytes.Buffer
	put := func(indent string, l line) {
		fmt.Fprintln(&out, strings.TrimRight(indent+text(l), " "))
	}
	for _, l := range b.head {
		put("  ", l)
	}
	for _, r := range b.rows {
		l := text(r.line)
		for _, c := range r.cells {
			l = pad(l, c.at) + text(c.text)
		}
		mark := map[bool]string{true: "  ", false: "> "}[r.id == ""]
		put(mark, line{{l, plain}})
	}
	say := func(id string, d detail) {
		if id == "" {
			return
		}
		fmt.Fprintf(&out, "\n[%s]\n", id)
		for _, l := range d.lines {
			put("  ", l)
		}
		if d.copy != "" {
			fmt.Fprintf(&out, "  copy: %s\n", d.copy)
		}
		for _, l := range d.more {
			put("  | ", l)
		}
	}
	for _, r := range b.rows {
		if len(r.cells) == 0 {
			say(r.id, r.detail)
		}
		for _, c := range r.cells {
			say(c.id, c.detail)
		}
	}
	return out.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "bodies", name)
	if *updateBodies {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was (go test ./tui -update-bodies writes it anew):\n%s", path, got)
	}
}

// sound tells what no body may be: ids are unique, and no text can act.
func sound(t *testing.T, b body) {
	t.Helper()
	seen := map[string]bool{}
	id := func(id string) {
		if id != "" && seen[id] {
			t.Errorf("the id %q is there twice", id)
		}
		seen[id] = true
	}
	check := func(lines ...line) {
		for _, l := range lines {
			for _, s := range l {
				if strings.ContainsFunc(s.text, func(r rune) bool { return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) }) || ansi.Strip(s.text) != s.text {
					t.Errorf("a text can act: %q", s.text)
				}
			}
		}
	}
	checkDetail := func(d detail) {
		check(d.lines...)
		check(d.more...)
		if strings.ContainsFunc(d.copy, func(r rune) bool { return r != '\n' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r)) }) {
			t.Errorf("what is copied can act: %q", d.copy)
		}
	}
	check(b.head...)
	for _, r := range b.rows {
		id(r.id)
		check(r.line)
		checkDetail(r.detail)
		at := 0
		for _, c := range r.cells {
			id(c.id)
			check(c.text)
			checkDetail(c.detail)
			if c.at < at {
				t.Errorf("the cell %q begins at %d, within the one before", c.id, c.at)
			}
			at = c.at + c.text.width() + 1
		}
	}
}

// TestEveryMoment makes the body of every moment of every run, as wide and as narrow as it gets.
func TestEveryMoment(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			walk(t, fixture(name), func(w wizard.Wizard, e record.Event) bool {
				n++
				if name == "twenty" && n%40 != 0 {
					return false
				}
				for _, width := range []int{20, 33, 59, 60, 80, 200} {
					b := bodyOf(w, width, later)
					if sound(t, b); t.Failed() {
						t.Fatalf("at %T, width %d, step %s", e, width, w.Step())
					}
					if width < 40 {
						continue
					}
					for _, r := range b.rows {
						if r.line.width() > width {
							t.Fatalf("at %T: a row is wider than %d: %q", e, width, text(r.line))
						}
					}
				}
				return false
			})
		})
	}
}

// TestNoRecord makes every step's body with little or nothing in the record.
func TestNoRecord(t *testing.T) {
	t.Parallel()
	events := fixture("clean")
	for _, e := range events[:2] {
		walk(t, events, func(w wizard.Wizard, _ record.Event) bool {
			for _, r := range []record.Record{{}, func() (r record.Record) { r.Apply(e); return r }(), func() (r record.Record) { r.Apply(events[0]); return r }()} {
				for width := 20; width <= 200; width += 9 {
					s := scene{w: w, r: r, width: width, now: later}
					s.action, s.running = w.Action()
					for _, of := range []func() body{s.connect, s.inspect, s.review, s.apply, s.prove, s.join, s.report} {
						sound(t, of())
					}
				}
			}
			return t.Failed()
		})
	}
	sound(t, bodyOf(wizard.Wizard{}, 0, time.Time{}))
}

// evil is what a server may say that wants to act on the reader's terminal.
const evil = "a\x1b[2J\u202eb\r\nready: all is well\u2028c\x9b31m\u200b\x1b]52;c;ZXZpbA==\x07 漢字漢字漢字 "

// TestHostileBodies makes every body of a run in which every text that a server can choose is a hostile one.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	bad := evil
	long := evil + strings.Repeat("x", 400)
	for _, name := range []string{"gpo", "clean", "three", "refused", "partly"} {
		var events []record.Event
		for _, e := range fixture(name) {
			switch x := e.(type) {
			case record.ServerConnected:
				x.SignIn.User = bad
				e = x
			case record.ServerFailed:
				x.Error, x.Hints = long, []string{bad, "type: Get-Evil " + bad}
				e = x
			case record.ServerInspected:
				x.Facts.Computer, x.Facts.Windows, x.Facts.Language, x.Facts.PowerShell = bad, long, bad, bad
				x.Facts.Releases = facts.Known([]string{"Qlik Sense " + bad})
				x.Facts.Services = facts.Known([]facts.Service{{Name: bad, State: bad, Start: bad}})
				x.Facts.Interfaces[0].Name, x.Facts.Interfaces[0].Profile = bad, bad
				x.Facts.Clock, x.Facts.Missing = facts.Unknown[facts.Clock](bad), []facts.Missing{{Fact: bad, Why: bad}}
				e = x
			case record.Planned:
				for i := range x.Already {
					a := &x.Already[i]
					a.By, a.Name, a.Store, a.Rule, a.Why = fmt.Sprint(bad, i), bad, bad, bad, bad
				}
				for i := range x.Blocked {
					x.Blocked[i].By, x.Blocked[i].Why, x.Blocked[i].Rule = bad, long, long
				}
				e = x
			case record.ChangeEnded:
				x.State, x.Error = record.Failed, long
				e = x
			case record.ChangesInForce:
				x.Live = facts.Unknown[bool](bad)
				e = x
			case record.Proved:
				x.Proof.Verdict, x.Proof.Seen, x.Proof.Cause, x.Proof.Owner, x.Proof.Remedy = proof.Dropped, long, &bad, &bad, &long
				e = x
			case record.JoinStarted:
				if x.Certificate != nil {
					x.QRS, x.Certificate.Subject = bad, long
				}
				e = x
			case record.StepWaiting:
				x.For = []string{bad, "  " + long}
				e = x
			case record.StepEnded:
				x.Seen, x.Owner, x.Remedy = long, bad, "do: Get-Evil "+long
				e = x
			case record.Judged:
				for i := range x.Findings {
					f := &x.Findings[i]
					f.Verdict, f.Seen, f.Cause, f.Owner, f.Remedy, f.Waived = checks.Warn, long, long, bad, "do: Get-Evil "+bad, &bad
				}
				e = x
			case record.CommandEnded:
				if x.Error != "" {
					x.Error = long
				}
				e = x
			}
			events = append(events, e)
		}
		n := 0
		walk(t, events, func(w wizard.Wizard, e record.Event) bool {
			if n++; n%3 == 0 || e == nil {
				for _, width := range []int{20, 60, 80, 200} {
					sound(t, bodyOf(w, width, later))
				}
			}
			return t.Failed()
		})
	}
}
