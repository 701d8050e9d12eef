package engine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
	"github.com/qlik-preflight/preflight/reports"
)

// quick are times for servers on this machine. Where a connection has to get through, however busy it is, steady is for
// proofs in which others are dropped, and patient for those in which none is.
var (
	quick   = engine.Times{Dial: 400 * time.Millisecond, Hold: 100 * time.Millisecond, Margin: 400 * time.Millisecond, Poll: 10 * time.Millisecond, Join: 20 * time.Second}
	steady  = engine.Times{Dial: 1200 * time.Millisecond, Hold: 200 * time.Millisecond, Margin: 600 * time.Millisecond, Poll: 10 * time.Millisecond, Join: 20 * time.Second}
	patient = engine.Times{Dial: 20 * time.Second, Hold: 300 * time.Millisecond, Margin: 20 * time.Second}
)

// run is an engine on a lab, with its journal.
type run struct {
	*engine.Engine
	lab     *lab.Lab
	journal *record.Journal
}

func newLab(t *testing.T, rims int) *lab.Lab {
	t.Helper()
	l, err := lab.Start(lab.Options{Rims: rims})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func winRM(l *lab.Lab, password string) engine.WinRM {
	return engine.WinRM{
		Roots: func(string) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(l.CA())
			return pool, nil
		},
		Password: func(string) winrm.Password { return winrm.Password(password) },
	}
}

// start starts a run. emit, if not nil, sees every event after the journal and may stop the run.
func start(t *testing.T, l *lab.Lab, c engine.Connector, emit func(record.Event) error) run {
	t.Helper()
	text, err := l.SiteFile()
	if err != nil {
		t.Fatal(err)
	}
	s, err := site.Parse("lab.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	j, err := record.Create(t.TempDir(), "lab-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	e, err := engine.New(s, c, j, func(ev record.Event) error {
		if emit != nil {
			if err := emit(ev); err != nil {
				return err
			}
		}
		return j.Append(ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Times = quick
	t.Cleanup(e.Close)
	if err := errors.Join(e.Start(record.RunStarted{RunID: "lab-1", Tool: record.Tool{Name: "preflight"}}), e.Begin(record.CommandStarted{Name: "demo", Operator: record.Operator{User: "jdoe"}, Ticket: "CHG1"})); err != nil {
		t.Fatal(err)
	}
	return run{e, l, j}
}

// upToPlan takes the run to its plan.
func (r run) upToPlan(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{r.ConnectAll(ctx), r.Inspect(ctx), r.Plan()} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func rules(l *lab.Lab) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, name := range []string{"qs-central", "qs-rim1"} {
		all[name] = l.Host(name).Rules("local")
	}
	return all
}

func TestJourney(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	r := start(t, l, winRM(l, l.Password()), nil)
	ctx := t.Context()
	baseline := []error{r.ConnectAll(ctx), r.Inspect(ctx), r.Prove(ctx, proof.Baseline, false)}
	r.Times = patient
	for _, err := range append(baseline, r.Plan(), r.Apply(ctx, "demo", "x"), r.Prove(ctx, proof.AfterApply, true), r.End(nil)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	rec := r.Record()

	if v := rec.Verdict; !v.Passed || !v.Complete || v.ExitCode != 0 || v.Flows != (record.Flows{Total: 14, Proven: 14}) {
		t.Errorf("verdict = %+v\n%s", v, reports.Text(rec, reports.Options{}))
	}
	if !rec.Run.Simulated {
		t.Error("the record does not say that the servers are simulated")
	}
	// What is there before: the central's services and the rim's 4444 listen, and no rule admits anybody.
	want := map[string]proof.Verdict{}
	for _, port := range []int{443, 4144, 4241, 4242, 4243, 5050, 5051} {
		want[fmt.Sprintf("baseline:qs-rim1:qs-central:%d", port)] = proof.Dropped
		want[fmt.Sprintf("after_apply:qs-rim1:qs-central:%d", port)] = proof.Service
	}
	for _, port := range []int{443, 4144, 4241, 4242, 4243, 5051} {
		want[fmt.Sprintf("baseline:qs-central:qs-rim1:%d", port)] = proof.NotTested
		want[fmt.Sprintf("after_apply:qs-central:qs-rim1:%d", port)] = proof.Answered
	}
	want["baseline:qs-central:qs-rim1:4444"] = proof.Dropped
	want["after_apply:qs-central:qs-rim1:4444"] = proof.Service
	got := map[string]proof.Verdict{}
	for _, p := range rec.Proofs {
		got[p.ID] = p.Verdict
		if p.Verdict.Works() && (p.Level != "proven" || p.Target.SeenFrom != p.Dialler.Address || p.Target.Owner == "") {
			t.Errorf("%s lacks evidence: %+v %+v %+v", p.ID, p, p.Dialler, p.Target)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("proofs (-want +got):\n%s", diff)
	}
	for _, c := range rec.Changes {
		if c.State != record.Done || !c.InForce.V || c.Before != nil || rules(l)[c.Server][c.ID] != *c.After {
			t.Errorf("change %+v; the server has %q", c, rules(l)[c.Server][c.ID])
		}
	}
	if len(rec.Changes) != 8 || len(rec.Changes) != len(rec.Plan.Changes) {
		t.Errorf("%d changes of %d planned, want 8", len(rec.Changes), len(rec.Plan.Changes))
	}

	text, err := os.ReadFile(filepath.Join(r.journal.Dir(), engine.PlanFile))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); rec.Change.PlanSHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the plan's digest %s is not that of its file", rec.Change.PlanSHA256)
	}
	replayed, err := record.Replay(r.journal.Dir())
	if err != nil {
		t.Fatal(err)
	}
	a, _ := reports.JSON(rec)
	b, _ := reports.JSON(replayed)
	if !bytes.Equal(a, b) {
		t.Errorf("the journal folds into another record:\n%s", cmp.Diff(string(a), string(b)))
	}
	if rec.BackOut == nil || len(rec.BackOut.Files) != 2 {
		t.Fatalf("back-out = %+v", rec.BackOut)
	}
}

// TestSecondRun: what is right already is planned no more, and the plan is the same whenever it is made.
func TestSecondRun(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	first, again := start(t, l, winRM(l, l.Password()), nil), start(t, l, winRM(l, l.Password()), nil)
	first.upToPlan(t)
	again.upToPlan(t)
	if a, b := first.Record().Change.PlanSHA256, again.Record().Change.PlanSHA256; a != b {
		t.Errorf("two plans of the same servers differ: %s %s", a, b)
	}
	if err := first.Apply(t.Context(), "demo", "x"); err != nil {
		t.Fatal(err)
	}
	second := start(t, l, winRM(l, l.Password()), nil)
	second.upToPlan(t)
	p := second.Record().Plan
	if len(p.Changes) != 0 || len(p.Blocked) != 0 || len(p.Already) != 34 {
		t.Errorf("a second plan: %d changes, %d blocked, %d already; want 0, 0, 34", len(p.Changes), len(p.Blocked), len(p.Already))
	}
	for _, a := range p.Already {
		if !a.Ours || a.By == "" {
			t.Errorf("already = %+v; want a rule of ours", a)
		}
	}
}

// TestWrongPassword: a wrong password is tried once, on one server, however many there are.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	r := start(t, l, winRM(l, "canary-not-the-password"), nil)
	err := r.ConnectAll(t.Context())
	if !errors.Is(err, engine.ErrStopped) {
		t.Errorf("ConnectAll = %v; want ErrStopped", err)
	}
	if err := r.End(err); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range r.Site.Nodes {
		accepted, rejected := l.Attempts(n.Name)
		total += rejected
		if accepted != 0 {
			t.Errorf("%s accepted a wrong password", n.Name)
		}
	}
	if total != 1 {
		t.Errorf("%d attempts were made, want 1", total)
	}
	rec := r.Record()
	if rec.Verdict.ExitCode != record.ExitConnect {
		t.Errorf("exit code %d, want 4", rec.Verdict.ExitCode)
	}
	rejected, untried := 0, 0
	for _, s := range rec.Servers {
		switch {
		case s.Failure == nil:
			t.Errorf("%s has no failure", s.Name)
		case s.Failure.Kind == engine.Rejected:
			rejected++
		case strings.Contains(s.Failure.Error, "not tried"):
			untried++
		}
	}
	if rejected != 1 || untried != 3 {
		t.Errorf("%d rejected, %d not tried; want 1 and 3", rejected, untried)
	}
}

// TestSecrets: the password stands in no file of the run.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, right := range []bool{true, false} {
		l := newLab(t, 1)
		password := l.Password()
		if !right {
			password = "canary-not-the-password"
		}
		r := start(t, l, winRM(l, password), nil)
		ctx := t.Context()
		err := r.ConnectAll(ctx)
		if right {
			err = errors.Join(err, r.Inspect(ctx), r.Plan(), r.Apply(ctx, "demo", "x"))
		}
		if err := r.End(err); err != nil {
			t.Fatal(err)
		}
		b, _ := reports.JSON(r.Record())
		if err := r.journal.WriteFile("record.json", append(b, reports.Text(r.Record(), reports.Options{})...)); err != nil {
			t.Fatal(err)
		}
		filepath.WalkDir(r.journal.Dir(), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, err := os.ReadFile(path)
				if err != nil || bytes.Contains(b, []byte(password)) {
					t.Errorf("%s holds the password (%v)", path, err)
				}
			}
			return err
		})
	}
}

// TestIntentFirst: if an intent cannot be written down, the server is not asked.
func TestIntentFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	before := rules(l)
	full := errors.New("the disk is full")
	r := start(t, l, winRM(l, l.Password()), func(e record.Event) error {
		if _, ok := e.(record.ChangeStarted); ok {
			return full
		}
		return nil
	})
	r.upToPlan(t)
	if err := r.Apply(t.Context(), "demo", "x"); !errors.Is(err, full) {
		t.Errorf("Apply = %v; want the journal's error", err)
	}
	if diff := cmp.Diff(before, rules(l)); diff != "" {
		t.Errorf("rules were added although their intent was not on disk:\n%s", diff)
	}
}

// TestBackOutFirst: the way back is on disk before the first rule is added.
func TestBackOutFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	var mu sync.Mutex
	written := false
	r := start(t, l, winRM(l, l.Password()), func(e record.Event) error {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case record.BackOutWritten:
			written = len(e.Files) == 2
		case record.ChangeStarted:
			if !written {
				t.Error("a change was begun before the way back was written")
			}
		}
		return nil
	})
	r.upToPlan(t)
	if err := r.Apply(t.Context(), "demo", "x"); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Record().Plan.Changes {
		b, err := os.ReadFile(filepath.Join(r.journal.Dir(), "backout", c.Server+".ps1"))
		if err != nil || !strings.Contains(string(b), c.ID) {
			t.Errorf("the back-out of %s does not remove %s (%v)", c.Server, c.ID, err)
		}
	}
}

// wrapped is a Connector whose servers are not quite what they were.
type wrapped struct {
	engine.Connector
	wrap func(site.Node, engine.Server) engine.Server
}

func (w wrapped) SignIn(ctx context.Context, n site.Node) (engine.Server, error) {
	s, err := w.Connector.SignIn(ctx, n)
	if err != nil {
		return nil, err
	}
	return w.wrap(n, s), nil
}

// breakingServer loses the connection at an answer of some kind, after some of that kind.
type breakingServer struct {
	engine.Server
	at    string
	after int
}

var errCut = errors.New("the connection was cut")

func (s breakingServer) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cut := &cutter{w: stdout, at: []byte(" " + s.at + "\t"), left: s.after, cut: cancel}
	code, err := s.Server.Run(ctx, command, stdin, cut, stderr)
	if cut.done {
		return 0, errCut
	}
	return code, err
}

// cutter passes a script's answers on until some of a kind came, and loses what comes then.
type cutter struct {
	w    io.Writer
	at   []byte
	left int
	done bool
	cut  func()
}

func (c *cutter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if bytes.Contains(line, c.at) {
			if c.left == 0 {
				c.done = true
				c.cut()
			}
			c.left--
		}
		if !c.done {
			c.w.Write(line)
		}
	}
	return len(p), nil
}

// TestInDoubt: a rule whose answer was lost is in doubt, never done and never failed, and those after it are not tried.
func TestInDoubt(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	r := start(t, l, wrapped{winRM(l, l.Password()), func(n site.Node, s engine.Server) engine.Server {
		if n.Role == site.Rim {
			return breakingServer{s, "added", 1}
		}
		return s
	}}, nil)
	r.upToPlan(t)
	err := r.Apply(t.Context(), "demo", "x")
	if !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Apply = %v; want ErrStopped", err)
	}
	if err := r.End(err); err != nil {
		t.Fatal(err)
	}
	rec := r.Record()
	states := map[record.ChangeState]int{}
	for _, c := range rec.Changes {
		if c.Server == "qs-rim1" {
			states[c.State]++
		}
	}
	if !maps.Equal(states, map[record.ChangeState]int{record.Done: 1, record.InDoubt: 1}) {
		t.Errorf("states on the rim = %v; want one done, one in doubt and no more", states)
	}
	if rec.Verdict.ExitCode != record.ExitPartly || rec.Verdict.Passed {
		t.Errorf("verdict = %+v; want 7", rec.Verdict)
	}
}

// TestCancel: a cancelled run ends soon, and says so.
func TestCancel(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	r := start(t, l, winRM(l, l.Password()), func(e record.Event) error {
		if s, ok := e.(record.StageStarted); ok && s.Stage == "prove" {
			cancel()
		}
		return nil
	})
	r.upToPlan(t)
	err := r.Prove(ctx, proof.Baseline, false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Prove = %v; want cancelled", err)
	}
	if err := r.End(err); err != nil {
		t.Fatal(err)
	}
	if code := r.Record().Verdict.ExitCode; code != record.ExitCancelled {
		t.Errorf("exit code %d, want 130", code)
	}
}

// TestConstrainedLanguage: where PowerShell will not run scripts, the server counts as not signed in to, with the reason.
func TestConstrainedLanguage(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	r := start(t, l, wrapped{winRM(l, l.Password()), func(_ site.Node, s engine.Server) engine.Server { return constrainedServer{s} }}, nil)
	err := r.ConnectAll(t.Context())
	if !errors.Is(err, engine.ErrStopped) {
		t.Errorf("ConnectAll = %v; want ErrStopped", err)
	}
	r.End(err)
	rec := r.Record()
	if f := rec.Servers[1].Failure; f == nil || f.Kind != "language" || !strings.Contains(f.Error, "ConstrainedLanguage") || len(f.Hints) == 0 {
		t.Errorf("failure = %+v", f)
	}
	if rec.Verdict.ExitCode != record.ExitConnect {
		t.Errorf("exit code %d, want 4", rec.Verdict.ExitCode)
	}
}

// constrainedServer has a PowerShell in Constrained Language Mode.
type constrainedServer struct{ engine.Server }

func (s constrainedServer) Run(_ context.Context, command string, _ io.Reader, stdout, stderr io.Writer) (int, error) {
	if command == script.ProbeCommand {
		fmt.Fprintln(stdout, "#pf-probe ConstrainedLanguage 5.1.17763.1")
		return 0, nil
	}
	fmt.Fprintln(stderr, "Method invocation is supported only on core types in this language mode.")
	return 1, nil
}

// TestInspectFails: a server that was signed in to but could not be inspected is not "not connected".
func TestInspectFails(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	r := start(t, l, wrapped{winRM(l, l.Password()), func(_ site.Node, s engine.Server) engine.Server { return silentServer{s} }}, nil)
	if err := r.ConnectAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := r.Inspect(t.Context())
	if !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Inspect = %v; want ErrStopped", err)
	}
	r.End(err)
	rec := r.Record()
	if code := rec.Verdict.ExitCode; code != record.ExitIncomplete {
		t.Errorf("exit code %d, want 5\n%s", code, reports.Text(rec, reports.Options{}))
	}
	if f := rec.Servers[0].Failure; f == nil || f.Stage != "inspect" || !strings.Contains(f.Error, "last frame") {
		t.Errorf("failure = %+v", f)
	}
}

// silentServer runs the probe and no script.
type silentServer struct{ engine.Server }

func (s silentServer) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if command == script.ProbeCommand {
		return s.Server.Run(ctx, command, stdin, stdout, stderr)
	}
	return 1, nil // as PowerShell does with a bootstrap that it cannot parse
}

// TestApplyMeets: what may have happened on a server between plan and apply.
func TestApplyMeets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(h *host.Host, first record.PlannedChange)
		state  record.ChangeState
		exit   int
		says   string
		proven int
	}{
		{"another rule took the id", func(h *host.Host, c record.PlannedChange) {
			h.AddRule("local", c.ID, "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=1|Name=other|")
		}, record.Failed, record.ExitPartly, "another rule has this id", 0},
		{"the same rule was added by somebody else", func(h *host.Host, c record.PlannedChange) {
			h.AddRule("local", c.ID, "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=443|LPort=4144|RA4=10.0.0.12/255.255.255.255|RA4=10.20.0.0/255.255.0.0|Name=x|")
		}, record.There, record.ExitPassed, "ready", 14},
		{"a policy came that voids local rules", func(h *host.Host, c record.PlannedChange) {
			h.Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
		}, record.Done, record.ExitFailed, "not in force", 7},
		{"a Block rule came", func(h *host.Host, c record.PlannedChange) {
			h.AddRule("policy", "block", "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4242|Name=Server Baseline|")
		}, record.Done, record.ExitFailed, "4242 from qs-rim1 dropped", 13},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1)
			r := start(t, l, winRM(l, l.Password()), nil)
			r.upToPlan(t)
			test.change(l.Host("qs-central"), r.Record().Plan.Changes[0])
			err := r.Apply(t.Context(), "demo", "x")
			if err == nil {
				r.Times = steady
				if test.proven == 14 {
					r.Times = patient
				}
				err = r.Prove(t.Context(), proof.AfterApply, true)
			}
			if err := r.End(err); err != nil {
				t.Fatal(err)
			}
			rec := r.Record()
			if s := rec.Changes[0].State; s != test.state {
				t.Errorf("state %s, want %s", s, test.state)
			}
			if rec.Verdict.ExitCode != test.exit || rec.Verdict.Flows.Proven != test.proven || !strings.Contains(string(reports.Text(rec, reports.Options{})), test.says) {
				t.Errorf("exit code %d, want %d; %d proven, want %d; want %q in\n%s", rec.Verdict.ExitCode, test.exit, rec.Verdict.Flows.Proven, test.proven, test.says, reports.Text(rec, reports.Options{}))
			}
		})
	}
}

// TestPlanMeets: what stands in the way is named, and nothing is planned against it.
func TestPlanMeets(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.Host("qs-rim1").Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
	l.Host("qs-central").AddRule("local", "hostile", "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4242|Name=a\x1b[2J\u202eb|")
	r := start(t, l, winRM(l, l.Password()), nil)
	r.upToPlan(t)
	if err := r.End(nil); err != nil {
		t.Fatal(err)
	}
	rec := r.Record()
	for _, c := range rec.Plan.Changes {
		if c.Server == "qs-rim1" {
			t.Errorf("a rule is planned that policy voids: %+v", c)
		}
	}
	if rec.Verdict.ExitCode != record.ExitFailed {
		t.Errorf("exit code %d, want 3", rec.Verdict.ExitCode)
	}
	text := string(reports.Text(rec, reports.Options{}))
	for _, want := range []string{"local rules are turned off", "firewall.rule-blocked", "Block rule"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	b, err := reports.JSON(rec)
	if err != nil {
		t.Fatal(err)
	}
	for name, shown := range map[string]string{"text": text, "JSON": string(b)} {
		if strings.ContainsAny(shown, "\x1b\u202e") {
			t.Errorf("the %s holds what acts on a terminal", name)
		}
	}
}
