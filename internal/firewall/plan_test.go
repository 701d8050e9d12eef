package firewall

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

const clients = "10.20.0.0/16"

// wants are the guide's seven ports of a rim node from its central node, two of them from the clients too.
func wants() (ws []Want) {
	add := func(group, from string, ports ...uint16) {
		for _, p := range ports {
			ws = append(ws, Want{group, p, netip.MustParsePrefix(from), server, fmt.Sprintf("%s -> %d", from, p)})
		}
	}
	add("proxy", "10.0.0.12/32", 443, 4144, 4243)
	add("repository", "10.0.0.12/32", 4241, 4242, 4444)
	add("scheduler", "10.0.0.12/32", 5051)
	add("proxy", clients, 443, 4144)
	return ws
}

// summary is a plan in short, a line each.
func summary(changes []Change, already []Already, conflicts []Conflict) (out []string) {
	for _, c := range changes {
		out = append(out, fmt.Sprintf("+ %s %v from %v in %s", c.Group, c.Ports, c.From, c.Profiles))
	}
	for _, a := range already {
		out = append(out, fmt.Sprintf("= %s %d from %s by %q ours %v", a.Group, a.Port, a.From, a.By.ID, a.Ours))
	}
	for _, c := range conflicts {
		out = append(out, fmt.Sprintf("! %s %d from %s: %s", c.Group, c.Port, c.From, c.Decision.Why))
	}
	return out
}

func equalLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// apply is what the server has after the changes.
func apply(s State, changes []Change) State {
	s.Rules = slices.Clone(s.Rules)
	for _, c := range changes {
		s.Rules = append(s.Rules, StoredRule{Local, c.ID, c.Rule(c.Site).String()})
	}
	return s
}

func TestPlan(t *testing.T) {
	s := state()
	changes, already, conflicts := Plan(s, "finance-bi", false, wants())
	equalLines(t, summary(changes, already, conflicts), []string{
		"+ proxy [443 4144] from [10.0.0.12/32 10.20.0.0/16] in Domain",
		"+ proxy [4243] from [10.0.0.12/32] in Domain",
		"+ repository [4241 4242 4444] from [10.0.0.12/32] in Domain",
		"+ scheduler [5051] from [10.0.0.12/32] in Domain",
	})
	if want := []string{"10.0.0.12/32 -> 443", "10.20.0.0/16 -> 443", "10.0.0.12/32 -> 4144", "10.20.0.0/16 -> 4144"}; !slices.Equal(changes[0].Why, want) {
		t.Errorf("why: %q", changes[0].Why)
	}

	// The order of the wants and their repetition do not matter.
	shuffled := append(wants(), wants()...)
	slices.Reverse(shuffled)
	again, _, _ := Plan(s, "finance-bi", false, shuffled)
	if !reflect.DeepEqual(again, changes) {
		t.Errorf("another order, another plan:\n%+v\n%+v", again, changes)
	}

	// Afterwards there is nothing to do.
	changes, already, conflicts = Plan(apply(s, changes), "finance-bi", false, wants())
	if len(changes)+len(conflicts) > 0 || len(already) != len(wants()) {
		equalLines(t, summary(changes, nil, conflicts), nil)
	}
	for _, a := range already {
		if !a.Ours {
			t.Errorf("%+v is ours", a)
		}
	}
}

func TestPlanRest(t *testing.T) {
	web := Want{"web", 8443, netip.MustParsePrefix("10.0.0.12/32"), server, "why"}
	at := func(to netip.Addr, from string) Want {
		w := web
		w.To, w.From = to, netip.MustParsePrefix(from)
		return w
	}
	tests := []struct {
		name        string
		rules       lines
		alter       func(*State)
		allowPublic bool
		wants       []Want
		want        lines
	}{
		{"a foreign rule will do, mask or prefix", lines{"local x: Action=Allow|LPort2_10=8000-9000|RA4=10.0.0.0/255.255.255.0"}, nil, false,
			[]Want{web, at(server, "10.0.0.0/24")}, lines{`= web 8443 from 10.0.0.0/24 by "x" ours false`, `= web 8443 from 10.0.0.12/32 by "x" ours false`}},
		{"a rule of the same name is another rule", lines{"local x: Action=Allow|LPort=80|Name=preflight s web TCP 8443"}, nil, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"a disabled foreign rule is left alone", lines{"local x: Action=Allow|LPort=8443|Active=FALSE"}, nil, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"a rule for another profile", lines{"local x: Action=Allow|LPort=8443|Profile=Private"}, nil, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"an Allow that may not apply", lines{"local x: Action=Allow|LPort=8443|IFType=Lan"}, nil, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"a Block that may apply", lines{`local x: Action=Block|App=C:\x\y.exe`}, nil, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"a Block that may apply, and an Allow", lines{`local x: Action=Block|App=C:\x\y.exe`, "local a: Action=Allow|LPort=8443"}, nil, false, []Want{web}, lines{`= web 8443 from 10.0.0.12/32 by "a" ours false`}},
		{"a Block for a part", lines{"local x: Action=Block|RA4=10.0.0.66"}, nil, false, []Want{at(server, "10.0.0.0/24")}, lines{"+ web [8443] from [10.0.0.0/24] in Domain"}},
		{"a Block", lines{"policy x: Action=Block|LPort=8443", "local a: Action=Allow"}, nil, false, []Want{web}, lines{"! web 8443 from 10.0.0.12/32: the Block rule x (Group Policy) beats every Allow rule"}},
		{"a Block, and on or off not known", lines{"policy x: Action=Block|LPort=8443", "local a: Action=Allow"}, func(s *State) { *s = with(*s, func(p *ProfileSettings) { p.Enabled = rule.Unknown }) }, false,
			[]Want{web}, lines{"! web 8443 from 10.0.0.12/32: it is not known whether the firewall is on for the Domain profile"}},
		{"local rules off", lines{"policy x: Action=Allow|LPort=8080"}, func(s *State) { *s = with(*s, func(p *ProfileSettings) { p.LocalRulesMerge = rule.No }) }, false,
			[]Want{web}, lines{"! web 8443 from 10.0.0.12/32: local rules are turned off for the Domain profile"}},
		{"shields up", nil, func(s *State) { *s = with(*s, func(p *ProfileSettings) { p.BlockAllInbound = rule.Yes }) }, false,
			[]Want{web}, lines{"! web 8443 from 10.0.0.12/32: all inbound connections are blocked in the Domain profile, whatever the rules say"}},
		{"firewall off", nil, func(s *State) { *s = with(*s, func(p *ProfileSettings) { p.Enabled = rule.No }) }, false, []Want{web}, lines{`= web 8443 from 10.0.0.12/32 by "" ours false`}},
		{"public", nil, nil, false, []Want{at(outer, "10.0.0.12/32")}, lines{"! web 8443 from 10.0.0.12/32: the interface that holds 192.0.2.11 is in the Public profile, and the site does not allow rules there"}},
		{"public, allowed", nil, nil, true, []Want{at(outer, "10.0.0.12/32")}, lines{"+ web [8443] from [10.0.0.12/32] in Public"}},
		{"sources on two interfaces", nil, nil, true, []Want{web, at(outer, "192.0.2.9/32")}, lines{"+ web [8443] from [10.0.0.12/32 192.0.2.9/32] in Domain,Public"}},
		{"profile not known", nil, func(s *State) { s.Interfaces[0].Profile = 0 }, false, []Want{web}, lines{"+ web [8443] from [10.0.0.12/32] in Domain"}},
		{"no profile known", nil, func(s *State) { s.Interfaces, s.Active = nil, 0 }, false, []Want{web}, lines{"! web 8443 from 10.0.0.12/32: it is not known which profile is in force on the interface that holds 10.0.0.11"}},
		{"any", nil, nil, false, []Want{web, at(server, "0.0.0.0/0")}, lines{"+ web [8443] from [0.0.0.0/0] in Domain"}},
		{"a host within a network", nil, nil, false, []Want{web, at(server, "10.0.0.0/24")}, lines{"+ web [8443] from [10.0.0.0/24] in Domain"}},
		{"only what nobody admits", lines{"local x: Action=Allow|RA4=10.0.0.12"}, nil, false, []Want{web, at(server, clients)}, lines{"+ web [8443] from [10.20.0.0/16] in Domain", `= web 8443 from 10.0.0.12/32 by "x" ours false`}},
		{"a section not read, ours there", lines{"local preflight-0123456789abcdef0123: Action=Allow|LPort=8443"}, func(s *State) { s.Unknown = []string{"rules-mdm: denied"} }, false,
			[]Want{web}, lines{`= web 8443 from 10.0.0.12/32 by "preflight-0123456789abcdef0123" ours true`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := state(rules(tt.rules...)...)
			if tt.alter != nil {
				tt.alter(&s)
			}
			equalLines(t, summary(Plan(s, "s", tt.allowPublic, tt.wants)), tt.want)
		})
	}
}

// A rule with our ID that no longer is what we wrote is not repaired behind somebody's back.
func TestPlanSpoilt(t *testing.T) {
	s := state()
	web := []Want{{"web", 8443, netip.MustParsePrefix("10.0.0.12/32"), server, "why"}}
	changes, _, _ := Plan(s, "s", false, web)
	id := changes[0].ID
	tests := []struct{ raw, want string }{
		{strings.Replace(changes[0].Rule("s").String(), "TRUE", "FALSE", 1), "rule %s (local) is there but disabled"},
		{strings.Replace(changes[0].Rule("s").String(), "10.0.0.12", "10.0.0.13", 1), "rule %s (local) is there but was changed"},
		{"", "rule %s (local) is there but cannot be read: no action: not a firewall rule"},
	}
	for _, tt := range tests {
		s.Rules = []StoredRule{{Local, id, tt.raw}}
		_, _, conflicts := Plan(s, "s", false, web)
		equalLines(t, summary(nil, nil, conflicts), []string{"! web 8443 from 10.0.0.12/32: " + fmt.Sprintf(tt.want, id)})
	}
}

func TestChange(t *testing.T) {
	c := Change{Site: "o'brien", Group: "web", Ports: []uint16{443, 4144}, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.12/32"), netip.MustParsePrefix(clients)},
		Profiles: rule.Profiles(rule.Domain | rule.Private), Why: []string{"a -> b", "c|d"}}
	c.ID = c.id()
	const id = "preflight-0fd0d4b094f7776c5a44"
	if c.ID != id {
		t.Errorf("the ID is %s: rules of earlier runs would not be known again", c.ID)
	}
	const ps = `New-NetFirewallRule -PolicyStore PersistentStore -Name '` + id + `' -DisplayName 'preflight o''brien web TCP 443,4144'` +
		` -Description 'Added by preflight. a -> b; c/d' -Group 'Preflight' -Direction Inbound -Action Allow -Enabled True -Profile 'Domain','Private'` +
		` -Protocol TCP -LocalPort '443','4144' -RemoteAddress '10.0.0.12','10.20.0.0/16' -EdgeTraversalPolicy Block`
	if got := c.PowerShell(); got != ps {
		t.Errorf("\n got %s\nwant %s", got, ps)
	}
	if got, want := c.Inverse(), `Remove-NetFirewallRule -PolicyStore PersistentStore -Name '`+id+`'`; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	const raw = `v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=443|LPort=4144|RA4=10.0.0.12|RA4=10.20.0.0/255.255.0.0|` +
		`Name=preflight o'brien web TCP 443,4144|Desc=Added by preflight. a -> b; c/d|EmbedCtxt=Preflight|`
	if got := c.Rule(c.Site).String(); got != raw {
		t.Errorf("\n got %s\nwant %s", got, raw)
	}
	if back, err := rule.Parse(raw); err != nil || !reflect.DeepEqual(back, c.Rule(c.Site)) {
		t.Errorf("%v\n got %+v\nwant %+v", err, back, c.Rule(c.Site))
	}

	c.From = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	if !strings.Contains(c.PowerShell(), " -RemoteAddress 'Any' ") || strings.Contains(c.Rule("s").String(), "RA4") {
		t.Errorf("any address: %s\n%s", c.PowerShell(), c.Rule("s"))
	}
	if got, want := Quote("a'b", "c\u2019d"), "'a''b','c\u2019\u2019d'"; got != want {
		t.Errorf("%s", got)
	}
}

// TestRequests: what the owner of a policy is asked for is the rules that would have been added, and only where nothing
// but the policy's turning local rules off stands in the way.
func TestRequests(t *testing.T) {
	s := state()
	off := with(s, func(p *ProfileSettings) { p.LocalRulesMerge, p.MergeBy = rule.No, Policy })
	changes, _, _ := Plan(s, "finance-bi", false, wants())
	_, _, conflicts := Plan(off, "finance-bi", false, wants())
	if got := Requests("finance-bi", conflicts)[Policy]; !reflect.DeepEqual(got, changes) {
		t.Errorf("requested:\n%+v\nwhere the plan without the policy is:\n%+v", got, changes)
	}
	for _, c := range conflicts {
		if c.Store != Policy || !strings.Contains(c.Decision.Why, "by Group Policy") {
			t.Errorf("%+v does not name the policy", c.Decision)
		}
	}
	off.Rules = append(off.Rules, StoredRule{Policy, "b", "v2.31|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4243|"})
	_, _, conflicts = Plan(off, "finance-bi", false, wants())
	for _, c := range Requests("finance-bi", conflicts)[Policy] {
		if slices.Contains(c.Ports, 4243) {
			t.Errorf("a rule for 4243 was requested, which a Block rule would beat: %+v", c)
		}
	}
	_, _, conflicts = Plan(with(s, func(p *ProfileSettings) { p.BlockAllInbound, p.ShieldedBy = rule.Yes, Local }), "finance-bi", false, wants())
	if got := Requests("finance-bi", conflicts); len(got) > 0 || conflicts[0].Store != Local {
		t.Errorf("requested %v of %+v; no rule would help", got, conflicts[0])
	}
}
