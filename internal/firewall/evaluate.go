package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// outcome is a decision and what Plan has to know besides.
type outcome struct {
	Decision
	admits   *StoredRule // an Allow rule that certainly applies and is not overruled, though a doubt may be left
	hopeless bool        // a local Allow rule would not change the verdict
	localOff string      // if nothing else stands in its way but that a policy turns local rules off: that
}

// decide tries every profile that may be in force.
func (p policy) decide(q query) outcome {
	profiles, _ := p.profiles(q.to)
	var all []outcome
	for _, profile := range profiles.List() {
		all = append(all, p.decideIn(q, profile))
	}
	o := all[0]
	for _, other := range all[1:] {
		o.hopeless = o.hopeless && other.hopeless
		if other.localOff == "" {
			o.localOff = ""
		}
		if other.admits == nil {
			o.admits = nil
		}
		if other.Verdict != o.Verdict {
			o.Verdict, o.By, o.Store = Unsure, nil, ""
			o.Why = fmt.Sprintf("the profile of the interface that holds %s is not known, and the profiles in force (%s) differ", q.to, profiles)
		}
	}
	return o
}

// decideIn decides for one profile.
func (p policy) decideIn(q query, profile rule.Profile) outcome {
	set := p.Settings[profile]
	if set.Enabled == rule.No {
		return outcome{Decision: Decision{Verdict: Passes, Why: fmt.Sprintf("the firewall is off for the %s profile", profile)}}
	}

	f := p.find(q, profile, set.LocalRulesMerge)
	closed := set.BlockAllInbound == rule.Yes || f.block.r != nil
	o := outcome{Decision: Decision{Void: f.void}, hopeless: closed || set.LocalRulesMerge == rule.No}
	if !closed {
		o.admits = f.allow.ref()
		if set.LocalRulesMerge == rule.No {
			o.localOff = fmt.Sprintf("local rules are turned off for the %s profile%s", profile, set.MergeBy.by())
		}
	}
	say := func(v Verdict, by *finding, format string, args ...any) {
		o.Verdict, o.By, o.Store, o.Why = v, nil, "", fmt.Sprintf(format, args...)
		if by != nil {
			o.By = by.ref()
			o.Store = o.By.Store
		}
	}

	// What the rules and settings that are known say.
	switch {
	case set.BlockAllInbound == rule.Yes:
		say(Blocked, nil, "all inbound connections are blocked in the %s profile%s, whatever the rules say", profile, set.ShieldedBy.by())
		o.Store = set.ShieldedBy
	case f.block.r != nil && f.bypass.r != nil:
		say(Unsure, &f.bypass, "rule %s lets authenticated traffic past the Block rule %s", f.bypass.r, f.block.r)
	case f.block.r != nil:
		say(Blocked, &f.block, "the Block rule %s beats every Allow rule", f.block.r)
	case f.allow.r != nil:
		say(Passes, &f.allow, "rule %s admits %s", f.allow.r, q.source())
	case set.DefaultInboundBlock == rule.No:
		say(Passes, nil, "no rule decides, and the %s profile lets in what no rule blocks", profile)
	case f.mayAllow.r != nil:
		say(Unsure, &f.mayAllow, "rule %s may admit %s: %s", f.mayAllow.r, q.source(), f.mayAllow.why)
	case set.DefaultInboundBlock == rule.Unknown:
		say(Unsure, nil, "no rule decides, and the default of the %s profile is not known", profile)
	case set.LocalRulesMerge == rule.No:
		say(Blocked, nil, "no rule that counts admits %s: %s", q.source(), o.localOff)
		o.Store = set.MergeBy
	default:
		say(Blocked, nil, "no rule admits %s", q.source())
	}

	// What is not known and could change it.
	switch {
	case o.Verdict == Passes && f.mayBlock.r != nil:
		say(Unsure, &f.mayBlock, "rule %s may block: %s", f.mayBlock.r, f.mayBlock.why)
	case o.Verdict == Passes && set.BlockAllInbound == rule.Unknown:
		say(Unsure, nil, "it is not known whether the %s profile blocks all inbound connections", profile)
	case o.Verdict == Blocked && set.Enabled == rule.Unknown:
		say(Unsure, nil, "it is not known whether the firewall is on for the %s profile", profile)
	case o.Verdict != Unsure && !closed && len(p.Unknown) > 0:
		say(Unsure, nil, "not everything could be read: %s", strings.Join(p.Unknown, "; "))
	}
	return o
}

// finding is a rule that applies or may apply, and what the "may" rests on.
type finding struct {
	r   *parsed
	why string
}

func (f finding) ref() *StoredRule {
	if f.r == nil {
		return nil
	}
	return &f.r.stored
}

// findings are the first rules of each kind; certain ones and those that may apply.
type findings struct {
	allow, block, mayAllow, mayBlock, bypass finding
	void                                     []Void
}

// find goes through the rules.
func (p policy) find(q query, profile rule.Profile, merge rule.Tri) findings {
	var f findings
	note := func(slot *finding, r *parsed, why string) {
		if slot.r == nil {
			*slot = finding{r, why}
		}
	}
	var sure, maybe []*parsed // Allow rules that admit a part of the sources
	for i := range p.rules {
		r := &p.rules[i]
		applies, why := p.match(r, q)
		if r.Action == rule.Block && applies != rule.No {
			switch remote := p.remote(r, q, rule.Addrs.Contains); {
			case remote == rule.Unknown:
				applies, why = rule.Unknown, fmt.Sprintf("it is for %s", words(r.RemoteAddrs.Keywords(q.from)))
			case remote == rule.No && p.remote(r, q, rule.Addrs.Overlaps) == rule.No:
				continue
			case remote == rule.No:
				applies, why = rule.Unknown, fmt.Sprintf("it is for a part of %s", q.source())
			}
		}
		if applies == rule.No {
			continue
		}
		counts, because := p.counts(r, profile, merge)
		if r.Action == rule.Block {
			switch applies.And(counts) {
			case rule.Yes:
				note(&f.block, r, "")
			case rule.Unknown:
				note(&f.mayBlock, r, first(why, because))
			}
			continue
		}

		remote := p.remote(r, q, rule.Addrs.Contains)
		switch {
		case remote == rule.No && p.remote(r, q, rule.Addrs.Overlaps) == rule.No:
			if counts != rule.No && !r.LocalPorts.Any() {
				f.void = append(f.void, Void{r.stored, "it is for other addresses"})
			}
			continue
		case counts == rule.No:
			if applies == rule.Yes || !r.LocalPorts.Any() {
				f.void = append(f.void, Void{r.stored, because})
			}
			continue
		case remote == rule.Unknown:
			why = first(why, fmt.Sprintf("it is for %s", words(r.RemoteAddrs.Keywords(q.from))))
		}
		switch r.Action {
		case rule.Allow:
		case rule.ByPass: // admits what IPsec has authenticated (MS-FASP 2.2.34)
			applies, why = rule.Unknown, first(why, "it is for authenticated traffic only")
			note(&f.bypass, r, why)
		default: // may be anything
			applies, why = rule.Unknown, first(why, "its action is "+r.Action)
			note(&f.mayBlock, r, why)
		}
		switch sum := applies.And(counts); {
		case sum.And(remote) == rule.Yes:
			note(&f.allow, r, "")
		case sum == rule.Yes && remote == rule.No:
			sure = append(sure, r)
		case remote == rule.No:
			maybe = append(maybe, r)
		default:
			note(&f.mayAllow, r, first(why, because))
		}
	}
	// Several rules may admit together what none admits alone.
	if f.allow.r == nil && p.together(sure, q) {
		note(&f.allow, sure[0], "")
	}
	if f.allow.r == nil && f.mayAllow.r == nil && p.together(slices.Concat(sure, maybe), q) {
		note(&f.mayAllow, maybe[0], "it admits a part, and only if it applies")
	}
	return f
}

// counts reports whether a rule is in force in a profile, whatever it says.
func (p policy) counts(r *parsed, profile rule.Profile, merge rule.Tri) (rule.Tri, string) {
	switch {
	case r.Active == rule.No:
		return rule.No, "it is disabled"
	case r.Ignored != "":
		return rule.No, "Windows ignores it: " + r.Ignored
	case !r.Profiles.Has(profile):
		return rule.No, fmt.Sprintf("it is for the %s profile, and %s is in force", r.Profiles, profile)
	case r.stored.Store == Local && p.replaced[strings.ToLower(r.stored.ID)]:
		return rule.No, "a Group Policy rule of the same id replaces it"
	case r.stored.Store == Local && merge == rule.No:
		return rule.No, fmt.Sprintf("it is a local rule, and those are turned off for the %s profile", profile)
	case r.stored.Store == Local && merge == rule.Unknown:
		return rule.Unknown, fmt.Sprintf("it is not known whether local rules count in the %s profile", profile)
	case r.Active == rule.Unknown:
		return rule.Unknown, "it does not say whether it is enabled"
	}
	return rule.Yes, ""
}

// match reports whether all but a rule's remote addresses fits, and what keeps it from being certain.
func (p policy) match(r *parsed, q query) (rule.Tri, string) {
	if r.Protocol != rule.TCP && r.Protocol != rule.AnyProtocol || !r.LocalPorts.Contains(q.port) {
		return rule.No, ""
	}
	local := rule.Yes
	if !r.LocalAddrs.Any() {
		local = rule.Unknown
		if q.to.IsValid() {
			local = r.LocalAddrs.Contains(netip.PrefixFrom(q.to.WithZone(""), q.to.BitLen()))
		}
	}
	program := rule.Yes
	if r.App != "" {
		program = sameProgram(r.App, q.program)
	}
	switch {
	case local == rule.No || program == rule.No || r.Action != rule.Block && slices.ContainsFunc(r.Conditions, foreign):
		return rule.No, ""
	case len(r.Conditions) > 0:
		return rule.Unknown, "it has a condition that cannot be told from here: " + r.Conditions[0]
	case r.Dir == "":
		return rule.Unknown, "it has no direction"
	case program == rule.Unknown:
		return rule.Unknown, "it is for " + r.App + " only"
	case r.Service != "":
		return rule.Unknown, "it is for the service " + r.Service + " only"
	case !r.RemotePorts.Any():
		return rule.Unknown, "it is for some source ports only"
	case local == rule.Unknown:
		return rule.Unknown, "it is for some addresses of the server only"
	}
	return rule.Yes, ""
}

// foreign reports whether a condition is about traffic that a packet from another server never is: that of a Store app
// (AppPkgId and PFN name its container, and no service runs in one), or of Wi-Fi Direct and its like (the trust tuples of
// MS-GPFAS 2.2.2.20). Windows has Allow rules of these kinds for every port; they would leave each verdict open. A Block
// rule of these kinds keeps its doubt.
func foreign(condition string) bool {
	key, value, _ := strings.Cut(strings.ToLower(condition), "=")
	return value != "" && (key == "apppkgid" || key == "pfn" || strings.HasPrefix(key, "ttk"))
}

// remote asks a rule's remote addresses about the sources. LocalSubnet is "within the local subnet of the computer"
// (MS-FASP 2.2.21): the subnets of the interface that is asked hold for certain, those of other interfaces may.
func (p policy) remote(r *parsed, q query, ask func(rule.Addrs, netip.Prefix) rule.Tri) rule.Tri {
	var own, all []netip.Prefix
	if it := p.facing(q.to); it != nil {
		own = it.Addresses
	}
	for _, it := range p.Interfaces {
		all = append(all, it.Addresses...)
	}
	answer := ask(r.RemoteAddrs.Resolve(rule.LocalSubnet, own...), q.from)
	if answer == rule.No && ask(r.RemoteAddrs.Resolve(rule.LocalSubnet, all...), q.from) != rule.No {
		return rule.Unknown
	}
	return answer
}

// together reports whether some rules, each for a part of the sources, admit all of them.
func (p policy) together(rules []*parsed, q query) bool {
	var union rule.Addrs
	for _, r := range rules {
		union.Ranges = append(union.Ranges, r.RemoteAddrs.Ranges...)
	}
	return !union.Any() && union.Contains(q.from) == rule.Yes
}

// sameProgram compares a rule's App with the listener's program: whole paths if both are such, else file names.
// Get-Process gives names without ".exe"; http.sys is "System" on both sides (its listeners belong to process 4).
func sameProgram(app, program string) rule.Tri {
	if program == "" {
		return rule.Unknown
	}
	a, b := foldPath(app), foldPath(program)
	if base(a) != base(b) {
		return rule.No
	}
	if strings.Contains(a, `\`) && strings.Contains(b, `\`) && a != b {
		if strings.Contains(a+b, "%") {
			return rule.Unknown
		}
		return rule.No
	}
	return rule.Yes
}

// foldPath makes paths comparable. Doubled backslashes are left over from .reg files; the variables have their usual values.
func foldPath(s string) string {
	return strings.TrimSuffix(strings.NewReplacer(
		`\\`, `\`, "/", `\`, "%systemroot%", `c:\windows`, "%windir%", `c:\windows`, "%programfiles%", `c:\program files`, "%systemdrive%", "c:",
	).Replace(strings.ToLower(strings.TrimSpace(s))), ".exe")
}

func base(path string) string { return path[strings.LastIndexByte(path, '\\')+1:] }

func words(list []string) string { return strings.Join(list, " and ") }

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
