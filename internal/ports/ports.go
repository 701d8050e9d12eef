// Package ports is the port catalogue: which ports each release of Qlik Sense needs, and so who must be able to dial whom
// in a site. What a site's flows are depends on its site file alone.
package ports

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Speech is what a service says to whoever connects; a proof expects to hear it.
type Speech string

const (
	TLS  Speech = "tls"
	HTTP Speech = "http"
)

// Port is one inbound TCP port of a role.
type Port struct {
	Number  uint16
	Service site.Service // whose port it is: a node without it does not need the port
	Speech  Speech
	Purpose string
	Clients bool // people's browsers use it too
}

// Release is a catalogue entry.
type Release struct {
	Name         string
	Central, Rim []Port
	Source       string
}

// catalogue holds the releases. 1.0.2 is the multi-node guide's table, exactly, although every later source prints
// 4244 for its 4144 and 5151 for its 5051.
var catalogue = []Release{{
	Name:   "1.0.2",
	Source: "multi-node guide for Qlik Sense 1.0.2",
	Central: []Port{
		{443, site.Proxy, TLS, "browsers and the other nodes' services, https", true},
		{4144, site.Proxy, TLS, "Windows authentication of the proxy", true},
		{4241, site.Repository, TLS, "synchronisation between repositories", false},
		{4242, site.Repository, TLS, "repository API", false},
		{4243, site.Proxy, TLS, "proxy API", false},
		{5050, site.Scheduler, TLS, "master scheduler", false},
		{5051, site.Scheduler, TLS, "slave scheduler", false},
	},
	Rim: []Port{
		{443, site.Proxy, TLS, "browsers and the other nodes' services, https", true},
		{4144, site.Proxy, TLS, "Windows authentication of the proxy", true},
		{4241, site.Repository, TLS, "synchronisation between repositories", false},
		{4242, site.Repository, TLS, "repository API", false},
		{4243, site.Proxy, TLS, "proxy API", false},
		{4444, site.Repository, HTTP, "the central node sends the certificate here", false},
		{5051, site.Scheduler, TLS, "slave scheduler", false},
	},
}}

// Lookup finds a catalogue entry.
func Lookup(release string) (Release, error) {
	var names []string
	for _, r := range catalogue {
		if r.Name == release {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Release{}, fmt.Errorf("release %q is not in the port catalogue; it has %s", release, strings.Join(names, ", "))
}

// Of is what the catalogue says a node needs: the ports of its role whose service it runs.
func (r Release) Of(n site.Node) []Port {
	all := r.Rim
	if n.Role == site.Central {
		all = r.Central
	}
	var ports []Port
	for _, p := range all {
		if n.Runs(p.Service) {
			ports = append(ports, p)
		}
	}
	return ports
}

// Flow is one connection that has to be possible: source, destination, port, and the service it is for.
type Flow struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Port    uint16       `json:"port"`
	Service site.Service `json:"service"`
	Speech  Speech       `json:"-"`
	Why     string       `json:"why"`
}

func (f Flow) String() string { return fmt.Sprintf("%s -> %s %d %s", f.From, f.To, f.Port, f.Service) }

// Flows are the site's flows: the central node dials each rim on the rim's ports and each rim the central node on its
// own, sorted by source, destination and port in the order of the site file.
func Flows(s site.Site) ([]Flow, error) {
	r, err := Lookup(s.Release)
	if err != nil {
		return nil, err
	}
	var flows []Flow
	add := func(from, to site.Node) {
		for _, p := range r.Of(to) {
			flows = append(flows, Flow{From: from.Name, To: to.Name, Port: p.Number, Service: p.Service, Speech: p.Speech, Why: p.Purpose})
		}
	}
	central := s.Central()
	for _, rim := range s.Rims() {
		add(central, rim)
	}
	for _, rim := range s.Rims() {
		add(rim, central)
	}
	return flows, nil
}

// Route is what one node knows of the way to another: the addresses at both ends.
type Route struct{ From, To netip.Addr }

// Wants are the firewall's part of a server: each of its ports, from each node that dials it and, where browsers use it,
// from the client networks. routes tells the addresses a flow uses; a flow without one is left out and returned as lost.
func Wants(s site.Site, server string, flows []Flow, routes map[[2]string]Route) (wants []firewall.Want, lost []Flow) {
	r, err := Lookup(s.Release)
	if err != nil {
		return nil, flows
	}
	node, _ := s.Node(server)
	var own netip.Addr
	for _, f := range flows {
		if f.To != server {
			continue
		}
		way, ok := routes[[2]string{f.From, f.To}]
		if !ok {
			lost = append(lost, f)
			continue
		}
		own = way.To
		from := netip.PrefixFrom(way.From, way.From.BitLen())
		wants = append(wants, firewall.Want{Group: string(f.Service), Port: f.Port, From: from, To: way.To, Why: f.String()})
	}
	for _, p := range r.Of(node) {
		if !p.Clients || !own.IsValid() {
			continue
		}
		for _, network := range s.Clients {
			wants = append(wants, firewall.Want{Group: string(p.Service), Port: p.Number, From: network, To: own, Why: fmt.Sprintf("clients -> %s %d %s", server, p.Number, p.Service)})
		}
	}
	slices.SortStableFunc(wants, func(a, b firewall.Want) int { return int(a.Port) - int(b.Port) })
	return wants, lost
}
