package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// noFolder takes files and forgets them.
type noFolder struct{}

func (noFolder) WriteFile(string, []byte) error { return nil }

// inspected is an engine that has read two servers: a running central node and a rim that waits for its certificates.
func inspected(t *testing.T) *Engine {
	t.Helper()
	services := []site.Service{site.Repository, site.Proxy, site.Scheduler}
	e, err := New(site.Site{Name: "lab", Release: "1.0.2", Nodes: []site.Node{
		{Name: "c", Role: site.Central, Host: "c", Services: services}, {Name: "r", Role: site.Rim, Host: "r", Services: services},
	}}, nil, noFolder{}, func(record.Event) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Start(record.RunStarted{RunID: "lab-1"}), e.Begin(record.CommandStarted{Name: "test"})); err != nil {
		t.Fatal(err)
	}
	server := func(own, peer, name string) facts.Server {
		on := firewall.ProfileSettings{Enabled: rule.Yes, DefaultInboundBlock: rule.Yes, BlockAllInbound: rule.No, LocalRulesMerge: rule.Yes}
		address := netip.MustParseAddr(own)
		return facts.Server{
			UptimeS: facts.Known[int64](86400), Services: facts.Known([]facts.Service{{Name: "QlikSenseRepositoryService", State: "Running"}, {Name: "QlikSenseProxyService"}, {Name: "QlikSenseSchedulerService"}}), Releases: facts.Known([]string{"Qlik Sense 1.0.2"}),
			Listeners: facts.Known([]facts.Listener{{Address: netip.MustParseAddrPort("0.0.0.0:4242"), Process: "Repository"}}),
			State:     facts.Known(facts.CertificatesNotInstalled),
			Peers:     []facts.Peer{{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(peer)}, Source: address}},
			Firewall: firewall.State{Active: rule.Profiles(rule.Domain), Settings: map[rule.Profile]firewall.ProfileSettings{rule.Domain: on},
				Interfaces: []firewall.Interface{{Index: 4, Addresses: []netip.Prefix{netip.PrefixFrom(address, 24)}, Profile: rule.Domain}}},
		}
	}
	e.facts["c"], e.facts["r"] = server("10.0.0.11", "10.0.0.12", "r"), server("10.0.0.12", "10.0.0.11", "c")
	return e
}

// TestPlanUnread: nothing is planned on a server whose rules could not be read.
func TestPlanUnread(t *testing.T) {
	t.Parallel()
	e := inspected(t)
	r := e.facts["r"]
	r.Firewall.Unknown = []string{"rules-policy: access is denied"}
	e.facts["r"] = r
	if err := e.Plan(); err != nil {
		t.Fatal(err)
	}
	planned := map[string]int{}
	for _, c := range e.Record().Plan.Changes {
		planned[c.Server]++
	}
	if planned["r"] != 0 || planned["c"] == 0 {
		t.Errorf("planned %v; want changes on c and none on r", planned)
	}
}

// TestQuestion: a flow is tried on its service if that listens, on a listener of ours only where the port is not about
// to be taken, and else not at all.
func TestQuestion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		port   uint16
		listen bool
		change func(from, to *facts.Server)
		target proof.Target
		says   string
	}{
		{name: "a service listens", port: 4242, target: proof.TargetService},
		{name: "a service listens, and we might", port: 4242, listen: true, target: proof.TargetService},
		{name: "nobody listens", port: 443, listen: true, target: proof.TargetListener},
		{name: "nobody listens, and we may not", port: 443, target: proof.TargetNone, says: "no listener was opened"},
		{name: "who listens is not known", port: 443, listen: true, target: proof.TargetNone, says: "is not known",
			change: func(_, to *facts.Server) { to.Listeners = facts.Unknown[[]facts.Listener]("netstat failed") }},
		{name: "a listener on loopback is none", port: 443, listen: true, target: proof.TargetListener,
			change: func(_, to *facts.Server) {
				to.Listeners.V = []facts.Listener{{Address: netip.MustParseAddrPort("127.0.0.1:443")}}
			}},
		{name: "Qlik Sense's own on loopback is not to be borrowed from", port: 443, listen: true, target: proof.TargetNone, says: "proxy listens on 127.0.0.1:443 of r, and not on 10.0.0.12:443",
			change: func(_, to *facts.Server) {
				to.Listeners.V = []facts.Listener{{Address: netip.MustParseAddrPort("[::1]:443"), Process: "proxy"}, {Address: netip.MustParseAddrPort("127.0.0.1:443"), Process: "proxy"}}
			}},
		{name: "another port of its does not matter", port: 443, listen: true, target: proof.TargetListener,
			change: func(_, to *facts.Server) {
				to.Listeners.V = []facts.Listener{{Address: netip.MustParseAddrPort("127.0.0.1:80"), Process: "proxy"}}
			}},
		{name: "the server has just started", port: 443, listen: true, target: proof.TargetNone, says: "5 minutes",
			change: func(_, to *facts.Server) { to.UptimeS = facts.Known[int64](200) }},
		{name: "when it started is not known", port: 443, listen: true, target: proof.TargetNone, says: "is not known",
			change: func(_, to *facts.Server) { to.UptimeS = facts.Unknown[int64]("") }},
		{name: "a service is starting", port: 443, listen: true, target: proof.TargetNone, says: "start pending",
			change: func(_, to *facts.Server) { to.Services.V[0].State = "Start Pending" }},
		{name: "services are not known", port: 443, listen: true, target: proof.TargetNone, says: "denied",
			change: func(_, to *facts.Server) { to.Services = facts.Unknown[[]facts.Service]("denied") }},
		{name: "the rim runs with certificates", port: 443, listen: true, target: proof.TargetNone, says: "running with certificates",
			change: func(_, to *facts.Server) { to.State = facts.Known(facts.Running) }},
		{name: "the rim's state is not known", port: 443, listen: true, target: proof.TargetNone, says: "refused",
			change: func(_, to *facts.Server) { to.State = facts.Unknown[facts.ServiceState]("refused") }},
		{name: "no name", port: 443, listen: true, target: proof.TargetNone, says: "cannot resolve",
			change: func(from, _ *facts.Server) { from.Peers[0] = facts.Peer{Name: "r", Code: 11001} }},
		{name: "no route", port: 443, listen: true, target: proof.TargetNone, says: "no way to",
			change: func(from, _ *facts.Server) { from.Peers[0].Source, from.Peers[0].Code = netip.Addr{}, 10065 }},
		{name: "IPv6 only", port: 443, listen: true, target: proof.TargetNone, says: "IPv6",
			change: func(from, _ *facts.Server) { from.Peers[0].Addresses[0] = netip.MustParseAddr("fd00::12") }},
		{name: "not asked about the peer", port: 443, listen: true, target: proof.TargetNone, says: "did not say",
			change: func(from, _ *facts.Server) { from.Peers = nil }},
	} {
		e := inspected(t)
		from, to := e.facts["c"], e.facts["r"]
		if test.change != nil {
			test.change(&from, &to)
		}
		e.facts["c"], e.facts["r"] = from, to
		for _, f := range e.flows {
			if f.From != "c" || f.Port != test.port {
				continue
			}
			q := e.question(f, test.listen)
			if q.Target != test.target || !strings.Contains(q.Reason, test.says) {
				t.Errorf("%s: %s, %q; want %s, %q", test.name, q.Target, q.Reason, test.target, test.says)
			}
		}
	}
}

// TestCutsOff: a back-out has to be confirmed if it takes a rule that a rim needs, on either side, and the rim runs or may.
func TestCutsOff(t *testing.T) {
	t.Parallel()
	of := func(server string, from ...string) map[string][]record.PlannedChange {
		return map[string][]record.PlannedChange{server: {{Server: server, From: []string{"10.9.9.9"}}, {Server: server, From: from}}}
	}
	is := func(state facts.Value[facts.ServiceState]) func(*facts.Server) {
		return func(r *facts.Server) { r.State = state }
	}
	running, unknown := is(facts.Known(facts.Running)), is(facts.Unknown[facts.ServiceState]("refused"))
	for _, test := range []struct {
		name   string
		todo   map[string][]record.PlannedChange
		change func(r *facts.Server)
		seen   string // how the rim is known: "" inspected, "earlier" by an earlier command, "never"
		why    string // "" if nothing is cut off
	}{
		{name: "nothing is taken back", change: running},
		{name: "the rim's address", todo: of("c", "10.0.0.12"), change: running, why: "is running"},
		{name: "the rim's network", todo: of("c", "10.0.0.0/24"), change: running, why: "is running"},
		{name: "any address", todo: of("c", "any"), change: running, why: "is running"},
		{name: "somebody else's address", todo: of("c", "10.0.0.13"), change: running},
		{name: "the rim's address is not known", todo: of("c", "10.0.0.13"), why: "is running",
			change: func(r *facts.Server) { running(r); r.Peers = nil }},
		{name: "the rim's own rule", todo: of("r", "10.0.0.11"), change: running, why: "is running"},
		{name: "the rim waits", todo: of("c", "10.0.0.12")},
		{name: "its own rule, and it waits", todo: of("r", "10.0.0.11")},
		{name: "it may run", todo: of("c", "10.0.0.12"), change: unknown, why: "may be running: the state of its repository service is not known (refused)"},
		{name: "it starts", todo: of("c", "10.0.0.12"), change: is(facts.Known(facts.Initialising)), why: "not known (initialising)"},
		{name: "its services are not known", todo: of("c", "10.0.0.12"), why: "may be running",
			change: func(r *facts.Server) { unknown(r); r.Services = facts.Unknown[[]facts.Service]("denied") }},
		{name: "it is stopped", todo: of("c", "10.0.0.12"),
			change: func(r *facts.Server) { unknown(r); r.Services.V[0].State = "Stopped" }},
		{name: "not inspected", todo: of("c", "10.0.0.12"), seen: "earlier", why: "may be running: it was not inspected"},
		{name: "not inspected, somebody else's address", todo: of("c", "10.0.0.13"), seen: "earlier"},
		{name: "not inspected, its own rule", todo: of("r", "10.0.0.11"), seen: "earlier", why: "it was not inspected"},
		{name: "never inspected", todo: of("c", "10.0.0.13"), seen: "never", why: "it was not inspected"},
	} {
		e := inspected(t)
		r := e.facts["r"]
		if test.change != nil {
			test.change(&r)
		}
		e.facts["r"] = r
		if test.seen != "" {
			delete(e.facts, "r")
		}
		if test.seen == "earlier" {
			if err := e.emit(record.ServerInspected{Server: "r", Role: site.Rim, Facts: r}); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Join(e.cutsOff(test.todo), "; ")
		if strings.HasPrefix(got, "r, which ") != (test.why != "") || !strings.Contains(got, test.why) {
			t.Errorf("%s: %q; want %q", test.name, got, test.why)
		}
	}
}

// TestPace: no more than 15 dials in 5 seconds go from one server to another.
func TestPace(t *testing.T) {
	t.Parallel()
	e := inspected(t)
	var questions []proof.Question
	for i := range 40 {
		q := proof.Question{ID: string(rune('a' + i)), Target: proof.TargetListener, Address: netip.MustParseAddr("10.0.0.12")}
		q.Flow.From, q.Flow.To, q.Flow.Port = "c", "r", uint16(1000+i)
		questions = append(questions, q)
	}
	sides := e.sides(questions)
	in := map[time.Duration]int{}
	for _, d := range sides["c"].Dials {
		in[d.After/paceWindow]++
	}
	if len(in) != 3 || in[0] != 15 || in[1] != 15 || in[2] != 10 {
		t.Errorf("dials in each 5 s: %v; want 15, 15, 10", in)
	}
	if most := sides["r"].Limits.Most; most < 10*time.Second+e.Times.Dial {
		t.Errorf("the target serves %v at most, less than the last dial can take", most)
	}
}
