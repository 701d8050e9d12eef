// Package ports is the port catalogue: which ports each release of Qlik Sense needs, and so who must be able to dial whom
// in a site. What a site's flows are depends on its site file alone.
package ports

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Speech is what a service says to whoever connects; a proof expects to hear it.
type Speech string

const (
	TLS     Speech = "tls"
	HTTP    Speech = "http"
	Nothing Speech = "nothing" // it waits to be told something: only the connection itself shows that it is there
)

// Port is one inbound TCP port: who listens on it, and who dials it.
type Port struct {
	Number  uint16
	On      site.Role    // the nodes that listen on it; "" for those of any role
	Service site.Service // whose port it is: a node without it does not need the port
	Part    Part         // what of that service listens, where it is a program of its own
	From    []Dialler    // the nodes that dial it; none if only clients do
	Clients bool         // people's browsers use it too
	Speech  Speech
	Purpose string
	Carried bool // no source for that very release shows the port: those before and after it do
}

// Dialler is the nodes that dial a port: those of a role that run a service, each of them "" for any.
type Dialler struct {
	Role    site.Role
	Service site.Service
}

func (d Dialler) includes(n site.Node) bool {
	return (d.Role == "" || d.Role == n.Role) && (d.Service == "" || n.Runs(d.Service))
}

func (d Dialler) String() string {
	switch {
	case d.Service == site.Repository:
		return "every other node"
	case d.Role != "" && d.Service != "":
		return fmt.Sprintf("%ss with %s", d.Role, d.Service)
	case d.Service != "":
		return fmt.Sprintf("%s nodes", d.Service)
	case d.Role == site.Rim:
		return "rims"
	}
	return fmt.Sprintf("%s node", d.Role)
}

// Part is a program that listens for a service and is not the service's own.
type Part struct {
	Name    string
	Starter string // the Windows service that starts it
}

// Of is what the catalogue says a node needs: the ports of its role whose service it runs.
func (r Release) Of(n site.Node) []Port {
	var ports []Port
	for _, p := range r.Ports {
		if (p.On == "" || p.On == n.Role) && n.Runs(p.Service) {
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
	Part    Part         `json:"-"`
	Speech  Speech       `json:"-"`
	Why     string       `json:"why"`
}

func (f Flow) String() string { return fmt.Sprintf("%s -> %s %d %s", f.From, f.To, f.Port, f.Service) }

// Flows are the site's flows: each node dials the others on those of their ports that the release says. They are sorted by
// source, destination and port: the central node comes first, the rims in the order of the site file.
func Flows(s site.Site) ([]Flow, error) {
	r, err := Lookup(s.Release)
	if err != nil {
		return nil, err
	}
	var flows []Flow
	nodes := append([]site.Node{s.Central()}, s.Rims()...)
	var needs [][]Port // of each node
	for _, n := range nodes {
		needs = append(needs, r.Of(n))
	}
	for _, from := range nodes {
		for i, to := range nodes {
			if from.Name == to.Name {
				continue
			}
			for _, p := range needs[i] {
				if slices.ContainsFunc(p.From, func(d Dialler) bool { return d.includes(from) }) {
					flows = append(flows, Flow{From: from.Name, To: to.Name, Port: p.Number, Service: p.Service, Part: p.Part, Speech: p.Speech, Why: p.Purpose})
				}
			}
		}
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
