package rule

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestParse(t *testing.T) {
	tests := []struct {
		name, in string
		want     Rule
	}{
		{"all plain fields", `v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=8443|RA4=192.0.2.7|App=C:\app\web.exe|Svc=web|Name=web|Desc=about|EmbedCtxt=group|`,
			Rule{Version: "2.31", Action: Allow, Active: Yes, Dir: "In", Protocol: TCP, Profiles: Profiles(Domain), LocalPorts: PortList(8443),
				RemoteAddrs: AddrList(prefix("192.0.2.7/32")), App: `C:\app\web.exe`, Service: "web", Name: "web", Desc: "about", Group: "group"}},
		{"hardening rule: case, words, no Active", `V2.0|ACTION=block|dir=in|LPort=1-79,81-90|protocol=TCP|svc==web|`,
			Rule{Version: "2.0", Action: Block, Dir: "In", Protocol: TCP, Profiles: AllProfiles, LocalPorts: Ports{Ranges: []PortRange{{1, 79}, {81, 90}}}, Service: "web"}},
		{"one list under several keys", `v2.33|Action=Allow|Active=FALSE|Dir=In|Protocol=17|LPort=80|LPort2_10=90-95|LPort2_20=Ply2Disc|LPort=rpc|`,
			Rule{Version: "2.33", Action: Allow, Active: No, Dir: "In", Protocol: UDP, Profiles: AllProfiles,
				LocalPorts: Ports{[]PortRange{{80, 80}, {90, 95}}, []string{"Ply2Disc", "RPC"}}}},
		{"profiles add up", `v2.10|Action=Allow|Dir=Out|Profile=Private|Profile=Public|`,
			Rule{Version: "2.10", Action: Allow, Dir: "Out", Protocol: AnyProtocol, Profiles: Profiles(Private | Public)}},
		{"addresses of every kind", `v2.20|Action=Allow|Dir=In|LA4=192.0.2.1|RA4=LocalSubnet|RA4=198.51.100.0/255.255.255.0|RA4=203.0.113.4-203.0.113.9|RA42=IntErnet|RA6=fe80::/64|RA6=ff02::1|RA62=intranet|`,
			Rule{Version: "2.20", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, LocalAddrs: AddrList(prefix("192.0.2.1/32")),
				RemoteAddrs: Addrs{
					Ranges: []AddrRange{rangeOf(prefix("198.51.100.0/24")), {netip.MustParseAddr("203.0.113.4"), netip.MustParseAddr("203.0.113.9")},
						rangeOf(prefix("fe80::/64")), rangeOf(prefix("ff02::1/128"))},
					Keywords4: []string{"LocalSubnet", "IntErnet"}, Keywords6: []string{"IntrAnet"}}}},
		{"conditions keep the field", `v2.33|Action=Allow|Dir=In|LUAuth=O:LSD:(A;;CC;;;WD)|IFType=Lan|Edge=TRUE|Defer=App|Brand=new|`,
			Rule{Version: "2.33", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, Conditions: []string{"LUAuth=O:LSD:(A;;CC;;;WD)", "IFType=Lan", "Brand=new"}}},
		{"nonsense is a condition, not nothing", `v2.33|Action=Block|Active=maybe|Dir=Sideways|Protocol=6|Profile=Work|LPort=70000|RA4=10.0.0.0/255.0.255.0|RA4=fe80::1|RA6=::1-::|stray|`,
			Rule{Version: "2.33", Action: Block, Protocol: TCP, Profiles: AllProfiles, Conditions: []string{"Active=maybe", "Dir=Sideways", "Profile=Work",
				"LPort=70000", "RA4=10.0.0.0/255.0.255.0", "RA4=fe80::1", "RA6=::1-::", "stray"}}},
		{"once is enough", `v2.31|Action=Allow|Action=Block|Dir=In|`,
			Rule{Version: "2.31", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, Conditions: []string{"Action=Block"}}},
		{"ports need a protocol", `v2.31|Action=Allow|Dir=In|LPort=80|`,
			Rule{Version: "2.31", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, LocalPorts: PortList(80), Conditions: []string{"ports without TCP or UDP"}}},
		{"empty texts are fine", `v2.31|Action=Allow|Dir=In|Desc=|EmbedCtxt=|`,
			Rule{Version: "2.31", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles}},
		{"an empty package is not", `v2.31|Action=Allow|Dir=In|AppPkgId=|`,
			Rule{Version: "2.31", Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, Conditions: []string{"AppPkgId="}, Ignored: "its AppPkgId is empty"}},
		{"a connection security rule", `v2.31|Action=Secure|Name=x|`,
			Rule{Version: "2.31", Action: "Secure", Name: "x", Protocol: AnyProtocol, Profiles: AllProfiles, Ignored: "it is a connection security rule, not a firewall rule"}},
		{"something else before the first bar", `mine|Action=Allow|Dir=In|`,
			Rule{Action: Allow, Dir: "In", Protocol: AnyProtocol, Profiles: AllProfiles, Conditions: []string{"mine"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("\n got %+v\nwant %+v", got, tt.want)
			}
		})
	}
	for _, s := range []string{"", "|", "v2.31|", "v2.31|Dir=In|", "Action="} {
		if _, err := Parse(s); err == nil {
			t.Errorf("Parse(%q): no error", s)
		}
	}
}

func TestString(t *testing.T) {
	r := Rule{
		Version: "2.31", Action: Allow, Active: Yes, Dir: "In", Protocol: TCP, Profiles: Profiles(Domain | Private),
		LocalPorts:  Ports{Ranges: []PortRange{{443, 443}, {5000, 5009}}},
		RemoteAddrs: AddrList(prefix("192.0.2.12/32"), prefix("198.51.0.0/16"), prefix("2001:db8::/48"), prefix("2001:db8::5/128")),
		Name:        "a name", Desc: "why", Group: "Preflight",
	}
	r.RemoteAddrs.Ranges = append(r.RemoteAddrs.Ranges, AddrRange{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.6")})
	const want = `v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=443|LPort2_10=5000-5009|` +
		`RA4=192.0.2.12|RA4=198.51.0.0/255.255.0.0|RA6=2001:db8::/48|RA6=2001:db8::5|RA4=192.0.2.1-192.0.2.6|Name=a name|Desc=why|EmbedCtxt=Preflight|`
	if got := r.String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	back, err := Parse(r.String())
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("back: %v\n got %+v\nwant %+v", err, back, r)
	}

	r.Name = "a|Action=Block|\r\nb"
	back, err = Parse(r.String())
	if err != nil || back.Name != "a/Action=Block/  b" || back.Action != Allow || len(back.Conditions) > 0 {
		t.Errorf("a bar in the name: %v, %+v", err, back)
	}
}

func TestPorts(t *testing.T) {
	p := Ports{[]PortRange{{443, 443}, {8000, 8010}}, []string{"IPHTTPSIn"}}
	for port, want := range map[uint16]bool{443: true, 8000: true, 8010: true, 442: false, 8011: false, 0: false, 65535: false} {
		if p.Contains(port) != want {
			t.Errorf("%d: %v", port, !want)
		}
	}
	if k := (Ports{Keywords: []string{"IPHTTPSIn"}}); k.Contains(443) || k.Any() {
		t.Error("a keyword is no number, and not any")
	}
	if !(Ports{}).Contains(1) {
		t.Error("no list is any port")
	}
	if !(Ports{Ranges: []PortRange{{1, 2}, {3, 9}}}).Equal(Ports{Ranges: []PortRange{{2, 9}, {1, 4}}}) {
		t.Error("the same ports are not equal")
	}
}

func TestAddrs(t *testing.T) {
	parse := func(fields string) Addrs {
		r, err := Parse("v2.31|Action=Allow|" + fields)
		if err != nil || len(r.Conditions) > 0 {
			t.Fatalf("%s: %v %v", fields, err, r.Conditions)
		}
		return r.RemoteAddrs
	}
	tests := []struct {
		fields, prefix     string
		contains, overlaps Tri
	}{
		{"", "192.0.2.0/24", Yes, Yes},
		{"RA4=192.0.2.0/255.255.255.0|", "192.0.2.0/24", Yes, Yes},
		{"RA4=192.0.2.77/24|", "192.0.2.0/24", Yes, Yes},
		{"RA4=192.0.2.0-192.0.2.254|", "192.0.2.0/24", No, Yes},
		{"RA4=192.0.2.0/25,192.0.2.128/25|", "192.0.2.0/24", Yes, Yes},
		{"RA4=192.0.2.7|", "192.0.2.8/32", No, No},
		{"RA4=LocalSubnet|", "192.0.2.8/32", Unknown, Unknown},
		{"RA4=LocalSubnet|", "2001:db8::1/128", No, No},
		{"RA6=LocalSubnet|", "192.0.2.8/32", No, No},
		{"RA42=IntErnet|RA4=192.0.2.8|", "192.0.2.8/32", Yes, Yes},
		{"RA4=0.0.0.0-255.255.255.255|", "0.0.0.0/0", Yes, Yes},
		{"RA4=*|", "::1/128", No, No},
		{"RA6=2001:db8::/32|", "2001:db8:5::/48", Yes, Yes},
	}
	for _, tt := range tests {
		a, p := parse(tt.fields), prefix(tt.prefix)
		if a.Contains(p) != tt.contains || a.Overlaps(p) != tt.overlaps {
			t.Errorf("%q and %s: contains %v, overlaps %v", tt.fields, p, a.Contains(p), a.Overlaps(p))
		}
	}

	if !parse("RA4=10.20.0.0/16|").Equal(parse("RA4=10.20.128.0-10.20.255.255|RA4=10.20.0.0/255.255.128.0|")) {
		t.Error("the same addresses are not equal")
	}
	local := parse("RA4=LocalSubnet|RA6=LocalSubnet|").Resolve(LocalSubnet, prefix("192.0.2.12/24"))
	if local.Contains(prefix("192.0.2.1/32")) != Yes || local.Contains(prefix("198.51.100.1/32")) != No || local.Contains(prefix("2001:db8::1/128")) != Unknown {
		t.Errorf("resolved: %+v", local)
	}
	if local.Any() || parse("RA4=LocalSubnet|").Resolve(LocalSubnet).Any() {
		t.Error("a resolved list became any")
	}
}

func TestProfilesJSON(t *testing.T) {
	b, err := json.Marshal(Profiles(Domain | Public))
	if err != nil || string(b) != `["domain","public"]` {
		t.Errorf("%s, %v", b, err)
	}
	var ps Profiles
	if err := json.Unmarshal(b, &ps); err != nil || ps != Profiles(Domain|Public) {
		t.Errorf("%v, %v", ps, err)
	}
	if err := json.Unmarshal([]byte(`["work"]`), &ps); err == nil {
		t.Error("work is no profile")
	}
	if b, _ := json.Marshal(Profiles(0)); string(b) != "[]" {
		t.Errorf("%s", b)
	}
}

// What Parse understood, String writes so that Parse understands the same; and no rule without a word for it becomes wider.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|LPort=8443|LPort2_10=1-5|RA4=192.0.2.0/255.255.255.0|RA6=fe80::/64|Name=n|`,
		`V2.0|Action=Block|Dir=in|LPort=1-553,555-600|Protocol=tcp|Svc==x|`,
		`v2.33|Action=ByPass|RA42=IntErnet|RA62=Ply2Renders|LA4=1.2.3.4-1.2.3.9|RA4=1.2.3.4/33|AppPkgId=|`,
		`|=|==||v|Action=|Action=x`,
		`Action=Allow|RA4=*|RA6=*|LPort=*|RPort=0-65535|Protocol=256|Profile=Domain,Private`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		if r.Profiles == 0 || r.Profiles > AllProfiles {
			t.Errorf("profiles %d", r.Profiles)
		}
		for _, a := range r.RemoteAddrs.Ranges {
			if a.To.Less(a.From) || !a.From.IsValid() {
				t.Errorf("range %v", a)
			}
		}
		if len(r.Conditions) > 0 || r.Ignored != "" || strings.ContainsAny(r.Version, "|=") {
			return
		}
		back, err := Parse(r.String())
		if err != nil || !back.SameEffect(r) {
			t.Errorf("%q became %q: %v\n%+v\n%+v", s, r.String(), err, r, back)
		}
	})
}
