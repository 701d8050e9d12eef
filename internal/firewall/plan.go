package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// Want is one port that has to be reachable from one set of addresses. 0.0.0.0/0 is any address, of IPv6 too.
type Want struct {
	Group string       `json:"group"` // who it is for; wants of different groups share no rule
	Port  uint16       `json:"port"`
	From  netip.Prefix `json:"from"`
	To    netip.Addr   `json:"to"` // the server's own address that faces From
	Why   string       `json:"why"`
}

// Change is one rule to add: inbound, allow, TCP, some ports from some sources. It is never altered, for its ID says what
// it does: the same wants give the same ID in every run, and any other rule has another.
type Change struct {
	ID       string         `json:"id"`
	Site     string         `json:"site"`
	Group    string         `json:"group"`
	Ports    []uint16       `json:"ports"`    // sorted
	From     []netip.Prefix `json:"from"`     // sorted, none within another; 0.0.0.0/0 alone is any
	Profiles rule.Profiles  `json:"profiles"` // those of the interfaces that face the sources
	Why      []string       `json:"why"`
}

// Already is a want that needs no rule.
type Already struct {
	Group string       `json:"group"`
	Port  uint16       `json:"port"`
	From  netip.Prefix `json:"from"`
	By    StoredRule   `json:"by"`   // empty if no rule decides: the firewall is off, or its default lets traffic in
	Ours  bool         `json:"ours"` // By is a rule that preflight added
	Why   string       `json:"why"`  // also says what leaves it in doubt although By admits it
}

// Conflict is a want that no rule of ours would fulfil, and the decision that stands against it.
type Conflict struct {
	Want     `json:"want"`
	Decision `json:"decision"`
	Profiles rule.Profiles `json:"profiles"` // those that a rule for it would have to be in; 0 if that is the trouble
	LocalOff bool          `json:"-"`        // nothing stands against it but that a policy turns local rules off
}

// Plan says what to do about each want: nothing, add a rule, or ask whoever can change what stands against it.
//
//   - What passes is Already. So is what an Allow rule certainly admits while something else leaves the verdict unknown (a
//     Block rule that may apply, a section that could not be read): one more Allow rule would not change that.
//   - A Conflict is what no local Allow rule can open: a Block rule, all inbound blocked, local rules that do not count,
//     the Public profile without allowPublic, no known profile at all; and a rule with our ID that is there but no longer
//     what we wrote.
//   - The rest becomes Changes. Where the profile of the interface is not known, the rule is for all profiles in force (not
//     Public without allowPublic), and Why says so.
//
// The ports of a group with the same sources and profiles share a Change. Foreign rules count by what they do, never by
// name. The result depends on nothing but the arguments and is in a fixed order.
func Plan(s State, site string, allowPublic bool, wants []Want) (changes []Change, already []Already, conflicts []Conflict) {
	p := prepare(s)
	var open []opened
	seen := map[Want]bool{}
	for _, w := range wants {
		w.From = w.From.Masked()
		if seen[w] {
			continue
		}
		seen[w] = true
		o := p.decide(query{w.From, w.To.Unmap(), w.Port, ""})
		if by := cmp.Or(o.admits, o.By); o.Verdict == Passes || o.Verdict == Unsure && o.admits != nil {
			a := Already{Group: w.Group, Port: w.Port, From: w.From, Why: o.Why}
			if by != nil {
				a.By, a.Ours = *by, by.Store == Local && ours(by.ID)
			}
			already = append(already, a)
			continue
		}
		into, note := p.into(w, allowPublic)
		if into == 0 && !o.hopeless {
			o.Verdict, o.By, o.Store, o.Why, o.hopeless = Blocked, nil, "", note, true
		}
		if o.hopeless {
			if o.localOff != "" && o.By == nil {
				o.Why = o.localOff // the same for every source
			}
			conflicts = append(conflicts, Conflict{w, o.Decision, into, o.localOff != ""})
			continue
		}
		if note != "" {
			w.Why += " (" + note + ")"
		}
		open = append(open, opened{w, into})
	}

	for _, g := range share(site, open) {
		if stored, why := p.spoilt(g.Change); stored != nil {
			for _, w := range g.wants {
				conflicts = append(conflicts, Conflict{w, Decision{Verdict: Blocked, By: stored, Store: stored.Store, Why: why}, g.Profiles, false})
			}
			continue
		}
		changes = append(changes, g.Change)
	}
	slices.SortFunc(already, func(a, b Already) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Port, b.Port), comparePrefixes(a.From, b.From))
	})
	slices.SortFunc(conflicts, func(a, b Conflict) int { return compareWants(a.Want, b.Want) })
	return changes, already, conflicts
}

// Requests are the rules that would fulfil the conflicts in which a policy turns local rules off: for whoever owns the
// policy to add there. Where a rule or a setting of any other kind stands against a want, a rule added to the policy would
// not help either, and nothing is requested.
func Requests(site string, conflicts []Conflict) map[Store][]Change {
	open := map[Store][]opened{}
	for _, c := range conflicts {
		if c.LocalOff && c.Profiles != 0 {
			open[c.Store] = append(open[c.Store], opened{c.Want, c.Profiles})
		}
	}
	requests := map[Store][]Change{}
	for store, wants := range open {
		for _, g := range share(site, wants) {
			requests[store] = append(requests[store], g.Change)
		}
	}
	return requests
}

// opened is a want that a rule is to fulfil, and the profiles that rule has to be in.
type opened struct {
	Want
	profiles rule.Profiles
}

// group is a change and the wants behind it.
type group struct {
	Change
	wants []Want
}

// share makes changes: the ports of a group with the same sources and profiles share one. They come in a fixed order.
func share(site string, open []opened) []group {
	type target struct {
		group string
		port  uint16
	}
	byTarget := map[target][]Want{}
	profiles := map[target]rule.Profiles{}
	for _, o := range open {
		t := target{o.Group, o.Port}
		byTarget[t] = append(byTarget[t], o.Want)
		profiles[t] |= o.profiles
	}
	shared := map[string]*group{}
	for t, wants := range byTarget {
		var from []netip.Prefix
		for _, w := range wants {
			from = append(from, w.From)
		}
		c := Change{Site: site, Group: t.group, From: reduce(from), Profiles: profiles[t]}
		key := fmt.Sprintf("%q %v %v", c.Group, c.From, c.Profiles)
		if shared[key] == nil {
			shared[key] = &group{Change: c}
		}
		shared[key].Ports = append(shared[key].Ports, t.port)
		shared[key].wants = append(shared[key].wants, wants...)
	}
	var out []group
	for _, g := range shared {
		slices.Sort(g.Ports)
		slices.SortFunc(g.wants, compareWants)
		for _, w := range g.wants {
			g.Why = append(g.Why, w.Why)
		}
		g.ID = g.id()
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), slices.Compare(a.Ports, b.Ports), slices.CompareFunc(a.From, b.From, comparePrefixes), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// into gives the profiles that a rule for w has to be in; zero if there is none, and then why.
func (p policy) into(w Want, allowPublic bool) (into rule.Profiles, note string) {
	profiles, known := p.profiles(w.To.Unmap())
	if !known && p.Active == 0 {
		return 0, fmt.Sprintf("it is not known which profile is in force on the interface that holds %s", w.To)
	}
	into = profiles
	if !allowPublic {
		into &^= rule.Profiles(rule.Public)
	}
	switch {
	case into == 0:
		return 0, fmt.Sprintf("the interface that holds %s is in the Public profile, and the site does not allow rules there", w.To)
	case !known:
		return into, fmt.Sprintf("the profile of %s is not known, so every one in force", w.To)
	}
	return into, ""
}

// spoilt looks for a rule with a change's ID. One that does what it should would have admitted the want.
func (p policy) spoilt(c Change) (*StoredRule, string) {
	for _, r := range p.Rules {
		if !strings.EqualFold(r.ID, c.ID) {
			continue
		}
		have, err := rule.Parse(r.Raw)
		switch want := c.Rule(c.Site); {
		case err != nil:
			return &r, fmt.Sprintf("rule %s (%s) is there but cannot be read: %v", r.ID, r.Store, err)
		case have.Active == rule.No:
			return &r, fmt.Sprintf("rule %s (%s) is there but disabled", r.ID, r.Store)
		case !have.SameEffect(want):
			return &r, fmt.Sprintf("rule %s (%s) is there but was changed", r.ID, r.Store)
		}
		return &r, fmt.Sprintf("rule %s (%s) is there, but it is not certain that it counts", r.ID, r.Store)
	}
	return nil, ""
}

// reduce sorts prefixes and drops those within others. Neighbours are not joined: hosts stay readable.
func reduce(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range slices.SortedFunc(slices.Values(prefixes), comparePrefixes) {
		if p.Bits() == 0 {
			return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
		}
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			out = append(out, p)
		}
	}
	return out
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareWants(a, b Want) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Port, b.Port), comparePrefixes(a.From, b.From), a.To.Compare(b.To), cmp.Compare(a.Why, b.Why))
}

const idPrefix = "preflight-"

// id is a hash of what the change does. Change it, and rules of earlier runs are no longer known again.
func (c Change) id() string {
	var from []string
	for _, p := range c.From {
		from = append(from, p.String())
	}
	what := strings.Join([]string{c.Site, c.Group, c.ports(), strings.Join(from, ","), c.Profiles.String()}, "\n")
	sum := sha256.Sum256([]byte(what))
	return idPrefix + hex.EncodeToString(sum[:10])
}

// ours reports whether an id is of the form that a Change has.
func ours(id string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(id), idPrefix)
	return ok && len(rest) == 20 && strings.Trim(rest, "0123456789abcdef") == ""
}

func (c Change) ports() string {
	var s []string
	for _, p := range c.Ports {
		s = append(s, strconv.Itoa(int(p)))
	}
	return strings.Join(s, ",")
}

func (c Change) any() bool { return len(c.From) == 1 && c.From[0].Bits() == 0 }

// Group is what our rules carry in wf.msc and in Get-NetFirewallRule -Group.
const Group = "Preflight"

// Rule is the rule that the change adds, as the registry will show it apart from the version. site is that of Plan.
func (c Change) Rule(site string) rule.Rule {
	r := rule.Rule{
		Version:    "2.31",
		Action:     rule.Allow,
		Active:     rule.Yes,
		Dir:        "In",
		Profiles:   c.Profiles,
		Protocol:   rule.TCP,
		LocalPorts: rule.PortList(c.Ports...),
		Name:       rule.Text(fmt.Sprintf("preflight %s %s TCP %s", site, c.Group, c.ports())),
		Desc:       rule.Text("Added by preflight. " + strings.Join(c.Why, "; ")),
		Group:      Group,
	}
	if !c.any() {
		r.RemoteAddrs = rule.AddrList(c.From...)
	}
	return r
}

// PowerShell is the one line that adds the rule on the server.
func (c Change) PowerShell() string { return c.PowerShellIn("PersistentStore") }

// PowerShellIn is the one line that adds the rule to a policy store: PersistentStore, or a Group Policy as 'domain\name'
// (windows-powershell-docs, New-NetFirewallRule).
func (c Change) PowerShellIn(store string) string {
	r := c.Rule(c.Site)
	from := Sources(c.From...)
	if c.any() {
		from = []string{"Any"} // as the cmdlet's documentation spells it
	}
	if store != "PersistentStore" {
		store = Quote(store)
	}
	return "New-NetFirewallRule -PolicyStore " + store + " -Name " + Quote(c.ID) +
		" -DisplayName " + Quote(r.Name) + " -Description " + Quote(r.Desc) + " -Group " + Quote(Group) +
		" -Direction Inbound -Action Allow -Enabled True -Profile " + Quote(strings.Split(c.Profiles.String(), ",")...) +
		" -Protocol TCP -LocalPort " + Quote(strings.Split(c.ports(), ",")...) + " -RemoteAddress " + Quote(from...) +
		" -EdgeTraversalPolicy Block"
}

// Inverse is the one line that removes the rule, and only it: an ID holds no wildcard.
func (c Change) Inverse() string {
	return "Remove-NetFirewallRule -PolicyStore PersistentStore -Name " + Quote(c.ID)
}

// Sources are address ranges as people and New-NetFirewallRule write them: everything as the word any, a single address
// without its length.
func Sources(from ...netip.Prefix) []string {
	var out []string
	for _, p := range from {
		switch {
		case p.Bits() == 0:
			out = append(out, "any")
		case p.IsSingleIP():
			out = append(out, p.Addr().String())
		default:
			out = append(out, p.String())
		}
	}
	return out
}

// ParseSource reads what Sources writes.
func ParseSource(s string) (netip.Prefix, error) {
	if s == "any" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("not an address or a subnet: %q; for every address, write any", s)
	}
	return p, nil
}

// Quote makes PowerShell's literal strings. It takes typographic quotes for ends of a string too (about_Quoting_Rules).
func Quote(values ...string) string {
	var out []string
	for _, v := range values {
		v = strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(v)
		out = append(out, "'"+v+"'")
	}
	return strings.Join(out, ",")
}
