package script

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/printable"
)

// Peer is another server, by the name its flows use and the host name or address that is dialled.
type Peer struct{ Name, Host string }

// Inspect reads a server. Sections that cannot be read are unknown in the result, each with its reason; an error means
// that the script as a whole failed.
func Inspect(ctx context.Context, r Runner, askState bool, peers []Peer) (facts.Server, error) {
	c := Start(ctx, r, InspectOp, 60*time.Second)
	for _, p := range peers {
		c.Send("peer", p.Name, p.Host)
	}
	if askState {
		c.Send("state")
	}
	c.Send("go")
	in := newInspection()
	for {
		f, err := c.Next()
		if err == io.EOF {
			return in.server(), c.Close()
		}
		if err != nil {
			return facts.Server{}, err
		}
		in.add(f, time.Now())
	}
}

// inspection gathers the frames of inspect. Frames it does not know are ignored: a newer script may say more.
type inspection struct {
	s         facts.Server
	read      map[string]bool
	unknown   map[string]string
	settings  []setting
	live      map[rule.Profile][3]int
	modify    int
	networks  map[int]rule.Profile
	processes map[int]string
	started   time.Time
	bad       int // values that could not be read. None of those that decide anything is ever taken for 0
}

const unreported = "the server did not report it"

func newInspection() *inspection {
	return &inspection{
		read: map[string]bool{}, unknown: map[string]string{}, live: map[rule.Profile][3]int{},
		networks: map[int]rule.Profile{}, processes: map[int]string{}, started: time.Now(),
		s: facts.Server{
			State: facts.Unknown[facts.ServiceState](unreported), UptimeS: facts.Unknown[int64](unreported),
			Interfaces: []facts.Interface{}, Listeners: facts.Known([]facts.Listener{}), Services: facts.Known([]facts.Service{}), Releases: facts.Known([]string{}),
			Certificates: facts.Known([]facts.Certificate{}), Peers: []facts.Peer{}, Missing: []facts.Missing{},
		},
	}
}

// setting is a value of a profile's key in the registry.
type setting struct {
	store         firewall.Store
	profile, name string
	value         int
}

// merged gives the settings their profiles. Windows itself keeps the Private profile as StandardProfile. In a Group
// Policy, StandardProfile is the word of Windows XP for both Private and Public, and counts only where neither of the
// newer keys is there (MS-GPFAS 2.2.3).
func merged(all []setting) map[rule.Profile]firewall.ProfileSettings {
	newer := slices.ContainsFunc(all, func(s setting) bool {
		return s.store == firewall.Policy && (s.profile == "PrivateProfile" || s.profile == "PublicProfile")
	})
	var out []firewall.Setting
	for _, s := range all {
		var profiles []rule.Profile
		switch {
		case s.profile == "DomainProfile":
			profiles = []rule.Profile{rule.Domain}
		case s.profile == "PrivateProfile", s.profile == "StandardProfile" && s.store != firewall.Policy:
			profiles = []rule.Profile{rule.Private}
		case s.profile == "PublicProfile":
			profiles = []rule.Profile{rule.Public}
		case s.profile == "StandardProfile" && !newer:
			profiles = []rule.Profile{rule.Private, rule.Public}
		}
		for _, p := range profiles {
			out = append(out, firewall.Setting{Store: s.store, Profile: p, Name: s.name, Value: s.value})
		}
	}
	return firewall.Merge(out)
}

// category is a network's category as Get-NetConnectionProfile numbers it (MSFT_NetConnectionProfile.NetworkCategory).
var category = map[int]rule.Profile{0: rule.Public, 1: rule.Private, 2: rule.Domain}

func (in *inspection) add(f Frame, now time.Time) {
	s := &in.s
	ok := true
	number := func(i int) int {
		n, err := strconv.Atoi(f.Field(i))
		if err != nil {
			in.bad++
			ok = false
			return 0
		}
		return n
	}
	// incomplete takes back that a section was read: the value that cannot be read may be the one that decides.
	incomplete := func(section string) {
		if !ok {
			in.unknown[section] = "a value could not be read: " + printable.Line(f.Line())
		}
	}
	switch f.Kind() {
	case "read":
		in.read[f.Field(1)] = true
	case "unknown":
		in.unknown[f.Field(1)] = strings.TrimSpace(printable.Line(f.Field(5)) + " (0x" + printable.Line(f.Field(3)) + ")")
	case "system":
		s.Computer, s.Windows, s.PowerShell, s.Language = printable.Line(f.Field(1)), printable.Line(f.Field(2)), printable.Line(f.Field(3)), printable.Line(f.Field(4))
		if uptime := number(5); ok {
			s.UptimeS = facts.Known(int64(uptime))
		} else {
			s.UptimeS = facts.Unknown[int64]("the server reported no number")
		}
	case "address":
		if index, bits := number(1), number(4); ok {
			in.address(index, printable.Line(f.Field(2)), f.Field(3), bits)
		}
	case "network":
		if index, c := number(1), number(2); ok {
			in.networks[index] = category[c]
		}
	case "rule":
		s.Firewall.Rules = append(s.Firewall.Rules, firewall.StoredRule{Store: firewall.Store(f.Field(1)), ID: f.Field(2), Raw: f.Field(3)})
	case "setting":
		if value := number(4); ok {
			in.settings = append(in.settings, setting{firewall.Store(f.Field(1)), f.Field(2), f.Field(3), value})
		}
		incomplete("settings")
	case "active":
		if active, modify := number(1), number(2); ok {
			s.Firewall.Active, in.modify = rule.Profiles(active&7), modify
		}
		incomplete("live")
	case "live":
		profile, v := number(1), [3]int{number(2), number(3), number(4)}
		if ok && slices.Contains([]int{1, 2, 4}, profile) {
			in.live[rule.Profile(profile)] = v
		}
		incomplete("live")
	case "listener":
		if l, ok := parseListener(f.Field(1)); ok {
			s.Listeners.V = append(s.Listeners.V, l)
		} else {
			in.bad++
		}
	case "process":
		if id := number(1); ok {
			in.processes[id] = printable.Line(f.Field(2))
		}
	case "service":
		s.Services.V = append(s.Services.V, facts.Service{Name: printable.Line(f.Field(1)), State: printable.Line(f.Field(2)), Start: printable.Line(f.Field(3)), PID: number(4), Path: printable.Line(f.Field(5))})
	case "release":
		if name := printable.Line(f.Field(1)); !slices.Contains(s.Releases.V, name) {
			s.Releases.V = append(s.Releases.V, name)
		}
	case "certificate":
		c, read := parseCertificate(f)
		if read {
			s.Certificates.V = append(s.Certificates.V, c)
		} else {
			in.bad++
		}
		ok = read
		incomplete("certificates")
	case "state":
		s.State = parseState(f.Field(1), f.Field(2))
	case "peer":
		in.peer(printable.Line(f.Field(1)), f.Field(2), f.Field(3), number(4))
	case "clock":
		if t, err := time.Parse(time.RFC3339Nano, f.Field(1)); err == nil {
			travel := now.Sub(in.started)
			s.Clock = facts.Known(facts.Clock{AheadMS: t.Sub(now).Milliseconds(), ErrorMS: travel.Milliseconds()})
			in.read["clock"] = true
		}
	}
}

func (in *inspection) address(index int, name, address string, bits int) {
	a, err := netip.ParseAddr(address)
	if err != nil || bits < 0 || bits > a.BitLen() {
		in.bad++
		return
	}
	p := netip.PrefixFrom(a.WithZone(""), bits)
	s := &in.s
	for i := range s.Interfaces {
		if s.Interfaces[i].Name == name {
			s.Interfaces[i].Addresses = append(s.Interfaces[i].Addresses, p)
			return
		}
	}
	s.Interfaces = append(s.Interfaces, facts.Interface{Index: index, Name: name, Addresses: []netip.Prefix{p}})
}

func (in *inspection) peer(name, address, source string, code int) {
	s := &in.s
	i := slices.IndexFunc(s.Peers, func(p facts.Peer) bool { return p.Name == name })
	if i < 0 {
		s.Peers = append(s.Peers, facts.Peer{Name: name, Code: code})
		i = len(s.Peers) - 1
	}
	p := &s.Peers[i]
	a, err := netip.ParseAddr(address)
	if err != nil {
		if address != "" {
			in.bad++
		}
		return
	}
	a = a.Unmap().WithZone("")
	own, err := netip.ParseAddr(source)
	own = own.Unmap().WithZone("")
	// IPv4 first: the listeners and dials of a proof are IPv4.
	if first := len(p.Addresses) == 0 || (a.Is4() && !p.Addresses[0].Is4()); first {
		p.Addresses = append([]netip.Addr{a}, p.Addresses...)
		p.Source, p.Code = netip.Addr{}, code
		if err == nil {
			p.Source = own
		}
		return
	}
	p.Addresses = append(p.Addresses, a)
}

// server finishes the inspection: what was never read is unknown.
func (in *inspection) server() facts.Server {
	s := in.s
	why := func(section string) string {
		if w := in.unknown[section]; w != "" {
			return w
		}
		if in.read[section] {
			return ""
		}
		return "the server did not report it"
	}
	s.Listeners.Unknown, s.Services.Unknown, s.Releases.Unknown = why("listeners"), why("services"), why("releases")
	if s.Listeners.OK() && len(s.Listeners.V) == 0 {
		s.Listeners.Unknown = "netstat named no listener that could be read"
	}
	for i, l := range s.Listeners.V {
		s.Listeners.V[i].Process = in.processes[l.PID]
		if l.PID == 4 {
			s.Listeners.V[i].Process = "System"
		}
	}
	if w := why("certificates"); w != "" {
		s.Certificates = facts.Unknown[[]facts.Certificate](w)
	}
	if why("state") != "" {
		s.State = facts.Unknown[facts.ServiceState](why("state"))
	}
	if why("clock") != "" {
		s.Clock = facts.Unknown[facts.Clock](why("clock"))
	}
	s.Firewall.Settings = merged(in.settings)
	in.applyLive(&s)
	for i := range s.Interfaces {
		it := &s.Interfaces[i]
		p := in.networks[it.Index]
		it.Profile = "unknown"
		if p != 0 {
			it.Profile = strings.ToLower(p.String())
		}
		s.Firewall.Interfaces = append(s.Firewall.Interfaces, firewall.Interface{Index: it.Index, Name: it.Name, Addresses: it.Addresses, Profile: p})
	}
	for _, section := range []string{"system", "addresses", "networks", "rules-local", "rules-policy", "rules-mdm", "settings", "live", "listeners", "services", "releases", "certificates", "peers", "clock"} {
		if w := why(section); w != "" {
			s.Missing = append(s.Missing, facts.Missing{Fact: section, Why: w})
			if strings.HasPrefix(section, "rules-") || section == "settings" {
				s.Firewall.Unknown = append(s.Firewall.Unknown, section+": "+w)
			}
		}
	}
	if in.bad > 0 {
		s.Missing = append(s.Missing, facts.Missing{Fact: "values", Why: fmt.Sprintf("%d could not be read", in.bad)})
	}
	return s
}

// applyLive lets the firewall's own word win over the stored settings: INetFwPolicy2 reports what is in force, policies
// included (sdk-api netfw.h; LocalPolicyModifyState: NET_FW_MODIFY_STATE_GP_OVERRIDE 1, _INBOUND_BLOCKED 2).
func (in *inspection) applyLive(s *facts.Server) {
	if !in.read["live"] {
		return
	}
	for p, v := range in.live {
		set := s.Firewall.Settings[p]
		set.Enabled, set.BlockAllInbound, set.DefaultInboundBlock = tri(v[0] != 0), tri(v[1] != 0), tri(v[2] == 0)
		if s.Firewall.Active.Has(p) {
			switch in.modify {
			case 1:
				set.LocalRulesMerge = rule.No
				if set.MergeBy == "" {
					set.MergeBy = firewall.Policy // where the stored settings do not say whose it is, Windows does
				}
			case 2:
				set.BlockAllInbound = rule.Yes
			}
		}
		s.Firewall.Settings[p] = set
	}
}

func tri(b bool) rule.Tri {
	if b {
		return rule.Yes
	}
	return rule.No
}

// parseListener reads a row of "netstat -ano" by its shape, for its words are in the server's language: protocol, own
// address, far address with port 0, perhaps a state, and the process id last.
func parseListener(row string) (facts.Listener, bool) {
	f := strings.Fields(row)
	if len(f) < 4 || !strings.EqualFold(f[0], "TCP") || !strings.HasSuffix(f[2], ":0") {
		return facts.Listener{}, false
	}
	own, err := netip.ParseAddrPort(f[1])
	if err != nil || own.Port() == 0 {
		return facts.Listener{}, false
	}
	pid, err := strconv.Atoi(f[len(f)-1])
	if err != nil || pid < 0 {
		return facts.Listener{}, false
	}
	return facts.Listener{Address: own, PID: pid}, true
}

// thumbprint is how .NET writes the SHA-1 of a certificate (X509Certificate2.Thumbprint).
var thumbprint = regexp.MustCompile(`^[0-9A-F]{40}$`)

// parseCertificate reads what inspect says of one certificate: its store, subject, issuer, thumbprint and last moment.
func parseCertificate(f Frame) (facts.Certificate, bool) {
	end, err := time.Parse(time.RFC3339, f.Field(5))
	c := facts.Certificate{
		Store: f.Field(1), Subject: printable.Line(f.Field(2)), Issuer: printable.Line(f.Field(3)), Thumbprint: f.Field(4), NotAfter: end.UTC(),
	}
	return c, err == nil && (c.Store == "root" || c.Store == "my") && thumbprint.MatchString(c.Thumbprint)
}

var digits = regexp.MustCompile(`^\d+$`)

// parseState reads the answer of /status/servicestate, {"value":1}. Whatever else came is unknown, never running.
func parseState(status, body string) facts.Value[facts.ServiceState] {
	var v struct {
		Value json.RawMessage `json:"value"`
	}
	err := json.Unmarshal([]byte(body), &v)
	if status != "200" || err != nil || !digits.Match(v.Value) || len(v.Value) != 1 || v.Value[0] > '2' {
		return facts.Unknown[facts.ServiceState](fmt.Sprintf("port 4444 answered HTTP %s: %.80s", printable.Line(status), printable.Line(body)))
	}
	return facts.Known(facts.ServiceState(v.Value[0] - '0'))
}
