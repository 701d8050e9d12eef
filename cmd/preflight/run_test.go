package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// says fails the test unless a text holds each of the others.
func says(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not said:\n%s", w, text)
		}
	}
}

// unchanged fails the test if the servers' rules are not these.
func (s simulated) unchanged(t *testing.T, what string, before map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, s.rules(t)); diff != "" {
		t.Errorf("%s: the rules (-before +after):\n%s", what, diff)
	}
}

// attempts counts the requests with a credential that the servers have seen.
func (s simulated) attempts() int {
	n := 0
	for _, name := range []string{"qs-central", "qs-rim1"} {
		accepted, rejected := s.Attempts(name)
		n += accepted + rejected
	}
	return n
}

// planned is a run of a lab's site after plan, and its record.
func (s simulated) planned(t *testing.T, want int) (string, record.Record) {
	t.Helper()
	s.run(t, want, "plan", "-f", s.files.Site)
	r := s.last(t)
	return filepath.Join(s.runs, r.Run.ID), r
}

// edit replaces a part of a file, which has to be there.
func edit(t *testing.T, file, old, text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s does not hold %q:\n%s", file, old, b)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// alien is a rule of somebody else's that stands where one of the run's is to be.
const alien = "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=9|Name=mine|"

// TestConfirmOutage: rules that a running rim stands on go only if the site is named; a wrong name dials nothing.
func TestConfirmOutage(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	before := s.rules(t)
	run, _ := s.journey(t)
	s.Host("qs-rim1").SetState(2)
	applied := s.rules(t)
	o := s.run(t, 2, "backout", run)
	says(t, o.stderr, "cuts off qs-rim1", "hint: preflight backout "+run+" --confirm-outage lab")
	s.unchanged(t, "without a name", applied)
	attempts := s.attempts()
	o = s.run(t, 2, "backout", run, "--confirm-outage", "labs")
	says(t, o.stderr, `"labs" is not the name of this run's site`, "hint: --confirm-outage lab")
	s.unchanged(t, "another name", applied)
	if s.attempts() != attempts {
		t.Error("a wrong name signs in to the servers")
	}
	s.run(t, 0, "backout", run, "--confirm-outage", "lab")
	s.unchanged(t, "confirmed", before)
}

// switched puts a switch between preflight and a server's WinRM: while it is down, connections are cut, new ones at once.
func (s simulated) switched(t *testing.T, server string, down func() bool) {
	t.Helper()
	text, err := os.ReadFile(s.files.Site)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := site.Parse(s.files.Site, text)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := parsed.Node(server)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	edit(t, s.files.Site, fmt.Sprintf("port: %d", n.WinRM.Port), fmt.Sprintf("port: %d", ln.Addr().(*net.TCPAddr).Port))
	pass := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := from.Read(b)
			if down() || err != nil {
				return
			}
			to.Write(b[:n])
		}
	}
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", n.WinRM.Port))
			if err != nil {
				near.Close()
				continue
			}
			go pass(near, far)
			go pass(far, near)
		}
	}()
}

// TestOneDown: with a server down, or going down after it was signed in to, verify proves the rest, and backout takes back
// what is on the others; once it is up again, the same command takes back what is left.
func TestOneDown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stage  string
		verify int
	}{{"connect", 4}, {"inspect", 5}} {
		t.Run(test.stage, func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{})
			var journal atomic.Value // of the run; while it is known, the server goes down with its next such stage
			var stages atomic.Int32
			begun := func() int {
				text, _ := os.ReadFile(journal.Load().(string))
				return strings.Count(string(text), `"stage":"`+test.stage+`","at"`)
			}
			s.switched(t, "qs-central", func() bool { return stages.Load() > 0 && begun() >= int(stages.Load()) })
			before := s.rules(t)
			run, _ := s.journey(t)
			journal.Store(filepath.Join(run, "journal.jsonl"))
			next := int32(begun() + 1)

			stages.Store(next)
			s.run(t, test.verify, "verify", run)
			r, tried := s.last(t), 0
			if f := r.Servers[0].Failure; f == nil || f.Stage != test.stage {
				t.Errorf("the record says of qs-central: %+v", f)
			}
			for _, p := range r.Proofs {
				if p.Phase == proof.Verify {
					tried++
				}
			}
			if tried != 14 {
				t.Errorf("verify tells of %d flows, want 14", tried)
			}
			stages.Store(next + 1)
			o := s.run(t, 7, "backout", run)
			says(t, o.stderr, "hint: put that right, and run the same again: preflight backout "+run+"\n")
			for at := range s.rules(t) {
				if _, was := before[at]; !was && !strings.HasPrefix(at, "qs-central ") {
					t.Errorf("%s is left", at)
				}
			}
			if n := len(s.rules(t)) - len(before); n != 4 {
				t.Errorf("%d rules are left, want the 4 of the server that is down", n)
			}
			stages.Store(0)
			s.run(t, 0, "backout", run)
			s.unchanged(t, "up again", before)
		})
	}

	two := newLab(t, lab.Options{Scenario: "winrm-down", Rims: 2})
	two.run(t, 4, "verify", "-f", two.files.Site)
	others := 0
	for _, p := range two.last(t).Proofs {
		switch third := p.From == "qs-rim2" || p.To == "qs-rim2"; {
		case third && p.Verdict != proof.NotTested:
			t.Errorf("%s: %s; want not tested", p.ID, p.Verdict)
		case p.Verdict.Fails():
			others++
		}
	}
	if others == 0 {
		t.Error("with one server down no flow between the others was tried")
	}
}

// TestOnward: only what the record explains is passed over.
func TestOnward(t *testing.T) {
	t.Parallel()
	other := errors.New("writing the journal: the disk is full")
	for _, test := range []struct{ err, want error }{
		{nil, nil}, {engine.ErrStopped, nil}, {fmt.Errorf("%w: one of two", engine.ErrStopped), nil}, {other, other}, {engine.ErrDrift, engine.ErrDrift},
	} {
		if got := onward(test.err); got != test.want {
			t.Errorf("onward(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}

// readerFunc does something when it is read.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestUnwritable: a record or a result that cannot be put in place is said, and the command ends with 1 whatever its
// verdict, but for partly, which stays 7.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	dir, r := s.planned(t, 0)
	p := r.Plan.Changes[len(r.Plan.Changes)-1]
	s.Host(p.Server).AddRule("local", p.ID, alien)
	taken := func(path string) { // no file can take the place of such a folder
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
			t.Error(err)
		}
	}
	const record, result = 1, 2 // what cannot be put in place; the result's becomes so after the command line was checked
	file := filepath.Join(dir, "record.json")
	for _, test := range []struct {
		verdict, want, unwritable int
		password                  string
		args                      []string
	}{
		{0, 1, record, "", []string{"backout", dir}},
		{4, 1, record, "wrong", []string{"verify", dir}},
		{4, 1, result, "wrong", []string{"verify", dir}},
		{7, 7, record | result, s.Password(), []string{"apply", dir, "--approve", r.Change.PlanSHA256}},
	} {
		var stdout, stderr strings.Builder
		args := append(test.args, "--runs", s.runs, "--password-stdin")
		out, password := filepath.Join(t.TempDir(), "out"), strings.NewReader(test.password+"\n")
		var said []string
		if os.RemoveAll(file); test.unwritable&record != 0 {
			taken(file)
			said = append(said, "error: writing record.json: ")
		}
		if test.unwritable&result != 0 {
			args = append(args, "--out", out)
			said = append(said, "error: writing "+out+": ")
		}
		stdin := readerFunc(func(b []byte) (int, error) {
			if test.unwritable&result != 0 {
				taken(out)
			}
			return password.Read(b)
		})
		if code := run(t.Context(), args, stdin, &stdout, &stderr); code != test.want {
			t.Errorf("%v: exit code %d, want %d:\n%s", args, code, test.want, &stderr)
		}
		says(t, stderr.String(), said...)
		if test.unwritable == record && (stdout.Len() == 0 || strings.Contains(stdout.String(), "\nsha256")) {
			t.Errorf("%v: the result is missing, or names a record that is not there:\n%s", args, &stdout)
		}
		if v := s.last(t).Verdict.ExitCode; v != test.verdict {
			t.Errorf("%v: the run's own exit code is %d, want %d", args, v, test.verdict)
		}
	}
}

// pasted runs a command that was printed as it would be typed, with the password on standard input.
func (s simulated) pasted(t *testing.T, want int, text, pattern string) outcome {
	t.Helper()
	found := regexp.MustCompile(`(?m)` + pattern + `preflight (.*)$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no command %q is shown:\n%s", pattern, text)
	}
	var args []string
	for _, word := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(found[1], -1) {
		args = append(args, strings.Trim(word, `"`))
	}
	if args[0] == "plan" {
		args = append(args, "--runs", s.runs)
	}
	o := preflight(t, s.Password()+"\n", append(args, "--password-stdin")...)
	if o.code != want {
		t.Errorf("preflight %s: exit code %d, want %d\n%s%s", found[1], o.code, want, o.stdout, o.stderr)
	}
	return o
}

// TestPasted: what a command says is to be typed next works when it is pasted, also where folders have spaces in their
// names; a partly applied run says both ways on, and going on keeps what was proven before the first rule.
func TestPasted(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	dir := filepath.Join(t.TempDir(), "a change")
	if err := os.Rename(filepath.Dir(s.files.Site), dir); err != nil {
		t.Fatal(err)
	}
	s.files.Site, s.runs = filepath.Join(dir, "site.yaml"), filepath.Join(dir, "all runs")
	before, rules := s.rules(t), len(s.Host("qs-rim1").Rules("local"))
	var broken atomic.Bool
	s.switched(t, "qs-rim1", func() bool { return broken.Load() && len(s.Host("qs-rim1").Rules("local")) > rules })

	o := s.run(t, 3, "check", "-f", s.files.Site)
	says(t, o.stdout, `next    preflight plan -f "`+s.files.Site+`"`)
	o = s.run(t, 0, "plan", "-f", s.files.Site)
	r := s.last(t)
	broken.Store(true)
	o = s.pasted(t, 7, o.stdout, `^next +`)
	broken.Store(false)
	says(t, o.stdout, "\nundo    preflight backout \"")
	if strings.Contains(o.stdout, "\nagain ") {
		t.Errorf("a partly applied run is to be verified:\n%s", o.stdout)
	}
	partly := s.last(t)
	again := s.pasted(t, 0, o.stderr, `^hint: put that right, and run the same again: `)
	s.pasted(t, 5, again.stdout, `^again +`)
	baseline := func(r record.Record) []proof.Proof {
		return slices.DeleteFunc(slices.Clone(r.Proofs), func(p proof.Proof) bool { return p.Phase != proof.Baseline })
	}
	if was := baseline(partly); len(was) != 14 {
		t.Errorf("%d flows were tried before the first rule, want 14", len(was))
	} else if diff := cmp.Diff(was, baseline(s.last(t))); diff != "" {
		t.Errorf("what was proven before the first rule is lost:\n%s", diff)
	}
	o = s.pasted(t, 0, o.stderr, `^hint: or take .*: `)
	s.unchanged(t, "taken back", before)
	if strings.Contains(o.stdout, "\nundo ") || strings.Contains(o.stdout, "\nagain ") {
		t.Errorf("nothing is left to undo:\n%s", o.stdout)
	}
	s.pasted(t, 0, again.stdout, `^undo +`)

	// What is refused says where to look, in the same way.
	o = s.run(t, 2, "apply", "last", "--approve", strings.Repeat("0", 12))
	says(t, o.stderr, "is not the digest of the plan of "+r.Run.ID+" (last)\n")
	if err := os.Remove(filepath.Join(s.runs, r.Run.ID, "plan.json")); err != nil {
		t.Fatal(err)
	}
	o = s.run(t, 2, "apply", "last", "--approve", r.Change.PlanSHA256)
	s.pasted(t, 0, o.stderr, `^hint: plan again: `)
}

// journal makes the journal of a run that began with a command, so many seconds after the others.
func journal(t *testing.T, runs, name, command string, after int) {
	t.Helper()
	j, err := record.Create(runs, name)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 24, 10, 18, after, 0, time.UTC)
	events := []record.Event{
		record.RunStarted{RunID: name, SiteFile: map[bool]string{true: "/change/lab.yaml"}[command != "demo"], Site: site.Site{Name: "lab", Release: "1.0.2"}, At: began},
		record.CommandStarted{Name: command, At: began},
	}
	if command == "plan" || command == "demo" {
		events = append(events, record.Planned{SHA256: strings.Repeat("0123", 16), At: began})
	}
	for _, e := range append(events, record.CommandEnded{At: began}) {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFind: a run is named by its name, or by any path to it; last is the newest change, and for a report the newest record.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	for i, run := range []struct{ name, command string }{{"old", "plan"}, {"new", "plan"}, {"looked", "check"}, {"verified", "verify"}, {"shown", "demo"}} {
		journal(t, runs, run.name, run.command, i)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	journal(t, elsewhere, "far", "plan", 0)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(wd, filepath.Join(elsewhere, "far"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		report bool
		want   string // the folder, "" if there is none
	}{
		{"old", false, filepath.Join(runs, "old")},
		{"old/", false, filepath.Join(runs, "old")},
		{"./old", false, filepath.Join(runs, "old")},
		{filepath.Join(runs, "old"), false, filepath.Join(runs, "old")},
		{filepath.Join(runs, "old") + "/", false, filepath.Join(runs, "old")},
		{filepath.Join(elsewhere, "far"), false, filepath.Join(elsewhere, "far")},
		{relative, false, filepath.Join(elsewhere, "far")},
		{relative + "/", true, filepath.Join(elsewhere, "far")},
		{"last", false, filepath.Join(runs, "new")},
		{"last", true, filepath.Join(runs, "shown")},
		{"looked", false, filepath.Join(runs, "looked")},
		{"far", false, ""},
		{"old/journal.jsonl", false, ""},
	} {
		got, err := (&app{runs: runs}).find(test.name, test.report)
		if test.want == "" {
			var wrong usageError
			if !errors.As(err, &wrong) || !strings.Contains(wrong.hint, "shown, verified, looked, new, old") {
				t.Errorf("find(%q) = %q, %v; want a usage error that names the last ones", test.name, got, err)
			}
			continue
		}
		if abs, _ := filepath.Abs(got); err != nil || abs != test.want {
			t.Errorf("find(%q, %v) = %q, %v; want %q", test.name, test.report, got, err, test.want)
		}
	}
	for _, args := range [][]string{{"apply", "--approve", "012301230123"}, {"verify"}, {"backout"}} {
		for name, command := range map[string]string{"looked": "check", "verified": "verify", "shown": "demo"} {
			o := preflight(t, "", append(slices.Clip(args), name, "--runs", runs)...)
			if o.code != 2 || !strings.Contains(o.stderr, "error: "+name+" is the record of a "+command) || !strings.Contains(o.stderr, "hint: preflight report "+name) {
				t.Errorf("%v %s: exit code %d, want 2:\n%s", args, name, o.code, o.stderr)
			}
		}
	}
	if o := preflight(t, "", "report", "last", "--runs", runs, "-o", "json"); o.code != 0 || !strings.Contains(o.stdout, `"id": "shown"`) {
		t.Errorf("report last: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for command, want := range map[string]string{"check": "looked", "demo": "shown"} {
		only := filepath.Join(dir, command)
		journal(t, only, want, command, 0)
		if o := preflight(t, "", "backout", "last", "--runs", only); o.code != 2 || !strings.Contains(o.stderr, "there is no run in ") {
			t.Errorf("backout last after a %s: exit code %d, want 2:\n%s", command, o.code, o.stderr)
		}
	}
}

// TestListen: the site file's word on listening: true lets verify listen without being told, and false forbids it whatever
// it is told.
func TestListen(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "already-open"})
	s.run(t, 5, "verify", "-f", s.files.Site)
	for _, test := range []struct {
		listen string
		code   int
		args   []string
	}{{"false", 5, []string{"--listen"}}, {"true", 0, nil}} {
		text, err := os.ReadFile(s.files.Site)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(filepath.Dir(s.files.Site), test.listen+".yaml")
		if err := os.WriteFile(file, append(text, "proof:\n  listen: "+test.listen+"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		s.run(t, test.code, "verify", append([]string{"-f", file}, test.args...)...)
	}
}

// TestPasswordText: a password is taken from UTF-8 only, with or without the mark that Windows' editors write; from what
// may be another encoding none is, and no server is asked.
func TestPasswordText(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	wide := func(order binary.AppendByteOrder, text string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, u)
		}
		return string(b)
	}
	program, err := exec.LookPath("preflight")
	if err != nil {
		t.Fatal(err)
	}
	line := s.Password() + "\r\n"
	for name, text := range map[string]string{
		"UTF-16LE": wide(binary.LittleEndian, line), "UTF-16LE with BOM": wide(binary.LittleEndian, "\ufeff"+line),
		"UTF-16BE": wide(binary.BigEndian, line), "UTF-16BE with BOM": wide(binary.BigEndian, "\ufeff"+line),
		"NUL at the end": s.Password() + "\x00\n", "NUL within": "pass\x00word\n", "Latin-1": "p\xe4ssword\n",
	} {
		args := []string{"check", "-f", s.files.Site, "--runs", s.runs}
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), passwordFile+"="+file)
		out, _ := cmd.CombinedOutput()
		for _, o := range []outcome{preflight(t, text, append(args, "--password-stdin")...), {cmd.ProcessState.ExitCode(), "", string(out)}} {
			if o.code != 2 || !strings.Contains(o.stderr, "is not UTF-8 text, so no password is taken from it\nhint: save it as UTF-8") {
				t.Errorf("%s: exit code %d, want 2:\n%s", name, o.code, o.stderr)
			}
		}
	}
	if _, err := os.Stat(s.runs); err == nil || s.attempts() > 0 {
		t.Errorf("a run was begun (%v), and %d requests were made", err, s.attempts())
	}
	bom := "\ufeff" + line
	if o := preflight(t, bom, "check", "-f", s.files.Site, "--runs", s.runs, "--password-stdin"); o.code != 3 {
		t.Errorf("UTF-8 with BOM: exit code %d, want 3:\n%s", o.code, o.stderr)
	}
}

// TestJournalAltered: what is applied is what was approved: a journal that says something else is refused before a server
// is asked, and so is one that this preflight cannot read whole.
func TestJournalAltered(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	run, r := s.planned(t, 0)
	before, attempts := s.rules(t), s.attempts()
	file := filepath.Join(run, "journal.jsonl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	approve := []string{"--approve", r.Change.PlanSHA256}
	newer := "use the preflight that wrote it, or a newer one"
	at := strings.Index(string(text), `{"event":"planned"`)
	for _, test := range []struct {
		name, old, now string // in the line of the plan, or the first
		command        string
		says           string
	}{
		{"a port", `"ports":[443,`, `"ports":[444,`, "apply", "the journal of " + run + " was changed after it was planned"},
		{"a source", `"from":["10.0.0.12"`, `"from":["any"`, "apply", "the journal of " + run + " was changed"},
		{"a server", `"server":"qs-central"`, `"server":"qs-rim1"`, "apply", "the journal of " + run + " was changed"},
		{"the site", `"host":"qs-rim1"`, `"host":"qs-other"`, "apply", "the journal of " + run + " was changed"},
		{"a newer event", "", "", "apply", newer},
		{"a newer event", "", "", "verify", newer},
		{"a newer event", "", "", "backout", newer},
		{"a newer event", "", "", "report", newer},
	} {
		altered := string(text[:at]) + strings.Replace(string(text[at:]), test.old, test.now, 1)
		if test.name == "the site" {
			altered = strings.Replace(string(text), test.old, test.now, 1)
		}
		if test.old == "" {
			altered = string(text) + "{\"event\":\"from_the_future\",\"data\":{}}\n"
		} else if altered == string(text) {
			t.Fatalf("%s: the journal does not hold %s", test.name, test.old)
		}
		if err := os.WriteFile(file, []byte(altered), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{test.command, run, "--runs", s.runs}
		if test.command != "report" {
			args = append(args, "--password-stdin")
		}
		if test.command == "apply" {
			args = append(args, approve...)
		}
		o := preflight(t, s.Password()+"\n", args...)
		if o.code != 2 || !strings.Contains(o.stderr, test.says) || !strings.Contains(o.stderr, "\nhint: ") {
			t.Errorf("%s, %s: exit code %d, want 2, with %q:\n%s", test.command, test.name, o.code, test.says, o.stderr)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != altered {
			t.Errorf("%s, %s: the journal was written (%v)", test.command, test.name, err)
		}
	}
	s.unchanged(t, "refused", before)
	if s.attempts() != attempts {
		t.Error("a server was asked")
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, "apply", append([]string{run}, approve...)...)

	// One from which a command, or what became of a change, is cut away.
	before, attempts = s.rules(t), s.attempts()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	without := func(lines string) []byte {
		return regexp.MustCompile(`(?m)^\{"event":"`+lines+`.*\n`).ReplaceAll(whole, nil)
	}
	for what, cut := range map[string][]byte{
		"its end": text, "a command": without(`command_started","data":\{"name":"apply"`), "its changes": without(`change_(started|ended)"`),
	} {
		if err := os.WriteFile(file, cut, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"verify", "backout"} {
			o := s.run(t, 2, command, run)
			says(t, o.stderr, "it was cut, and nothing goes on from it", "hint: the PowerShell in its folder backout")
			if strings.Contains(o.stdout, "nothing to take back") {
				t.Errorf("%s without %s:\n%s", command, what, o.stdout)
			}
		}
	}
	s.unchanged(t, "cut", before)
	if s.attempts() != attempts {
		t.Error("a server was asked")
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, "backout", run)
}

// TestFilesGone: a run needs neither the site file nor the certificates it names, once it has begun.
func TestFilesGone(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	before := s.rules(t)
	run, r := s.planned(t, 0)
	if err := os.RemoveAll(filepath.Dir(s.files.Site)); err != nil {
		t.Fatal(err)
	}
	s.run(t, 0, "apply", run, "--approve", r.Change.PlanSHA256)
	s.run(t, 5, "verify", run)
	s.run(t, 0, "backout", run)
	s.unchanged(t, "taken back", before)
}

// TestTicketDigest: the ticket names the SHA-256 of record.json only while that file is the run's record.
func TestTicketDigest(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	journal(t, runs, "x", "plan", 0)
	run := filepath.Join(runs, "x")
	j, r, err := record.Open(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []record.Event{record.CommandStarted{Name: "apply"}, record.CommandEnded{}} {
		r.Apply(e)
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	text, err := reports.JSON(r)
	if err := errors.Join(err, j.WriteFile("record.json", text), j.Close()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(run, "record.json")
	row := regexp.MustCompile(`record\.json +SHA-256 ([0-9a-f]{64})`)
	ticket := func() []string {
		o := preflight(t, "", "report", run, "-o", "ticket")
		if o.code != 0 || !strings.Contains(o.stdout, "plan.json") {
			t.Errorf("report: exit code %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		return row.FindStringSubmatch(o.stdout)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(text))
	if got := ticket(); got == nil || got[1] != sum {
		t.Errorf("the ticket names %q, want %s", got, sum)
	}
	edit(t, file, `"passed": true`, `"passed": false`)
	if got := ticket(); got != nil {
		t.Errorf("the ticket names a digest, %s, of a record that was altered", got[1])
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := ticket(); got != nil {
		t.Errorf("the ticket names a digest, %s, of a record that is gone", got[1])
	}
}

// TestRequestGone: the request to the owner of a policy goes away once a command of the run finds that it was met.
func TestRequestGone(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "gpo-merge-off"})
	run, r := s.planned(t, 3)
	s.checkRequest(t, true)
	s.Host("qs-rim1").AddRule("policy", "{1}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort2_10=443-5051|Name=Qlik|")
	o := s.run(t, 0, "apply", run, "--approve", r.Change.PlanSHA256)
	s.checkRequest(t, false)
	if strings.Contains(o.stdout, "gpo-request.txt") {
		t.Errorf("a request is named that is not there:\n%s", o.stdout)
	}
	if got := slices.Sorted(maps.Keys(s.Host("qs-rim1").Rules("local"))); slices.ContainsFunc(got, func(id string) bool { return strings.HasPrefix(id, "preflight-") }) {
		t.Errorf("a rule was added that policy voids: %v", got)
	}
}
