package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/reports"
)

// review is, by server, the difference between what is there and what is wanted: + to add, = right already, ! no rule of
// ours would help.
func (s scene) review() body {
	b := body{head: s.trouble()}
	if len(s.r.Plan.Changes) == 0 {
		b.head = append(b.head, line{say(good, "No rule has to be added.")})
	} else {
		b.head = append(b.head, para(dim, nil, reports.EveryRule(s.r), s.width)...)
	}
	// The columns are the same for all servers, so that all rows are laid out at once.
	var rows []row
	var cells [][]span
	var begins []int // of each server
	for _, v := range s.r.Servers {
		begins = append(begins, len(rows))
		for _, add := range []func(string) ([]row, [][]span){s.toAdd, s.already, s.void} {
			more, text := add(v.Name)
			rows, cells = append(rows, more...), append(cells, text...)
		}
	}
	rows = laid(rows, s.width, cells)
	for i, v := range s.r.Servers {
		mine := rows[begins[i]:]
		if i+1 < len(begins) {
			mine = rows[begins[i]:begins[i+1]]
		}
		b.rows = append(b.rows, row{line: heading(v.Name, mine)})
		b.rows = append(b.rows, mine...)
	}
	return b
}

// heading is a server with how much there is of what on it. A row's id begins with its mark.
func heading(server string, rows []row) line {
	l := line{say(strong, server)}
	for _, part := range []struct {
		mark, word string
		tone       tone
	}{{"+", "to add", accent}, {"=", "right already", good}, {"!", "VOID", bad}} {
		n := 0
		for _, x := range rows {
			if strings.HasPrefix(x.id, part.mark) {
				n++
			}
		}
		if n > 0 {
			l = append(l, span{"   ", plain}, say(part.tone, fmt.Sprintf("%d %s", n, part.word)))
		}
	}
	if len(l) == 1 {
		l = append(l, span{"   ", plain}, say(dim, "nothing to compare"))
	}
	return l
}

// toAdd are the rules to add on a server.
func (s scene) toAdd(server string) (rows []row, cells [][]span) {
	for _, c := range s.r.Plan.Changes {
		if c.Server != server {
			continue
		}
		rows = append(rows, row{id: "+ " + server + " " + c.ID, detail: s.ruleToAdd(c)})
		cells = append(cells, []span{say(accent, "+ "+checks.List(c.Ports, ",")), say(plain, reports.From(c.From)), say(plain, reports.Serves(c.Service, c.Why))})
	}
	return rows, cells
}

// ruleToAdd is why a rule is to be added, and its PowerShell and undo.
func (s scene) ruleToAdd(c record.PlannedChange) detail {
	d := detail{copy: flat(c.PowerShell), more: s.powerShell(c)}
	d.lines = para(plain, nil, fmt.Sprintf("%s: inbound, allow, TCP %s, profile %s, %s", c.Server, checks.List(c.Ports, ","), c.Profiles, reports.From(c.From)), s.width)
	d.lines = append(d.lines, labelled("Why", strings.Join(c.Why, ", "), s.width)...)
	d.lines = append(d.lines, line{say(dim, "enter shows its PowerShell and its undo")})
	return d
}

// powerShell is how a rule is added and taken back.
func (s scene) powerShell(c record.PlannedChange) []line {
	var lines []line
	for i, part := range []struct{ what, text string }{{"adds it", c.PowerShell}, {"takes it back", c.Inverse}} {
		if i > 0 {
			lines = append(lines, nil)
		}
		lines = append(lines, line{say(dim, part.what)})
		lines = append(lines, para(plain, nil, part.text, s.width)...)
	}
	return lines
}

// share is ports of a server of which the same is to be said, for the same sources.
type share struct {
	ports []uint16
	from  []string
	first int // which of those that were shared out stands for it
}

// shares gathers what is said of ports of a server, one by one, by who may use them and what is said.
func shares(n int, of func(i int) (port uint16, from, said string, mine bool)) []share {
	type one struct {
		share
		said string
	}
	var byPort []one
	for i := range n {
		port, from, said, mine := of(i)
		if !mine {
			continue
		}
		at := slices.IndexFunc(byPort, func(o one) bool { return o.ports[0] == port && o.said == said })
		if at < 0 {
			byPort, at = append(byPort, one{share{[]uint16{port}, nil, i}, said}), len(byPort)
		}
		if !slices.Contains(byPort[at].from, from) {
			byPort[at].from = append(byPort[at].from, from)
		}
	}
	var all []one
	for _, o := range byPort {
		at := slices.IndexFunc(all, func(a one) bool { return a.said == o.said && slices.Equal(a.from, o.from) })
		if at < 0 {
			all = append(all, o)
			continue
		}
		all[at].ports = append(all[at].ports, o.ports[0])
		slices.Sort(all[at].ports)
	}
	var out []share
	for _, o := range all {
		out = append(out, o.share)
	}
	return out
}

// already is what is right already on a server, by the rule that makes it so. What the run itself has added is not.
func (s scene) already(server string) (rows []row, cells [][]span) {
	relied := s.r.Plan.Already
	for _, x := range shares(len(relied), func(i int) (uint16, string, string, bool) {
		a := relied[i]
		added := slices.ContainsFunc(s.r.Changes, func(c record.Change) bool { return c.Server == server && c.ID == a.By })
		return a.Port, a.From, reports.ReliedOn(a) + " " + a.By + " " + a.Store, a.Server == server && !added
	}) {
		a := relied[x.first]
		rows = append(rows, row{id: fmt.Sprintf("= %s %s %s %s", server, a.By, checks.List(x.ports, ","), strings.Join(x.from, ",")), detail: s.rightAlready(a, x)})
		cells = append(cells, []span{say(good, "= "+checks.List(x.ports, ",")), say(plain, reports.From(x.from)), say(dim, reports.ReliedOn(a))})
	}
	return rows, cells
}

// rightAlready is why something needs no rule, and what that rests on.
func (s scene) rightAlready(a record.PlannedRelied, x share) detail {
	d := detail{lines: para(plain, nil, fmt.Sprintf("%s: %s %s is right already, %s", a.Server, checks.List(x.ports, ","), reports.From(x.from), reports.ReliedOn(a)), s.width)}
	if a.By == "" {
		return d
	}
	store := map[string]string{"local": "the server's own", "policy": "Group Policy", "mdm": "device management"}[a.Store]
	whose := "not ours, and not touched"
	if a.Ours {
		whose = "ours, of an earlier run"
	}
	d.lines = append(d.lines, labelled("Rule", a.By+after(", store: ", store)+"; "+whose, s.width)...)
	if a.Why != "" {
		d.lines = append(d.lines, labelled("Why", a.Why, s.width)...)
	}
	if a.Rule != "" {
		d.lines = append(d.lines, line{say(dim, "enter shows it as it is stored")})
		d.more = para(plain, nil, a.Rule, s.width)
	}
	return d
}

// void is what no rule of ours would open on a server.
func (s scene) void(server string) (rows []row, cells [][]span) {
	blocked := s.r.Plan.Blocked
	for _, x := range shares(len(blocked), func(i int) (uint16, string, string, bool) {
		v := blocked[i]
		return v.Port, v.From, v.Service + " " + v.By + " " + reports.StandsAgainst(v), v.Server == server
	}) {
		v := blocked[x.first]
		id := fmt.Sprintf("! %s %s %s %s %s", server, v.Service, v.By, checks.List(x.ports, ","), strings.Join(x.from, ","))
		rows = append(rows, row{id: id, detail: s.whyVoid(v, x)})
		cells = append(cells, []span{say(bad, "! "+checks.List(x.ports, ",")), say(plain, reports.From(x.from)), say(bad, "void: "+against(v))})
	}
	return rows, cells
}

// against is what makes a rule void, in the fewest words.
func against(v record.PlannedVoid) string {
	switch {
	case v.Store == "policy":
		return "Group Policy"
	case v.Store == "mdm":
		return "device management"
	case v.By != "":
		return "another rule"
	}
	return "a setting"
}

// whyVoid is what stands against ports, whose that is, and where they are asked for.
func (s scene) whyVoid(v record.PlannedVoid, x share) detail {
	d := detail{lines: para(bad, nil, fmt.Sprintf("%s: %s void: %s", v.Server, checks.List(x.ports, ","), reports.StandsAgainst(v)), s.width)}
	if v.By != "" {
		d.lines = append(d.lines, labelled("Rule", v.By+after(", store ", v.Store), s.width)...)
	}
	d.lines = append(d.lines, labelled("Owner", reports.Owner(v.Store), s.width)...)
	if asked := reports.Requests(s.r, v.Server); asked != "" {
		d.lines = append(d.lines, labelled("Request", asked, s.width)...)
	}
	for _, q := range s.r.Plan.Requests {
		if q.Server != v.Server || q.PowerShell == "" || !slices.ContainsFunc(x.ports, func(p uint16) bool { return slices.Contains(q.Ports, p) }) {
			continue
		}
		if d.copy = flat(q.PowerShell); d.copy != "" {
			d.lines = append(d.lines, line{say(dim, "enter shows its PowerShell for a Group Policy")})
			d.more = para(plain, nil, q.PowerShell, s.width)
			break
		}
	}
	if v.Rule != "" {
		d.more = append(d.more, line{}, line{say(dim, "the rule that stands against it, as it is stored")})
		d.more = append(d.more, para(plain, nil, v.Rule, s.width)...)
	}
	return d
}
