package host

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/script"
)

// Run answers a command as the server's shell would. It knows the probe and the bootstrap; behind the bootstrap it
// answers preflight's own scripts by what they are, known by their exact text. Any other command or script is an error
// of the simulation, said on stderr.
func (h *Host) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	switch command {
	case script.ProbeCommand:
		fmt.Fprintf(stdout, "#pf-probe FullLanguage 5.1.17763.1\r\n")
		return 0, nil
	case script.Command:
	default:
		fmt.Fprintf(stderr, "the lab runs preflight's own commands only\r\n")
		return 1, nil
	}
	// The script waits for its lines, but not beyond its deadline, even if whoever started it has gone without a word.
	lines, write := io.Pipe()
	go func() {
		_, err := io.Copy(write, stdin)
		write.CloseWithError(err)
	}()
	in := bufio.NewReader(lines)
	text, err := scriptText(in)
	if err != nil {
		return 1, err
	}
	i := slices.IndexFunc(script.Ops, func(op script.Op) bool { return strings.TrimRight(op.Text, "\n") == strings.TrimRight(text, "\n") })
	if i < 0 {
		fmt.Fprintf(stderr, "the lab answers preflight's own scripts only\r\n")
		return 1, nil
	}
	if err := wait(ctx, h.ToBegin); err != nil {
		return 1, err
	}
	t := &talk{in: in, out: stdout}
	start, err := t.read()
	if err != nil || start.Kind() != "start" {
		return 1, err
	}
	t.key = start.Field(1)
	seconds, err := strconv.Atoi(start.Field(2))
	if err != nil {
		return 1, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() { write.CloseWithError(errors.New("the script's deadline is over")) })()
	do := map[string]func(context.Context, *talk) error{
		script.InspectOp.Name: h.inspect, script.AddOp.Name: h.add, script.RemoveOp.Name: h.remove, script.ProveOp.Name: h.prove, script.SetupOp.Name: h.setup,
	}[script.Ops[i].Name]
	if err := do(ctx, t); err != nil {
		t.send("end", "error", "System.Exception", "80131500", "NotSpecified", err.Error())
	} else {
		t.send("end", "ok")
	}
	// Like PowerShell's console, the process outlives its script until its input ends.
	_, err = io.Copy(io.Discard, in)
	return 0, err
}

func scriptText(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("the script did not arrive: %w", err)
		}
		if strings.TrimRight(line, "\r\n") == script.RunLine {
			return text.String(), nil
		}
		text.WriteString(line)
	}
}

// talk is a script's conversation, seen from the server.
type talk struct {
	in  *bufio.Reader
	key string

	mu   sync.Mutex
	out  io.Writer
	sent int
}

// read is the next line from the client; the end of input reads as "end".
func (t *talk) read() (script.Frame, error) {
	line, err := t.in.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return script.Frame{"end"}, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return script.ParseLine(line)
}

func (t *talk) send(fields ...any) {
	f := script.Frame{}
	for _, v := range fields {
		f = append(f, fmt.Sprint(v))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	io.WriteString(t.out, f.Answer(t.key, t.sent)+"\r\n")
	t.sent++
}

func netstatRow(loopback bool, port uint16, pid int) string {
	address := "0.0.0.0"
	if loopback {
		address = "127.0.0.1"
	}
	return fmt.Sprintf("TCP    %-22s 0.0.0.0:0              LISTENING       %d", fmt.Sprintf("%s:%d", address, port), pid)
}

func (h *Host) inspect(ctx context.Context, t *talk) error {
	var peers []script.Frame
	askState := false
	for {
		f, err := t.read()
		if err != nil {
			return err
		}
		if f.Kind() == "peer" {
			peers = append(peers, f)
		} else if f.Kind() == "state" {
			askState = true
		} else {
			break
		}
	}
	t.send("system", strings.ToUpper(h.Name), "10.0.17763.0", "5.1.17763.1", "en-US", 3*24*3600)
	t.send("read", "system")
	t.send("address", 4, "Ethernet", h.Address.Addr(), h.Address.Bits())
	t.send("read", "addresses")
	t.send("network", 4, map[rule.Profile]int{rule.Public: 0, rule.Private: 1, rule.Domain: 2}[h.Profile], "corp.example")
	t.send("read", "networks")
	for _, store := range []string{"local", "policy", "mdm"} {
		for _, r := range h.sortedRules(store) {
			t.send("rule", store, r[0], r[1])
		}
		t.send("read", "rules-"+store)
	}
	h.mu.Lock()
	for _, s := range h.settings {
		t.send("setting", s.Store, s.Profile, s.Name, s.Value)
	}
	t.send("read", "settings")
	t.send("active", int(h.Profile), h.modify())
	for _, p := range []rule.Profile{rule.Domain, rule.Private, rule.Public} {
		t.send("live", int(p), bit(h.enabled(p)), bit(h.shielded(p)), bit(h.open(p)))
	}
	t.send("read", "live")
	h.mu.Unlock()
	for _, row := range h.rows() {
		t.send("listener", row)
	}
	h.mu.Lock()
	for pid, name := range h.owners {
		t.send("process", pid, name)
	}
	t.send("read", "listeners")
	for _, s := range h.services {
		t.send("service", s.Name, s.State, s.Start, s.PID, s.Path)
	}
	t.send("read", "services")
	for _, r := range h.releases {
		t.send("release", r, "")
	}
	t.send("read", "releases")
	for _, c := range h.certificates {
		t.send("certificate", c.Store, c.Subject, c.Issuer, c.Thumbprint, c.NotAfter.UTC().Format(time.RFC3339))
	}
	t.send("read", "certificates")
	h.mu.Unlock()
	if askState {
		if h.sendState(ctx, t, "unknown") {
			t.send("read", "state")
		}
	}
	for _, p := range peers {
		if a, ok := h.network.resolve(p.Field(2)); ok {
			t.send("peer", p.Field(1), a, h.Address.Addr(), 0)
		} else {
			t.send("peer", p.Field(1), "", "", wsahostnotfound)
		}
	}
	t.send("read", "peers")
	t.send("clock", time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z07:00"))
	return nil
}

// setupPort is where the repository service of a rim tells its state, unlockPort where it takes the one-time password.
const (
	setupPort  = 4444
	unlockPort = 4570
)

// sendState asks the repository service on this server for its state, over the real socket, and sends it; or, if that
// fails, why, as a frame of another kind.
func (h *Host) sendState(ctx context.Context, t *talk, failure string) bool {
	status, text, err := h.ask(ctx, 5*time.Second, setupPort, "/status/servicestate", nil)
	if err != nil {
		t.sendWebException(failure, "state", err)
		return false
	}
	t.send("state", status, text)
	return true
}

// sendWebException sends that an HTTP exchange failed, as .NET words it.
func (t *talk) sendWebException(kind, what string, err error) {
	message := "The underlying connection was closed: " + err.Error()
	if errors.Is(err, errNobody) {
		message = "Unable to connect to the remote server"
	}
	t.send(kind, what, "System.Net.WebException", "80131509", "NotSpecified", message)
}

// setup speaks with this server's repository service.
func (h *Host) setup(ctx context.Context, t *talk) error {
	for {
		f, err := t.read()
		if err != nil {
			return err
		}
		switch f.Kind() {
		case "end":
			return nil
		case "state":
			h.sendState(ctx, t, "failed")
		case "ports":
			h.mu.Lock()
			ports := slices.Sorted(maps.Keys(h.listeners))
			h.mu.Unlock()
			t.send("ports", strings.Trim(fmt.Sprint(ports), "[]"))
		case "unlock":
			if _, err := t.in.Peek(1); errors.Is(err, io.EOF) {
				t.send("failed", "unlock", "System.Management.Automation.RuntimeException", "80131501", "OperationStopped", "no password came")
				continue
			}
			password, err := t.read()
			if err != nil {
				return err
			}
			status, text, err := h.ask(ctx, time.Minute, unlockPort, "/certificateSetup", url.Values{"__pwd": {password.Field(0)}})
			if err != nil {
				t.sendWebException("failed", "unlock", err)
				continue
			}
			t.send("unlock", status, text)
		default:
			t.send("failed", "unknown", "System.Management.Automation.RuntimeException", "80131501", "OperationStopped", "not something that setup does")
		}
	}
}

func (h *Host) add(ctx context.Context, t *talk) error {
	for {
		f, err := t.read()
		if err != nil {
			return err
		}
		if f.Kind() != "add" {
			break
		}
		r, err := script.ParseRule(f)
		if err != nil {
			t.send("failed", f.Field(1), "System.Exception", "80131500", "NotSpecified", err.Error())
			continue
		}
		if err := wait(ctx, h.ToAdd); err != nil {
			return err
		}
		h.mu.Lock()
		there, exists := h.rules["local"][r.ID]
		if !exists {
			h.rules["local"][r.ID] = stored(r)
		}
		added := h.rules["local"][r.ID]
		h.mu.Unlock()
		if exists {
			t.send("exists", r.ID, there)
		} else {
			t.send("added", r.ID, added)
		}
	}
	h.mu.Lock()
	// INetFwPolicy2's IsRuleGroupCurrentlyEnabled takes policies and the state of the firewall into account.
	live := h.enabled(h.Profile) && !h.shielded(h.Profile) &&
		slices.ContainsFunc(h.inForce(), func(r rule.Rule) bool { return r.Group == script.Group })
	h.mu.Unlock()
	t.send("group", bit(live))
	return nil
}

// stored is a rule as Windows Server 2019 stores what New-NetFirewallRule adds: ports and sources one by one, subnets
// by their mask (MS-GPFAS 2.2.2).
func stored(r script.Rule) string {
	var b strings.Builder
	b.WriteString("v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6")
	for _, p := range []rule.Profile{rule.Domain, rule.Private, rule.Public} {
		if r.Profiles.Has(p) && r.Profiles != rule.Profiles(rule.Domain|rule.Private|rule.Public) {
			fmt.Fprintf(&b, "|Profile=%s", map[rule.Profile]string{rule.Domain: "Domain", rule.Private: "Private", rule.Public: "Public"}[p])
		}
	}
	for _, p := range r.Ports {
		fmt.Fprintf(&b, "|LPort=%d", p)
	}
	for _, p := range r.From {
		switch {
		case p.Bits() == 0:
		case p.Addr().Is6():
			fmt.Fprintf(&b, "|RA6=%s", p)
		case p.IsSingleIP():
			fmt.Fprintf(&b, "|RA4=%s", p.Addr())
		default:
			fmt.Fprintf(&b, "|RA4=%s/%s", p.Addr(), net.IP(net.CIDRMask(p.Bits(), 32)))
		}
	}
	fmt.Fprintf(&b, "|Name=%s|Desc=%s|EmbedCtxt=%s|", r.Name, r.Description, script.Group)
	return b.String()
}

func (h *Host) remove(_ context.Context, t *talk) error {
	for {
		f, err := t.read()
		if err != nil {
			return err
		}
		if f.Kind() != "remove" {
			return nil
		}
		id := f.Field(1)
		h.mu.Lock()
		there, exists := h.rules["local"][id]
		same := exists && there == f.Field(2)
		if same && strings.HasPrefix(id, "preflight-") {
			delete(h.rules["local"], id)
		}
		h.mu.Unlock()
		switch {
		case !strings.HasPrefix(id, "preflight-"):
			t.send("failed", id, "System.Exception", "80131500", "NotSpecified", "not an id of preflight: "+id)
		case !exists:
			t.send("absent", id)
		case !same:
			t.send("differs", id, there)
		default:
			t.send("removed", id)
		}
	}
}

// ownPID is the process that runs the scripts.
const ownPID = 7000

func (h *Host) prove(ctx context.Context, t *talk) error {
	side, err := script.ParseSide(t.read)
	if err != nil {
		return err
	}
	p := &proving{h: h, t: t, missing: map[string]bool{}, met: make(chan struct{}, 1)}
	defer p.close()
	for _, l := range side.Listens {
		ln, err := h.Listen(l.Port, ownPID)
		if err != nil {
			t.send("busy", l.Port, wsaeaddrinuse)
			continue
		}
		p.listeners = append(p.listeners, ln)
		for _, token := range l.Tokens {
			p.expect("token " + token)
		}
		p.wg.Go(func() { p.serve(ln, l) })
		t.send("bound", l.Port)
	}
	p.looked = len(h.network.after(0))
	for _, w := range side.Watches {
		for _, from := range w.From {
			p.expect(fmt.Sprintf("watch %d %s", w.Port, from))
		}
	}
	t.send("ready")
	f, err := t.read()
	if err != nil {
		return err
	}
	if f.Kind() != "go" {
		return errors.New("told to stop before go")
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(side.Limits.Most))
	defer cancel()
	for _, d := range side.Dials {
		p.expect("dial " + d.ID)
		p.wg.Go(func() { p.dial(ctx, began, d, side.Limits) })
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		p.look(side.Watches)
		if p.done() && time.Since(began) >= side.Limits.Least {
			break
		}
		select {
		case <-ctx.Done():
		case <-p.met:
			continue
		case <-look.C:
			continue
		}
		break
	}
	p.look(side.Watches)
	t.send("served", time.Since(began).Milliseconds(), 0) // the network forgets no connection, so none was missed
	return nil
}

// proving is one side of a proof under way.
type proving struct {
	h         *Host
	t         *talk
	listeners []net.Listener
	wg        sync.WaitGroup
	looked    int // connections of the network

	mu      sync.Mutex
	missing map[string]bool // what is still expected
	met     chan struct{}
}

func (p *proving) close() {
	for _, l := range p.listeners {
		l.Close()
	}
	p.wg.Wait()
}

func (p *proving) expect(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing[what] = true
}

func (p *proving) meet(what string) {
	p.mu.Lock()
	delete(p.missing, what)
	p.mu.Unlock()
	select {
	case p.met <- struct{}{}:
	default:
	}
}

func (p *proving) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.missing) == 0
}

// serve answers every token with its keyed hash.
func (p *proving) serve(ln net.Listener, l script.Listen) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		from, known := p.h.network.source(c.(*conn).Conn)
		if known {
			p.t.send("accepted", l.Port, from)
		}
		p.wg.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			token, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				return
			}
			token = strings.TrimSpace(token)
			m := hmac.New(sha256.New, []byte(l.Key))
			m.Write([]byte(token))
			fmt.Fprintf(c, "%s\n", base64.StdEncoding.EncodeToString(m.Sum(nil)))
			if known {
				p.t.send("heard", l.Port, token, from, netip.AddrPortFrom(p.h.Address.Addr(), l.Port))
				p.meet("token " + token)
			}
		})
	}
}

// dial tries one connection and says on it what it was told to.
func (p *proving) dial(ctx context.Context, began time.Time, d script.Dial, limits script.Limits) {
	defer p.meet("dial " + d.ID)
	if wait(ctx, d.After) != nil {
		return
	}
	started := time.Now()
	report := func(result string, code int, from netip.AddrPort, reply []byte) {
		local := ""
		if from.IsValid() {
			local = from.String()
		}
		p.t.send("dialled", d.ID, result, code, started.Sub(began).Milliseconds(), time.Since(started).Milliseconds(), local, hex.EncodeToString(reply))
	}
	limit, cancel := context.WithTimeout(ctx, limits.Dial)
	defer cancel()
	c, from, code := p.h.network.dial(limit, p.h, netip.AddrPortFrom(d.Address, d.Port))
	if code != 0 {
		result := "failed"
		if code == wsaetimedout {
			result = "timeout"
		}
		report(result, code, from, nil)
		return
	}
	defer c.Close()
	hold := time.Now().Add(limits.Hold)
	c.SetDeadline(time.Now().Add(limits.Dial))
	switch d.Words {
	case "token":
		fmt.Fprintf(c, "%s\n", d.Token)
	case "tls":
		c.Write(script.Hello())
	case "http":
		fmt.Fprintf(c, "GET /status/servicestate HTTP/1.1\r\nHost: %s:%d\r\n\r\n", d.Address, d.Port)
	}
	if d.Words == "nothing" { // only a service that speaks first would answer
		c.SetReadDeadline(hold)
	}
	reply := make([]byte, 256)
	n, _ := c.Read(reply)
	if d.Words != "token" && wait(ctx, time.Until(hold)) != nil {
		return
	}
	report("open", 0, from, reply[:n])
}

// look reports the expected peers' new connections to the watched ports.
func (p *proving) look(watches []script.Watch) {
	opened := p.h.network.after(p.looked)
	p.looked += len(opened)
	for _, c := range opened {
		for _, w := range watches {
			if c.to == p.h.realPort(w.Port) {
				p.t.send("seen", w.Port, c.from, netip.AddrPortFrom(p.h.Address.Addr(), w.Port))
				p.meet(fmt.Sprintf("watch %d %s", w.Port, c.from.Addr()))
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
