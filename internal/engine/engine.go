// Package engine runs the stages of a run: Connect, Inspect, Plan, Apply, Prove. It is the only writer of events, and
// turns everything it does and sees into them.
package engine

import (
	"context"
	"errors"
	"fmt"
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
	// Times are those of a proof; tests shorten them.
	Times Times

	flows []ports.Flow

	mu      sync.Mutex
	rec     record.Record
	servers map[string]Server
	facts   map[string]facts.Server
}

// Times are the times of a proof.
type Times struct {
	Dial   time.Duration // one connection; Windows reports a refusal only after 2 s
	Hold   time.Duration // how long a connection to a service is held, to be seen at the other end
	Margin time.Duration // how much longer a side listens than the last dial can take
}

// WindowsTimes are right for Windows servers on a LAN or a WAN.
var WindowsTimes = Times{Dial: 4 * time.Second, Hold: time.Second, Margin: 2 * time.Second}

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

// Record is the run so far.
func (e *Engine) Record() record.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rec
}

// Start begins the run with its first command.
func (e *Engine) Start(run string, tool record.Tool, command string, by record.Operator, ticket string) error {
	if err := e.emit(record.RunStarted{RunID: run, Tool: tool, Site: e.Site, At: e.now()}); err != nil {
		return err
	}
	return e.emit(record.CommandStarted{Name: command, Operator: by, Ticket: ticket, At: e.now()})
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
		case errors.Is(broke, context.Canceled):
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

// ErrStopped is wrapped by the error of a stage that could not go on for a reason that stands in the record.
var ErrStopped = errors.New("stopped")

// Close closes the connections to all servers.
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
	return e.emit(record.StageStarted{Stage: name, At: e.now()})
}

// fail emits that a server could not be used.
func (e *Engine) fail(stage, server string, err error) error {
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
	rec := e.Record()
	in := checks.Input{
		Site: e.Site, Servers: e.facts, Planned: rec.Change.PlanSHA256 != "", Proofs: rec.Latest(),
		SignedIn: map[string]bool{}, Failures: map[string]checks.Failure{},
		Lost: map[string][]ports.Flow{}, Missing: map[string][]checks.Missing{}, Blocked: map[string][]checks.Blocked{},
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
	state := map[string]record.Change{}
	for _, c := range rec.Changes {
		state[c.ID+" "+c.Server] = c
	}
	for _, p := range rec.Plan.Changes {
		c, tried := state[p.ID+" "+p.Server]
		added := facts.Known(c.State == record.Done || c.State == record.There)
		if c.State == record.Started || c.State == record.InDoubt {
			added = facts.Unknown[bool]("its end was not seen")
		}
		if tried {
			in.Applied = append(in.Applied, checks.Applied{Server: p.Server, Ports: p.Ports, Added: added, InForce: c.InForce, Error: c.Error})
		}
		if added.OK() && !added.V {
			in.Missing[p.Server] = append(in.Missing[p.Server], checks.Missing{Ports: p.Ports, From: p.From})
		}
	}
	for _, b := range rec.Plan.Blocked {
		in.Blocked[b.Server] = append(in.Blocked[b.Server], checks.Blocked{Port: b.Port, From: b.From, Why: b.Why})
	}
	return e.emit(record.Judged{Findings: checks.All(in), At: e.now()})
}

func stopped(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrStopped, fmt.Errorf(format, args...))
}
