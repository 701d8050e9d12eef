package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/join"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// TestMayJoin: what has to be so for the join of a rim to begin.
func TestMayJoin(t *testing.T) {
	t.Parallel()
	all := func(proof.Proof) (proof.Verdict, facts.Level) { return proof.Service, facts.Proven }
	setup := func(p proof.Proof) bool { return p.From == "c" && p.To == "r" && p.Port == 4444 }
	open := func(s *facts.Server) {
		for profile, settings := range s.Firewall.Settings {
			settings.Enabled = rule.No
			s.Firewall.Settings[profile] = settings
		}
	}
	for _, test := range []struct {
		name   string
		closed bool // the firewalls are on, and no rule admits anything
		proves func(proof.Proof) (proof.Verdict, facts.Level)
		change func(c, r *facts.Server)
		says   string // "" if it may begin
	}{
		{name: "all is well"},
		{name: "rules are missing", closed: true, says: "r: c has no rule for 443,4144,4243 from 10.0.0.12, so nothing was begun"},
		{name: "4444 was not tested", says: "r: that c reaches its port 4444 is not proven",
			proves: func(p proof.Proof) (proof.Verdict, facts.Level) {
				if setup(p) {
					return proof.NotTested, facts.Observed
				}
				return all(p)
			}},
		{name: "4444 was seen from one end", says: "is not proven",
			proves: func(p proof.Proof) (proof.Verdict, facts.Level) {
				if setup(p) {
					return proof.Service, facts.Observed
				}
				return all(p)
			}},
		{name: "the others were not tested",
			proves: func(p proof.Proof) (proof.Verdict, facts.Level) {
				if setup(p) {
					return all(p)
				}
				return proof.NotTested, facts.Observed
			}},
		{name: "a flow to the central node fails", says: "r: 1 check failed",
			proves: func(p proof.Proof) (proof.Verdict, facts.Level) {
				if p.To == "c" && p.Port == 4242 {
					return proof.Dropped, facts.Proven
				}
				return all(p)
			}},
		{name: "its state is not known", says: "r: the state of its repository service is not known (refused)",
			change: func(_, r *facts.Server) { r.State = facts.Unknown[facts.ServiceState]("refused") }},
		{name: "its certificates are not known", says: "r: rim.certificates of r is not known (the certificates could not be read: denied)",
			change: func(_, r *facts.Server) { r.Certificates = facts.Unknown[[]facts.Certificate]("denied") }},
		{name: "the central node's rules are not known", says: "r: firewall.rule-missing of c is not known",
			change: func(c, _ *facts.Server) {
				c.Firewall.Unknown = []string{"rules-policy: denied"}
				c.Missing = []facts.Missing{{Fact: "rules-policy", Why: "denied"}}
			}},
		{name: "another program has its port", says: "r: 1 check failed",
			change: func(_, r *facts.Server) {
				r.Listeners.V = append(r.Listeners.V, facts.Listener{Address: r.Listeners.V[0].Address, PID: 9, Process: "httpd"})
				r.Listeners.V = r.Listeners.V[1:]
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := inspected(t)
			c, r := e.facts["c"], e.facts["r"]
			if !test.closed {
				open(&c)
				open(&r)
			}
			if test.change != nil {
				test.change(&c, &r)
			}
			e.facts["c"], e.facts["r"] = c, r
			if err := e.Plan(); err != nil {
				t.Fatal(err)
			}
			proves := test.proves
			if proves == nil {
				proves = all
			}
			for _, f := range e.flows {
				p := proof.Proof{ID: proof.ID(proof.AfterApply, f), Phase: proof.AfterApply, From: f.From, To: f.To, Port: f.Port, Service: string(f.Service), At: e.now()}
				p.Verdict, p.Level = proves(p)
				if err := e.emit(record.Proved{Proof: p}); err != nil {
					t.Fatal(err)
				}
			}
			err := e.mayJoin("r")
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || !errors.Is(err, ErrStopped)) {
				t.Errorf("%v, want %q", err, test.says)
			}
			if test.closed && len(e.input().Missing["r"]) == 0 {
				t.Error("the checks do not know of the rules that are missing")
			}
			if e.Record().Join != nil {
				t.Error("a join has begun")
			}
		})
	}
}

// TestMayJoinOther: what is wrong with another rim does not keep this one from joining, and what is proven of it is not
// taken for this one's.
func TestMayJoinOther(t *testing.T) {
	t.Parallel()
	one := inspected(t)
	s := one.Site
	second := s.Nodes[1]
	second.Name, second.Host = "r2", "r2"
	s.Nodes = append(s.Nodes, second)
	e, err := New(s, nil, noFolder{}, func(record.Event) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Start(record.RunStarted{RunID: "lab-1"}), e.Begin(record.CommandStarted{Name: "test"})); err != nil {
		t.Fatal(err)
	}
	c, r := one.facts["c"], one.facts["r"]
	for _, f := range []facts.Server{c, r} {
		settings := f.Firewall.Settings[rule.Domain]
		settings.Enabled = rule.No
		f.Firewall.Settings[rule.Domain] = settings
	}
	r2 := r
	at := netip.MustParseAddr("10.0.0.13")
	r2.Peers = []facts.Peer{{Name: "c", Addresses: r.Peers[0].Addresses, Source: at}}
	r2.Listeners = facts.Known([]facts.Listener{{Address: netip.MustParseAddrPort("0.0.0.0:443"), PID: 9, Process: "httpd"}})
	c.Peers = append(c.Peers, facts.Peer{Name: "r2", Addresses: []netip.Addr{at}, Source: c.Peers[0].Source})
	e.facts["c"], e.facts["r"], e.facts["r2"] = c, r, r2
	if err := e.Plan(); err != nil {
		t.Fatal(err)
	}
	prove := func(to string) {
		for _, f := range e.flows {
			p := proof.Proof{ID: proof.ID(proof.AfterApply, f), From: f.From, To: f.To, Port: f.Port, Phase: proof.AfterApply, At: e.now(), Verdict: proof.Service, Level: facts.Proven}
			if f.To == to {
				if err := e.emit(record.Proved{Proof: p}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	prove("r2")
	if err := e.mayJoin("r"); err == nil || !strings.Contains(err.Error(), "is not proven") {
		t.Errorf("another rim's 4444 is proven: %v", err)
	}
	prove("r")
	if err := e.mayJoin("r"); err != nil {
		t.Errorf("another rim has a port in use: %v", err)
	}
	if err := e.mayJoin("r2"); err == nil || !strings.Contains(err.Error(), "r2: 1 check failed") {
		t.Errorf("it has a port in use: %v", err)
	}
}

// TestMayJoinDrift: a rule that the approved plan does not hold is drift here too.
func TestMayJoinDrift(t *testing.T) {
	t.Parallel()
	e := inspected(t)
	if err := e.mayJoin("r"); !errors.Is(err, ErrDrift) {
		t.Errorf("%v, want drift", err)
	}
}

// TestToJoin: a rim is to join if it waits for its certificates, and in no other state.
func TestToJoin(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*facts.Server)
		want   int
	}{
		"waits":       {func(*facts.Server) {}, 1},
		"runs":        {func(r *facts.Server) { r.State = facts.Known(facts.Running) }, 0},
		"not known":   {func(r *facts.Server) { r.State = facts.Unknown[facts.ServiceState]("refused") }, 0},
		"not there":   {func(r *facts.Server) { r.Services.V, r.Releases.V = nil, nil }, 0},
		"initialises": {func(r *facts.Server) { r.State = facts.Known(facts.Initialising) }, 0},
	} {
		e := inspected(t)
		r := e.facts["r"]
		test.change(&r)
		e.facts["r"] = r
		if got := e.ToJoin(); len(got) != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestStepNames: the record calls the steps as the join does.
func TestStepNames(t *testing.T) {
	t.Parallel()
	if last := join.Steps[len(join.Steps)-1].ID; last != record.LastStep || join.RunningStep.ID != record.RunningStep {
		t.Errorf("%s is the last, %s that of a rim that runs", last, join.RunningStep.ID)
	}
}

// TestPortsOf: those of a server that the others dial, once each.
func TestPortsOf(t *testing.T) {
	t.Parallel()
	e := inspected(t)
	e.flows = append(e.flows, ports.Flow{From: "x", To: "r", Port: 4444})
	for server, want := range map[string]int{"r": 7, "c": 7} {
		if got := e.portsOf(server); len(got) != want || got[0] != 443 {
			t.Errorf("%s: %d", server, got)
		}
	}
}
