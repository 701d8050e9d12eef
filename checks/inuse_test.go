package checks_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/site"
)

// TestPortInUseLater: what listens on some ports of later releases is not a service's own program.
func TestPortInUseLater(t *testing.T) {
	t.Parallel()
	s := site.Site{Name: "s", Release: "may-2021", Nodes: []site.Node{
		{Name: "c", Role: site.Central, Services: []site.Service{site.Repository, site.Engine}},
		{Name: "r", Role: site.Rim, Services: []site.Service{site.Repository}},
	}}
	l := func(address string, pid int, process string) facts.Listener {
		return facts.Listener{Address: netip.MustParseAddrPort(address), PID: pid, Process: process}
	}
	server := func(state string, listeners ...facts.Listener) facts.Server {
		return facts.Server{Listeners: facts.Known(listeners), Services: facts.Known([]facts.Service{
			{Name: "QlikSenseServiceDispatcher", State: state, PID: 30}, {Name: "QlikSenseRepositoryDatabase", State: state, PID: 40}, {Name: "QlikSenseEngineService", State: "Running", PID: 50},
		})}
	}
	for _, test := range []struct {
		name string
		in   facts.Server
		want []string // "verdict level seen"
		node string
	}{
		{name: "as it should be", in: server("Running", l("0.0.0.0:4432", 41, "postgres"), l("[::]:4432", 41, "postgres"), l("0.0.0.0:4900", 31, "node"), l("0.0.0.0:4949", 32, "node"), l("0.0.0.0:4747", 50, "Engine")),
			want: []string{"pass inferred 6 ports are held by Qlik Sense or by nobody, likely so: postgres, as QlikSenseRepositoryDatabase starts it, holds 4432; node, as QlikSenseServiceDispatcher starts it, holds 4900,4949"}},
		{name: "a database installed apart", in: facts.Server{Services: facts.Known([]facts.Service{{Name: "QlikSenseEngineService", State: "Running", PID: 50}}), Listeners: facts.Known([]facts.Listener{l("0.0.0.0:4432", 41, "postgres")})},
			want: []string{"pass inferred 6 ports are held by Qlik Sense or by nobody, likely so: postgres, installed apart from Qlik Sense, holds 4432"}},
		{name: "nobody", in: server("Stopped"), want: []string{"pass observed 6 ports are held by Qlik Sense or by nobody"}},
		{name: "their services do not run", in: server("Stopped", l("0.0.0.0:4432", 41, "postgres"), l("0.0.0.0:4900", 31, "node")),
			want: []string{"unknown observed postgres (pid 41) listens, and whether it is Qlik Sense's is not known, on 4432; node (pid 31) listens, and whether it is Qlik Sense's is not known, on 4900"}},
		{name: "others", in: server("Running", l("0.0.0.0:4432", 9, "sqlservr"), l("0.0.0.0:4949", 9, "munin")),
			want: []string{"fail observed sqlservr (pid 9) listens on 4432", "unknown observed munin (pid 9) listens, and whether it is Qlik Sense's is not known, on 4949"}},
		{name: "node on the engine's port", in: server("Running", l("0.0.0.0:4747", 31, "node")), want: []string{"fail observed node (pid 31) listens on 4747"}},
		{name: "http.sys", in: server("Running", l("0.0.0.0:4900", 4, "System"), l("0.0.0.0:4747", 4, "System")),
			want: []string{"unknown observed http.sys, of which it is not known that Qlik Sense uses it there, listens on 4900"}},
		{name: "postgres on a rim, which has no database", node: "r", in: server("Running", l("0.0.0.0:4432", 9, "sqlservr")), want: []string{"pass observed 3 ports are held by Qlik Sense or by nobody"}},
	} {
		var got []string
		node := cmp.Or(test.node, "c")
		for _, f := range findings(checks.Input{Site: s, Servers: map[string]facts.Server{node: test.in}}, "port.in-use", node) {
			got = append(got, fmt.Sprintf("%s %s %s", f.Verdict, f.Level, f.Seen))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: findings\n%q\nwant\n%q", test.name, got, test.want)
		}
	}
}
