package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// outcome is what a command left: its exit code and what it printed.
type outcome struct {
	code           int
	stdout, stderr string
}

// preflight runs the program with something on standard input. The records that it leaves have to be what their schema says.
func preflight(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	if i := slices.Index(args, "--runs"); i >= 0 {
		if err := checkRecords(args[i+1]); err != nil {
			t.Errorf("preflight %s: %v", strings.Join(args, " "), err)
		}
	}
	return outcome{code, stdout.String(), stderr.String()}
}

// simulated is a lab and where its files are.
type simulated struct {
	*lab.Lab
	files lab.Files
	runs  string
}

func newLab(t *testing.T, o lab.Options) simulated {
	t.Helper()
	l, err := lab.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	dir := t.TempDir()
	files, err := l.Write(filepath.Join(dir, "lab"))
	if err != nil {
		t.Fatal(err)
	}
	return simulated{l, files, filepath.Join(dir, "runs")}
}

// run runs a command on the lab, which may be told a run or the site file, and gives it the password.
func (s simulated) run(t *testing.T, want int, command string, args ...string) outcome {
	t.Helper()
	args = append([]string{command, "--runs", s.runs, "--password-stdin"}, args...)
	o := preflight(t, s.Password()+"\n", args...)
	if o.code != want {
		t.Errorf("preflight %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), o.code, want, o.stdout, o.stderr)
	}
	return o
}

// last is the record of the last run.
func (s simulated) last(t *testing.T) record.Record {
	t.Helper()
	runs, err := record.Runs(s.runs)
	if err != nil || len(runs) == 0 {
		t.Fatalf("no run in %s (%v)", s.runs, err)
	}
	r, err := record.Replay(filepath.Join(s.runs, runs[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestScenarios: for each scenario, what the demo and a check before it end with, and what they have to name.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scenario    string
		demo, check int
		both        []string // in the text of both
		checked     []string // in that of check alone
		demoed      []string // in that of the demo
		request     bool     // a request to the owner of a policy is written
	}{
		{scenario: "clean", check: 3, checked: []string{"FAIL     firewall.rule-missing    qs-central", "7 ports have no rule for these sources: 443,4144 from 10.0.0.11", "next    preflight plan -f "}},
		{scenario: "joined", both: []string{"right already", "Repository answered", "Proxy answered", "Scheduler answered", "14 of 14 flows proven|14 flows: 14 proven"}},
		{scenario: "second-rim", check: 3, both: []string{"qs-rim2", "right already"}},
		{scenario: "already-open", check: 5, both: []string{`by "QS internal", not ours`}, checked: []string{"nothing listens yet"}},
		{scenario: "gpo-merge-off", demo: 3, check: 3, request: true, both: []string{"void: local rules are turned off for the Domain profile by Group Policy", "the Active Directory team: hand over gpo-request.txt"}},
		{scenario: "block-rule", demo: 3, check: 3, both: []string{`"Block legacy sync"`, "store local"}},
		{scenario: "port-in-use", demo: 3, check: 3, both: []string{"httpd (pid 3120) listens on 443"}},
		{scenario: "wrong-password", demo: 4, check: 4, both: []string{"user name or password rejected"}},
		{scenario: "winrm-down", demo: 4, check: 4, both: []string{"connection refused", "New-Item WSMan:"}},
		{scenario: "stale-certificates", demo: 3, check: 3, both: []string{"CN=old-central-CA"}},
		{scenario: "half-join", check: 3, checked: []string{"firewall.rule-missing    qs-rim1", "4444"}, demoed: []string{"the site has the node qs-rim1 with the host name qs-rim1 already"}},
		{scenario: "slow"},
	} {
		t.Run(test.scenario, func(t *testing.T) {
			t.Parallel()
			rims := 0
			if test.scenario == "wrong-password" {
				rims = 5
			}
			named := func(o outcome, want ...string) {
				t.Helper()
				flat := strings.Join(strings.Fields(o.stdout+o.stderr), " ")
				for _, w := range want {
					found := false
					for alternative := range strings.SplitSeq(w, "|") {
						found = found || strings.Contains(flat, strings.Join(strings.Fields(alternative), " "))
					}
					if !found {
						t.Errorf("%q is not said:\n%s%s", w, o.stdout, o.stderr)
					}
				}
				if !strings.Contains(o.stdout, "Simulated servers") {
					t.Errorf("it does not say that the servers are simulated:\n%s", o.stdout)
				}
			}
			s := newLab(t, lab.Options{Scenario: test.scenario, Rims: rims})
			if test.scenario == "block-rule" {
				for id, text := range s.Host("qs-rim1").Rules("local") {
					if strings.Contains(text, "Action=Block") {
						test.both = append(test.both, "rule "+id) // the same in every lab
					}
				}
			}
			if test.scenario != "slow" {
				o := s.run(t, test.check, "check", "-f", s.files.Site)
				named(o, append(test.both, test.checked...)...)
				s.checkUntouched(t, o)
				s.checkRequest(t, test.request)
			}
			if test.scenario == "wrong-password" {
				s.checkAttempts(t)
			}

			demo := simulated{runs: filepath.Join(t.TempDir(), "runs")}
			o := preflight(t, "", "demo", "--headless", "--scenario", test.scenario, "--runs", demo.runs)
			if o.code != test.demo {
				t.Errorf("demo: exit code %d, want %d\n%s%s", o.code, test.demo, o.stdout, o.stderr)
			}
			named(o, append(test.both, test.demoed...)...)
			if test.demo == 0 {
				demo.checkJoined(t, test.scenario)
			} else if j := demo.last(t).Join; j != nil {
				t.Errorf("a join began: %+v", j)
			}
			demo.checkRequest(t, test.request)
			demo.checkPlanned(t, test.scenario)
			if test.scenario == "slow" && strings.Count(o.stderr, "\n") < 30 {
				t.Errorf("no progress is shown:\n%s", o.stderr)
			}
		})
	}
}

// checkUntouched: check changed nothing on any server.
func (s simulated) checkUntouched(t *testing.T, o outcome) {
	t.Helper()
	for _, n := range s.last(t).Site.Nodes {
		for id := range s.Host(n.Name).Rules("local") {
			if strings.HasPrefix(id, "preflight-") {
				t.Errorf("check added %s on %s\n%s", id, n.Name, o.stdout)
			}
		}
	}
}

// checkAttempts: a wrong password was tried exactly once, on one server.
func (s simulated) checkAttempts(t *testing.T) {
	t.Helper()
	total := 0
	for _, n := range s.last(t).Site.Nodes {
		_, rejected := s.Attempts(n.Name)
		total += rejected
	}
	if total != 1 {
		t.Errorf("a wrong password was tried %d times, want once", total)
	}
}

func (s simulated) checkRequest(t *testing.T, want bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.runs, s.last(t).Run.ID, "gpo-request.txt"))
	if got := err == nil; got != want {
		t.Errorf("gpo-request.txt: %v, want %v", got, want)
	}
	if want && (!bytes.Contains(text, []byte("New-NetFirewallRule -PolicyStore 'DOMAIN\\POLICY'")) || bytes.Contains(text, []byte("qs-central.ps1"))) {
		t.Errorf("the request:\n%s", text)
	}
}

// checkJoined: the rim that had not joined did, and every flow is proven by its real service.
func (s simulated) checkJoined(t *testing.T, scenario string) {
	t.Helper()
	r := s.last(t)
	checkPhases(t, r, proof.Baseline, proof.AfterApply, proof.CloseOut)
	for _, v := range r.Servers[1:] {
		want := allDone
		if scenario == "joined" || scenario == "second-rim" && v.Name == "qs-rim1" {
			want = nil
		}
		checkSteps(t, r, v.Name, want...)
		if v.Phase != facts.Joined {
			t.Errorf("%s is %s", v.Name, v.Phase)
		}
	}
	if len(r.Plan.Changes) > 0 && r.BackOut.State != "ready" {
		t.Errorf("the way back is %+v", r.BackOut)
	}
}

// checkPlanned: what the demo planned, where a scenario is about that.
func (s simulated) checkPlanned(t *testing.T, scenario string) {
	t.Helper()
	r := s.last(t)
	for _, c := range r.Plan.Changes {
		switch {
		case scenario == "joined", scenario == "already-open":
			t.Errorf("a rule is planned where none is missing: %+v", c)
		case scenario == "gpo-merge-off" && c.Server != "qs-central":
			t.Errorf("a rule is planned that policy voids: %+v", c)
		case scenario == "second-rim" && (c.Server == "qs-rim1" || c.Server == "qs-central" && strings.Join(c.From, " ") != "10.0.0.13"):
			t.Errorf("more is planned than the new rim adds: %+v", c)
		}
	}
	if scenario == "wrong-password" && len(r.Plan.Changes)+len(r.Proofs) > 0 {
		t.Errorf("the demo went on without a sign-in: %+v", r)
	}
}

// journey takes a lab's site through plan and apply, and returns the run and its plan's digest.
func (s simulated) journey(t *testing.T) (run, digest string) {
	t.Helper()
	s.run(t, 0, "plan", "-f", s.files.Site, "--ticket", "CHG0031337")
	r := s.last(t)
	run, digest = filepath.Join(s.runs, r.Run.ID), r.Change.PlanSHA256
	s.run(t, 0, "apply", run, "--approve", digest[:12])
	return run, digest
}

// rules are all rules of all servers.
func (s simulated) rules(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"qs-central", "qs-rim1"} {
		for _, store := range []string{"local", "policy", "mdm"} {
			for id, text := range s.Host(name).Rules(store) {
				all[name+" "+store+" "+id] = text
			}
		}
	}
	return all
}

// TestWayBack: backout after apply leaves the rules byte for byte as they were before, and says so; a second one finds
// nothing to do.
func TestWayBack(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	before := s.rules(t)
	run, _ := s.journey(t)
	if maps.Equal(before, s.rules(t)) {
		t.Fatal("apply added nothing")
	}
	o := s.run(t, 0, "backout", run)
	if diff := cmp.Diff(before, s.rules(t)); diff != "" {
		t.Errorf("the rules are not as before (-before +after):\n%s", diff)
	}
	if !strings.Contains(o.stdout, "8 rules taken back") {
		t.Errorf("the back-out says:\n%s", o.stdout)
	}
	r := s.last(t)
	if r.BackOut == nil || r.BackOut.State != "done" || len(r.BackOut.Removals) != 8 {
		t.Errorf("back-out = %+v", r.BackOut)
	}
	s.run(t, 0, "backout", run)
	if o := s.run(t, 3, "verify", run); !strings.Contains(o.stdout, "since the last proofs: 8 with no proof to compare with") {
		t.Errorf("verify does not tell the difference:\n%s", o.stdout)
	}
}

// TestFormats: the exit code is the same for every format, the JSON is the record, and JSON lines end with the result.
func TestFormats(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "already-open"})
	dir := t.TempDir()
	s.run(t, 5, "check", "-f", s.files.Site)
	file := filepath.Join(dir, "record.json")
	if o := s.run(t, 5, "check", "-f", s.files.Site, "-o", "json", "--out", file); o.stdout != "" {
		t.Errorf("standard output has a result that was to go into a file:\n%s", o.stdout)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(s.runs, s.last(t).Run.ID, "record.json"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("--out is not the record (%v)", err)
	}
	if o := preflight(t, "", "report", "last", "--runs", s.runs, "-o", "json"); o.stdout != string(want) || o.code != 0 {
		t.Errorf("report is not the record: %s", cmp.Diff(string(want), o.stdout))
	}
	o := s.run(t, 5, "check", "-f", s.files.Site, "-o", "jsonl")
	var last struct {
		Event string `json:"event"`
		Data  ending `json:"data"`
	}
	for line := range strings.Lines(o.stdout) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	if last.Event != "result" || last.Data.Verdict.ExitCode != 5 || !last.Data.Simulated {
		t.Errorf("the last line is %+v", last)
	}
	sum, err := os.ReadFile(last.Data.Record)
	if err != nil || fmt.Sprintf("%x", sha256.Sum256(sum)) != last.Data.SHA256 {
		t.Errorf("the record's digest is not %s (%v)", last.Data.SHA256, err)
	}
	journal := preflight(t, "", "report", "last", "--runs", s.runs, "-o", "jsonl")
	if events, _, _ := strings.Cut(o.stdout, `{"event":"result"`); journal.stdout != events {
		t.Errorf("the events are not the journal's:\n%s", cmp.Diff(journal.stdout, events))
	}
}

// TestOut: a file that is to be written is there only once the result is complete, and one that was there stays if there
// is no result.
func TestOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "out.txt")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"explain", "no.such.check", "--out", file},
		{"report", "last", "--runs", filepath.Join(dir, "none"), "--out", file},
		{"check", "-f", filepath.Join(dir, "none.yaml"), "--out", file},
		{"version", "--out", filepath.Join(dir, "no", "such", "folder")},
		{"version", "--out", dir},
	} {
		if o := preflight(t, "", args...); o.code != 2 || !strings.Contains(o.stderr, "hint: ") {
			t.Errorf("%v: exit code %d, want 2, with a hint: %s", args, o.code, o.stderr)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "before" {
		t.Errorf("what was in the file is lost: %q", b)
	}
	if o := preflight(t, "", "version", "-o", "json", "--out", file); o.code != 0 || o.stdout != "" {
		t.Errorf("version: %+v", o)
	}
	if b, _ := os.ReadFile(file); !json.Valid(b) {
		t.Errorf("not JSON: %q", b)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files are left behind: %v", left)
	}
}

// TestApprove: only the digest of the plan as it was made is an approval, and without one nothing is dialled.
func TestApprove(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.run(t, 0, "plan", "-f", s.files.Site)
	r := s.last(t)
	run, digest := filepath.Join(s.runs, r.Run.ID), r.Change.PlanSHA256
	other := strings.Map(func(c rune) rune { return '0' + ('f'-c)%10 }, digest)
	for _, test := range []struct{ digest, says string }{
		{"", "--approve is missing for " + r.Run.ID + "\n"}, {digest[:11], "is not a digest"}, {digest + "0", "is not a digest"}, {"yes", "is not a digest"},
		{other[:12], "is not the digest of the plan of " + r.Run.ID + "\n"}, {digest[:63] + "g", "is not a digest"},
	} {
		if o := s.run(t, 2, "apply", run, "--approve", test.digest); !strings.Contains(o.stderr, test.says) {
			t.Errorf("--approve %q: %s; want %q", test.digest, o.stderr, test.says)
		} else if strings.Contains(o.stderr, digest[:12]) != strings.HasPrefix(test.digest, digest[:12]) || !strings.Contains(o.stderr, "report "+run+" -o ticket\n") {
			t.Errorf("--approve %q: the hint says the digest, or not where it stands: %s", test.digest, o.stderr)
		}
	}
	plan := filepath.Join(run, "plan.json")
	text, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, bytes.Replace(text, []byte("4444"), []byte("4445"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := s.run(t, 2, "apply", run, "--approve", digest); !strings.Contains(o.stderr, "was changed after it was planned") {
		t.Errorf("a changed plan: %s", o.stderr)
	}
	if err := os.WriteFile(plan, text, 0o600); err != nil {
		t.Fatal(err)
	}
	commands := len(s.last(t).Run.Commands)
	if commands != 1 {
		t.Errorf("the run has %d commands; what was refused is none of its", commands)
	}
	s.run(t, 0, "apply", run, "--approve", strings.ToUpper(digest))
}

// TestDrift: what the approved plan does not hold is not added, with the documented exit code.
func TestDrift(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.run(t, 0, "plan", "-f", s.files.Site)
	r := s.last(t)
	s.Host("qs-rim1").AddRule("local", "{1}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|Name=web|")
	before := s.rules(t)
	o := s.run(t, record.ExitDrift, "apply", filepath.Join(s.runs, r.Run.ID), "--approve", r.Change.PlanSHA256)
	if !strings.Contains(o.stderr, "qs-rim1 now also needs a rule for 4144") || !strings.Contains(o.stderr, "hint: plan again, and have that approved: preflight plan -f "+s.files.Site+"\n") {
		t.Errorf("the drift is not named: %s", o.stderr)
	}
	if diff := cmp.Diff(before, s.rules(t)); diff != "" {
		t.Errorf("something was added:\n%s", diff)
	}
}

// TestLocked: while a command works on a run, another is refused.
func TestLocked(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.run(t, 0, "plan", "-f", s.files.Site)
	run := filepath.Join(s.runs, s.last(t).Run.ID)
	j, _, err := record.Open(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"apply", run, "--approve", "000000000000"}, {"backout", run}, {"verify", run}} {
		if o := s.run(t, 2, args[0], args[1:]...); !strings.Contains(o.stderr, "another preflight works on this run") {
			t.Errorf("%v: %s", args, o.stderr)
		}
	}
	preflight(t, "", "report", run) // reading is always possible
	j.Close()
	s.run(t, 0, "backout", run)
}

// TestTimeout: a command that takes longer than it may is cancelled, says so, and leaves its record.
func TestTimeout(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "slow"})
	o := s.run(t, record.ExitCancelled, "check", "-f", s.files.Site, "--timeout", "300ms")
	if !strings.Contains(o.stderr, "error: the 300ms that --timeout allows are over") || !strings.Contains(o.stdout, "cancelled") {
		t.Errorf("it says %s%s", o.stdout, o.stderr)
	}
	if c := s.last(t).Run.Commands[0]; c.ExitCode == nil || *c.ExitCode != record.ExitCancelled {
		t.Errorf("the record says %+v", c)
	}
}

// TestFinishBroken: a record that cannot be written keeps nothing else from being said, the way back above all, and the
// run's own exit code stays.
func TestFinishBroken(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.run(t, 0, "plan", "-f", s.files.Site)
	r := s.last(t)
	run := filepath.Join(s.runs, r.Run.ID)
	j, r, err := record.Open(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []record.Event{
		record.CommandStarted{Name: "apply"},
		record.ChangeStarted{ID: r.Plan.Changes[0].ID, Server: r.Plan.Changes[0].Server},
		record.ChangeEnded{ID: r.Plan.Changes[0].ID, Server: r.Plan.Changes[0].Server, State: record.Done},
	} {
		r.Apply(e)
	}
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, format: "text", runs: s.runs, result: &result{Writer: &stdout}}
	w := &session{app: a, command: "apply", journal: j, told: newProgress()}
	if w.Engine, err = engine.Resume(r, nil, j, w.emit); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(run, nil, 0o600); err != nil { // a file where the folder was
		t.Fatal(err)
	}
	var code exit
	if err := w.do(t.Context(), func() error { return errors.New("the disk is full") }); !errors.As(err, &code) || int(code) != record.ExitPartly {
		t.Errorf("do = %v; want exit code 7", err)
	}
	if !strings.Contains(stdout.String(), "undo    preflight backout") || !strings.Contains(stdout.String(), "partly applied") {
		t.Errorf("the result does not tell the way back:\n%s", &stdout)
	}
	if !strings.Contains(stderr.String(), "error: the disk is full") || !strings.Contains(stderr.String(), "error: writing record.json") {
		t.Errorf("what went wrong is not said:\n%s", &stderr)
	}
}

func TestNewRun(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	now := time.Date(2026, 11, 24, 10, 18, 0, 0, time.Local)
	for _, want := range []string{"lab-20261124-1018", "lab-20261124-1018-2", "lab-20261124-1018-3"} {
		j, id, err := newRun(runs, "lab", now)
		if err != nil || id != want {
			t.Fatalf("newRun = %q, %v; want %q", id, err, want)
		}
		j.Close()
	}
}
