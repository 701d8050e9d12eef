package checks_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/site"
)

var lab = site.Site{Name: "lab", Release: "1.0.2", Nodes: []site.Node{
	{Name: "c", Role: site.Central, Services: []site.Service{site.Repository}},
	{Name: "r", Role: site.Rim, Services: []site.Service{site.Repository}},
}}

// rim is a rim that waits for its certificates.
func rim() facts.Server {
	return facts.Server{
		Services: facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService"}}), Releases: facts.Known([]string{"Qlik Sense 1.0.2"}),
		State: facts.Known(facts.CertificatesNotInstalled),
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range checks.Catalogue {
		if seen[c.ID] {
			t.Errorf("two checks are called %s", c.ID)
		}
		seen[c.ID] = true
		page, err := checks.Page(c.ID)
		if err != nil || !strings.HasPrefix(page, "# "+c.ID+"\n") {
			t.Errorf("%s has no page that begins with its name: %v", c.ID, err)
		}
	}
	if _, err := checks.Page("../checks"); err == nil {
		t.Error("a check of that name has no page")
	}
}

// TestVerdicts: facts in, the verdict of one check on one server out.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	unread := rim()
	unread.Missing = []facts.Missing{{Fact: "rules-policy", Why: "access is denied"}}
	state := func(v facts.Value[facts.ServiceState]) facts.Server {
		s := rim()
		s.State = v
		return s
	}
	proofs := func(verdicts ...proof.Verdict) (all []proof.Proof) {
		for _, v := range verdicts {
			all = append(all, proof.Proof{From: "c", To: "r", Port: 4444, Verdict: v, Level: facts.Proven})
		}
		return all
	}
	applied := func(v facts.Value[bool], err string) []checks.Applied {
		return []checks.Applied{{Server: "r", Ports: []uint16{4444}, Added: facts.Known(true), InForce: facts.Known(true)}, {Server: "r", Ports: []uint16{443}, Added: facts.Known(true), InForce: v, Error: err}}
	}
	blocked := map[string][]checks.Blocked{"r": {{Port: 4444, From: "10.0.0.11", Why: "the Block rule X beats every Allow rule"}}}
	for _, test := range []struct {
		name  string
		check string
		in    checks.Input
		want  checks.Verdict // "" for no finding on that server
		says  string
	}{
		{"signed in", "winrm.sign-in", checks.Input{}, checks.Pass, ""},
		{"not signed in", "winrm.sign-in", checks.Input{SignedIn: map[string]bool{}, Failures: map[string]checks.Failure{"r": {Seen: "refused", Remedy: "winrm quickconfig"}}}, checks.Fail, "refused"},
		{"never came to it", "winrm.sign-in", checks.Input{SignedIn: map[string]bool{}, Servers: map[string]facts.Server{}}, checks.Unknown, "not tried"},
		{"signed in, but the inspection failed", "winrm.sign-in", checks.Input{Failures: map[string]checks.Failure{"r": {Seen: "killed"}}}, checks.Pass, ""},

		{"everything was read", "server.readable", checks.Input{}, checks.Pass, ""},
		{"the inspection failed", "server.readable", checks.Input{Failures: map[string]checks.Failure{"r": {Seen: "killed"}}}, checks.Unknown, "killed"},
		{"a section was not read", "server.readable", checks.Input{Servers: map[string]facts.Server{"r": unread}}, checks.Unknown, "rules-policy (access is denied)"},
		{"never came to inspect it", "server.readable", checks.Input{Servers: map[string]facts.Server{}}, checks.Unknown, "not inspected"},

		{"no rule is missing", "firewall.rule-missing", checks.Input{}, checks.Pass, ""},
		{"rules are missing", "firewall.rule-missing", checks.Input{Missing: map[string][]checks.Missing{"r": {{Ports: []uint16{443, 4243}, From: []string{"10.0.0.11"}}, {Ports: []uint16{443}, From: []string{"10.20.0.0/16"}}}}},
			checks.Fail, "2 ports have no rule that admits 10.0.0.11, 10.20.0.0/16: 443 4243"},
		{"rules that could not be read", "firewall.rule-missing", checks.Input{Servers: map[string]facts.Server{"r": unread}}, checks.Unknown, "access is denied"},
		{"no plan was made", "firewall.rule-missing", checks.Input{Proofs: proofs(proof.Service), Planned: false}, checks.Unknown, "not compared"},
		{"an address is not known", "firewall.rule-missing", checks.Input{Lost: map[string][]ports.Flow{"r": {{From: "c", To: "r", Port: 4444, Service: "repository"}}}}, checks.Unknown, "c -> r 4444"},
		{"blocked", "firewall.rule-missing", checks.Input{Blocked: blocked}, checks.NotApplicable, ""},
		{"blocked", "firewall.rule-blocked", checks.Input{Blocked: blocked}, checks.Fail, "4444 from 10.0.0.11"},
		{"nothing is blocked", "firewall.rule-blocked", checks.Input{}, "", ""},
		{"not inspected", "firewall.rule-missing", checks.Input{Servers: map[string]facts.Server{}}, "", ""},

		{"in force", "firewall.rule-in-force", checks.Input{Applied: applied(facts.Known(true), "")}, checks.Pass, "4444 443"},
		{"void", "firewall.rule-in-force", checks.Input{Applied: applied(facts.Known(false), "")}, checks.Fail, "443"},
		{"nobody said", "firewall.rule-in-force", checks.Input{Applied: applied(facts.Unknown[bool]("COM failed"), "")}, checks.Unknown, "COM failed"},
		{"could not be added", "firewall.rule-in-force", checks.Input{Applied: applied(facts.Known(true), "access is denied")}, checks.Fail, "access is denied"},
		{"in doubt", "firewall.rule-in-force", checks.Input{Applied: []checks.Applied{{Server: "r", Ports: []uint16{443}, Added: facts.Unknown[bool]("cut"), Error: "cut"}}}, checks.Unknown, "in doubt: 443 (cut)"},
		{"refused", "firewall.rule-in-force", checks.Input{Applied: []checks.Applied{{Server: "r", Ports: []uint16{443}, Added: facts.Known(false), Error: "access is denied"}}}, checks.Fail, "not added: 443 (access is denied)"},
		{"nothing was added", "firewall.rule-in-force", checks.Input{}, "", ""},

		{"all flows work", "flow.reachable", checks.Input{Proofs: proofs(proof.Service, proof.Answered)}, checks.Pass, "2 flows are proven"},
		{"one is dropped", "flow.reachable", checks.Input{Proofs: proofs(proof.Service, proof.Dropped)}, checks.Fail, "4444 from c dropped"},
		{"one is blocked at its source", "flow.reachable", checks.Input{Proofs: proofs(proof.BlockedAtSource)}, checks.Fail, "blocked at source"},
		{"translated", "flow.reachable", checks.Input{Proofs: proofs(proof.Translated, proof.Service)}, checks.Warn, "another source address"},
		{"translated and refused", "flow.reachable", checks.Input{Proofs: proofs(proof.Translated, proof.Refused)}, checks.Fail, "refused"},
		{"one was not tested", "flow.reachable", checks.Input{Proofs: proofs(proof.Service, proof.NotTested)}, checks.Unknown, "not proven: 4444 from c"},
		{"one end alone saw it", "flow.reachable", checks.Input{Proofs: []proof.Proof{{From: "c", To: "r", Port: 4444, Verdict: proof.Answered, Level: facts.Observed}}}, checks.Unknown, "not proven"},
		{"none was tried", "flow.reachable", checks.Input{}, "", ""},

		{"waiting", "rim.state", checks.Input{}, checks.Pass, "waiting for certificates"},
		{"running", "rim.state", checks.Input{Servers: map[string]facts.Server{"r": state(facts.Known(facts.Running))}}, checks.Pass, "running with certificates"},
		{"initialising", "rim.state", checks.Input{Servers: map[string]facts.Server{"r": state(facts.Known(facts.Initialising))}}, checks.Warn, "initialising"},
		{"no answer", "rim.state", checks.Input{Servers: map[string]facts.Server{"r": state(facts.Unknown[facts.ServiceState]("refused"))}}, checks.Unknown, "refused"},
		{"not installed", "rim.state", checks.Input{Servers: map[string]facts.Server{"r": {State: facts.Unknown[facts.ServiceState]("refused")}}}, checks.Fail, "not installed"},
		{"services could not be read", "rim.state", checks.Input{Servers: map[string]facts.Server{"r": {State: facts.Unknown[facts.ServiceState]("refused"), Services: facts.Unknown[[]facts.Service]("denied")}}}, checks.Unknown, "refused"},
	} {
		in := test.in
		in.Site = lab
		in.Planned = test.name != "no plan was made"
		if in.SignedIn == nil {
			in.SignedIn = map[string]bool{"c": true, "r": true}
		}
		if in.Servers == nil {
			in.Servers = map[string]facts.Server{"c": {}, "r": rim()}
		}
		all := checks.All(in)
		i := slices.IndexFunc(all, func(f checks.Finding) bool { return f.Check == test.check && f.Server == "r" })
		if i < 0 {
			if test.want != "" {
				t.Errorf("%s: no finding of %s, want %s", test.name, test.check, test.want)
			}
			continue
		}
		f := all[i]
		if f.Verdict != test.want || !strings.Contains(f.Seen, test.says) {
			t.Errorf("%s: %s %q; want %q with %q", test.name, f.Verdict, f.Seen, test.want, test.says)
		}
		if f.Verdict == checks.Fail && (f.Owner == "" || f.Remedy == "" || f.Title == "") && f.Check != "winrm.sign-in" {
			t.Errorf("%s: a failure without an owner, a remedy or a title: %+v", test.name, f)
		}
	}
}
