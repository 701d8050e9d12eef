package reports_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/reports"
)

var moments = regexp.MustCompile(`2026-11-24T[0-9:]+Z`)

// flowing is a text in one line.
func flowing(b []byte) string { return strings.Join(strings.Fields(string(b)), " ") }

// resultOf is the beginning of the block Result of a ticket, up to its rules.
func resultOf(r record.Record) string {
	text := flowing(reports.Ticket(r, ""))
	_, text, _ = strings.Cut(text, "Result ====== ")
	text, _, _ = strings.Cut(text, " Rules qs-central")
	return text
}

// rowsNow are the rows of the ticket's summary that say how the change stands.
func rowsNow(r record.Record) string {
	text := string(reports.Ticket(r, ""))
	_, text, _ = strings.Cut(text, "\nplanned ")
	_, text, _ = strings.Cut(text, "\n")
	text, _, _ = strings.Cut(text, "\n\nWhy\n")
	return strings.Join(strings.Fields(text), " ")
}

func refuse(b *run) *run {
	b.command("backout", "").look()
	return b.judge().end(record.Misused, "not confirmed: taking the rules back cuts off qs-rim1, which is running")
}

// untested leaves two flows untested.
func untested(f ports.Flow, p *proof.Proof) {
	if service(f, p); f.To == "qs-rim1" && (f.Port == 4144 || f.Port == 4243) {
		p.Verdict, p.Seen, p.Level = proof.NotTested, "nothing listens yet, and no listener was opened", facts.Observed
	}
}

// joinedEach joins two rims one after the other, each proven on its own as the program does it.
func joinedEach(t *testing.T) *run {
	b := begin(newSite("finance-bi", 2), "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service).judge()
	for _, rim := range []string{"qs-rim1", "qs-rim2"} {
		b.joinAlone(rim)
	}
	return b
}

func (b *run) joinAlone(rim string) *run {
	b.command("join", "").look().join(rim, byCertificate, nil).look()
	for _, f := range b.rec.Flows() {
		if f.From != rim && f.To != rim {
			continue
		}
		p := proof.Proof{ID: proof.ID(proof.CloseOut, f), Phase: proof.CloseOut, From: f.From, To: f.To, Protocol: "tcp", Port: f.Port, Service: string(f.Service), Level: facts.Proven, At: b.at()}
		b.services(f, &p)
		b.add(record.Proved{Proof: p, At: p.At})
	}
	return b.judge(b.finding(rim))
}

// TestResult: the ticket says what the change has achieved, and beside it what came after: a later look and a back-out that
// took nothing back do not take its place. The summary says the same as the block Result.
func TestResult(t *testing.T) {
	t.Parallel()
	const are = "joined: qs-rim1 is running; 14 of 14 flows proven by the real services, 14 of 14 before the join"
	const both = "joined: qs-rim1 and qs-rim2 are running; 28 of 28 flows proven by the real services, 28 of 28 before the join"
	join := func() *run { return joining(t).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1") }
	for _, test := range []struct {
		name, want string
		r          record.Record
	}{
		{"nothing since", are, join().record()},
		{"verified", "T, " + are + " last verify: T, ready: 14 of 14 flows proven", join().command("verify", "").look().prove(proof.Verify, service).judge().record()},
		{"verified, and two flows could not be tested", "T, " + are + " last verify: T, incomplete: 12 of 14 flows proven, 2 not tested; a flow that could not be tested then keeps the proof from before",
			join().command("verify", "").look().prove(proof.Verify, untested).judge().record()},
		{"a back-out refused", "T, " + are + " back-out: asked for on T, and was refused: not confirmed: taking the rules back cuts off qs-rim1, which is running", refuse(join()).record()},
		{"verified, and a back-out refused", "T, " + are + " last verify: T, ready: 14 of 14 flows proven back-out: asked for on T, and was refused: not confirmed: taking the rules back cuts off qs-rim1, which is running",
			refuse(join().command("verify", "").look().prove(proof.Verify, service).judge()).record()},
		{"a back-out that could not begin", "T, " + are + " back-out: asked for on T, and took nothing back", notBegun(join()).record()},
		{"applied and verified", "T, ready: 14 of 14 flows proven last verify: T, incomplete: 12 of 14 flows proven, 2 not tested; a flow that could not be tested then keeps the proof from before",
			applied(t).command("verify", "").look().prove(proof.Verify, untested).judge().record()},
		{"a check failed", "T, not ready: a check failed; 14 of 14 flows proven last verify: T, ready: 14 of 14 flows proven",
			applied(t).judge(checks.Finding{Check: "x", Verdict: checks.Fail, Server: "qs-rim1"}).command("verify", "").look().prove(proof.Verify, service).judge().record()},
		{"a check is unknown", "T, incomplete: a check is unknown; 14 of 14 flows proven last verify: T, ready: 14 of 14 flows proven",
			applied(t).judge(checks.Finding{Check: "x", Verdict: checks.Unknown, Server: "qs-rim1"}).command("verify", "").look().prove(proof.Verify, service).judge().record()},
		{"two rims, one after the other", both, joinedEach(t).record()},
		{"two rims, verified", "T, " + both + " last verify: T, ready: 28 of 28 flows proven", joinedEach(t).command("verify", "").look().prove(proof.Verify, service).judge().record()},
		{"taken up again and broken off", "cancelled: interrupted; 7 of 7 rules are in joined: qs-rim1 is running; 14 of 14 flows proven by the real services, 14 of 14 before the join interrupted",
			brokenOff(join().command("join", "").look(), "qs-rim1").record()},
		{"two rims, taken back and added again, and one proven since", "joined: qs-rim1 and qs-rim2 are running; 14 of 28 flows proven by the real services, 14 not tested",
			joinedEach(t).backOut(nil).apply(t, nil).prove(proof.AfterApply, service).judge().joinAlone("qs-rim1").record()},
		{"the second broke off", "cancelled: interrupted; 12 of 12 rules are in joined: qs-rim1 is running; 14 of its 14 flows proven by the real services, 14 of 14 before the join interrupted", cancelled(t).record()},
		{"only planned", "T, planned: 7 rules to add last verify: T, not ready: 2 checks failed; 14 of 14 flows proven", planned(t).command("verify", "").look().prove(proof.Verify, service).judge().record()},
	} {
		got := moments.ReplaceAllString(resultOf(test.r), "T")
		broken := strings.HasPrefix(test.want, "cancelled")
		if broken { // the error stands under the first line
			got = strings.Replace(got, "are in interrupted joined", "are in joined", 1) + " interrupted"
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		now := moments.ReplaceAllString(rowsNow(test.r), "T")
		now = strings.NewReplacer("now ", "", "result ", "", "joined qs", "joined: qs", "last verify T", "last verify: T", "back-out asked", "back-out: asked").Replace(now)
		if now += map[bool]string{true: " interrupted"}[broken]; now != test.want {
			t.Errorf("%s: the summary says another thing:\n got %s\nwant %s", test.name, now, test.want)
		}
	}
}

// notBegun is a back-out that no server let in.
func notBegun(b *run) *run {
	b.command("backout", "")
	for _, n := range b.site.Nodes {
		b.add(record.ServerFailed{Server: n.Name, Stage: "connect", Kind: "rejected", Error: "the server answered 401", At: b.at()})
	}
	for _, p := range b.rec.Plan.Changes {
		b.add(record.RemovalEnded{ID: p.ID, Server: p.Server, State: record.NotTried, Error: p.Server + " could not be signed in to", At: b.at()})
	}
	return b.judge().end("", "")
}

// cancelled is a run whose first rim has joined, and whose second was interrupted.
func cancelled(t *testing.T) *run {
	b := begin(newSite("finance-bi", 2), "plan").plan(t, nil).apply(t, nil).prove(proof.AfterApply, service).judge().joinAlone("qs-rim1")
	return brokenOff(b.command("join", "").look(), "qs-rim2")
}

func brokenOff(b *run, rim string) *run {
	b.join(rim, byCertificate, func(e *record.StepEnded) {
		if e.Step == "unlock" {
			e.State = ""
		}
	})
	return b.judge().end(record.Cancelled, "interrupted")
}

// TestIdleBackOut: what the ticket says of the rules and in its first line is as if a back-out that took nothing back had not
// been asked for.
func TestIdleBackOut(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*run{"refused": refuse(applied(t)), "not begun": notBegun(applied(t))} {
		was, r := applied(t).record(), b.record()
		if got, want := first(r), first(was); got != want {
			t.Errorf("%s: the first line is\n     %s\nwant %s", name, got, want)
		}
		if text := flowing(reports.Ticket(r, "")); strings.Contains(text, "NOT removed") || !strings.Contains(text, "added, in force") {
			t.Errorf("%s: the rules are not as they were:\n%s", name, text)
		}
	}
	r := partlyBackedOut(t)
	if text := flowing(reports.Ticket(r, "")); !strings.Contains(text, "NOT removed: not tried") {
		t.Errorf("what a back-out has not tried is not said:\n%s", text)
	}
}

// TestStepStaysDone: a join that was done, and taken up again without its last step, is over wherever it is spoken of.
func TestStepStaysDone(t *testing.T) {
	t.Parallel()
	b := joining(t).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1").backOut(nil).apply(t, nil).prove(proof.AfterApply, service).judge()
	b.command("join", "").look().join("qs-rim1", record.JoinStarted{}, func(e *record.StepEnded) {
		if e.Step == "proxy" {
			e.State, e.Seen = record.StepLeft, "a person has not said that it is done"
		}
	})
	r := b.closeOut("qs-rim1").record()
	const want = "joined: qs-rim1 is running; 14 of 14 flows proven by the real services, 14 of 14 before the join"
	for name, text := range map[string]string{"the text": flowing(reports.Text(r, reports.Options{})), "the ticket": flowing(reports.Ticket(r, "")), "the summary": flowing(reports.Summary(r))} {
		if strings.Contains(text, "left to do") || strings.Contains(text, "not finished") || !strings.Contains(text, strings.TrimPrefix(want, "joined: ")) {
			t.Errorf("%s does not say %q of a join that is over:\n%s", name, want, text)
		}
	}
	if got := reports.Outcome(r); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := string(reports.Text(r, reports.Options{})); !strings.Contains(text, "join of qs-rim1, by hand\n") {
		t.Errorf("whose hand it was is not said of the last attempt:\n%s", text)
	}
	if got := first(r); !strings.Contains(got, "and joined rim node qs-rim1; proven 14/14") {
		t.Errorf("the first line says %q", got)
	}
}

// TestBeforeTheJoin: what was proven before a join is not said once a verify has replaced it, and is not what was proven of
// rules that were taken back since.
func TestBeforeTheJoin(t *testing.T) {
	t.Parallel()
	b := planned(t).apply(t, nil).prove(proof.AfterApply, untested).judge()
	b.command("join", "").look().prove(proof.Verify, service).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1")
	const are = "joined: qs-rim1 is running; 14 of 14 flows proven by the real services"
	if got := resultOf(b.record()); got != are+", 14 of 14 before the join" {
		t.Errorf("got %s", got)
	}
	b.command("verify", "").look().prove(proof.Verify, service).judge()
	if got := moments.ReplaceAllString(resultOf(b.record()), "T"); !strings.HasPrefix(got, "T, "+are+" last verify") {
		t.Errorf("got %s", got)
	}
	b.backOut(nil).apply(t, nil).prove(proof.AfterApply, untested).judge().command("join", "").look().join("qs-rim1", byCertificate, nil).closeOut("qs-rim1")
	if got := resultOf(b.record()); got != are+", 12 of 14 before the join" {
		t.Errorf("got %s", got)
	}
}

// TestSummaryAfterTheJoin: what the wizard leaves on the terminal says what the change has come to, but a verify that failed
// comes first.
func TestSummaryAfterTheJoin(t *testing.T) {
	t.Parallel()
	join := func() *run { return joining(t).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1") }
	dropped := func(f ports.Flow, p *proof.Proof) {
		if service(f, p); f.Port == 5051 {
			p.Verdict = proof.Dropped
		}
	}
	for _, test := range []struct {
		name  string
		r     record.Record
		wants []string
	}{
		{"joined", join().record(), []string{"CHG0031337 JOINED ", " qs-rim1 is running; 14 of 14"}},
		{"verified", join().command("verify", "").look().prove(proof.Verify, service).judge().record(), []string{"CHG0031337 JOINED ", "joined: qs-rim1 is running", "result: 2026-11-24T", "last verify: 2026-11-24T"}},
		{"not verified", join().command("verify", "").look().prove(proof.Verify, dropped).judge().record(), []string{"CHG0031337 NOT READY ", ", joined: qs-rim1 is running", "not ready: 12 of 14 flows proven, 2 failed"}},
		{"refused", refuse(join()).record(), []string{"CHG0031337 JOINED ", "back-out: asked for on 2026-11-24T"}},
	} {
		text := flowing(reports.Summary(test.r))
		for _, want := range test.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", test.name, want, text)
			}
		}
	}
}

// TestVerifyAfterBackOut: who verifies a run whose rules were taken back is told so.
func TestVerifyAfterBackOut(t *testing.T) {
	t.Parallel()
	verify := func(b *run) string {
		return reports.Outcome(b.command("verify", "").look().prove(proof.Verify, closed).judge().record())
	}
	const said = "; the rules of this run were taken back on 2026-11-24"
	if got := verify(applied(t).backOut(nil)); !strings.HasPrefix(got, "not ready: ") || !strings.HasSuffix(got, said) {
		t.Errorf("got %q", got)
	}
	n := 0
	some := applied(t).backOut(func(_ record.PlannedChange, e *record.RemovalEnded) {
		if n++; n == 1 {
			e.State = record.NotTaken
		}
	})
	if got := verify(some); !strings.HasSuffix(got, "; 6 of the 7 rules of this run were taken back on 2026-11-24") {
		t.Errorf("got %q", got)
	}
	for name, b := range map[string]*run{"applied": applied(t), "refused": refuse(applied(t)), "applied again": applied(t).backOut(nil).apply(t, nil)} {
		if got := verify(b); strings.Contains(got, "taken back") {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// TestJoinLeavesOthersOut: the text of a join shows the flows that it dialled, and counts the others.
func TestJoinLeavesOthersOut(t *testing.T) {
	t.Parallel()
	b := joinedEach(t)
	text := string(reports.Text(b.record(), reports.Options{}))
	if strings.Contains(text, "qs-rim1 -> ") || strings.Contains(text, "-> qs-rim1") || !strings.Contains(text, "qs-central -> qs-rim2\n") {
		t.Errorf("the flows shown are not those of qs-rim2:\n%s", text)
	}
	if want := "14 flows were not dialled: what is proven of them stays as it was.\n"; !strings.Contains(text, want) {
		t.Errorf("%q is not in\n%s", want, text)
	}
	if text := string(reports.Text(joined(t), reports.Options{})); strings.Contains(text, "not dialled") {
		t.Errorf("a join that dialled every flow says otherwise:\n%s", text)
	}
}

// TestRuleOfOurs: a rule of ours that makes something right already is not named by its id, unless more is asked for.
func TestRuleOfOurs(t *testing.T) {
	t.Parallel()
	b := begin(newSite("finance-bi", 1), "check")
	p := b.wanted(t, nil)
	ours := p.Changes[0]
	for _, port := range ours.Ports {
		p.Already = append(p.Already, record.PlannedRelied{Server: ours.Server, Port: port, From: ours.From[0], By: ours.ID, Ours: true})
	}
	p.Changes = p.Changes[1:]
	r := b.add(p).judge().record()
	row := "= " + checks.List(ours.Ports, ",") + " from " + ours.From[0] + " by a rule of ours"
	if text := flowing(reports.Text(r, reports.Options{})); !strings.Contains(text, row) || strings.Contains(text, ours.ID) {
		t.Errorf("%q is not in it, or the id is:\n%s", row, text)
	}
	if text := flowing(reports.Text(r, reports.Options{Verbose: true})); !strings.Contains(text, row+", "+ours.ID) {
		t.Errorf("the id is not in\n%s", text)
	}
}

// TestTicketWithoutRules: a ticket with no rule to add does not speak of how rules are added.
func TestTicketWithoutRules(t *testing.T) {
	t.Parallel()
	about := []string{"cause no outage", "read back on its own", "before the rules are added", "Before the rules are in"}
	without, with := flowing(reports.Ticket(nothingToPlan(t), "")), flowing(reports.Ticket(planned(t).record(), ""))
	for _, s := range about {
		if strings.Contains(without, s) || !strings.Contains(with, s) {
			t.Errorf("%q is in the ticket without rules, or not in the one with rules", s)
		}
	}
	if !strings.Contains(without, "Should the servers need a rule by then, none is added") {
		t.Errorf("what happens if a rule is needed after all is not said:\n%s", without)
	}
}

// TestWhereTyped: the ticket says where a command works that names the run without its folder.
func TestWhereTyped(t *testing.T) {
	t.Parallel()
	for named, want := range map[string]bool{"finance-bi-20261124-1018": true, `C:\runs\finance-bi-20261124-1018`: false, "/runs/finance-bi-20261124-1018": false} {
		b := planned(t)
		b.rec.Run.Commands[0].Run = named
		text := flowing(reports.Ticket(b.record(), ""))
		if got := strings.Count(text, "On ADM-WS-07, in the folder that holds preflight-runs, "); (got == 2) != want || !want && got > 0 {
			t.Errorf("%s: said %d times", named, got)
		}
	}
}
