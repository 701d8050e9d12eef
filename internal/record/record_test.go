package record_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

func at(clock string) time.Time {
	t, err := time.Parse(time.RFC3339, "2026-11-24T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

const changeID = "preflight-7c1f00aa11bb22cc33dd"

// stored is how the server keeps the rule of the run.
const stored = "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=4444|RA4=10.0.0.11|"

// oneChange is a run from its plan to its back-out, with one rule added and one asked for, and a rim joined in between:
// what testdata/one-change.json says.
func oneChange() []record.Event {
	jdoe := record.Operator{User: `CORP\jdoe`, Host: "ADM-WS-07"}
	connected := func(central, rim string) []record.Event {
		return []record.Event{
			record.ServerReached{Server: "qs-central", At: at(central)},
			record.ServerReached{Server: "qs-rim1", At: at(central)},
			record.ServerConnected{Server: "qs-central", SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "basic", Transport: "https", Protection: "tls", Identity: "pinned"}, MS: 2100, At: at(central)},
			record.ServerConnected{Server: "qs-rim1", SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "basic", Transport: "https", Protection: "tls", Identity: "verified"}, MS: 1920, At: at(rim)},
		}
	}
	after, text := stored, func(s string) *string { return &s }
	relied := record.PlannedRelied{Server: "qs-rim1", Service: "repository", Port: 4242, From: "10.0.0.11", By: "{0b7c}", Name: "QS internal", Store: "local",
		Rule: "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4242|Name=QS internal|", Why: "the rule admits 10.0.0.11"}
	void := record.PlannedVoid{Server: "qs-central", Service: "repository", Port: 4241, From: "10.0.0.12", Store: "policy",
		Why: "local rules are turned off for the Domain profile"}
	request := record.PlannedRequest{ID: "preflight-0d93aa11bb22cc33dd44", Server: "qs-central", Store: "policy", Service: "repository", Name: "preflight finance-bi repository TCP 4241",
		Ports: []uint16{4241}, From: []string{"10.0.0.12"}, Profiles: rule.Profiles(rule.Domain), Why: []string{"qs-rim1 -> qs-central 4241 repository"},
		PowerShell: `New-NetFirewallRule -PolicyStore 'DOMAIN\POLICY' …`}
	judged := func(clock string) record.Event {
		return record.Judged{At: at(clock), Findings: []checks.Finding{
			{Check: "firewall.rule-blocked", Verdict: checks.Fail, Server: "qs-central", Title: "nothing overrules the rules that are needed", Seen: "4241 from 10.0.0.12",
				Expected: "a rule on the server would open them", Cause: "local rules are turned off for the Domain profile", Owner: "the Active Directory team", Remedy: "send them gpo-request.txt", Level: facts.Inferred},
			{Check: "rim.state", Verdict: checks.Pass, Server: "qs-rim1", Title: "each rim waits for its certificates", Seen: "the repository service is waiting for certificates",
				Expected: "waiting for certificates, before the join", Level: facts.Observed},
		}}
	}
	proved := func(phase proof.Phase, clock string, change func(*proof.Proof)) record.Event {
		p := proof.Proof{
			ID: string(phase) + ":qs-central:qs-rim1:4444", Phase: phase, From: "qs-central", To: "qs-rim1", Protocol: "tcp", Port: 4444, Service: "repository", At: at(clock),
			Dialler: &proof.Dialler{Address: "10.0.0.11:50112", StartedAt: at("10:20:18"), MS: 3},
			Target:  &proof.Targeted{Address: "10.0.0.12:4444", Owner: "Repository"},
		}
		change(&p)
		return record.Proved{At: p.At, Proof: p}
	}

	events := []record.Event{
		record.RunStarted{RunID: "finance-bi-20261124-1018", Tool: record.Tool{Name: "preflight", Version: "0.1.0", Commit: "1f2e3d"}, SiteFile: `C:\change\finance-bi.yaml`, At: at("10:18:40.114"), Site: site.Site{
			Name: "finance-bi", Release: "1.0.2", WinRM: site.WinRM{User: `CORP\qs-admin`}, Clients: site.Networks{netip.MustParsePrefix("10.20.0.0/16")},
			Nodes: []site.Node{
				{Name: "qs-central", Role: site.Central, Host: "qs-central.corp.example", Services: []site.Service{site.Repository}},
				{Name: "qs-rim1", Role: site.Rim, Host: "qs-rim1.corp.example", Services: []site.Service{site.Repository}},
			},
		}},
		record.CommandStarted{Name: "plan", Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: jdoe, Ticket: "CHG0031337", At: at("10:18:40.114")},
		record.StageStarted{Stage: "connect", At: at("10:18:41")},
		record.ServerFailed{Server: "qs-central", Stage: "connect", Kind: "refused", Error: "qs-central: connecting: nothing listens on 5986", Hints: []string{"winrm quickconfig -transport:https"}, At: at("10:18:41")},
	}
	events = append(events, connected("10:18:42", "10:18:42")...)
	events = append(events,
		record.ServerInspected{Server: "qs-rim1", Role: site.Rim, At: at("10:18:43"), Facts: facts.Server{
			Computer: "QS-RIM1", Windows: "10.0.17763.0", PowerShell: "5.1.17763.1", Language: "de-DE", UptimeS: facts.Known[int64](86400),
			Clock:      facts.Unknown[facts.Clock]("the server did not report it"),
			Interfaces: []facts.Interface{{Index: 4, Name: "Ethernet", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.12/24")}, Profile: "domain"}},
			Listeners:  facts.Known([]facts.Listener{{Address: netip.MustParseAddrPort("0.0.0.0:4444"), PID: 1988, Process: "Repository"}}),
			Services:   facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService", State: "Running", Start: "Auto", PID: 1988, Path: `C:\Program Files\Qlik\Sense\Repository\Repository.exe`}}),
			Releases:   facts.Known([]string{"Qlik Sense 1.0.2"}), State: facts.Known(facts.CertificatesNotInstalled),
			Certificates: facts.Known([]facts.Certificate{{Store: "root", Subject: "CN=qs-old.corp.example-CA", Issuer: "CN=qs-old.corp.example-CA",
				Thumbprint: "3F9A510C77E0D2B14A68C95D0E1F2A3B4C5D6E7F", NotAfter: time.Date(2035, 3, 1, 0, 0, 0, 0, time.UTC)}}),
			Peers:   []facts.Peer{{Name: "qs-central", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.11")}, Source: netip.MustParseAddr("10.0.0.12")}},
			Missing: []facts.Missing{{Fact: "clock", Why: "the server did not report it"}},
		}},
		record.Planned{
			Changes: []record.PlannedChange{{ID: changeID, Server: "qs-rim1", Action: "add", Service: "repository", Ports: []uint16{4444}, From: []string{"10.0.0.11"},
				Profiles: rule.Profiles(rule.Domain), Why: []string{"qs-central -> qs-rim1 4444 repository"}, PowerShell: "New-NetFirewallRule …", Inverse: "Remove-NetFirewallRule …"}},
			Already: []record.PlannedRelied{relied}, Blocked: []record.PlannedVoid{void}, Requests: []record.PlannedRequest{request}, SHA256: "9f2c41d07ab3", At: at("10:18:43"),
		},
		record.BackOutWritten{Files: []string{"backout/qs-rim1.ps1"}, At: at("10:18:43")},
		judged("10:18:44"),
		record.CommandEnded{At: at("10:18:44")},

		record.CommandStarted{Name: "apply", Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: jdoe, At: at("10:20:10.114")},
		record.StageStarted{Stage: "connect", At: at("10:20:11")},
	)
	events = append(events, connected("10:20:11", "10:20:12")...)
	events = append(events,
		record.Replanned{Already: []record.PlannedRelied{relied}, Blocked: []record.PlannedVoid{void}, Requests: []record.PlannedRequest{request}, Unapproved: []record.PlannedChange{}, At: at("10:20:13")},
		record.Approved{How: "digest", Value: "9f2c41d07ab3", At: at("10:20:14")},
		record.ChangeStarted{ID: changeID, Server: "qs-rim1", Ports: []uint16{4444}, At: at("10:20:15")},
		record.ChangeEnded{ID: changeID, Server: "qs-rim1", State: record.Done, After: &after, At: at("10:20:16")},
		record.ChangesInForce{Server: "qs-rim1", Live: facts.Known(true), At: at("10:20:17")},
		proved(proof.AfterApply, "10:20:20", func(p *proof.Proof) {
			p.Verdict, p.Level, p.Seen, p.Target.SeenFrom = proof.Service, facts.Proven, "Repository answered", "10.0.0.11:50112"
		}),
		judged("10:20:20"),
		record.CommandEnded{At: at("10:20:21")},

		record.CommandStarted{Name: "join", Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: jdoe, At: at("10:24:00")},
		record.StageStarted{Stage: "connect", At: at("10:24:01")},
	)
	events = append(events, connected("10:24:01", "10:24:02")...)
	events = append(events, record.StageStarted{Stage: "join", At: at("10:24:04")})
	events = append(events, joined("qs-rim1")...)
	events = append(events,
		judged("10:26:30"),
		record.CommandEnded{At: at("10:26:31")},

		record.CommandStarted{Name: "verify", Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: jdoe, At: at("10:30:00")},
		record.StageStarted{Stage: "prove", At: at("10:30:04")},
	)
	events = append(events, connected("10:30:01", "10:30:01")...)
	events = append(events,
		proved(proof.Verify, "10:30:12", func(p *proof.Proof) {
			p.Verdict, p.Level, p.Seen = proof.Dropped, facts.Proven, "no answer in 4.0 s; qs-rim1 saw nothing of it"
			p.Dialler = &proof.Dialler{StartedAt: at("10:30:05"), MS: 4000, Code: 10060}
			p.Cause, p.Owner, p.Remedy = text("not seen at qs-rim1"), text("the network team"), text("open TCP 4444 from 10.0.0.11 to 10.0.0.12")
		}),
		judged("10:30:12"),
		record.CommandEnded{At: at("10:30:13")},

		record.CommandStarted{Name: "backout", Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: record.Operator{User: `CORP\asmith`, Host: "ADM-WS-02"}, At: at("11:05:00")},
	)
	events = append(events, connected("11:05:01", "11:05:02")...)
	return append(events,
		record.StageStarted{Stage: "backout", At: at("11:05:04")},
		record.RemovalStarted{ID: changeID, Server: "qs-rim1", Stored: stored, At: at("11:05:05")},
		record.RemovalEnded{ID: changeID, Server: "qs-rim1", State: record.Removed, At: at("11:05:06")},
		judged("11:05:06"),
		record.CommandEnded{At: at("11:05:07")},
	)
}

// joined takes a rim that runs no proxy into the site, with the help of the repository service.
func joined(rim string) []record.Event {
	events := []record.Event{record.JoinStarted{Rim: rim, QRS: "qs-central.corp.example:4242", At: at("10:24:05"), Certificate: &record.ClientCertificate{
		Subject: "CN=QlikClient", SHA256: "b1946ac92492d2347c6235b4d2611184f0e4c2b5a6d7980f1e2d3c4b5a697887", NotAfter: time.Date(2036, 1, 10, 12, 30, 0, 0, time.UTC),
	}}}
	for _, s := range []struct {
		id, guide, title string
		state            record.StepState
		seen, from, to   string
	}{
		{"node", "1-3", "create the node", record.StepDone, "created with the host name " + rim + ".corp.example", "10:24:05", "10:24:06"},
		{"certificate", "4-5", "send the certificate", record.StepDone, "qs-central has sent the certificate to port 4444 of " + rim + " and given a one-time password", "10:24:06", "10:24:09"},
		{"unlock", "6-7", "unlock the certificate", record.StepDone, rim + " answered that it is successfully unlocked", "10:24:09", "10:24:12"},
		{"running", "8", "wait until it runs", record.StepDone, "it runs with certificates; the site says that its services run; every port is listened on", "10:24:12", "10:26:28"},
		{"proxy", "9", "let it serve browsers", record.StepNeedless, rim + " runs no proxy", "10:26:28", "10:26:28.5"},
	} {
		events = append(events, record.StepStarted{Rim: rim, Step: s.id, Guide: s.guide, Title: s.title, At: at(s.from)},
			record.StepEnded{Rim: rim, Step: s.id, State: s.state, Seen: s.seen, At: at(s.to)})
	}
	return events
}

// applied is oneChange up to the end of apply.
func applied() []record.Event {
	events := oneChange()
	ended := 0
	for i, e := range events {
		if _, ok := e.(record.CommandEnded); ok {
			ended++
		}
		if ended == 2 {
			return slices.Clone(events[:i+1])
		}
	}
	panic("oneChange has no apply")
}

func fold(events ...record.Event) record.Record {
	var r record.Record
	for _, e := range events {
		r.Apply(e)
	}
	return r
}

// TestFold: the events of a run fold into exactly the record that was written by hand.
func TestFold(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/one-change.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := reports.JSON(fold(oneChange()...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the record differs (-want +got):\n%s", diff)
	}
}

// TestReplay: the journal gives the same record again, also when a crash cut its last line off.
func TestReplay(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	j, err := record.Create(runs, "finance-bi-20261124-1018")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range oneChange() {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := reports.JSON(fold(oneChange()...))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(j.Dir(), "journal.jsonl")
	for _, cut := range []string{"", `{"event":"proved","data":{"pro`} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, cut...), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := record.Replay(j.Dir())
		if err != nil {
			t.Fatal(err)
		}
		got, err := reports.JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("cut %q: the replayed record differs:\n%s", cut, cmp.Diff(string(want), string(got)))
		}
	}
}

func TestEveryEventHasAKind(t *testing.T) {
	t.Parallel()
	for _, e := range oneChange() {
		b, err := record.EncodeEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := record.DecodeEvent(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := record.EncodeEvent(back)
		if err != nil || !bytes.Equal(b, again) || record.Kind(e) == "" {
			t.Errorf("%T does not survive the journal:\n%s\n%s", e, b, again)
		}
	}
	if _, err := record.DecodeEvent([]byte(`{"event":"from_the_future","data":{}}`)); !errors.Is(err, record.ErrNewer) {
		t.Errorf("an unknown event: %v", err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	runs := filepath.Join(t.TempDir(), "new")
	j, err := record.Create(runs, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := record.Create(runs, "a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second run of that name: %v; want fs.ErrExist", err)
	}
	if err := j.WriteFile("backout/x.ps1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(j.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			t.Errorf("%s has mode %v; it is for its owner alone", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record.Replay(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not the folder of a run") {
		t.Errorf("Replay of another folder: %v", err)
	}
}

// TestExitCode: the first that holds of 7 1 2 130 6 4 3 5 0.
func TestExitCode(t *testing.T) {
	t.Parallel()
	base := applied()
	all := func(v proof.Verdict) []record.Event {
		var events []record.Event
		for _, f := range []struct {
			from, to string
			port     uint16
		}{{"qs-central", "qs-rim1", 4241}, {"qs-central", "qs-rim1", 4242}, {"qs-central", "qs-rim1", 4444}, {"qs-rim1", "qs-central", 4241}, {"qs-rim1", "qs-central", 4242}} {
			p := proof.Proof{Phase: proof.AfterApply, From: f.from, To: f.to, Port: f.port, Verdict: v, Level: facts.Proven, At: at("10:20:20")}
			p.ID = "after_apply:" + f.from + ":" + f.to + ":" + map[uint16]string{4241: "4241", 4242: "4242", 4444: "4444"}[f.port]
			events = append(events, record.Proved{Proof: p})
		}
		return events
	}
	finding := func(v checks.Verdict) record.Event {
		return record.Judged{Findings: []checks.Finding{{Check: "x", Verdict: v}}}
	}
	failed := record.ServerFailed{Server: "qs-rim1", Stage: "connect"}
	two := func(second record.ChangeState) []record.Event {
		events := slices.Clone(base)
		for i, e := range events {
			if p, ok := e.(record.Planned); ok {
				p.Changes = append(p.Changes, record.PlannedChange{ID: "preflight-2", Server: "qs-rim1"})
				events[i] = p
			}
		}
		if second != "" {
			events = append(events, record.ChangeStarted{ID: "preflight-2", Server: "qs-rim1"})
			if second != record.Started {
				events = append(events, record.ChangeEnded{ID: "preflight-2", Server: "qs-rim1", State: second})
			}
		}
		return append(events, all(proof.Service)...)
	}
	for _, test := range []struct {
		name    string
		events  []record.Event
		outcome record.Outcome
		want    int
	}{
		{"all proven", append(all(proof.Service), finding(checks.Pass)), "", 0},
		{"a warning", append(all(proof.Translated), finding(checks.Warn)), "", 0},
		{"no check was evaluated", append(all(proof.Service), record.Judged{}), "", 5},
		{"a flow was not tested", []record.Event{finding(checks.Pass)}, "", 5},
		{"a finding is unknown", append(all(proof.Service), finding(checks.Unknown)), "", 5},
		{"a flow is dropped, no finding says so", append(all(proof.Dropped), finding(checks.Pass)), "", 3},
		{"a finding fails and one flow is not tested", []record.Event{finding(checks.Fail)}, "", 3},
		{"no connection, before a failed check", []record.Event{failed, finding(checks.Fail)}, "", 4},
		{"drift before no connection", []record.Event{failed}, record.Drift, 6},
		{"cancelled", append(all(proof.Service), finding(checks.Pass)), record.Cancelled, 130},
		{"internal", append(all(proof.Service), finding(checks.Pass)), record.Internal, 1},
		{"one of two rules failed", append(two(record.Failed), finding(checks.Fail)), "", 7},
		{"one of two rules was never tried", append(two(""), finding(checks.Fail)), record.Cancelled, 7},
		{"one of two rules is in doubt", two(record.InDoubt), record.Internal, 7},
		{"killed while the second was added", two(record.Started), "", 7},
		{"killed while the only one was added", []record.Event{record.ChangeStarted{ID: changeID, Server: "qs-rim1"}}, "", 7},
		{"what one end alone saw is not proven", append(observed(all(proof.Service)), finding(checks.Pass)), "", 5},
		{"an inspection failed", []record.Event{record.ServerFailed{Server: "qs-rim1", Stage: "inspect"}, finding(checks.Unknown)}, "", 5},
		{"both are in", append(two(record.There), finding(checks.Pass)), "", 0},
	} {
		events := append(append([]record.Event{}, base...), test.events...)
		r := fold(append(events, record.CommandEnded{Outcome: test.outcome})...)
		if r.Verdict.ExitCode != test.want || *r.Run.Commands[1].ExitCode != test.want {
			t.Errorf("%s: exit code %d, want %d (%+v)", test.name, r.Verdict.ExitCode, test.want, r.Verdict)
		}
	}
}

// TestExitCodeByCommand: a plan is judged by whether its changes mend every failure, a back-out by the undoing alone.
func TestExitCodeByCommand(t *testing.T) {
	t.Parallel()
	change := func(id, server string) record.PlannedChange {
		return record.PlannedChange{ID: id, Server: server, Service: "repository", Ports: []uint16{4444}}
	}
	start := func(commands ...string) []record.Event {
		events := []record.Event{oneChange()[0]}
		for _, c := range commands {
			events = append(events, record.CommandEnded{}, record.CommandStarted{Name: c})
		}
		return events
	}
	planned := record.Planned{Changes: []record.PlannedChange{change("a", "qs-central"), change("b", "qs-rim1")}, SHA256: "9f2c"}
	looked := record.Planned{Changes: planned.Changes}
	found := func(check string, v checks.Verdict) record.Event {
		return record.Judged{Findings: []checks.Finding{{Check: check, Verdict: v}}}
	}
	done := func(id, server string) record.Event {
		return record.ChangeEnded{ID: id, Server: server, State: record.Done}
	}
	both := slices.Clip(append(start("apply"), planned, done("a", "qs-central"), done("b", "qs-rim1"), record.CommandEnded{}, record.CommandStarted{Name: "backout"}))
	gone := func(id, server string, state record.RemovalState) record.Event {
		return record.RemovalEnded{ID: id, Server: server, State: state}
	}
	dropped := record.Proved{Proof: proof.Proof{ID: "baseline:qs-central:qs-rim1:4444", Phase: proof.Baseline, From: "qs-central", To: "qs-rim1", Port: 4444, Verdict: proof.Dropped}}
	lost := record.ServerFailed{Server: "qs-rim1", Stage: "connect"}
	pass := found("rim.state", checks.Pass)
	for _, test := range []struct {
		name    string
		events  []record.Event
		outcome record.Outcome
		want    int
		summary string
	}{
		{"plan mends what is missing", append(start("plan"), planned, dropped, found("firewall.rule-missing", checks.Fail)), "", 0, "2 rules to add"},
		{"plan does not mend anything else", append(start("plan"), planned, found("firewall.rule-blocked", checks.Fail)), "", 3, "1 check failed; 2 rules to add"},
		{"plan that was not written mends nothing", append(start("plan"), looked, found("firewall.rule-missing", checks.Fail)), "", 3, "1 check failed; 2 rules to add"},
		{"plan does not know", append(start("plan"), planned, found("server.readable", checks.Unknown)), "", 5, "2 rules to add"},
		{"plan did not reach a server", append(start("plan"), lost, found("winrm.sign-in", checks.Fail)), "", 4, "1 check failed; 0 rules to add"},
		{"check mends nothing", append(start("check"), looked, found("firewall.rule-missing", checks.Fail)), "", 3, "1 check failed; 0 of 5 flows proven, 5 not tested"},
		{"check did not reach a server", append(start("check"), looked, lost, pass), "", 4, "0 of 5 flows proven, 5 not tested"},
		{"apply finds drift", append(start("plan", "apply"), planned, record.Replanned{Unapproved: []record.PlannedChange{change("c", "qs-rim1")}}, pass), record.Drift, 6, "0 of 5 flows proven, 5 not tested"},
		{"apply finds drift with one rule in", append(start("apply"), planned, done("a", "qs-central"), pass), record.Drift, 7, "0 of 5 flows proven, 5 not tested"},
		{"verify after half an apply", append(start("apply"), planned, done("a", "qs-central"), record.CommandStarted{Name: "verify"}, pass), "", 7, "0 of 5 flows proven, 5 not tested"},
		{"what is not needed any more counts as in", append(start("apply"), planned, done("a", "qs-central"), record.ChangeEnded{ID: "b", Server: "qs-rim1", State: record.NotNeeded}, pass), "", 5, "0 of 5 flows proven, 5 not tested"},
		{"what would do nothing does not", append(start("apply"), planned, done("a", "qs-central"), record.ChangeEnded{ID: "b", Server: "qs-rim1", State: record.Void}, pass), "", 7, "0 of 5 flows proven, 5 not tested"},
		{"backout takes all back", append(both, dropped, gone("a", "qs-central", record.Removed), gone("b", "qs-rim1", record.Absent), found("x", checks.Fail)), "", 0, "1 rule taken back, 1 not there any more"},
		{"backout takes one back", append(both, gone("a", "qs-central", record.Removed), gone("b", "qs-rim1", record.Differs)), "", 7, "1 of 2 rules taken back"},
		{"backout is cut short", append(both, gone("a", "qs-central", record.Removed), record.RemovalStarted{ID: "b", Server: "qs-rim1"}), record.Cancelled, 7, "1 of 2 rules taken back"},
		{"backout is not confirmed", both, record.Misused, 2, "0 of 2 rules taken back"},
		{"backout is cancelled before anything", both, record.Cancelled, 130, "0 of 2 rules taken back"},
		{"backout finds both changed", append(both, gone("a", "qs-central", record.Differs), gone("b", "qs-rim1", record.Differs)), "", 6, "0 of 2 rules taken back"},
		{"backout reaches no server", append(both, lost, gone("a", "qs-central", record.NotTried), gone("b", "qs-rim1", record.NotTried)), "", 4, "0 of 2 rules taken back"},
		{"backout is refused by the servers", append(both, gone("a", "qs-central", record.NotTaken), gone("b", "qs-rim1", record.NotTaken)), "", 3, "0 of 2 rules taken back"},
		{"backout of nothing", append(start("plan", "backout"), planned), "", 0, "nothing to take back"},
		{"usage comes after partly", append(both, gone("a", "qs-central", record.Removed)), record.Misused, 7, "1 of 2 rules taken back"},
	} {
		r := fold(append(slices.Clone(test.events), record.CommandEnded{Outcome: test.outcome})...)
		if r.Verdict.ExitCode != test.want || r.Verdict.Summary != test.summary {
			t.Errorf("%s: exit code %d, want %d; summary %q, want %q", test.name, r.Verdict.ExitCode, test.want, r.Verdict.Summary, test.summary)
		}
	}
}

// TestReplanned: planning again says how the servers are now; the plan that was approved stays what it was.
func TestReplanned(t *testing.T) {
	t.Parallel()
	before := fold(applied()...)
	again := record.Replanned{
		Already: []record.PlannedRelied{{Server: "qs-rim1", Port: 4444}}, Blocked: []record.PlannedVoid{{Server: "qs-rim1", Port: 4241}},
		Requests: []record.PlannedRequest{{ID: "preflight-3"}}, Unapproved: []record.PlannedChange{{ID: "preflight-4", Server: "qs-rim1"}},
	}
	r := fold(append(applied(), again)...)
	want := record.Plan{Changes: before.Plan.Changes, Already: again.Already, Blocked: again.Blocked, Requests: again.Requests, Unapproved: again.Unapproved}
	if diff := cmp.Diff(want, r.Plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if r.Change.PlanSHA256 != before.Change.PlanSHA256 {
		t.Errorf("digest %q, want that of the approved plan %q", r.Change.PlanSHA256, before.Change.PlanSHA256)
	}
}

// TestSettled: what became of a change that nobody began, because it need not or must not be made any more.
func TestSettled(t *testing.T) {
	t.Parallel()
	planned := []record.Event{oneChange()[0], record.CommandStarted{Name: "apply"}, record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-rim1"}}}}
	for _, state := range []record.ChangeState{record.There, record.NotNeeded, record.Void} {
		r := fold(append(planned, record.ChangeEnded{ID: "a", Server: "qs-rim1", State: state, Error: "why", At: at("10:20:16")})...)
		if len(r.Changes) != 1 {
			t.Fatalf("%s: changes = %+v; want one", state, r.Changes)
		}
		if c := r.Changes[0]; c.State != state || c.Error != "why" || c.InForce.OK() || !c.StartedAt.Equal(at("10:20:16")) || !c.EndedAt.Equal(at("10:20:16")) {
			t.Errorf("%s: %+v", state, c)
		}
	}

	// A change whose end was not seen, and that is found in place by the next command, began when it began.
	after := stored
	r := fold(append(planned, record.ChangeStarted{ID: "a", Server: "qs-rim1", At: at("10:20:15")}, record.CommandStarted{Name: "apply"},
		record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Done, After: &after, At: at("10:40:00")})...)
	if c := r.Changes[0]; len(r.Changes) != 1 || c.State != record.Done || !c.StartedAt.Equal(at("10:20:15")) || *c.After != stored {
		t.Errorf("found in place: %+v", r.Changes)
	}

	// A change that failed and is tried again begins anew: nothing of the first try is left.
	r = fold(append(planned, record.ChangeStarted{ID: "a", Server: "qs-rim1"}, record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Failed, Error: "access is denied"},
		record.ChangeStarted{ID: "a", Server: "qs-rim1", At: at("10:40:00")})...)
	if c := r.Changes[0]; len(r.Changes) != 1 || c.State != record.Started || c.Error != "" || c.EndedAt != nil {
		t.Errorf("tried again: %+v", r.Changes)
	}
}

// TestRemovals: each try to take a change back is kept; the way back is done when nothing of the run is left.
func TestRemovals(t *testing.T) {
	t.Parallel()
	events := []record.Event{
		oneChange()[0], record.CommandStarted{Name: "apply"},
		record.Planned{SHA256: "9f2c", Changes: []record.PlannedChange{{ID: "a", Server: "qs-rim1", Ports: []uint16{443}}, {ID: "b", Server: "qs-rim1", Ports: []uint16{4444}}, {ID: "c", Server: "qs-rim1"}}},
		record.BackOutWritten{Files: []string{"backout/qs-rim1.ps1"}},
		record.ChangeEnded{ID: "a", Server: "qs-rim1", State: record.Done}, record.ChangeEnded{ID: "b", Server: "qs-rim1", State: record.InDoubt},
		record.ChangeEnded{ID: "c", Server: "qs-rim1", State: record.There}, record.CommandEnded{}, record.CommandStarted{Name: "backout"},
	}
	found := "v2.29|changed|"
	for _, step := range []struct {
		name   string
		events []record.Event
		back   string
		states []record.RemovalState
		a, b   record.ChangeState
	}{
		{"ready", nil, "ready", nil, record.Done, record.InDoubt},
		{"the intent", []record.Event{record.RemovalStarted{ID: "b", Server: "qs-rim1", Stored: stored, At: at("11:00:00")}}, "incomplete", []record.RemovalState{record.Removing}, record.Done, record.InDoubt},
		{"its end", []record.Event{record.RemovalEnded{ID: "b", Server: "qs-rim1", State: record.Absent, At: at("11:00:01")}}, "incomplete", []record.RemovalState{record.Absent}, record.Done, record.TakenBack},
		{"another differs", []record.Event{record.RemovalStarted{ID: "a", Server: "qs-rim1"}, record.RemovalEnded{ID: "a", Server: "qs-rim1", State: record.Differs, Found: &found}}, "incomplete",
			[]record.RemovalState{record.Absent, record.Differs}, record.Done, record.TakenBack},
		{"the next command reaches nobody", []record.Event{record.CommandEnded{}, record.CommandStarted{Name: "backout"}, record.RemovalEnded{ID: "a", Server: "qs-rim1", State: record.NotTried, Error: "qs-rim1 could not be signed in to"}}, "incomplete",
			[]record.RemovalState{record.Absent, record.Differs, record.NotTried}, record.Done, record.TakenBack},
		{"the next is killed", []record.Event{record.CommandStarted{Name: "backout"}, record.RemovalStarted{ID: "a", Server: "qs-rim1"}}, "incomplete",
			[]record.RemovalState{record.Absent, record.Differs, record.NotTried, record.Removing}, record.Done, record.TakenBack},
		{"the last takes it back", []record.Event{record.CommandStarted{Name: "backout"}, record.RemovalStarted{ID: "a", Server: "qs-rim1"}, record.RemovalEnded{ID: "a", Server: "qs-rim1", State: record.Removed}}, "done",
			[]record.RemovalState{record.Absent, record.Differs, record.NotTried, record.Removed}, record.TakenBack, record.TakenBack},
	} {
		events = append(events, step.events...)
		r := fold(events...)
		var states []record.RemovalState
		for _, m := range r.BackOut.Removals {
			states = append(states, m.State)
		}
		if r.BackOut.State != step.back || !slices.Equal(states, step.states) || r.Changes[0].State != step.a || r.Changes[1].State != step.b || r.Changes[2].State != record.There {
			t.Errorf("%s: back-out %s, want %s; removals %v, want %v; changes %+v", step.name, r.BackOut.State, step.back, states, step.states, r.Changes)
		}
	}
	m := fold(events...).BackOut.Removals
	if b := m[0]; b.Was != stored || !slices.Equal(b.Ports, []uint16{4444}) || !b.StartedAt.Equal(at("11:00:00")) || !b.EndedAt.Equal(at("11:00:01")) {
		t.Errorf("the first removal: %+v", b)
	}
	if m[1].Found == nil || *m[1].Found != found {
		t.Errorf("what is still there is not kept: %+v", m[1])
	}
}

// TestVerify: a verify compares each flow with its latest proof before the command; no other command compares.
func TestVerify(t *testing.T) {
	t.Parallel()
	proved := func(phase proof.Phase, port string, clock string, v proof.Verdict, cause string) record.Event {
		p := proof.Proof{ID: string(phase) + ":qs-central:qs-rim1:" + port, Phase: phase, From: "qs-central", To: "qs-rim1", Service: "repository", Verdict: v, At: at(clock)}
		p.Port = map[string]uint16{"4241": 4241, "4444": 4444}[port]
		if cause != "" {
			p.Cause = &cause
		}
		return record.Proved{Proof: p, At: p.At}
	}
	base := []record.Event{oneChange()[0], record.CommandStarted{Name: "apply"}}
	verify := record.CommandStarted{Name: "verify"}
	for _, test := range []struct {
		was      proof.Verdict
		wasCause string
		now      proof.Verdict
		nowCause string
		want     string
	}{
		{proof.Answered, "", proof.Service, "", "unchanged"},
		{proof.Service, "", proof.Translated, "", "unchanged"},
		{proof.Service, "", proof.Dropped, "host firewall", "new"},
		{proof.Refused, "", proof.Service, "", "fixed"},
		{proof.Dropped, "host firewall", proof.Dropped, "host firewall", "unchanged"},
		{proof.Dropped, "host firewall", proof.Dropped, "not seen at the server", "changed cause"},
		{proof.Dropped, "", proof.Refused, "", "changed cause"},
		{proof.NotTested, "", proof.Service, "", "not comparable"},
		{proof.Service, "", proof.NotTested, "", "not comparable"},
	} {
		r := fold(append(slices.Clone(base), proved(proof.AfterApply, "4444", "10:20:20", test.was, test.wasCause), record.CommandEnded{}, verify,
			proved(proof.Verify, "4444", "10:30:00", test.now, test.nowCause))...)
		want := []record.Compared{{From: "qs-central", To: "qs-rim1", Port: 4444, Service: "repository", Was: test.was, Now: test.now, Change: test.want}}
		if diff := cmp.Diff(want, r.Verified); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.was, test.now, diff)
		}
	}

	// A second verify compares with the first, one entry for each flow; a flow that was never tried has none.
	r := fold(append(base, proved(proof.AfterApply, "4444", "10:20:20", proof.Service, ""), verify, proved(proof.Verify, "4444", "10:30:00", proof.Dropped, ""),
		proved(proof.Verify, "4241", "10:30:00", proof.Service, ""), verify, proved(proof.Verify, "4444", "10:40:00", proof.Service, ""))...)
	if len(r.Verified) != 1 || r.Verified[0].Was != proof.Dropped || r.Verified[0].Change != "fixed" {
		t.Errorf("the second verify: %+v", r.Verified)
	}
	if r = fold(append(base, proved(proof.Baseline, "4444", "10:20:11", proof.Dropped, ""), proved(proof.AfterApply, "4444", "10:20:20", proof.Service, ""))...); len(r.Verified) != 0 {
		t.Errorf("apply compared: %+v", r.Verified)
	}
}

// TestLatest: the proof of the last phase counts, whatever the order in which they came.
func TestLatest(t *testing.T) {
	t.Parallel()
	p := proof.Proof{ID: "baseline:qs-central:qs-rim1:4444", Phase: proof.Baseline, From: "qs-central", To: "qs-rim1", Port: 4444, Verdict: proof.Dropped}
	r := fold(append(applied(), record.Proved{Proof: p})...)
	if got := r.Latest(); len(got) != 1 || got[0].Verdict != proof.Service {
		t.Errorf("Latest = %+v; want the one after apply", got)
	}
}

// observed makes proofs that one end alone saw.
func observed(events []record.Event) []record.Event {
	for i, e := range events {
		p := e.(record.Proved)
		p.Proof.Level = facts.Observed
		events[i] = p
	}
	return events
}

// TestSimulated: a run is simulated only if every server that was reached says so.
func TestSimulated(t *testing.T) {
	t.Parallel()
	base := oneChange()[:1]
	yes, no := record.ServerReached{Server: "qs-rim1", Simulated: true}, record.ServerReached{Server: "qs-central", Simulated: false}
	for _, test := range []struct {
		events []record.Event
		want   bool
	}{{nil, false}, {[]record.Event{yes}, true}, {[]record.Event{no}, false}, {[]record.Event{yes, no}, false}, {[]record.Event{no, yes}, false}} {
		if r := fold(append(base[:1:1], test.events...)...); r.Run.Simulated != test.want {
			t.Errorf("%+v: simulated %v, want %v", test.events, r.Run.Simulated, test.want)
		}
	}
}

// TestChanges: changes stand in the order of the plan, whatever the order in which servers answer, and a server's word
// on what is in force is about its own.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := fold(oneChange()[0], record.Planned{Changes: []record.PlannedChange{{ID: "a", Server: "qs-central"}, {ID: "b", Server: "qs-rim1"}}},
		record.ChangeStarted{ID: "b", Server: "qs-rim1"}, record.ChangeEnded{ID: "b", Server: "qs-rim1", State: record.Done},
		record.ChangeStarted{ID: "a", Server: "qs-central"}, record.ChangeEnded{ID: "a", Server: "qs-central", State: record.Done},
		record.ChangesInForce{Server: "qs-rim1", Live: facts.Known(true)})
	if len(r.Changes) != 2 || r.Changes[0].ID != "a" || r.Changes[1].ID != "b" {
		t.Fatalf("changes = %+v; want them in the plan's order", r.Changes)
	}
	if r.Changes[0].InForce.OK() || !r.Changes[1].InForce.V {
		t.Errorf("in force: %+v %+v; only the rim has said so", r.Changes[0].InForce, r.Changes[1].InForce)
	}
}

// TestAppendFails: after a failed append nothing more is written, and what was written can be replayed.
func TestAppendFails(t *testing.T) {
	t.Parallel()
	j, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(oneChange()[0]); err != nil {
		t.Fatal(err)
	}
	j.Close()
	first := j.Append(oneChange()[1])
	if second := j.Append(oneChange()[2]); first == nil || second == nil {
		t.Errorf("Append to a closed journal: %v, %v", first, second)
	}
	if r, err := record.Replay(j.Dir()); err != nil || r.Run.ID == "" {
		t.Errorf("Replay = %v", err)
	}
}

// TestForced: what a way back depends on is forced to disk.
func TestForced(t *testing.T) {
	t.Parallel()
	for _, e := range oneChange() {
		kind := record.Kind(e)
		want := slices.Contains(strings.Fields("run_started planned replanned approved back_out_written change_started change_ended removal_started removal_ended join_started step_started step_ended command_ended"), kind)
		if record.MustBeForced(e) != want {
			t.Errorf("%s: forced %v, want %v", kind, !want, want)
		}
	}
}
