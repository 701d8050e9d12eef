package host

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/script"
)

func twoHosts(t *testing.T) (central, rim *Host) {
	t.Helper()
	n := NewNetwork()
	central = New("qs-central", netip.MustParsePrefix("10.0.0.11/24"), rule.Domain)
	rim = New("qs-rim1", netip.MustParsePrefix("10.0.0.12/24"), rule.Domain)
	n.Add(central)
	n.Add(rim)
	t.Cleanup(central.Close)
	t.Cleanup(rim.Close)
	return central, rim
}

// TestFirewall: what a connection meets at a simulated server, as Windows does it.
func TestFirewall(t *testing.T) {
	t.Parallel()
	const allow = "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=4242|RA4=10.0.0.12|"
	off := Setting{"local", "DomainProfile", "EnableFirewall", 0}
	for _, test := range []struct {
		name     string
		listens  bool
		local    []string
		policy   []string
		settings []Setting
		want     int // Windows Sockets error, 0 for connected
	}{
		{name: "no rule", listens: true, want: wsaetimedout},
		{name: "allowed", listens: true, local: []string{allow}, want: 0},
		{name: "allowed but nobody listens: stealth mode", local: []string{allow}, want: wsaetimedout},
		{name: "another source", listens: true, local: []string{strings.Replace(allow, "10.0.0.12", "10.0.0.13", 1)}, want: wsaetimedout},
		{name: "a subnet by its mask", listens: true, local: []string{strings.Replace(allow, "10.0.0.12", "10.0.0.0/255.255.255.0", 1)}, want: 0},
		{name: "another profile", listens: true, local: []string{strings.Replace(allow, "Protocol=6", "Protocol=6|Profile=Public", 1)}, want: wsaetimedout},
		{name: "disabled", listens: true, local: []string{strings.Replace(allow, "TRUE", "FALSE", 1)}, want: wsaetimedout},
		{name: "a Block rule beats it", listens: true, local: []string{allow, "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=4242|"}, want: wsaetimedout},
		{name: "local rules do not count", listens: true, local: []string{allow}, settings: []Setting{{"policy", "DomainProfile", "AllowLocalPolicyMerge", 0}}, want: wsaetimedout},
		{name: "but the policy's do", listens: true, policy: []string{allow}, settings: []Setting{{"policy", "DomainProfile", "AllowLocalPolicyMerge", 0}}, want: 0},
		{name: "all incoming connections are blocked", listens: true, local: []string{allow}, settings: []Setting{{"policy", "DomainProfile", "DoNotAllowExceptions", 1}}, want: wsaetimedout},
		{name: "off and somebody listens", listens: true, settings: []Setting{off}, want: 0},
		{name: "off and nobody listens", settings: []Setting{off}, want: wsaeconnrefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			central, rim := twoHosts(t)
			for i, text := range test.local {
				central.AddRule("local", string(rune('a'+i)), text)
			}
			for i, text := range test.policy {
				central.AddRule("policy", string(rune('a'+i)), text)
			}
			central.settings = append(central.settings, test.settings...)
			if test.listens {
				ln, err := central.Listen(4242, 100)
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					for {
						c, err := ln.Accept()
						if err != nil {
							return
						}
						go io.Copy(io.Discard, c)
					}
				}()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if test.want == 0 {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
			}
			defer cancel()
			c, from, code := rim.network.dial(ctx, rim, netip.MustParseAddrPort("10.0.0.11:4242"))
			if code != test.want {
				t.Fatalf("dial: %d, want %d", code, test.want)
			}
			if code != 0 {
				return
			}
			defer c.Close()
			if from.Addr() != rim.Address.Addr() {
				t.Errorf("dialled from %v", from)
			}
			for len(central.connections(4242)) == 0 && ctx.Err() == nil {
			}
			if got := central.connections(4242); len(got) != 1 || got[0] != from {
				t.Errorf("the server's TCP table has %v, want %v", got, from)
			}
		})
	}
}

// TestUnknownCommand: the lab never pretends to be PowerShell.
func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	central, _ := twoHosts(t)
	var out, complaint strings.Builder
	code, err := central.Run(t.Context(), "powershell.exe -Command whoami", strings.NewReader(""), &out, &complaint)
	if code == 0 || err != nil || out.Len() != 0 || complaint.Len() == 0 {
		t.Errorf("Run = %d, %v, %q, %q; want a refusal", code, err, &out, &complaint)
	}
}

// TestRemove: a rule goes only if it is exactly what the client says, and only if it is preflight's.
func TestRemove(t *testing.T) {
	t.Parallel()
	central, _ := twoHosts(t)
	const id, text = "preflight-0123456789abcdef0123", "v2.29|Action=Allow|"
	central.AddRule("local", id, text)
	central.AddRule("local", "RemoteDesktop", text)
	removing := script.StartRemove(t.Context(), central)
	for _, test := range []struct{ id, text, want string }{{id, text + "x", "differs"}, {id, text, "removed"}, {id, text, "absent"}} {
		if out, err := removing.Remove(test.id, test.text); err != nil || out.Kind != test.want {
			t.Errorf("Remove(%q) = %+v, %v; want %s", test.text, out, err, test.want)
		}
	}
	if out, err := removing.Remove("RemoteDesktop", text); err == nil {
		t.Errorf("removing a foreign rule = %+v; want a refusal", out)
	}
	if _, err := removing.Finish(); err != nil {
		t.Error(err)
	}
	if rules := central.Rules("local"); len(rules) != 1 || rules["RemoteDesktop"] != text {
		t.Errorf("rules = %v", rules)
	}
}
