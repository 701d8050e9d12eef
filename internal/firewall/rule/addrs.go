package rule

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// LocalSubnet is the keyword for the subnets that the server itself is in.
const LocalSubnet = "LocalSubnet"

// addrKeywords are the words of MS-GPFAS 2.2.2.13. What they hold changes with the network and is not in the string.
var addrKeywords = []string{LocalSubnet, "DNS", "DHCP", "WINS", "DefaultGateway", "IntrAnet", "IntErnet", "Ply2Renders", "RmtIntrAnet", "CaptivePortal"}

// AddrRange is the addresses From to To, both included and of one family.
type AddrRange struct{ From, To netip.Addr }

// Addrs is a rule's list of addresses. The empty list is any address; a list with entries of one family only holds no
// address of the other.
type Addrs struct {
	Ranges    []AddrRange
	Keywords4 []string
	Keywords6 []string
}

// AddrList makes a list of networks and hosts.
func AddrList(prefixes ...netip.Prefix) Addrs {
	var a Addrs
	for _, p := range prefixes {
		a.Ranges = append(a.Ranges, rangeOf(p))
	}
	return a
}

// Any reports whether the list leaves the address free.
func (a Addrs) Any() bool {
	return len(a.Ranges) == 0 && len(a.Keywords4) == 0 && len(a.Keywords6) == 0
}

// Contains reports whether the list holds the whole of p. Where the written addresses do not, a keyword for p's family
// makes the answer Unknown.
func (a Addrs) Contains(p netip.Prefix) Tri {
	want := rangeOf(p)
	return a.answer(p, slices.ContainsFunc(a.merged(), func(r AddrRange) bool {
		return r.From.Compare(want.From) <= 0 && want.To.Compare(r.To) <= 0
	}))
}

// Overlaps reports, as Contains does, whether the list holds any address of p.
func (a Addrs) Overlaps(p netip.Prefix) Tri {
	want := rangeOf(p)
	return a.answer(p, slices.ContainsFunc(a.Ranges, func(r AddrRange) bool {
		return r.From.Compare(want.To) <= 0 && want.From.Compare(r.To) <= 0
	}))
}

func (a Addrs) answer(p netip.Prefix, found bool) Tri {
	switch {
	case a.Any() || found:
		return Yes
	case p.Addr().Is4() && len(a.Keywords4) > 0, p.Addr().Is6() && len(a.Keywords6) > 0:
		return Unknown
	}
	return No
}

// Keywords gives the keywords for p's family.
func (a Addrs) Keywords(p netip.Prefix) []string {
	if p.Addr().Is4() {
		return a.Keywords4
	}
	return a.Keywords6
}

// Resolve gives the list with a keyword replaced by what it stands for. A family that nothing is known of keeps the
// keyword: without it the list could turn into any address.
func (a Addrs) Resolve(keyword string, means ...netip.Prefix) Addrs {
	resolve := func(words []string, family func(netip.Addr) bool) []string {
		if !slices.Contains(words, keyword) {
			return words
		}
		known := AddrList(slices.DeleteFunc(slices.Clone(means), func(p netip.Prefix) bool { return !family(p.Addr()) })...)
		if known.Any() {
			return words
		}
		a.Ranges = slices.Concat(a.Ranges, known.Ranges)
		return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == keyword })
	}
	a.Keywords4 = resolve(a.Keywords4, netip.Addr.Is4)
	a.Keywords6 = resolve(a.Keywords6, netip.Addr.Is6)
	return a
}

// Equal compares as sets: 10.0.0.0/24, its form with a mask and the range from 10.0.0.0 to 10.0.0.255 are the same.
func (a Addrs) Equal(b Addrs) bool {
	return slices.Equal(a.merged(), b.merged()) && equalWords(a.Keywords4, b.Keywords4) && equalWords(a.Keywords6, b.Keywords6)
}

func (a Addrs) merged() []AddrRange {
	rs := slices.SortedFunc(slices.Values(a.Ranges), func(x, y AddrRange) int { return x.From.Compare(y.From) })
	var out []AddrRange
	for _, r := range rs {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if r.From.Compare(last.To) <= 0 || r.From == last.To.Next() {
				if last.To.Less(r.To) {
					last.To = r.To
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func (a *Addrs) add4(s string) bool { return a.add(s, "0.0.0.0/0", &a.Keywords4, netip.Addr.Is4) }
func (a *Addrs) add6(s string) bool { return a.add(s, "::/0", &a.Keywords6, netip.Addr.Is6) }

func (a *Addrs) add(s, all string, keywords *[]string, family func(netip.Addr) bool) bool {
	if s == "*" {
		s = all
	}
	if k, ok := keyword(s, addrKeywords); ok {
		*keywords = append(*keywords, k)
		return true
	}
	r, ok := parseRange(s)
	if !ok || !family(r.From) || !family(r.To) || r.From.Zone() != "" || r.To.Zone() != "" || r.To.Less(r.From) {
		return false
	}
	a.Ranges = append(a.Ranges, r)
	return true
}

// parseRange reads an address, a range a-b, or a network with its length or, for IPv4, its mask.
func parseRange(s string) (AddrRange, bool) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		a, err1 := netip.ParseAddr(strings.TrimSpace(from))
		b, err2 := netip.ParseAddr(strings.TrimSpace(to))
		return AddrRange{a, b}, err1 == nil && err2 == nil
	}
	host, length, ok := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return AddrRange{}, false
	}
	if !ok {
		return AddrRange{a, a}, true
	}
	n, err := strconv.Atoi(length)
	if err != nil {
		mask, err := netip.ParseAddr(length)
		if err != nil || !mask.Is4() || !a.Is4() {
			return AddrRange{}, false
		}
		m := mask.As4()
		word := binary.BigEndian.Uint32(m[:])
		n = bits.OnesCount32(word)
		if bits.LeadingZeros32(^word) != n {
			return AddrRange{}, false // the mask has holes
		}
	}
	p, err := a.Prefix(n)
	if err != nil {
		return AddrRange{}, false
	}
	return rangeOf(p), true
}

func rangeOf(p netip.Prefix) AddrRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	to, _ := netip.AddrFromSlice(last)
	return AddrRange{p.Addr(), to}
}

// write puts the entries under key+"4" and key+"6". The words that came with schema 2.20 have keys of their own.
func (a Addrs) write(key string, field func(key, value string)) {
	for _, r := range a.Ranges {
		if r.From.Is4() {
			field(key+"4", r.String())
		} else {
			field(key+"6", r.String())
		}
	}
	words := func(key string, words []string) {
		for _, w := range words {
			if slices.Index(addrKeywords, w) >= slices.Index(addrKeywords, "IntrAnet") {
				field(key+"2", w)
			} else {
				field(key, w)
			}
		}
	}
	words(key+"4", a.Keywords4)
	words(key+"6", a.Keywords6)
}

// String writes the range as Windows does: a host alone, an IPv4 network with its mask, an IPv6 network with its length.
func (r AddrRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	for n := range r.From.BitLen() {
		p := netip.PrefixFrom(r.From, n)
		if rangeOf(p) != r {
			continue
		}
		if r.From.Is6() {
			return p.String()
		}
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-n))
		return r.From.String() + "/" + netip.AddrFrom4(mask).String()
	}
	return r.From.String() + "-" + r.To.String()
}
