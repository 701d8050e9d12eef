package script

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

var sections = []string{"system", "addresses", "networks", "rules-local", "rules-policy", "rules-mdm", "settings", "live", "listeners", "services", "releases", "certificates", "state", "peers"}

// inspected is the server that these frames tell of, each written "kind|field|field". Sections that are not named in
// unread are reported as read at the end.
func inspected(unread string, lines ...string) facts.Server {
	in := newInspection()
	for _, l := range lines {
		in.add(Frame(strings.Split(l, "|")), time.Now())
	}
	for _, s := range sections {
		if !slices.Contains(strings.Fields(unread), s) {
			in.add(Frame{"read", s}, time.Now())
		}
	}
	return in.server()
}

func missing(s facts.Server, fact string) string {
	for _, m := range s.Missing {
		if m.Fact == fact {
			return m.Why
		}
	}
	return ""
}

// firewallUnknown is what the firewall's verdicts are told of a section that could not be read.
func firewallUnknown(s facts.Server, section string) bool {
	return slices.ContainsFunc(s.Firewall.Unknown, func(u string) bool { return strings.HasPrefix(u, section+": ") })
}

func TestParseListener(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, row, address string // "" refused
		pid                int
	}{
		{"english", "TCP    0.0.0.0:4242           0.0.0.0:0              LISTENING       3120", "0.0.0.0:4242", 3120},
		{"german", "  TCP    0.0.0.0:4243           0.0.0.0:0              ABHÖREN         77", "0.0.0.0:4243", 77},
		{"german in code page 850", "TCP  0.0.0.0:4243  0.0.0.0:0  ABH\x99REN  77", "0.0.0.0:4243", 77},
		{"german, read as something else", "TCP  0.0.0.0:4243  0.0.0.0:0  ABH\ufffdREN  77", "0.0.0.0:4243", 77},
		{"german, split by a bad byte", "TCP  0.0.0.0:4243  0.0.0.0:0  ABH REN  77", "0.0.0.0:4243", 77},
		{"french", "TCP    192.0.2.7:5050         0.0.0.0:0              LISTENING       5120", "192.0.2.7:5050", 5120},
		{"two words for it", "TCP 0.0.0.0:443 0.0.0.0:0 EN ATTENTE 12", "0.0.0.0:443", 12},
		{"no word for it", "TCP 0.0.0.0:443 0.0.0.0:0 12", "0.0.0.0:443", 12},
		{"ipv6", "TCP    [::]:4444              [::]:0                 LISTENING       9", "[::]:4444", 9},
		{"ipv6 with a zone", "TCP [fe80::a1%12]:4444 [::]:0 LISTENING 9", "[fe80::a1%12]:4444", 9},
		{"ipv6 loopback", "TCP [::1]:4570 [::]:0 LISTENING 9", "[::1]:4570", 9},
		{"tabs and line end", "\tTCP\t0.0.0.0:80\t0.0.0.0:0\tLISTENING\t4\r\n", "0.0.0.0:80", 4},
		{"lower case", "tcp 0.0.0.0:80 0.0.0.0:0 listening 4", "0.0.0.0:80", 4},

		{"connected", "TCP 10.1.0.21:4242 10.1.0.31:50111 HERGESTELLT 3120", "", 0},
		{"connected to a port that ends in 0", "TCP 10.1.0.21:50112 10.1.0.31:8080 ESTABLISHED 3120", "", 0},
		{"connected to port 10", "TCP 10.1.0.21:50112 10.1.0.31:10 ESTABLISHED 3120", "", 0},
		{"waiting, owned by nobody", "TCP 10.1.0.21:4242 10.1.0.31:50111 WARTEND 0", "", 0},
		{"offload state for a process", "TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING InHost", "", 0},
		{"process and offload state", "TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING 3120 InHost", "", 0},
		{"no process", "TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING", "", 0},
		{"nothing behind the far end", "TCP 0.0.0.0:4242 0.0.0.0:0", "", 0},
		{"negative process", "TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING -4", "", 0},
		{"a number too large", "TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING 99999999999999999999", "", 0},
		{"port 0", "TCP 0.0.0.0:0 0.0.0.0:0 LISTENING 4", "", 0},
		{"port too large", "TCP 0.0.0.0:65536 0.0.0.0:0 LISTENING 4", "", 0},
		{"port by name", "TCP 0.0.0.0:https 0.0.0.0:0 LISTENING 4", "", 0},
		{"host by name", "TCP qs-rim:443 0.0.0.0:0 LISTENING 4", "", 0},
		{"udp", "UDP 0.0.0.0:500 *:* 1256", "", 0},
		{"heading", "Proto  Lokale Adresse  Remoteadresse  Status  PID", "", 0},
		{"another heading", "Connexions actives", "", 0},
		{"empty", "", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l, ok := parseListener(test.row)
			if ok != (test.address != "") {
				t.Fatalf("parseListener(%q) = %+v, %v", test.row, l, ok)
			}
			if ok && (l.Address != netip.MustParseAddrPort(test.address) || l.PID != test.pid) {
				t.Errorf("parseListener(%q) = %+v; want %s of %d", test.row, l, test.address, test.pid)
			}
		})
	}
}

func TestInspectionListeners(t *testing.T) {
	t.Parallel()
	s := inspected("",
		"listener|TCP 0.0.0.0:8080 0.0.0.0:0 ABH\x99REN 4",
		"listener|TCP 127.0.0.1:4570 0.0.0.0:0 ABHÖREN 300",
		"listener|TCP [::1]:5050 [::]:0 ABHÖREN 300",
		"listener|TCP [::]:4444 [::]:0 ABHÖREN 301",
		"listener|TCP 127.0.0.1:443 0.0.0.0:0 ABHÖREN 302",
		"listener|TCP 10.1.0.21:443 0.0.0.0:0 ABHÖREN 303",
		"process|300|Repository", "process|303|Proxy\r\n", "process|4|spoof", "process|x|nobody",
	)
	if !s.Listeners.OK() || len(s.Listeners.V) != 6 {
		t.Fatalf("listeners = %+v", s.Listeners)
	}
	for _, test := range []struct {
		port    uint16
		pid     int
		process string
	}{
		{8080, 4, "System"},
		{80, -1, ""},
		{808, -1, ""},
		{4570, -1, ""},
		{5050, -1, ""},
		{4444, 301, ""},
		{443, 303, "Proxy"},
	} {
		l, ok := s.Listening(netip.AddrPortFrom(netip.MustParseAddr("10.1.0.21"), test.port))
		if ok != (test.pid >= 0) || ok && (l.PID != test.pid || l.Process != test.process) {
			t.Errorf("Listening(%d) = %+v, %v; want process %d %q", test.port, l, ok, test.pid, test.process)
		}
	}
	if l, ok := s.Listening(netip.MustParseAddrPort("10.1.0.22:443")); ok {
		t.Errorf("Listening at another address = %+v", l)
	}
	if missing(s, "values") != "1 could not be read" {
		t.Errorf("missing = %+v; one process has no number", s.Missing)
	}
}

func TestInspectionListenersUnknown(t *testing.T) {
	t.Parallel()
	const row = "listener|TCP 0.0.0.0:443 0.0.0.0:0 LISTENING 4"
	tests := []struct {
		name   string
		unread string
		lines  []string
		why    string
	}{
		{"no rows", "", nil, "named no listener"},
		{"no row that can be read", "", []string{"listener|TCP 0.0.0.0:443 0.0.0.0:0 LISTENING InHost"}, "named no listener"},
		{"nothing said", "listeners", nil, "did not report"},
		{"rows, but no end", "listeners", []string{row}, "did not report"},
		{"failed", "listeners", []string{"unknown|listeners|System.Exception|80131500|NotSpecified|netstat hat\r\nnichts gesagt"}, "netstat hat nichts gesagt (0x80131500)"},
		{"failed half way", "listeners", []string{row, "unknown|listeners|T|80004005|C|denied"}, "denied (0x80004005)"},
		{"failed without words", "listeners", []string{"unknown|listeners"}, "(0x)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := inspected(test.unread, test.lines...)
			if s.Listeners.OK() || !strings.Contains(s.Listeners.Unknown, test.why) {
				t.Errorf("listeners = %+v; want unknown: %s", s.Listeners, test.why)
			}
		})
	}
	s := inspected("", row, "listener|TCP 0.0.0.0:4242 0.0.0.0:0 LISTENING InHost")
	if len(s.Listeners.V) != 1 || missing(s, "values") == "" {
		t.Errorf("listeners %+v, missing %+v; the row that cannot be read must be told of", s.Listeners, s.Missing)
	}
}

func TestInspectionMissing(t *testing.T) {
	t.Parallel()
	// clock is no section of its own: its frame says that it was read.
	all := inspected("", "listener|TCP 0.0.0.0:443 0.0.0.0:0 LISTENING 4", "state|200|{\"value\":1}", "clock|2026-03-04T05:06:07.1234567Z")
	if len(all.Missing) != 0 || len(all.Firewall.Unknown) != 0 {
		t.Errorf("missing %+v %q; all was read", all.Missing, all.Firewall.Unknown)
	}
	if !all.Services.OK() || !all.Releases.OK() || all.Phase() != facts.NotInstalled {
		t.Errorf("services %+v, releases %+v: none is a fact where they were read", all.Services, all.Releases)
	}
	none := newInspection().server()
	if none.Listeners.OK() || none.Services.OK() || none.Releases.OK() || none.Certificates.OK() || none.State.OK() || none.Clock.OK() || none.Phase() != facts.PhaseUnknown {
		t.Errorf("of a server that said nothing something is known: %+v", none)
	}
	for _, section := range append([]string{"clock"}, sections...) {
		s := inspected(section, "listener|TCP 0.0.0.0:443 0.0.0.0:0 LISTENING 4")
		why := missing(s, section)
		if section == "state" { // asked of a rim only
			why = s.State.Unknown
		}
		if why == "" {
			t.Errorf("%s is not missing", section)
		}
		if inFirewall := strings.HasPrefix(section, "rules-") || section == "settings"; inFirewall != firewallUnknown(s, section) {
			t.Errorf("%s: the firewall is told %q", section, s.Firewall.Unknown)
		}
	}
}

func TestParseState(t *testing.T) {
	t.Parallel()
	known := map[string]facts.ServiceState{
		`{"value":0}`:                     facts.Initialising,
		`{"value":1}`:                     facts.CertificatesNotInstalled,
		`{"value":2}`:                     facts.Running,
		" {\r\n \"value\" : 2 } \n":       facts.Running,
		`{"name":"repository","value":1}`: facts.CertificatesNotInstalled,
	}
	for body, want := range known {
		if got := parseState("200", body); !got.OK() || got.V != want {
			t.Errorf("parseState(200, %s) = %+v, want %v", body, got, want)
		}
	}
	for _, test := range [][2]string{
		{"200", `{"value":3}`}, {"200", `{"value":9}`}, {"200", `{"value":10}`}, {"200", `{"value":-1}`},
		{"200", `{"value":"1"}`}, {"200", `{"value":1.0}`}, {"200", `{"value":1e0}`}, {"200", `{"value":01}`},
		{"200", `{"value":null}`}, {"200", `{"value":true}`}, {"200", `{"value":[1]}`}, {"200", `{"value":{"value":1}}`},
		{"200", `{}`}, {"200", `[]`}, {"200", `1`}, {"200", `null`}, {"200", ``}, {"200", `{"value":1`},
		{"200", `{"value":1}{"value":2}`}, {"200", `{"state":1}`}, {"200", "<html><body>1</body></html>"},
		{"200", "\ufeff{\"value\":1}"},
		{"500", `{"value":1}`}, {"404", ``}, {"302", `{"value":2}`}, {"201", `{"value":2}`}, {"", `{"value":1}`}, {"200 OK", `{"value":1}`},
	} {
		got := parseState(test[0], test[1])
		if got.OK() || !strings.Contains(got.Unknown, "4444 answered HTTP "+test[0]) {
			t.Errorf("parseState(%s, %s) = %+v; want unknown", test[0], test[1], got)
		}
	}
	long := parseState("500", "<h1>\r\n"+strings.Repeat("Fehler\x1b ", 1000))
	if strings.ContainsAny(long.Unknown, "\r\n\x1b") || len(long.Unknown) > 200 {
		t.Errorf("the reason is %q", long.Unknown)
	}
}

func TestInspectionState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, unread string
		lines        []string
		why          string // "" known
	}{
		{"known", "", []string{`state|200|{"value":1}`}, ""},
		{"refused", "state", []string{"unknown|state|System.Net.WebException|80131509|C|verweigert"}, "verweigert (0x80131509)"},
		{"not asked", "state", nil, "did not report"},
		{"read, but not told", "", nil, "did not report"},
		{"told, but not to the end", "state", []string{`state|200|{"value":2}`}, "did not report"},
		{"an error page", "", []string{"state|500|<html>"}, "HTTP 500"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := inspected(test.unread, test.lines...)
			if s.State.OK() != (test.why == "") || !strings.Contains(s.State.Unknown, test.why) {
				t.Errorf("state = %+v; want %q", s.State, test.why)
			}
			if !s.State.OK() && s.Phase() != facts.NotInstalled && s.Phase() != facts.PhaseUnknown {
				t.Errorf("phase = %s", s.Phase())
			}
		})
	}
}

func TestInspectionCertificates(t *testing.T) {
	t.Parallel()
	const (
		a    = "0123456789ABCDEF0123456789ABCDEF01234567"
		b    = "89ABCDEF0123456789ABCDEF0123456789ABCDEF"
		root = "certificate|root|CN=qs-central-CA|CN=qs-central-CA|" + a + "|2036-01-10T00:00:00Z"
		my   = "certificate|my|CN=qs-rim1\x1b[2J\r\nx|CN=qs-central-CA|" + b + "|2036-01-10T02:00:00+02:00"
	)
	end := time.Date(2036, 1, 10, 0, 0, 0, 0, time.UTC)
	s := inspected("", root, my)
	want := []facts.Certificate{
		{Store: "root", Subject: "CN=qs-central-CA", Issuer: "CN=qs-central-CA", Thumbprint: a, NotAfter: end},
		{Store: "my", Subject: "CN=qs-rim1[2J x", Issuer: "CN=qs-central-CA", Thumbprint: b, NotAfter: end},
	}
	if !s.Certificates.OK() || !slices.Equal(s.Certificates.V, want) || len(s.Roots()) != 1 || missing(s, "certificates") != "" {
		t.Errorf("certificates = %+v, missing %+v; want %+v", s.Certificates, s.Missing, want)
	}
	if none, err := json.Marshal(inspected("").Certificates); string(none) != "[]" {
		t.Errorf("none at all is %s, %v", none, err)
	}

	// One that cannot be read may be the one that matters.
	for name, test := range map[string]struct {
		unread string
		lines  []string
		why    string
	}{
		"nothing said":         {"certificates", nil, "did not report"},
		"one, but no end":      {"certificates", []string{root}, "did not report"},
		"denied half way":      {"certificates", []string{root, "unknown|certificates|T|80070005|C|Zugriff\r\nverweigert"}, "Zugriff verweigert (0x80070005)"},
		"of the user":          {"", []string{root, "certificate|user|CN=x|CN=x|" + a + "|2036-01-10T00:00:00Z"}, "could not be read"},
		"of no store":          {"", []string{"certificate||CN=x|CN=x|" + a + "|2036-01-10T00:00:00Z"}, "could not be read"},
		"Root":                 {"", []string{"certificate|Root|CN=x|CN=x|" + a + "|2036-01-10T00:00:00Z"}, "could not be read"},
		"small letters":        {"", []string{root, "certificate|root|CN=x|CN=x|" + strings.ToLower(a) + "|2036-01-10T00:00:00Z"}, "could not be read"},
		"a short thumbprint":   {"", []string{"certificate|root|CN=x|CN=x|" + a[1:] + "|2036-01-10T00:00:00Z"}, a[1:]},
		"a longer thumbprint":  {"", []string{"certificate|root|CN=x|CN=x|" + a + "\n|2036-01-10T00:00:00Z"}, "could not be read"},
		"a thumbprint of text": {"", []string{"certificate|root|CN=x|CN=x|" + a[3:] + "');|2036-01-10T00:00:00Z"}, "could not be read"},
		"no date":              {"", []string{"certificate|root|CN=x|CN=x|" + a}, "could not be read"},
		"a date without hours": {"", []string{"certificate|root|CN=x|CN=x|" + a + "|2036-01-10"}, "could not be read"},
		"a date in German":     {"", []string{"certificate|my|CN=x|CN=x|" + a + "|10.01.2036 00:00:00"}, "10.01.2036"},
		"a time of nowhere":    {"", []string{"certificate|my|CN=x|CN=x|" + a + "|2036-01-10T00:00:00"}, "could not be read"},
		"nothing at all":       {"", []string{root, "certificate"}, "could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := inspected(test.unread, test.lines...)
			if s.Certificates.OK() || len(s.Roots()) != 0 || !strings.Contains(s.Certificates.Unknown, test.why) || missing(s, "certificates") != s.Certificates.Unknown {
				t.Errorf("certificates = %+v, missing %+v; want unknown: %s", s.Certificates, s.Missing, test.why)
			}
		})
	}
}

func TestInspectionPeers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		lines     []string
		addresses string
		source    string
		code      int
	}{
		{"one", []string{"peer|x|10.1.0.31|10.1.0.21|0"}, "10.1.0.31", "10.1.0.21", 0},
		{"ipv4 after ipv6", []string{"peer|x|2001:db8::31|2001:db8::21|0", "peer|x|10.1.0.31|10.1.0.21|0"}, "10.1.0.31 2001:db8::31", "10.1.0.21", 0},
		{"ipv4 after an ipv6 without a way", []string{"peer|x|2001:db8::31||10051", "peer|x|10.1.0.31|10.1.0.21|0"}, "10.1.0.31 2001:db8::31", "10.1.0.21", 0},
		{"ipv6 without a way after ipv4", []string{"peer|x|10.1.0.31|10.1.0.21|0", "peer|x|2001:db8::31||10051"}, "10.1.0.31 2001:db8::31", "10.1.0.21", 0},
		{"two of ipv4 in their order", []string{"peer|x|10.1.0.31|10.1.0.21|0", "peer|x|10.1.0.32|10.1.0.22|0"}, "10.1.0.31 10.1.0.32", "10.1.0.21", 0},
		{"ipv6 only, zones off", []string{"peer|x|fe80::31%4|fe80::21%4|0"}, "fe80::31", "fe80::21", 0},
		{"ipv4 in ipv6", []string{"peer|x|::ffff:10.1.0.31|::ffff:10.1.0.21|0"}, "10.1.0.31", "10.1.0.21", 0},
		{"no way", []string{"peer|x|10.1.0.31||10065"}, "10.1.0.31", "", 10065},
		{"no name", []string{"peer|x|||11001"}, "", "", 11001},
		{"no Windows Sockets error", []string{"peer|x|||-1"}, "", "", -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := inspected("", append(test.lines, "peer|y|10.1.0.41|10.1.0.21|0")...)
			p, ok := s.Peer("x")
			var got []string
			for _, a := range p.Addresses {
				got = append(got, a.String())
			}
			source := ""
			if p.Source.IsValid() {
				source = p.Source.String()
			}
			if !ok || len(s.Peers) != 2 || strings.Join(got, " ") != test.addresses || source != test.source || p.Code != test.code {
				t.Errorf("peer = %+v of %d; want %s from %q, %d", p, len(s.Peers), test.addresses, test.source, test.code)
			}
			if missing(s, "values") != "" {
				t.Errorf("missing = %+v", s.Missing)
			}
		})
	}
	s := inspected("", "peer|x|nowhere|10.1.0.21|0")
	if p, _ := s.Peer("x"); len(p.Addresses) != 0 || p.Source.IsValid() || missing(s, "values") == "" {
		t.Errorf("peer = %+v, missing = %+v; its address cannot be read", p, s.Missing)
	}
}

func TestInspectionInterfaces(t *testing.T) {
	t.Parallel()
	s := inspected("",
		"address|4|LAN|10.1.0.21|24", "address|4|LAN|fe80::1%4|64", "address|7|DMZ|192.0.2.21|24", "address|9|Heartbeat|169.254.1.1|16",
		"network|4|2|corp.example", "network|7|0|Identifying...",
		"address|4|LAN|10.1.0.300|24", "address|4|LAN|10.1.0.22|33", "address|4|LAN|10.1.0.23|-1", "address|four|LAN|10.1.0.24|24", "address|4|LAN|10.1.0.25|",
	)
	var got []string
	for _, i := range s.Interfaces {
		got = append(got, fmt.Sprintf("%d %s %v %s", i.Index, i.Name, i.Addresses, i.Profile))
	}
	want := []string{"4 LAN [10.1.0.21/24 fe80::1/64] domain", "7 DMZ [192.0.2.21/24] public", "9 Heartbeat [169.254.1.1/16] unknown"}
	if !slices.Equal(got, want) {
		t.Errorf("interfaces %q, want %q", got, want)
	}
	if missing(s, "values") != "5 could not be read" {
		t.Errorf("missing = %+v", s.Missing)
	}
	if len(s.Firewall.Interfaces) != 3 || s.Firewall.Interfaces[0].Profile != rule.Domain || s.Firewall.Interfaces[2].Profile != 0 {
		t.Errorf("the firewall's interfaces are %+v", s.Firewall.Interfaces)
	}
}

// TestInspectionBadCategory: what cannot be read is no Public network, nor any other.
func TestInspectionBadCategory(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"", "Domain", "7", "-1"} {
		s := inspected("", "address|4|LAN|10.1.0.21|24", "network|4|"+c+"|x")
		if s.Interfaces[0].Profile != "unknown" || s.Firewall.Interfaces[0].Profile != 0 {
			t.Errorf("category %q: %+v", c, s.Interfaces[0])
		}
	}
}

func settingsOf(s facts.Server, p rule.Profile) firewall.ProfileSettings {
	return s.Firewall.Settings[p]
}

func TestInspectionSettings(t *testing.T) {
	t.Parallel()
	const (
		no, yes, unknown = rule.No, rule.Yes, rule.Unknown
		dom, priv, pub   = rule.Domain, rule.Private, rule.Public
	)
	enabled := func(s firewall.ProfileSettings) rule.Tri { return s.Enabled }
	merge := func(s firewall.ProfileSettings) rule.Tri { return s.LocalRulesMerge }
	shields := func(s firewall.ProfileSettings) rule.Tri { return s.BlockAllInbound }
	block := func(s firewall.ProfileSettings) rule.Tri { return s.DefaultInboundBlock }
	tests := []struct {
		name           string
		lines          []string
		of             func(firewall.ProfileSettings) rule.Tri
		dom, priv, pub rule.Tri
	}{
		{"nothing stored", nil, enabled, unknown, unknown, unknown},
		{"local StandardProfile is Private", []string{"setting|local|DomainProfile|EnableFirewall|1", "setting|local|StandardProfile|EnableFirewall|0", "setting|local|PublicProfile|EnableFirewall|1"}, enabled, yes, no, yes},
		{"local StandardProfile beside a policy's newer key", []string{"setting|local|StandardProfile|EnableFirewall|0", "setting|policy|PublicProfile|EnableFirewall|1"}, enabled, unknown, no, yes},
		{"policy StandardProfile is Private and Public", []string{"setting|policy|StandardProfile|AllowLocalPolicyMerge|0"}, merge, yes, no, no},
		{"policy StandardProfile beside PrivateProfile", []string{"setting|policy|StandardProfile|AllowLocalPolicyMerge|0", "setting|policy|PrivateProfile|EnableFirewall|1"}, merge, yes, yes, yes},
		{"policy StandardProfile beside PublicProfile", []string{"setting|policy|PublicProfile|EnableFirewall|1", "setting|policy|StandardProfile|AllowLocalPolicyMerge|0"}, merge, yes, yes, yes},
		{"policy StandardProfile beside DomainProfile", []string{"setting|policy|DomainProfile|AllowLocalPolicyMerge|1", "setting|policy|StandardProfile|AllowLocalPolicyMerge|0"}, merge, yes, no, no},
		{"policy StandardProfile beside MDM's newer key", []string{"setting|mdm|PublicProfile|AllowLocalPolicyMerge|1", "setting|policy|StandardProfile|AllowLocalPolicyMerge|0"}, merge, yes, no, no},
		{"mdm StandardProfile is Private", []string{"setting|mdm|StandardProfile|AllowLocalPolicyMerge|0"}, merge, yes, no, yes},
		{"an unknown profile", []string{"setting|policy|GuestProfile|AllowLocalPolicyMerge|0"}, merge, yes, yes, yes},
		{"live wins over stored", []string{"setting|local|DomainProfile|EnableFirewall|0", "setting|policy|DomainProfile|EnableFirewall|0", "active|1|0", "live|1|1|0|0", "live|2|0|0|0"}, enabled, yes, no, unknown},
		{"live shields", []string{"active|1|0", "live|1|1|1|0", "live|4|1|0|0"}, shields, yes, no, no},
		{"live default action 0 blocks", []string{"setting|policy|DomainProfile|DefaultInboundAction|0", "live|1|1|0|0", "live|4|1|0|1"}, block, yes, yes, no},
		{"live: local rules do not count", []string{"active|1|1", "live|1|1|0|0", "live|4|1|0|0"}, merge, no, yes, yes},
		{"live: all inbound is blocked", []string{"active|5|2", "live|1|1|0|0", "live|2|1|0|0", "live|4|1|0|0"}, shields, yes, no, yes},
		{"live of no profile", []string{"live|0|0|0|0", "live|3|0|0|0", "live|257|0|0|0", "setting|local|DomainProfile|EnableFirewall|1"}, enabled, yes, unknown, unknown},
		{"live that cannot be read is not off", []string{"setting|local|DomainProfile|EnableFirewall|1", "live|1|True|0|0", "live|4|1||0"}, enabled, yes, unknown, unknown},
		{"a setting that cannot be read is not off", []string{"setting|local|DomainProfile|EnableFirewall|", "setting|local|PublicProfile|EnableFirewall|1 0 0 0", "setting|policy|StandardProfile|EnableFirewall|0x1"}, enabled, unknown, unknown, unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := inspected("", test.lines...)
			got := [3]rule.Tri{test.of(settingsOf(s, dom)), test.of(settingsOf(s, priv)), test.of(settingsOf(s, pub))}
			if want := [3]rule.Tri{test.dom, test.priv, test.pub}; got != want {
				t.Errorf("Domain, Private, Public = %v, want %v", got, want)
			}
		})
	}
}

// TestInspectionLiveUnread: half an answer is no answer.
func TestInspectionLiveUnread(t *testing.T) {
	t.Parallel()
	s := inspected("live", "setting|local|DomainProfile|EnableFirewall|1", "live|1|0|0|0", "unknown|live|T|80040154|C|not registered")
	if settingsOf(s, rule.Domain).Enabled != rule.Yes || missing(s, "live") != "not registered (0x80040154)" {
		t.Errorf("settings %+v, missing %+v", settingsOf(s, rule.Domain), s.Missing)
	}
}

// TestInspectionBadFirewallValue: a setting that cannot be read may be the one that decides, so the section is unknown.
func TestInspectionBadFirewallValue(t *testing.T) {
	t.Parallel()
	for line, section := range map[string]string{
		"setting|policy|DomainProfile|AllowLocalPolicyMerge|no": "settings",
		"setting|policy|DomainProfile":                          "settings",
		"active|x|0":                                            "live",
		"active|1":                                              "live",
		"live|1|1|0|block":                                      "live",
		"live|x|1|0|0":                                          "live",
	} {
		s := inspected("", line)
		if missing(s, section) == "" || missing(s, "values") == "" {
			t.Errorf("%s: missing %+v; want %s", line, s.Missing, section)
		}
		if section == "settings" && !firewallUnknown(s, section) {
			t.Errorf("%s: the firewall is told %q", line, s.Firewall.Unknown)
		}
		if s.Firewall.Active != 0 {
			t.Errorf("%s: active profiles %v", line, s.Firewall.Active)
		}
	}
}

func TestInspectionRest(t *testing.T) {
	t.Parallel()
	s := inspected("",
		"system|QS-RIM|10.0.17763.0|5.1.17763.1|de-DE|86400",
		"rule|local|preflight-1|v2.29|Action=Allow|", // the frame splits here; only the third field is the rule
		"rule|policy|{x}|", "rule|elsewhere|y|z",
		"service|QlikSenseProxyService|Start Pending|Auto|12|C:\\x y", "service|QlikSenseSchedulerService|Stopped|Manual|none|",
		"release|Qlik Sense 1.0.2|1.0.2", "release|Qlik Sense 1.0.2|1.0.2", "release|Qlik Sense 1.0.2 Patch 1|",
		"something newer|1|2",
		"active|7|0",
	)
	if s.Computer != "QS-RIM" || s.Language != "de-DE" || s.UptimeS != facts.Known[int64](24*3600) {
		t.Errorf("system = %+v", s)
	}
	if r := s.Firewall.Rules; len(r) != 3 || r[0] != (firewall.StoredRule{Store: firewall.Local, ID: "preflight-1", Raw: "v2.29"}) || r[1].Store != firewall.Policy {
		t.Errorf("rules = %+v", r)
	}
	if v := s.Services.V; len(v) != 2 || v[0].State != "Start Pending" || v[0].PID != 12 || v[0].Path != `C:\x y` || v[1].PID != 0 {
		t.Errorf("services = %+v", v)
	}
	if !slices.Equal(s.Releases.V, []string{"Qlik Sense 1.0.2", "Qlik Sense 1.0.2 Patch 1"}) {
		t.Errorf("releases = %q", s.Releases.V)
	}
	if s.Firewall.Active != rule.AllProfiles {
		t.Errorf("active = %v", s.Firewall.Active)
	}
	if missing(s, "values") != "1 could not be read" {
		t.Errorf("missing = %+v", s.Missing)
	}
}

func TestInspectionClock(t *testing.T) {
	t.Parallel()
	in := newInspection()
	now := in.started.Add(3 * time.Second)
	in.add(Frame{"clock", now.Add(-90 * time.Second).UTC().Format("2006-01-02T15:04:05.0000000Z07:00")}, now)
	if c := in.server().Clock; !c.OK() || c.V.AheadMS != -90000 && c.V.AheadMS != -90001 || c.V.ErrorMS != 3000 {
		t.Errorf("clock = %+v; want 90 s behind within 3 s", c)
	}
	for _, bad := range []string{"", "now", "03/04/2026 05:06:07", "2026-03-04T05:06:07"} {
		if s := inspected("", "clock|"+bad); s.Clock.OK() || missing(s, "clock") == "" {
			t.Errorf("clock %q = %+v", bad, s.Clock)
		}
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	ask := func(askState bool, do func(k *talk, asked []Frame) (int, error)) (facts.Server, error) {
		r := serve(t, func(_ context.Context, k *talk) (int, error) {
			var asked []Frame
			for f := k.read(); f.Kind() != "go"; f = k.read() {
				asked = append(asked, f)
			}
			return do(k, asked)
		})
		return Inspect(t.Context(), r, askState, []Peer{{"central", "qs-central.example"}})
	}
	s, err := ask(true, func(k *talk, asked []Frame) (int, error) {
		if len(asked) != 2 || !slices.Equal(asked[0], Frame{"peer", "central", "qs-central.example"}) || asked[1].Kind() != "state" {
			t.Errorf("asked %q", asked)
		}
		k.print("motd\r\n")
		k.send("system", "QS-RIM", "10.0", "5.1", "fr-FR", "10")
		k.send("read", "system")
		k.send("end", "ok")
		k.drain()
		return 0, nil
	})
	if err != nil || s.Computer != "QS-RIM" || missing(s, "system") != "" || missing(s, "listeners") == "" || s.State.OK() {
		t.Errorf("Inspect = %+v, %v", s, err)
	}
	// Whatever was told before, a script that did not come to its end has told nothing that is complete.
	for name, do := range map[string]func(k *talk, asked []Frame) (int, error){
		"failed": func(k *talk, asked []Frame) (int, error) {
			if len(asked) != 1 {
				t.Errorf("asked %q", asked)
			}
			k.send("system", "QS-RIM", "", "", "", "10")
			k.send("end", "error", "T", "80131500", "C", "no")
			k.drain()
			return 0, nil
		},
		"ended":  func(k *talk, _ []Frame) (int, error) { k.send("read", "system"); return 0, nil },
		"broken": func(k *talk, _ []Frame) (int, error) { return 0, io.ErrUnexpectedEOF },
	} {
		s, err := ask(false, do)
		if err == nil || errors.Is(err, io.EOF) || s.Computer != "" {
			t.Errorf("%s: Inspect = %+v, %v", name, s, err)
		}
	}
}

func FuzzInspection(f *testing.F) {
	for _, s := range []string{
		"address\t4\tLAN\t10.0.0.1\t24\nnetwork\t4\t2\tx\nread\taddresses",
		"listener\tTCP 0.0.0.0:443 0.0.0.0:0 X 4\nread\tlisteners",
		"peer\tx\tfe80::1%1\t10.0.0.1\t0\npeer\tx\t10.0.0.2\t\t1",
		"setting\tpolicy\tStandardProfile\tEnableFirewall\t0\nlive\t257\t1\t1\t1\nactive\t-1\t2\nread\tlive",
		"certificate\tmy\tCN=x\tCN=y\t0123456789ABCDEF0123456789ABCDEF01234567\t2036-01-10T00:00:00Z\nread\tcertificates",
		"state\t200\t{\"value\":1}\nread\tstate\nclock\t2026-03-04T05:06:07Z\nunknown\tstate",
		"system\nservice\nrelease\nprocess\nrule\nread\nunknown\n\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := newInspection()
		stated := false
		for l := range strings.Lines(text) {
			fr := Frame(strings.Split(strings.TrimRight(l, "\n"), "\t"))
			stated = stated || fr.Kind() == "state"
			in.add(fr, time.Now())
		}
		s := in.server()
		if s.Listeners.OK() && len(s.Listeners.V) == 0 {
			t.Error("no listeners at all is taken for a fact")
		}
		if s.State.OK() && (!stated || s.State.V < 0 || s.State.V > 2) {
			t.Errorf("state = %+v", s.State)
		}
		for _, l := range s.Listeners.V {
			if l.Address.Port() == 0 || !l.Address.IsValid() {
				t.Errorf("listener %+v", l)
			}
		}
		for _, c := range s.Certificates.V {
			if !s.Certificates.OK() || !thumbprint.MatchString(c.Thumbprint) || c.NotAfter.Location() != time.UTC || c.Store != "root" && c.Store != "my" {
				t.Errorf("certificates %+v", s.Certificates)
			}
		}
		for _, m := range s.Missing {
			if m.Why == "" || strings.ContainsAny(m.Why, "\r\n") {
				t.Errorf("missing %+v", m)
			}
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	})
}
