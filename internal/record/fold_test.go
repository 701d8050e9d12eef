package record_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// TestCommandKnows: a command knows of a server what it came to itself: neither sign-in nor failure of the one before. What
// was read there stays.
func TestCommandKnows(t *testing.T) {
	t.Parallel()
	r := fold(oneChange()[0], record.CommandStarted{Name: "plan"},
		record.ServerConnected{Server: "qs-central", SignIn: record.SignIn{User: "x"}},
		record.ServerInspected{Server: "qs-central", Facts: facts.Server{Computer: "QS-CENTRAL"}},
		record.ServerFailed{Server: "qs-rim1", Stage: "connect"}, record.CommandEnded{})
	if r.Servers[0].SignIn == nil || r.Servers[1].Failure == nil || r.Verdict.ExitCode != record.ExitConnect {
		t.Fatalf("servers = %+v, exit code %d", r.Servers, r.Verdict.ExitCode)
	}
	r.Apply(record.CommandStarted{Name: "backout"})
	for _, s := range r.Servers {
		if s.SignIn != nil || s.Failure != nil {
			t.Errorf("the next command knows of %s: %+v, %+v", s.Name, s.SignIn, s.Failure)
		}
	}
	if f := r.Servers[0].Facts; f == nil || f.Computer != "QS-CENTRAL" {
		t.Errorf("facts = %+v; want those that were read", f)
	}
	if r.Apply(record.CommandEnded{}); r.Verdict.ExitCode == record.ExitConnect {
		t.Error("the next command is judged by a server that it did not dial")
	}
}

// proved is a proof of oneChange's flow on 4444.
func proved(phase proof.Phase, clock string, v proof.Verdict) record.Event {
	p := proof.Proof{ID: string(phase) + ":qs-central:qs-rim1:4444", Phase: phase, From: "qs-central", To: "qs-rim1", Port: 4444, Verdict: v, Level: facts.Proven, At: at(clock)}
	return record.Proved{Proof: p, At: p.At}
}

// TestVerified: what the last verify compared stays with other commands, and not with the next verify.
func TestVerified(t *testing.T) {
	t.Parallel()
	r := fold(append(applied(), record.CommandStarted{Name: "verify"}, proved(proof.Verify, "10:30:00", proof.Dropped))...)
	for _, step := range []struct {
		command string
		want    int
	}{{"backout", 1}, {"apply", 1}, {"verify", 0}} {
		if r.Apply(record.CommandStarted{Name: step.command}); len(r.Verified) != step.want {
			t.Errorf("%s: %d compared, want %d", step.command, len(r.Verified), step.want)
		}
	}
}

// TestAppliedAgain: after a back-out, a rule that is added again can be taken back again; what adds none leaves it done.
func TestAppliedAgain(t *testing.T) {
	t.Parallel()
	for state, want := range map[record.ChangeState]string{
		record.Done: "ready", record.InDoubt: "ready", record.There: "done", record.NotNeeded: "done", record.Void: "done",
	} {
		r := fold(append(oneChange(), record.CommandStarted{Name: "apply"}, record.ChangeEnded{ID: changeID, Server: "qs-rim1", State: state})...)
		if r.BackOut.State != want {
			t.Errorf("%s: back-out %s, want %s", state, r.BackOut.State, want)
		}
	}
}

// TestMends: missing rules are no failure of the plan that adds them, and are one to every other command, of a plan that
// cannot be approved, and beside any other failure.
func TestMends(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command, sha256, check string
		want                   int
	}{
		{"plan", "9f2c", "firewall.rule-missing", 0},
		{"plan", "", "firewall.rule-missing", 1},
		{"plan", "9f2c", "firewall.rule-blocked", 1},
		{"apply", "9f2c", "firewall.rule-missing", 1},
		{"verify", "9f2c", "firewall.rule-missing", 1},
		{"check", "", "firewall.rule-missing", 1},
	} {
		r := fold(oneChange()[0], record.CommandStarted{Name: test.command}, record.Planned{SHA256: test.sha256},
			record.Judged{Findings: []checks.Finding{{Check: test.check, Verdict: checks.Fail}}}, record.CommandEnded{})
		if code := map[int]int{0: record.ExitPassed, 1: record.ExitFailed}[test.want]; r.Verdict.Failed != test.want || r.Verdict.ExitCode != code {
			t.Errorf("%+v: %d failed, exit code %d", test, r.Verdict.Failed, r.Verdict.ExitCode)
		}
	}
}

// TestClone: a record that somebody holds stays as it was, whatever happens in the run later.
func TestClone(t *testing.T) {
	t.Parallel()
	verify := record.CommandStarted{Name: "verify", At: at("12:00:00")}
	events := append(oneChange(),
		record.RemovalStarted{ID: changeID, Server: "qs-rim1", Stored: "x"}, record.RemovalEnded{ID: changeID, Server: "qs-rim1", State: record.Differs},
		verify, proved(proof.Verify, "12:00:01", proof.Service), proved(proof.Verify, "12:00:02", proof.Refused), record.CommandEnded{At: at("12:00:03")},
		record.CommandStarted{Name: "apply"}, record.ChangeStarted{ID: changeID, Server: "qs-rim1"}, record.ChangeEnded{ID: changeID, Server: "qs-rim1", State: record.Failed},
	)
	var r record.Record
	var held []record.Record
	var were []string
	for _, e := range events {
		r.Apply(e)
		held, were = append(held, r.Clone()), append(were, shown(t, r))
	}
	for i, h := range held {
		if diff := cmp.Diff(were[i], shown(t, h)); diff != "" {
			t.Errorf("what was held after event %d, %s, has changed:\n%s", i, record.Kind(events[i]), diff)
		}
	}
	// And the other way round: what happens to the copy.
	copied := fold(applied()...)
	was, c := shown(t, copied), copied.Clone()
	for _, e := range events[len(applied()):] {
		c.Apply(e)
	}
	if diff := cmp.Diff(was, shown(t, copied)); diff != "" {
		t.Errorf("the copy's events changed the record:\n%s", diff)
	}
}

// everyFlow proves every flow of oneChange's site.
func everyFlow(v proof.Verdict) []record.Event {
	var events []record.Event
	for _, f := range []struct {
		from, to, port string
		number         uint16
	}{
		{"qs-central", "qs-rim1", "4241", 4241}, {"qs-central", "qs-rim1", "4242", 4242}, {"qs-central", "qs-rim1", "4444", 4444},
		{"qs-rim1", "qs-central", "4241", 4241}, {"qs-rim1", "qs-central", "4242", 4242},
	} {
		events = append(events, record.Proved{Proof: proof.Proof{
			ID: "verify:" + f.from + ":" + f.to + ":" + f.port, Phase: proof.Verify, From: f.from, To: f.to, Port: f.number, Verdict: v, Level: facts.Proven, At: at("10:40:00"),
		}})
	}
	return events
}

// TestComplete: a run is complete if nothing is unknown, a check was evaluated, and every flow was tested, if it is about
// flows.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, command string
		flows         bool
		found         []checks.Verdict
		want          bool
	}{
		{"all is known", "verify", true, []checks.Verdict{checks.Pass, checks.Warn}, true},
		{"a failure is known", "verify", true, []checks.Verdict{checks.Fail}, true},
		{"something is unknown", "verify", true, []checks.Verdict{checks.Pass, checks.Unknown}, false},
		{"no check was evaluated", "verify", true, nil, false},
		{"flows were not tested", "verify", false, []checks.Verdict{checks.Pass}, false},
		{"a plan tests none", "plan", false, []checks.Verdict{checks.Pass}, true},
		{"a back-out tests none", "backout", false, []checks.Verdict{checks.Pass}, true},
		{"something is unknown to a plan", "plan", false, []checks.Verdict{checks.Unknown}, false},
	} {
		events := []record.Event{oneChange()[0], record.CommandStarted{Name: test.command}}
		if test.flows {
			events = append(events, everyFlow(proof.Service)...)
		}
		j := record.Judged{}
		for _, v := range test.found {
			j.Findings = append(j.Findings, checks.Finding{Check: "x", Verdict: v})
		}
		if r := fold(append(events, j, record.CommandEnded{})...); r.Verdict.Complete != test.want {
			t.Errorf("%s: complete %v, want %v (%+v)", test.name, r.Verdict.Complete, test.want, r.Verdict)
		}
	}
}

// TestPartly: a run is partly applied while a rule of it is or may be in and another is open; what is not needed is not
// open, what would do nothing or was taken back is. A back-out is partly done while one is gone and another is or may be in.
func TestPartly(t *testing.T) {
	t.Parallel()
	const none record.ChangeState = ""
	for _, test := range []struct {
		a, b                 record.ChangeState
		applying, backingOut int
	}{
		{record.Done, record.Done, 5, 3},
		{record.Done, record.There, 5, 3},
		{record.Done, record.NotNeeded, 5, 3},
		{record.There, record.NotNeeded, 5, 0},
		{record.NotNeeded, record.NotNeeded, 5, 0},
		{record.Done, record.Void, 7, 3},
		{record.There, record.Void, 7, 0},
		{record.NotNeeded, record.Void, 5, 0},
		{record.Void, record.Void, 5, 0},
		{record.There, record.Failed, 7, 0},
		{record.Done, none, 7, 3},
		{record.There, none, 7, 0},
		{record.NotNeeded, none, 5, 0},
		{record.Failed, record.Failed, 5, 0},
		{record.Started, record.NotNeeded, 7, 3},
		{record.InDoubt, record.NotNeeded, 7, 3},
		{record.InDoubt, record.Done, 7, 3},
		{record.TakenBack, record.Done, 7, 7},
		{record.TakenBack, record.Started, 7, 7},
		{record.TakenBack, record.InDoubt, 7, 7},
		{record.TakenBack, record.There, 7, 0},
		{record.TakenBack, record.NotNeeded, 5, 0},
		{record.TakenBack, record.TakenBack, 5, 0},
	} {
		for command, want := range map[string]int{"apply": test.applying, "verify": test.applying, "backout": test.backingOut} {
			events := []record.Event{oneChange()[0], record.CommandStarted{Name: "apply"},
				record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-central"}, {ID: "b", Server: "qs-rim1"}}}}
			for _, c := range []struct {
				id, server string
				state      record.ChangeState
			}{{"a", "qs-central", test.a}, {"b", "qs-rim1", test.b}} {
				if c.state != none {
					events = append(events, record.ChangeStarted{ID: c.id, Server: c.server})
				}
				if c.state != none && c.state != record.Started {
					events = append(events, record.ChangeEnded{ID: c.id, Server: c.server, State: c.state})
				}
			}
			events = append(events, record.CommandEnded{}, record.CommandStarted{Name: command},
				record.Judged{Findings: []checks.Finding{{Check: "x", Verdict: checks.Pass}}}, record.CommandEnded{})
			if r := fold(events...); r.Verdict.ExitCode != want {
				t.Errorf("%s of %q and %q: exit code %d, want %d", command, test.a, test.b, r.Verdict.ExitCode, want)
			}
		}
	}
}

// TestWayBackOfDoubt: a back-out is not done while a rule may still be in.
func TestWayBackOfDoubt(t *testing.T) {
	t.Parallel()
	for _, state := range []record.ChangeState{record.Started, record.InDoubt} {
		events := []record.Event{oneChange()[0], record.CommandStarted{Name: "apply"},
			record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-central"}, {ID: "b", Server: "qs-rim1"}}},
			record.ChangeEnded{ID: "a", Server: "qs-central", State: record.Done}, record.ChangeStarted{ID: "b", Server: "qs-rim1"}}
		if state != record.Started {
			events = append(events, record.ChangeEnded{ID: "b", Server: "qs-rim1", State: state})
		}
		r := fold(append(events, record.CommandStarted{Name: "backout"}, record.RemovalEnded{ID: "a", Server: "qs-central", State: record.Removed})...)
		if r.BackOut.State != "incomplete" || r.Verdict.Summary != "1 of 2 rules taken back" {
			t.Errorf("%s: back-out %s, %s", state, r.BackOut.State, r.Verdict.Summary)
		}
		if r.Apply(record.RemovalEnded{ID: "b", Server: "qs-rim1", State: record.Absent}); r.BackOut.State != "done" {
			t.Errorf("%s, and it was not there: back-out %s", state, r.BackOut.State)
		}
	}
}

// TestLatestProof: of a flow's proofs the newest counts; of the same time, that of the later phase.
func TestLatestProof(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		proofs []record.Event
		want   proof.Verdict
	}{
		{"only one", []record.Event{proved(proof.Baseline, "10:00:00", proof.Dropped)}, proof.Dropped},
		{"the later phase is newer", []record.Event{proved(proof.Baseline, "10:00:00", proof.Dropped), proved(proof.AfterApply, "10:00:01", proof.Service)}, proof.Service},
		{"the later phase is older", []record.Event{proved(proof.Verify, "10:00:00", proof.Dropped), proved(proof.AfterApply, "10:00:01", proof.Service)}, proof.Service},
		{"the same time", []record.Event{proved(proof.Baseline, "10:00:00", proof.Dropped), proved(proof.Verify, "10:00:00", proof.Service)}, proof.Service},
		{"the same time, told the other way round", []record.Event{proved(proof.Verify, "10:00:00", proof.Service), proved(proof.Baseline, "10:00:00", proof.Dropped)}, proof.Service},
		{"of a phase, the last told", []record.Event{proved(proof.Verify, "10:00:00", proof.Service), proved(proof.Verify, "10:00:01", proof.Refused)}, proof.Refused},
	} {
		r := fold(slices.Concat(oneChange()[:2], test.proofs)...)
		if got := r.Latest(); len(got) != 1 || got[0].Verdict != test.want {
			t.Errorf("%s: %+v, want %s", test.name, got, test.want)
		}
	}
}

// TestProofsOfManyNodes: proofs come in the order in which servers answer and stand in that of phases and flows. What one
// more of them costs does not grow with the site: two dozen nodes have thousands.
func TestProofsOfManyNodes(t *testing.T) {
	s := site.Site{Name: "many", Release: "may-2021", Nodes: []site.Node{{Name: "qs-central", Host: "qs-central", Role: site.Central, Services: site.Services}}}
	for i := range 9 {
		name := fmt.Sprintf("qs-rim%d", i+1)
		s.Nodes = append(s.Nodes, site.Node{Name: name, Host: name, Role: site.Rim, Services: site.Services})
	}
	var r record.Record
	r.Apply(record.RunStarted{Site: s})
	flows := r.Flows()
	var want []string
	for _, phase := range []proof.Phase{proof.Baseline, proof.CloseOut} {
		for _, f := range flows {
			want = append(want, proof.ID(phase, f))
		}
	}
	came := slices.Clone(want)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(came), func(i, j int) { came[i], came[j] = came[j], came[i] })
	next := 0
	prove := func() {
		r.Apply(record.Proved{Proof: proof.Proof{ID: came[next]}})
		next++
	}
	for range len(came) - 21 {
		prove()
	}
	if n := testing.AllocsPerRun(20, prove); n > 10 { // once more, to warm up
		t.Errorf("one more proof of a site with %d flows needs %v allocations", len(flows), n)
	}
	var got []string
	for _, p := range r.Proofs {
		got = append(got, p.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the proofs stand in the order %v; want %v", got, want)
	}
}
