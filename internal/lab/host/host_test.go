package host

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
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
	const block = "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort2_10=4241-4242|"
	off := Setting{"local", "DomainProfile", "EnableFirewall", 0}
	set := func(store, name string, value int) []Setting { return []Setting{{store, "DomainProfile", name, value}} }
	for _, test := range []struct {
		name      string
		listens   bool
		local     []string
		policy    []string
		replacing []string // rules of the policy with the ids of the local ones
		settings  []Setting
		want      int // Windows Sockets error, 0 for connected
	}{
		{name: "no rule", listens: true, want: wsaetimedout},
		{name: "allowed", listens: true, local: []string{allow}, want: 0},
		{name: "allowed but nobody listens: stealth mode", local: []string{allow}, want: wsaetimedout},
		{name: "another source", listens: true, local: []string{strings.Replace(allow, "10.0.0.12", "10.0.0.13", 1)}, want: wsaetimedout},
		{name: "a subnet by its mask", listens: true, local: []string{strings.Replace(allow, "10.0.0.12", "10.0.0.0/255.255.255.0", 1)}, want: 0},
		{name: "another profile", listens: true, local: []string{strings.Replace(allow, "Protocol=6", "Protocol=6|Profile=Public", 1)}, want: wsaetimedout},
		{name: "disabled", listens: true, local: []string{strings.Replace(allow, "TRUE", "FALSE", 1)}, want: wsaetimedout},
		{name: "a Block rule beats it", listens: true, local: []string{allow, block}, want: wsaetimedout},
		{name: "a Block rule of the policy, too", listens: true, local: []string{allow}, policy: []string{block}, want: wsaetimedout},
		{name: "a Block rule for others", listens: true, local: []string{allow, block + "RA4=10.0.0.13|"}, want: 0},
		{name: "a local Block rule where local rules do not count", listens: true, local: []string{block}, policy: []string{allow}, settings: set("policy", "AllowLocalPolicyMerge", 0), want: 0},
		{name: "the policy's rule of the same id replaces it", listens: true, local: []string{allow}, replacing: []string{strings.Replace(allow, "4242", "1", 1)}, want: wsaetimedout},
		{name: "a condition that is not met", listens: true, local: []string{allow + "Security=Authenticate|"}, want: wsaetimedout},
		{name: "for the program that listens", listens: true, local: []string{allow + `App=C:\Program Files\Qlik\Sense\Repository\Repository.exe|`}, want: 0},
		{name: "for another program", listens: true, local: []string{allow + "App=System|"}, want: wsaetimedout},
		{name: "for another service", listens: true, local: []string{allow + "Svc=termservice|"}, want: wsaetimedout},
		{name: "for another address of the server", listens: true, local: []string{allow + "LA4=10.0.0.99|"}, want: wsaetimedout},
		{name: "for the local subnet", listens: true, local: []string{strings.Replace(allow, "10.0.0.12", "LocalSubnet", 1)}, want: 0},
		{name: "local rules do not count", listens: true, local: []string{allow}, settings: set("policy", "AllowLocalPolicyMerge", 0), want: wsaetimedout},
		{name: "but the policy's do", listens: true, policy: []string{allow}, settings: set("policy", "AllowLocalPolicyMerge", 0), want: 0},
		{name: "all incoming connections are blocked", listens: true, local: []string{allow}, settings: set("policy", "DoNotAllowExceptions", 1), want: wsaetimedout},
		{name: "MDM turns local rules off", listens: true, local: []string{allow}, settings: set("mdm", "AllowLocalPolicyMerge", 0), want: wsaetimedout},
		{name: "the local store cannot", listens: true, local: []string{allow}, settings: set("local", "AllowLocalPolicyMerge", 0), want: 0},
		{name: "another profile's local rules do not count", listens: true, local: []string{allow}, settings: []Setting{{"policy", "PublicProfile", "AllowLocalPolicyMerge", 0}}, want: 0},
		{name: "blocked by the local store, whatever the policy says", listens: true, local: []string{allow}, settings: append(set("policy", "DoNotAllowExceptions", 0), set("local", "DoNotAllowExceptions", 1)...), want: wsaetimedout},
		{name: "what no rule blocks gets in", listens: true, settings: set("local", "DefaultInboundAction", 0), want: 0},
		{name: "without stealth mode a free port that is open answers", local: []string{allow}, settings: set("local", "DisableStealthMode", 1), want: wsaeconnrefused},
		{name: "and one that is not does not", settings: set("local", "DisableStealthMode", 1), want: wsaetimedout},
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
				central.AddRule("policy", string(rune('p'+i)), text)
			}
			for i, text := range test.replacing {
				central.AddRule("policy", string(rune('A'+i)), text)
			}
			for _, s := range test.settings {
				central.Set(s)
			}
			central.AddProcess(100, "Repository")
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
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
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
			want := connection{central.realPort(4242), from}
			if got := rim.network.after(0); len(got) != 1 || got[0] != want {
				t.Errorf("the network saw %v, want %v", got, want)
			}
			if more := rim.network.after(1); len(more) != 0 {
				t.Errorf("after that it saw %v", more)
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
	if got, want := central.RuleSet(), "local\tRemoteDesktop\t"+text+"\n"; got != want {
		t.Errorf("the rules are %q, want %q", got, want)
	}
}

// ours is a rule to add.
var ours = script.Rule{
	ID: "preflight-0123456789abcdef0123", Name: "Qlik Sense", Ports: []uint16{4242},
	From: []netip.Prefix{netip.MustParsePrefix("10.0.0.12/32")}, Profiles: rule.Profiles(rule.Domain),
}

// TestInForce: what the firewall says of preflight's rules, and of changing local rules at all.
func TestInForce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		set     Setting
		policy  string // a rule of the policy with our id
		profile rule.Profile
		live    bool
		modify  int
	}{
		{name: "in force", live: true},
		{name: "the policy turns local rules off", set: Setting{"policy", "DomainProfile", "AllowLocalPolicyMerge", 0}, modify: 1},
		{name: "for another profile", set: Setting{"policy", "PublicProfile", "AllowLocalPolicyMerge", 0}, live: true},
		{name: "MDM turns local rules off", set: Setting{"mdm", "DomainProfile", "AllowLocalPolicyMerge", 0}, modify: 1},
		{name: "the local store cannot", set: Setting{"local", "DomainProfile", "AllowLocalPolicyMerge", 0}, live: true},
		{name: "all incoming connections are blocked", set: Setting{"local", "DomainProfile", "DoNotAllowExceptions", 1}, modify: 2},
		{name: "the firewall is off", set: Setting{"policy", "DomainProfile", "EnableFirewall", 0}},
		{name: "the policy has a rule of the same id", policy: "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=1|"},
		{name: "another profile is in force", profile: rule.Public},
		{name: "Windows XP's word for Private and Public", set: Setting{"policy", "StandardProfile", "AllowLocalPolicyMerge", 0}, profile: rule.Public, modify: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			central, _ := twoHosts(t)
			if test.profile != 0 {
				central.Profile = test.profile
			}
			if test.set.Name != "" {
				central.Set(test.set)
			}
			if test.policy != "" {
				central.AddRule("policy", strings.ToUpper(ours.ID), test.policy)
			}
			adding := script.StartAdd(t.Context(), central)
			if out, err := adding.Add(ours); err != nil || out.Kind != "added" {
				t.Fatalf("Add = %+v, %v", out, err)
			}
			if live, err := adding.Finish(); err != nil || live.V != test.live {
				t.Errorf("in force: %+v, %v; want %v", live, err, test.live)
			}
			if got := central.modify(); got != test.modify {
				t.Errorf("LocalPolicyModifyState is %d, want %d", got, test.modify)
			}
		})
	}
}

// TestSlow: what takes its time ends with its context, and nothing was done.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(h *Host){
		"to begin": func(h *Host) { h.ToBegin = time.Hour },
		"to add":   func(h *Host) { h.ToAdd = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			central, _ := twoHosts(t)
			slow(central)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			adding := script.StartAdd(ctx, central)
			if out, err := adding.Add(ours); err == nil {
				t.Errorf("Add = %+v", out)
			}
			if _, err := adding.Finish(); err == nil {
				t.Error("it ended well")
			}
			if got := central.RuleSet(); got != "" {
				t.Errorf("the rules are %q", got)
			}
		})
	}
}

// TestCertificates: Qlik's certificates as inspect is told of them.
func TestCertificates(t *testing.T) {
	t.Parallel()
	central, _ := twoHosts(t)
	central.AddCertificate(Certificate{"root", "CN=qs-central-CA", "CN=qs-central-CA", strings.Repeat("0A", 20), time.Date(2036, 1, 10, 1, 0, 0, 0, time.FixedZone("", 3600))})
	c := script.Start(t.Context(), central, script.InspectOp, time.Minute)
	c.Send("go")
	var got []script.Frame
	for {
		f, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind() == "certificate" || f.Field(1) == "certificates" {
			got = append(got, f)
		}
	}
	want := []script.Frame{
		{"certificate", "root", "CN=qs-central-CA", "CN=qs-central-CA", strings.Repeat("0A", 20), "2036-01-10T00:00:00Z"},
		{"read", "certificates"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestListenLocally: netstat and setup's script see the port, and no other server does, even without a firewall.
func TestListenLocally(t *testing.T) {
	t.Parallel()
	central, rim := twoHosts(t)
	rim.Set(Setting{"local", "DomainProfile", "EnableFirewall", 0})
	ln, err := rim.ListenLocally(4570, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rim.Listen(4570, 100); err == nil {
		t.Error("it was opened twice")
	}
	if got, want := rim.rows(), "TCP    127.0.0.1:4570         0.0.0.0:0              LISTENING       100"; len(got) != 1 || got[0] != want {
		t.Errorf("netstat has %q, want %q", got, want)
	}
	if c, err := central.Dial(t.Context(), "qs-rim1", 4570); err == nil || !strings.Contains(err.Error(), "10061") {
		t.Errorf("Dial = %v, %v; want a refusal", c, err)
	}
	if central.Reaches(rim, 4570) {
		t.Error("it can be reached")
	}
	if c, err := central.Dial(t.Context(), "nowhere", 4570); err == nil || !strings.Contains(err.Error(), "11001") {
		t.Errorf("Dial = %v, %v; want no such host", c, err)
	}
	ln.Close()
	if got := rim.rows(); len(got) != 0 {
		t.Errorf("netstat has %q", got)
	}
}

// TestSetup: what setup's script answers, frame by frame.
func TestSetup(t *testing.T) {
	t.Parallel()
	_, rim := twoHosts(t)
	serve := func(port uint16, listen func(uint16, int) (net.Listener, error), handler http.HandlerFunc) {
		ln, err := listen(port, 100)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: handler}
		go server.Serve(ln)
		t.Cleanup(func() { server.Close() })
	}
	c := script.Start(t.Context(), rim, script.SetupOp, time.Minute)
	answer := func(want script.Frame, sent ...string) {
		t.Helper()
		for _, line := range sent {
			c.Send(line)
		}
		if f, err := c.Next(); err != nil || !slices.Equal(f, want) {
			t.Errorf("%q: %q, %v; want %q", sent, f, err, want)
		}
	}
	refused := []string{"System.Net.WebException", "80131509", "NotSpecified", "Unable to connect to the remote server"}
	answer(append(script.Frame{"failed", "state"}, refused...), "state")
	answer(append(script.Frame{"failed", "unlock"}, refused...), "unlock", "secret")
	answer(script.Frame{"ports", ""}, "ports")
	serve(4444, rim.Listen, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Method+" "+r.URL.Path, http.StatusTeapot)
	})
	serve(4570, rim.ListenLocally, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.PostFormValue("__pwd")}, " "), http.StatusConflict)
	})
	answer(script.Frame{"state", "418", "GET /status/servicestate\n"}, "state")
	answer(script.Frame{"ports", "4444 4570"}, "ports")
	const password = "a&b+c%d\"e\\f g=h\u00fc\t"
	answer(script.Frame{"unlock", "409", "POST /certificateSetup application/x-www-form-urlencoded " + password + "\n"}, "unlock", password)
	answer(script.Frame{"unlock", "409", "POST /certificateSetup application/x-www-form-urlencoded end\n"}, "unlock", "end")
	answer(script.Frame{"failed", "unknown", "System.Management.Automation.RuntimeException", "80131501", "OperationStopped", "not something that setup does"}, "whoami")
	c.Send("unlock") // and its input ends
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
