package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// certificate are the flags of a join by the program itself.
func (s simulated) certificate() []string {
	return []string{"--qrs-auth", "certificate", "--qrs-cert", s.files.QRSCert, "--qrs-key", s.files.QRSKey}
}

// join joins a rim.
func (s simulated) join(t *testing.T, want int, run, rim string) outcome {
	t.Helper()
	return s.run(t, want, "join", append([]string{run, "--rim", rim}, s.certificate()...)...)
}

// checkSteps: the record has every step of a rim's join, in these states.
func checkSteps(t *testing.T, r record.Record, rim string, want ...record.StepState) {
	t.Helper()
	var got []record.StepState
	for _, s := range r.Join.Latest() {
		if s.Rim == rim {
			got = append(got, s.State)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the steps of %s are %q, want %q: %+v", rim, got, want, r.Join)
	}
}

// flowed is text without its line ends.
func flowed(text string) string { return strings.Join(strings.Fields(text), " ") }

var allDone = []record.StepState{"done", "done", "done", "done", "done"}

// checkPhases: each flow of the site has a proof of each phase, the last by its real service.
func checkPhases(t *testing.T, r record.Record, phases ...proof.Phase) {
	t.Helper()
	for _, phase := range phases {
		n := 0
		for _, p := range r.Proofs {
			if p.Phase != phase {
				continue
			}
			n++
			if phase == proof.CloseOut && (p.Verdict != proof.Service || p.Level != "proven") ||
				phase == proof.AfterApply && (!p.Verdict.Works() || p.Level != "proven") {
				t.Errorf("%s is %s, %s: %s", p.ID, p.Verdict, p.Level, p.Seen)
			}
		}
		if n != r.Verdict.Flows.Total {
			t.Errorf("%d flows have a proof of %s, want %d", n, phase, r.Verdict.Flows.Total)
		}
	}
}

// TestJoin: a prepared rim is taken into its site, once, and again without doing anything twice.
func TestJoin(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	other := string(s.VirtualProxy("hdr"))
	run, _ := s.journey(t)
	o := s.join(t, 0, run, "qs-rim1")
	says(t, o.stdout, "joined: qs-rim1 is running", "Simulated servers")
	r := s.last(t)
	checkSteps(t, r, "qs-rim1", allDone...)
	checkPhases(t, r, proof.Baseline, proof.AfterApply, proof.CloseOut)
	if r.Join.Certificate == nil || r.Join.Certificate.Subject != "CN=QlikClient" || r.Join.QRS != r.Site.Join.QRS || r.Servers[1].Phase != "joined" || r.BackOut.State != "ready" {
		t.Errorf("the record says of the join %+v, of the rim %q, of the way back %+v", r.Join, r.Servers[1].Phase, r.BackOut)
	}
	joined := func() {
		t.Helper()
		if got := s.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
			t.Errorf("the site has the nodes %q", got)
		}
		if p := string(s.VirtualProxy("")); strings.Count(p, `"qs-rim1"`) == 0 || !strings.Contains(p, "ofAReleaseToCome") {
			t.Errorf("the default virtual proxy: %s", p)
		}
		if got := string(s.VirtualProxy("hdr")); got != other {
			t.Errorf("another virtual proxy was changed: %s, from %s", got, other)
		}
	}
	joined()
	before := string(s.VirtualProxy(""))
	o = s.join(t, 0, run, "qs-rim1")
	says(t, flowed(o.stderr), "the site has the node qs-rim1 with the host name qs-rim1 already", "runs with certificates already", "names qs-rim1 already")
	if seen := s.last(t).Join.Latest()[0].Seen; seen != "created with the host name qs-rim1" {
		t.Errorf("that the run created the node is not kept: %q", seen)
	}
	joined()
	if got := string(s.VirtualProxy("")); got != before || len(s.OneTimePasswords()) != 1 {
		t.Errorf("joining again changed the virtual proxy to %s, from %s, or sent the certificate again: %d times", got, before, len(s.OneTimePasswords()))
	}

	// The rules stay ready to be taken back, which now has to be confirmed.
	says(t, s.run(t, 2, "backout", run).stderr, "cuts off qs-rim1, which is running", "--confirm-outage lab")
	says(t, preflight(t, "", "report", run, "-o", "ticket").stdout, "joined rim node qs-rim1; proven 14/14; back-out ready", "CN=QlikClient", "back-out ready")
}

// TestHalfJoin: a join that somebody else began is continued, with the node that is there.
func TestHalfJoin(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "half-join"})
	run, _ := s.journey(t)
	says(t, flowed(s.join(t, 0, run, "qs-rim1").stderr), "the site has the node qs-rim1 with the host name qs-rim1 already")
	checkSteps(t, s.last(t), "qs-rim1", allDone...)
	if got := s.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
		t.Errorf("the site has the nodes %q", got)
	}
}

// TestJoinSecond: of a site with several rims one is joined after the other, in one run.
func TestJoinSecond(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Rims: 2})
	run, _ := s.journey(t)
	says(t, s.run(t, 2, "join", append([]string{run}, s.certificate()...)...).stderr, "--rim is missing: which of the site's 2 rims", "qs-rim1, qs-rim2")
	says(t, s.join(t, 0, run, "qs-rim2").stdout, "joined: qs-rim2 is running", "next    preflight join", "--rim qs-rim1")
	checkSteps(t, s.last(t), "qs-rim2", allDone...)
	s.join(t, 0, run, "qs-rim1")
	checkSteps(t, s.last(t), "qs-rim1", allDone...)
	checkSteps(t, s.last(t), "qs-rim2", allDone...)
	checkPhases(t, s.last(t), proof.CloseOut)
}

// TestNotJoined: a join does not begin where it would go wrong, and says why; nothing is created.
func TestNotJoined(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scenario string
		applied        bool
		change         func(s simulated)
		code           int
		says           []string
	}{
		{name: "not applied", code: 2, says: []string{"has not been approved and applied", "hint: preflight apply "}},
		{name: "a rule was removed since", applied: true, code: 3, says: []string{"qs-rim1: qs-rim1 has no rule for 4241,4242,4444 from 10.0.0.11, so nothing was begun"},
			change: func(s simulated) {
				for id, text := range s.Host("qs-rim1").Rules("local") {
					if strings.HasPrefix(id, "preflight-") && strings.Contains(text, "4444") {
						s.Host("qs-rim1").RemoveRule("local", id)
					}
				}
			}},
		{name: "certificates of another site", scenario: "stale-certificates", code: 3, applied: true, says: []string{"qs-rim1: 1 check failed, so nothing was begun", "CN=old-central-CA"}},
		{name: "the rim initialises", applied: true, code: 5, says: []string{"qs-rim1: the state of its repository service is not known", "so nothing was begun"},
			change: func(s simulated) { s.Host("qs-rim1").SetState(9) }},
		{name: "a rule for a port that nobody listens on was removed since", applied: true, code: 3, says: []string{"qs-rim1: qs-rim1 has no rule for 5051", "FAIL     firewall.rule-missing    qs-rim1"},
			change: func(s simulated) {
				for id, text := range s.Host("qs-rim1").Rules("local") {
					if strings.HasPrefix(id, "preflight-") && strings.Contains(text, "5051") {
						s.Host("qs-rim1").RemoveRule("local", id)
					}
				}
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{Scenario: test.scenario})
			code := 0
			if test.scenario != "" {
				code = 3
			}
			run, r := s.planned(t, code)
			if test.applied {
				s.run(t, code, "apply", run, "--approve", r.Change.PlanSHA256)
			}
			if test.change != nil {
				test.change(s)
			}
			o := s.join(t, test.code, run, "qs-rim1")
			says(t, o.stdout+o.stderr, test.says...)
			if got := s.Nodes(); len(got) != 1 || len(s.OneTimePasswords()) != 0 || s.last(t).Join != nil {
				t.Errorf("the site has the nodes %q, %d passwords were given, the record says %+v", got, len(s.OneTimePasswords()), s.last(t).Join)
			}
		})
	}
}

// TestJoinFlags: what is wrong with the flags is said before any server is asked.
func TestJoinFlags(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	run, _ := s.journey(t)
	attempts, dir := s.attempts(), t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	garbage := write("garbage.pem", "hunter2\n")
	pem, err := os.ReadFile(s.files.QRSCert)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := write("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n")
	lonely := write("client.pem", string(pem)) // no root.pem beside it
	cert, key2 := s.files.QRSCert, s.files.QRSKey
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"an unknown rim", append([]string{"--rim", "x"}, s.certificate()...), `--rim "x" is no node of this run's site`},
		{"the central node", append([]string{"--rim", "qs-central"}, s.certificate()...), "--rim qs-central is the central node"},
		{"a certificate without the word", []string{"--qrs-cert", cert, "--qrs-key", key2}, "it is used only with --qrs-auth certificate"},
		{"the word alone", []string{"--qrs-auth", "certificate"}, "--qrs-auth certificate needs --qrs-cert and --qrs-key"},
		{"another word", []string{"--qrs-auth", "windows"}, `--qrs-auth "windows" is not known`},
		{"by hand without a question", []string{"--no-input"}, "which --no-input forbids"},
		{"by hand without an input", nil, "--password-stdin leaves no standard input for the one-time password"},
		{"a root without the word", []string{"--qrs-ca", s.files.QRSRoot}, "it is used only with --qrs-auth certificate"},
		{"an encrypted key", []string{"--qrs-auth", "certificate", "--qrs-cert", cert, "--qrs-key", encrypted}, "the key is encrypted: export it without a password"},
		{"no certificate", []string{"--qrs-auth", "certificate", "--qrs-cert", garbage, "--qrs-key", key2, "--qrs-ca", s.files.QRSRoot}, "no certificate with its key"},
		{"no key", []string{"--qrs-auth", "certificate", "--qrs-cert", cert, "--qrs-key", garbage}, "no certificate with its key"},
		{"no root", []string{"--qrs-auth", "certificate", "--qrs-cert", lonely, "--qrs-key", key2}, "hint: name the site's root certificate with --qrs-ca"},
		{"a root that is none", append(s.certificate(), "--qrs-ca", garbage), "the root holds no certificate"},
		{"a file that is not there", []string{"--qrs-auth", "certificate", "--qrs-cert", filepath.Join(dir, "no"), "--qrs-key", key2}, "reading --qrs-cert"},
	} {
		o := s.run(t, 2, "join", append([]string{run}, test.args...)...)
		if !strings.Contains(o.stderr, test.says) || strings.Contains(o.stderr, "hunter2") {
			t.Errorf("%s: it says\n%swant %q", test.name, o.stderr, test.says)
		}
	}
	if s.attempts() != attempts {
		t.Error("a server was asked")
	}
}

// TestQRSExpired: an expired certificate is not tried.
func TestQRSExpired(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cert, key, root := l.QRSCertificate()
	for _, test := range []struct {
		year int
		says string
	}{{2030, ""}, {2040, "the certificate has expired on 2036-01-10"}} {
		_, _, err := qrs(site.Site{}, cert, key, root, time.Date(test.year, 1, 1, 0, 0, 0, 0, time.UTC))
		if fmt.Sprint(err) != test.says && (test.says != "" || err != nil) {
			t.Errorf("%d: %v, want %q", test.year, err, test.says)
		}
	}
}

// TestLabText: of a lab with several rims the join of each is said as it has to be typed.
func TestLabText(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Rims: 2})
	run, _ := s.journey(t)
	in, err := siteOf(s.Lab)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(labText(s.files, in), "join last", "join "+run)
	o := s.pasted(t, 0, text, `(?s)^  .*`)
	says(t, o.stdout, "qs-rim2 is running")
	o = s.pasted(t, 0, o.stdout, `^next +`)
	says(t, o.stdout, "qs-rim1 is running")
}

// TestJoinRefused: another site's client certificate is told from a root that is not this site's.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	s, other := newLab(t, lab.Options{}), newLab(t, lab.Options{})
	run, _ := s.journey(t)
	for _, test := range []struct {
		name, root string
		says       string
	}{
		{"another site's root", other.files.QRSRoot, "certificate"},
		{"another site's client", s.files.QRSRoot, "certificate"},
	} {
		o := s.run(t, 3, "join", run, "--rim", "qs-rim1", "--qrs-auth", "certificate", "--qrs-cert", other.files.QRSCert, "--qrs-key", other.files.QRSKey, "--qrs-ca", test.root)
		says(t, o.stderr, "error: qs-rim1: create the node: ", test.says)
		says(t, o.stdout, "FAIL     join.complete")
		again := s.pasted(t, 3, o.stderr, `^hint: .*, and run the same again: `) // with the certificate, and not by hand
		says(t, again.stderr, "error: qs-rim1: create the node: ", test.says)
		checkSteps(t, s.last(t), "qs-rim1", "failed")
		if f := s.last(t).Verdict.Flows; f.Proven != f.Total {
			t.Errorf("what was proven before counts no more: %+v", f)
		}
	}
	if got := s.Nodes(); len(got) != 1 {
		t.Errorf("the site has the nodes %q", got)
	}
	// Put right, the same run goes on.
	s.join(t, 0, run, "qs-rim1")
	checkSteps(t, s.last(t), "qs-rim1", allDone...)
}

// TestJoinKilled: whatever event of a join the journal ends with when the process is killed, joining again ends well, with
// one node.
func TestJoinKilled(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("preflight-killed")
	if err != nil {
		t.Fatal(err)
	}
	whole := newLab(t, lab.Options{})
	run, _ := whole.journey(t)
	before := len(events(t, whole))
	whole.join(t, 0, run, "qs-rim1")
	var after []int
	for i, e := range events(t, whole)[before:] {
		switch e.(type) {
		case record.JoinStarted, record.StepStarted, record.StepEnded:
			after = append(after, i+1)
		}
	}
	if len(after) != 11 {
		t.Fatalf("a join writes %d events of its own", len(after))
	}
	for _, n := range after {
		t.Run(fmt.Sprint(n-after[0]), func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{})
			run, _ := s.journey(t)
			cmd := exec.Command(program, append([]string{"join", run, "--rim", "qs-rim1"}, s.certificate()...)...)
			cmd.Env = append(os.Environ(), fmt.Sprintf("KILL_AFTER=%d", n), passwordFile+"="+s.files.Password)
			if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() == 0 {
				t.Fatalf("the command was not killed (%v)\n%s", err, out)
			}
			if c := s.last(t).Run.Commands[2]; c.EndedAt != nil || s.last(t).Join == nil {
				t.Errorf("the record says that the command ended: %+v", c)
			}
			s.join(t, 0, run, "qs-rim1")
			checkSteps(t, s.last(t), "qs-rim1", allDone...)
			if got := s.Nodes(); !slices.Equal(got, []string{"qs-central", "qs-rim1"}) {
				t.Errorf("the site has the nodes %q", got)
			}
		})
	}
}
