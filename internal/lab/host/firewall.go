package host

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// The caller of everything here that reads the firewall holds Host.mu.

// keys are the registry keys of the profiles' settings in a Group Policy.
var keys = map[rule.Profile]string{rule.Domain: "DomainProfile", rule.Private: "PrivateProfile", rule.Public: "PublicProfile"}

// xpKey is where Windows itself and MDM keep the Private profile. In a Group Policy it is Windows XP's word for both
// Private and Public, and counts where neither of the newer keys is there (MS-GPFAS 2.2.3).
const xpKey = "StandardProfile"

// value is what a store says of a profile.
func (h *Host) value(store string, p rule.Profile, name string) (value int, said bool) {
	key := keys[p]
	if store != "policy" && p == rule.Private {
		key = xpKey
	}
	if store == "policy" && p != rule.Domain && !slices.ContainsFunc(h.settings, func(s Setting) bool {
		return s.Store == store && (s.Profile == keys[rule.Private] || s.Profile == keys[rule.Public])
	}) {
		key = xpKey
	}
	for _, s := range h.settings {
		if s.Store == store && s.Profile == key && s.Name == name {
			return s.Value, true
		}
	}
	return 0, false
}

// setting is what the first of the stores that says anything says.
func (h *Host) setting(p rule.Profile, name string, absent int, stores ...string) int {
	for _, store := range stores {
		if v, said := h.value(store, p, name); said {
			return v
		}
	}
	return absent
}

// enabled tells whether the firewall is on.
func (h *Host) enabled(p rule.Profile) bool {
	return h.setting(p, "EnableFirewall", 1, "policy", "mdm", "local") != 0
}

// shielded tells whether all incoming connections are blocked, whatever the rules say: one store's word is enough.
func (h *Host) shielded(p rule.Profile) bool {
	return slices.ContainsFunc([]string{"policy", "mdm", "local"}, func(store string) bool {
		v, _ := h.value(store, p, "DoNotAllowExceptions")
		return v != 0
	})
}

// merges tells whether the rules of the local store count. Windows accepts that setting in the local store, too, where
// it has no effect.
func (h *Host) merges(p rule.Profile) bool {
	return h.setting(p, "AllowLocalPolicyMerge", 1, "policy", "mdm") != 0
}

// open tells whether what no rule decides gets in.
func (h *Host) open(p rule.Profile) bool {
	return h.setting(p, "DefaultInboundAction", 1, "policy", "mdm", "local") == 0
}

// stealth tells whether a port that nobody listens on does not answer.
func (h *Host) stealth(p rule.Profile) bool {
	return h.setting(p, "DisableStealthMode", 0, "policy", "mdm", "local") == 0
}

// modify is INetFwPolicy2's LocalPolicyModifyState: whether changing local rules has any effect (NET_FW_MODIFY_STATE).
func (h *Host) modify() int {
	switch {
	case !h.merges(h.Profile):
		return 1 // NET_FW_MODIFY_STATE_GP_OVERRIDE
	case h.shielded(h.Profile):
		return 2 // NET_FW_MODIFY_STATE_INBOUND_BLOCKED
	}
	return 0
}

// inForce are the inbound rules that count in the profile in force. A rule of the policy replaces a local one of its
// id. A rule with a condition is for traffic that the lab has none of: IPsec, Store apps, single interfaces.
func (h *Host) inForce() []rule.Rule {
	replaced := map[string]bool{}
	for id := range h.rules["policy"] {
		replaced[strings.ToLower(id)] = true
	}
	var all []rule.Rule
	for store, rules := range h.rules {
		if store == "local" && !h.merges(h.Profile) {
			continue
		}
		for id, text := range rules {
			r, err := rule.Parse(text)
			switch {
			case store == "local" && replaced[strings.ToLower(id)]:
			case err != nil || r.Active != rule.Yes || r.Dir != "In" || !r.Profiles.Has(h.Profile):
			case len(r.Conditions) > 0 || r.Ignored != "":
			default:
				all = append(all, r)
			}
		}
	}
	return all
}

// admits tells whether the firewall lets a connection to a port in. l listens there, or nobody does.
func (h *Host) admits(from netip.Addr, port uint16, l *listener) bool {
	if h.shielded(h.Profile) {
		return false
	}
	admitted := h.open(h.Profile)
	for _, r := range h.inForce() {
		if !h.isFor(r, from, port, l) {
			continue
		}
		switch r.Action {
		case rule.Block:
			return false // whatever allows it
		case rule.Allow:
			admitted = true
		}
	}
	return admitted
}

// isFor tells whether a rule is for a connection.
func (h *Host) isFor(r rule.Rule, from netip.Addr, port uint16, l *listener) bool {
	host := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	return (r.Protocol == rule.TCP || r.Protocol == rule.AnyProtocol) &&
		r.LocalPorts.Contains(port) && r.RemotePorts.Any() &&
		r.LocalAddrs.Contains(host(h.Address.Addr())) == rule.Yes &&
		r.RemoteAddrs.Resolve(rule.LocalSubnet, h.Address).Contains(host(from)) == rule.Yes &&
		h.isForProgram(r, l)
}

// isForProgram tells whether a rule is for the program that listens, by its file name, and for its service.
func (h *Host) isForProgram(r rule.Rule, l *listener) bool {
	if r.App == "" && r.Service == "" {
		return true
	}
	if l == nil {
		return false
	}
	app := strings.TrimSuffix(strings.ToLower(r.App[strings.LastIndex(r.App, `\`)+1:]), ".exe")
	service := slices.ContainsFunc(h.services, func(s Service) bool {
		return s.PID == l.pid && (r.Service == "*" || strings.EqualFold(s.Name, r.Service))
	})
	return (r.App == "" || app == strings.ToLower(h.owners[l.pid])) && (r.Service == "" || service)
}
