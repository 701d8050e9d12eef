//go:build !windows

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/tui"
)

// wizard leads through the wizard in lines, on the lab.
func (s simulated) wizard(t *testing.T, want int, answers ...string) outcome {
	t.Helper()
	o := preflight(t, strings.Join(append(answers, ""), "\n"), "--runs", s.runs, "-f", s.files.Site)
	if o.code != want {
		t.Errorf("the wizard: exit code %d, want %d\n%s%s", o.code, want, o.stdout, o.stderr)
	}
	return o
}

// planOf is the plan.json of a folder's only run.
func planOf(t *testing.T, runs string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(runs, "*", "plan.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the plans in %s are %q (%v)", runs, files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSamePlan: the same site gives the same plan, byte for byte, through flags, in lines and drawn.
func TestSamePlan(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "second-rim"})
	s.run(t, 0, "plan", "-f", s.files.Site)
	flags := planOf(t, s.runs)

	s.runs = filepath.Join(t.TempDir(), "lines")
	s.wizard(t, 0, s.Password(), "", "next", "leave")
	if lines := planOf(t, s.runs); !bytes.Equal(lines, flags) {
		t.Errorf("in lines the plan is %s, with flags %s", lines, flags)
	}

	s.runs = filepath.Join(t.TempDir(), "drawn")
	v := onScreen(t, "--runs", s.runs, "-f", s.files.Site)
	v.shows("2/9 Sign-in")
	v.types(s.Password() + "\r")
	v.shows("> Ticket")
	v.types("\r")
	v.shows("4/9 Inspect", "n next")
	v.types("n")
	v.shows("5/9 Review")
	v.types("w")
	v.ends(0)
	if drawn := planOf(t, s.runs); !bytes.Equal(drawn, flags) {
		t.Errorf("drawn the plan is %s, with flags %s", drawn, flags)
	}
}

// TestWizard: in lines a rim is taken from nothing to a node of its site, and the run is one change of three commands, as
// if they had been typed.
func TestWizard(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	o := s.wizard(t, 0, s.Password(), "CHG0031337", "next", "next", "lab", "next", "certificate", s.files.QRSCert, s.files.QRSKey, "yes", "leave")
	says(t, o.stdout, "lab  CHG0031337  JOINED", "14 of 14 flows proven", "8 rules added", "undo    preflight backout ", "again   preflight verify ")
	says(t, o.stderr, "Step 2 of 9, Sign-in", "Step 9 of 9, Report", "simulated server")
	r := s.last(t)
	var commands []string
	for _, c := range r.Run.Commands {
		commands = append(commands, c.Name)
	}
	if got := strings.Join(commands, " "); got != "plan apply join" || r.Change.Ticket != "CHG0031337" || r.Change.Approval.How != "site name" || r.Change.Approval.Value != "lab" {
		t.Errorf("the run's commands are %q, its change %+v, approved %+v", got, r.Change, r.Change.Approval)
	}
	checkSteps(t, r, "qs-rim1", allDone...)
	checkSecrets(t, s, o)

	// The run goes on with commands.
	s.run(t, 0, "verify", r.Run.ID)
	s.run(t, 0, "backout", r.Run.ID, "--confirm-outage", "lab")
}

// checkSecrets: neither the password nor a one-time password nor the client key is in what was written.
func checkSecrets(t *testing.T, s simulated, o outcome) {
	t.Helper()
	key, err := os.ReadFile(s.files.QRSKey)
	if err != nil {
		t.Fatal(err)
	}
	secrets := append([]string{s.Password(), strings.Split(string(key), "\n")[1]}, s.OneTimePasswords()...)
	files, _ := filepath.Glob(filepath.Join(s.runs, "*", "*"))
	more, _ := filepath.Glob(filepath.Join(s.runs, "*", "*", "*"))
	for _, file := range append(files, more...) {
		b, _ := os.ReadFile(file)
		o.stdout += string(b)
	}
	for _, secret := range secrets {
		if strings.Contains(o.stdout+o.stderr, secret) {
			t.Errorf("the secret %q was written", secret)
		}
	}
}

// TestWizardTrouble: what the wizard does about servers and people.
func TestWizardTrouble(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scenario string
		answers        []string // PASSWORD, CERT and KEY are the lab's
		code           int
		says           []string // on standard error
		commands       string
	}{
		{"wrong password", "wrong-password", []string{"PASSWORD", "", "leave"}, 4, []string{"user name or password rejected", "1  password"}, "plan"},
		{"wrong password twice", "wrong-password", []string{"PASSWORD", "", "password", "PASSWORD", "", "leave"}, 4, []string{"not tried"}, "plan plan"},
		{"refused", "winrm-down", []string{"PASSWORD", "", "again", "leave"}, 4, []string{"connection refused", "New-Item WSMan:"}, "plan plan"},
		{"void", "gpo-merge-off", []string{"PASSWORD", "", "next", "leave"}, 3, []string{"VOID", "gpo-request.txt"}, "plan"},
		{"another name", "", []string{"PASSWORD", "", "next", "next", "LAB", "", "b", "leave"}, 0, []string{`"LAB" is not it: write lab`}, "plan"},
		{"back and again", "", []string{"PASSWORD", "CHG1", "b", "", "next", "leave"}, 0, []string{"[CHG1]"}, "plan plan"},
		{"undo", "", []string{"PASSWORD", "", "next", "next", "lab", "undo", "no", "undo", "yes", "leave"}, 0, []string{"Take back the 8 rules", "removed"}, "plan apply backout"},
		{"prove again", "", []string{"PASSWORD", "", "next", "next", "lab", "again", "leave"}, 0, []string{"prove"}, "plan apply verify"},
		{"later", "", []string{"PASSWORD", "", "next", "next", "lab", "next", "later", "leave"}, 0, []string{"Step 9 of 9"}, "plan apply"},
		{"no to the certificate", "", []string{"PASSWORD", "", "next", "next", "lab", "next", "certificate", "no.pem", "no.key", "no", "later", "leave"}, 0, []string{"master key"}, "plan apply"},
		{"no certificate", "", []string{"PASSWORD", "", "next", "next", "lab", "next", "certificate", "no.pem", "no.key", "yes", "next", "leave"}, 2, []string{"error: reading --qrs-cert no.pem"}, "plan apply"},
		{"a certificate at last", "", []string{"PASSWORD", "", "next", "next", "lab", "next", "certificate", "no.pem", "no.key", "yes", "again", "certificate", "CERT", "KEY", "yes", "leave"}, 0, nil, "plan apply join"},
		{"stale", "stale-certificates", []string{"PASSWORD", "", "next", "next", "lab", "next", "leave"}, 3, []string{"CN=old-central-CA"}, "plan apply"},
		{"the input ends", "", []string{"PASSWORD"}, 2, []string{"error: the answer is missing: Number of the change ticket\nhint: --ticket\n"}, ""},
		{"the input ends after the plan", "", []string{"PASSWORD", "", "next"}, 2, []string{"the answer is missing: Go on to apply this plan"}, "plan"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{Scenario: test.scenario})
			var answers []string
			for _, a := range test.answers {
				answers = append(answers, strings.NewReplacer("PASSWORD", s.Password(), "CERT", s.files.QRSCert, "KEY", s.files.QRSKey).Replace(a))
			}
			o := s.wizard(t, test.code, answers...)
			says(t, o.stderr, test.says...)
			runs, _ := record.Runs(s.runs)
			if test.commands == "" {
				if len(runs) > 0 {
					t.Errorf("there are runs: %+v", runs)
				}
				return
			}
			if len(runs) != 1 {
				t.Fatalf("the runs are %+v", runs)
			}
			var commands []string
			for _, c := range s.last(t).Run.Commands {
				commands = append(commands, c.Name)
			}
			if got := strings.Join(commands, " "); got != test.commands {
				t.Errorf("the run's commands are %q, want %q\n%s", got, test.commands, o.stderr)
			}
		})
	}
}

// TestWizardJoinBroken: a join by certificate that broke off is gone on with by the command that is said.
func TestWizardJoinBroken(t *testing.T) {
	t.Parallel()
	s, other := newLab(t, lab.Options{}), newLab(t, lab.Options{})
	o := s.wizard(t, 3, s.Password(), "", "next", "next", "lab", "next", "certificate", other.files.QRSCert, other.files.QRSKey, "yes", "next", "leave")
	again := s.pasted(t, 3, o.stderr, `^hint: .*, and run the same again: `)
	says(t, again.stderr, "error: qs-rim1: create the node: asking the repository service")
}

// TestWizardChangedPlan: a plan that was changed between its review and its approval is not applied.
func TestWizardChangedPlan(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	before := s.rules(t)
	v := onScreen(t, "--runs", s.runs, "-f", s.files.Site, "--ticket", "CHG1")
	v.shows("> Password")
	v.types(s.Password() + "\r")
	v.shows("4/9 Inspect", "n next")
	v.types("n")
	v.shows("5/9 Review")
	files, err := filepath.Glob(filepath.Join(s.runs, "*", "plan.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the plans are %q (%v)", files, err)
	}
	if err := os.WriteFile(files[0], []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v.types("n")
	v.shows("Type the site's name to go on")
	v.types("lab\r")
	v.shows("changed after it was planned", "w leave", "nothing has been changed")
	v.types("b")
	v.shows("Type the site's name to go on")
	v.types("\x1b[Z") // shift+tab
	v.shows("5/9 Review")
	v.types("b")
	v.shows("4/9 Inspect")
	v.types("w")
	v.ends(2)
	s.unchanged(t, "a changed plan", before)
}

// TestCandidates: of the site files in a folder that is proposed first whose run is the newest, and what cannot be used
// last; each has a name of its own, and none the lab's or that of the answer new.
func TestCandidates(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	text, err := os.ReadFile(s.files.Site)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(s.files.Site)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) string { return strings.Replace(string(text), "site: lab", "site: "+name, 1) }
	write("a.yaml", named("beta"))
	write("b.yaml", named("gamma"))
	write("c.yml", named("beta"))
	write("d.yaml", "site: [\n")
	write("e.yaml", strings.Replace(named("delta"), "lab-ca.pem", "gone.pem", 1))
	write("g.yaml", named("new"))
	write("f.yaml", "kind: nothing of ours\n")
	s.run(t, 0, "plan", "-f", filepath.Join(folder, "b.yaml"))
	a := app{runs: s.runs}
	var got []string
	for _, c := range a.candidates(folder) {
		is := strings.ReplaceAll(c.Name, folder+string(filepath.Separator), "")
		if c.Wrong != nil {
			is += " wrong"
		}
		if strings.HasPrefix(c.Last, "run ") {
			is += " run"
		}
		got = append(got, is)
	}
	want := "gamma run|c.yml|g.yaml|site.yaml|beta|d.yaml wrong|delta wrong"
	if strings.Join(got, "|") != want {
		t.Errorf("the candidates are %s, want %s", strings.Join(got, "|"), want)
	}
}

// TestDrawn: the wizard is drawn only where there is a terminal that can do it, and nothing else is written to it.
func TestDrawn(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("ACCESSIBLE", "")
	_, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, test := range []struct {
		name, format, env, value string
		face                     face
		out                      *os.File
		want                     bool
	}{
		{"a terminal", "text", "", "", face{}, nil, true},
		{"asked for lines", "text", "", "", face{accessible: true}, nil, false},
		{"the environment asks for lines", "text", "ACCESSIBLE", "1", face{}, nil, false},
		{"a terminal that cannot", "text", "TERM", "dumb", face{}, nil, false},
		{"events on it", "jsonl", "", "", face{}, nil, false},
		{"events to a file", "jsonl", "", "", face{}, file, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.env != "" {
				t.Setenv(test.env, test.value)
			}
			a := app{stdin: terminal, stdout: terminal, format: test.format, result: &result{file: test.out}}
			if got := a.drawn(test.face); got != test.want {
				t.Errorf("drawn is %v", got)
			}
		})
	}
	a := app{stdin: terminal, stdout: file, result: &result{}}
	if a.drawn(face{}) {
		t.Error("it is drawn into a file")
	}
}

// TestWizardNewTicket: with another ticket it is another change.
func TestWizardNewTicket(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.wizard(t, 0, s.Password(), "CHG1", "b", "CHG2", "next", "leave")
	runs, err := record.Runs(s.runs)
	if err != nil || len(runs) != 2 {
		t.Fatalf("the runs are %+v (%v), want one for each ticket", runs, err)
	}
	if r := s.last(t); r.Change.Ticket != "CHG2" {
		t.Errorf("the ticket is %q", r.Change.Ticket)
	}
}

// TestWizardEdited: going back to a site file that was edited begins a run of what stands in it now.
func TestWizardEdited(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	v := onScreen(t, "--runs", s.runs)
	v.shows("1/9 Site")
	v.types("o")
	v.shows("The site file")
	v.types(s.files.Site + "\r")
	v.shows("> Password")
	v.types(s.Password() + "\r")
	v.shows("> Ticket")
	v.types("\r")
	v.shows("4/9 Inspect", "n next")
	text, err := os.ReadFile(s.files.Site)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.files.Site, append(text, "\nproof:\n  listen: false\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	v.types("b")
	v.shows("> Ticket")
	v.types("\x1b[Z\x1b[Z") // shift+tab, twice
	v.shows("1/9 Site")
	v.types("\r")
	v.shows("> Password")
	v.types("\r")
	v.shows("> Ticket")
	v.types("\r")
	v.shows("4/9 Inspect", "n next")
	v.types("w")
	v.ends(0)
	if runs, err := record.Runs(s.runs); err != nil || len(runs) != 2 {
		t.Fatalf("the runs are %+v (%v), want one for each site file", runs, err)
	}
	if r := s.last(t); r.Site.Proof.Listen == nil || *r.Site.Proof.Listen {
		t.Errorf("the site of the new run is %+v", r.Site)
	}
}

// TestWalk: the whole journey on a terminal, on simulated servers: every step is drawn, there is a way back before the
// approval and none after it, and what the wizard says last stays on the normal screen.
func TestWalk(t *testing.T) {
	t.Parallel()
	runs := filepath.Join(t.TempDir(), "runs")
	v := onScreen(t, "demo", "--runs", runs)
	if now := v.shows("1/9 Site", "> ", "simulated servers", "qs-rim1", "nothing has been changed"); strings.Contains(now, "another file") {
		t.Errorf("the demo, which touches nothing real, leads to real servers:\n%s", now)
	}
	v.types("\r")
	v.shows("2/9 Sign-in", "simulated servers", "> Ticket")
	v.types("CHG0031337\r")
	v.shows("4/9 Inspect", "CHG0031337", "firewall.rule-missing", "n next")
	v.types("b")
	v.shows("2/9 Sign-in", "CHG0031337")
	v.types("\r")
	v.shows("4/9 Inspect", "n next")
	v.types("n")
	v.shows("5/9 Review", "443,4144", "from 10.0.0.12 10.20.0.0/16", "nothing has been changed")
	v.types("\r")
	v.shows("New-NetFirewallRule", "Remove-NetFirewallRule", "esc close")
	v.types("\x1b")
	v.shows("from 10.0.0.12 10.20.0.0/16")
	v.types("?")
	v.shows("without the wizard: preflight plan -f FILE")
	v.types("\x1b")
	v.hides("without the wizard")
	v.types("n")
	v.shows("6/9 Apply", "Type the site's name to go on", "4 rules will be added on qs-rim1")
	v.types("wrong\r")
	v.shows(`"wrong" is not it: write lab`)
	v.types("\x7f\x7f\x7f\x7f\x7flab\r")
	now := v.shows("7/9 Prove", "14 of 14 flows proven", "7/7 proven", "n next")
	if strings.Contains(now, "b back") || strings.Contains(now, "nothing has been changed") {
		t.Errorf("after the approval:\n%s", now)
	}
	v.types("n")
	v.shows("8/9 Join", "certificate", "later")
	v.types("c")
	v.shows("may do everything in the site")
	v.types("y")
	v.shows("9/9 Report", "joined: qs-rim1 is running", "n leave")
	v.types("n")
	text := v.ends(0)
	after := text[strings.LastIndex(text, "\x1b[?1049l")+1:]
	says(t, after, "lab  CHG0031337  JOINED  simulated servers", "14 of 14 flows proven by the real services", "8 rules added", "record  "+runs)
	if strings.Contains(after, "\x1b") && strings.Contains(after[strings.Index(after, "lab  CHG"):], "\x1b") {
		t.Errorf("what stays on the screen is not plain: %q", after)
	}
}

// TestLeaving: whoever leaves at the first question has cancelled; a run that could not be begun ends as its command does.
func TestLeaving(t *testing.T) {
	t.Parallel()
	v := onScreen(t, "--runs", filepath.Join(t.TempDir(), "runs"))
	v.shows("1/9 Site")
	v.types("q")
	v.shows("Leave? y/n")
	v.types("y")
	v.ends(130)

	s := newLab(t, lab.Options{})
	if err := os.WriteFile(s.runs, nil, 0o600); err != nil { // where the folder of runs is to be
		t.Fatal(err)
	}
	o := s.wizard(t, 2, s.Password(), "", "leave")
	says(t, o.stderr, "hint: name another folder with --runs")

	// What is put right meanwhile is no trouble any more.
	v = onScreen(t, "--runs", s.runs, "-f", s.files.Site, "--ticket", "CHG1")
	v.shows("> Password")
	v.types(s.Password() + "\r")
	v.shows("FAILED: ", "r again")
	if err := os.Remove(s.runs); err != nil {
		t.Fatal(err)
	}
	v.types("r")
	v.shows("4/9 Inspect", "n next")
	v.types("w")
	v.ends(0)
}

// TestBreakingOff: ctrl+c twice leaves at a question; before anything was begun nothing is left, and after the plan the run
// can be gone on with.
func TestBreakingOff(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	v := onScreen(t, "--runs", s.runs, "-f", s.files.Site)
	v.shows("2/9 Sign-in")
	v.types("c4nary\x03")
	v.shows("ctrl+c again")
	v.types("\x03")
	if text := v.ends(130); strings.Contains(text, "c4nary") {
		t.Errorf("the password was shown: %q", text)
	}
	if runs, _ := record.Runs(s.runs); len(runs) > 0 {
		t.Errorf("there are runs: %+v", runs)
	}

	v = onScreen(t, "--runs", s.runs, "-f", s.files.Site, "--ticket", "CHG1")
	v.shows("2/9 Sign-in")
	v.types(s.Password() + "\r")
	v.shows("4/9 Inspect", "n next")
	v.types("\x03")
	v.shows("ctrl+c again")
	v.types("\x03")
	says(t, v.ends(130), "next    preflight apply ")

	// While an action runs the first ctrl+c ends it, and that is said once.
	v = onScreen(t, "demo", "--scenario", "slow", "--runs", filepath.Join(t.TempDir(), "runs"))
	v.shows("1/9 Site")
	v.types("\r")
	v.shows("> Ticket")
	v.types("\r")
	v.shows("working: ")
	v.types("\x03")
	v.shows("CANCELLED: interrupted")
	v.types("\x03\x03")
	v.ends(130)
	if got := v.stderr.String(); got != "error: interrupted\n" {
		t.Errorf("said is %q", got)
	}
	s.run(t, 0, "apply", "last", "--approve", s.last(t).Change.PlanSHA256)
}

// TestLeavingAtOnce: whoever does not wait for what runs is told that it was running, whether its command was begun or not.
func TestLeavingAtOnce(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	g := &guide{app: &app{stderr: &stderr}}
	g.busy.Store(true)
	var code exit
	if err := g.end(tui.ErrInterrupted); !errors.As(err, &code) || code != record.ExitCancelled {
		t.Errorf("the end is %v", err)
	}
	says(t, stderr.String(), "error: left while servers were being worked on")
}
