package reports_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// run is a run in the making, with a clock that goes on by a second with each event.
type run struct {
	site  site.Site
	rec   record.Record
	clock time.Time

	joined []string // rims that run when they are looked at
}

func (b *run) at() time.Time {
	b.clock = b.clock.Add(time.Second)
	return b.clock
}

func (b *run) add(events ...record.Event) *run {
	for _, e := range events {
		b.rec.Apply(e)
	}
	return b
}

// record is the run so far; an unfinished command is ended.
func (b *run) record() record.Record {
	if b.running() {
		b.end("", "")
	}
	return b.rec
}

func (b *run) running() bool {
	n := len(b.rec.Run.Commands)
	return n > 0 && b.rec.Run.Commands[n-1].EndedAt == nil
}

func newSite(name string, rims int) site.Site {
	services := []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler}
	s := site.Site{Name: name, Release: "1.0.2", Clients: site.Networks{netip.MustParsePrefix("10.20.0.0/16")},
		Nodes: []site.Node{{Name: "qs-central", Role: site.Central, Host: "qs-central.corp.example", Services: services}}}
	for i := range rims {
		n := fmt.Sprintf("qs-rim%d", i+1)
		s.Nodes = append(s.Nodes, site.Node{Name: n, Role: site.Rim, Host: n + ".corp.example", Services: services})
	}
	return s
}

// begin begins a run with a command, and looks at every server.
func begin(s site.Site, command string) *run {
	b := &run{site: s, clock: time.Date(2026, 11, 24, 10, 18, 0, 0, time.UTC)}
	b.add(record.RunStarted{RunID: s.Name + "-20261124-1018", Tool: record.Tool{Name: "preflight", Version: "0.1.0", Commit: "1f2e3d"}, Site: s, SiteFile: `C:\change\` + s.Name + ".yaml", At: b.at()})
	ticket := "CHG0031337"
	if command == "check" {
		ticket = ""
	}
	return b.command(command, ticket).look()
}

func (b *run) command(name, ticket string) *run {
	if b.running() {
		b.end("", "")
	}
	return b.add(record.CommandStarted{Name: name, Operator: record.Operator{User: `CORP\jdoe`, Host: "ADM-WS-07"}, Ticket: ticket, At: b.at()})
}

func (b *run) end(o record.Outcome, why string) *run {
	return b.add(record.CommandEnded{Outcome: o, Error: why, At: b.at()})
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}) }

// look connects to every server and inspects it.
func (b *run) look() *run {
	for i, n := range b.site.Nodes {
		b.add(record.ServerReached{Server: n.Name, At: b.at()})
		b.add(record.ServerConnected{Server: n.Name, MS: int64(1900 + 200*i), At: b.at(),
			SignIn: record.SignIn{User: `CORP\qs-admin`, Auth: "kerberos", Transport: "https", Protection: "tls", Identity: "verified"}})
		f := facts.Server{
			Computer: strings.ToUpper(n.Name), Windows: "10.0.17763.0",
			Interfaces: []facts.Interface{}, Listeners: facts.Known([]facts.Listener{}), Services: facts.Known([]facts.Service{}), Releases: facts.Known([]string{}),
			Certificates: facts.Known([]facts.Certificate{}), Peers: []facts.Peer{}, Missing: []facts.Missing{},
		}
		for j, other := range b.site.Nodes {
			if n.Role != other.Role {
				f.Peers = append(f.Peers, facts.Peer{Name: other.Name, Addresses: []netip.Addr{address(j)}, Source: address(i)})
			}
		}
		if slices.Contains(b.joined, n.Name) {
			f.State, f.Services = facts.Known(facts.Running), facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService", State: "Running"}})
		}
		b.add(record.ServerInspected{Server: n.Name, Role: n.Role, Facts: f, At: b.at()})
	}
	return b
}

// state is a server's firewall: on, in the Domain profile, and without a rule.
func state(i int) firewall.State {
	on := firewall.ProfileSettings{Enabled: rule.Yes, DefaultInboundBlock: rule.Yes, BlockAllInbound: rule.No, LocalRulesMerge: rule.Yes}
	return firewall.State{Active: rule.Profiles(rule.Domain), Settings: map[rule.Profile]firewall.ProfileSettings{rule.Domain: on},
		Interfaces: []firewall.Interface{{Index: 4, Addresses: []netip.Prefix{netip.PrefixFrom(address(i), 24)}, Profile: rule.Domain}}}
}

// alter changes the firewall of a server.
type alter func(server string, s *firewall.State)

func localRulesOff(store firewall.Store, servers ...string) alter {
	return func(server string, s *firewall.State) {
		if slices.Contains(servers, server) {
			on := s.Settings[rule.Domain]
			on.LocalRulesMerge, on.MergeBy = rule.No, store
			s.Settings = map[rule.Profile]firewall.ProfileSettings{rule.Domain: on}
		}
	}
}

// addRule puts a stored rule on a server.
func addRule(on string, store firewall.Store, id, raw string) alter {
	return func(server string, s *firewall.State) {
		if server == on {
			s.Rules = append(s.Rules, firewall.StoredRule{Store: store, ID: id, Raw: raw})
		}
	}
}

func both(alters ...alter) alter {
	return func(server string, s *firewall.State) {
		for _, a := range alters {
			a(server, s)
		}
	}
}

var internalRule = addRule("qs-central", firewall.Local, "{0B7C5C1E-54E7-4E0B-8A0E-6B8D0A3C9F11}",
	"v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4241|LPort=4242|RA4=10.0.0.0/255.255.255.0|Name=QS internal|")

// wanted is what planning says.
func (b *run) wanted(t *testing.T, change alter) record.Planned {
	t.Helper()
	flows, err := ports.Flows(b.site)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]netip.Addr{}
	for i, n := range b.site.Nodes {
		at[n.Name] = address(i)
	}
	routes := map[[2]string]ports.Route{}
	for _, f := range flows {
		routes[[2]string{f.From, f.To}] = ports.Route{From: at[f.From], To: at[f.To]}
	}
	p := record.Planned{Changes: []record.PlannedChange{}, Already: []record.PlannedRelied{}, Blocked: []record.PlannedVoid{}, Requests: []record.PlannedRequest{}, At: b.at()}
	for i, n := range b.site.Nodes {
		s := state(i)
		if change != nil {
			change(n.Name, &s)
		}
		wants, _ := ports.Wants(b.site, n.Name, flows, routes)
		changes, already, conflicts := firewall.Plan(s, b.site.Name, false, wants)
		for _, c := range changes {
			p.Changes = append(p.Changes, record.PlannedChange{ID: c.ID, Server: n.Name, Action: "add", Service: c.Group, Ports: c.Ports, From: firewall.Sources(c.From...),
				Profiles: c.Profiles, Why: c.Why, PowerShell: c.PowerShell(), Inverse: c.Inverse()})
		}
		for _, a := range already {
			r := record.PlannedRelied{Server: n.Name, Service: a.Group, Port: a.Port, From: firewall.Sources(a.From)[0], Ours: a.Ours, Why: a.Why, By: a.By.ID, Store: string(a.By.Store), Rule: a.By.Raw}
			if parsed, err := rule.Parse(a.By.Raw); err == nil {
				r.Name = parsed.Name
			}
			p.Already = append(p.Already, r)
		}
		for _, c := range conflicts {
			v := record.PlannedVoid{Server: n.Name, Service: c.Want.Group, Port: c.Want.Port, From: firewall.Sources(c.Want.From)[0], Why: c.Decision.Why, Store: string(c.Decision.Store)}
			if c.Decision.By != nil {
				v.By, v.Rule = c.Decision.By.ID, c.Decision.By.Raw
			}
			p.Blocked = append(p.Blocked, v)
		}
		asked := firewall.Requests(b.site.Name, conflicts)
		for _, store := range []firewall.Store{firewall.Policy, firewall.MDM} {
			for _, c := range asked[store] {
				p.Requests = append(p.Requests, record.PlannedRequest{ID: c.ID, Server: n.Name, Store: string(store), Service: c.Group, Name: c.Rule(b.site.Name).Name, Ports: c.Ports,
					From: firewall.Sources(c.From...), Profiles: c.Profiles, Why: c.Why, PowerShell: c.PowerShellIn(`DOMAIN\POLICY`)})
			}
		}
	}
	return p
}

// plan writes a plan; its findings are that rules are missing, which the plan mends, and what passed.
func (b *run) plan(t *testing.T, change alter) *run {
	t.Helper()
	p := b.wanted(t, change)
	p.SHA256 = "9f2c41d07ab35e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"
	b.add(p)
	var files []string
	for _, n := range b.site.Nodes {
		if slices.ContainsFunc(p.Changes, func(c record.PlannedChange) bool { return c.Server == n.Name }) {
			files = append(files, "backout/"+n.Name+".ps1")
		}
	}
	if len(files) > 0 {
		b.add(record.BackOutWritten{Files: files, At: b.at()})
	}
	return b.judge()
}

// judge makes findings: those given, what the plan says is missing or blocked, and what passed.
func (b *run) judge(more ...checks.Finding) *run {
	r := b.rec
	all := []checks.Finding{}
	for _, s := range r.Servers {
		if s.SignIn != nil {
			all = append(all, checks.Finding{Check: "winrm.sign-in", Verdict: checks.Pass, Server: s.Name, Seen: "signed in"})
		}
	}
	for _, s := range r.Servers {
		var missing, void []uint16
		var why string
		for _, c := range r.Plan.Changes {
			if c.Server == s.Name && !slices.ContainsFunc(r.Changes, func(d record.Change) bool {
				return d.ID == c.ID && d.Server == c.Server && (d.State == record.Done || d.State == record.There || d.State == record.NotNeeded)
			}) {
				missing = append(missing, c.Ports...)
			}
		}
		for _, v := range r.Plan.Blocked {
			if v.Server == s.Name {
				void, why = append(void, v.Port), v.Why
			}
		}
		slices.Sort(missing)
		slices.Sort(void)
		remedy := `preflight plan -f C:\change\finance-bi.yaml`
		if r.Change.PlanSHA256 != "" {
			remedy = "preflight apply " + r.Run.ID + " --approve 9f2c41d07ab3"
		}
		switch {
		case r.Run.Commands[len(r.Run.Commands)-1].Name == "backout":
		case len(missing) > 0:
			all = append(all, checks.Finding{Check: "firewall.rule-missing", Verdict: checks.Fail, Server: s.Name, Seen: fmt.Sprintf("%d ports have no rule that admits the other node: %s", len(missing), checks.List(slices.Compact(missing), " ")),
				Cause: "the rules are not there", Owner: "you", Remedy: remedy})
		case len(void) == 0:
			all = append(all, checks.Finding{Check: "firewall.rule-missing", Verdict: checks.Pass, Server: s.Name, Seen: "rules admit every flow"})
		}
		if len(void) > 0 {
			all = append(all, checks.Finding{Check: "firewall.rule-blocked", Verdict: checks.Fail, Server: s.Name, Seen: checks.List(slices.Compact(void), " ") + " stay closed, whatever is added there", Cause: why,
				Owner: "the Active Directory team", Remedy: "hand over gpo-request.txt"})
		}
	}
	all = append(all, more...)
	for _, n := range b.site.Rims() {
		all = append(all, checks.Finding{Check: "rim.state", Verdict: checks.Pass, Server: n.Name, Seen: "the repository service is waiting for certificates"})
	}
	return b.add(record.Judged{Findings: all, At: b.at()})
}

// apply applies the plan. meets changes what becomes of a rule; a rule whose state it clears is not tried.
func (b *run) apply(t *testing.T, meets func(record.PlannedChange, *record.ChangeEnded)) *run {
	t.Helper()
	r := b.rec
	b.command("apply", "").look()
	b.add(record.Replanned{Already: r.Plan.Already, Blocked: r.Plan.Blocked, Requests: r.Plan.Requests, Unapproved: []record.PlannedChange{}, At: b.at()})
	b.add(record.Approved{How: "digest", Value: "9f2c41d07ab3", At: b.at()})
	for _, p := range r.Plan.Changes {
		after := "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=" + checks.List(p.Ports, "|LPort=") + "|Name=" + p.ID + "|"
		e := record.ChangeEnded{ID: p.ID, Server: p.Server, State: record.Done, After: &after}
		if meets != nil {
			meets(p, &e)
		}
		if e.State == "" {
			continue
		}
		if e.State != record.NotNeeded && e.State != record.Void {
			b.add(record.ChangeStarted{ID: p.ID, Server: p.Server, Ports: p.Ports, At: b.at()})
		}
		e.At = b.at()
		b.add(e)
	}
	for _, n := range b.site.Nodes {
		b.add(record.ChangesInForce{Server: n.Name, Live: facts.Known(true), At: b.at()})
	}
	return b
}

// prove proves every flow; how says what became of one.
func (b *run) prove(phase proof.Phase, how func(f ports.Flow, p *proof.Proof)) *run {
	flows, _ := ports.Flows(b.site)
	for _, f := range flows {
		p := proof.Proof{ID: proof.ID(phase, f), Phase: phase, From: f.From, To: f.To, Protocol: "tcp", Port: f.Port, Service: string(f.Service), Level: facts.Proven, At: b.at()}
		how(f, &p)
		b.add(record.Proved{Proof: p, At: p.At})
	}
	return b
}

// service is a site where everything works: the central's services answer, and on the rim our listeners.
func service(f ports.Flow, p *proof.Proof) {
	p.Verdict, p.Seen = proof.Answered, f.To+" answered with the key"
	if f.To == "qs-central" || f.Port == 4444 {
		p.Verdict, p.Seen = proof.Service, strings.ToUpper(p.Service[:1])+p.Service[1:]+" answered"
	}
}

// closed is a site before its rules: nothing gets through, and where nothing listens nothing is tried.
func closed(f ports.Flow, p *proof.Proof) {
	if f.To != "qs-central" && f.Port != 4444 {
		p.Verdict, p.Level, p.Seen = proof.NotTested, facts.Observed, "nothing listens yet, and no listener was opened"
		return
	}
	cause, owner := "host firewall: no rule admits 10.0.0.12", "you"
	p.Verdict, p.Seen = proof.Dropped, "no answer in 4.0 s; "+f.To+" saw nothing of it"
	p.Cause, p.Owner = &cause, &owner
}

// backOut takes back what is in. meets changes what becomes of a removal; one whose state it clears is not tried.
func (b *run) backOut(meets func(record.PlannedChange, *record.RemovalEnded)) *run {
	b.command("backout", "").look()
	r := b.rec
	for _, p := range slices.Backward(r.Plan.Changes) {
		i := slices.IndexFunc(r.Changes, func(c record.Change) bool { return c.ID == p.ID && c.Server == p.Server })
		if i < 0 || r.Changes[i].State != record.Done && r.Changes[i].State != record.InDoubt {
			continue
		}
		e := record.RemovalEnded{ID: p.ID, Server: p.Server, State: record.Removed}
		if meets != nil {
			meets(p, &e)
		}
		if e.State == "" {
			continue
		}
		if e.State != record.NotTried {
			stored := ""
			if r.Changes[i].After != nil {
				stored = *r.Changes[i].After
			}
			b.add(record.RemovalStarted{ID: p.ID, Server: p.Server, Stored: stored, At: b.at()})
		}
		e.At = b.at()
		b.add(e)
	}
	return b.judge()
}

// joinSteps are the steps of a join with what is seen of each.
var joinSteps = []struct{ id, guide, title, seen, byHand string }{
	{"node", "1-3", "create the node", "created with the host name RIM.corp.example", "a one-time password was given, which the QMC shows once the node is there"},
	{"certificate", "4-5", "send the certificate", "qs-central has sent the certificate to port 4444 of RIM and given a one-time password", "port 4570 of RIM is open to itself: the certificate has arrived"},
	{"unlock", "6-7", "unlock the certificate", "RIM answered that it is successfully unlocked", "RIM answered that it is successfully unlocked"},
	{"running", "8", "wait until it runs", "it runs with certificates; the site says so of its services, which listen on every port", "it runs with certificates, which listen on every port"},
	{"proxy", "9", "let it serve browsers", `added to "Central Proxy (Default)": load balancing node 5f3c9a9e-2b1d-4f39-9d0a-1c7b4a2f6e11, host RIM.corp.example, host RIM`, "a person says that it is done"},
}

// byCertificate is a join in which the repository service is asked.
var byCertificate = record.JoinStarted{QRS: "qs-central.corp.example:4242", Certificate: &record.ClientCertificate{
	Subject: "CN=QlikClient", SHA256: "7b1d2c3e4f5a60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9", NotAfter: time.Date(2036, 1, 10, 8, 0, 0, 0, time.UTC),
}}

// join takes a rim through the join. meets changes what becomes of a step; at one whose state it clears the join breaks off.
func (b *run) join(rim string, by record.JoinStarted, meets func(*record.StepEnded)) *run {
	by.Rim, by.At = rim, b.at()
	b.add(by)
	for _, s := range joinSteps {
		b.add(record.StepStarted{Rim: rim, Step: s.id, Guide: s.guide, Title: s.title, At: b.at()})
		e := record.StepEnded{Rim: rim, Step: s.id, State: record.StepDone, Seen: strings.ReplaceAll(s.seen, "RIM", rim)}
		if by.QRS == "" {
			e.Seen = strings.ReplaceAll(s.byHand, "RIM", rim)
			switch s.id {
			case "node":
				b.add(record.StepWaiting{Rim: rim, Step: s.id, For: []string{"Open the QMC, https://qs-central.corp.example/qmc, and there Nodes.", "  name " + rim + ", host name " + rim + ".corp.example; Apply."}, At: b.at()})
			case "proxy":
				e.State = record.StepByHand
				b.add(record.StepWaiting{Rim: rim, Step: s.id, For: []string{"In the QMC open Virtual proxies and there the default one."}, At: b.at()})
			}
		}
		if meets != nil {
			meets(&e)
		}
		if e.State == "" {
			return b
		}
		e.At = b.at()
		b.add(e)
		if e.State == record.StepFailed {
			return b
		}
	}
	b.joined = append(b.joined, rim)
	return b
}

// services is a site at its close-out: the real services answer on every port of the nodes that have joined.
func (b *run) services(f ports.Flow, p *proof.Proof) {
	if f.From != "qs-central" && !slices.Contains(b.joined, f.From) || f.To != "qs-central" && !slices.Contains(b.joined, f.To) {
		p.Verdict, p.Level, p.Seen = proof.NotTested, facts.Observed, "nothing listens yet, and no listener was opened"
		return
	}
	p.Verdict, p.Seen = proof.Service, strings.ToUpper(p.Service[:1])+p.Service[1:]+" answered"
}

// finding is what the check of the join says of a rim.
func (b *run) finding(rim string) checks.Finding {
	var steps []checks.JoinStep
	for _, s := range b.rec.Join.Latest() {
		steps = append(steps, checks.JoinStep{Rim: s.Rim, Title: s.Title, Guide: s.Guide, State: string(s.State), Last: s.Step == "proxy", Seen: s.Seen, Owner: s.Owner, Remedy: s.Remedy})
	}
	all := checks.All(checks.Input{Site: b.site, Run: b.rec.Run.ID, Join: steps})
	i := slices.IndexFunc(all, func(f checks.Finding) bool { return f.Check == checks.JoinComplete && f.Server == rim })
	return all[i]
}

// The runs of the goldens.

func checked(t *testing.T) record.Record {
	b := begin(newSite("finance-bi", 1), "check")
	b.prove(proof.Baseline, func(f ports.Flow, p *proof.Proof) {
		if closed(f, p); f.To == "qs-central" && (f.Port == 4241 || f.Port == 4242) {
			service(f, p)
			p.Cause, p.Owner = nil, nil
		}
	})
	b.add(b.wanted(t, internalRule))
	return b.judge(checks.Finding{Check: "port.in-use", Verdict: checks.Warn, Server: "qs-rim1", Seen: "httpd listens on 127.0.0.1:443", Cause: "another program holds the port on the loopback address",
		Owner: "you", Remedy: "preflight explain port.in-use"},
		checks.Finding{Check: "rim.certificates", Verdict: checks.NotApplicable, Server: "qs-central", Seen: "no rim node"}).record()
}

func checkBlocked(t *testing.T) record.Record {
	b := begin(newSite("finance-bi", 1), "check")
	b.add(b.wanted(t, localRulesOff(firewall.MDM, "qs-rim1")))
	return b.judge().record()
}

func planned(t *testing.T) *run { return begin(newSite("finance-bi", 1), "plan").plan(t, internalRule) }

func plannedTwelve(t *testing.T) *run {
	return begin(newSite("finance-bi", 12), "plan").plan(t, internalRule)
}

// plannedSecond is a site whose first rim has joined long ago, and whose second is to.
func plannedSecond(t *testing.T) record.Record {
	wide := "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|LPort=4144|LPort=4241|LPort=4242|LPort=4243|LPort=4444|LPort=5050|LPort=5051|RA4=10.0.0.11|RA4=10.0.0.12|RA4=10.20.0.0/255.255.0.0|Name=Qlik Sense|"
	r := begin(newSite("finance-bi", 2), "plan").plan(t, both(addRule("qs-central", firewall.Local, "QlikSense", wide), addRule("qs-rim1", firewall.Local, "QlikSense", wide))).record()
	r.Servers[1].Phase = facts.Joined
	return r
}

func nothingToPlan(t *testing.T) record.Record {
	wide := "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|LPort=4144|LPort=4241|LPort=4242|LPort=4243|LPort=4444|LPort=5050|LPort=5051|Name=Qlik Sense|"
	return begin(newSite("finance-bi", 1), "plan").plan(t, both(addRule("qs-central", firewall.Local, "QlikSense", wide), addRule("qs-rim1", firewall.Policy, "{77A1}", wide))).record()
}

func blocked(t *testing.T) *run {
	return begin(newSite("finance-bi", 1), "plan").plan(t, both(internalRule, localRulesOff(firewall.Policy, "qs-rim1"),
		addRule("qs-rim1", firewall.Policy, "{B10C}", "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4444|Name=Server Baseline: no 4444|")))
}

func applied(t *testing.T) *run {
	return planned(t).apply(t, nil).prove(proof.Baseline, closed).prove(proof.AfterApply, service).judge()
}

func demo(t *testing.T) record.Record {
	b := begin(newSite("lab", 1), "demo")
	for _, n := range b.site.Nodes {
		b.add(record.ServerReached{Server: n.Name, Simulated: true, At: b.at()})
	}
	b.prove(proof.Baseline, closed).plan(t, nil)
	r := b.rec
	for _, p := range r.Plan.Changes {
		b.add(record.ChangeStarted{ID: p.ID, Server: p.Server, Ports: p.Ports, At: b.at()}, record.ChangeEnded{ID: p.ID, Server: p.Server, State: record.Done, At: b.at()})
	}
	b.add(record.ChangesInForce{Server: "qs-central", Live: facts.Known(true), At: b.at()}, record.ChangesInForce{Server: "qs-rim1", Live: facts.Unknown[bool]("the server did not report it"), At: b.at()})
	return b.prove(proof.AfterApply, service).judge().record()
}

func notConnected(t *testing.T) record.Record {
	b := planned(t)
	b.command("apply", "")
	b.add(record.ServerReached{Server: "qs-central", At: b.at()})
	why := "qs-central: signing in: the server answered 401 to CORP\\qs-admin; the password may be wrong, or this way to sign in may be off"
	b.add(record.ServerFailed{Server: "qs-central", Stage: "connect", Kind: "rejected", Error: why, Hints: []string{"try the password by hand, once, before the account is locked out"}, At: b.at()})
	b.add(record.Judged{At: b.at(), Findings: []checks.Finding{
		{Check: "winrm.sign-in", Verdict: checks.Fail, Server: "qs-central", Seen: why, Cause: why, Owner: "you", Remedy: "try the password by hand, once, before the account is locked out"},
		{Check: "winrm.sign-in", Verdict: checks.Unknown, Server: "qs-rim1", Seen: "not tried"},
	}})
	return b.record()
}

func drift(t *testing.T) record.Record {
	b := planned(t)
	b.command("apply", "").look()
	now := b.wanted(t, nil)
	var unapproved []record.PlannedChange
	for _, c := range now.Changes {
		if !slices.ContainsFunc(b.rec.Plan.Changes, func(p record.PlannedChange) bool { return p.ID == c.ID && p.Server == c.Server }) {
			unapproved = append(unapproved, c)
		}
	}
	b.add(record.Replanned{Already: now.Already, Blocked: now.Blocked, Requests: now.Requests, Unapproved: unapproved, At: b.at()})
	b.judge().end(record.Drift, "the servers are no longer as the approved plan found them: qs-central now also needs a rule for 4241,4242 from 10.0.0.12")
	return b.record()
}

func partly(t *testing.T) record.Record {
	n := 0
	b := planned(t).apply(t, func(p record.PlannedChange, e *record.ChangeEnded) {
		if p.Server != "qs-rim1" {
			return
		}
		n++
		switch n {
		case 1:
			e.State, e.After, e.Error = record.Failed, nil, "access is denied (0x80070005); New-NetFirewallRule was not let in by the CIM server of qs-rim1"
		default:
			e.State = ""
		}
	})
	b.judge().end("", "qs-rim1: adding a rule: access is denied (0x80070005)")
	return b.record()
}

// settled is an apply that met a rule that was there, one not needed, one void, and one whose end was not seen.
func settled(t *testing.T) record.Record {
	n := 0
	b := planned(t).apply(t, func(p record.PlannedChange, e *record.ChangeEnded) {
		n++
		switch n {
		case 2:
			e.State, e.Before = record.There, e.After
		case 3:
			e.State, e.After = record.NotNeeded, nil
		case 4:
			e.State, e.After, e.Error = record.Void, nil, "no rule that counts admits 10.0.0.11: local rules are turned off for the Domain profile by Group Policy"
		case 5:
			e.State, e.After, e.Error = record.InDoubt, nil, "the connection was lost while waiting for the answer"
		}
	})
	return b.judge().record()
}

func verified(t *testing.T) record.Record {
	cause, owner, remedy := "host firewall: the Block rule \"Server Baseline\" (policy)", "the Active Directory team", "ask for it to be removed or narrowed; a rule added here would do nothing"
	other, network := "the rules on qs-central admit it, and qs-central did not see it: lost on the way", "the network team"
	b := applied(t)
	b.command("verify", "").look().prove(proof.Verify, func(f ports.Flow, p *proof.Proof) {
		switch service(f, p); {
		case f.To == "qs-central" && f.Port == 5051:
			p.Verdict, p.Seen = proof.Dropped, "no answer in 4.0 s; qs-central saw nothing of it"
		case f.To == "qs-rim1" && f.Port == 4144:
			p.Verdict, p.Seen, p.Level = proof.NotTested, "nothing listens yet, and no listener was opened", facts.Observed
		}
	})
	b.judge()
	b.command("verify", "").look().prove(proof.Verify, func(f ports.Flow, p *proof.Proof) {
		switch service(f, p); {
		case f.To == "qs-central" && f.Port == 4242:
			p.Verdict, p.Seen = proof.Dropped, "no answer in 4.0 s; qs-central saw nothing of it"
			p.Cause, p.Owner, p.Remedy = &cause, &owner, &remedy
		case f.To == "qs-central" && f.Port == 5051:
			p.Verdict, p.Seen = proof.Dropped, "no answer in 4.0 s; qs-central saw nothing of it"
			p.Cause, p.Owner = &other, &network
		case f.To == "qs-rim1" && f.Port == 4243:
			p.Level, p.Seen = facts.Observed, "qs-rim1 answered with the key; its own report does not show the connection"
		}
	})
	return b.judge(checks.Finding{Check: "flow.reachable", Verdict: checks.Fail, Server: "qs-central", Seen: "4242 from qs-rim1 dropped", Cause: cause, Owner: owner, Remedy: remedy},
		checks.Finding{Check: "flow.reachable", Verdict: checks.Fail, Server: "qs-central", Seen: "5051 from qs-rim1 dropped", Cause: other, Owner: network, Remedy: "source, target, port and time stand in the record: ask who filters between them"}).record()
}

func backedOut(t *testing.T) record.Record {
	first := true
	b := planned(t).apply(t, func(_ record.PlannedChange, e *record.ChangeEnded) {
		if first {
			e.State, e.Before = record.There, e.After
		}
		first = false
	}).prove(proof.AfterApply, service).judge()
	gone := true
	return b.backOut(func(_ record.PlannedChange, e *record.RemovalEnded) {
		if gone {
			e.State = record.Absent
		}
		gone = false
	}).record()
}

func partlyBackedOut(t *testing.T) record.Record {
	found := "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=4243|Name=changed by hand|"
	n := 0
	b := applied(t).backOut(func(p record.PlannedChange, e *record.RemovalEnded) {
		switch n++; n {
		case 2:
			e.State, e.Found, e.Error = record.Differs, &found, "it is no longer as it was left, so it stays"
		case 3:
			e.State, e.Error = record.NotTaken, "access is denied (0x80070005)"
		case 4:
			e.State, e.Error = record.Uncertain, "the connection was lost while waiting for the answer"
		case 5:
			e.State = ""
		case 6:
			e.State, e.Error = record.NotTried, p.Server+" could not be signed in to"
		}
	})
	return b.judge(checks.Finding{Check: "backout.complete", Verdict: checks.Fail, Server: "qs-central", Seen: "still there: 443,4144 4243", Owner: "you", Remedy: "preflight explain backout.complete"}).record()
}

func backOutRefused(t *testing.T) record.Record {
	b := applied(t)
	b.command("backout", "").look()
	b.judge().end(record.Misused, "not confirmed: taking the rules back cuts off qs-rim1, which is running")
	return b.record()
}

// joining is a run whose rules are in, at the point where a join begins.
func joining(t *testing.T) *run {
	b := applied(t)
	return b.command("join", "").look().prove(proof.Verify, service)
}

// closeOut looks again at what was joined, and proves it.
func (b *run) closeOut(rim string) *run {
	return b.look().prove(proof.CloseOut, b.services).judge(b.finding(rim))
}

func joined(t *testing.T) record.Record {
	return joining(t).join("qs-rim1", byCertificate, nil).closeOut("qs-rim1").record()
}

func joinedByHand(t *testing.T) record.Record {
	return joining(t).join("qs-rim1", record.JoinStarted{}, nil).closeOut("qs-rim1").record()
}

func joinFailed(t *testing.T) record.Record {
	why := "qs-central answered 400: the certificate could not be sent to qs-rim1.corp.example"
	b := joining(t).join("qs-rim1", byCertificate, func(e *record.StepEnded) {
		if e.Step == "certificate" {
			e.State, e.Seen, e.Owner, e.Remedy = record.StepFailed, why, "you", "prove port 4444 with preflight verify, and run the same again"
		}
	})
	b.judge(b.finding("qs-rim1")).end("", "qs-rim1: send the certificate: "+why)
	return b.record()
}

func joinBrokenOff(t *testing.T) record.Record {
	b := joining(t).join("qs-rim1", record.JoinStarted{}, func(e *record.StepEnded) {
		if e.Step == "node" {
			e.State = ""
		}
	})
	b.judge(b.finding("qs-rim1")).end(record.Cancelled, "interrupted")
	return b.record()
}

// joinedDemo is a demo with two rims, one of which was left without its last step.
func joinedDemo(t *testing.T) record.Record {
	b := begin(newSite("lab", 2), "demo")
	b.prove(proof.Baseline, closed).plan(t, nil)
	r := b.rec
	for _, p := range r.Plan.Changes {
		b.add(record.ChangeStarted{ID: p.ID, Server: p.Server, Ports: p.Ports, At: b.at()}, record.ChangeEnded{ID: p.ID, Server: p.Server, State: record.Done, At: b.at()})
	}
	for _, n := range b.site.Nodes {
		b.add(record.ChangesInForce{Server: n.Name, Live: facts.Known(true), At: b.at()})
	}
	b.prove(proof.AfterApply, service).join("qs-rim1", byCertificate, nil).join("qs-rim2", byCertificate, func(e *record.StepEnded) {
		if e.Step == "proxy" {
			e.State, e.Seen, e.Owner, e.Remedy = record.StepLeft, "this release's repository service does not offer its virtual proxies", "you", "In the QMC open Virtual proxies and there the default one. Under Load balancing add the node qs-rim2; Apply."
		}
	})
	b.look().prove(proof.CloseOut, b.services)
	for _, n := range b.site.Nodes {
		b.add(record.ServerReached{Server: n.Name, Simulated: true, At: b.at()})
	}
	return b.judge(b.finding("qs-rim1"), b.finding("qs-rim2")).record()
}

// hostile is a run with servers that try to act on the reader's terminal, and to write lines of ours.
func hostile(t *testing.T) record.Record {
	const evil = "a\x1b[2J\u202eb\r\nready: all is well\u2028ready: all is well\tc\x9b31m\u200b"
	b := begin(newSite("finance-bi", 1), "plan").plan(t, both(localRulesOff(firewall.Policy, "qs-rim1"),
		addRule("qs-central", firewall.Local, "evil"+evil, "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4242|Name="+evil+"|"),
		addRule("qs-rim1", firewall.Policy, "block"+evil, "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4444|Name="+evil+"|")))
	b.apply(t, func(p record.PlannedChange, e *record.ChangeEnded) {
		if p.Service == "repository" {
			e.State, e.Error = record.Failed, evil
		}
	})
	by := byCertificate
	by.QRS += evil
	by.Certificate = &record.ClientCertificate{Subject: evil + strings.Repeat("s", 300), SHA256: by.Certificate.SHA256}
	b.command("join", "").look().join("qs-rim1", by, func(e *record.StepEnded) {
		e.Seen, e.Owner, e.Remedy = evil+strings.Repeat("x", 300), evil, evil
		if e.Step == "running" {
			e.State = record.StepLeft
		}
	})
	b.prove(proof.AfterApply, func(f ports.Flow, p *proof.Proof) {
		text := evil
		if service(f, p); f.Port == 4241 {
			p.Verdict, p.Cause, p.Owner, p.Remedy = proof.Other, &text, &text, &text
		}
		p.Seen = evil
	})
	r := b.judge(checks.Finding{Check: "server.readable", Verdict: checks.Unknown, Server: "qs-rim1", Seen: evil, Cause: "cause " + evil, Owner: evil, Remedy: evil}).record()
	for i := range r.Servers {
		if r.Servers[i].SignIn != nil {
			r.Servers[i].SignIn.User = evil
		}
		r.Servers[i].Facts.Computer = evil
	}
	r.Servers[1].SignIn, r.Servers[1].Failure = nil, &record.Failure{Stage: "connect", Error: evil}
	r.Run.Commands[len(r.Run.Commands)-1].Error = evil
	return r
}
