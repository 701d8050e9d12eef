package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// bench is a run on simulated servers that are signed in to without WinRM: a central node c and rims r1, r2, … whose
// services are stopped. It keeps its journal in memory and is its own Connector.
type bench struct {
	*Engine
	t      *testing.T
	hosts  map[string]*host.Host
	files  folder
	events []record.Event // of the command that runs

	on     func(record.Event) error                     // sees each event before it is written
	wrap   func(name string, s Server) Server           // changes a server that was signed in to
	reject func(ctx context.Context, n site.Node) error // refuses a sign-in
}

// folder keeps files by name.
type folder map[string]string

func (f folder) WriteFile(name string, data []byte) error {
	f[name] = string(data)
	return nil
}

func newBench(t *testing.T, rims int) *bench {
	t.Helper()
	s := site.Site{Name: "lab", Release: "1.0.2"}
	b := &bench{t: t, hosts: map[string]*host.Host{}, files: folder{}}
	network := host.NewNetwork()
	for i := range rims + 1 {
		n := site.Node{Name: "c", Role: site.Central, Services: []site.Service{site.Repository, site.Proxy, site.Scheduler}}
		if i > 0 {
			n.Name, n.Role = fmt.Sprint("r", i), site.Rim
		}
		n.Host, n.WinRM.User = n.Name, `LAB\admin`
		s.Nodes = append(s.Nodes, n)
		b.hosts[n.Name] = host.New(n.Name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), 24), rule.Domain)
		b.hosts[n.Name].AddRelease("Qlik Sense 1.0.2")
		for _, service := range []string{"Repository", "Proxy", "Scheduler"} {
			b.hosts[n.Name].AddService(host.Service{Name: "QlikSense" + service + "Service", State: "Stopped", Start: "Manual"}, "")
		}
		network.Add(b.hosts[n.Name])
	}
	e, err := New(s, b, b.files, b.write)
	if err != nil {
		t.Fatal(err)
	}
	b.Engine = e
	if err := errors.Join(e.Start(record.RunStarted{RunID: "lab-1"}), e.Begin(record.CommandStarted{Name: "plan"})); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) write(e record.Event) error {
	if b.on != nil {
		if err := b.on(e); err != nil {
			return err
		}
	}
	b.events = append(b.events, e)
	return nil
}

func (b *bench) Look(ctx context.Context, _ site.Node) (Identity, error) {
	return Identity{Simulated: true}, ctx.Err()
}

func (b *bench) SignIn(ctx context.Context, n site.Node) (Server, error) {
	if b.reject != nil {
		if err := b.reject(ctx, n); err != nil {
			return nil, err
		}
	}
	if b.wrap == nil {
		return direct{b.hosts[n.Name]}, ctx.Err()
	}
	return b.wrap(n.Name, direct{b.hosts[n.Name]}), ctx.Err()
}

// direct is a simulated server without WinRM.
type direct struct{ h *host.Host }

func (direct) SignIn() record.SignIn { return record.SignIn{} }
func (direct) Close() error          { return nil }

func (s direct) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := s.h.Run(ctx, command, stdin, stdout, stderr)
		ended <- end{code, err}
	}()
	select {
	case e := <-ended:
		return e.code, e.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// odd is a server that gives other answers: say changes each, and where it returns nil the connection is lost.
type odd struct {
	Server
	say func(script.Frame) script.Frame
}

var errCut = errors.New("the connection was cut")

func (s odd) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &retold{say: s.say, out: stdout, cancel: cancel}
	code, err := s.Server.Run(ctx, command, io.TeeReader(stdin, &r.heard), r, stderr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		return 0, errCut
	}
	return code, err
}

// retold are the answers of an odd server. A simulated server writes a line at a time.
type retold struct {
	heard  strings.Builder // for the key that answers are signed with
	say    func(script.Frame) script.Frame
	out    io.Writer
	cancel func()

	mu  sync.Mutex
	cut bool
}

func (r *retold) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	part := strings.SplitN(string(p), " ", 5)
	if r.cut || len(part) != 5 || part[0] != "#pf" {
		return r.out.Write(p)
	}
	f, err := script.ParseLine(part[4])
	if err != nil {
		return 0, err
	}
	if f = r.say(f); f == nil {
		r.cut = true
		r.cancel()
		r.out = io.Discard
		return len(p), nil
	}
	_, start, _ := strings.Cut(r.heard.String(), "\n"+script.RunLine+"\nstart\t")
	key, _, _ := strings.Cut(start, "\t")
	number := 0
	fmt.Sscan(part[1], &number)
	io.WriteString(r.out, f.Answer(key, number)+"\r\n")
	return len(p), nil
}

// instead makes one server answer the first frame of a kind with another; nil loses the connection there.
func instead(server, kind string, with func(f script.Frame) script.Frame) func(string, Server) Server {
	return func(name string, s Server) Server {
		if name != server {
			return s
		}
		done := false
		return odd{s, func(f script.Frame) script.Frame {
			if f.Kind() != kind || done {
				return f
			}
			done = true
			return with(f)
		}}
	}
}

func lost(script.Frame) script.Frame { return nil }

// plan plans and ends the first command.
func (b *bench) plan() record.Record {
	b.t.Helper()
	ctx := b.t.Context()
	for _, err := range []error{b.ConnectAll(ctx), b.Inspect(ctx), b.Plan()} {
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return b.end(nil)
}

// begin goes on with the run from its record, up to Inspect.
func (b *bench) begin(command string) {
	b.t.Helper()
	b.resume(b.Record(), command)
	ctx := b.t.Context()
	for _, err := range []error{b.ConnectAll(ctx), b.Inspect(ctx)} {
		if err != nil && !errors.Is(err, ErrStopped) {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) resume(rec record.Record, command string) {
	b.t.Helper()
	e, err := Resume(rec, b, b.files, b.write)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Engine, b.events = e, nil
	if err := e.Begin(record.CommandStarted{Name: command}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) end(broke error) record.Record {
	b.t.Helper()
	if err := b.End(broke); err != nil {
		b.t.Fatal(err)
	}
	return b.Record()
}

// apply applies in a command of its own, and backOut takes back.
func (b *bench) apply() (record.Record, error) {
	b.t.Helper()
	b.begin("apply")
	err := b.Apply(b.t.Context(), "digest", "x")
	return b.end(err), err
}

func (b *bench) backOut() (record.Record, error) {
	b.t.Helper()
	b.begin("backout")
	err := b.BackOut(b.t.Context(), false)
	return b.end(err), err
}

// rules are the local rules of all servers.
func (b *bench) rules() map[string]map[string]string {
	all := map[string]map[string]string{}
	for name, h := range b.hosts {
		all[name] = h.Rules("local")
	}
	return all
}

// of is every event of a type of the command that runs.
func of[E record.Event](b *bench) []E {
	var all []E
	for _, e := range b.events {
		if e, ok := e.(E); ok {
			all = append(all, e)
		}
	}
	return all
}

// plannedOn are the planned changes of a server.
func plannedOn(rec record.Record, server string) []record.PlannedChange {
	return slices.DeleteFunc(slices.Clone(rec.Plan.Changes), func(c record.PlannedChange) bool { return c.Server != server })
}

// verdict is what a check says of a server, and what it saw.
func verdict(rec record.Record, check, server string) (checks.Verdict, string) {
	for _, f := range rec.Findings {
		if f.Check == check && f.Server == server {
			return f.Verdict, f.Seen
		}
	}
	return "", ""
}

// storedFor is what a server stores for a planned change.
func storedFor(t *testing.T, c record.PlannedChange) string {
	t.Helper()
	from, err := parse(c.From)
	if err != nil {
		t.Fatal(err)
	}
	return rule.Rule{
		Version: "2.29", Action: rule.Allow, Active: rule.Yes, Dir: "In", Protocol: rule.TCP, Profiles: c.Profiles,
		LocalPorts: rule.PortList(c.Ports...), RemoteAddrs: rule.AddrList(from...), Name: "preflight", Group: script.Group,
	}.String()
}

func disabled(raw string) string { return strings.Replace(raw, "Active=TRUE", "Active=FALSE", 1) }
func widened(raw string) string  { return strings.Replace(raw, "|LPort", "|LPort=8443|LPort", 1) }

// TestSettle: what apply makes of a change, by how far the run had come with it and what is there now. What the run may have
// added stays its own, and what somebody else has put there never becomes the run's.
func TestSettle(t *testing.T) {
	t.Parallel()
	// The outcomes: it is asked for (add), stays in the record as it was (kept), is found to be in and the run's own (done)
	// or not the run's (there), or is not made (void, not needed).
	tried := []record.ChangeState{"", record.Started, record.InDoubt, record.Done, record.There, record.Failed}
	local := func(change func(string) string) func(*host.Host, string, string) {
		return func(h *host.Host, id, raw string) { h.AddRule("local", id, change(raw)) }
	}
	same := func(raw string) string { return raw }
	void := func(h *host.Host, _, _ string) {
		h.Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
	}
	for _, test := range []struct {
		name string
		is   func(h *host.Host, id, raw string)
		want [6]string // by what was tried
	}{
		{"nothing is there", func(*host.Host, string, string) {}, [6]string{"add", "add", "add", "add", "add", "add"}},
		{"the very rule is there", local(same), [6]string{"there", "done", "done", "kept", "kept", "there"}},
		{"it is there, its id in capitals", func(h *host.Host, id, raw string) { h.AddRule("local", strings.ToUpper(id), raw) },
			[6]string{"there", "done", "done", "kept", "kept", "there"}},
		{"it is there and void", func(h *host.Host, id, raw string) { local(same)(h, id, raw); void(h, id, raw) },
			[6]string{"there", "done", "done", "kept", "kept", "there"}},
		{"it was disabled", local(disabled), [6]string{"void", "kept", "kept", "kept", "void", "void"}},
		{"it was widened", local(widened), [6]string{"not needed", "kept", "kept", "kept", "not needed", "not needed"}},
		{"another rule admits the same", func(h *host.Host, _, raw string) { h.AddRule("local", "{1}", raw) },
			[6]string{"not needed", "not needed", "not needed", "not needed", "not needed", "not needed"}},
		{"a policy has a rule of that id", func(h *host.Host, id, raw string) { h.AddRule("policy", id, raw) },
			[6]string{"not needed", "not needed", "not needed", "not needed", "not needed", "not needed"}},
		{"a policy voids it", void, [6]string{"void", "void", "void", "void", "void", "void"}},
	} {
		for i, was := range tried {
			t.Run(fmt.Sprintf("%s, %s", test.name, was), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, 1)
				p := b.plan().Plan.Changes[0]
				raw, old, older := storedFor(t, p), "as it was left", "as it was"
				ended := record.ChangeEnded{ID: p.ID, Server: p.Server, State: was}
				switch was {
				case record.Done:
					ended.After = &old
				case record.There:
					ended.Before, ended.After = &older, &old
				}
				var err error
				if was != "" {
					err = b.emit(record.ChangeStarted{ID: p.ID, Server: p.Server})
				}
				if was != "" && was != record.Started {
					err = errors.Join(err, b.emit(ended))
				}
				if err != nil {
					t.Fatal(err)
				}
				test.is(b.hosts["c"], p.ID, raw)
				before := b.rules()
				rec, err := b.apply()
				if err != nil {
					t.Fatal(err)
				}
				got, after := find(rec.Changes, p), b.rules()["c"][p.ID]
				var want record.ChangeEnded
				switch test.want[i] {
				case "add":
					want.State, want.After = record.Done, &after
				case "kept":
					want = ended
				case "done":
					want.State, want.After = record.Done, &raw
				case "there":
					want.State, want.Before, want.After = record.There, &raw, &raw
				case "void":
					want.State = record.Void
				case "not needed":
					want.State = record.NotNeeded
				}
				if diff := cmp.Diff([]any{want.State, want.Before, want.After}, []any{got.State, got.Before, got.After}); diff != "" {
					t.Errorf("state, before and after (-want +got):\n%s", diff)
				}
				if asked := slices.ContainsFunc(of[record.ChangeStarted](b), func(s record.ChangeStarted) bool { return s.ID == p.ID && s.Server == p.Server }); asked != (test.want[i] == "add") {
					t.Errorf("the server was asked to add it: %v", asked)
				}
				if test.want[i] == "add" {
					before["c"][p.ID] = after
				}
				if wanted, _ := b.ruleOf(p); after != before["c"][p.ID] || test.want[i] == "add" && !sameEffect(after, wanted) {
					t.Errorf("the rule is %q, was %q", after, before["c"][p.ID])
				}
				if (got.State == record.Void) != (got.Error != "") {
					t.Errorf("%s, because of %q", got.State, got.Error)
				}
				if (test.want[i] == "there" || test.want[i] == "done") && !got.InForce.OK() {
					t.Errorf("it is not known to be in force: %s", got.InForce.Unknown)
				}
			})
		}
	}
}

// TestAllInPlace: where every rule of the plan is in place already, nothing is added and no rule becomes the run's; but the
// firewalls are asked whether the rules are in force.
func TestAllInPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	for _, p := range b.plan().Plan.Changes {
		b.hosts[p.Server].AddRule("local", p.ID, storedFor(t, p))
	}
	before := b.rules()
	for range 2 {
		rec, err := b.apply()
		if err != nil {
			t.Fatal(err)
		}
		if n := len(of[record.ChangeStarted](b)); n > 0 || len(of[record.ChangesInForce](b)) != 2 {
			t.Errorf("%d rules asked for, %+v", n, of[record.ChangesInForce](b))
		}
		for _, c := range rec.Changes {
			if c.State != record.There || !c.InForce.V {
				t.Errorf("%+v; want already there, and in force", c)
			}
		}
	}
	if rec, err := b.backOut(); err != nil || len(rec.BackOut.Removals) > 0 {
		t.Errorf("BackOut = %v, %+v", err, rec.BackOut)
	}
	if diff := cmp.Diff(before, b.rules()); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

// TestLateRule: a rule that is there only when the server is asked is the run's own if the run had tried to add it before,
// and somebody else's if not. The back-out takes the first and leaves the second.
func TestLateRule(t *testing.T) {
	t.Parallel()
	for was, want := range map[record.ChangeState]record.ChangeState{
		"": record.There, record.Started: record.Done, record.InDoubt: record.Done, record.Failed: record.There, record.NotNeeded: record.There,
	} {
		t.Run(string(was), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1)
			p := b.plan().Plan.Changes[0]
			raw := storedFor(t, p)
			if was != "" {
				b.emit(record.ChangeStarted{ID: p.ID, Server: p.Server})
			}
			if was != "" && was != record.Started {
				b.emit(record.ChangeEnded{ID: p.ID, Server: p.Server, State: was})
			}
			b.on = func(e record.Event) error {
				if s, ok := e.(record.ChangeStarted); ok && s.ID == p.ID && s.Server == p.Server {
					b.hosts["c"].AddRule("local", p.ID, raw)
				}
				return nil
			}
			rec, err := b.apply()
			if err != nil {
				t.Fatal(err)
			}
			if c := find(rec.Changes, p); c.State != want || (c.Before != nil) != (want == record.There) || c.After == nil || *c.After != raw {
				t.Errorf("%+v; want %s", c, want)
			}
			if _, err := b.backOut(); err != nil {
				t.Fatal(err)
			}
			if _, there := b.rules()["c"][p.ID]; there != (want == record.There) {
				t.Errorf("after the back-out it is there: %v", there)
			}
		})
	}
}

// TestReadable: nothing is added, and nothing is said of any change, where a server of the plan could not be read again.
func TestReadable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		is   func(facts map[string]facts.Server)
		says string
	}{
		{"rules could not be read", func(all map[string]facts.Server) {
			f := all["c"]
			f.Firewall.Unknown = []string{"rules-policy: access is denied"}
			all["c"] = f
		}, "the rules of c could not be read again: rules-policy: access is denied"},
		{"a server was not inspected", func(all map[string]facts.Server) { delete(all, "c") }, "c was not inspected"},
		{"a name is not resolved", func(all map[string]facts.Server) {
			f := all["r1"]
			f.Peers = []facts.Peer{{Name: "c", Code: 11001}}
			all["r1"] = f
		}, "how r1 reaches c is not known"},
		{"there is no way", func(all map[string]facts.Server) {
			f := all["c"]
			f.Peers = slices.Clone(f.Peers)
			f.Peers[0].Source = netip.Addr{}
			all["c"] = f
		}, "how c reaches r1 is not known"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1)
			b.plan()
			before := b.rules()
			b.begin("apply")
			test.is(b.facts)
			err := b.Apply(t.Context(), "digest", "x")
			if !errors.Is(err, ErrStopped) || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("Apply = %v; want ErrStopped and %q", err, test.says)
			}
			if n := len(of[record.ChangeStarted](b)) + len(of[record.ChangeEnded](b)); n > 0 || len(b.Record().Changes) > 0 {
				t.Errorf("%d events of changes", n)
			}
			if diff := cmp.Diff(before, b.rules()); diff != "" {
				t.Errorf("rules:\n%s", diff)
			}
		})
	}
}

// TestDriftByServer: a rule that the plan holds for one server is not approved for another, though it has the same id there.
func TestDriftByServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2)
	b.hosts["r2"].AddRule("local", "{1}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Name=all|")
	rec := b.plan()
	if len(plannedOn(rec, "r1")) == 0 || len(plannedOn(rec, "r2")) > 0 {
		t.Fatalf("planned %+v", rec.Plan.Changes)
	}
	b.hosts["r2"].RemoveRule("local", "{1}")
	before := b.rules()
	rec, err := b.apply()
	if !errors.Is(err, ErrDrift) || len(rec.Plan.Unapproved) != len(plannedOn(rec, "r1")) || rec.Plan.Unapproved[0].ID != plannedOn(rec, "r1")[0].ID {
		t.Errorf("Apply = %v; want ErrDrift; %+v", err, rec.Plan.Unapproved)
	}
	if diff := cmp.Diff(before, b.rules()); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

// TestSameOnTwo: a rule that is in place on one server is still added on the other, and each has its own state.
func TestSameOnTwo(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2)
	rec := b.plan()
	one, two := plannedOn(rec, "r1")[0], plannedOn(rec, "r2")[0]
	if one.ID != two.ID {
		t.Fatalf("the rules are not the same: %s %s", one.ID, two.ID)
	}
	raw := storedFor(t, two)
	b.hosts["r2"].AddRule("local", two.ID, raw)
	rec, err := b.apply()
	if a, z := find(rec.Changes, one), find(rec.Changes, two); err != nil || a.State != record.Done || z.State != record.There {
		t.Errorf("Apply = %v: %s on r1, %s on r2; want applied, already there", err, a.State, z.State)
	}
	if slices.ContainsFunc(of[record.ChangeStarted](b), func(s record.ChangeStarted) bool { return s.ID == two.ID && s.Server == "r2" }) {
		t.Error("r2 was asked to add what is there")
	}
	if _, err := b.backOut(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]map[string]string{"c": {}, "r1": {}, "r2": {two.ID: raw}}, b.rules()); diff != "" {
		t.Errorf("after the back-out:\n%s", diff)
	}
}

// TestVoidOnOther: what a policy voids on one server does not make it void on another.
func TestVoidOnOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	b.plan()
	b.hosts["c"].AddRule("local", "{1}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Name=all|")
	b.hosts["r1"].Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
	rec, err := b.apply()
	for _, c := range rec.Changes {
		if want := map[string]record.ChangeState{"c": record.NotNeeded, "r1": record.Void}[c.Server]; c.State != want {
			t.Errorf("%s on %s; want %s", c.State, c.Server, want)
		}
	}
	if err != nil || len(rec.Changes) != len(rec.Plan.Changes) {
		t.Errorf("Apply = %v, %d changes", err, len(rec.Changes))
	}
}

// TestPlannedAgain: what is added is what planning again gives, whatever the record says of the plan.
func TestPlannedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	rec := b.plan()
	p := rec.Plan.Changes[0]
	rec.Plan.Changes = slices.Clone(rec.Plan.Changes)
	rec.Plan.Changes[0].Ports, rec.Plan.Changes[0].From, rec.Plan.Changes[0].Profiles = []uint16{3389}, []string{"any"}, rule.AllProfiles
	b.rec = rec
	if _, err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if wanted, _ := b.ruleOf(p); !sameEffect(b.rules()["c"][p.ID], wanted) {
		t.Errorf("added %q", b.rules()["c"][p.ID])
	}
	for _, s := range of[record.ChangeStarted](b) {
		if s.ID == p.ID && !slices.Equal(s.Ports, p.Ports) {
			t.Errorf("the intent is for %v; want %v", s.Ports, p.Ports)
		}
	}
}

// TestServerSays: what a server answers decides what a change has become. After an end that is not a rule that is in, the
// rules after it are not tried there, and those of another server are.
func TestServerSays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		wrap    func(b *bench) func(string, Server) Server
		first   record.ChangeState
		error   string
		broke   bool // whether it ends there
		exit    int
		verdict checks.Verdict // of firewall.rule-in-force
		seen    string
	}{
		{"failed", func(b *bench) func(string, Server) Server {
			return instead("c", "added", func(f script.Frame) script.Frame {
				b.hosts["c"].RemoveRule("local", f.Field(1))
				return script.Frame{"failed", f.Field(1), "System.UnauthorizedAccessException", "80070005", "PermissionDenied", "Access is denied"}
			})
		}, record.Failed, "Access is denied", true, record.ExitPartly, checks.Fail, "Access is denied"},
		{"in doubt", func(b *bench) func(string, Server) Server {
			return instead("c", "added", func(f script.Frame) script.Frame {
				return script.Frame{"doubt", f.Field(1), "System.Exception", "80070005", "NotSpecified", "reading it back failed"}
			})
		}, record.InDoubt, "may be there all the same", true, record.ExitPartly, checks.Unknown, "reading it back failed"},
		{"another kind of answer", func(*bench) func(string, Server) Server {
			return instead("c", "added", func(f script.Frame) script.Frame { return script.Frame{"perhaps", f.Field(1), f.Field(2)} })
		}, record.InDoubt, "an answer of an unknown kind: perhaps", true, record.ExitPartly, checks.Unknown, "perhaps"},
		{"an answer about another rule", func(*bench) func(string, Server) Server {
			return instead("c", "added", func(f script.Frame) script.Frame { return script.Frame{"added", "preflight-0", f.Field(2)} })
		}, record.InDoubt, "another rule: preflight-0", true, record.ExitPartly, checks.Unknown, "preflight-0"},
		{"the script failed", func(*bench) func(string, Server) Server {
			return instead("c", "added", func(script.Frame) script.Frame {
				return script.Frame{"end", "error", "System.Exception", "80131500", "NotSpecified", "time is up"}
			})
		}, record.InDoubt, "time is up", true, record.ExitPartly, checks.Unknown, "time is up"},
		{"the script ended", func(*bench) func(string, Server) Server {
			return instead("c", "added", func(script.Frame) script.Frame { return script.Frame{"end", "ok"} })
		}, record.InDoubt, "without its last frame", true, record.ExitPartly, checks.Unknown, "in doubt"},
		{"something else was stored", func(b *bench) func(string, Server) Server {
			return instead("c", "added", func(f script.Frame) script.Frame {
				b.hosts["c"].AddRule("local", f.Field(1), widened(f.Field(2)))
				return script.Frame{"added", f.Field(1), widened(f.Field(2))}
			})
		}, record.Done, "something else", false, record.ExitFailed, checks.Fail, "something else"},
		{"whether it is in force is not known", func(*bench) func(string, Server) Server {
			return instead("c", "group", func(script.Frame) script.Frame {
				return script.Frame{"unknown", "group", "System.Exception", "80131500", "NotSpecified", "COM failed"}
			})
		}, record.Done, "", false, record.ExitIncomplete, checks.Unknown, "COM failed"},
		{"the connection was lost at the end", func(*bench) func(string, Server) Server { return instead("c", "group", lost) },
			record.Done, "", false, record.ExitIncomplete, checks.Unknown, errCut.Error()},
		{"it is not in force", func(*bench) func(string, Server) Server {
			return instead("c", "group", func(script.Frame) script.Frame { return script.Frame{"group", "0"} })
		}, record.Done, "", false, record.ExitFailed, checks.Fail, "not in force"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1)
			b.plan()
			b.wrap = test.wrap(b)
			rec, err := b.apply()
			if errors.Is(err, ErrStopped) != test.broke || !test.broke && err != nil {
				t.Errorf("Apply = %v; want ErrStopped: %v", err, test.broke)
			}
			for i, p := range plannedOn(rec, "c") {
				c := find(rec.Changes, p)
				stored, there := b.rules()["c"][p.ID]
				switch {
				case i == 0 && (c.State != test.first || !strings.Contains(c.Error, test.error) || (c.Error == "") != (test.error == "")):
					t.Errorf("%+v; want %s, %q", c, test.first, test.error)
				case i > 0 && test.broke && (c.ID != "" || there):
					t.Errorf("%+v was tried", c)
				case i > 0 && !test.broke && c.State != record.Done:
					t.Errorf("%+v; want it applied", c)
				}
				if (c.After != nil) != (c.State == record.Done) || c.After != nil && *c.After != stored {
					t.Errorf("after is %v; the server has %q", c.After, stored)
				}
			}
			for _, p := range plannedOn(rec, "r1") {
				if c := find(rec.Changes, p); c.State != record.Done || !c.InForce.V {
					t.Errorf("on the other server: %+v", c)
				}
			}
			if v, seen := verdict(rec, "firewall.rule-in-force", "c"); v != test.verdict || !strings.Contains(seen, test.seen) {
				t.Errorf("finding %s %q; want %s %q", v, seen, test.verdict, test.seen)
			}
			if rec.Verdict.ExitCode != test.exit {
				t.Errorf("exit code %d, want %d", rec.Verdict.ExitCode, test.exit)
			}
		})
	}
}

// TestApplyWritesWayBack: before the first rule is added the way back stands there and names every rule, whoever has
// removed it meanwhile, and it is said once that it does; afterwards it tells what each rule has to be like.
func TestApplyWritesWayBack(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		b := newBench(t, 1)
		rec := b.plan()
		if !told {
			b.rec.BackOut = nil
		}
		clear(b.files)
		var first folder
		b.on = func(e record.Event) error {
			if _, ok := e.(record.ChangeStarted); ok && first == nil {
				first = maps.Clone(b.files)
			}
			return nil
		}
		after, err := b.apply()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range rec.Plan.Changes {
			name := "backout/" + p.Server + ".ps1"
			if !strings.Contains(first[name], p.Inverse) {
				t.Errorf("at the first intent %s holds\n%s", name, first[name])
			}
			if c := find(after.Changes, p); !strings.Contains(b.files[name], "'"+p.ID+"' -ceq '"+*c.After+"'") {
				t.Errorf("at the end %s does not know %s:\n%s", name, p.ID, b.files[name])
			}
		}
		written := of[record.BackOutWritten](b)
		if (len(written) == 1) == told || len(after.BackOut.Files) != 2 {
			t.Errorf("said: %+v; known: %+v", written, after.BackOut)
		}
	}
}

// TestWayBackOfAgain: what is about to be added again is in the way back, whatever became of it before.
func TestWayBackOfAgain(t *testing.T) {
	t.Parallel()
	for _, was := range []record.ChangeState{record.Done, record.There, record.Failed, record.NotNeeded, record.Void, record.TakenBack, record.InDoubt} {
		b := newBench(t, 1)
		p := plannedOn(b.plan(), "r1")[0]
		old := "as it was left"
		if err := b.emit(record.ChangeEnded{ID: p.ID, Server: p.Server, State: was, After: &old}); err != nil {
			t.Fatal(err)
		}
		first := ""
		b.on = func(e record.Event) error {
			if s, ok := e.(record.ChangeStarted); ok && s.ID == p.ID && s.Server == p.Server {
				first = b.files["backout/r1.ps1"]
			}
			return nil
		}
		if _, err := b.apply(); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.Split(first, "\r\n"), p.Inverse) {
			t.Errorf("it was %s: at the intent the way back is\n%s", was, first)
		}
	}
}

// TestLearn: what apply has added is known without another look, so that a proof that follows is judged by it.
func TestLearn(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	n := len(b.plan().Plan.Changes)
	if _, err := b.apply(); err != nil {
		t.Fatal(err)
	}
	if now := b.wanted(); n == 0 || len(now.Changes) > 0 || len(now.Already) != len(b.flows) {
		t.Errorf("%d rules are still wanted, %d flows of %d admitted", len(now.Changes), len(now.Already), len(b.flows))
	}
}

// TestCancelApply: a cancelled apply asks for no further rule, and its exit code says whether rules are in.
func TestCancelApply(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		at      func(record.Event) (server string, ok bool)
		intents int // on that server
		exit    int
	}{
		{"before the first intent", func(e record.Event) (string, bool) { _, ok := e.(record.Approved); return "c", ok }, 0, record.ExitCancelled},
		{"after the first rule", func(e record.Event) (string, bool) { end, ok := e.(record.ChangeEnded); return end.Server, ok }, 1, record.ExitPartly},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1)
			b.plan()
			b.begin("apply")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cancelled := ""
			b.on = func(e record.Event) error {
				if server, ok := test.at(e); ok && cancelled == "" {
					cancelled = server
					cancel()
				}
				return nil
			}
			err := b.Apply(ctx, "digest", "x")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Apply = %v; want context.Canceled", err)
			}
			intents := 0
			for _, s := range of[record.ChangeStarted](b) {
				if s.Server == cancelled {
					intents++
				}
			}
			if rec := b.end(err); intents != test.intents || rec.Verdict.ExitCode != test.exit {
				t.Errorf("%d intents, exit code %d; want %d, %d", intents, rec.Verdict.ExitCode, test.intents, test.exit)
			}
		})
	}
}

// TestCancelLooking: what fails because the command was cancelled is no fault of a server.
func TestCancelLooking(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		at    func(record.Event) bool
		tries bool // whether a sign-in may be tried after it: those to the other servers are under way
	}{
		{"before a server is reached", func(e record.Event) bool { s, ok := e.(record.StageStarted); return ok && s.Stage == "connect" }, false},
		{"when all are reached", func(e record.Event) bool { s, ok := e.(record.ServerReached); return ok && s.Server != "" }, false},
		{"after the first sign-in", func(e record.Event) bool { _, ok := e.(record.ServerConnected); return ok }, true},
		{"in inspect", func(e record.Event) bool { s, ok := e.(record.StageStarted); return ok && s.Stage == "inspect" }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 2)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.on = func(e record.Event) error {
				if test.at(e) {
					cancel()
				}
				return nil
			}
			b.reject = func(ctx context.Context, n site.Node) error {
				if ctx.Err() != nil && !test.tries {
					t.Errorf("a sign-in on %s was tried after the command was cancelled", n.Name)
				}
				return nil
			}
			err := b.ConnectAll(ctx)
			if err == nil {
				err = b.Inspect(ctx)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v; want context.Canceled", err)
			}
			if rec := b.end(err); len(of[record.ServerFailed](b)) > 0 || rec.Verdict.ExitCode != record.ExitCancelled {
				t.Errorf("exit code %d, %+v", rec.Verdict.ExitCode, of[record.ServerFailed](b))
			}
		})
	}
}

// TestSignIns: a credential that was rejected is not tried again, however its user is written; one that could not be tried
// is; and once something cannot be written down, nobody is signed in any more.
func TestSignIns(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	rejected := func(context.Context, site.Node) error { return &explained{errors.New("no"), Rejected, nil} }
	refused := func(context.Context, site.Node) error { return errors.New("refused") }
	for _, test := range []struct {
		name   string
		users  [3]string
		reject func(context.Context, site.Node) error
		full   func(record.Event) bool
		tries  int
		failed int
	}{
		{name: "accepted", users: [3]string{"a", "a", "a"}, tries: 3},
		{name: "accepted by the first alone", users: [3]string{"a", "a", "a"}, tries: 3, failed: 2, reject: func(ctx context.Context, n site.Node) error {
			if n.Name == "c" {
				return nil
			}
			return rejected(ctx, n)
		}},
		{name: "one user, written in two ways", users: [3]string{`LAB\Admin`, `lab\admin`, `LAB\admin`}, reject: rejected, tries: 1, failed: 3},
		{name: "two users", users: [3]string{`LAB\Admin`, `LAB\other`, `lab\admin`}, reject: rejected, tries: 2, failed: 3},
		{name: "it was not tried", users: [3]string{"a", "A", "a"}, reject: refused, tries: 3, failed: 3},
		{name: "reaching cannot be written", users: [3]string{"a", "a", "b"}, full: func(e record.Event) bool { _, ok := e.(record.ServerReached); return ok }},
		{name: "signing in cannot be written", users: [3]string{"a", "a", "b"}, full: func(e record.Event) bool { _, ok := e.(record.ServerConnected); return ok }, tries: 1},
		{name: "a failure cannot be written", users: [3]string{"a", "a", "b"}, reject: refused, full: func(e record.Event) bool { _, ok := e.(record.ServerFailed); return ok }, tries: 1},
		{name: "a rejection cannot be written", users: [3]string{"a", "a", "b"}, reject: rejected, full: func(e record.Event) bool { _, ok := e.(record.ServerFailed); return ok }, tries: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 2)
			for i, user := range test.users {
				b.Site.Nodes[i].WinRM.User = user
			}
			var mu sync.Mutex
			tries := 0
			b.reject = func(ctx context.Context, n site.Node) error {
				mu.Lock()
				defer mu.Unlock()
				tries++
				if test.reject == nil {
					return nil
				}
				return test.reject(ctx, n)
			}
			b.on = func(e record.Event) error {
				if test.full != nil && test.full(e) {
					return full
				}
				return nil
			}
			err := b.ConnectAll(t.Context())
			switch {
			case test.full != nil && !errors.Is(err, full), test.full == nil && test.reject != nil && !errors.Is(err, ErrStopped), test.full == nil && test.reject == nil && err != nil:
				t.Errorf("ConnectAll = %v", err)
			}
			if tries != test.tries {
				t.Errorf("%d sign-ins, want %d", tries, test.tries)
			}
			if failed := of[record.ServerFailed](b); len(failed) != test.failed {
				t.Errorf("failures: %+v; want %d", failed, test.failed)
			}
		})
	}
}
