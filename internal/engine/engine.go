// Package engine runs the stages of a run: Connect, Inspect, Plan, Apply, Prove, Join, BackOut. It is the only writer of events, and
// turns everything it does and sees into them.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Server is one server that was signed in to.
type Server interface {
	script.Runner
	SignIn() record.SignIn
	Close() error
}

// Identity is what a server says of itself to anybody who asks.
type Identity struct {
	Simulated bool
}

// Connector reaches the servers of a site.
type Connector interface {
	// Look reaches a server without a credential.
	Look(ctx context.Context, n site.Node) (Identity, error)
	// SignIn signs in. An error that is an Explained tells more.
	SignIn(ctx context.Context, n site.Node) (Server, error)
}

// Explained is an error that knows its kind, and what to type on the server against it.
type Explained interface {
	error
	Explain() (kind string, hints []string)
}

// Rejected is the kind of an error that says that the server did not accept the credential.
const Rejected = "rejected"

// Folder takes the files of a run.
type Folder interface {
	WriteFile(name string, data []byte) error
}

// Engine runs the stages on one site. The stages are called one after the other.
type Engine struct {
	Site    site.Site
	Connect Connector
	Folder  Folder
	// Emit records an event: it is on disk, if it has to be, when Emit returns. An error stops the stage.
	Emit func(record.Event) error
	// Now tells the time; tests stop it.
	Now func() time.Time
	// Times are those of proofs and joins; tests shorten them.
	Times Times
	// SiteFile is the site file as the operator named it, "" if there is none.
	SiteFile string
	// Transcripts takes what servers were sent and answered, a file for each script that ran there; nil if nobody wants it.
	// It is used from several goroutines.
	Transcripts Folder

	flows    []ports.Flow
	compared bool                   // the servers' rules were compared with what is wanted, in this command
	again    []record.PlannedChange // what was wanted still before a join
	stages   int                    // that were begun

	unwritten firstError // of the transcripts

	mu      sync.Mutex
	rec     record.Record
	servers map[string]Server
	facts   map[string]facts.Server
}

// Times are those of proofs and joins.
type Times struct {
	Dial   time.Duration // one connection; Windows reports a refusal only after 2 s
	Hold   time.Duration // how long a connection to a service is held, to be seen at the other end
	Margin time.Duration // how much longer a side listens than the last dial can take
	Poll   time.Duration // between two looks at a rim that is being joined
	Join   time.Duration // how long is waited for a rim to run: Qlik-DSC waits 40 times 15 s
}

// WindowsTimes are right for Windows servers on a LAN or a WAN.
var WindowsTimes = Times{Dial: 4 * time.Second, Hold: time.Second, Margin: 2 * time.Second, Poll: 2 * time.Second, Join: 10 * time.Minute}

// New makes an engine for a site whose release is in the catalogue.
func New(s site.Site, c Connector, folder Folder, emit func(record.Event) error) (*Engine, error) {
	flows, err := ports.Flows(s)
	if err != nil {
		return nil, err
	}
	return &Engine{
		Site: s, Connect: c, Folder: folder, Emit: emit, Now: time.Now, Times: WindowsTimes, flows: flows,
		servers: map[string]Server{}, facts: map[string]facts.Server{},
	}, nil
}

// Record is the run so far; what happens later does not change it.
func (e *Engine) Record() record.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec.Clone()
}

// Resume makes an engine that goes on with a run from its record.
func Resume(rec record.Record, c Connector, folder Folder, emit func(record.Event) error) (*Engine, error) {
	e, err := New(rec.Site, c, folder, emit)
	if err == nil {
		e.rec, e.SiteFile = rec, rec.Run.SiteFile
	}
	return e, err
}

// Start begins the run; the engine adds its site and the time.
func (e *Engine) Start(run record.RunStarted) error {
	run.Site, run.At = e.Site, e.now()
	return e.emit(run)
}

// Begin begins a command of the run; the engine adds the time.
func (e *Engine) Begin(c record.CommandStarted) error {
	c.At = e.now()
	return e.emit(c)
}

// End closes the connections, makes the findings and ends the command. broke is the error that broke it off, or nil. If
// the end cannot be written down, the record has it all the same.
func (e *Engine) End(broke error) error {
	e.Close()
	judged := e.judge()
	var outcome record.Outcome
	text := ""
	if broke != nil {
		text = broke.Error()
		switch {
		case errors.Is(broke, ErrStopped):
		case errors.Is(broke, ErrDrift):
			outcome = record.Drift
		case errors.Is(broke, ErrUnconfirmed):
			outcome = record.Misused
		case errors.Is(broke, context.Canceled), errors.Is(broke, context.DeadlineExceeded):
			outcome = record.Cancelled
		default:
			outcome = record.Internal
		}
	}
	end := record.CommandEnded{Outcome: outcome, Error: text, At: e.now()}
	err := errors.Join(judged, e.emit(end))
	if err != nil {
		// What cannot be written down any more is still said.
		end.Outcome = record.Internal
		e.mu.Lock()
		e.rec.Apply(end)
		e.mu.Unlock()
	}
	return err
}

// ErrStopped is what the error of a stage is that could not go on for a reason that stands in the record.
var ErrStopped = errors.New("stopped")

// Close closes the connections to all servers, and waits for the transcripts of what ran there.
func (e *Engine) Close() {
	each(e.servers, func(_ string, s Server) { s.Close() })
	clear(e.servers)
}

func (e *Engine) emit(ev record.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.Emit(ev); err != nil {
		return err
	}
	e.rec.Apply(ev)
	return nil
}

func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Millisecond) }

// stage emits the beginning of a stage.
func (e *Engine) stage(name string) error {
	e.stages++
	return e.emit(record.StageStarted{Stage: name, At: e.now()})
}

// fail emits that a server could not be used. What fails because the command is cancelled is no fault of the server.
func (e *Engine) fail(ctx context.Context, stage, server string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	ev := record.ServerFailed{Server: server, Stage: stage, Kind: "failed", Error: printable.Line(err.Error()), At: e.now()}
	var x Explained
	if errors.As(err, &x) {
		ev.Kind, ev.Hints = x.Explain()
	}
	if ev.Hints == nil {
		ev.Hints = []string{}
	}
	return e.emit(ev)
}

// each does something for every entry of a map at the same time, and waits for all.
func each[V any](m map[string]V, do func(name string, v V)) {
	var wg sync.WaitGroup
	for name, v := range m {
		wg.Go(func() { do(name, v) })
	}
	wg.Wait()
}

// judge evaluates the checks.
func (e *Engine) judge() error {
	return e.emit(record.Judged{Findings: checks.All(e.input()), At: e.now()})
}

// input is what the checks look at.
func (e *Engine) input() checks.Input {
	rec := e.Record()
	in := checks.Input{
		Site: e.Site, SiteFile: e.SiteFile, Servers: e.facts, Planned: e.compared, Proofs: rec.Latest(), Join: joinSteps(rec.Join),
		SignedIn: map[string]bool{}, Failures: map[string]checks.Failure{},
		Lost: map[string][]ports.Flow{}, Missing: map[string][]checks.Missing{}, Blocked: map[string][]checks.Blocked{},
	}
	commands := rec.Run.Commands
	if rec.Change.PlanSHA256 != "" && len(rec.Plan.Unapproved) == 0 && len(commands) > 0 {
		in.Run, in.Digest = cmp.Or(commands[len(commands)-1].Run, rec.Run.ID), rec.Change.PlanSHA256
	}
	routes := e.routes()
	for _, f := range e.flows {
		if _, ok := routes[[2]string{f.From, f.To}]; !ok {
			in.Lost[f.To] = append(in.Lost[f.To], f)
		}
	}
	for _, s := range rec.Servers {
		in.SignedIn[s.Name] = s.SignIn != nil
		if s.Failure != nil {
			f := checks.Failure{Seen: s.Failure.Error}
			if len(s.Failure.Hints) > 0 {
				f.Remedy = s.Failure.Hints[0]
			}
			in.Failures[s.Name] = f
		}
	}
	if e.compared {
		planned(&in, rec)
	}
	for _, c := range e.again {
		in.Missing[c.Server] = append(in.Missing[c.Server], checks.Missing{Ports: c.Ports, From: c.From})
	}
	if rec.BackOut != nil {
		in.TakenBack = takenBack(rec)
	}
	in.BackOut = len(commands) > 0 && commands[len(commands)-1].Name == "backout"
	return in
}

// planned is what the checks look at of a plan and of what became of it.
func planned(in *checks.Input, rec record.Record) {
	for _, p := range rec.Plan.Changes {
		c := find(rec.Changes, p)
		added := facts.Known(c.State == record.Done || c.State == record.There)
		switch c.State {
		case record.NotNeeded:
			continue
		case record.Started, record.InDoubt:
			added = facts.Unknown[bool]("its end was not seen")
		}
		if c.ID != "" && c.State != record.TakenBack {
			in.Applied = append(in.Applied, checks.Applied{Server: p.Server, Ports: p.Ports, Added: added, InForce: c.InForce, Error: c.Error})
		}
		if added.OK() && !added.V && c.State != record.Void {
			in.Missing[p.Server] = append(in.Missing[p.Server], checks.Missing{Ports: p.Ports, From: p.From})
		}
	}
	for _, b := range rec.Plan.Blocked {
		in.Blocked[b.Server] = append(in.Blocked[b.Server], checks.Blocked{
			Port: b.Port, From: b.From, Why: b.Why, By: b.By, Store: b.Store,
			Requested: slices.ContainsFunc(rec.Plan.Requests, func(q record.PlannedRequest) bool {
				return q.Server == b.Server && q.Service == b.Service && q.Store == b.Store && slices.Contains(q.Ports, b.Port)
			}),
		})
	}
}

// takenBack is what the checks look at of a back-out: the last removal of each change.
func takenBack(rec record.Record) []checks.TakenBack {
	var out []checks.TakenBack
	for _, p := range rec.Plan.Changes {
		for _, m := range slices.Backward(rec.BackOut.Removals) {
			if m.ID != p.ID || m.Server != p.Server {
				continue
			}
			t := checks.TakenBack{Server: m.Server, Ports: m.Ports, Why: m.Error, Gone: facts.Known(m.State == record.Removed || m.State == record.Absent)}
			if m.State == record.Removing || m.State == record.Uncertain {
				t.Gone = facts.Unknown[bool]("its end was not seen")
			}
			out = append(out, t)
			break
		}
	}
	return out
}

// stop is an ErrStopped in the words of what stopped the stage.
type stop struct{ error }

func (s stop) Is(target error) bool { return target == ErrStopped }
func (s stop) Unwrap() error        { return s.error }

func stopped(format string, args ...any) error {
	return stop{fmt.Errorf(format, args...)}
}
