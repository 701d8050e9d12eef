// Package rule reads and writes Windows Firewall rules as the registry stores them.
//
// A rule is one REG_SZ value whose name is the rule's id and whose data is a list of fields, each ended by a bar:
//
//	v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|RA4=10.20.0.0/255.255.0.0|Name=web|
//
// MS-GPFAS 2.2.2.19 gives the grammar for the Group Policy key, MS-FASP 2.2.37 the meaning; the local key and the MDM key
// hold the same strings. Windows' own rules stray from the grammar ("V2.0", "Svc==name", "Protocol=tcp", lists with commas,
// ports before the protocol), so reading is lenient, but never generous: what is not understood is kept in Conditions,
// and a rule with conditions proves nothing.
package rule

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Tri is an answer that may be unknown. The zero value is Unknown.
type Tri uint8

// The answers.
const (
	Unknown Tri = iota
	No
	Yes
)

func (t Tri) String() string { return [...]string{"unknown", "no", "yes"}[min(t, Yes)] }

// And is Yes if both are, No if one is, else Unknown.
func (t Tri) And(u Tri) Tri {
	switch {
	case t == No || u == No:
		return No
	case t == Yes && u == Yes:
		return Yes
	}
	return Unknown
}

// The actions of firewall rules (MS-GPFAS 2.2.2.5). ByPass admits authenticated traffic even past a Block rule.
const (
	Allow  = "Allow"
	Block  = "Block"
	ByPass = "ByPass"
)

// Protocols by IANA number. A rule without a protocol is for any, which FW_RULE writes as 256.
const (
	TCP         = 6
	UDP         = 17
	AnyProtocol = 256
)

// Rule is one firewall rule.
type Rule struct {
	Version     string // "2.31"; "" if the string has none
	Action      string // Allow, Block, ByPass, or the word that stands there
	Active      Tri    // Unknown without the field: MS-GPFAS says that means disabled, for MDM rules Microsoft says enabled
	Dir         string // "In", "Out" or ""
	Profiles    Profiles
	Protocol    int // AnyProtocol without the field
	LocalPorts  Ports
	RemotePorts Ports
	LocalAddrs  Addrs
	RemoteAddrs Addrs
	App         string // path of the program, or "System"; as written: may hold %variables% and doubled backslashes
	Service     string // short name; "*" is any service, but no other process
	Name        string // for display; not unique, and "@file,-id" for rules of Windows
	Desc        string
	Group       string // EmbedCtxt

	// Conditions are the fields, as written, that limit the rule in a way this package cannot decide: known ones such as
	// LUAuth, AppPkgId, Platform, IF or Security, unknown ones, and those whose value makes no sense. A rule that has any
	// proves nothing: an Allow may not admit, a Block may block.
	Conditions []string

	// Ignored says why Windows does not enforce the rule although it looks fine, else "".
	Ignored string
}

// Parse reads a rule string. It fails only if there is no Action field, and so no rule; the rest of the Rule is as far as
// it could be read.
func Parse(s string) (Rule, error) {
	r := Rule{Protocol: AnyProtocol}
	seen := map[string]bool{}
	for i, field := range strings.Split(s, "|") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			version, isVersion := cutPrefixFold(strings.TrimSpace(field), "v")
			if i == 0 && isVersion {
				r.Version = version
			} else if strings.TrimSpace(field) != "" {
				r.Conditions = append(r.Conditions, field)
			}
			continue
		}
		key = strings.ToLower(strings.TrimSpace(key))
		if !r.set(key, value, seen[key]) {
			r.Conditions = append(r.Conditions, field)
		}
		seen[key] = true
	}
	if r.Profiles == 0 {
		r.Profiles = AllProfiles
	}
	// Ports need TCP or UDP (MS-FASP 2.2.37); what Windows makes of such a rule is not told.
	if ported := !r.LocalPorts.Any() || !r.RemotePorts.Any(); ported && r.Protocol != TCP && r.Protocol != UDP {
		r.Conditions = append(r.Conditions, "ports without TCP or UDP")
	}
	if r.Action == "" {
		return r, errors.New("no action: not a firewall rule")
	}
	return r, nil
}

// set takes one field; it reports false for one that it cannot take. again means that the key stood there before, which
// only lists may (MS-GPFAS 2.2.2.19: "at most once").
func (r *Rule) set(key, value string, again bool) bool {
	word := strings.TrimSpace(value)
	switch key {
	case "profile":
		return each(word, r.setProfile)
	case "lport", "lport2_10", "lport2_20", "lport2_24", "lport2_25", "lport2_28", "lport2_29":
		return each(word, r.LocalPorts.add)
	case "rport", "rport2_10", "rport2_20", "rport2_25", "rport2_28":
		return each(word, r.RemotePorts.add)
	case "la4", "la42":
		return each(word, r.LocalAddrs.add4)
	case "la6", "la62":
		return each(word, r.LocalAddrs.add6)
	case "ra4", "ra42":
		return each(word, r.RemoteAddrs.add4)
	case "ra6", "ra62":
		return each(word, r.RemoteAddrs.add6)
	case "edge", "defer", "lsm", "pcross":
		return true // about NAT edges and about answers to outbound traffic: nothing to do with who may connect
	}
	if again {
		return false
	}
	switch key {
	case "action":
		r.Action = word
		for _, a := range []string{Allow, Block, ByPass} {
			if strings.EqualFold(word, a) {
				r.Action = a
			}
		}
		switch strings.ToLower(word) { // CS-ACTION-VAL, MS-GPFAS 2.2.6
		case "secureserver", "boundary", "secure", "donotsecure":
			r.Ignored = "it is a connection security rule, not a firewall rule"
		}
		return word != ""
	case "active":
		switch strings.ToLower(word) {
		case "true":
			r.Active = Yes
		case "false":
			r.Active = No
		}
		return r.Active != Unknown
	case "dir":
		switch strings.ToLower(word) {
		case "in":
			r.Dir = "In"
		case "out":
			r.Dir = "Out"
		}
		return r.Dir != ""
	case "protocol":
		return r.setProtocol(word)
	case "app":
		r.App = word
		return word != ""
	case "svc":
		r.Service = strings.TrimPrefix(word, "=")
		return r.Service != ""
	case "name":
		r.Name = value
		return true
	case "desc":
		r.Desc = value
		return true
	case "embedctxt":
		r.Group = value
		return true
	case "apppkgid":
		if word == "" {
			// Seen as status NoLocalUser: github.com/SteveUnderScoreN/WindowsFirewall issue 4.
			r.Ignored = "its AppPkgId is empty"
		}
		return false
	}
	return false
}

func (r *Rule) setProfile(word string) bool {
	p, ok := profileOf(word)
	r.Profiles |= p
	return ok
}

func (r *Rule) setProtocol(word string) bool {
	words := map[string]int{"tcp": TCP, "udp": UDP, "icmpv4": 1, "icmpv6": 58, "any": AnyProtocol, "*": AnyProtocol}
	n, ok := words[strings.ToLower(word)]
	if !ok {
		var err error
		n, err = strconv.Atoi(word)
		ok = err == nil && n >= 0 && n <= AnyProtocol
	}
	if ok {
		r.Protocol = n
	}
	return ok
}

// each hands the parts of a list with commas to add and reports whether it took all of them.
func each(list string, add func(string) bool) bool {
	ok := true
	for part := range strings.SplitSeq(list, ",") {
		ok = add(strings.TrimSpace(part)) && ok
	}
	return ok
}

// String writes a rule that is made of fields Parse understands; Conditions and Ignored are not written. Windows has no
// escape for the bar, so in Name, Desc and Group a bar becomes a slash and a control character a blank; apart from that
// Parse gives the same rule back. Addresses are written as Windows does it: a host alone, an IPv4 network with its mask.
func (r Rule) String() string {
	var b strings.Builder
	field := func(key, value string) {
		if value != "" {
			b.WriteString(key + "=" + value + "|")
		}
	}
	if r.Version != "" {
		b.WriteString("v" + r.Version + "|")
	}
	field("Action", r.Action)
	if r.Active != Unknown {
		field("Active", map[Tri]string{Yes: "TRUE", No: "FALSE"}[r.Active])
	}
	field("Dir", r.Dir)
	if r.Protocol != AnyProtocol {
		field("Protocol", strconv.Itoa(r.Protocol))
	}
	if r.Profiles != AllProfiles {
		for _, p := range r.Profiles.List() {
			field("Profile", p.String())
		}
	}
	r.LocalPorts.write("LPort", field)
	r.RemotePorts.write("RPort", field)
	r.LocalAddrs.write("LA", field)
	r.RemoteAddrs.write("RA", field)
	field("App", r.App)
	field("Svc", r.Service)
	field("Name", Text(r.Name))
	field("Desc", Text(r.Desc))
	field("EmbedCtxt", Text(r.Group))
	return b.String()
}

// Text makes s fit for a rule's text fields: a bar becomes a slash, a control character a blank.
func Text(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '|':
			return '/'
		case unicode.IsControl(c):
			return ' '
		}
		return c
	}, s)
}

// SameEffect reports whether two rules do the same: everything is compared but version, texts and the order of lists.
func (r Rule) SameEffect(o Rule) bool {
	return r.Action == o.Action && r.Active == o.Active && r.Dir == o.Dir && r.Profiles == o.Profiles &&
		r.Protocol == o.Protocol && r.LocalPorts.Equal(o.LocalPorts) && r.RemotePorts.Equal(o.RemotePorts) &&
		r.LocalAddrs.Equal(o.LocalAddrs) && r.RemoteAddrs.Equal(o.RemoteAddrs) &&
		strings.EqualFold(r.App, o.App) && strings.EqualFold(r.Service, o.Service) &&
		slices.Equal(r.Conditions, o.Conditions) && r.Ignored == o.Ignored
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	rest := s[len(prefix):]
	return rest, strings.Trim(rest, "0123456789.") == ""
}
