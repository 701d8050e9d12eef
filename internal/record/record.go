// Package record is what a run saw and did. The record is the fold of the run's events; the journal is those events on
// disk. Everything that is shown or written of a run is a function of its record.
package record

import (
	"fmt"
	"slices"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/site"
)

// SchemaVersion is the version of the record's JSON.
const SchemaVersion = "1"

// Record is a run. The order of the fields is the order of the file.
type Record struct {
	SchemaVersion string           `json:"schema_version"`
	Tool          Tool             `json:"tool"`
	Run           Run              `json:"run"`
	Change        ChangeRequest    `json:"change"`
	Verdict       Verdict          `json:"verdict"`
	Site          site.Site        `json:"site"`
	Servers       []Server         `json:"servers"`
	Plan          Plan             `json:"plan"`
	Changes       []Change         `json:"changes"`
	Proofs        []proof.Proof    `json:"proofs"`
	Findings      []checks.Finding `json:"findings"`
	BackOut       *BackOut         `json:"backout"`
}

// Tool is the program that wrote the record.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Run is one change, from its plan to its close-out, however many commands it takes.
type Run struct {
	ID        string    `json:"id"`
	Simulated bool      `json:"simulated"` // every server that was reached said that it is simulated
	Commands  []Command `json:"commands"`
}

// Command is one invocation of preflight in the run.
type Command struct {
	Name      string     `json:"name"`
	Operator  Operator   `json:"operator"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	ExitCode  *int       `json:"exit_code"`
	Error     string     `json:"error,omitempty"`
}

// Operator is who ran it, from where.
type Operator struct {
	User string `json:"user"`
	Host string `json:"host"`
}

// ChangeRequest ties the run to its ticket and to the approval of its plan.
type ChangeRequest struct {
	Ticket     string    `json:"ticket"`
	PlanSHA256 string    `json:"plan_sha256"`
	Approval   *Approval `json:"approval"`
}

// Approval is how a plan was approved.
type Approval struct {
	How   string    `json:"how"`
	Value string    `json:"value"`
	At    time.Time `json:"at"`
}

// Verdict sums the run up: whether it passed, and whether it was complete.
type Verdict struct {
	Passed   bool   `json:"passed"`
	Complete bool   `json:"complete"`
	ExitCode int    `json:"exit_code"`
	Failed   int    `json:"failed"`
	Warnings int    `json:"warnings"`
	Unknown  int    `json:"unknown"`
	Flows    Flows  `json:"flows"`
	Summary  string `json:"summary"`
}

// Flows counts flows by their latest proof.
type Flows struct {
	Total     int `json:"total"`
	Proven    int `json:"proven"`
	Failed    int `json:"failed"`
	NotTested int `json:"not_tested"`
}

// Server is one server of the site, as far as the run came with it.
type Server struct {
	Name      string        `json:"name"`
	Role      site.Role     `json:"role"`
	Simulated *bool         `json:"simulated"`       // its own word; null if it was not reached
	Phase     facts.Phase   `json:"phase,omitempty"` // of a rim
	SignIn    *SignIn       `json:"sign_in"`
	Failure   *Failure      `json:"failure"`
	Facts     *facts.Server `json:"facts"`
}

// SignIn is how a server was signed in to.
type SignIn struct {
	User       string `json:"user"`
	Auth       string `json:"auth"`
	Transport  string `json:"transport"`
	Protection string `json:"protection"`
	Identity   string `json:"identity"` // verified or pinned
	MS         int64  `json:"ms"`
}

// Failure is why a server could not be used.
type Failure struct {
	Stage string   `json:"stage"`
	Kind  string   `json:"kind"`
	Error string   `json:"error"`
	Hints []string `json:"hints"`
}

// Plan is what was to be done.
type Plan struct {
	Changes []PlannedChange `json:"changes"`
	Already []PlannedRelied `json:"already"`
	Blocked []PlannedVoid   `json:"blocked"`
}

// PlannedChange is one rule to add.
type PlannedChange struct {
	ID         string        `json:"id"`
	Server     string        `json:"server"`
	Action     string        `json:"action"` // add
	Service    string        `json:"service"`
	Ports      []uint16      `json:"ports"`
	From       []string      `json:"from"` // networks, or the word any
	Profiles   rule.Profiles `json:"profiles"`
	Why        []string      `json:"why"`
	PowerShell string        `json:"powershell"`
	Inverse    string        `json:"inverse"`
}

// PlannedRelied is something that is right already, and the rule that makes it so.
type PlannedRelied struct {
	Server  string `json:"server"`
	Service string `json:"service"`
	Port    uint16 `json:"port"`
	From    string `json:"from"`
	By      string `json:"by"` // the rule's id, "" if none decides
	Name    string `json:"name"`
	Store   string `json:"store"`
	Ours    bool   `json:"ours"`
	Rule    string `json:"rule"` // as stored
	Why     string `json:"why"`
}

// PlannedVoid is something that no rule of ours would make right.
type PlannedVoid struct {
	Server  string `json:"server"`
	Service string `json:"service"`
	Port    uint16 `json:"port"`
	From    string `json:"from"`
	By      string `json:"by"`
	Store   string `json:"store"`
	Rule    string `json:"rule"`
	Why     string `json:"why"`
}

// ChangeState is how far a change has come.
type ChangeState string

const (
	Started ChangeState = "started" // intended; its end was not seen
	Done    ChangeState = "applied"
	There   ChangeState = "already_there" // the very rule was there before
	Failed  ChangeState = "failed"        // the server said so; nothing was changed
	InDoubt ChangeState = "in_doubt"      // the server was asked, and its answer was not seen
)

// Change is what became of one planned change.
type Change struct {
	ID        string       `json:"id"`
	Server    string       `json:"server"`
	State     ChangeState  `json:"state"`
	Before    *string      `json:"before"`
	After     *string      `json:"after"`
	InForce   InForceValue `json:"in_force"`
	Error     string       `json:"error,omitempty"`
	StartedAt time.Time    `json:"started_at"`
	EndedAt   *time.Time   `json:"ended_at"`
}

// InForceValue is the firewall's own word on whether a rule is in force.
type InForceValue = facts.Value[bool]

// BackOut is the way back.
type BackOut struct {
	State string   `json:"state"` // ready
	Files []string `json:"files"`
}

// Outcome is why a command broke off.
type Outcome string

const (
	Internal  Outcome = "internal"
	Cancelled Outcome = "cancelled"
	Drift     Outcome = "drift"
)

// Apply folds one event into the record.
func (r *Record) Apply(e Event) {
	switch e := e.(type) {
	case RunStarted:
		*r = Record{
			SchemaVersion: SchemaVersion, Tool: e.Tool, Run: Run{ID: e.RunID, Commands: []Command{}}, Site: e.Site, Servers: []Server{},
			Plan:    Plan{Changes: []PlannedChange{}, Already: []PlannedRelied{}, Blocked: []PlannedVoid{}},
			Changes: []Change{}, Proofs: []proof.Proof{}, Findings: []checks.Finding{},
		}
		for _, n := range e.Site.Nodes {
			r.Servers = append(r.Servers, Server{Name: n.Name, Role: n.Role})
		}
	case CommandStarted:
		r.Run.Commands = append(r.Run.Commands, Command{Name: e.Name, Operator: e.Operator, StartedAt: e.At})
		if e.Ticket != "" {
			r.Change.Ticket = e.Ticket
		}
	case CommandEnded:
		r.Verdict = r.judge(e.Outcome)
		if c := r.command(); c != nil {
			code := r.Verdict.ExitCode
			c.EndedAt, c.ExitCode, c.Error = &e.At, &code, e.Error
		}
		return
	case StageStarted:
	case ServerReached:
		r.server(e.Server).Simulated = &e.Simulated
		r.Run.Simulated = true
		for _, s := range r.Servers {
			r.Run.Simulated = r.Run.Simulated && (s.Simulated == nil || *s.Simulated)
		}
	case ServerConnected:
		s := r.server(e.Server)
		in := e.SignIn
		in.MS = e.MS
		s.SignIn, s.Failure = &in, nil
	case ServerFailed:
		r.server(e.Server).Failure = &Failure{Stage: e.Stage, Kind: e.Kind, Error: e.Error, Hints: e.Hints}
	case ServerInspected:
		s := r.server(e.Server)
		s.Facts = &e.Facts
		if e.Role == site.Rim {
			s.Phase = e.Facts.Phase()
		}
	case Planned:
		r.Plan = Plan{Changes: e.Changes, Already: e.Already, Blocked: e.Blocked}
		r.Change.PlanSHA256 = e.SHA256
	case Approved:
		r.Change.Approval = &Approval{How: e.How, Value: e.Value, At: e.At}
	case BackOutWritten:
		r.BackOut = &BackOut{State: "ready", Files: e.Files}
	case ChangeStarted:
		if c := r.change(e.ID, e.Server); c != nil {
			*c = Change{ID: e.ID, Server: e.Server, State: Started, InForce: notAsked, StartedAt: e.At}
			break
		}
		r.Changes = append(r.Changes, Change{ID: e.ID, Server: e.Server, State: Started, InForce: notAsked, StartedAt: e.At})
		slices.SortStableFunc(r.Changes, func(a, b Change) int { return r.planned(a) - r.planned(b) })
	case ChangeEnded:
		if c := r.change(e.ID, e.Server); c != nil {
			c.State, c.Before, c.After, c.Error, c.EndedAt = e.State, e.Before, e.After, e.Error, &e.At
		}
	case ChangesInForce:
		for i := range r.Changes {
			if c := &r.Changes[i]; c.Server == e.Server && (c.State == Done || c.State == There) {
				c.InForce = e.Live
			}
		}
	case Proved:
		i := slices.IndexFunc(r.Proofs, func(p proof.Proof) bool { return p.ID == e.Proof.ID })
		if i < 0 {
			r.Proofs = append(r.Proofs, e.Proof)
		} else {
			r.Proofs[i] = e.Proof
		}
	case Judged:
		r.Findings = e.Findings
	}
	r.Verdict = r.judge("")
}

var notAsked = facts.Unknown[bool]("not asked yet")

func (r *Record) command() *Command {
	if len(r.Run.Commands) == 0 {
		return nil
	}
	return &r.Run.Commands[len(r.Run.Commands)-1]
}

func (r *Record) server(name string) *Server {
	for i := range r.Servers {
		if r.Servers[i].Name == name {
			return &r.Servers[i]
		}
	}
	r.Servers = append(r.Servers, Server{Name: name})
	return &r.Servers[len(r.Servers)-1]
}

func (r *Record) change(id, server string) *Change {
	for i := range r.Changes {
		if r.Changes[i].ID == id && r.Changes[i].Server == server {
			return &r.Changes[i]
		}
	}
	return nil
}

// planned is where a change stands in the plan.
func (r *Record) planned(c Change) int {
	return slices.IndexFunc(r.Plan.Changes, func(p PlannedChange) bool { return p.ID == c.ID && p.Server == c.Server })
}

// Latest is the latest proof of each flow of the site, in the order of the flows. A flow that was never tried has none.
func (r *Record) Latest() []proof.Proof {
	flows, _ := ports.Flows(r.Site)
	var out []proof.Proof
	for _, f := range flows {
		for _, phase := range slices.Backward(proof.Phases) {
			i := slices.IndexFunc(r.Proofs, func(p proof.Proof) bool { return p.ID == proof.ID(phase, f) })
			if i >= 0 {
				out = append(out, r.Proofs[i])
				break
			}
		}
	}
	return out
}

func (r *Record) judge(o Outcome) Verdict {
	flows, _ := ports.Flows(r.Site)
	v := Verdict{Flows: Flows{Total: len(flows)}}
	for _, p := range r.Latest() {
		switch {
		case p.Verdict.Fails():
			v.Flows.Failed++
		case p.Verdict.Works() && p.Level == facts.Proven:
			v.Flows.Proven++
		}
	}
	v.Flows.NotTested = v.Flows.Total - v.Flows.Proven - v.Flows.Failed
	for _, f := range r.Findings {
		switch f.Verdict {
		case checks.Fail:
			v.Failed++
		case checks.Warn:
			v.Warnings++
		case checks.Unknown:
			v.Unknown++
		}
	}
	v.ExitCode = r.exitCode(o, v)
	v.Complete = v.Flows.NotTested == 0 && v.Unknown == 0 && len(r.Findings) > 0
	v.Passed = v.ExitCode == ExitPassed || v.ExitCode == ExitIncomplete
	v.Summary = fmt.Sprintf("%d of %d flows proven", v.Flows.Proven, v.Flows.Total)
	if v.Flows.Failed > 0 {
		v.Summary += fmt.Sprintf(", %d failed", v.Flows.Failed)
	}
	if v.Flows.NotTested > 0 {
		v.Summary += fmt.Sprintf(", %d not tested", v.Flows.NotTested)
	}
	return v
}

// The exit codes. They are the same for every output format; a code that is not listed here is a failure.
const (
	ExitPassed     = 0   // passed and complete
	ExitInternal   = 1   // preflight itself failed
	ExitUsage      = 2   // the command line or the site file is wrong
	ExitFailed     = 3   // a check failed
	ExitConnect    = 4   // a server could not be reached or signed in to
	ExitIncomplete = 5   // nothing failed, but something was not tested or is not known
	ExitDrift      = 6   // the servers are no longer as the approved plan found them
	ExitPartly     = 7   // some of the changes are in, some are not
	ExitCancelled  = 130 // interrupted
)

// exitCode is the first of design's list that holds: 7 1 2 130 6 4 3 5 0.
func (r *Record) exitCode(o Outcome, v Verdict) int {
	made, open := 0, len(r.Plan.Changes)
	for _, c := range r.Changes {
		switch c.State {
		case Done, There:
			made++
			open--
		case Started, InDoubt:
			made++ // it may be in
		}
	}
	applied := len(r.Changes) > 0
	connected := !slices.ContainsFunc(r.Servers, func(s Server) bool { return s.Failure != nil && s.Failure.Stage == "connect" })
	switch {
	case applied && made > 0 && open > 0:
		return ExitPartly
	case o == Internal:
		return ExitInternal
	case o == Cancelled:
		return ExitCancelled
	case o == Drift:
		return ExitDrift
	case !connected:
		return ExitConnect
	case v.Failed > 0 || v.Flows.Failed > 0:
		return ExitFailed
	case v.Unknown > 0 || v.Flows.NotTested > 0 || len(r.Findings) == 0:
		return ExitIncomplete
	}
	return ExitPassed
}
