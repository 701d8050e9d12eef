package rule

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// PortRange is the ports From to To, both included.
type PortRange struct{ From, To uint16 }

// Ports is a rule's list of ports. The empty list is any port.
type Ports struct {
	Ranges   []PortRange
	Keywords []string // ports that Windows finds out by itself, as RPC or Teredo
}

// portKeywords are the words of MS-GPFAS 2.2.2.3. None stands for a fixed number that somebody else may use: IPHTTPSIn, for
// one, is 443, but for System's IP-HTTPS only.
var portKeywords = []string{"RPC", "RPC-EPMap", "Teredo", "IPTLSIn", "IPTLSOut", "IPHTTPSIn", "IPHTTPSOut", "DHCP", "Ply2Disc", "mDNS", "CortanaOut", "TcpCDPSvc"}

// PortList makes a list of single ports.
func PortList(ports ...uint16) Ports {
	var p Ports
	for _, n := range ports {
		p.Ranges = append(p.Ranges, PortRange{n, n})
	}
	return p
}

// Any reports whether the list leaves the port free.
func (p Ports) Any() bool { return len(p.Ranges) == 0 && len(p.Keywords) == 0 }

// Contains reports whether the list names the port by number, or is any. Keywords never match.
func (p Ports) Contains(port uint16) bool {
	return p.Any() || slices.ContainsFunc(p.Ranges, func(r PortRange) bool { return r.From <= port && port <= r.To })
}

// Equal compares as sets.
func (p Ports) Equal(o Ports) bool {
	return slices.Equal(p.merged(), o.merged()) && equalWords(p.Keywords, o.Keywords)
}

func (p Ports) merged() []PortRange {
	rs := slices.SortedFunc(slices.Values(p.Ranges), func(a, b PortRange) int { return cmp.Compare(a.From, b.From) })
	var out []PortRange
	for _, r := range rs {
		if n := len(out); n > 0 && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

func (p *Ports) add(s string) bool {
	if s == "*" {
		s = "0-65535"
	}
	if k, ok := keyword(s, portKeywords); ok {
		p.Keywords = append(p.Keywords, k)
		return true
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || from > to {
		return false
	}
	p.Ranges = append(p.Ranges, PortRange{uint16(from), uint16(to)})
	return true
}

// write puts single ports under key and the rest under its 2.10 form, as Windows does it.
func (p Ports) write(key string, field func(key, value string)) {
	for _, r := range p.Ranges {
		if r.From == r.To {
			field(key, strconv.Itoa(int(r.From)))
		} else {
			field(key+"2_10", strconv.Itoa(int(r.From))+"-"+strconv.Itoa(int(r.To)))
		}
	}
	for _, k := range p.Keywords {
		field(key, k)
	}
}

func keyword(s string, known []string) (string, bool) {
	i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, s) })
	if i < 0 {
		return "", false
	}
	return known[i], true
}

func equalWords(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}
