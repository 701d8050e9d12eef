package tui

import (
	"fmt"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// siteLines are what is shown of a site that can be chosen: its nodes with role and services, how many flows have to work,
// clients.
func siteLines(c wizard.Candidate, width int) []line {
	width = max(width, narrowest)
	if c.Wrong != nil {
		return para(bad, nil, c.Name+" "+c.About(), width)
	}
	if len(c.Site.Nodes) == 0 { // the lab, before it is started
		return nil
	}
	lines := para(strong, nil, fmt.Sprintf("%s: release %s", c.Name, c.Site.Release), width)
	var nodes [][]span
	for _, n := range c.Site.Nodes {
		var services []string
		for _, s := range n.Services {
			services = append(services, string(s))
		}
		nodes = append(nodes, []span{{}, say(plain, n.Name), say(plain, string(n.Role)), say(dim, strings.Join(services, " "))})
	}
	lines = append(lines, columns(width, nodes)...)

	r := record.Record{Site: c.Site}
	flows := len(r.Flows())
	s := checks.Count(flows, "flow has", "flows have") + " to work between them"
	if len(c.Site.Clients) == 0 {
		s += "; no browsers"
	} else {
		s += "; clients from " + networks(c)
	}
	return append(lines, para(plain, nil, s+".", width)...)
}

// networks are where people's browsers are, as the site file writes it.
func networks(c wizard.Candidate) string {
	var all []string
	for _, p := range c.Site.Clients {
		if p.Bits() == 0 {
			return "any address"
		}
		all = append(all, p.String())
	}
	return strings.Join(all, " ")
}
