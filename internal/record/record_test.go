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

// oneChange is a run with one flow and one change: what testdata/one-change.json says.
func oneChange() []record.Event {
	after := "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=4444|RA4=10.0.0.11|"
	return []record.Event{
		record.RunStarted{RunID: "finance-bi-20261124-1018", Tool: record.Tool{Name: "preflight", Version: "0.1.0", Commit: "1f2e3d"}, At: at("10:20:10.114"), Site: site.Site{
			Name: "finance-bi", Release: "1.0.2", WinRM: site.WinRM{User: `CORP\qs-admin`}, Clients: site.Networks{netip.MustParsePrefix("10.20.0.0/16")},
			Nodes: []site.Node{
				{Name: "qs-central", Role: site.Central, Host: "qs-central.corp.example", Services: []site.Service{site.Repository}},
				{Name: "qs-rim1", Role: site.Rim, Host: "qs-rim1.corp.example", Services: []site.Service{site.Repository}},
			},
		}},
		record.CommandStarted{Name: "apply", Operator: record.Operator{User: `CORP\jdoe`, Host: "ADM-WS-07"}, Ticket: "CHG0031337", At: at("10:20:10.114")},
		record.StageStarted{Stage: "connect", At: at("10:20:11")},
		record.ServerFailed{Server: "qs-central", Stage: "connect", Kind: "refused", Error: "qs-central: connecting: nothing listens on 5986", Hints: []string{"winrm quickconfig -transport:https"}, At: at("10:20:11")},
		record.ServerConnected{Server: "qs-rim1", SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "basic", Transport: "https", Protection: "tls", Identity: "verified"}, MS: 1920, At: at("10:20:12")},
		record.ServerInspected{Server: "qs-rim1", Role: site.Rim, At: at("10:20:13"), Facts: facts.Server{
			Computer: "QS-RIM1", Windows: "10.0.17763.0", PowerShell: "5.1.17763.1", Language: "de-DE", UptimeS: facts.Known[int64](86400),
			Clock:      facts.Unknown[facts.Clock]("the server did not report it"),
			Interfaces: []facts.Interface{{Index: 4, Name: "Ethernet", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.12/24")}, Profile: "domain"}},
			Listeners:  facts.Known([]facts.Listener{{Address: netip.MustParseAddrPort("0.0.0.0:4444"), PID: 1988, Process: "Repository"}}),
			Services:   facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService", State: "Running", Start: "Auto", PID: 1988, Path: `C:\Program Files\Qlik\Sense\Repository\Repository.exe`}}),
			Releases:   facts.Known([]string{"Qlik Sense 1.0.2"}), State: facts.Known(facts.CertificatesNotInstalled),
			Peers:   []facts.Peer{{Name: "qs-central", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.11")}, Source: netip.MustParseAddr("10.0.0.12")}},
			Missing: []facts.Missing{{Fact: "clock", Why: "the server did not report it"}},
		}},
		record.Planned{
			Changes: []record.PlannedChange{{ID: changeID, Server: "qs-rim1", Action: "add", Service: "repository", Ports: []uint16{4444}, From: []string{"10.0.0.11"},
				Profiles: rule.Profiles(rule.Domain), Why: []string{"qs-central -> qs-rim1 4444 repository"}, PowerShell: "New-NetFirewallRule …", Inverse: "Remove-NetFirewallRule …"}},
			Already: []record.PlannedRelied{{Server: "qs-rim1", Service: "repository", Port: 4242, From: "10.0.0.11", By: "{0b7c}", Name: "QS internal", Store: "local",
				Rule: "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4242|Name=QS internal|", Why: "the rule admits 10.0.0.11"}},
			Blocked: []record.PlannedVoid{}, SHA256: "9f2c41d07ab3", At: at("10:20:13"),
		},
		record.Approved{How: "digest", Value: "9f2c41d07ab3", At: at("10:20:14")},
		record.BackOutWritten{Files: []string{"backout/qs-rim1.ps1"}, At: at("10:20:14")},
		record.ChangeStarted{ID: changeID, Server: "qs-rim1", At: at("10:20:15")},
		record.ChangeEnded{ID: changeID, Server: "qs-rim1", State: record.Done, After: &after, At: at("10:20:16")},
		record.ChangesInForce{Server: "qs-rim1", Live: facts.Known(true), At: at("10:20:17")},
		record.ServerReached{Server: "qs-central", At: at("10:20:11")},
		record.ServerReached{Server: "qs-rim1", At: at("10:20:11")},
		record.ServerConnected{Server: "qs-central", SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "basic", Transport: "https", Protection: "tls", Identity: "pinned"}, MS: 2100, At: at("10:20:12")},
		record.Proved{At: at("10:20:20"), Proof: proof.Proof{
			ID: "after_apply:qs-central:qs-rim1:4444", Phase: proof.AfterApply, From: "qs-central", To: "qs-rim1", Protocol: "tcp", Port: 4444, Service: "repository",
			Verdict: proof.Service, Level: facts.Proven, Seen: "Repository answered",
			Dialler: &proof.Dialler{Address: "10.0.0.11:50112", StartedAt: at("10:20:18"), MS: 3},
			Target:  &proof.Targeted{Address: "10.0.0.12:4444", SeenFrom: "10.0.0.11:50112", Owner: "Repository"},
		}},
		record.Judged{At: at("10:20:20"), Findings: []checks.Finding{{Check: "rim.state", Verdict: checks.Pass, Server: "qs-rim1", Title: "each rim waits for its certificates",
			Seen: "the repository service is waiting for certificates", Expected: "waiting for certificates, before the join", Level: facts.Observed}}},
		record.CommandEnded{At: at("10:20:21")},
	}
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
	if _, err := record.DecodeEvent([]byte(`{"event":"from_the_future","data":{}}`)); err == nil || !strings.Contains(err.Error(), "newer preflight") {
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

// TestExitCode: the first that holds of 7 1 130 6 4 3 5 0.
func TestExitCode(t *testing.T) {
	t.Parallel()
	base := oneChange()
	all := func(v proof.Verdict) []record.Event {
		var events []record.Event
		for _, f := range []struct {
			from, to string
			port     uint16
		}{{"qs-central", "qs-rim1", 4241}, {"qs-central", "qs-rim1", 4242}, {"qs-central", "qs-rim1", 4444}, {"qs-rim1", "qs-central", 4241}, {"qs-rim1", "qs-central", 4242}} {
			p := proof.Proof{Phase: proof.AfterApply, From: f.from, To: f.to, Port: f.port, Verdict: v, Level: facts.Proven}
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
		events := append([]record.Event{}, base...)
		p := events[6].(record.Planned)
		p.Changes = append(p.Changes, record.PlannedChange{ID: "preflight-2", Server: "qs-rim1"})
		events[6] = p
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
		if r.Verdict.ExitCode != test.want || *r.Run.Commands[0].ExitCode != test.want {
			t.Errorf("%s: exit code %d, want %d (%+v)", test.name, r.Verdict.ExitCode, test.want, r.Verdict)
		}
	}
}

// TestLatest: the proof of the last phase counts, whatever the order in which they came.
func TestLatest(t *testing.T) {
	t.Parallel()
	p := proof.Proof{ID: "baseline:qs-central:qs-rim1:4444", Phase: proof.Baseline, From: "qs-central", To: "qs-rim1", Port: 4444, Verdict: proof.Dropped}
	r := fold(append(oneChange(), record.Proved{Proof: p})...)
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
		want := slices.Contains(strings.Fields("run_started planned approved back_out_written change_started change_ended command_ended"), kind)
		if record.MustBeForced(e) != want {
			t.Errorf("%s: forced %v, want %v", kind, !want, want)
		}
	}
}
