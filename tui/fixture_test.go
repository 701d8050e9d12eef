package tui

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// fixtures are the runs that fixture knows.
var fixtures = []string{"clean", "gpo", "three", "refused", "partly", "twenty"}

// fixture is a run, event by event, of nothing but this machine's imagination; its times are always the same.
//
//   - clean: a central node and a rim; 8 rules are added, every flow is proven, the rim joins with the client certificate.
//   - gpo: a policy turns local rules off on the rim, so that its rules are asked for, and flows to it are dropped.
//   - three: two rims; flows to the second are dropped and refused; the first is being joined by hand.
//   - refused: of three servers one refuses, and one is not tried.
//   - partly: a rule could not be added, and those after it were not tried.
//   - twenty: 20 rims.
func fixture(name string) []record.Event {
	rims := map[string]int{"three": 2, "refused": 2, "twenty": 20}[name]
	m := &making{site: fixtureSite(max(1, rims)), clock: time.Date(2026, 11, 24, 10, 18, 0, 0, time.UTC)}
	m.add(record.RunStarted{RunID: "finance-bi-20261124-1018", Tool: record.Tool{Name: "preflight", Version: "0.1.0"}, Site: m.site, SiteFile: "finance-bi.yaml", At: m.at()})
	m.command("plan")
	switch name {
	case "refused":
		m.add(record.StageStarted{Stage: "connect", At: m.at()})
		m.add(record.ServerReached{Server: "qs-central", At: m.at()})
		m.add(record.ServerFailed{Server: "qs-rim1", Stage: "connect", Kind: "refused", At: m.at(),
			Error: "qs-rim1: connecting: nothing listens on port 5986 of qs-rim1.corp.example, or a firewall refuses it (connection refused)",
			Hints: []string{"on the server, as administrator: winrm quickconfig -transport:https", "see what listens there: winrm enumerate winrm/config/listener", "a firewall between here and the server may refuse it"}})
		m.connected(0)
		m.judge()
		m.end("2 of 3 servers could not be signed in to")
		return m.events
	case "gpo":
		m.look()
		m.plan(func(p *record.Planned) {
			p.Changes = rulesOn(m.site, "qs-central")[1:]
			p.Already = []record.PlannedRelied{relied(4241), relied(4242)}
			for _, c := range rulesOn(m.site, "qs-rim1") {
				for _, port := range c.Ports {
					for _, from := range c.From {
						p.Blocked = append(p.Blocked, record.PlannedVoid{Server: "qs-rim1", Service: c.Service, Port: port, From: from, Store: "policy",
							Why: "no rule that counts admits " + from + ": local rules are turned off for the Domain profile by Group Policy"})
					}
				}
				p.Requests = append(p.Requests, record.PlannedRequest{ID: c.ID, Server: "qs-rim1", Store: "policy", Service: c.Service, Name: "Qlik Sense " + c.Service, Ports: c.Ports,
					From: c.From, Profiles: c.Profiles, Why: c.Why, PowerShell: strings.Replace(c.PowerShell, "PersistentStore", `'DOMAIN\POLICY'`, 1)})
			}
		})
	default:
		m.look()
		m.plan(func(p *record.Planned) {
			for _, n := range m.site.Nodes {
				p.Changes = append(p.Changes, rulesOn(m.site, n.Name)...)
			}
		})
	}
	m.end("")

	m.command("apply")
	m.look()
	m.prove(proof.Baseline, func(p *proof.Proof) {
		p.Verdict, p.Level, p.Seen = proof.NotTested, facts.Observed, proof.NothingListens
	})
	if name == "partly" {
		m.apply(func(e *record.ChangeEnded) {
			switch {
			case e.Server == "qs-rim1" && e.ID == rulesOn(m.site, "qs-rim1")[1].ID:
				e.State, e.After, e.Error = record.Failed, nil, "access is denied (5)"
			case e.Server == "qs-rim1" && e.ID != rulesOn(m.site, "qs-rim1")[0].ID:
				e.State = "" // not tried
			}
		})
		m.judge()
		m.end("qs-rim1: adding a rule: access is denied (5)")
		return m.events
	}
	m.apply(nil)
	m.prove(proof.AfterApply, outcomes[name])
	m.judge()
	m.end("")
	if name != "clean" && name != "three" {
		return m.events
	}

	m.command("join")
	m.look()
	m.prove(proof.Verify, outcomes[name])
	m.add(record.StageStarted{Stage: "join", At: m.at()})
	if name == "three" {
		m.add(record.JoinStarted{Rim: "qs-rim1", At: m.at()}, record.StepStarted{Rim: "qs-rim1", Step: "node", Guide: "1-3", Title: "create the node", At: m.at()})
		m.add(record.StepWaiting{Rim: "qs-rim1", Step: "node", At: m.at(), For: []string{
			"Open the QMC, https://qs-central.corp.example/qmc, and there Nodes.",
			"If the list has this host name already, open that node and have its certificate distributed again; else create a node:",
			"  name qs-rim1, host name qs-rim1.corp.example (it cannot be changed later); tick engine, proxy, scheduler; Apply.",
			"The QMC then shows a one-time password. Type it here; nothing has to be opened on the rim."}})
		return m.events
	}
	m.join("qs-rim1")
	m.joined = true
	m.inspect()
	m.prove(proof.CloseOut, outcomes["services"])
	m.judge()
	m.end("")
	return m.events
}

// outcomes say what becomes of flows.
var outcomes = map[string]func(*proof.Proof){
	"clean": listened,
	"twenty": func(p *proof.Proof) {
		if listened(p); p.To == "qs-rim17" && p.Port == 443 {
			p.Verdict, p.Seen = proof.NoName, "qs-central cannot resolve qs-rim17.corp.example (11001)"
		}
	},
	"services": func(p *proof.Proof) {
		p.Verdict, p.Level, p.Seen = proof.Service, facts.Proven, strings.ToUpper(p.Service[:1])+p.Service[1:]+".exe answered"
	},
	"gpo": func(p *proof.Proof) {
		if listened(p); p.To == "qs-rim1" && p.Port != 4444 {
			dropped(p, "host firewall: local rules are turned off for the Domain profile by Group Policy", "the Active Directory team",
				"ask for it to be changed; a rule added here would do nothing")
		}
	},
	"three": func(p *proof.Proof) {
		switch listened(p); {
		case p.To == "qs-rim2" && p.Port == 4444:
			dropped(p, "the rules on qs-rim2 admit it, and qs-rim2 did not see it: lost on the way", proof.NetworkTeam,
				"source, target, port and time stand in the record: ask who filters between them")
		case p.To == "qs-rim2" && p.Port == 443:
			cause, owner, remedy := "httpd holds port 443 of qs-rim2", "you", "preflight explain port.in-use"
			p.Verdict, p.Seen, p.Level, p.Cause, p.Owner, p.Remedy = proof.Refused, "the connection was refused (10061)", facts.Observed, &cause, &owner, &remedy
		case p.From == "qs-rim2" && p.Port == 5051:
			p.Verdict, p.Level, p.Seen = proof.NotTested, facts.Observed, "did not overlap: no answer, but qs-central did not listen all that time"
		}
	},
}

// listened is a flow that works: to the services of the central node that run, and elsewhere to listeners of preflight's.
func listened(p *proof.Proof) {
	p.Level = facts.Proven
	if p.To == "qs-central" && p.Port != 5050 || p.Port == 4444 {
		p.Verdict, p.Seen = proof.Service, strings.ToUpper(p.Service[:1])+p.Service[1:]+".exe answered"
		return
	}
	p.Verdict, p.Seen = proof.Answered, p.To+" answered with the key"
}

func dropped(p *proof.Proof, cause, owner, remedy string) {
	p.Verdict, p.Seen = proof.Dropped, "no answer in 4.0 s; "+p.To+" saw nothing of it"
	p.Cause, p.Owner, p.Remedy = &cause, &owner, &remedy
}

func fixtureSite(rims int) site.Site {
	services := []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler}
	in := site.WinRM{User: `CORP\qs-admin`, Transport: "https", Port: 5986}
	s := site.Site{Name: "finance-bi", Release: "1.0.2", WinRM: in, Clients: site.Networks{netip.MustParsePrefix("10.20.0.0/16")}}
	for i := range rims + 1 {
		n := site.Node{Name: "qs-central", Role: site.Central, Services: services, WinRM: in}
		if i > 0 {
			n.Name, n.Role = fmt.Sprintf("qs-rim%d", i), site.Rim
		}
		n.Host = n.Name + ".corp.example"
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// address is that of the site's i-th node.
func address(i int) string { return fmt.Sprintf("10.0.0.%d", 11+i) }

// rulesOn are the four rules that a server needs.
func rulesOn(s site.Site, server string) []record.PlannedChange {
	all := []record.PlannedChange{
		{Service: "repository", Ports: []uint16{4241, 4242, 4444}},
		{Service: "proxy", Ports: []uint16{443, 4144}},
		{Service: "proxy", Ports: []uint16{4243}},
		{Service: "scheduler", Ports: []uint16{5051}},
	}
	if server == s.Central().Name {
		all[0].Ports, all[3].Ports = []uint16{4241, 4242}, []uint16{5050, 5051}
	}
	for i := range all {
		c := &all[i]
		c.Server, c.Action, c.Profiles = server, "add", rule.Profiles(rule.Domain)
		c.ID = fmt.Sprintf("preflight-%04x%04x", c.Ports[0], len(c.Ports)+len(server))
		for j, n := range s.Nodes {
			if self, _ := s.Node(server); n.Role == self.Role {
				continue
			}
			c.From = append(c.From, address(j))
			for _, port := range c.Ports {
				c.Why = append(c.Why, fmt.Sprintf("%s -> %s %d %s", n.Name, server, port, c.Service))
			}
		}
		if c.Ports[0] == 443 {
			c.From = append(c.From, "10.20.0.0/16")
			c.Why = append(c.Why, fmt.Sprintf("clients -> %s 443 proxy", server), fmt.Sprintf("clients -> %s 4144 proxy", server))
		}
		c.PowerShell = fmt.Sprintf("New-NetFirewallRule -PolicyStore PersistentStore -Name '%s' -DisplayName 'Qlik Sense %s (finance-bi)' -Direction Inbound -Action Allow -Enabled True -Profile 'Domain' -Protocol TCP -LocalPort '%s' -RemoteAddress '%s' -EdgeTraversalPolicy Block",
			c.ID, c.Service, checks.List(c.Ports, "','"), strings.Join(c.From, "','"))
		c.Inverse = "Remove-NetFirewallRule -PolicyStore PersistentStore -Name '" + c.ID + "'"
	}
	return all
}

func relied(port uint16) record.PlannedRelied {
	return record.PlannedRelied{Server: "qs-central", Service: "repository", Port: port, From: "10.0.0.12", By: "{0B7C5C1E-54E7-4E0B-8A0E-6B8D0A3C9F11}", Name: "QS internal", Store: "local",
		Rule: "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4241|LPort=4242|RA4=10.0.0.0/255.255.255.0|Name=QS internal|"}
}

// making is a run in the making, with a clock that goes on by a second with each event.
type making struct {
	site   site.Site
	rec    record.Record
	events []record.Event
	clock  time.Time
	joined bool // the rims run with certificates when they are looked at
}

func (m *making) at() time.Time {
	m.clock = m.clock.Add(time.Second)
	return m.clock
}

func (m *making) add(events ...record.Event) {
	for _, e := range events {
		m.rec.Apply(e)
	}
	m.events = append(m.events, events...)
}

func (m *making) command(name string) {
	m.add(record.CommandStarted{Name: name, Run: "finance-bi-20261124-1018", Version: "0.1.0", Operator: record.Operator{User: `CORP\jdoe`, Host: "ADM-WS-07"}, Ticket: "CHG0031337", At: m.at()})
}

func (m *making) end(why string) { m.add(record.CommandEnded{Error: why, At: m.at()}) }

func (m *making) connected(i int) {
	m.add(record.ServerConnected{Server: m.site.Nodes[i].Name, MS: int64(1200 + 300*i), At: m.at(),
		SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "basic", Transport: "https", Protection: "tls", Identity: "verified"}})
}

// look connects to every server and inspects it.
func (m *making) look() {
	m.add(record.StageStarted{Stage: "connect", At: m.at()})
	for _, n := range m.site.Nodes {
		m.add(record.ServerReached{Server: n.Name, At: m.at()})
	}
	for i := range m.site.Nodes {
		m.connected(i)
	}
	m.inspect()
}

func (m *making) inspect() {
	m.add(record.StageStarted{Stage: "inspect", At: m.at()})
	for i, n := range m.site.Nodes {
		m.add(record.ServerInspected{Server: n.Name, Role: n.Role, Facts: m.facts(i), At: m.at()})
	}
}

func (m *making) facts(i int) facts.Server {
	n := m.site.Nodes[i]
	f := facts.Server{
		Computer: strings.ToUpper(n.Name), Windows: "10.0.17763.0", PowerShell: "5.1.17763.1", Language: "en-US",
		UptimeS: facts.Known(int64(86400*12 + 3600*5)), Clock: facts.Known(facts.Clock{AheadMS: 300, ErrorMS: 120}),
		Interfaces: []facts.Interface{{Index: 4, Name: "Ethernet0", Addresses: []netip.Prefix{netip.MustParsePrefix(address(i) + "/24")}, Profile: "domain"}},
		Services:   facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService", State: "Running", Start: "Auto", PID: 1000}, {Name: "QlikSenseProxyService", State: "Stopped", Start: "Auto"}}),
		Releases:   facts.Known([]string{"Qlik Sense 1.0.2"}), State: facts.Unknown[facts.ServiceState]("only a rim is asked"),
	}
	if n.Role == site.Rim {
		f.State = facts.Known(facts.CertificatesNotInstalled)
		if m.joined {
			f.State = facts.Known(facts.Running)
		}
		f.Missing = []facts.Missing{{Fact: "rules-mdm", Why: "the store is not there"}}
	}
	return f
}

// plan plans, finds that rules are missing, and some that passed.
func (m *making) plan(what func(*record.Planned)) {
	m.add(record.StageStarted{Stage: "plan", At: m.at()})
	p := record.Planned{Changes: []record.PlannedChange{}, Already: []record.PlannedRelied{}, Blocked: []record.PlannedVoid{}, Requests: []record.PlannedRequest{},
		SHA256: "9f2c41d07ab35e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"}
	what(&p)
	p.At = m.at()
	m.add(p)
	var files []string
	for _, n := range m.site.Nodes {
		for _, c := range p.Changes {
			if c.Server == n.Name {
				files = append(files, "backout/"+n.Name+".ps1")
				break
			}
		}
	}
	m.add(record.BackOutWritten{Files: files, At: m.at()})
	m.judge()
}

// judge finds what checks would, in their words.
func (m *making) judge() {
	all := []checks.Finding{}
	for _, s := range m.rec.Servers {
		switch {
		case s.Failure != nil:
			all = append(all, checks.Finding{Check: "winrm.sign-in", Verdict: checks.Fail, Server: s.Name, Seen: s.Failure.Error, Cause: s.Failure.Error, Owner: "you", Remedy: s.Failure.Hints[0]})
			continue
		case s.SignIn == nil:
			all = append(all, checks.Finding{Check: "winrm.sign-in", Verdict: checks.Unknown, Server: s.Name, Seen: "not tried"})
			continue
		}
		all = append(all, checks.Finding{Check: "winrm.sign-in", Verdict: checks.Pass, Server: s.Name, Seen: "signed in"})
		missing := 0
		for _, c := range m.rec.Plan.Changes {
			in := false
			for _, d := range m.rec.Changes {
				in = in || d.ID == c.ID && d.Server == c.Server && d.State == record.Done
			}
			if c.Server == s.Name && !in {
				missing += len(c.Ports)
			}
		}
		if missing > 0 {
			all = append(all, checks.Finding{Check: "firewall.rule-missing", Verdict: checks.Fail, Server: s.Name, Seen: fmt.Sprintf("%d ports have no rule that admits the other nodes", missing),
				Cause: "the rules are not there", Owner: "you", Remedy: "preflight apply finance-bi-20261124-1018 --approve 9f2c41d07ab3"})
		}
		if len(m.rec.Plan.Blocked) > 0 && s.Name == "qs-rim1" {
			all = append(all, checks.Finding{Check: "firewall.rule-blocked", Verdict: checks.Fail, Server: s.Name, Seen: "443,4144,4241,4242,4243,4444,5051 from 10.0.0.11",
				Cause: "local rules are turned off for the Domain profile by Group Policy", Owner: "the Active Directory team", Remedy: "hand over gpo-request.txt"})
		}
		if s.Role == site.Rim {
			all = append(all, checks.Finding{Check: "server.readable", Verdict: checks.Unknown, Server: s.Name, Seen: "not read: rules-mdm (the store is not there)", Owner: "you"},
				checks.Finding{Check: "rim.certificates", Verdict: checks.NotApplicable, Server: s.Name, Seen: "it waits for its certificates"})
		}
	}
	if m.joined {
		all = append(all, checks.Finding{Check: checks.JoinComplete, Verdict: checks.Pass, Server: "qs-rim1", Seen: "every step is done"})
	}
	m.add(record.Judged{Findings: all, At: m.at()})
}

// prove proves every flow; how says what becomes of one.
func (m *making) prove(phase proof.Phase, how func(*proof.Proof)) {
	m.add(record.StageStarted{Stage: "prove", At: m.at()})
	flows, err := ports.Flows(m.site)
	if err != nil {
		panic(err)
	}
	for _, f := range flows {
		p := proof.Proof{ID: proof.ID(phase, f), Phase: phase, From: f.From, To: f.To, Protocol: "tcp", Port: f.Port, Service: string(f.Service), At: m.at()}
		how(&p)
		m.add(record.Proved{Proof: p, At: p.At})
	}
}

// apply adds the rules of the plan. meets changes what becomes of one; a rule whose state it clears is not tried.
func (m *making) apply(meets func(*record.ChangeEnded)) {
	m.add(record.StageStarted{Stage: "apply", At: m.at()})
	p := m.rec.Plan
	m.add(record.Replanned{Already: p.Already, Blocked: p.Blocked, Requests: p.Requests, Unapproved: []record.PlannedChange{}, At: m.at()},
		record.Approved{How: "site name", Value: "finance-bi", At: m.at()})
	for _, c := range p.Changes {
		after := "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=" + checks.List(c.Ports, "|LPort=") + "|Name=" + c.ID + "|"
		e := record.ChangeEnded{ID: c.ID, Server: c.Server, State: record.Done, After: &after}
		if meets != nil {
			meets(&e)
		}
		if e.State == "" {
			continue
		}
		m.add(record.ChangeStarted{ID: c.ID, Server: c.Server, Ports: c.Ports, At: m.at()})
		e.At = m.at()
		m.add(e)
	}
	for _, n := range m.site.Nodes {
		m.add(record.ChangesInForce{Server: n.Name, Live: facts.Known(true), At: m.at()})
	}
}

// join takes a rim through every step, with the client certificate.
func (m *making) join(rim string) {
	m.add(record.JoinStarted{Rim: rim, QRS: "qs-central.corp.example:4242", At: m.at(), Certificate: &record.ClientCertificate{
		Subject: "CN=QlikClient", SHA256: strings.Repeat("7b", 32), NotAfter: time.Date(2036, 1, 10, 8, 0, 0, 0, time.UTC)}})
	seen := map[string]string{
		"node":        "created with the host name " + rim + ".corp.example",
		"certificate": "qs-central has sent the certificate to port 4444 of " + rim + " and given a one-time password",
		"unlock":      rim + " answered that it is successfully unlocked",
		"running":     "it runs with certificates; the site says so of its services, which listen on every port",
		"proxy":       `added to "Central Proxy (Default)": load balancing node 5f3c9a9e, host ` + rim + ".corp.example",
	}
	for _, s := range joinSteps {
		m.add(record.StepStarted{Rim: rim, Step: s.Step, Guide: s.Guide, Title: s.Title, At: m.at()})
		m.add(record.StepEnded{Rim: rim, Step: s.Step, State: record.StepDone, Seen: seen[s.Step], At: m.at()})
	}
}

// walk goes through a wizard with the answers of somebody who wants everything, and the events of a run. It stops where
// stop says so: at a question, when e is nil, or after an event; and where the events end.
func walk(t testing.TB, events []record.Event, stop func(w wizard.Wizard, e record.Event) bool) wizard.Wizard {
	t.Helper()
	s := events[0].(record.RunStarted).Site
	w, err := wizard.New(wizard.Setup{
		Candidates: []wizard.Candidate{
			{Name: s.Name, Site: s, File: "finance-bi.yaml", Last: "run 21 Nov: not ready"},
			{Name: "lab", Site: fixtureSite(1), Simulated: true},
		},
		Open: func(file string) (wizard.Candidate, error) {
			return wizard.Candidate{Name: s.Name, Site: s, File: file}, nil
		},
		Passwords: func(site.Site) (wizard.Passwords, error) { return wizard.Passwords{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	how := "certificate"
	for _, e := range events {
		if j, ok := e.(record.JoinStarted); ok && j.Certificate == nil {
			how = "by hand"
		}
	}
	answers := map[string]string{"site": s.Name, "password": "pa55", "ticket": "CHG0031337", "inspect": "next", "review": "next", "approve": s.Name,
		"prove": "next", "join": how, "certificate": "client.pem", "key": "client_key.pem", "confirm certificate": "yes", "report": "leave"}
	for {
		if q, asked := w.Question(); asked {
			if stop(w, nil) {
				return w
			}
			answer, known := answers[q.ID]
			if !known {
				return w // at what went wrong
			}
			if w, err = w.Answer(answer); err != nil {
				t.Fatalf("%s: %v", q.ID, err)
			}
			continue
		}
		if w.Over() {
			return w
		}
		for ended := false; !ended; {
			if len(events) == 0 {
				return w
			}
			e := events[0]
			events = events[1:]
			w = w.Event(e)
			if stop(w, e) {
				return w
			}
			_, ended = e.(record.CommandEnded)
		}
		w = w.Done(nil)
	}
}

// wizardAt is a wizard at the question of a step, in a run of a fixture that comes so far. Where Connect asks nothing, every
// server is signed in to and the action runs on.
func wizardAt(t testing.TB, step wizard.Step, fixtureName string) wizard.Wizard {
	t.Helper()
	w := walk(t, fixture(fixtureName), func(w wizard.Wizard, e record.Event) bool {
		in := 0
		for _, s := range w.Record().Servers {
			if s.SignIn != nil {
				in++
			}
		}
		return w.Step() == step && (e == nil || step == wizard.Connect && in == len(w.Record().Servers)) && !w.Over()
	})
	if w.Step() != step {
		t.Fatalf("fixture %s never comes to the step %s; it ends at %s", fixtureName, step, w.Step())
	}
	return w
}
