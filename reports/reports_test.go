package reports_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/reports"
)

var update = flag.Bool("update", false, "write the golden files")

// oneChange is the record that specifies the format.
func oneChange(t *testing.T) (record.Record, string) {
	t.Helper()
	b, err := os.ReadFile("../internal/record/testdata/one-change.json")
	if err != nil {
		t.Fatal(err)
	}
	var r record.Record
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

// TestJSON: a record that was read is written again byte for byte, unknown values included.
func TestJSON(t *testing.T) {
	t.Parallel()
	r, want := oneChange(t)
	got, err := reports.JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// bad makes of the record one in which much went wrong.
func bad(r *record.Record) {
	r.Run.Simulated = true
	r.Servers[0].SignIn, r.Servers[0].Failure = nil, &record.Failure{Stage: "connect", Kind: "refused", Error: "qs-central: connecting: nothing listens on 5986"}
	r.Plan.Changes = append(r.Plan.Changes, record.PlannedChange{ID: "preflight-2", Server: "qs-rim1", Service: "proxy", Ports: []uint16{443, 4144}, From: []string{"any"}, Why: []string{"clients -> qs-rim1 443 proxy"}})
	r.Plan.Changes = append(r.Plan.Changes, record.PlannedChange{ID: "preflight-3", Server: "qs-rim1", Service: "proxy", Ports: []uint16{4243}, From: []string{"10.0.0.11"}, Why: []string{"qs-central -> qs-rim1 4243 proxy"}})
	r.Plan.Blocked = []record.PlannedVoid{{Server: "qs-rim1", Service: "scheduler", Port: 5051, From: "10.0.0.11", Why: "local rules do not count in the Domain profile"}}
	r.Changes[0].InForce = facts.Known(false)
	r.Changes = append(r.Changes, record.Change{ID: "preflight-2", Server: "qs-rim1", State: record.Failed, Error: "access is denied (0x80070005)"})
	r.Proofs = append(r.Proofs, proof.Proof{ID: "baseline:qs-central:qs-rim1:4444", Phase: proof.Baseline, From: "qs-central", To: "qs-rim1", Port: 4444, Verdict: proof.NoName})
	r.Findings = append(r.Findings, checks.Finding{Check: "firewall.rule-in-force", Verdict: checks.Fail, Server: "qs-rim1", Seen: "not in force: 4444", Owner: "you", Remedy: "preflight explain firewall.rule-in-force"},
		checks.Finding{Check: "rim.state", Verdict: checks.Unknown, Server: "qs-rim1", Seen: "port 4444 did not answer"})
	r.Apply(record.CommandEnded{})
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*record.Record){"one-change": func(*record.Record) {}, "bad": bad} {
		r, _ := oneChange(t)
		change(&r)
		got := reports.Text(r)
		file := "testdata/" + name + ".txt"
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
		if r.Run.Simulated != strings.Contains(string(got), "Simulated servers") {
			t.Errorf("%s does not say whether the servers are simulated", file)
		}
	}
}
