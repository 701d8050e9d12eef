package script_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/tier"
)

// powerShell runs the commands of preflight by a PowerShell on this machine, with stand-ins for what only Windows has.
type powerShell struct {
	path     string
	standIns string // a folder of state, "" for none
}

func (p powerShell) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	text := map[string]string{script.Command: script.Bootstrap, script.ProbeCommand: script.ProbeText}[command]
	if text == "" {
		return 0, errors.New("an unknown command")
	}
	if p.standIns != "" {
		for _, name := range []string{"windows", "netsecurity", "registry", "certificates", "http"} {
			file, err := filepath.Abs("testdata/standins/" + name + ".ps1")
			if err != nil {
				return 0, err
			}
			text = ". '" + file + "'; " + text
		}
	}
	cmd := exec.CommandContext(ctx, p.path, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command", text)
	// A proxy that nobody serves: what a server asks of itself goes through none.
	cmd.Env = append(os.Environ(), "PREFLIGHT_STANDINS="+p.standIns, "http_proxy=http://127.0.0.1:1", "no_proxy=")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		io.Copy(in, stdin)
		in.Close()
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), err
}

const rulesKey = "registry/SYSTEM/CurrentControlSet/Services/SharedAccess/Parameters/FirewallPolicy/FirewallRules"

// standIns makes the state of a server: a folder, with one rule in the local store and no certificates.
func standIns(t *testing.T) powerShell {
	t.Helper()
	p := powerShell{path: tier.PowerShell(t), standIns: t.TempDir()}
	p.put(t, rulesKey+"/values", "RemoteDesktop-In\tsz\tv2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|Name=Größe|\n")
	for _, store := range []string{"Root", "My"} {
		if err := os.MkdirAll(filepath.Join(p.standIns, "certificates", "LocalMachine", store), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p powerShell) put(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(p.standIns, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p powerShell) rules(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p.standIns, filepath.FromSlash(rulesKey), "values"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPowerShellProbe(t *testing.T) {
	t.Parallel()
	l, err := script.Probe(t.Context(), powerShell{path: tier.PowerShell(t)})
	if err != nil || !l.Full() || l.Version == "" {
		t.Fatalf("Probe = %+v, %v; want FullLanguage and a version", l, err)
	}
}

func TestPowerShellInspect(t *testing.T) {
	t.Parallel()
	p := standIns(t)
	p.put(t, "http", "4444 1\n")
	p.put(t, "registry/SOFTWARE/Policies/Microsoft/WindowsFirewall/DomainProfile/values", "AllowLocalPolicyMerge\tdword\t0\n")
	p.put(t, "registry/SOFTWARE/Policies/Microsoft/WindowsFirewall/FirewallRules/denied", "")
	p.put(t, "registry/SOFTWARE/WOW6432Node/Microsoft/Windows/CurrentVersion/Uninstall/{1}/values", "DisplayName\tsz\tQlik Sense 1.0.2\n")
	p.put(t, "registry/SOFTWARE/WOW6432Node/Microsoft/Windows/CurrentVersion/Uninstall/{2}/values", "DisplayName\tsz\tOther\n")
	s, err := script.Inspect(t.Context(), p, true, []script.Peer{{Name: "qs-central", Host: "127.0.0.1"}, {Name: "gone", Host: "no.such.invalid"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Firewall.Rules); n != 1 || !strings.HasSuffix(s.Firewall.Rules[0].Raw, "|Name=Größe|") {
		t.Errorf("rules = %+v; want the one with its umlauts", s.Firewall.Rules)
	}
	if got := s.Firewall.Settings[rule.Domain].LocalRulesMerge; got != rule.No {
		t.Errorf("local rules merge = %v; the policy says no", got)
	}
	if !slices.Equal(s.Releases.V, []string{"Qlik Sense 1.0.2"}) {
		t.Errorf("releases = %+v", s.Releases)
	}
	if l, ok := s.Listening(netip.MustParseAddrPort("10.0.0.12:4242")); !ok || l.PID == 0 || l.Process == "" {
		t.Errorf("4242 = %+v, %v; want its process, from a German netstat", l, ok)
	}
	if l, ok := s.Listening(netip.MustParseAddrPort("10.0.0.12:443")); !ok || l.Process != "System" {
		t.Errorf("443 = %+v, %v; process 4 is http.sys", l, ok)
	}
	if _, ok := s.Listening(netip.MustParseAddrPort("10.0.0.12:4570")); ok {
		t.Error("4570 listens on loopback only; it is closed to others")
	}
	if len(s.Services.V) != 1 || s.Services.V[0].State != "Running" {
		t.Errorf("services = %+v", s.Services)
	}
	if s.State.OK() {
		t.Errorf("state = %+v; nothing listens there", s.State)
	}
	if q, _ := s.Peer("qs-central"); q.Source.String() != "127.0.0.1" || len(q.Addresses) != 1 {
		t.Errorf("peer = %+v", q)
	}
	if q, _ := s.Peer("gone"); q.Code != 11001 && q.Code != 11002 {
		t.Errorf("peer without a name = %+v; want error 11001", q)
	}
	if !slices.ContainsFunc(s.Missing, func(m facts.Missing) bool { return m.Fact == "rules-policy" && m.Why != "" }) {
		t.Errorf("unknown = %+v; the policy's rules could not be read", s.Missing)
	}
	if !s.Certificates.OK() || len(s.Certificates.V) != 0 {
		t.Errorf("certificates = %+v; there are none", s.Certificates)
	}
	if !s.Clock.OK() || s.Clock.V.AheadMS > 1000 || s.Clock.V.AheadMS < -1000 {
		t.Errorf("clock = %+v; it is this machine's", s.Clock)
	}
}

func TestPowerShellInspectUnknown(t *testing.T) {
	t.Parallel()
	p := powerShell{path: tier.PowerShell(t), standIns: t.TempDir()}
	p.put(t, "registry/SOFTWARE/values", "")
	p.put(t, "no-netstat", "")
	p.put(t, "no-networks", "")
	s, err := script.Inspect(t.Context(), p, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rules-local", "networks", "listeners", "certificates"} {
		if !slices.ContainsFunc(s.Missing, func(m facts.Missing) bool { return m.Fact == want }) {
			t.Errorf("%s is not unknown, but there was nothing to read: %+v", want, s.Missing)
		}
	}
	if s.Listeners.OK() {
		t.Error("a netstat that printed nothing was taken for a server without listeners")
	}
}

// certify puts a certificate into a store of the server, Root or My, and gives what inspect should say of it. Qlik Sense's
// own have the extension 1.3.6.1.5.5.7.13.3.
func (p powerShell) certify(t *testing.T, store, name, issuer string, qlik bool) facts.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2036, 1, 10, 12, 30, 0, 0, time.UTC),
		BasicConstraintsValid: true, IsCA: store == "Root", KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if qlik {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 13, 3}, Value: []byte{5, 0}}}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, &x509.Certificate{Subject: pkix.Name{CommonName: issuer}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p.put(t, "certificates/LocalMachine/"+store+"/"+name+".cer", string(der))
	return facts.Certificate{
		Store: strings.ToLower(store), Subject: "CN=" + name, Issuer: "CN=" + issuer, Thumbprint: fmt.Sprintf("%X", sha1.Sum(der)), NotAfter: c.NotAfter,
	}
}

func TestPowerShellInspectCertificates(t *testing.T) {
	t.Parallel()
	p := standIns(t)
	p.certify(t, "Root", "Some Root CA", "Some Root CA", false)
	p.certify(t, "My", "WinRM", "WinRM", false)
	want := []facts.Certificate{p.certify(t, "Root", "bücher-CA", "bücher-CA", true), p.certify(t, "My", "qs-rim1", "bücher-CA", true)}
	s, err := script.Inspect(t.Context(), p, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Certificates.OK() || !slices.Equal(s.Certificates.V, want) {
		t.Errorf("certificates = %+v, want %+v", s.Certificates, want)
	}

	for store, why := range map[string]string{"Root": "Access is denied. (0x80070005)", "My": "Access is denied. (0x80070005)", "": "The system cannot find the file specified. (0x80070002)"} {
		p := standIns(t)
		p.certify(t, "Root", "qs-central-CA", "qs-central-CA", true)
		if store != "" {
			p.put(t, "certificates/LocalMachine/"+store+"/denied", "")
		} else if err := os.Remove(filepath.Join(p.standIns, "certificates", "LocalMachine", "My")); err != nil {
			t.Fatal(err)
		}
		s, err := script.Inspect(t.Context(), p, false, nil)
		if err != nil || s.Certificates.Unknown != why || !s.Services.OK() {
			t.Errorf("%s: %v, certificates = %+v, services = %+v; want unknown: %s", store, err, s.Certificates, s.Services, why)
		}
	}
}

func testRule() script.Rule {
	return script.Rule{
		ID: "preflight-0123456789abcdef0123", Name: "preflight lab proxy TCP 443,4144", Description: "qs-rim1, clients",
		Ports: []uint16{443, 4144}, Profiles: rule.Profiles(rule.Domain),
		From: []netip.Prefix{netip.MustParsePrefix("10.0.0.12/32"), netip.MustParsePrefix("10.20.0.0/16")},
	}
}

func TestPowerShellAddAndRemove(t *testing.T) {
	t.Parallel()
	p := standIns(t)
	before := p.rules(t)
	r := testRule()

	adding := script.StartAdd(t.Context(), p)
	added, err := adding.Add(r)
	if err != nil || added.Kind != "added" || !strings.Contains(added.Stored, "|LPort=443|LPort=4144|RA4=10.0.0.12|RA4=10.20.0.0/255.255.0.0|") {
		t.Fatalf("Add = %+v, %v", added, err)
	}
	again, err := adding.Add(r)
	if err != nil || again.Kind != "exists" || again.Stored != added.Stored {
		t.Errorf("a second Add = %+v, %v; want exists and the same rule", again, err)
	}
	if live, err := adding.Finish(); err != nil || !live.V {
		t.Errorf("Finish = %+v, %v; want in force", live, err)
	}

	removing := script.StartRemove(t.Context(), p)
	if out, err := removing.Remove(r.ID, added.Stored+" "); err != nil || out.Kind != "differs" || out.Stored != added.Stored {
		t.Errorf("removing another rule's text = %+v, %v; want differs", out, err)
	}
	if out, err := removing.Remove(r.ID, added.Stored); err != nil || out.Kind != "removed" {
		t.Errorf("Remove = %+v, %v", out, err)
	}
	if out, err := removing.Remove(r.ID, added.Stored); err != nil || out.Kind != "absent" {
		t.Errorf("a second Remove = %+v, %v; want absent", out, err)
	}
	if _, err := removing.Finish(); err != nil {
		t.Error(err)
	}
	if after := p.rules(t); after != before {
		t.Errorf("the rules are not as before:\n%s\nwant\n%s", after, before)
	}
}

// TestPowerShellStaysNarrow tries to make the scripts do more than their text promises.
func TestPowerShellStaysNarrow(t *testing.T) {
	t.Parallel()
	p := standIns(t)
	before := p.rules(t)
	for name, widen := range map[string]func(*script.Rule){
		"another id":            func(r *script.Rule) { r.ID = "RemoteDesktop-In" },
		"a wildcard":            func(r *script.Rule) { r.ID = "preflight-*" },
		"an id with a tail":     func(r *script.Rule) { r.ID += "\nx" },
		"a name with a bar":     func(r *script.Rule) { r.Name = "x|RA4=*" },
		"a profile of theirs":   func(r *script.Rule) { r.Profiles = 0 },
		"port 0":                func(r *script.Rule) { r.Ports = []uint16{0} },
		"half of any":           func(r *script.Rule) { r.From = []netip.Prefix{netip.MustParsePrefix("128.0.0.0/1")} },
		"an id with a line end": func(r *script.Rule) { r.ID += "\n" },
	} {
		r := testRule()
		widen(&r)
		adding := script.StartAdd(t.Context(), p)
		out, err := adding.Add(r)
		var said *script.Error
		if !errors.As(err, &said) {
			t.Errorf("%s: Add = %+v, %v; want a refusal", name, out, err)
		}
		adding.Finish()
	}
	removing := script.StartRemove(t.Context(), p)
	if out, err := removing.Remove("RemoteDesktop-In", strings.Split(strings.TrimSpace(before), "\t")[2]); err == nil {
		t.Errorf("removing a foreign rule = %+v; want a refusal", out)
	}
	removing.Finish()
	if after := p.rules(t); after != before {
		t.Errorf("the rules have changed:\n%s", after)
	}
}

func TestPowerShellAddDenied(t *testing.T) {
	t.Parallel()
	p := standIns(t)
	p.put(t, "denied", "")
	adding := script.StartAdd(t.Context(), p)
	_, err := adding.Add(testRule())
	var said *script.Error
	if !errors.As(err, &said) || said.Message == "" {
		t.Fatalf("Add = %v; want the server's own words", err)
	}
	if _, err := adding.Finish(); err != nil {
		t.Errorf("Finish after a failed rule = %v", err)
	}
}

// freePorts finds ports of loopback that nobody uses.
func freePorts(t *testing.T, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, netip.MustParseAddrPort(l.Addr().String()).Port())
	}
	return ports
}

func TestPowerShellProve(t *testing.T) {
	t.Parallel()
	p := powerShell{path: tier.PowerShell(t)}
	ports := freePorts(t, 3)
	ours, closed := ports[0], ports[1]
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Read(make([]byte, 512))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				io.Copy(io.Discard, c)
			}()
		}
	}()
	servicePort := netip.MustParseAddrPort(service.Addr().String()).Port()
	// A watched port whose service has gone since it was read.
	gone := ports[2]
	loopback := netip.MustParseAddr("127.0.0.1")
	limits := script.Limits{Dial: 2 * time.Second, Hold: 500 * time.Millisecond, Least: 600 * time.Millisecond, Most: 10 * time.Second}

	target := script.StartProve(t.Context(), p, script.Side{
		Listens: []script.Listen{{Port: ours, Key: "k", Tokens: []string{"token1"}}, {Port: servicePort, Key: "k", Tokens: []string{"x"}}},
		Watches: []script.Watch{{Port: servicePort, From: []netip.Addr{loopback}}, {Port: gone, From: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}, Limits: limits,
	})
	dialler := script.StartProve(t.Context(), p, script.Side{Limits: limits, Dials: []script.Dial{
		{ID: "ours", Address: loopback, Port: ours, Words: "token", Token: "token1"},
		{ID: "service", Address: loopback, Port: servicePort, Words: "http"},
		{ID: "closed", Address: loopback, Port: closed, Words: "token", Token: "token2", After: 100 * time.Millisecond},
	}})
	for _, side := range []*script.Prover{target, dialler} {
		if err := side.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	target.Go()
	dialler.Go()
	from, to := dialler.Report(), target.Report()
	if from.Lost != "" || to.Lost != "" {
		t.Fatalf("lost: %q %q", from.Lost, to.Lost)
	}
	if !slices.Equal(to.Bound, []uint16{ours}) || to.Busy[servicePort] == 0 {
		t.Errorf("bound %v, busy %v; the service's port is taken", to.Bound, to.Busy)
	}
	q := proof.Question{Token: "token1", Key: "k"}
	if d := from.Dials["ours"]; d.Result != "open" || strings.TrimSpace(string(d.Reply)) != q.Answer() {
		t.Errorf("the dial to our listener = %+v; want its answer with the key", d)
	}
	if h := to.Heard["token1"]; h.From != from.Dials["ours"].From {
		t.Errorf("heard from %v; dialled from %v", h.From, from.Dials["ours"].From)
	}
	d := from.Dials["service"]
	if d.Result != "open" || !strings.HasPrefix(string(d.Reply), "HTTP/1.1 200") || d.Took < limits.Hold {
		t.Errorf("the dial to the service = %+v", d)
	}
	if !slices.ContainsFunc(to.Seen, func(s proof.Seen) bool { return s.From == d.From && s.Port == servicePort }) {
		t.Errorf("seen %v; want the connection from %v", to.Seen, d.From)
	}
	if d := from.Dials["closed"]; d.Result != "failed" || d.Code != 10061 {
		t.Errorf("the dial to a closed port = %+v; want 10061", d)
	}
	if !slices.Equal(to.Gone, []uint16{gone}) {
		t.Errorf("gone: %v; nobody listens on %d", to.Gone, gone)
	}
	if to.Served < limits.Least || to.Served > limits.Most {
		t.Errorf("served %v", to.Served)
	}
}

// TestPowerShellDeadline: a script that is told nothing more ends itself, although it waits for a line.
func TestPowerShellDeadline(t *testing.T) {
	t.Parallel()
	c := script.Start(t.Context(), powerShell{path: tier.PowerShell(t)}, script.ProveOp, time.Second)
	f, err := c.Next()
	if !errors.Is(err, script.ErrEnded) {
		t.Fatalf("Next = %v, %v; want its end", f, err)
	}
}

func TestPowerShellClosedInput(t *testing.T) {
	t.Parallel()
	for _, op := range script.Ops {
		p := standIns(t)
		c := script.Start(t.Context(), p, op, 30*time.Second)
		err := c.Close()
		var said *script.Error
		if err != nil && !errors.As(err, &said) {
			t.Errorf("%s: %v; want a last frame", op.Name, err)
		}
	}
}

// TestPowerShellCancel: a cancelled run ends the process at once.
func TestPowerShellCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := script.Start(ctx, standIns(t), script.AddOp, time.Minute)
	c.Send("add", "x")
	if f, err := c.Next(); err != nil || f.Kind() != "failed" {
		t.Fatalf("Next = %v, %v", f, err)
	}
	cancel()
	if _, err := c.Next(); !errors.Is(err, script.ErrEnded) {
		t.Fatalf("after the cancel: %v; want its end", err)
	}
}
