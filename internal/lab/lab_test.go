package lab_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
)

func start(t *testing.T, o lab.Options) (*lab.Lab, site.Site) {
	t.Helper()
	l, err := lab.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	text, err := l.SiteFile()
	if err != nil {
		t.Fatal(err)
	}
	s, err := site.Parse("lab.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return l, s
}

// inspect reads every server with preflight's own script.
func inspect(t *testing.T, l *lab.Lab, s site.Site) map[string]facts.Server {
	t.Helper()
	var peers []script.Peer
	for _, n := range s.Nodes {
		peers = append(peers, script.Peer{Name: n.Name, Host: n.Host})
	}
	var mu sync.Mutex
	servers := map[string]facts.Server{}
	var wg sync.WaitGroup
	for _, n := range s.Nodes {
		wg.Go(func() {
			f, err := script.Inspect(t.Context(), l.Host(n.Name), n.Role == site.Rim, peers)
			if err != nil || len(f.Missing) > 0 {
				t.Errorf("%s: %v, %v", n.Name, err, f.Missing)
			}
			mu.Lock()
			defer mu.Unlock()
			servers[n.Name] = f
		})
	}
	wg.Wait()
	return servers
}

func flows(t *testing.T, s site.Site) []ports.Flow {
	t.Helper()
	all, err := ports.Flows(s)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// missing is what the product would add, and what it says it cannot, a line each.
func missing(t *testing.T, s site.Site, servers map[string]facts.Server) []string {
	t.Helper()
	all := flows(t, s)
	routes := map[[2]string]ports.Route{}
	for _, f := range all {
		p, _ := servers[f.From].Peer(f.To)
		routes[[2]string{f.From, f.To}] = ports.Route{From: p.Source, To: p.Addresses[0]}
	}
	var lines []string
	for name, server := range servers {
		wants, lost := ports.Wants(s, name, all, routes)
		if len(lost) > 0 {
			t.Errorf("%s: lost %v", name, lost)
		}
		changes, _, conflicts := firewall.Plan(server.Firewall, s.Name, false, wants)
		for _, c := range changes {
			lines = append(lines, fmt.Sprint(name, " ", c.Ports, " from ", c.From))
		}
		for _, c := range conflicts {
			lines = append(lines, fmt.Sprint(name, " ", c.Port, " blocked"))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// reach dials every flow of the site. A service must answer those that open is true of, and the others be dropped: they
// wait for a moment only, so a slow machine cannot fail the test.
func reach(t *testing.T, l *lab.Lab, s site.Site, open func(ports.Flow) bool) {
	t.Helper()
	var want, got []string
	for _, f := range flows(t, s) {
		if open(f) {
			want = append(want, fmt.Sprintf("%s -> %s %d", f.From, f.To, f.Port))
		}
	}
	for expected, limit := range map[bool]time.Duration{true: 5 * time.Second, false: 100 * time.Millisecond} {
		dials := dial(t, l, s, limit, func(f ports.Flow) bool { return open(f) == expected })
		for id, d := range dials {
			if d.Result == "open" && len(d.Reply) > 0 {
				got = append(got, id)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what can be reached:\n%s", diff)
	}
}

// dial dials some of the flows with preflight's own script.
func dial(t *testing.T, l *lab.Lab, s site.Site, limit time.Duration, which func(ports.Flow) bool) map[string]proof.Dial {
	t.Helper()
	sides := map[string]script.Side{}
	for _, f := range flows(t, s) {
		if !which(f) {
			continue
		}
		side := sides[f.From]
		side.Limits = script.Limits{Dial: limit, Least: 20 * time.Millisecond, Most: 2 * limit}
		side.Dials = append(side.Dials, script.Dial{ID: fmt.Sprintf("%s -> %s %d", f.From, f.To, f.Port), Address: l.Host(f.To).Address.Addr(), Port: f.Port, Words: string(f.Speech)})
		sides[f.From] = side
	}
	var mu sync.Mutex
	dials := map[string]proof.Dial{}
	var wg sync.WaitGroup
	for name, side := range sides {
		wg.Go(func() {
			p := script.StartProve(t.Context(), l.Host(name), side)
			if err := p.Ready(); err != nil {
				t.Error(err)
			}
			p.Go()
			r := p.Report()
			if r.Lost != "" {
				t.Errorf("%s: %s", name, r.Lost)
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(dials, r.Dials)
		})
	}
	wg.Wait()
	return dials
}

func none(ports.Flow) bool  { return false }
func every(ports.Flow) bool { return true }

// needs are the lines of missing for a node that is open to nobody. Ports with the same sources share a line.
func needs(name, peer string) []string {
	from := " from [" + peer + "/32]"
	browsers := " from [" + peer + "/32 10.20.0.0/16]"
	if name == "qs-central" {
		return []string{name + " [4241 4242]" + from, name + " [4243]" + from, name + " [443 4144]" + browsers, name + " [5050 5051]" + from}
	}
	return []string{name + " [4241 4242 4444]" + from, name + " [4243]" + from, name + " [443 4144]" + browsers, name + " [5051]" + from}
}

func blocked(name string, ports ...int) []string {
	var lines []string
	for _, port := range ports {
		lines = append(lines, fmt.Sprint(name, " ", port, " blocked"))
	}
	return lines
}

func listening(s facts.Server) string {
	var all []string
	for _, l := range s.Listeners.V {
		all = append(all, fmt.Sprintf("%d %s", l.Address.Port(), l.Process))
	}
	return strings.Join(all, ", ")
}

// TestScenarios: each starts and is what it says it is, seen with preflight's own eyes: what a rule is missing for, what
// can be reached, and what inspect reads.
func TestScenarios(t *testing.T) {
	t.Parallel()
	clean := slices.Concat(needs("qs-central", "10.0.0.12"), needs("qs-rim1", "10.0.0.11"))
	const (
		runs  = "443 Proxy, 4144 Proxy, 4241 Repository, 4242 Repository, 4243 Proxy, 4444 Repository, 5051 Scheduler"
		waits = "4444 Repository"
	)
	tests := map[string]struct {
		missing []string
		reached func(ports.Flow) bool
		rims    []string // what listens on each
		state   []facts.ServiceState
		roots   []string // of the last rim
		more    func(t *testing.T, l *lab.Lab, s site.Site)
	}{
		"clean":          {missing: clean, reached: none, rims: []string{waits}},
		"joined":         {reached: every, rims: []string{runs}, state: []facts.ServiceState{facts.Running}, roots: []string{"CN=qs-central-CA"}},
		"already-open":   {reached: func(f ports.Flow) bool { return f.To == "qs-central" || f.Port == 4444 }, rims: []string{waits}},
		"port-in-use":    {missing: clean, reached: none, rims: []string{"443 httpd, " + waits}},
		"wrong-password": {missing: clean, reached: none, rims: []string{waits}, more: passwordRejected},
		"winrm-down":     {missing: clean, reached: none, rims: []string{waits}, more: portRefused},
		"stale-certificates": {
			missing: clean, reached: none, rims: []string{waits}, roots: []string{"CN=old-central-CA"},
		},
		"half-join": {missing: clean, reached: none, rims: []string{waits}, more: halfJoined},
		"slow":      {missing: clean, rims: []string{waits}, more: slow},
		"gpo-merge-off": {
			missing: slices.Concat(needs("qs-central", "10.0.0.12"), blocked("qs-rim1", 443, 4144, 4241, 4242, 4243, 4444, 5051)),
			reached: none, rims: []string{waits}, more: addedInVain,
		},
		"block-rule": {
			missing: slices.Concat(needs("qs-central", "10.0.0.12"), blocked("qs-rim1", 4241, 4242),
				[]string{"qs-rim1 [4243] from [10.0.0.11/32]", "qs-rim1 [443 4144] from [10.0.0.11/32 10.20.0.0/16]", "qs-rim1 [4444] from [10.0.0.11/32]", "qs-rim1 [5051] from [10.0.0.11/32]"}),
			reached: none, rims: []string{waits}, more: blockRule,
		},
		"second-rim": {
			// The clients are already admitted on the central node.
			missing: slices.Concat([]string{"qs-central [4241 4242] from [10.0.0.13/32]", "qs-central [443 4144 4243] from [10.0.0.13/32]", "qs-central [5050 5051] from [10.0.0.13/32]"}, needs("qs-rim2", "10.0.0.11")),
			reached: func(f ports.Flow) bool { return f.From != "qs-rim2" && f.To != "qs-rim2" },
			rims:    []string{runs, waits}, state: []facts.ServiceState{facts.Running, facts.CertificatesNotInstalled},
		},
	}
	for _, sc := range lab.Scenarios {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			test, ok := tests[sc.Name]
			if !ok {
				t.Fatal("it has no test")
			}
			if !strings.HasSuffix(sc.Does, ".") || len(sc.Does) > 59 {
				t.Errorf("not a short sentence: %q", sc.Does)
			}
			l, s := start(t, lab.Options{Scenario: sc.Name})
			servers := inspect(t, l, s)
			slices.Sort(test.missing)
			if diff := cmp.Diff(test.missing, missing(t, s, servers)); diff != "" {
				t.Errorf("rules that are missing:\n%s", diff)
			}
			if test.reached != nil {
				reach(t, l, s, test.reached)
			}
			if got, want := listening(servers["qs-central"]), "443 Proxy, 4144 Proxy, 4241 Repository, 4242 Repository, 4243 Proxy, 5050 Scheduler, 5051 Scheduler"; got != want {
				t.Errorf("qs-central listens on %s, want %s", got, want)
			}
			if len(s.Rims()) != len(test.rims) {
				t.Fatalf("%d rims, want %d", len(s.Rims()), len(test.rims))
			}
			for i, n := range s.Rims() {
				state := facts.CertificatesNotInstalled
				if test.state != nil {
					state = test.state[i]
				}
				if got := servers[n.Name]; got.State.V != state || listening(got) != test.rims[i] {
					t.Errorf("%s is %v and listens on %s, want %v and %s", n.Name, got.State, listening(got), state, test.rims[i])
				}
			}
			var roots []string
			for _, c := range servers[s.Nodes[len(s.Nodes)-1].Name].Roots() {
				roots = append(roots, c.Subject)
			}
			if !slices.Equal(roots, test.roots) {
				t.Errorf("the last rim trusts %q, want %q", roots, test.roots)
			}
			if test.more != nil {
				test.more(t, l, s)
			}
		})
	}
}

// TestJoinedRims: any number of rims, with the certificates of one site.
func TestJoinedRims(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Scenario: "joined", Rims: 3})
	servers := inspect(t, l, s)
	if got := missing(t, s, servers); len(got) > 0 {
		t.Errorf("rules are missing: %q", got)
	}
	reach(t, l, s, every)
	root := servers["qs-central"].Roots()
	if len(root) != 1 || root[0].Subject != "CN=qs-central-CA" {
		t.Fatalf("the central node trusts %+v", root)
	}
	thumbprints := map[string]bool{root[0].Thumbprint: true}
	for name, f := range servers {
		if got := f.Roots(); !slices.Equal(got, root) {
			t.Errorf("%s trusts %+v, want %+v", name, got, root)
		}
		i := slices.IndexFunc(f.Certificates.V, func(c facts.Certificate) bool { return c.Store == "my" })
		if i < 0 || f.Certificates.V[i].Subject != "CN="+name || f.Certificates.V[i].Issuer != root[0].Subject {
			t.Fatalf("%s has %+v", name, f.Certificates)
		}
		thumbprints[f.Certificates.V[i].Thumbprint] = true
	}
	if len(thumbprints) != 5 {
		t.Errorf("the thumbprints are %v", thumbprints)
	}
}

// sign signs in to a server with the password that the lab gives.
func sign(t *testing.T, l *lab.Lab, n site.Node) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.CA())
	session, err := winrm.Dial(t.Context(), winrm.Endpoint{Host: n.WinRM.Address, Port: n.WinRM.Port, HTTPS: true, Roots: roots}, winrm.Credential{User: lab.User, Password: winrm.Password(l.Password())})
	if err == nil {
		session.Close()
	}
	return err
}

func kind(err error) winrm.Kind {
	var e *winrm.Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Kind
}

func TestPassword(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{})
	for _, n := range s.Nodes {
		if err := sign(t, l, n); err != nil {
			t.Error(err)
		}
		if accepted, rejected := l.Attempts(n.Name); accepted == 0 || rejected != 0 {
			t.Errorf("%s: %d accepted, %d rejected", n.Name, accepted, rejected)
		}
	}
}

func passwordRejected(t *testing.T, l *lab.Lab, s site.Site) {
	for _, n := range s.Nodes {
		if err := sign(t, l, n); kind(err) != winrm.KindRejected {
			t.Errorf("%s: %v, want a rejection", n.Name, err)
		}
		if accepted, rejected := l.Attempts(n.Name); accepted != 0 || rejected != 1 {
			t.Errorf("%s: %d accepted, %d rejected, want one rejected", n.Name, accepted, rejected)
		}
	}
}

// portRefused: only the last rim's port refuses, and nobody else can listen there while the lab runs.
func portRefused(t *testing.T, l *lab.Lab, s site.Site) {
	down := s.Nodes[len(s.Nodes)-1]
	for range 3 {
		if err := sign(t, l, down); kind(err) != winrm.KindRefused {
			t.Errorf("%s: %v, want a refusal", down.Name, err)
		}
	}
	address := net.JoinHostPort(down.WinRM.Address, strconv.Itoa(down.WinRM.Port))
	if ln, err := net.Listen("tcp4", address); err == nil {
		ln.Close()
		t.Errorf("somebody else can listen on %s", address)
	}
	if accepted, rejected := l.Attempts(down.Name); accepted != 0 || rejected != 0 {
		t.Errorf("%s: %d accepted, %d rejected", down.Name, accepted, rejected)
	}
	if err := sign(t, l, s.Central()); err != nil {
		t.Error(err)
	}
	l.Close()
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatalf("the closed lab still holds the port: %v", err)
	}
	ln.Close()
}

// addRule adds a rule for the central node to the rim with preflight's script, and tells whether it is in force.
func addRule(t *testing.T, l *lab.Lab, ports ...uint16) bool {
	t.Helper()
	adding := script.StartAdd(t.Context(), l.Host("qs-rim1"))
	out, err := adding.Add(script.Rule{
		ID: "preflight-0123456789abcdef0123", Name: "test", Ports: ports,
		From: []netip.Prefix{netip.MustParsePrefix("10.0.0.11/32")}, Profiles: rule.Profiles(rule.Domain),
	})
	if err != nil || out.Kind != "added" {
		t.Fatalf("Add = %+v, %v", out, err)
	}
	live, err := adding.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return live.V
}

func addedInVain(t *testing.T, l *lab.Lab, s site.Site) {
	if addRule(t, l, 4444) {
		t.Error("a rule is said to be in force")
	}
	reach(t, l, s, none)
}

// blockRule: the rule is one that the parser understands to the end, and it beats an Allow rule.
func blockRule(t *testing.T, l *lab.Lab, s site.Site) {
	found := false
	for _, text := range l.Host("qs-rim1").Rules("local") {
		r, err := rule.Parse(text)
		if err != nil || len(r.Conditions) > 0 {
			t.Errorf("%s: %v, %q", text, err, r.Conditions)
		}
		if r.Action == rule.Block {
			found = r.Name == "Block legacy sync" && r.LocalPorts.Equal(rule.PortList(4241, 4242)) && r.RemoteAddrs.Any() && r.Protocol == rule.TCP
		}
	}
	if !found {
		t.Error("there is no such rule")
	}
	if _, err := l.Host("qs-rim1").Listen(4242, 1988); err != nil {
		t.Fatal(err)
	}
	addRule(t, l, 4242, 4444)
	reach(t, l, s, func(f ports.Flow) bool { return f.To == "qs-rim1" && f.Port == 4444 })
}

func slow(t *testing.T, l *lab.Lab, _ site.Site) {
	began := time.Now()
	if !addRule(t, l, 4444) {
		t.Error("the rule is not in force")
	}
	if took := time.Since(began); took < 750*time.Millisecond {
		t.Errorf("adding a rule took %v", took)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	const known = "clean, joined, second-rim, already-open, gpo-merge-off, block-rule, port-in-use, wrong-password, winrm-down, stale-certificates, half-join, slow"
	for _, test := range []struct {
		options lab.Options
		want    string // error, or the names of the nodes
	}{
		{lab.Options{}, "qs-central qs-rim1"},
		{lab.Options{Scenario: "second-rim"}, "qs-central qs-rim1 qs-rim2"},
		{lab.Options{Scenario: "second-rim", Rims: 3}, "qs-central qs-rim1 qs-rim2 qs-rim3"},
		{lab.Options{Scenario: "second-rim", Rims: 1}, `scenario "second-rim" needs at least 2 rim nodes, not 1`},
		{lab.Options{Rims: -1}, "a lab has 1 to 20 rim nodes, not -1"},
		{lab.Options{Rims: 21}, "a lab has 1 to 20 rim nodes, not 21"},
		{lab.Options{Scenario: "x"}, `scenario "x" is not known; there are ` + known},
		{lab.Options{Scenario: "Clean\x1b"}, `scenario "Clean\x1b" is not known; there are ` + known},
	} {
		l, err := lab.Start(test.options)
		if err != nil {
			if _, ok := errors.AsType[lab.OptionError](err); !ok || err.Error() != test.want {
				t.Errorf("Start(%+v): %T %v, want %s", test.options, err, err, test.want)
			}
			continue
		}
		l.Close()
		text, err := l.SiteFile()
		if err != nil {
			t.Fatal(err)
		}
		s, err := site.Parse("lab.yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range s.Nodes {
			names = append(names, n.Name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("Start(%+v) has %s, want %s", test.options, got, test.want)
		}
	}
}

// TestMany: the largest site starts, and every node has an address and a WinRM port of its own.
func TestMany(t *testing.T) {
	t.Parallel()
	_, s := start(t, lab.Options{Scenario: "joined", Rims: 20})
	all := map[int]bool{}
	for _, n := range s.Nodes {
		all[n.WinRM.Port] = true
	}
	if len(all) != 21 {
		t.Errorf("%d ports", len(all))
	}
}
