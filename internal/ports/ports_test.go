package ports

import (
	"errors"
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
	table := func(role site.Role) (rows []string) {
		for _, p := range r.Of(node("n", role, site.Services...)) {
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
	same(t, "central", table(site.Central), []string{
		"443 proxy tls clients", "4144 proxy tls clients", "4241 repository tls", "4242 repository tls", "4243 proxy tls",
		"5050 scheduler tls", "5051 scheduler tls",
	})
	same(t, "rim", table(site.Rim), []string{
		"443 proxy tls clients", "4144 proxy tls clients", "4241 repository tls", "4242 repository tls", "4243 proxy tls",
		"4444 repository http", "5051 scheduler tls",
	})
}

// What holds for every release.
func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, r := range catalogue {
		if names[r.Name] || len(r.Sources) == 0 || r.New == "" || r.Sure == "" {
			t.Errorf("%s: twice, or without its sources, or not described", r.Name)
		}
		names[r.Name] = true
		for _, s := range r.Sources {
			if s.What == "" || s.Where == "" && s != guide {
				t.Errorf("%s: a source without an address: %+v", r.Name, s)
			}
		}
		for _, n := range r.Notes {
			if n.Ports == "" || n.Why == "" {
				t.Errorf("%s: half a note: %+v", r.Name, n)
			}
		}
		if !slices.IsSortedFunc(r.Ports, func(a, b Port) int { return int(a.Number) - int(b.Number) }) {
			t.Errorf("%s: not sorted", r.Name)
		}
		for _, p := range r.Ports {
			switch {
			case p.Number == 4570:
				t.Errorf("%s: 4570 answers on localhost only and is never opened", r.Name)
			case p.Number == 4444 && (p.On != site.Rim || p.Speech != HTTP || len(p.From) != 1 || p.From[0] != central):
				t.Errorf("%s: 4444 is the rims' alone, plain HTTP, and for the central node", r.Name)
			case !slices.Contains(site.Services, p.Service):
				t.Errorf("%s %d: service %q is not one", r.Name, p.Number, p.Service)
			case p.Clients && p.Service != site.Proxy:
				t.Errorf("%s %d: browsers talk to the proxy only", r.Name, p.Number)
			case len(p.From) == 0 && !p.Clients:
				t.Errorf("%s %d: nobody dials it", r.Name, p.Number)
			case p.Speech == "" || p.Purpose == "":
				t.Errorf("%s %d: no speech or no purpose", r.Name, p.Number)
			case (p.Part.Name == "") != (p.Part.Starter == ""):
				t.Errorf("%s %d: half a part: %+v", r.Name, p.Number, p.Part)
			case p.Speech == Nothing && p.Part.Starter == "":
				t.Errorf("%s %d: it says nothing, and it is not told who may listen", r.Name, p.Number)
			}
			for _, on := range []site.Role{site.Central, site.Rim} {
				twice := 0
				for _, q := range r.Of(node("n", on, site.Services...)) {
					if q.Number == p.Number {
						twice++
					}
				}
				if twice > 1 {
					t.Errorf("%s %d: twice on the %s", r.Name, p.Number, on)
				}
			}
		}
	}
	if got := Names(); len(got) != len(names) || got[0] != "1.0.2" {
		t.Errorf("names %q", got)
	}
}

// What the entries hold, and what is different from one to the next.
func TestEntries(t *testing.T) {
	numbers := func(name string, role site.Role) string {
		r, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range r.Of(node("n", role, site.Services...)) {
			all = append(all, fmt.Sprint(p.Number))
		}
		return strings.Join(all, " ")
	}
	const (
		centralShared = "443 4239 4242 4243 4244 4432 4747 4899 4900 4949 5050"
		rimShared     = "443 4239 4242 4243 4244 4444 4747 4899 4900 4949 5151"
	)
	want := map[string][2]string{
		"1.0.2":         {"443 4144 4241 4242 4243 5050 5051", "443 4144 4241 4242 4243 4444 5051"},
		"2.x":           {"443 4239 4241 4242 4244 4747 5050", "443 4239 4241 4242 4244 4444 4747 5151"},
		"3.x":           {"443 4239 4241 4242 4244 4747 4899 4900 5050", "443 4239 4241 4242 4244 4444 4747 4899 5151"},
		"june-2017":     {centralShared, rimShared},
		"april-2018":    {centralShared, rimShared},
		"february-2019": {centralShared, rimShared},
		"august-2021":   {centralShared, rimShared},
		"november-2022": {centralShared, rimShared},
		"february-2024": {centralShared, rimShared},
		"november-2025": {centralShared, rimShared},
	}
	for _, name := range Names() {
		if got := [2]string{numbers(name, site.Central), numbers(name, site.Rim)}; got != want[name] {
			t.Errorf("%s: got %q, want %q", name, got, want[name])
		}
	}
	r, _ := Lookup("june-2017")
	for _, p := range r.Ports {
		if !p.Carried {
			t.Errorf("june-2017 %d: no page for it was seen", p.Number)
		}
	}
	if r, _ = Lookup("april-2018"); r.Ports[0].Carried {
		t.Error("april-2018 has a page of its own")
	}
}

func TestLookup(t *testing.T) {
	for asked, want := range map[string]string{
		"1.0.2": "1.0.2", "2.x": "2.x", "2.X": "2.x", "2.0": "2.x", "2.2.4": "2.x", "3.x": "3.x", "3.1": "3.x", "3.2.4.1": "3.x",
		"june-2017": "june-2017", "september-2017": "june-2017", "march-2018": "june-2017", "april-2018": "april-2018",
		"january-2019": "april-2018", "february-2019": "february-2019", "may-2021": "february-2019", "May-2021": "february-2019", "MAY-2021": "february-2019",
		"august-2021": "august-2021", "october-2022": "august-2021", "may-2023": "november-2022", "may-2025": "february-2024", "november-2025": "november-2025",
	} {
		r, err := Lookup(asked)
		if err != nil || r.Name != want || r.For != strings.ToLower(asked) {
			t.Errorf("%s: answered by %q for %q, %v; want %s", asked, r.Name, r.For, err, want)
		}
		if assumed := strings.Contains(r.Sure, "the same for "+r.For+" is assumed"); assumed != (r.For != r.Name) {
			t.Errorf("%s: %s", asked, r.Sure)
		}
	}
}

const has = "it has 1.0.2, 2.x, 3.x, june-2017, april-2018, february-2019, august-2021, november-2022, february-2024, november-2025, " +
	"and every month from june-2017 to november-2025, as may-2021"

func TestLookupUnknown(t *testing.T) {
	for asked, near := range map[string]string{
		"9.9\x1b[31m": "", "": "", "may": "", "2021": "", "smarch-2021": "", "q2-2021": "", "m-2021": "", "may-2017": "", "may-20211": "may-2021", "x": "",
		"may2021": "may-2021", "May 2021": "may-2021", "2021-may": "may-2021", "Qlik Sense May 2021 Patch 3": "may-2021", "nov-2025": "november-2025",
		"november 2025": "november-2025", "sept_2018": "september-2018", "may-2021-patch3": "may-2021",
		"1.0": "1.0.2", "1": "1.0.2", "1.1": "1.0.2", "2": "2.x", "2.3": "2.x", "2.10": "2.x", "3.9.1": "3.x", "v3": "3.x", "4.0": "", "12.0": "",
	} {
		r, err := Lookup(asked)
		want := fmt.Sprintf("release %q is not in the port catalogue; ", asked)
		if near != "" {
			want += "did you mean " + near + "? "
		}
		if err == nil || err.Error() != want+has {
			t.Errorf("got %v\nwant %s", err, want+has)
		}
		if r.Name != "" || len(r.Ports) > 0 {
			t.Errorf("%q: answered by %s", asked, r.Name)
		}
		if _, err := Lookup(near); near != "" && err != nil {
			t.Errorf("%q: %v", near, err)
		}
	}
	for _, newer := range []string{"december-2025", "May-2026"} {
		want := fmt.Sprintf("release %q is not in the port catalogue; write november-2025, the newest that is known, and compare with what the servers listen on", newer)
		if _, err := Lookup(newer); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	s := two
	s.Release = "9.9"
	if flows, err := Flows(s); err == nil || flows != nil || !strings.Contains(err.Error(), "1.0.2") {
		t.Errorf("Flows: got %v, %v", flows, err)
	}
}

// TestNamed: a release is known by its own name, and by the one that Windows lists it under.
func TestNamed(t *testing.T) {
	for text, want := range map[string]string{
		"Qlik Sense May 2021 Patch 3": "may-2021", "qlik sense 3.2.4": "3.2.4", " May-2021 ": "may-2021", "1.0.2": "1.0.2", "Qlik Sense May 2099": "", "QlikView 12": "",
	} {
		r, err := Named(text)
		var unknown *UnknownRelease
		if r.For != want || errors.As(err, &unknown) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", text, r.For, err, want)
		}
	}
}

func TestFromDisplayName(t *testing.T) {
	for name, want := range map[string]string{
		"Qlik Sense May 2021": "may-2021", "Qlik Sense May 2021 Patch 3": "may-2021", "Qlik Sense November 2025": "november-2025", "Qlik Sense May 2026": "may-2026",
		"Qlik Sense 1.0.2": "1.0.2", "Qlik Sense 3.2.4": "3.2.4", "Qlik Sense 3.2 SR4": "3.2", "  qlik  sense june 2017 ": "june-2017", "Qlik Sense 2.0": "2.0",
		"": "", "Qlik Sense": "", "Qlik Sense Desktop May 2021": "", "Qlik Sense Service Dispatcher": "", "Qlik Sense Smarch 2021": "", "QlikView May 2021": "",
		"Qlik Sense May 2021 Connectors": "", "Qlik Sense 3": "", "My Qlik Sense May 2021": "",
	} {
		got, ok := FromDisplayName(name)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", name, got, ok, want)
		}
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

// From June 2017 on rims dial each other, as their services ask for.
func TestFlowsOfLater(t *testing.T) {
	s := siteOf(node("r2", site.Rim, site.Repository, site.Engine, site.Printing), node("c", site.Central, all...), node("r1", site.Rim, site.Repository, site.Proxy, site.Scheduler))
	s.Release = "may-2021"
	want := []string{
		"c -> r2 4239 repository", "c -> r2 4242 repository", "c -> r2 4444 repository", "c -> r2 4747 engine", "c -> r2 4899 printing", "c -> r2 4900 engine", "c -> r2 4949 engine",
		"c -> r1 4239 repository", "c -> r1 4242 repository", "c -> r1 4243 proxy", "c -> r1 4444 repository", "c -> r1 5151 scheduler",
		"r2 -> c 4242 repository", "r2 -> c 4243 proxy", "r2 -> c 4432 repository",
		"r2 -> r1 4243 proxy",
		"r1 -> c 4239 repository", "r1 -> c 4242 repository", "r1 -> c 4243 proxy", "r1 -> c 4432 repository", "r1 -> c 4747 engine", "r1 -> c 4900 engine", "r1 -> c 4949 engine", "r1 -> c 5050 scheduler",
		"r1 -> r2 4239 repository", "r1 -> r2 4242 repository", "r1 -> r2 4747 engine", "r1 -> r2 4899 printing", "r1 -> r2 4900 engine", "r1 -> r2 4949 engine",
	}
	flows := flowsOf(t, s)
	same(t, "flows", texts(flows), want)
	for _, f := range flows {
		if (f.Port == 4432) != (f.Speech == Nothing) || (f.Port == 4432 || f.Port == 4900 || f.Port == 4949) != (f.Part.Starter != "") {
			t.Errorf("%s says %s, by %+v", f, f.Speech, f.Part)
		}
	}

	s.Release = "2.2.4"
	same(t, "synchronised", texts(flowsOf(t, s)), []string{
		"c -> r2 4239 repository", "c -> r2 4241 repository", "c -> r2 4242 repository", "c -> r2 4444 repository", "c -> r2 4747 engine",
		"c -> r1 4239 repository", "c -> r1 4241 repository", "c -> r1 4242 repository", "c -> r1 4444 repository", "c -> r1 5151 scheduler",
		"r2 -> c 4241 repository", "r2 -> c 4242 repository",
		"r1 -> c 4239 repository", "r1 -> c 4241 repository", "r1 -> c 4242 repository", "r1 -> c 4747 engine", "r1 -> c 5050 scheduler",
		"r1 -> r2 4239 repository", "r1 -> r2 4242 repository", "r1 -> r2 4747 engine",
	})
}

// Browsers' ports are no flows of later releases, but they are still opened to browsers, and only to them.
func TestWantsOfLater(t *testing.T) {
	s := siteOf(two.Nodes[0], node("qs-rim1", site.Rim, site.Repository, site.Proxy))
	s.Release, s.Clients = "november-2025", site.Networks{netip.MustParsePrefix("10.20.0.0/16")}
	flows := flowsOf(t, s)
	wants, lost := Wants(s, "qs-rim1", flows, routes(flows))
	same(t, "lost", texts(lost), nil)
	same(t, "rim", lines(wants), []string{
		"443 proxy 10.20.0.0/16 to 10.0.0.12: clients -> qs-rim1 443 proxy",
		"4239 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4239 repository",
		"4242 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4242 repository",
		"4243 proxy 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4243 proxy",
		"4244 proxy 10.20.0.0/16 to 10.0.0.12: clients -> qs-rim1 4244 proxy",
		"4444 repository 10.0.0.11/32 to 10.0.0.12: qs-central -> qs-rim1 4444 repository",
	})
}

// Who dials, in words.
func TestDialler(t *testing.T) {
	for d, want := range map[Dialler]string{
		central: "central node", rims: "rims", proxies: "proxy nodes", repositories: "every other node", rimSchedulers: "rims with scheduler",
	} {
		if d.String() != want {
			t.Errorf("got %q, want %q", d.String(), want)
		}
	}
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
