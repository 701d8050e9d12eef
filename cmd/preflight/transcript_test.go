package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/record"
)

// transcripts are the names of a run's transcripts without what is the same in all.
func transcripts(t *testing.T, run string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(run, "transcripts"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
	}
	return strings.Join(names, "\n") + "\n"
}

// each is a line for each server.
func each(lines ...string) string {
	var b strings.Builder
	for _, l := range lines {
		for _, server := range []string{"qs-central", "qs-rim1"} {
			b.WriteString(strings.Replace(l, "SERVER", server, 1) + "\n")
		}
	}
	return b.String()
}

// TestTranscripts: every command that talks to servers leaves what was said in the run's folder, beside what earlier ones
// have left; those that only read a run leave it alone.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	s.run(t, 3, "check", "-f", s.files.Site)
	look := each("001-check-01-SERVER-probe", "001-check-02-SERVER-inspect", "001-check-03-SERVER-prove")
	if diff := cmp.Diff(look, transcripts(t, filepath.Join(s.runs, s.last(t).Run.ID))); diff != "" {
		t.Errorf("check (-want +got):\n%s", diff)
	}
	run, _ := s.journey(t)
	s.run(t, 0, "join", append([]string{run}, s.certificate()...)...)
	s.run(t, 0, "verify", run)
	preflight(t, "", "report", run, "--runs", s.runs)
	s.run(t, 2, "backout", run)
	s.run(t, 0, "backout", run, "--confirm-outage", "lab")
	want := each(
		"001-plan-01-SERVER-probe", "001-plan-02-SERVER-inspect",
		"002-apply-01-SERVER-probe", "002-apply-02-SERVER-inspect", "002-apply-03-SERVER-prove", "002-apply-04-SERVER-add", "002-apply-05-SERVER-prove",
		"003-join-01-SERVER-probe", "003-join-02-SERVER-inspect", "003-join-03-SERVER-prove",
	) + "003-join-04-qs-rim1-setup\n" + each(
		"003-join-05-SERVER-inspect", "003-join-06-SERVER-prove",
		"004-verify-01-SERVER-probe", "004-verify-02-SERVER-inspect", "004-verify-03-SERVER-prove",
		"005-backout-01-SERVER-probe", "005-backout-02-SERVER-inspect",
		"006-backout-01-SERVER-probe", "006-backout-02-SERVER-inspect", "006-backout-03-SERVER-remove",
	)
	if diff := cmp.Diff(want, transcripts(t, run)); diff != "" {
		t.Errorf("the run (-want +got):\n%s", diff)
	}
	for file, holds := range map[string]string{
		"001-plan-02-qs-rim1-inspect":      " < rule\tlocal\tRemoteDesktop-UserMode-In-TCP\t", // of no use to the run, and so not in the record
		"002-apply-05-qs-central-prove":    " < dialled\tqs-rim1:443\topen\t",
		"003-join-04-qs-rim1-setup":        " > unlock\n",
		"006-backout-03-qs-central-remove": " < removed\tpreflight-",
	} {
		path := filepath.Join(run, "transcripts", file+".txt")
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), holds) || !strings.Contains(string(text), "\nended    exit code 0\n") {
			t.Errorf("%s does not hold %q (%v):\n%s", file, holds, err, text)
		}
		if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", file, info.Mode())
		}
	}
	if info, err := os.Stat(filepath.Join(run, "transcripts")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(filepath.Join(run, "record.json"))
	if err != nil || strings.Contains(string(text), "transcript") {
		t.Errorf("the record speaks of transcripts (%v)", err)
	}
}

// TestTranscriptsOfTheWizard: the wizard's commands leave the same.
func TestTranscriptsOfTheWizard(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	answers := strings.Join([]string{s.Password(), "", "next", "next", "lab", "next", "later", "leave", ""}, "\n")
	if o := preflight(t, answers, "--runs", s.runs, "-f", s.files.Site, "--accessible"); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	want := each(
		"001-plan-01-SERVER-probe", "001-plan-02-SERVER-inspect",
		"002-apply-01-SERVER-probe", "002-apply-02-SERVER-inspect", "002-apply-03-SERVER-prove", "002-apply-04-SERVER-add", "002-apply-05-SERVER-prove",
	)
	if diff := cmp.Diff(want, transcripts(t, filepath.Join(s.runs, s.last(t).Run.ID))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestNoTranscripts: where nobody could sign in there is nothing to write.
func TestNoTranscripts(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "wrong-password"})
	s.run(t, 4, "check", "-f", s.files.Site)
	if _, err := os.Stat(filepath.Join(s.runs, s.last(t).Run.ID, "transcripts")); !os.IsNotExist(err) {
		t.Errorf("there are transcripts (%v)", err)
	}
}

// TestTranscriptsUnwritable: transcripts that cannot be written stop nothing and lose nothing else; it is said, and is exit
// code 1, but for partly, which stays 7.
func TestTranscriptsUnwritable(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	run, r := s.planned(t, 0)
	folder := filepath.Join(run, "transcripts")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // no folder can take its place
		t.Fatal(err)
	}
	o := s.run(t, record.ExitInternal, "apply", run, "--approve", r.Change.PlanSHA256)
	says(t, o.stderr, "error: writing transcripts/002-apply-01-qs-")
	says(t, o.stdout, "ready: 14 of 14 flows proven", "record  ", "undo    preflight backout")
	if n := strings.Count(o.stderr, "error:"); n != 1 {
		t.Errorf("%d errors are said:\n%s", n, o.stderr)
	}
	if r = s.last(t); r.Verdict.ExitCode != record.ExitPassed || r.InPlace() != 8 {
		t.Errorf("%d rules are in, and the run ended with %+v", r.InPlace(), r.Verdict)
	}
	s.run(t, record.ExitInternal, "backout", run)
	if r = s.last(t); r.InPlace() != 0 {
		t.Errorf("%d rules are left", r.InPlace())
	}
	p := r.Plan.Changes[len(r.Plan.Changes)-1]
	s.Host(p.Server).AddRule("local", p.ID, alien)
	s.run(t, record.ExitPartly, "apply", run, "--approve", r.Change.PlanSHA256)
}
