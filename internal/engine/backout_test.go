package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
)

// unseen applies a plan, and the end of the first rule on c is not seen. It returns that change; those after it on c were
// not tried.
func (b *bench) unseen(how string) record.PlannedChange {
	b.t.Helper()
	p := b.plan().Plan.Changes[0]
	switch how {
	case "cut":
		b.wrap = instead("c", "added", lost)
	case "not written":
		b.on = func(e record.Event) error {
			if end, ok := e.(record.ChangeEnded); ok && end.ID == p.ID && end.Server == p.Server {
				return errors.New("the disk is full")
			}
			return nil
		}
	}
	b.apply()
	b.wrap, b.on = nil, nil
	want := map[string]record.ChangeState{"cut": record.InDoubt, "not written": record.Started, "seen": record.Done}[how]
	if c := find(b.Record().Changes, p); c.State != want {
		b.t.Fatalf("%+v; want %s", c, want)
	}
	return p
}

// removals are the texts that the rule was to have to be removed, each as it was written down before the server was asked.
func (b *bench) removals(p record.PlannedChange) []string {
	var all []string
	for _, s := range of[record.RemovalStarted](b) {
		if s.ID == p.ID && s.Server == p.Server {
			all = append(all, s.Stored)
		}
	}
	return all
}

// last is the last removal of a change.
func last(rec record.Record, p record.PlannedChange) record.Removal {
	for _, m := range slices.Backward(rec.BackOut.Removals) {
		if m.ID == p.ID && m.Server == p.Server {
			return m
		}
	}
	return record.Removal{}
}

// TestAltered: a rule of the run that does something else by now is not removed, whether its end was seen or not. It stays
// the run's own, so that every back-out says that it is there.
func TestAltered(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"seen", "cut", "not written"} {
		for name, alter := range map[string]func(string) string{"disabled": disabled, "widened": widened} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprint(how, ", ", name, ", late: ", late), func(t *testing.T) {
					t.Parallel()
					b := newBench(t, 1)
					p := b.unseen(how)
					was := find(b.Record().Changes, p)
					raw := alter(b.rules()["c"][p.ID])
					backOut := func() {
						t.Helper()
						b.hosts["c"].AddRule("local", p.ID, raw)
						if late { // it comes after the server was looked at
							b.hosts["c"].RemoveRule("local", p.ID)
							b.on = func(e record.Event) error {
								if s, ok := e.(record.RemovalStarted); ok && s.ID == p.ID && s.Server == p.Server {
									b.hosts["c"].AddRule("local", p.ID, raw)
								}
								return nil
							}
						}
						rec, err := b.backOut()
						b.on = nil
						if m := last(rec, p); m.State != record.Differs || m.Found == nil || *m.Found != raw || len(b.removals(p)) != 1 {
							t.Errorf("%+v; want that it differs; intents %q", m, b.removals(p))
						}
						if !errors.Is(err, ErrStopped) || rec.Verdict.ExitCode != record.ExitPartly || rec.BackOut.State != "incomplete" {
							t.Errorf("BackOut = %v, exit code %d, %s; want ErrStopped, 7, incomplete", err, rec.Verdict.ExitCode, rec.BackOut.State)
						}
						if diff := cmp.Diff(map[string]map[string]string{"c": {p.ID: raw}, "r1": {}}, b.rules()); diff != "" {
							t.Errorf("rules:\n%s", diff)
						}
					}
					backOut()
					rec, err := b.apply()
					c := find(rec.Changes, p)
					if diff := cmp.Diff([]any{was.State, was.Before, was.After}, []any{c.State, c.Before, c.After}); err != nil || diff != "" {
						t.Errorf("apply again = %v; state, before and after:\n%s", err, diff)
					}
					backOut()
				})
			}
		}
	}
}

// TestBackOutUnseen: a rule whose end was not seen is removed if it does what the plan wanted, also if it comes only after
// the server was looked at; and the text it had is written down before it goes.
func TestBackOutUnseen(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"cut", "not written"} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(how, ", late: ", late), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, 1)
				p := b.unseen(how)
				raw := b.rules()["c"][p.ID]
				want := []string{raw}
				if late {
					want = []string{"", raw}
					b.hosts["c"].RemoveRule("local", p.ID)
					b.on = func(e record.Event) error {
						if s, ok := e.(record.RemovalStarted); ok && s.ID == p.ID && s.Server == p.Server && s.Stored == "" {
							b.hosts["c"].AddRule("local", p.ID, raw)
						}
						return nil
					}
				}
				rec, err := b.backOut()
				if diff := cmp.Diff(want, b.removals(p)); diff != "" {
					t.Errorf("intents (-want +got):\n%s", diff)
				}
				if m := last(rec, p); m.State != record.Removed || m.Was != raw {
					t.Errorf("%+v; want removed", m)
				}
				if diff := cmp.Diff(map[string]map[string]string{"c": {}, "r1": {}}, b.rules()); diff != "" {
					t.Errorf("rules:\n%s", diff)
				}
				if err != nil || rec.Verdict.ExitCode != 0 || rec.BackOut.State != "done" {
					t.Errorf("BackOut = %v, exit code %d, %s; want 0, done", err, rec.Verdict.ExitCode, rec.BackOut.State)
				}
			})
		}
	}
}

// TestRemovalIntentFirst: if the intent to remove a rule cannot be written down, it stays; and so does one that came late
// if the text it has cannot.
func TestRemovalIntentFirst(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	for _, late := range []bool{false, true} {
		b := newBench(t, 1)
		p := b.unseen("cut")
		raw := b.rules()["c"][p.ID]
		if late {
			b.hosts["c"].RemoveRule("local", p.ID)
		}
		b.on = func(e record.Event) error {
			s, ok := e.(record.RemovalStarted)
			if !ok || s.ID != p.ID || s.Server != p.Server {
				return nil
			}
			if late && s.Stored == "" {
				b.hosts["c"].AddRule("local", p.ID, raw)
				return nil
			}
			return full
		}
		b.begin("backout")
		if err := b.BackOut(t.Context(), false); !errors.Is(err, full) {
			t.Errorf("BackOut = %v; want the journal's error", err)
		}
		if b.rules()["c"][p.ID] != raw {
			t.Error("the rule is gone although its intent was not on disk")
		}
	}
}

// TestRemovalOrder: on each server the rules go in the reverse of the plan's order.
func TestRemovalOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	rec := b.plan()
	if _, err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.backOut(); err != nil {
		t.Fatal(err)
	}
	want, got := map[string][]string{}, map[string][]string{}
	for _, p := range slices.Backward(rec.Plan.Changes) {
		want[p.Server] = append(want[p.Server], p.ID)
	}
	for _, s := range of[record.RemovalStarted](b) {
		got[s.Server] = append(got[s.Server], s.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want["c"]) < 2 {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
}

// TestRemovalSays: what a server answers decides what has become of a removal. After an answer that is lost, the rules after
// it are not tried there; those of another server are; and the same command takes later what is left.
func TestRemovalSays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		wrap    func(b *bench, raw string) func(string, Server) Server
		state   record.RemovalState // of the first that is asked for on c
		broke   bool                // whether it ends there
		verdict checks.Verdict
		seen    string
	}{
		{"failed", func(b *bench, raw string) func(string, Server) Server {
			return instead("c", "removed", func(f script.Frame) script.Frame {
				b.hosts["c"].AddRule("local", f.Field(1), raw)
				return script.Frame{"failed", f.Field(1), "System.UnauthorizedAccessException", "80070005", "PermissionDenied", "Access is denied"}
			})
		}, record.NotTaken, false, checks.Fail, "Access is denied"},
		{"in doubt", func(*bench, string) func(string, Server) Server {
			return instead("c", "removed", func(f script.Frame) script.Frame {
				return script.Frame{"doubt", f.Field(1), "System.Exception", "80070005", "NotSpecified", "looking again failed"}
			})
		}, record.Uncertain, true, checks.Unknown, "looking again failed"},
		{"another kind of answer", func(*bench, string) func(string, Server) Server {
			return instead("c", "removed", func(f script.Frame) script.Frame { return script.Frame{"perhaps", f.Field(1)} })
		}, record.Uncertain, true, checks.Unknown, "perhaps"},
		{"the connection was lost", func(*bench, string) func(string, Server) Server { return instead("c", "removed", lost) },
			record.Uncertain, true, checks.Unknown, errCut.Error()},
		{"the script failed", func(*bench, string) func(string, Server) Server {
			return instead("c", "removed", func(script.Frame) script.Frame {
				return script.Frame{"end", "error", "System.Exception", "80131500", "NotSpecified", "time is up"}
			})
		}, record.Uncertain, true, checks.Unknown, "time is up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1)
			rec := b.plan()
			if _, err := b.apply(); err != nil {
				t.Fatal(err)
			}
			of := plannedOn(rec, "c")
			slices.Reverse(of)
			b.wrap = test.wrap(b, b.rules()["c"][of[0].ID])
			rec, err := b.backOut()
			if !errors.Is(err, ErrStopped) || rec.Verdict.ExitCode != record.ExitPartly || rec.BackOut.State != "incomplete" {
				t.Errorf("BackOut = %v, exit code %d, %s; want ErrStopped, 7, incomplete", err, rec.Verdict.ExitCode, rec.BackOut.State)
			}
			for i, p := range of {
				want := record.Removed
				switch {
				case i == 0:
					want = test.state
				case test.broke:
					want = ""
				}
				if m := last(rec, p); m.State != want {
					t.Errorf("%+v; want %q", m, want)
				}
			}
			if n := len(b.rules()["r1"]); n > 0 {
				t.Errorf("%d rules are left on the other server", n)
			}
			if v, seen := verdict(rec, "backout.complete", "c"); v != test.verdict || !strings.Contains(seen, test.seen) {
				t.Errorf("finding %s %q; want %s %q", v, seen, test.verdict, test.seen)
			}
			b.wrap = nil
			if rec, err = b.backOut(); err != nil || rec.BackOut.State != "done" || len(b.rules()["c"]) > 0 {
				t.Errorf("again: BackOut = %v, %s, rules %v", err, rec.BackOut.State, b.rules()["c"])
			}
		})
	}
}

// TestBackOutText: what the back-out of a server does with a change, by what has become of it. A stored form that is not
// known, or that a console might garble, is not compared.
func TestBackOutText(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	const inverse = "Remove-NetFirewallRule -PolicyStore PersistentStore -Name 'preflight-1'"
	for _, test := range []struct {
		name   string
		change record.Change
		want   string
	}{
		{"not tried", record.Change{}, inverse},
		{"intended", record.Change{State: record.Started}, inverse},
		{"in doubt", record.Change{State: record.InDoubt}, inverse},
		{"added", record.Change{State: record.Done, After: text("v2.29|Name=it's|")},
			"if ($rules.'preflight-1' -ceq 'v2.29|Name=it''s|') { " + inverse + " } else { 'preflight-1 is not there, or not as it was left: passed over' }"},
		{"added, and how it is stored is not known", record.Change{State: record.Done}, inverse},
		{"added, and not in ASCII", record.Change{State: record.Done, After: text("v2.29|Name=Größe|")}, inverse},
		{"added, with a control character", record.Change{State: record.Done, After: text("v2.29|Name=a\x1bb|")}, inverse},
		{"added, with a line end", record.Change{State: record.Done, After: text("v2.29|Name=a\r\nb|")}, inverse},
		{"there before", record.Change{State: record.There, Before: text("x"), After: text("x")}, "# preflight-1 was there before: it stays"},
		{"failed", record.Change{State: record.Failed}, "# preflight-1 was not added"},
		{"another rule has the id", record.Change{State: record.Failed, Before: text("x"), After: text("x")}, "# preflight-1 was not added"},
		{"not needed", record.Change{State: record.NotNeeded}, "# preflight-1 was not added"},
		{"void", record.Change{State: record.Void}, "# preflight-1 was not added"},
		{"taken back", record.Change{State: record.TakenBack, After: text("x")}, "# preflight-1 was taken back"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			planned := func(id string) record.PlannedChange {
				return record.PlannedChange{ID: id, Server: "c", Inverse: firewall.Change{ID: id}.Inverse()}
			}
			other := record.Change{ID: "preflight-1", Server: "r", State: record.Void} // the same rule on another server
			changes := []record.Change{other}
			if test.change.State != "" {
				test.change.ID, test.change.Server = "preflight-1", "c"
				changes = append(changes, test.change)
			}
			got := strings.Split(backOutText("lab-1", "c", []record.PlannedChange{planned("preflight-0"), planned("preflight-1"), planned("preflight-2")}, changes), "\r\n")
			want := []string{planned("preflight-2").Inverse, test.want, planned("preflight-0").Inverse, ""} // the last first
			if diff := cmp.Diff(want, got[len(got)-4:]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			before, compares := got[:len(got)-4], strings.HasPrefix(test.want, "if ")
			if strings.Contains(strings.Join(before, "\n"), "Remove-") || strings.HasPrefix(before[len(before)-1], "$rules = ") != compares {
				t.Errorf("it begins with %q", before)
			}
		})
	}
}

// TestBackOutFileInDoubt: after an apply that broke off, the way back compares what is known and names the rest.
func TestBackOutFileInDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	p := b.unseen("cut")
	lines := strings.Split(b.files["backout/c.ps1"], "\r\n")
	for _, c := range plannedOn(b.Record(), "c") {
		if !slices.Contains(lines, c.Inverse) {
			t.Errorf("%s (in doubt: %v) is not removed by its name alone:\n%s", c.ID, c.ID == p.ID, b.files["backout/c.ps1"])
		}
	}
	if n := strings.Count(b.files["backout/r1.ps1"], " -ceq "); n != len(plannedOn(b.Record(), "r1")) {
		t.Errorf("%d rules of the other server are compared:\n%s", n, b.files["backout/r1.ps1"])
	}
}
