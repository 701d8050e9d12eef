package firewall

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
)

// lines are rules in short; see rules.
type lines = []string

var (
	server = netip.MustParseAddr("10.0.0.11") // on a Domain interface
	outer  = netip.MustParseAddr("192.0.2.11")
	peer   = netip.MustParseAddr("10.0.0.12")
)

// state is a server with a Domain and a Public interface and everything switched on.
func state(rules ...StoredRule) State {
	on := ProfileSettings{Enabled: rule.Yes, BlockAllInbound: rule.No, DefaultInboundBlock: rule.Yes, LocalRulesMerge: rule.Yes, Stealth: rule.Yes}
	return State{
		Rules:    rules,
		Settings: map[rule.Profile]ProfileSettings{rule.Domain: on, rule.Private: on, rule.Public: on},
		Interfaces: []Interface{
			{Index: 4, Name: "LAN", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.11/24")}, Profile: rule.Domain},
			{Index: 7, Name: "DMZ", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}, Profile: rule.Public},
		},
		Active: rule.Profiles(rule.Domain | rule.Public),
	}
}

// with alters the settings of all profiles.
func with(s State, alter func(*ProfileSettings)) State {
	s.Settings = maps.Clone(s.Settings)
	for p, set := range s.Settings {
		alter(&set)
		s.Settings[p] = set
	}
	return s
}

// rules makes stored rules: "local a: fields of an inbound TCP rule". Active=TRUE is put in where there is no Active.
func rules(short ...string) (out []StoredRule) {
	for _, l := range short {
		head, fields, _ := strings.Cut(l, ": ")
		store, id, _ := strings.Cut(head, " ")
		if !strings.Contains(fields, "Active") {
			fields += "|Active=TRUE"
		}
		if !strings.Contains(fields, "Protocol") {
			fields = "Protocol=6|" + fields
		}
		if !strings.Contains(fields, "Dir") {
			fields = "Dir=In|" + fields
		}
		out = append(out, StoredRule{Store(store), id, "v2.31|" + strings.Replace(fields, "|Active=-", "", 1) + "|"})
	}
	return out
}

func TestEvaluate(t *testing.T) {
	off := func(s *ProfileSettings) { s.Enabled = rule.No }
	tests := []struct {
		name    string
		rules   []string
		alter   func(*ProfileSettings)
		packet  Packet // to server:8443 from peer unless it says otherwise
		verdict Verdict
		by, why string
	}{
		{"nothing", nil, nil, Packet{}, Blocked, "", "no rule admits 10.0.0.12"},
		{"an Allow", lines{"local a: Action=Allow|LPort=8443"}, nil, Packet{}, Passes, "a", "rule a (local) admits 10.0.0.12"},
		{"a name says more than an id", lines{"policy a: Action=Allow|LPort=8443|Name=web"}, nil, Packet{}, Passes, "a", `rule "web" (Group Policy) admits 10.0.0.12`},
		{"another port", lines{"local a: Action=Allow|LPort=8442|LPort2_10=8444-9000"}, nil, Packet{}, Blocked, "", ""},
		{"UDP", lines{"local a: Protocol=17|Action=Allow|LPort=8443"}, nil, Packet{}, Blocked, "", ""},
		{"any protocol", lines{"local a: Protocol=256|Action=Allow"}, nil, Packet{}, Passes, "a", ""},
		{"a keyword is no port", lines{"local a: Action=Allow|LPort2_10=IPHTTPSIn"}, nil, Packet{Port: 443}, Blocked, "", ""},
		{"outbound", lines{"local a: Action=Allow|Dir=Out", "local b: Action=Block|Dir=Out"}, nil, Packet{}, Blocked, "", "no rule admits 10.0.0.12"},
		{"no direction", lines{"local a: Action=Allow|LPort=8443|Dir="}, nil, Packet{}, Unsure, "a", ""},

		{"Block beats Allow", lines{"local a: Action=Allow|LPort=8443", "policy b: Action=Block|LPort=8443"}, nil, Packet{}, Blocked, "b", "the Block rule b (Group Policy) beats every Allow rule"},
		{"Block for another port", lines{"local a: Action=Allow|LPort=8443", "policy b: Action=Block|LPort=8444"}, nil, Packet{}, Passes, "a", ""},
		{"Block for another program", lines{"local a: Action=Allow|LPort=8443", `local b: Action=Block|App=C:\x\chrome.exe`}, nil, Packet{Program: `C:\y\web.exe`}, Passes, "a", ""},
		{"Block for a program, listener not known", lines{"local a: Action=Allow|LPort=8443", `local b: Action=Block|App=C:\x\chrome.exe`}, nil, Packet{}, Unsure, "b",
			`rule b (local) may block: it is for C:\x\chrome.exe only`},
		{"authenticated bypass", lines{"local a: Action=Block|LPort=8443", "local b: Action=ByPass|Security=Authenticate|RMAuth=O:LSD:(A;;CC;;;WD)"}, nil, Packet{}, Unsure, "b", "rule b (local) lets authenticated traffic past the Block rule a (local)"},

		{"an action nobody knows", lines{"local a: Action=Allow|LPort=8443", "local b: Action=Deny"}, nil, Packet{}, Unsure, "b", "rule b (local) may block: its action is Deny"},

		{"disabled", lines{"local a: Action=Allow|LPort=8443|Active=FALSE"}, nil, Packet{}, Blocked, "", ""},
		{"disabled Block", lines{"local a: Action=Allow|LPort=8443", "local b: Action=Block|Active=FALSE"}, nil, Packet{}, Passes, "a", ""},
		{"no Active, Allow", lines{"local a: Action=Allow|LPort=8443|Active=-"}, nil, Packet{}, Unsure, "a", "rule a (local) may admit 10.0.0.12: it does not say whether it is enabled"},
		{"no Active, Block", lines{"local a: Action=Allow|LPort=8443", "local b: Action=Block|LPort=8443|Active=-"}, nil, Packet{}, Unsure, "b", ""},
		{"a condition", lines{"local a: Action=Allow|LPort=8443|IFType=Lan"}, nil, Packet{}, Unsure, "a", ""},
		{"nonsense among the ports", lines{"local a: Action=Allow|LPort=8443|LPort=99999"}, nil, Packet{}, Unsure, "a", ""},
		{"empty package", lines{"local a: Action=Allow|LPort=8443|AppPkgId="}, nil, Packet{}, Blocked, "", ""},
		{"a Store app's Allow is not for us", lines{"local a: Action=Allow|AppPkgId=S-1-15-2-1"}, nil, Packet{}, Blocked, "", ""},
		{"a Store app's Block may be", lines{"local a: Action=Allow|LPort=8443", "local b: Action=Block|AppPkgId=S-1-15-2-1"}, nil, Packet{}, Unsure, "b", ""},
		{"unreadable", lines{"local a: Action=Allow|LPort=8443", "local b: nothing"}, nil, Packet{}, Unsure, "b", "rule b (local) may block: it has a condition that cannot be told from here: no action: not a firewall rule"},

		{"another profile", lines{"local a: Action=Allow|LPort=8443|Profile=Private"}, nil, Packet{}, Blocked, "", ""},
		{"the other interface's profile", lines{"local a: Action=Allow|LPort=8443|Profile=Public"}, nil, Packet{To: outer}, Passes, "a", ""},
		{"unknown interface, all profiles agree", lines{"local a: Action=Allow|LPort=8443"}, nil, Packet{To: netip.MustParseAddr("10.9.9.9")}, Passes, "a", ""},
		{"unknown interface, profiles differ", lines{"local a: Action=Allow|LPort=8443|Profile=Domain"}, nil, Packet{To: netip.MustParseAddr("10.9.9.9")}, Unsure, "",
			"the profile of the interface that holds 10.9.9.9 is not known, and the profiles in force (Domain,Public) differ"},

		{"remote host", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.12"}, nil, Packet{}, Passes, "a", ""},
		{"remote mask", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.0/255.255.255.0"}, nil, Packet{}, Passes, "a", ""},
		{"another remote", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.13"}, nil, Packet{}, Blocked, "", "no rule admits 10.0.0.12"},
		{"own subnet", lines{"local a: Action=Allow|LPort=8443|RA4=LocalSubnet"}, nil, Packet{}, Passes, "a", ""},
		{"not own subnet", lines{"local a: Action=Allow|LPort=8443|RA4=LocalSubnet"}, nil, Packet{From: netip.MustParseAddr("10.0.1.12")}, Blocked, "", ""},
		{"another interface's subnet", lines{"local a: Action=Allow|LPort=8443|RA4=LocalSubnet"}, nil, Packet{From: netip.MustParseAddr("192.0.2.9")}, Unsure, "a", ""},
		{"a keyword nobody can tell", lines{"local a: Action=Allow|LPort=8443|RA42=IntErnet"}, nil, Packet{}, Unsure, "a", "rule a (local) may admit 10.0.0.12: it is for IntErnet"},
		{"local address", lines{"local a: Action=Allow|LPort=8443|LA4=10.0.0.11"}, nil, Packet{}, Passes, "a", ""},
		{"another local address", lines{"local a: Action=Allow|LPort=8443|LA4=192.0.2.11"}, nil, Packet{}, Blocked, "", ""},
		{"IPv4 mapped", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.12"}, nil, Packet{From: netip.MustParseAddr("::ffff:10.0.0.12")}, Passes, "a", ""},

		{"the program", lines{`local a: Action=Allow|App=%SystemRoot%\\srv\\Web.exe`}, nil, Packet{Program: `c:\windows\srv\web.exe`}, Passes, "a", ""},
		{"the program by name", lines{`local a: Action=Allow|App=D:\srv\Web.exe`}, nil, Packet{Program: "web"}, Passes, "a", ""},
		{"the same name elsewhere", lines{`local a: Action=Allow|App=D:\srv\Web.exe`}, nil, Packet{Program: `C:\srv\web.exe`}, Blocked, "", ""},
		{"http.sys", lines{`local a: Action=Allow|LPort=8443|App=D:\srv\Web.exe`}, nil, Packet{Program: "System"}, Blocked, "", ""},
		{"http.sys, for System", lines{`local a: Action=Allow|LPort=8443|App=System`}, nil, Packet{Program: "System"}, Passes, "a", ""},
		{"a service", lines{`local a: Action=Allow|LPort=8443|Svc=web`}, nil, Packet{Program: "web"}, Unsure, "a", ""},

		{"firewall off", lines{"local a: Action=Block"}, off, Packet{}, Passes, "", "the firewall is off for the Domain profile"},
		{"shields up", lines{"local a: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { s.BlockAllInbound = rule.Yes }, Packet{}, Blocked, "", "all inbound connections are blocked in the Domain profile, whatever the rules say"},
		{"local rules off", lines{"local a: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { s.LocalRulesMerge = rule.No }, Packet{}, Blocked, "", "no rule that counts admits 10.0.0.12: local rules are turned off for the Domain profile"},
		{"local rules off, Block too", lines{"local a: Action=Block", "policy b: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { s.LocalRulesMerge = rule.No }, Packet{}, Passes, "b", ""},
		{"local rules, not known", lines{"local a: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { s.LocalRulesMerge = rule.Unknown }, Packet{}, Unsure, "a", ""},
		{"default allow", nil, func(s *ProfileSettings) { s.DefaultInboundBlock = rule.No }, Packet{}, Passes, "", "no rule decides, and the Domain profile lets in what no rule blocks"},
		{"default not known", nil, func(s *ProfileSettings) { s.DefaultInboundBlock = rule.Unknown }, Packet{}, Unsure, "", ""},
		{"on or off, blocked", nil, func(s *ProfileSettings) { s.Enabled = rule.Unknown }, Packet{}, Unsure, "", ""},
		{"on or off, passes", lines{"local a: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { s.Enabled = rule.Unknown }, Packet{}, Passes, "a", ""},
		{"nothing known", lines{"local a: Action=Allow|LPort=8443"}, func(s *ProfileSettings) { *s = ProfileSettings{} }, Packet{}, Unsure, "a", ""},
		{"Group Policy has the same id", lines{"local A: Action=Allow|LPort=8443", "policy a: Action=Allow|LPort=8443|Active=FALSE"}, nil, Packet{}, Blocked, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := state(rules(tt.rules...)...)
			if tt.alter != nil {
				s = with(s, tt.alter)
			}
			p := tt.packet
			if !p.From.IsValid() {
				p.From = peer
			}
			if !p.To.IsValid() {
				p.To = server
			}
			if p.Port == 0 {
				p.Port = 8443
			}
			check(t, Evaluate(s, p), tt.verdict, tt.by, tt.why)
		})
	}
}

func check(t *testing.T, d Decision, verdict Verdict, by, why string) {
	t.Helper()
	got := ""
	if d.By != nil {
		got = d.By.ID
	}
	if d.Verdict != verdict || got != by || why != "" && d.Why != why {
		t.Errorf("%s by %q: %s\nwant %s by %q: %s", d.Verdict, got, d.Why, verdict, by, why)
	}
	if d.Why == "" {
		t.Error("no reason")
	}
}

func TestUnknownSections(t *testing.T) {
	tests := []struct {
		rules   []string
		verdict Verdict
	}{
		{nil, Unsure},
		{lines{"local a: Action=Allow|LPort=8443"}, Unsure},
		{lines{"local a: Action=Block|LPort=8443"}, Blocked}, // whatever else there is
	}
	for _, tt := range tests {
		s := state(rules(tt.rules...)...)
		s.Unknown = []string{"rules-mdm: access denied"}
		if d := Evaluate(s, Packet{From: peer, To: server, Port: 8443}); d.Verdict != tt.verdict {
			t.Errorf("%v: %s, %s", tt.rules, d.Verdict, d.Why)
		}
	}
}

func TestAdmits(t *testing.T) {
	tests := []struct {
		name    string
		from    string
		rules   []string
		verdict Verdict
		by, why string
	}{
		{"all of it", "10.20.0.0/16", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.0/255.0.0.0"}, Passes, "a", "rule a (local) admits 10.20.0.0/16"},
		{"a part", "10.20.0.0/16", lines{"local a: Action=Allow|LPort=8443|RA4=10.20.5.0/24"}, Blocked, "", "no rule admits 10.20.0.0/16"},
		{"two halves", "10.20.0.0/16", lines{"local a: Action=Allow|LPort=8443|RA4=10.20.0.0/17", "local b: Action=Allow|RA4=10.20.128.0/17"}, Passes, "a", ""},
		{"two halves, one of them perhaps", "10.20.0.0/16", lines{"local a: Action=Allow|LPort=8443|RA4=10.20.0.0/17", "local b: Action=Allow|RA4=10.20.128.0/17|IF={0}"}, Unsure, "b", ""},
		{"one of them blocked", "10.20.0.0/16", lines{"local a: Action=Allow|LPort=8443", "local b: Action=Block|RA4=10.20.5.5"}, Unsure, "b", "rule b (local) may block: it is for a part of 10.20.0.0/16"},
		{"any", "0.0.0.0/0", lines{"local a: Action=Allow|LPort=8443"}, Passes, "a", "rule a (local) admits any address"},
		{"not any", "0.0.0.0/0", lines{"local a: Action=Allow|LPort=8443|RA4=10.0.0.0/8"}, Blocked, "", "no rule admits any address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, Admits(state(rules(tt.rules...)...), server, netip.MustParsePrefix(tt.from), 8443), tt.verdict, tt.by, tt.why)
		})
	}
}

// Rules that somebody made for the port and that do not help are named with the reason.
func TestVoid(t *testing.T) {
	s := state(rules(
		"local a: Action=Allow|LPort=8443|Active=FALSE",
		"local b: Action=Allow|LPort=8443|Profile=Private",
		"local c: Action=Allow|LPort=8443|RA4=10.0.0.99",
		"local d: Action=Allow|LPort=8443|AppPkgId=",
		"local e: Action=Allow|LPort=9999",
		`local f: Action=Allow|App=C:\x\other.exe|Active=FALSE`,
		"policy G: Action=Allow|LPort=8443|Active=FALSE",
		"local g: Action=Allow|LPort=8443",
		"local h: Action=Allow|LPort=8443",
	)...)
	s = with(s, func(p *ProfileSettings) { p.LocalRulesMerge = rule.No })
	var got []string
	for _, v := range Evaluate(s, Packet{From: peer, To: server, Port: 8443}).Void {
		got = append(got, v.ID+": "+v.Why)
	}
	want := []string{
		"a: it is disabled",
		"b: it is for the Private profile, and Domain is in force",
		"d: Windows ignores it: its AppPkgId is empty",
		"G: it is disabled",
		"g: a Group Policy rule of the same id replaces it",
		"h: it is a local rule, and those are turned off for the Domain profile",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	s.Settings = state().Settings
	d := Evaluate(s, Packet{From: peer, To: outer, Port: 8443})
	if got := d.Void[2]; got.ID != "c" || got.Why != "it is for other addresses" {
		t.Errorf("%s: %s", got.ID, got.Why)
	}
}

func TestMerge(t *testing.T) {
	const d = rule.Domain
	tests := []struct {
		name string
		in   []Setting
		want ProfileSettings
	}{
		{"nothing stored", nil, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.Yes, rule.Yes, "", ""}},
		{"local values", []Setting{{Local, d, "EnableFirewall", 1}, {Local, d, "DefaultInboundAction", 0}, {Local, d, "DisableStealthMode", 1}, {Local, d, "DoNotAllowExceptions", 1}},
			ProfileSettings{rule.Yes, rule.Yes, rule.No, rule.Yes, rule.No, "", Local}},
		{"policy goes first", []Setting{{Local, d, "EnableFirewall", 0}, {MDM, d, "EnableFirewall", 0}, {Policy, d, "EnableFirewall", 1}, {Local, d, "DefaultInboundAction", 0}, {MDM, d, "DefaultInboundAction", 1}},
			ProfileSettings{rule.Yes, rule.No, rule.Yes, rule.Yes, rule.Yes, "", ""}},
		{"shields up anywhere", []Setting{{Local, d, "DoNotAllowExceptions", 1}, {Policy, d, "DoNotAllowExceptions", 0}}, ProfileSettings{rule.Unknown, rule.Yes, rule.Yes, rule.Yes, rule.Yes, "", Local}},
		{"local merge is without effect", []Setting{{Local, d, "AllowLocalPolicyMerge", 0}}, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.Yes, rule.Yes, "", ""}},
		{"policy merge is not", []Setting{{Policy, d, "AllowLocalPolicyMerge", 0}}, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.No, rule.Yes, Policy, ""}},
		{"MDM merge neither", []Setting{{MDM, d, "AllowLocalPolicyMerge", 0}}, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.No, rule.Yes, MDM, ""}},
		{"policy lets local rules count, whatever MDM says", []Setting{{MDM, d, "AllowLocalPolicyMerge", 0}, {Policy, d, "AllowLocalPolicyMerge", 1}}, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.Yes, rule.Yes, "", ""}},
		{"another profile", []Setting{{Policy, rule.Public, "AllowLocalPolicyMerge", 0}}, ProfileSettings{rule.Unknown, rule.No, rule.Yes, rule.Yes, rule.Yes, "", ""}},
	}
	for _, tt := range tests {
		if got := Merge(tt.in)[d]; got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

// A Block rule that certainly applies is never outvoted, and without an Allow rule nothing passes.
func FuzzEvaluate(f *testing.F) {
	f.Add("v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=8443|RA4=LocalSubnet|", uint16(8443))
	f.Add("v2.31|Action=Block|Active=TRUE|Dir=In|RA4=10.0.0.0/255.255.255.0|App=x|", uint16(1))
	f.Add("V2.0|Action=ByPass|LA4=10.0.0.11|", uint16(443))
	f.Fuzz(func(t *testing.T, raw string, port uint16) {
		if d := Evaluate(state(StoredRule{Local, "x", raw}), Packet{From: peer, To: server, Port: port}); d.Verdict == Passes {
			if r, _ := rule.Parse(raw); r.Action != rule.Allow || r.Active != rule.Yes || len(r.Conditions) > 0 {
				t.Errorf("%q admits: %s", raw, d.Why)
			}
		}
		block := rules("policy b: Action=Block|LPort=1-65535", "policy c: Action=Block|LPort=0")
		if d := Evaluate(state(append(block, StoredRule{Local, "x", raw})...), Packet{From: peer, To: server, Port: port}); d.Verdict == Passes {
			t.Errorf("%q passes a Block rule: %s", raw, d.Why)
		}
	})
}
