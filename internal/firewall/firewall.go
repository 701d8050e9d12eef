// Package firewall tells from a server's stored firewall rules and settings whether a TCP connection gets in and by which
// rule, and plans the rules to add where it does not. It knows no Qlik and talks to nobody: values in, values out.
//
// The stored policy is not what Windows enforces at this moment, so whatever is said here is inferred. Where the strings
// do not decide, the answer is unknown, never a guess: an Allow rule that may not apply does not admit, and a Block rule
// that may apply takes the certainty from every "passes".
//
// What decides, in this order (MS-FASP 2.2.37 and 2.2.38; "Windows Firewall rules", windows-itpro-docs rules.md):
// the firewall is off for the profile; all inbound traffic is blocked; a Block rule; an Allow rule; the default action.
package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// Store is where a rule or a setting comes from.
type Store string

// The stores. Windows enforces all three together.
const (
	Local  Store = "local"
	Policy Store = "policy" // Group Policy
	MDM    Store = "mdm"    // device management, as Intune
)

func (s Store) String() string {
	switch s {
	case Policy:
		return "Group Policy"
	case MDM:
		return "MDM"
	}
	return string(s)
}

// by is whose a setting is, as an addition to a sentence.
func (s Store) by() string {
	if s == "" {
		return ""
	}
	return " by " + s.String()
}

// StoredRule is a rule as it was found: the registry value's name and data. Only the ID names a rule, and it is compared
// without case; display names are not unique.
type StoredRule struct {
	Store Store  `json:"store"`
	ID    string `json:"id"`
	Raw   string `json:"raw"`
}

// ProfileSettings is what holds for one profile. The zero value says that nothing is known.
type ProfileSettings struct {
	Enabled             rule.Tri // off: nothing is blocked, whatever the rules say
	BlockAllInbound     rule.Tri // "shields up": no rule admits anything
	DefaultInboundBlock rule.Tri // what no rule decides is blocked
	LocalRulesMerge     rule.Tri // No: the rules of the local store do not count, Block rules included
	Stealth             rule.Tri // a port without a listener does not answer

	MergeBy    Store // whose setting turns local rules off; "" if none does
	ShieldedBy Store // whose setting blocks all inbound traffic
}

// Setting is one raw registry value of a profile. Names that Merge does not know are left out of account.
type Setting struct {
	Store   Store
	Profile rule.Profile
	Name    string
	Value   int
}

// Merge makes each profile's settings from the values that the stores hold. The laws of merging are those of MS-FASP
// 2.2.38; that Group Policy goes before MDM is own knowledge. A value that stands nowhere has the default of the Firewall
// CSP (windows-itpro-docs firewall-csp.md), but EnableFirewall, which Windows always writes: without it Enabled is unknown.
//
//	EnableFirewall         policy, else MDM, else local
//	DoNotAllowExceptions   on in any store is on; default off
//	DefaultInboundAction   policy, else MDM, else local; 0 allows, 1 blocks; default block (also INetFwPolicy2)
//	AllowLocalPolicyMerge  policy, else MDM, never local, where Windows accepts it without effect; default on
//	DisableStealthMode     policy, else MDM, else local; default off
func Merge(settings []Setting) map[rule.Profile]ProfileSettings {
	merged := map[rule.Profile]ProfileSettings{}
	for _, p := range rule.AllProfiles.List() {
		get := func(name string, byDefault rule.Tri, stores ...Store) rule.Tri {
			for _, store := range stores {
				for _, s := range settings {
					if s.Store == store && s.Profile == p && s.Name == name {
						return yes(s.Value != 0)
					}
				}
			}
			return byDefault
		}
		by := func(off func(Store) bool, stores ...Store) Store {
			if i := slices.IndexFunc(stores, off); i >= 0 {
				return stores[i]
			}
			return ""
		}
		shieldedBy := by(func(s Store) bool { return get("DoNotAllowExceptions", rule.No, s) == rule.Yes }, Policy, MDM, Local)
		merge := get("AllowLocalPolicyMerge", rule.Yes, Policy, MDM)
		mergeBy := Store("")
		if merge == rule.No {
			mergeBy = by(func(s Store) bool { return get("AllowLocalPolicyMerge", rule.Unknown, s) != rule.Unknown }, Policy, MDM)
		}
		merged[p] = ProfileSettings{
			Enabled:             get("EnableFirewall", rule.Unknown, Policy, MDM, Local),
			BlockAllInbound:     yes(shieldedBy != ""),
			DefaultInboundBlock: get("DefaultInboundAction", rule.Yes, Policy, MDM, Local),
			LocalRulesMerge:     merge,
			Stealth:             not(get("DisableStealthMode", rule.No, Policy, MDM, Local)),
			MergeBy:             mergeBy,
			ShieldedBy:          shieldedBy,
		}
	}
	return merged
}

func yes(b bool) rule.Tri {
	if b {
		return rule.Yes
	}
	return rule.No
}

func not(t rule.Tri) rule.Tri {
	switch t {
	case rule.Yes:
		return rule.No
	case rule.No:
		return rule.Yes
	}
	return rule.Unknown
}

// Interface is a network interface of the server.
type Interface struct {
	Index     int            `json:"index"`
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	Profile   rule.Profile   `json:"-"` // in force on it; 0 is unknown
}

// State is one server's firewall.
type State struct {
	Rules      []StoredRule
	Settings   map[rule.Profile]ProfileSettings // a missing profile's settings are unknown
	Interfaces []Interface
	Active     rule.Profiles // in force on any interface (INetFwPolicy2 CurrentProfileTypes); 0 is unknown
	Unknown    []string      // what could not be read and why; then no verdict that it could change is certain
}

// Packet is the first packet of a TCP connection from another host.
type Packet struct {
	From, To netip.Addr
	Port     uint16
	Program  string // that listens: its path or file name, "System" for http.sys, "" if not known
}

// Verdict is whether traffic gets through the firewall.
type Verdict string

// The verdicts.
const (
	Passes  Verdict = "passes"
	Blocked Verdict = "blocked"
	Unsure  Verdict = "unknown"
)

// Decision is a verdict and what it rests on.
type Decision struct {
	Verdict Verdict     `json:"verdict"`
	By      *StoredRule `json:"by"`    // the rule that decides, or that leaves it open; nil for a setting or the default
	Store   Store       `json:"store"` // where that rule or setting comes from, and so whose it is; "" for a default
	Why     string      `json:"why"`   // one sentence
	Void    []Void      `json:"void,omitempty"`
}

// Void is an Allow rule for the port that does not admit the packet, and why. Rules that name the port but
// other sources are among them.
type Void struct {
	StoredRule
	Why string `json:"why"`
}

// Evaluate decides about one packet.
//
// The settings are those of the profile of the interface that holds p.To. Where that is not known, all profiles in force
// are tried, and if they disagree the verdict is unknown.
func Evaluate(s State, p Packet) Decision {
	from := p.From.Unmap()
	return prepare(s).decide(query{netip.PrefixFrom(from, from.BitLen()), p.To.Unmap(), p.Port, p.Program}).Decision
}

// Admits decides, as Evaluate does, about all the addresses of from at once, with the listening program not known. Passes
// says that every one of them gets in; Blocked that they do not all get in. A Block rule for some of them only makes it unknown.
func Admits(s State, to netip.Addr, from netip.Prefix, port uint16) Decision {
	return prepare(s).decide(query{from.Masked(), to.Unmap(), port, ""}).Decision
}

// query is what a decision is about.
type query struct {
	from    netip.Prefix
	to      netip.Addr
	port    uint16
	program string
}

func (q query) source() string {
	if q.from.Bits() == 0 {
		return "any address"
	}
	if q.from.IsSingleIP() {
		return q.from.Addr().String()
	}
	return q.from.String()
}

// policy is a State with its inbound rules parsed.
type policy struct {
	State
	rules    []parsed
	replaced map[string]bool // ids, in lower case, of Group Policy rules: they override local ones (New-NetFirewallRule -Name)
}

type parsed struct {
	rule.Rule
	stored StoredRule
}

func (r parsed) String() string { return fmt.Sprintf("%s (%s)", display(r), r.stored.Store) }

// display is the rule's name where that says anything: rules of Windows only have a reference to a resource.
func display(r parsed) string {
	if name := r.Name; name != "" && name[0] != '@' {
		return fmt.Sprintf("%q", name)
	}
	return r.stored.ID
}

func prepare(s State) policy {
	p := policy{State: s, replaced: map[string]bool{}}
	for _, stored := range s.Rules {
		if stored.Store == Policy {
			p.replaced[strings.ToLower(stored.ID)] = true
		}
		r, err := rule.Parse(stored.Raw)
		if err != nil {
			// It may be anything: it is taken for a Block rule that may apply, which decides nothing but leaves a doubt.
			r = rule.Rule{Action: rule.Block, Dir: "In", Profiles: rule.AllProfiles, Protocol: rule.AnyProtocol, Conditions: []string{err.Error()}}
		}
		if r.Dir != "Out" {
			p.rules = append(p.rules, parsed{r, stored})
		}
	}
	return p
}

// facing gives the interface that holds an address, or nil.
func (p policy) facing(to netip.Addr) *Interface {
	for i, it := range p.Interfaces {
		if slices.ContainsFunc(it.Addresses, func(a netip.Prefix) bool { return a.Addr().Unmap().WithZone("") == to.WithZone("") }) {
			return &p.Interfaces[i]
		}
	}
	return nil
}

// profiles gives the profiles that may be in force where a packet for to arrives, and whether it is known to be that one.
func (p policy) profiles(to netip.Addr) (rule.Profiles, bool) {
	if it := p.facing(to); it != nil && it.Profile != 0 {
		return rule.Profiles(it.Profile), true
	}
	if p.Active == 0 {
		return rule.AllProfiles, false
	}
	return p.Active, len(p.Active.List()) == 1
}
