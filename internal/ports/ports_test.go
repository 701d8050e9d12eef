package ports

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/site"
)

var all = []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler}

func node(name string, role site.Role, services ...site.Service) site.Node {
	return site.Node{Name: name, Role: role, Host: name, Services: services}
}

func siteOf(nodes ...site.Node) site.Site {
	return site.Site{Name: "finance-bi", Release: "1.0.2", Nodes: nodes}
}

var (
	two   = siteOf(node("qs-central", site.Central, all...), node("qs-rim1", site.Rim, all...))
	three = siteOf(append(slices.Clone(two.Nodes), node("qs-rim2", site.Rim, site.Repository, site.Proxy, site.Engine))...)
)

func flowsOf(t *testing.T, s site.Site) []Flow {
	t.Helper()
	flows, err := Flows(s)
	if err != nil {
		t.Fatal(err)
	}
	return flows
}

// texts are things as their strings, which read better where they differ.
func texts[T any](things []T) []string {
	var list []string
	for _, v := range things {
		list = append(list, fmt.Sprint(v))
	}
	return list
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// The guide's table, exactly, with the service each port belongs to.
func TestGuide(t *testing.T) {
	r, err := Lookup("1.0.2")
	if err != nil {
		t.Fatal(err)
	}
	table := func(ports []Port) (rows []string) {
		for _, p := range ports {
			row := fmt.Sprintf("%d %s %s", p.Number, p.Service, p.Speech)
			if p.Clients {
				row += " clients"
			}
			rows = append(rows, row)
			if p.Purpose == "" {
				t.Errorf("%d has no purpose", p.Number)
			}
		}
		return rows
	}
	same(t, "central", table(r.Central), []string{
		"443 proxy tls clients", "4144 proxy tls clients", "4241 repository tls", "4242 repository tls", "4243 proxy tls",
		"5050 scheduler tls", "5051 scheduler tls",
	})
	same(t, "rim", table(r.Rim), []string{
		"443 proxy tls clients", "4144 proxy tls clients", "4241 repository tls", "4242 repository tls", "4243 proxy tls",
		"4444 repository http", "5051 scheduler tls",
	})
}

// What holds for every release.
func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, r := range catalogue {
		if names[r.Name] || r.Source == "" {
			t.Errorf("%s: twice, or without its source", r.Name)
		}
		names[r.Name] = true
		for role, ports := range map[site.Role][]Port{site.Central: r.Central, site.Rim: r.Rim} {
			if !slices.IsSortedFunc(ports, func(a, b Port) int { return int(a.Number) - int(b.Number) }) {
				t.Errorf("%s %s: not sorted", r.Name, role)
			}
			for _, p := range ports {
				switch {
				case p.Number == 4570:
					t.Errorf("%s %s: 4570 answers on localhost only and is never opened", r.Name, role)
				case p.Number == 4444 && role == site.Central:
					t.Errorf("%s: 4444 is opened on rims only", r.Name)
				case !slices.Contains(site.Services, p.Service):
					t.Errorf("%s %s %d: service %q is not one", r.Name, role, p.Number, p.Service)
				case p.Clients && p.Service != site.Proxy:
					t.Errorf("%s %s %d: browsers talk to the proxy only", r.Name, role, p.Number)
				}
			}
		}
	}
}

func TestLookupUnknown(t *testing.T) {
	_, err := Lookup("9.9\x1b[31m")
	if want := `release "9.9\x1b[31m" is not in the port catalogue; it has 1.0.2`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	s := two
	s.Release = "9.9"
	if flows, err := Flows(s); err == nil || flows != nil || !strings.Contains(err.Error(), "1.0.2") {
		t.Errorf("Flows: got %v, %v", flows, err)
	}
}

func TestFlowsOfTwo(t *testing.T) {
	same(t, "flows", texts(flowsOf(t, two)), []string{
		"qs-central -> qs-rim1 443 proxy",
		"qs-central -> qs-rim1 4144 proxy",
		"qs-central -> qs-rim1 4241 repository",
		"qs-central -> qs-rim1 4242 repository",
		"qs-central -> qs-rim1 4243 proxy",
		"qs-central -> qs-rim1 4444 repository",
		"qs-central -> qs-rim1 5051 scheduler",
		"qs-rim1 -> qs-central 443 proxy",
		"qs-rim1 -> qs-central 4144 proxy",
		"qs-rim1 -> qs-central 4241 repository",
		"qs-rim1 -> qs-central 4242 repository",
		"qs-rim1 -> qs-central 4243 proxy",
		"qs-rim1 -> qs-central 5050 scheduler",
		"qs-rim1 -> qs-central 5051 scheduler",
	})
}

func TestFlowsOfThree(t *testing.T) {
	flows := flowsOf(t, three)
	count := map[string]int{}
	for _, f := range flows {
		count[f.From+" -> "+f.To]++
		if f.From != "qs-central" && f.To != "qs-central" {
			t.Errorf("%s: rims do not dial each other", f)
		}
		if f.Why == "" || f.Speech == "" {
			t.Errorf("%s: no reason or no speech", f)
		}
		if f.Port == 4444 && (f.To == "qs-central" || f.Speech != HTTP) {
			t.Errorf("%s: 4444 is the rims', and plain HTTP", f)
		}
	}
	want := map[string]int{"qs-central -> qs-rim1": 7, "qs-central -> qs-rim2": 6, "qs-rim1 -> qs-central": 7, "qs-rim2 -> qs-central": 7}
	if len(flows) != 27 || !reflect.DeepEqual(count, want) {
		t.Errorf("got %d flows, %v; want 27, %v", len(flows), count, want)
	}
	// The file's order is the flows' order, wherever the central node stands in it.
	last := siteOf(three.Nodes[1], three.Nodes[2], three.Nodes[0])
	same(t, "central node last", texts(flowsOf(t, last)), texts(flows))
}

// A node needs no port of a service it does not run.
func TestWithout(t *testing.T) {
	r, err := Lookup("1.0.2")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		node site.Node
		want []uint16
	}{
		{node("r", site.Rim, site.Repository), []uint16{4241, 4242, 4444}},
		{node("r", site.Rim, site.Repository, site.Engine, site.Printing), []uint16{4241, 4242, 4444}},
		{node("r", site.Rim, site.Repository, site.Scheduler), []uint16{4241, 4242, 4444, 5051}},
		{node("r", site.Rim, site.Repository, site.Proxy), []uint16{443, 4144, 4241, 4242, 4243, 4444}},
		{node("c", site.Central, site.Repository), []uint16{4241, 4242}},
		{node("c", site.Central, site.Repository, site.Scheduler), []uint16{4241, 4242, 5050, 5051}},
	} {
		var got []uint16
		for _, p := range r.Of(c.node) {
			got = append(got, p.Number)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s with %v: got %v, want %v", c.node.Role, c.node.Services, got, c.want)
		}
	}
}

var addresses = map[string]netip.Addr{
	"qs-central": netip.MustParseAddr("10.0.0.11"),
	"qs-rim1":    netip.MustParseAddr("10.0.0.12"),
	"qs-rim2":    netip.MustParseAddr("10.0.0.13"),
}

// routes are the ways of all flows but those from some nodes.
func routes(flows []Flow, but ...string) map[[2]string]Route {
	m := map[[2]string]Route{}
	for _, f := range flows {
		if !slices.Contains(but, f.From) {
			m[[2]string{f.From, f.To}] = Route{From: addresses[f.From], To: addresses[f.To]}
		}
	}
	return m
}

// lines are wants in short.
func lines(wants []firewall.Want) (list []string) {
	for _, w := range wants {
		list = append(list, fmt.Sprintf("%d %s %s to %s: %s", w.Port, w.Group, w.From, w.To, w.Why))
	}
	return list
}

func TestWants(t *testing.T) {
	s := three
	s.Clients = site.Networks{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("192.0.2.7/32")}
	flows := flowsOf(t, s)

	wants, lost := Wants(s, "qs-central", flows, routes(flows))
	same(t, "lost", texts(lost), nil)
	var want []string
	for _, p := range []struct {
		port    int
		service string
		clients bool
	}{
		{443, "proxy", true}, {4144, "proxy", true}, {4241, "repository", false}, {4242, "repository", false},
		{4243, "proxy", false}, {5050, "scheduler", false}, {5051, "scheduler", false},
	} {
		line := func(from, who string) {
			want = append(want, fmt.Sprintf("%d %s %s to 10.0.0.11: %s -> qs-central %d %s", p.port, p.service, from, who, p.port, p.service))
		}
		line("10.0.0.12/32", "qs-rim1")
		line("10.0.0.13/32", "qs-rim2")
		if p.clients {
			line("10.20.0.0/16", "clients")
			line("192.0.2.7/32", "clients")
		}
	}
	same(t, "central", lines(wants), want)

	wants, lost = Wants(s, "qs-rim2", flows, routes(flows))
	same(t, "lost", texts(lost), nil)
	same(t, "rim", lines(wants), []string{
		"443 proxy 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 443 proxy",
		"443 proxy 10.20.0.0/16 to 10.0.0.13: clients -> qs-rim2 443 proxy",
		"443 proxy 192.0.2.7/32 to 10.0.0.13: clients -> qs-rim2 443 proxy",
		"4144 proxy 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 4144 proxy",
		"4144 proxy 10.20.0.0/16 to 10.0.0.13: clients -> qs-rim2 4144 proxy",
		"4144 proxy 192.0.2.7/32 to 10.0.0.13: clients -> qs-rim2 4144 proxy",
		"4241 repository 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 4241 repository",
		"4242 repository 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 4242 repository",
		"4243 proxy 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 4243 proxy",
		"4444 repository 10.0.0.11/32 to 10.0.0.13: qs-central -> qs-rim2 4444 repository",
	})
}

// No browser goes to a node without a proxy, and nobody from everywhere unless the site file says so.
func TestWantsOfClients(t *testing.T) {
	s := siteOf(two.Nodes[0], node("qs-rim1", site.Rim, site.Repository, site.Engine))
	s.Clients = site.Networks{netip.MustParsePrefix("10.20.0.0/16")}
	flows := flowsOf(t, s)
	wants, _ := Wants(s, "qs-rim1", flows, routes(flows))
	same(t, "no proxy", lines(wants), []string{
		"4241 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4241 repository",
		"4242 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4242 repository",
		"4444 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4444 repository",
	})
	s.Clients = nil
	wants, _ = Wants(s, "qs-central", flows, routes(flows))
	if len(wants) != 7 {
		t.Errorf("no clients: got %d wants, want 7", len(wants))
	}
	for _, w := range wants {
		if w.From != netip.MustParsePrefix("10.0.0.12/32") {
			t.Errorf("no clients: %d from %s", w.Port, w.From)
		}
	}
}

// A flow whose addresses are not known is lost, and only that.
func TestWantsLost(t *testing.T) {
	s := three
	s.Clients = site.Networks{netip.MustParsePrefix("10.20.0.0/16")}
	flows := flowsOf(t, s)
	wants, lost := Wants(s, "qs-central", flows, routes(flows, "qs-rim2"))
	same(t, "lost", texts(lost), []string{
		"qs-rim2 -> qs-central 443 proxy",
		"qs-rim2 -> qs-central 4144 proxy",
		"qs-rim2 -> qs-central 4241 repository",
		"qs-rim2 -> qs-central 4242 repository",
		"qs-rim2 -> qs-central 4243 proxy",
		"qs-rim2 -> qs-central 5050 scheduler",
		"qs-rim2 -> qs-central 5051 scheduler",
	})
	if len(wants) != 7+2 {
		t.Errorf("got %d wants, want qs-rim1's 7 and the clients' 2", len(wants))
	}
	// Without any route even the server's own address is not known: nothing is wanted, and the lost flows say so.
	wants, lost = Wants(s, "qs-central", flows, nil)
	if len(wants) != 0 || len(lost) != 14 {
		t.Errorf("no routes: %d wants, %d lost", len(wants), len(lost))
	}
	s.Release = "9.9"
	if wants, lost = Wants(s, "qs-central", flows, routes(flows)); len(wants) != 0 || len(lost) != len(flows) {
		t.Errorf("unknown release: %d wants, %d lost", len(wants), len(lost))
	}
}
