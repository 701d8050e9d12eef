package reports_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

var update = flag.Bool("update", false, "write the golden files")

// TestJSON: the record that specifies the format is written again byte for byte, unknown values included.
func TestJSON(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../internal/record/testdata/one-change.json")
	if err != nil {
		t.Fatal(err)
	}
	var r record.Record
	if err := json.Unmarshal(want, &r); err != nil {
		t.Fatal(err)
	}
	got, err := reports.JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const recordSHA256 = "51ce09a4b1d2c3e4f5a60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c"

// goldens are what each kind of run looks like.
var goldens = []struct {
	name  string
	run   func(*testing.T) record.Record
	kinds string // text verbose ticket request
}{
	{"check", checked, "text verbose"},
	{"check-blocked", checkBlocked, "text request"},
	{"planned", func(t *testing.T) record.Record { return planned(t).record() }, "text verbose ticket"},
	{"planned-twelve", func(t *testing.T) record.Record { return plannedTwelve(t).record() }, "text ticket"},
	{"planned-second", plannedSecond, "text ticket"},
	{"nothing-to-plan", nothingToPlan, "text ticket"},
	{"blocked", func(t *testing.T) record.Record { return blocked(t).record() }, "text ticket request"},
	{"applied", func(t *testing.T) record.Record { return applied(t).record() }, "text verbose ticket"},
	{"demo", demo, "text ticket"},
	{"not-connected", notConnected, "text"},
	{"drift", drift, "text ticket"},
	{"partly", partly, "text ticket"},
	{"settled", settled, "text ticket"},
	{"verify", verified, "text ticket"},
	{"backout", backedOut, "text ticket"},
	{"backout-partly", partlyBackedOut, "text verbose ticket"},
	{"backout-refused", backOutRefused, "text"},
	{"joined", joined, "text verbose ticket"},
	{"joined-by-hand", joinedByHand, "text ticket"},
	{"joined-demo", joinedDemo, "text ticket"},
	{"join-failed", joinFailed, "text ticket"},
	{"join-broken-off", joinBrokenOff, "text ticket"},
	{"hostile", hostile, "text verbose ticket request"},
}

func render(r record.Record, kind string) []byte {
	switch kind {
	case "ticket":
		return reports.Ticket(r, recordSHA256)
	case "request":
		return reports.PolicyRequest(r)
	}
	return reports.Text(r, reports.Options{Verbose: kind == "verbose"})
}

func TestGoldens(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, g := range goldens {
		r := g.run(t)
		for kind := range strings.FieldsSeq(g.kinds) {
			got := render(r, kind)
			file := filepath.Join("testdata", g.name+"."+kind+".txt")
			known[file] = true
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		}
	}
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s is the golden of nothing", f)
		}
	}
}

// TestEveryRendering holds of every rendering of every kind of run: nothing in it acts on a terminal, it is as wide as it
// should be but for commands, it says whether the servers are simulated, and it is the same again.
func TestEveryRendering(t *testing.T) {
	t.Parallel()
	for _, g := range goldens {
		r := g.run(t)
		for _, kind := range []string{"text", "verbose", "ticket", "request"} {
			b := render(r, kind)
			if string(b) != string(render(r, kind)) {
				t.Errorf("%s %s: not the same twice", g.name, kind)
			}
			if kind == "request" && len(r.Plan.Requests) == 0 {
				if b != nil {
					t.Errorf("%s: a request of nothing:\n%s", g.name, b)
				}
				continue
			}
			text, width := string(b), 100
			if kind == "text" || kind == "verbose" {
				width = 80
			}
			if i := strings.IndexFunc(text, acts); i >= 0 {
				t.Errorf("%s %s holds what acts on a terminal: %q", g.name, kind, text[i:min(len(text), i+20)])
			}
			if r.Run.Simulated != strings.Contains(strings.ToLower(text), "simulated servers") {
				t.Errorf("%s %s does not say whether the servers are simulated:\n%s", g.name, kind, text)
			}
			for i, line := range strings.Split(text, "\n") {
				if strings.HasSuffix(line, " ") {
					t.Errorf("%s %s: line %d ends in a space: %q", g.name, kind, i+1, line)
				}
				if kind == "ticket" && i == 0 || isCommand(line) {
					continue
				}
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("%s %s: line %d has %d characters, more than %d: %q", g.name, kind, i+1, n, width, line)
				}
			}
		}
	}
}

func acts(r rune) bool {
	return r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x200b || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff)
}

// isCommand tells whether a line is there to be copied, or shows a stored rule as it is.
func isCommand(line string) bool {
	line = strings.TrimPrefix(strings.TrimSpace(line), "undo  ")
	for _, start := range []string{"preflight ", "New-NetFirewallRule ", "Remove-NetFirewallRule ", "Get-NetFirewallRule ", "left as  ", "found    "} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}

// TestShortDescription: the ticket's first line fits a change form, at every moment of a run, for every number of rim nodes
// and however long the names.
func TestShortDescription(t *testing.T) {
	t.Parallel()
	for _, rims := range []int{1, 2, 3, 12, 30} {
		s := newSite("finance-bi", rims)
		if rims%2 == 0 {
			for i := range s.Nodes[1:] {
				s.Nodes[i+1].Name += strings.Repeat("x", 50)
			}
		}
		for moment, b := range map[string]*run{
			"planned": begin(s, "plan").plan(t, nil),
			"applied": begin(s, "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service),
			"backout": begin(s, "plan").plan(t, nil).apply(t, nil).backOut(nil),
			"blocked": begin(s, "plan").plan(t, localRulesOff("policy", "qs-central")),
			"partly": begin(s, "plan").plan(t, nil).apply(t, func(p record.PlannedChange, c *record.ChangeEnded) {
				if p.Server != "qs-central" {
					c.State = record.InDoubt
				}
			}),
		} {
			r := b.record()
			joins := []*record.Join{nil}
			if moment == "applied" {
				joins = append(joins, joinOf(s, record.StepDone), joinOf(s, record.StepFailed), joinOf(s, record.StepLeft))
			}
			for _, r.Join = range joins {
				for _, name := range []string{"finance-bi", strings.Repeat("long-site-name-", 4) + "abc", strings.Repeat("ü", 300)} {
					for _, simulated := range []bool{false, true} {
						r.Site.Name, r.Run.Simulated = name, simulated
						line := first(r)
						if n := utf8.RuneCountInString(line); n > 160 || !strings.HasPrefix(line, "Qlik Sense ") || !strings.Contains(line, "rim node") {
							t.Errorf("%s, %d rims: %d characters: %s", moment, rims, n, line)
						}
					}
				}
			}
		}
	}
}

// joinOf are joins of every rim. What becomes of the last step of the last rim is given.
func joinOf(s site.Site, last record.StepState) *record.Join {
	j := &record.Join{}
	for _, n := range s.Rims() {
		for _, step := range joinSteps {
			j.Steps = append(j.Steps, record.Step{Rim: n.Name, Step: step.id, Guide: step.guide, Title: step.title, State: record.StepDone})
		}
	}
	j.Steps[len(j.Steps)-1].State = last
	if last == record.StepFailed {
		j.Steps[len(j.Steps)-2].State = last
	}
	return j
}

// joinEach takes every rim through the join; the last one fails at a step.
func joinEach(b *run, fails string) *run {
	b.command("join", "").look()
	rims := b.site.Rims()
	for i, n := range rims {
		b.join(n.Name, byCertificate, func(e *record.StepEnded) {
			if i == len(rims)-1 && e.Step == fails {
				e.State = record.StepFailed
			}
		})
	}
	return b.look().prove(proof.CloseOut, b.services)
}

// TestJoinFirstLine: the short description says of the join what is so: what is to come, what is done, and what is not.
func TestJoinFirstLine(t *testing.T) {
	t.Parallel()
	s := newSite("finance-bi", 2)
	ready := func() *run {
		return begin(s, "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service).judge()
	}
	without := func(step string, state record.StepState) func(*record.StepEnded) {
		return func(e *record.StepEnded) {
			if e.Step == step {
				e.State = state
			}
		}
	}
	second := begin(s, "plan").plan(t, nil)
	second.rec.Servers[1].Phase = facts.Joined
	all := begin(s, "plan").plan(t, nil)
	all.rec.Servers[1].Phase, all.rec.Servers[2].Phase = facts.Joined, facts.Joined
	nothing := nothingToPlan(t)
	for _, test := range []struct{ name, is, want string }{
		{"planned", first(begin(s, "plan").plan(t, nil).record()), "open 12 firewall rules on 3 servers and join rim nodes qs-rim1 and qs-rim2; back-out ready"},
		{"one has joined before", first(second.record()), "open 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2 and join rim node qs-rim2; back-out ready"},
		{"all have joined before", first(all.record()), "open 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2; back-out ready"},
		{"no rule to open", first(nothing), "no firewall rule to open; join rim node qs-rim1"},
		{"applied", first(ready().record()), "opened 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2; join still to come; proven 28/28; back-out ready"},
		{"one joined", first(ready().command("join", "").look().join("qs-rim1", byCertificate, nil).record()), "opened 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2; joined qs-rim1; proven 28/28; back-out ready"},
		{"both joined", first(joinEach(ready(), "").record()), "opened 12 firewall rules on 3 servers and joined rim nodes qs-rim1 and qs-rim2; proven 28/28; back-out ready"},
		{"one failed", first(joinEach(ready(), "unlock").record()), "opened 12 firewall rules on 3 servers for 2 rim nodes; joined qs-rim1; join of qs-rim2 FAILED; proven 28/28; back-out ready"},
		{"broken off", first(ready().command("join", "").look().join("qs-rim1", byCertificate, without("unlock", "")).record()), "opened 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2; join of qs-rim1 NOT finished; proven 28/28; back-out ready"},
		{"a step is left", first(ready().command("join", "").look().join("qs-rim1", byCertificate, without("proxy", record.StepLeft)).record()), "opened 12 firewall rules on 3 servers for rim nodes qs-rim1 and qs-rim2; qs-rim1 running, join not finished; proven 28/28; back-out ready"},
		{"taken back after it", first(joinEach(ready(), "").backOut(nil).record()), "took back the 12 firewall rules opened on 3 servers for rim nodes qs-rim1 and qs-rim2"},
	} {
		if test.is != "Qlik Sense finance-bi: "+test.want {
			t.Errorf("%s:\n got %s\nwant Qlik Sense finance-bi: %s", test.name, test.is, test.want)
		}
	}
}

func first(r record.Record) string {
	line, _, _ := strings.Cut(string(reports.Ticket(r, "")), "\n")
	return line
}

// TestTicketOfSilence: the ticket says how a port is proven whose service says nothing.
func TestTicketOfSilence(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{"1.0.2": false, "may-2021": true} {
		s := newSite("finance-bi", 1)
		s.Release = release
		ticket := strings.Join(strings.Fields(string(reports.Ticket(begin(s, "plan").plan(t, nil).record(), ""))), " ")
		if got := strings.Contains(ticket, "The database on 4432 waits to be told something: the program that listens there is looked at"); got != want {
			t.Errorf("%s: that the database is silent is said: %v", release, got)
		}
	}
}

// TestJoinOutcome: the last line of a join says whether the rim runs, and counts what the real services answered.
func TestJoinOutcome(t *testing.T) {
	t.Parallel()
	outcome := func(r record.Record) string {
		text := strings.Fields(string(reports.Text(r, reports.Options{})))
		s := strings.Join(text, " ")
		return s[strings.LastIndex(s, "(-v lists them) ")+len("(-v lists them) "):]
	}
	one := func(b *run, how func(ports.Flow, *proof.Proof)) record.Record {
		return b.join("qs-rim1", byCertificate, nil).look().prove(proof.CloseOut, how).judge(b.finding("qs-rim1")).record()
	}
	b := joining(t)
	lost := one(b, func(f ports.Flow, p *proof.Proof) {
		if b.services(f, p); f.Port == 4243 {
			p.Verdict = proof.Dropped
		}
	})
	b = joining(t)
	ours := one(b, func(f ports.Flow, p *proof.Proof) {
		if b.services(f, p); f.Port == 5051 {
			p.Verdict = proof.Answered
		}
	})
	two := begin(newSite("finance-bi", 2), "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service).judge().command("join", "").look()
	again := joining(t).join("qs-rim1", byCertificate, func(e *record.StepEnded) {
		if e.Step == "certificate" {
			e.State = record.StepFailed
		}
	}).end("", "it failed").command("join", "").look().prove(proof.Verify, func(_ ports.Flow, p *proof.Proof) { p.Verdict, p.Level = proof.NotTested, facts.Observed })
	refused := joining(t).judge().end("", "qs-rim1 is not joined: 1 check failed")
	verified := joining(t).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1").command("verify", "").look().prove(proof.Verify, service).judge()
	// Rims dial each other since June 2017: what was not tried of another rim belongs to its own close-out.
	other := func(how func(ports.Flow, *proof.Proof) (tried bool)) record.Record {
		s := newSite("finance-bi", 2)
		s.Release = "may-2021"
		b := begin(s, "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service).judge().command("join", "").look().join("qs-rim1", byCertificate, nil).look()
		for _, f := range b.rec.Flows() {
			p := proof.Proof{ID: proof.ID(proof.CloseOut, f), Phase: proof.CloseOut, From: f.From, To: f.To, Protocol: "tcp", Port: f.Port, Service: string(f.Service), Level: facts.Proven, Verdict: proof.Service, At: b.at()}
			if (f.From == "qs-rim1" || f.To == "qs-rim1") && how(f, &p) {
				b.add(record.Proved{Proof: p, At: p.At})
			}
		}
		return b.judge(b.finding("qs-rim1")).record()
	}
	waits := other(func(f ports.Flow, _ *proof.Proof) bool { return f.To != "qs-rim2" })
	shut := other(func(f ports.Flow, p *proof.Proof) bool {
		if f.To == "qs-rim2" {
			p.Verdict = proof.Dropped
		}
		return f.To != "qs-rim2" || f.Port == 4243
	})
	missing := other(func(f ports.Flow, _ *proof.Proof) bool { return f.To != "qs-rim2" && f.Port != 5151 })
	for _, test := range []struct {
		name string
		r    record.Record
		want string
	}{
		{"another waits", waits, "joined: qs-rim1 is running; 22 of its 22 flows proven by the real services, 22 of 22 before the join"},
		{"another does not answer", shut, "not ready: qs-rim1 is running; 22 of its 23 flows proven by the real services, 1 failed; 23 of 23 before the join"},
		{"its own is missing", missing, "joined: qs-rim1 is running; 21 of its 22 flows proven by the real services, 1 not tested; 22 of 22 before the join"},
		{"joined", joined(t), "joined: qs-rim1 is running; 14 of 14 flows proven by the real services, 14 of 14 before the join"},
		{"some do not answer any more", lost, "not ready: qs-rim1 is running; 12 of 14 flows proven by the real services, 2 failed; 14 of 14 before the join"},
		{"not the real services", ours, "joined: qs-rim1 is running; 12 of 14 flows proven by the real services, 2 not tested; 14 of 14 before the join"},
		{"one of two", one(two, two.services), "incomplete: qs-rim1 is running; 14 of its 14 flows proven by the real services, 14 of 14 before the join"},
		{"the second try", one(again, again.services), "joined: qs-rim1 is running; 14 of 14 flows proven by the real services, 14 of 14 before the join"},
		{"not begun", refused.record(), "not joined: qs-rim1 is not joined: 1 check failed; 7 of 7 rules are in"},
		{"verified later", verified.record(), "ready: 14 of 14 flows proven"},
	} {
		if got := outcome(test.r); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

// TestWithoutRecord: without the digest of a record the ticket does not speak of it.
func TestWithoutRecord(t *testing.T) {
	t.Parallel()
	text := string(reports.Ticket(applied(t).record(), ""))
	if strings.Contains(text, "record.json") {
		t.Errorf("a ticket without a record's digest speaks of the record:\n%s", text)
	}
	for _, want := range []string{"\nResult\n", "\nEvidence\n", "plan.json"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// TestHostile: what a server sends cannot begin a line, so it cannot pass for a verdict of ours; where it is broken into
// several lines, those are indented.
func TestHostile(t *testing.T) {
	t.Parallel()
	r := hostile(t)
	for _, kind := range []string{"text", "verbose", "ticket", "request"} {
		for line := range strings.Lines(string(render(r, kind))) {
			if strings.HasPrefix(line, "ready: all is well") {
				t.Errorf("%s: a server has written a line of its own: %q", kind, line)
			}
		}
	}
}

func TestWord(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command string
		code    int
		want    string
	}{
		{"check", 0, "ready"}, {"demo", 0, "ready"}, {"apply", 0, "ready"}, {"verify", 0, "ready"}, {"plan", 0, "planned"}, {"backout", 0, "taken back"},
		{"apply", 1, "failed"}, {"backout", 2, "refused"}, {"apply", 3, "not ready"}, {"plan", 3, "not ready"}, {"backout", 3, "not taken back"},
		{"check", 4, "not connected"}, {"verify", 5, "incomplete"}, {"apply", 6, "not applied"}, {"backout", 6, "not taken back"},
		{"apply", 7, "partly applied"}, {"verify", 7, "partly applied"}, {"backout", 7, "partly taken back"}, {"apply", 130, "cancelled"},
		{"join", 0, "not joined"}, {"join", 1, "failed"}, {"join", 3, "not joined"}, {"join", 4, "not connected"}, {"join", 5, "not joined"}, {"join", 7, "partly applied"}, {"join", 130, "cancelled"},
	} {
		r := record.Record{Run: record.Run{Commands: []record.Command{{Name: test.command, EndedAt: &time.Time{}}}}, Verdict: record.Verdict{ExitCode: test.code}}
		if got := reports.Word(r); got != test.want {
			t.Errorf("%s, exit code %d: %q, want %q", test.command, test.code, got, test.want)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	relied := []record.PlannedRelied{{Server: "qs-central", Port: 4241, From: "10.0.0.12"}, {Server: "qs-central", Port: 4241, From: "10.0.0.13"}, {Server: "qs-central", Port: 4242}}
	void := []record.PlannedVoid{{Server: "qs-rim1", Port: 4444}}
	for _, test := range []struct {
		event record.Event
		want  string
	}{
		{record.Planned{Changes: make([]record.PlannedChange, 7), Already: relied, SHA256: "9f2c41d07ab3ffff"}, "  7 rules to add, 2 ports right already; digest 9f2c41d07ab3"},
		{record.Planned{Changes: make([]record.PlannedChange, 1), Blocked: void}, "  1 rule to add, 0 ports right already, 1 that a rule added here would not open"},
		{record.Planned{Changes: []record.PlannedChange{}, SHA256: "9f2c41d07ab3ffff"}, "  nothing to compare: no server's rules could be read"},
		{record.Planned{Already: relied}, "  0 rules to add, 2 ports right already"},
		{record.Replanned{Already: relied}, "  planned again: 2 ports right already"},
		{record.Replanned{Already: relied, Blocked: void, Unapproved: make([]record.PlannedChange, 1)},
			"  planned again: 2 ports right already, 1 that a rule added here would not open; 1 rule is wanted that the approved plan does not hold: nothing is added"},
		{record.ChangeStarted{ID: "preflight-1", Server: "qs-rim1", Ports: []uint16{443, 4144}}, "  qs-rim1: adding the rule for 443,4144"},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Done}, ""},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.There}, "  qs-rim1: already there: preflight-1"},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.NotNeeded}, "  qs-rim1: not needed any more: preflight-1"},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Void, Error: "local rules are turned off"}, "  qs-rim1: VOID, so not added: preflight-1: local rules are turned off"},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Failed, Error: "access is denied (5)"}, "  qs-rim1: failed: preflight-1: access is denied (5)"},
		{record.ChangeEnded{ID: "preflight-1", Server: "qs-rim1", State: record.InDoubt, Error: "the connection was lost"}, "  qs-rim1: in doubt: preflight-1: the connection was lost"},
		{record.RemovalStarted{ID: "preflight-1", Server: "qs-rim1"}, "  qs-rim1: taking back preflight-1"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Removed}, "  qs-rim1: preflight-1: removed"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Absent}, "  qs-rim1: preflight-1: was not there"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Differs, Error: "it is no longer as it was left, so it stays"}, "  qs-rim1: preflight-1: NOT removed: changed since it was added, so it stays"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.NotTried, Error: "qs-rim1 could not be signed in to"}, "  qs-rim1: preflight-1: NOT removed: not tried: qs-rim1 could not be signed in to"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.NotTaken, Error: "access is \x1b[31mdenied"}, "  qs-rim1: preflight-1: NOT removed: failed: access is [31mdenied"},
		{record.RemovalEnded{ID: "preflight-1", Server: "qs-rim1", State: record.Uncertain}, "  qs-rim1: preflight-1: in doubt: its end was not seen"},
		{record.Proved{Proof: proof.Proof{From: "a", To: "b", Port: 443, Service: "proxy", Verdict: proof.NoRoute}}, "  a -> b 443 proxy: no route"},
		{record.ChangesInForce{Server: "a", Live: facts.Unknown[bool]("no answer")}, "  a: whether the rules are in force is not known: no answer"},
		{record.ChangesInForce{Server: "a", Live: facts.Known(false)}, "  a: the rules are NOT in force"},
		{record.JoinStarted{Rim: "qs-rim1"}, "  qs-rim1: joining, by hand"},
		{record.JoinStarted{Rim: "qs-rim1", QRS: "qs-central:4242", Certificate: &record.ClientCertificate{Subject: "CN=Qlik\x1b[1m\nClient"}},
			"  qs-rim1: joining, the repository service at qs-central:4242 asked with the\n    certificate CN=Qlik[1m Client"},
		{record.StepStarted{Rim: "qs-rim1", Step: "node", Guide: "1-3", Title: "create the node"}, "  qs-rim1: step 1-3, create the node ..."},
		{record.StepWaiting{Rim: "qs-rim1", Step: "node", For: []string{"Open the QMC.", "  name qs-rim1\nready: all is well"}}, "  qs-rim1: waiting for you:\n    Open the QMC.\n      name qs-rim1 ready: all is well"},
		{record.StepEnded{Rim: "qs-rim1", Step: "node", State: record.StepDone, Seen: "created\x1b[2J\nready"}, "  qs-rim1: done: created[2J ready"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepByHand, Seen: "a person says that it is done"}, "  qs-rim1: by hand: a person says that it is done"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepLeft, Seen: "x"}, "  qs-rim1: left to do: x"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepNeedless, Seen: "qs-rim1 runs no proxy"}, "  qs-rim1: not needed: qs-rim1 runs no proxy"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepFailed}, "  qs-rim1: FAILED"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepWait}, "  qs-rim1: waiting"},
		{record.StepEnded{Rim: "qs-rim1", State: record.StepStart}, "  qs-rim1: in doubt"},
		{record.Judged{}, ""},
	} {
		if got := reports.Line(test.event); got != test.want {
			t.Errorf("%#v:\n got %q\nwant %q", test.event, got, test.want)
		}
	}
}

// TestFindingAdvice: a command in a remedy stays whole, on a line of its own if it does not fit.
func TestFindingAdvice(t *testing.T) {
	t.Parallel()
	long := "preflight apply " + strings.Repeat("x", 70) + " --approve 9f2c41d07ab3"
	for _, test := range []struct{ remedy, want string }{
		{"preflight explain rim.state", "         you: preflight explain rim.state\n"},
		{long, "         you:\n           " + long + "\n"},
		{"on qs-rim1: " + long + "; then run this again", "         you: on qs-rim1:\n           " + long + "\n              then run this again\n"},
		{strings.Repeat("word ", 20), "         you: " + strings.TrimSpace(strings.Repeat("word ", 13)) + "\n              word word word word word word word\n"},
	} {
		r := record.Record{Findings: []checks.Finding{{Check: "x", Verdict: checks.Fail, Server: "a", Seen: "s", Owner: "you", Remedy: test.remedy}}}
		if got := string(reports.Text(r, reports.Options{})); !strings.Contains(got, test.want) {
			t.Errorf("%q is not in\n%s", test.want, got)
		}
	}
}

// TestRequestIsOne: the same rule for several servers is asked for once.
func TestRequestIsOne(t *testing.T) {
	t.Parallel()
	r := begin(newSite("finance-bi", 3), "plan").plan(t, localRulesOff("policy", "qs-rim1", "qs-rim2", "qs-rim3")).record()
	text := string(reports.PolicyRequest(r))
	ids := map[string]bool{}
	for _, q := range r.Plan.Requests {
		ids[q.ID] = true
	}
	if len(ids) == len(r.Plan.Requests) {
		t.Fatalf("no rule is for several servers: %+v", r.Plan.Requests)
	}
	if n := strings.Count(text, "New-NetFirewallRule"); n != len(ids) {
		t.Errorf("%d rules are asked for, want %d:\n%s", n, len(ids), text)
	}
	if !strings.Contains(text, fmt.Sprintf("%d inbound firewall rules for 3 servers", len(ids))) {
		t.Errorf("how many rules for how many servers is not said:\n%s", text)
	}
	if !slices.ContainsFunc(strings.Split(text, "\n"), func(s string) bool {
		return strings.HasPrefix(s, "Has to apply to: qs-rim1 ") && strings.Contains(text, "qs-rim3 (")
	}) {
		t.Errorf("where it has to apply is not said:\n%s", text)
	}
}
