package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
)

// PolicyRequest is what only the owners of policies can add, as plain text for people who have never heard of preflight;
// nil if there is nothing to ask for.
func PolicyRequest(r record.Record) []byte {
	if len(r.Plan.Requests) == 0 {
		return nil
	}
	p := &page{width: 100}
	first := true
	for _, t := range teams {
		rules := asked(r, t.store)
		if len(rules) == 0 {
			continue
		}
		if !first {
			p.line("")
			p.line("")
		}
		first = false
		request(p, r, t.store, t.team, rules)
	}
	return p.done()
}

// askedRule is a rule to ask for, and the servers that need it.
type askedRule struct {
	record.PlannedRequest
	servers []string
}

// asked are the rules to ask the owner of a store for. The same rule for several servers is one.
func asked(r record.Record, store string) []askedRule {
	var rules []askedRule
	for _, q := range r.Plan.Requests {
		if q.Store != store {
			continue
		}
		if i := slices.IndexFunc(rules, func(a askedRule) bool { return a.ID == q.ID }); i >= 0 {
			rules[i].servers = append(rules[i].servers, q.Server)
			rules[i].Why = slices.Concat(rules[i].Why, q.Why)
			continue
		}
		rules = append(rules, askedRule{q, []string{q.Server}})
	}
	return rules
}

func request(p *page, r record.Record, store, team string, rules []askedRule) {
	mdm := store == "mdm"
	policy := "Group Policy"
	if mdm {
		policy = "the device management (Intune, or what else manages these servers)"
	}
	var servers []string
	for _, a := range rules {
		for _, s := range a.servers {
			if !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	p.para("", fmt.Sprintf("Request to %s: %s for %s", team, checks.Count(len(rules), "inbound firewall rule", "inbound firewall rules"), checks.Count(len(servers), "server", "servers")))
	p.line("")
	c := last(r)
	rows := []row{
		{cells: []string{"who asks", operator(c.Operator)}},
		{cells: []string{"asked", moment(c.StartedAt)}},
		{cells: []string{"needed", neededBy(r)}},
	}
	if r.Change.Ticket != "" {
		rows = append(rows, row{cells: []string{"ticket", r.Change.Ticket}})
	}
	if r.Run.Simulated {
		rows = append(rows, row{cells: []string{"note", "made of simulated servers: nothing of this is needed on real ones"}})
	}
	p.grid("", rows)

	p.block("Why")
	if names := toJoin(r); len(names) > 0 {
		p.para("", fmt.Sprintf("The Qlik Sense site %s is to get more servers: the %s to be joined to the central node %s. For that, and while they run, the servers of the site have to reach each other on the TCP ports below.",
			r.Site.Name, rimNodesAre(names), central(r)))
	} else {
		p.para("", fmt.Sprintf("While the Qlik Sense site %s runs, its servers have to reach each other on the TCP ports below.", r.Site.Name))
	}
	p.para("", fmt.Sprintf("On %s, Windows Firewall does not count rules that an administrator adds on the server itself, because a policy says so. So these ports cannot be opened there; that takes rules that come from the same place as the policy.",
		listed(servers)))
	p.line("")
	var why []row
	for _, s := range servers {
		for _, b := range r.Plan.Blocked {
			x := []string{s, StandsAgainst(b)}
			if b.Server == s && b.Store == store && b.By == "" && !slices.ContainsFunc(why, func(o row) bool { return slices.Equal(o.cells, x) }) {
				why = append(why, row{cells: x})
			}
		}
	}
	p.grid("  ", why)

	p.block("What is asked for")
	p.para("", fmt.Sprintf("Please add, by %s: %s, direction inbound, action allow, enabled, protocol TCP, any program, no edge traversal.",
		policy, checks.Count(len(rules), "firewall rule", "firewall rules")))
	n := 0
	var names []row
	for _, set := range bySet(rules) {
		p.line("")
		p.para("", "Has to apply to: "+listed(applies(r, set[0].servers)))
		rows := []row{{cells: []string{"rule", "local ports", "remote addresses", "profiles", "display name"}}}
		for _, a := range set {
			n++
			rows = append(rows, row{cells: []string{fmt.Sprint(n), checks.List(a.Ports, ","), strings.Join(a.From, " "), a.Profiles.String(), a.Name}})
			names = append(names, row{cells: []string{fmt.Sprint(n), a.ID, strings.Join(a.Why, ", ")}})
		}
		p.grid("  ", rows)
	}
	p.line("")
	p.para("", "The name of each rule, where one can be given, and the connections it is for:")
	p.grid("  ", names)
	p.para("", "The names only help to find the rules again. The program with which the site is prepared, preflight, looks at what a rule does, not at its name.")
	if !mdm {
		p.line("")
		p.para("", `The same as PowerShell. Put the domain and the name of the Group Policy in the place of DOMAIN\POLICY, for instance 'corp.example\Qlik servers':`)
		p.line("")
		for _, a := range rules {
			p.line(flat(a.PowerShell))
		}
	}

	p.block("What is not asked for")
	also := alsoInTheWay(r, store)
	text := "The setting that makes Windows Firewall pass over local rules can stay as it is, and no other server needs these rules."
	if len(also) == 0 {
		text += " No rule has to be changed or removed."
	}
	p.para("", text)
	if len(also) > 0 {
		p.block("What else is in the way")
		p.para("", "These rules block more ports, which a rule that allows them would not open. Please say whether they can be narrowed:")
		p.grid("  ", also)
	}

	p.block("How it is seen to work")
	var ids []string
	for _, a := range rules {
		ids = append(ids, "'"+flat(a.ID)+"'")
	}
	if mdm {
		p.para("1. ", "On "+listed(servers)+": synchronise with the device management. Then this, in PowerShell, lists the rules with the names above:")
	} else {
		p.para("1. ", "On "+listed(servers)+", in PowerShell, as administrator. The second line lists the rules if they have the names above:")
		p.line("")
		p.line("     gpupdate /force")
	}
	if mdm {
		p.line("")
	}
	p.line("     Get-NetFirewallRule -PolicyStore ActiveStore -Name " + strings.Join(ids, ","))
	p.line("")
	p.para("2. ", fmt.Sprintf("Then tell %s, who tries each connection from the other node:", operator(c.Operator)))
	p.line("")
	p.line("     " + again(r))
}

// again is what shows the operator that the request was met.
func again(r record.Record) string {
	switch {
	case r.Change.PlanSHA256 != "":
		return "preflight verify " + printable.Argument(typed(r))
	case r.Run.SiteFile != "":
		return "preflight check -f " + printable.Argument(r.Run.SiteFile)
	}
	return "preflight check -f SITEFILE"
}

func neededBy(r record.Record) string {
	names := toJoin(r)
	join := fmt.Sprintf("before the %s joined to the site", rimNodesAre(names))
	switch {
	case r.Change.Ticket != "" && len(names) > 0:
		return fmt.Sprintf("before the change of ticket %s, and so %s", printable.Line(r.Change.Ticket), join)
	case r.Change.Ticket != "":
		return "before the change of ticket " + printable.Line(r.Change.Ticket)
	case len(names) > 0:
		return join
	}
	return "now: the servers are in use"
}

// bySet are the rules by the servers that need them, in the order in which these come.
func bySet(rules []askedRule) [][]askedRule {
	var sets [][]askedRule
	for _, a := range rules {
		i := slices.IndexFunc(sets, func(set []askedRule) bool { return slices.Equal(set[0].servers, a.servers) })
		if i < 0 {
			sets = append(sets, []askedRule{a})
			continue
		}
		sets[i] = append(sets[i], a)
	}
	return sets
}

// applies are servers with what a directory knows them by.
func applies(r record.Record, servers []string) []string {
	var out []string
	for _, name := range servers {
		var more []string
		for _, s := range r.Servers {
			if s.Name == name && s.Facts != nil && s.Facts.Computer != "" {
				more = append(more, "computer "+printable.Line(s.Facts.Computer))
			}
		}
		for _, n := range r.Site.Nodes {
			if n.Name == name && n.Host != name && n.Host != "" {
				more = append(more, n.Host)
			}
		}
		if a := address(r, name); a != "" {
			more = append(more, a)
		}
		if len(more) > 0 {
			name += " (" + strings.Join(more, ", ") + ")"
		}
		out = append(out, name)
	}
	return out
}

// alsoInTheWay are rules of a policy that block what no further rule would open.
func alsoInTheWay(r record.Record, store string) []row {
	var rows []row
	for _, s := range r.Servers {
		for _, b := range r.Plan.Blocked {
			if b.Server == s.Name && b.Store == store && b.By != "" {
				rows = append(rows, row{cells: []string{s.Name, fmt.Sprintf("%d", b.Port), "from " + b.From, cmp.Or(StandsAgainst(b), b.By)}})
			}
		}
	}
	return rows
}
