package checks_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
	with := func(service, start string) facts.Server {
		s := rim()
		s.Services = facts.Known([]facts.Service{{Name: service, Start: start}})
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
	taken := func(gone facts.Value[bool], why string) []checks.TakenBack {
		return []checks.TakenBack{{Server: "r", Ports: []uint16{443, 4144}, Gone: facts.Known(true)}, {Server: "r", Ports: []uint16{4243}, Gone: gone, Why: why}}
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

		{"the services are there", "service.installed", checks.Input{}, checks.Pass, ""},
		{"one is not", "service.installed", checks.Input{Servers: map[string]facts.Server{"r": with("QlikSenseEngineService", "Auto")}}, checks.Fail, "repository of the site file: not installed on r"},
		{"in other letters", "service.installed", checks.Input{Servers: map[string]facts.Server{"r": with("qliksenserepositoryservice", "Manual")}}, checks.Pass, ""},
		{"one is disabled", "service.installed", checks.Input{Servers: map[string]facts.Server{"r": with("QlikSenseRepositoryService", "Disabled")}}, checks.Warn, "repository of the site file: disabled on r"},
		{"Qlik Sense is not installed", "service.installed", checks.Input{Servers: map[string]facts.Server{"r": {}}}, checks.NotApplicable, "rim.state"},
		{"services that could not be read", "service.installed", checks.Input{Servers: map[string]facts.Server{"r": {Services: facts.Unknown[[]facts.Service]("access is denied")}}}, checks.Unknown, "access is denied"},
		{"never came to look", "service.installed", checks.Input{Servers: map[string]facts.Server{}}, "", ""},

		{"no rule is missing", "firewall.rule-missing", checks.Input{}, checks.Pass, ""},
		{"rules are missing", "firewall.rule-missing", checks.Input{Missing: map[string][]checks.Missing{"r": {{Ports: []uint16{443, 4243}, From: []string{"10.0.0.11"}}, {Ports: []uint16{443}, From: []string{"10.20.0.0/16"}}}}},
			checks.Fail, "2 ports have no rule for these sources: 443,4243 from 10.0.0.11; 443 from 10.20.0.0/16"},
		{"rules that could not be read", "firewall.rule-missing", checks.Input{Servers: map[string]facts.Server{"r": unread}}, checks.Unknown, "access is denied"},
		{"no plan was made", "firewall.rule-missing", checks.Input{Proofs: proofs(proof.Service)}, "", ""},
		{"no plan was made", "firewall.rule-missing", checks.Input{Servers: map[string]facts.Server{"r": unread}}, "", ""},
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

		{"a back-out", "backout.complete", checks.Input{BackOut: true, TakenBack: taken(facts.Known(true), "")}, checks.Pass, "taken back: 443,4144 4243"},
		{"a back-out without rules there", "backout.complete", checks.Input{BackOut: true, TakenBack: []checks.TakenBack{{Server: "c", Ports: []uint16{443}, Gone: facts.Known(false)}}}, "", ""},
		{"a rule was changed", "backout.complete", checks.Input{BackOut: true, TakenBack: taken(facts.Known(false), "it was changed since")}, checks.Fail, "not taken back: 4243 (it was changed since)"},
		{"the answer was not seen", "backout.complete", checks.Input{BackOut: true, TakenBack: taken(facts.Unknown[bool]("cut"), "")}, checks.Unknown, "not known whether taken back: 4243 (cut)"},
		{"one is there, one in doubt", "backout.complete", checks.Input{BackOut: true, TakenBack: append(taken(facts.Known(false), "x"), taken(facts.Unknown[bool]("cut"), "")...)}, checks.Fail, "not known whether taken back: 4243 (cut)"},
		{"no back-out", "backout.complete", checks.Input{TakenBack: taken(facts.Known(false), "x")}, "", ""},

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

// findings are what one check says of one server.
func findings(in checks.Input, check, server string) []checks.Finding {
	if in.Site.Name == "" {
		in.Site = lab
	}
	return slices.DeleteFunc(checks.All(in), func(f checks.Finding) bool { return f.Check != check || f.Server != server })
}

// TestBackOutOnly: a back-out is judged by itself, whatever else there would be to say.
func TestBackOutOnly(t *testing.T) {
	t.Parallel()
	in := checks.Input{
		Site: lab, Planned: true, BackOut: true, SignedIn: map[string]bool{"c": true, "r": true}, Servers: map[string]facts.Server{"c": {}, "r": rim()},
		Proofs:    []proof.Proof{{From: "c", To: "r", Port: 4444, Verdict: proof.Dropped}},
		Applied:   []checks.Applied{{Server: "r", Added: facts.Known(false)}},
		Missing:   map[string][]checks.Missing{"r": {{Ports: []uint16{443}}}},
		Blocked:   map[string][]checks.Blocked{"r": {{Port: 443}}},
		TakenBack: []checks.TakenBack{{Server: "r", Ports: []uint16{443}, Gone: facts.Known(true)}},
	}
	var got []string
	for _, f := range checks.All(in) {
		got = append(got, f.Check+" "+f.Server+" "+string(f.Verdict))
	}
	want := []string{"winrm.sign-in c pass", "winrm.sign-in r pass", "server.readable c pass", "server.readable r pass", "backout.complete r pass"}
	if !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}

func TestRuleMissingRemedy(t *testing.T) {
	t.Parallel()
	const digest = "51ce09a4b7d2aaaaaaaaaaaa"
	for _, test := range []struct{ file, run, digest, want string }{
		{"", "", "", "add the rules that the plan shows"},
		{"site.yaml", "", "", "preflight plan -f site.yaml"},
		{`C:\My sites\lab.yaml`, "", "", `preflight plan -f "C:\My sites\lab.yaml"`},
		{"site.yaml", "lab-1", "", "preflight plan -f site.yaml"},
		{"site.yaml", "", digest, "preflight plan -f site.yaml"},
		{"", "lab-1", "", "add the rules that the plan shows"},
		{"site.yaml", "lab-1", digest, "preflight apply lab-1 --approve 51ce09a4b7d2"},
		{"", "lab-1", "51ce", "preflight apply lab-1 --approve 51ce"},
	} {
		in := checks.Input{
			SiteFile: test.file, Run: test.run, Digest: test.digest, Planned: true, Servers: map[string]facts.Server{"r": rim()},
			Missing: map[string][]checks.Missing{"r": {{Ports: []uint16{443}, From: []string{"10.0.0.11"}}}},
		}
		if f := findings(in, "firewall.rule-missing", "r"); len(f) != 1 || f[0].Remedy != test.want {
			t.Errorf("%+v: %+v", test, f)
		}
	}
}

// TestBlockedOwners: a finding for each owner of what stands in the way, in a fixed order.
func TestBlockedOwners(t *testing.T) {
	t.Parallel()
	const (
		x      = "the Block rule \"X\" (Group Policy) beats every Allow rule"
		merge  = "no rule that counts admits 10.0.0.11: local rules are turned off for the Domain profile by MDM"
		public = "the interface that holds 10.0.0.12 is in the Public profile, and the site does not allow rules there"
	)
	in := checks.Input{Planned: true, Servers: map[string]facts.Server{"r": rim()}, Blocked: map[string][]checks.Blocked{"r": {
		{Port: 4144, From: "10.0.0.11", Why: public},
		{Port: 4243, From: "10.0.0.11", By: "{1}", Store: "local", Why: "the Block rule {1} (local) beats every Allow rule"},
		{Port: 4144, From: "10.0.0.11", By: "{2}", Store: "policy", Why: x},
		{Port: 443, From: "10.0.0.11", By: "{2}", Store: "policy", Why: x},
		{Port: 443, From: "10.20.0.0/16", By: "{3}", Store: "policy", Why: x},
		{Port: 443, From: "10.20.0.0/16", By: "{3}", Store: "policy", Why: x},
		{Port: 4444, From: "10.0.0.11", Store: "mdm", Why: merge, Requested: true},
		{Port: 4242, From: "10.0.0.11", Store: "local", Why: "all inbound connections are blocked"},
		{Port: 4241, From: "10.0.0.11", By: "preflight-0123456789abcdef0123", Store: "local", Why: "rule preflight-0123456789abcdef0123 (local) is there but disabled"},
		{Port: 5051, From: "10.0.0.11", By: "{4}", Why: "the Block rule X"},
	}}}
	var got [][4]string
	for _, f := range findings(in, "firewall.rule-blocked", "r") {
		if f.Verdict != checks.Fail || f.Level != facts.Inferred {
			t.Errorf("%+v", f)
		}
		got = append(got, [4]string{f.Owner, f.Seen, f.Cause, f.Remedy})
	}
	want := [][4]string{
		{"the Active Directory team", "443,4144 from 10.0.0.11; 443 from 10.20.0.0/16", x + " (rule {2}, store policy); " + x + " (rule {3}, store policy)", "ask for it to be removed or narrowed; a rule added here would do nothing"},
		{"the device management team", "4444 from 10.0.0.11", merge, "hand over gpo-request.txt"},
		{
			"you", "4241,4242,4243 from 10.0.0.11",
			"the Block rule {1} (local) beats every Allow rule; all inbound connections are blocked; rule preflight-0123456789abcdef0123 (local) is there but disabled",
			"remove or narrow that rule; preflight does not touch rules that are not its own; change that setting; a rule added here would do nothing; " +
				"remove that rule, which is no longer as preflight added it, and plan again",
		},
		{"whoever set that", "4144,5051 from 10.0.0.11", public + "; the Block rule X (rule {4})", "ask for it to be changed; a rule added here would do nothing; ask for it to be removed or narrowed; a rule added here would do nothing"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("findings\n%q\nwant\n%q", got, want)
	}
}

// TestReachableCauses: failing flows stand together by cause, and each owner has a finding.
func TestReachableCauses(t *testing.T) {
	t.Parallel()
	failing := func(port uint16, v proof.Verdict, level facts.Level, texts ...string) proof.Proof {
		p := proof.Proof{From: "c", To: "r", Port: port, Verdict: v, Level: level}
		for i, at := range []**string{&p.Cause, &p.Owner, &p.Remedy} {
			if i < len(texts) && texts[i] != "" {
				*at = &texts[i]
			}
		}
		return p
	}
	for name, test := range map[string]struct {
		proofs []proof.Proof
		want   [][5]string
	}{
		"without causes": {
			[]proof.Proof{failing(4444, proof.Dropped, facts.Proven), failing(443, proof.Dropped, facts.Proven), failing(4242, proof.Refused, facts.Observed)},
			[][5]string{{"443,4444 from c dropped; 4242 from c refused", "see the proofs", "you", "preflight explain flow.reachable", "observed"}},
		},
		"one owner, two causes": {
			[]proof.Proof{
				failing(4444, proof.Dropped, facts.Proven, "host firewall: no rule", "you"), failing(443, proof.Other, facts.Proven, "httpd holds it", "you", "preflight explain port.in-use"),
				failing(4242, proof.Dropped, facts.Proven, "host firewall: no rule", "you"), failing(4243, proof.NotTested, facts.Observed),
			},
			[][5]string{{"4242,4444 from c dropped; 443 from c other", "host firewall: no rule; httpd holds it", "you", "preflight explain port.in-use", "proven"}},
		},
		"two owners": {
			[]proof.Proof{
				failing(4444, proof.Dropped, facts.Proven, "lost on the way", "the network team", "ask who filters"), failing(443, proof.Dropped, facts.Proven, "not told apart: x"),
				failing(4242, proof.Dropped, facts.Proven, "lost on the way", "the network team", "ask who filters"), failing(4243, proof.Service, facts.Proven),
			},
			[][5]string{
				{"4242,4444 from c dropped", "lost on the way", "the network team", "ask who filters", "proven"},
				{"443 from c dropped", "not told apart: x", "you", "preflight explain flow.reachable", "proven"},
			},
		},
	} {
		var got [][5]string
		for _, f := range findings(checks.Input{Proofs: test.proofs}, "flow.reachable", "r") {
			if f.Verdict != checks.Fail || f.Expected != "proven" {
				t.Errorf("%s: %+v", name, f)
			}
			got = append(got, [5]string{f.Seen, f.Cause, f.Owner, f.Remedy, string(f.Level)})
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: findings\n%q\nwant\n%q", name, got, test.want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	s := lab
	s.Nodes = []site.Node{{Name: "c", Role: site.Central}, {Name: "r", Role: site.Rim, Services: []site.Service{site.Repository, site.Proxy}}}
	server := func(running string, listeners ...facts.Listener) facts.Server {
		return facts.Server{
			Listeners: facts.Known(listeners),
			Services: facts.Known([]facts.Service{
				{Name: "QlikSenseRepositoryService", State: "Running", PID: 100}, {Name: "qliksenseproxyservice", State: running},
			}),
		}
	}
	l := func(address string, pid int, process string) facts.Listener {
		return facts.Listener{Address: netip.MustParseAddrPort(address), PID: pid, Process: process}
	}
	noListeners, noServices := server("Running"), server("Running")
	noListeners.Listeners.Unknown, noServices.Services.Unknown = "netstat said nothing", "WMI is broken"
	for _, test := range []struct {
		name string
		in   facts.Server
		want []string // "verdict seen"
	}{
		{"nobody", server("Stopped"), []string{"pass 6 ports are held by Qlik Sense or by nobody"}},
		{"Qlik's own", server("Running", l("0.0.0.0:4242", 100, ""), l("[::]:443", 7, "Proxy")), []string{"pass 6 ports are held by Qlik Sense or by nobody"}},
		{"another program elsewhere", server("Running", l("0.0.0.0:8080", 9, "httpd")), []string{"pass 6 ports are held by Qlik Sense or by nobody"}},
		{"the scheduler's port on a node without one", server("Running", l("0.0.0.0:5051", 9, "httpd")), []string{"pass 6 ports are held by Qlik Sense or by nobody"}},
		{"another program", server("Stopped", l("0.0.0.0:443", 3120, "httpd"), l("[::]:443", 3120, "httpd"), l("10.0.0.12:4144", 3120, "httpd"), l("0.0.0.0:4444", 5, "java")),
			[]string{"fail httpd (pid 3120) listens on 443,4144; java (pid 5) listens on 4444"}},
		{"another program on loopback", server("Running", l("127.0.0.1:4243", 9, "httpd"), l("[::1]:4242", 9, "httpd"), l("0.0.0.0:4243", 7, "Proxy")),
			[]string{"warn httpd (pid 9) listens, for the server itself alone, on 4242,4243"}},
		{"another program on loopback and elsewhere", server("Running", l("127.0.0.1:443", 9, "httpd"), l("10.0.0.12:443", 9, "httpd")), []string{"fail httpd (pid 9) listens on 443"}},
		{"http.sys without the proxy", server("Stopped", l("0.0.0.0:443", 4, "System"), l("[::]:4144", 4, "System"), l("0.0.0.0:4242", 4, "System")),
			[]string{"warn http.sys holds 443,4144 and the proxy service is not running"}},
		{"http.sys while the proxy starts", server("Start Pending", l("0.0.0.0:443", 4, "System")), []string{"warn http.sys holds 443 and the proxy service is not running"}},
		{"http.sys with the proxy", server("Running", l("0.0.0.0:443", 4, "System"), l("[::]:443", 4, "System")),
			[]string{"pass 6 ports are held by Qlik Sense or by nobody; http.sys holds 443 while the proxy service runs"}},
		{"a program without a name", server("Running", l("0.0.0.0:443", 3120, "")), []string{"unknown a program whose name is not known (pid 3120) listens on 443"}},
		{"everything at once", server("Stopped", l("0.0.0.0:443", 4, "System"), l("0.0.0.0:4242", 9, "httpd"), l("0.0.0.0:4444", 8, ""), l("127.0.0.1:4241", 7, "java")), []string{
			"fail httpd (pid 9) listens on 4242", "warn java (pid 7) listens, for the server itself alone, on 4241",
			"warn http.sys holds 443 and the proxy service is not running", "unknown a program whose name is not known (pid 8) listens on 4444",
		}},
		{"listeners not read", noListeners, []string{"unknown who listens is not known: netstat said nothing"}},
		{"services not read", noServices, []string{"unknown the services are not known: WMI is broken"}},
	} {
		var got []string
		for _, f := range findings(checks.Input{Site: s, Servers: map[string]facts.Server{"r": test.in, "c": test.in}}, "port.in-use", "r") {
			got = append(got, string(f.Verdict)+" "+f.Seen)
			if asks := f.Verdict == checks.Fail || f.Verdict == checks.Warn; asks != (f.Owner == "you" && f.Remedy != "" && f.Cause != "") {
				t.Errorf("%s: %+v", test.name, f)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: findings\n%q\nwant\n%q", test.name, got, test.want)
		}
	}
	if f := findings(checks.Input{Site: s, Servers: map[string]facts.Server{"c": server("Running")}}, "port.in-use", "c"); len(f) != 0 {
		t.Errorf("a node that needs no port: %+v", f)
	}
	s.Release = "no such release"
	if f := findings(checks.Input{Site: s, Servers: map[string]facts.Server{"r": server("Running")}}, "port.in-use", "r"); len(f) != 1 || f[0].Verdict != checks.Unknown {
		t.Errorf("a release that is not in the catalogue: %+v", f)
	}
}

func TestRimCertificates(t *testing.T) {
	t.Parallel()
	const left = "left over from another site or an earlier join"
	cert := func(store, subject, issuer, thumbprint string) facts.Certificate {
		return facts.Certificate{Store: store, Subject: subject, Issuer: issuer, Thumbprint: strings.Repeat(thumbprint, 40), NotAfter: time.Date(2036, 1, 10, 0, 0, 0, 0, time.UTC)}
	}
	holds := func(all ...facts.Certificate) facts.Server { return facts.Server{Certificates: facts.Known(all)} }
	list := func(thumbprints ...string) string {
		var quoted []string
		for _, c := range thumbprints {
			quoted = append(quoted, "'"+strings.Repeat(c, 40)+"'")
		}
		return `on r list them: Get-ChildItem Cert:\LocalMachine\Root, Cert:\LocalMachine\My | Where-Object Thumbprint -in ` + strings.Join(quoted, ",") +
			"; if they are not this site's, remove them as preflight explain rim.certificates says"
	}
	long := func(c string) string { return strings.Repeat(c, 40) }
	unread := facts.Server{Certificates: facts.Unknown[[]facts.Certificate]("access is denied")}
	var (
		root     = cert("root", "CN=c-CA", "CN=c-CA", "A")
		earlier  = cert("root", "CN=c-CA", "CN=c-CA", "B")
		old      = cert("root", "CN=old-CA", "CN=old-CA", "C")
		own      = cert("my", "CN=r", "CN=c-CA", "D")
		oldOwn   = cert("my", "CN=r", "CN=old-CA", "E")
		stranger = cert("my", "CN=r", "CN=gone-CA", "F")
	)
	none := facts.Server{}
	for _, test := range []struct {
		name         string
		central, rim *facts.Server
		verdict      checks.Verdict
		seen         string
		remedy       string
	}{
		{"nothing", new(holds(root)), new(holds()), checks.Pass, "no Qlik Sense certificates: ready for the join", ""},
		{"nothing, the central not read", &unread, new(holds()), checks.Pass, "ready for the join", ""},
		{"nothing, the central not inspected", nil, new(holds()), checks.Pass, "ready for the join", ""},
		{"joined", new(holds(root)), new(holds(root, own)), checks.Pass, "trusts this site's root", ""},
		{"joined, shown twice", new(holds(root)), new(holds(root, own, root)), checks.Pass, "trusts this site's root", ""},
		{"not read", new(holds(root)), &unread, checks.Unknown, "access is denied", ""},
		{"another site's", new(holds(root)), new(holds(old, oldOwn)), checks.Fail, "trusts CN=old-CA (thumbprint " + long("C") + ", until 2036-01-10)", list("C", "E")},
		{"another site's beside ours", new(holds(root)), new(holds(root, own, old, oldOwn)), checks.Fail, "trusts CN=old-CA", list("C", "E")},
		{"another site's, and a stranger's", new(holds(root)), new(holds(old, stranger)), checks.Fail, "trusts CN=old-CA", list("C")},
		{"the central's of before, by the same name", new(holds(root)), new(holds(earlier, own)), checks.Fail, long("B"), list("B")},
		{"another site's, the central not read", &unread, new(holds(old)), checks.Unknown, "the certificates of c could not be read: access is denied", ""},
		{"another site's, the central not inspected", nil, new(holds(old)), checks.Unknown, "c was not inspected", ""},
		{"another site's, the central without any", &none, new(holds(old)), checks.Unknown, "c trusts no Qlik Sense root itself", ""},
		{"one of the central's two", new(holds(root, old)), new(holds(root, own)), checks.Unknown, "more than one root", "preflight explain rim.certificates"},
		{"both of the central's two", new(holds(root, old)), new(holds(root, old)), checks.Unknown, "more than one root", "preflight explain rim.certificates"},
		{"a personal one alone", new(holds(root)), new(holds(oldOwn)), checks.Warn, "no Qlik Sense root, but in the Personal store CN=r (thumbprint " + long("E"), list("E")},
		{"the site's personal one alone", new(holds(root)), new(holds(own)), checks.Warn, "no Qlik Sense root", "preflight explain rim.certificates"},
		{"a personal one alone, the central not read", &unread, new(holds(oldOwn)), checks.Warn, "no Qlik Sense root", "preflight explain rim.certificates"},
		{"a stranger's personal one", new(holds(root)), new(holds(root, own, stranger)), checks.Warn, "another signed CN=r (thumbprint " + long("F"), list("F")},
	} {
		in := checks.Input{Servers: map[string]facts.Server{"r": *test.rim}}
		if test.central != nil {
			in.Servers["c"] = *test.central
		}
		f := findings(in, "rim.certificates", "r")
		if len(f) != 1 || f[0].Verdict != test.verdict || !strings.Contains(f[0].Seen, test.seen) || f[0].Remedy != test.remedy {
			t.Errorf("%s: %+v", test.name, f)
			continue
		}
		if asks := f[0].Verdict == checks.Fail || f[0].Verdict == checks.Warn; asks != (f[0].Owner == "you") || asks != strings.HasSuffix(f[0].Cause, left) {
			t.Errorf("%s: whose is it? %+v", test.name, f[0])
		}
		if strings.Contains(f[0].Remedy, root.Thumbprint) || strings.Contains(f[0].Remedy, own.Thumbprint) {
			t.Errorf("%s: the remedy removes the site's own: %s", test.name, f[0].Remedy)
		}
		if test.verdict == checks.Fail && f[0].Expected != "no Qlik Sense root but CN=c-CA of c" {
			t.Errorf("%s: expected %q", test.name, f[0].Expected)
		}
		if f := findings(in, "rim.certificates", "c"); len(f) != 0 {
			t.Errorf("%s: the central node is no rim: %+v", test.name, f)
		}
	}
}
