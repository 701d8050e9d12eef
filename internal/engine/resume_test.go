package engine_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// planned is a run that was planned and left.
func planned(t *testing.T, l *lab.Lab) string {
	t.Helper()
	r := start(t, l, winRM(l, l.Password()), nil)
	r.upToPlan(t)
	if err := errors.Join(r.End(nil), r.journal.Close()); err != nil {
		t.Fatal(err)
	}
	return r.journal.Dir()
}

// resume goes on with a run, up to Inspect.
func resume(t *testing.T, l *lab.Lab, dir, command string, c engine.Connector) run {
	t.Helper()
	j, rec, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	e, err := engine.Resume(rec, c, j, j.Append)
	if err != nil {
		t.Fatal(err)
	}
	e.Times = quick
	t.Cleanup(e.Close)
	if err := e.Begin(record.CommandStarted{Name: command}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{e.ConnectAll(t.Context()), e.Inspect(t.Context())} {
		if err != nil && !errors.Is(err, engine.ErrStopped) {
			t.Fatal(err)
		}
	}
	return run{e, l, j}
}

func (r run) end(t *testing.T, broke error) record.Record {
	t.Helper()
	if err := errors.Join(r.End(broke), r.journal.Close()); err != nil {
		t.Fatal(err)
	}
	return r.Record()
}

func states(rec record.Record, server string) []record.ChangeState {
	var out []record.ChangeState
	for _, c := range rec.Changes {
		if c.Server == server {
			out = append(out, c.State)
		}
	}
	return out
}

// TestReplan: apply looks again. What is in place counts as done, what would be void is not written, and what the approved
// plan does not hold stops everything.
func TestReplan(t *testing.T) {
	t.Parallel()
	const admitsProxy = "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|LPort=4144|LPort=4243|Name=QS proxy|"
	for _, test := range []struct {
		name    string
		change  func(h *host.Host)
		central []record.ChangeState
		err     error
		exit    int
	}{
		{"nothing has changed", func(*host.Host) {}, []record.ChangeState{record.Done, record.Done, record.Done, record.Done}, nil, 0},
		{"a rule of somebody else came", func(h *host.Host) { h.AddRule("local", "{1}", admitsProxy) },
			[]record.ChangeState{record.NotNeeded, record.NotNeeded, record.Done, record.Done}, nil, 0},
		{"a policy came that voids local rules", func(h *host.Host) {
			h.Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
		}, []record.ChangeState{record.Void, record.Void, record.Void, record.Void}, nil, record.ExitPartly}, // those of the rim are in
		{"a part is admitted now", func(h *host.Host) {
			h.AddRule("local", "{1}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|Name=web|")
		}, nil, engine.ErrDrift, record.ExitDrift},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			dir := planned(t, l)
			test.change(l.Host("qs-central"))
			before := rules(l)
			r := resume(t, l, dir, "apply", winRM(l, l.Password()))
			err := r.Apply(t.Context(), "digest", "x")
			if !errors.Is(err, test.err) {
				t.Errorf("Apply = %v, want %v", err, test.err)
			}
			rec := r.end(t, err)
			if diff := cmp.Diff(test.central, states(rec, "qs-central")); diff != "" {
				t.Errorf("states on the central node (-want +got):\n%s", diff)
			}
			if test.err != nil {
				if diff := cmp.Diff(before, rules(l)); diff != "" || len(rec.Changes) > 0 {
					t.Errorf("something was added all the same:\n%s", diff)
				}
				if len(rec.Plan.Unapproved) != 1 || !slices.Equal(rec.Plan.Unapproved[0].Ports, []uint16{4144}) || !strings.Contains(err.Error(), "4144 from 10.0.0.12") {
					t.Errorf("the drift is not named: %v, %+v", err, rec.Plan.Unapproved)
				}
			}
			if code := rec.Verdict.ExitCode; test.exit != 0 && code != test.exit {
				t.Errorf("exit code %d, want %d", code, test.exit)
			}
		})
	}
}

// TestApplyAgain: after a failure, the same command adds what is missing. What was in doubt and is there is the run's own,
// so that the back-out takes it with the rest.
func TestApplyAgain(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	before := rules(l)
	dir := planned(t, l)
	breaking := wrapped{winRM(l, l.Password()), func(n site.Node, s engine.Server) engine.Server {
		if n.Role == site.Rim {
			return breakingServer{s, "added", 1}
		}
		return s
	}}
	r := resume(t, l, dir, "apply", breaking)
	err := r.Apply(t.Context(), "digest", "x")
	if rec := r.end(t, err); rec.Verdict.ExitCode != record.ExitPartly {
		t.Fatalf("exit code %d, want 7", rec.Verdict.ExitCode)
	}
	r = resume(t, l, dir, "apply", winRM(l, l.Password()))
	rec := r.end(t, r.Apply(t.Context(), "digest", "x"))
	if got := states(rec, "qs-rim1"); !slices.Equal(got, []record.ChangeState{record.Done, record.Done, record.Done, record.Done}) {
		t.Errorf("states on the rim = %v, want all done", got)
	}
	r = resume(t, l, dir, "backout", winRM(l, l.Password()))
	rec = r.end(t, r.BackOut(t.Context(), false))
	if diff := cmp.Diff(before, rules(l)); diff != "" || rec.Verdict.ExitCode != 0 || rec.BackOut.State != "done" {
		t.Errorf("exit code %d, back-out %s; rules:\n%s", rec.Verdict.ExitCode, rec.BackOut.State, diff)
	}
}

// TestSecondOperator: a run that finds everything in place passes, once the firewalls have said that it is in force.
func TestSecondOperator(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	second := planned(t, l)
	applied(t, l)
	before := rules(l)
	apply := func(c engine.Connector) record.Record {
		r := resume(t, l, second, "apply", c)
		r.Times = patient
		return r.end(t, errors.Join(r.Apply(t.Context(), "digest", "x"), r.Prove(t.Context(), proof.AfterApply, true)))
	}
	rec := apply(wrapped{winRM(l, l.Password()), func(n site.Node, s engine.Server) engine.Server {
		if n.Role == site.Rim {
			return breakingServer{s, "group", 0}
		}
		return s
	}})
	if code := rec.Verdict.ExitCode; code != record.ExitIncomplete {
		t.Errorf("exit code %d, want 5: the rim did not say whether its rules are in force\n%s", code, reports.Text(rec, reports.Options{}))
	}
	rec = apply(winRM(l, l.Password()))
	for _, c := range rec.Changes {
		if c.State != record.There || !c.InForce.V {
			t.Errorf("%+v; want already there, and in force", c)
		}
	}
	if code := rec.Verdict.ExitCode; code != 0 || len(rec.Changes) != 8 {
		t.Errorf("exit code %d, %d changes; want 0, 8\n%s", code, len(rec.Changes), reports.Text(rec, reports.Options{}))
	}
	if diff := cmp.Diff(before, rules(l)); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

// applied is a run that was planned and applied.
func applied(t *testing.T, l *lab.Lab) (string, record.Record) {
	t.Helper()
	dir := planned(t, l)
	r := resume(t, l, dir, "apply", winRM(l, l.Password()))
	err := r.Apply(t.Context(), "digest", "x")
	if err != nil {
		t.Fatal(err)
	}
	return dir, r.end(t, nil)
}

// TestBackOut: what the run added goes, and nothing else.
func TestBackOut(t *testing.T) {
	t.Parallel()
	const rim = "qs-rim1"
	for _, test := range []struct {
		name   string
		change func(l *lab.Lab, first record.Change)
		state  record.RemovalState // of the first change on the rim
		exit   int
		left   bool
	}{
		{"all as it was left", func(*lab.Lab, record.Change) {}, record.Removed, 0, false},
		{"one was removed by hand", func(l *lab.Lab, c record.Change) { l.Host(rim).RemoveRule("local", c.ID) }, record.Absent, 0, false},
		{"one was changed by hand", func(l *lab.Lab, c record.Change) {
			l.Host(rim).AddRule("local", c.ID, strings.Replace(*c.After, "LPort=443", "LPort=8443", 1))
		}, record.Differs, record.ExitPartly, true},
		{"one was only renamed", func(l *lab.Lab, c record.Change) {
			l.Host(rim).AddRule("local", c.ID, strings.Replace(*c.After, "Name=", "Name=mine: ", 1))
		}, record.Differs, record.ExitPartly, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			before := rules(l)
			dir, rec := applied(t, l)
			first := rec.Changes[slices.IndexFunc(rec.Changes, func(c record.Change) bool { return c.Server == rim })]
			test.change(l, first)
			r := resume(t, l, dir, "backout", winRM(l, l.Password()))
			rec = r.end(t, r.BackOut(t.Context(), false))
			for _, m := range rec.BackOut.Removals {
				want := record.Removed
				if m.ID == first.ID && m.Server == rim {
					want = test.state
				}
				if m.State != want {
					t.Errorf("%s %s is %s, want %s", m.Server, m.ID, m.State, want)
				}
			}
			after := rules(l)
			if test.left {
				delete(after[rim], first.ID)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("rules:\n%s", diff)
			}
			if rec.Verdict.ExitCode != test.exit || len(rec.BackOut.Removals) != 8 {
				t.Errorf("exit code %d, %d removals; want %d, 8\n%+v", rec.Verdict.ExitCode, len(rec.BackOut.Removals), test.exit, rec.Findings)
			}
			if test.exit == 0 {
				return
			}
			// Once the rule is gone, the same command finds nothing left to do.
			l.Host(rim).RemoveRule("local", first.ID)
			r = resume(t, l, dir, "backout", winRM(l, l.Password()))
			if rec = r.end(t, r.BackOut(t.Context(), false)); rec.Verdict.ExitCode != 0 || rec.BackOut.State != "done" {
				t.Errorf("exit code %d, %s; want 0, done", rec.Verdict.ExitCode, rec.BackOut.State)
			}
		})
	}
}

// TestBackOutKeeps: a rule that was there before the run is not the run's to remove.
func TestBackOutKeeps(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	r := start(t, l, winRM(l, l.Password()), nil)
	r.upToPlan(t)
	c := r.Record().Plan.Changes[0]
	l.Host("qs-central").AddRule("local", c.ID, "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=443|LPort=4144|RA4=10.0.0.12|RA4=10.20.0.0/255.255.0.0|Name=x|")
	before := rules(l)
	if err := r.Apply(t.Context(), "demo", "x"); err != nil {
		t.Fatal(err)
	}
	if err := r.BackOut(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, rules(l)); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

// TestBackOutOutage: rules that a running rim stands on are not taken away without a confirmation, also where it cannot be
// told whether it runs.
func TestBackOutOutage(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	dir, _ := applied(t, l)
	before := l.Host("qs-central").Rules("local")
	l.Host("qs-rim1").SetState(2)
	l.Host("qs-rim2").SetState(2)
	r := resume(t, l, dir, "backout", winRM(l, l.Password()))
	err := r.BackOut(t.Context(), false)
	if !errors.Is(err, engine.ErrUnconfirmed) || !strings.HasSuffix(err.Error(), "cuts off qs-rim1, which is running, and qs-rim2, which is running") {
		t.Errorf("BackOut = %v; want ErrUnconfirmed that names both rims", err)
	}
	if rec := r.end(t, err); rec.Verdict.ExitCode != record.ExitUsage {
		t.Errorf("exit code %d, want 2", rec.Verdict.ExitCode)
	}
	if diff := cmp.Diff(before, l.Host("qs-central").Rules("local")); diff != "" {
		t.Errorf("rules were removed:\n%s", diff)
	}
	r = resume(t, l, dir, "backout", wrapped{winRM(l, l.Password()), func(n site.Node, s engine.Server) engine.Server {
		if n.Name == "qs-rim2" {
			return constrainedServer{s}
		}
		return s
	}})
	if err := r.BackOut(t.Context(), false); !errors.Is(err, engine.ErrUnconfirmed) || !strings.Contains(err.Error(), "may be running") {
		t.Errorf("BackOut = %v; want ErrUnconfirmed: qs-rim2 could not be inspected", err)
	}
	r.end(t, nil)
	r = resume(t, l, dir, "backout", winRM(l, l.Password()))
	if rec := r.end(t, r.BackOut(t.Context(), true)); rec.Verdict.ExitCode != 0 {
		t.Errorf("confirmed: exit code %d, want 0", rec.Verdict.ExitCode)
	}
}

// TestBackOutUnreachable: where a server cannot be reached its rules stay known as not taken back.
func TestBackOutUnreachable(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	dir, _ := applied(t, l)
	r := resume(t, l, dir, "backout", wrapped{winRM(l, l.Password()), func(n site.Node, s engine.Server) engine.Server {
		if n.Name == "qs-central" {
			return constrainedServer{s}
		}
		return s
	}})
	rec := r.end(t, r.BackOut(t.Context(), true))
	tried := map[record.RemovalState]int{}
	for _, m := range rec.BackOut.Removals {
		tried[m.State]++
	}
	if rec.Verdict.ExitCode != record.ExitPartly || tried[record.NotTried] != 4 || tried[record.Removed] != 4 {
		t.Errorf("exit code %d, %v; want 7, 4 removed and 4 not tried", rec.Verdict.ExitCode, tried)
	}
}
