// Package record is what a run saw and did. The record is the fold of the run's events; the journal is those events on
// disk. Everything that is shown or written of a run is a function of its record.
package record

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	Verified      []Compared       `json:"verified"` // what the last verify compared: the flows that had a proof before it
	Findings      []checks.Finding `json:"findings"`
	Join          *Join            `json:"join"`
	BackOut       *BackOut         `json:"backout"`

	before map[string]proof.Proof // by flow: the latest proofs before the command that runs
	places map[string]int         // of proofs among all there can be, by their id; nil before the first
}

// Tool is the program that wrote the record.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Run is one change, from its plan to its close-out, however many commands it takes.
type Run struct {
	ID        string `json:"id"`
	SiteFile  string `json:"site_file"`
	Simulated bool   `json:"simulated"` // every server that was reached said that it is simulated

	CAs      map[string]string `json:"-"` // PEM by the name that the site gives it
	Commands []Command         `json:"commands"`
}

// Command is one invocation of preflight in the run.
type Command struct {
	Name      string     `json:"name"`
	Run       string     `json:"run"`     // the run as this command named it
	Version   string     `json:"version"` // of the tool
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
	Changes    []PlannedChange  `json:"changes"`
	Already    []PlannedRelied  `json:"already"`
	Blocked    []PlannedVoid    `json:"blocked"`
	Requests   []PlannedRequest `json:"requests"`
	Unapproved []PlannedChange  `json:"unapproved"` // what planning again, before apply, wanted and the approved plan does not hold
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
	By      string `json:"by"`    // the rule that stands against it, "" if a setting does
	Store   string `json:"store"` // of that rule or setting
	Rule    string `json:"rule"`
	Why     string `json:"why"`
}

// PlannedRequest is a rule that only whoever owns a policy can add.
type PlannedRequest struct {
	ID         string        `json:"id"`
	Server     string        `json:"server"`
	Store      string        `json:"store"` // policy or mdm
	Service    string        `json:"service"`
	Name       string        `json:"name"`
	Ports      []uint16      `json:"ports"`
	From       []string      `json:"from"`
	Profiles   rule.Profiles `json:"profiles"`
	Why        []string      `json:"why"`
	PowerShell string        `json:"powershell"` // for a Group Policy, whose name has to be filled in
}

// ChangeState is how far a change has come.
type ChangeState string

const (
	Started ChangeState = "started" // intended; its end was not seen
	Done    ChangeState = "applied"
	There   ChangeState = "already_there" // the very rule was there before
	Failed  ChangeState = "failed"        // the server said so; nothing was changed
	InDoubt ChangeState = "in_doubt"      // the server was asked, and its answer was not seen

	NotNeeded ChangeState = "not_needed" // when it came to it, another rule admitted everything it is for
	Void      ChangeState = "void"       // when it came to it, a local rule would have done nothing: none was written
	TakenBack ChangeState = "taken_back"
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

// Join is how rim nodes were taken into the site.
type Join struct {
	Rim string `json:"rim"` // the one that came last
	By  string `json:"by"`  // who did the central node's part of that one: certificate or hand
	// QRS is where the central node's repository service was asked, and Certificate with what, the last time that it was; ""
	// and null if people did that part of every join.
	QRS         string             `json:"qrs"`
	Certificate *ClientCertificate `json:"certificate"`
	Steps       []Step             `json:"steps"` // of every attempt, in their order
}

// Latest are the steps as they stand: of each rim each step once. What was seen to be done stays so, with the evidence of
// the attempt that did it, unless a later attempt saw that it could not be done.
func (j *Join) Latest() []Step {
	if j == nil {
		return nil
	}
	var all []Step
	for _, s := range j.Steps {
		i := slices.IndexFunc(all, func(o Step) bool { return o.Rim == s.Rim && o.Step == s.Step })
		switch {
		case i < 0:
			all = append(all, s)
		case all[i].State == StepDone || all[i].State == StepNeedless:
			if s.State == StepFailed {
				all[i] = s
			}
		case all[i].State == StepByHand && !s.State.Over() && s.State != StepFailed && s.State != StepLeft:
			// a later attempt was broken off before it came to that
		default:
			all[i] = s
		}
	}
	return all
}

// ClientCertificate is a client certificate of the site, which may do everything there.
type ClientCertificate struct {
	Subject  string    `json:"subject"`
	SHA256   string    `json:"sha256"` // of its DER
	NotAfter time.Time `json:"not_after"`
}

// The steps after which a rim runs, and after which nothing is left to do.
const (
	RunningStep = "running"
	LastStep    = "proxy"
)

// StepState is how far a step of the join has come.
type StepState string

const (
	StepStart    StepState = "started" // its end was not seen
	StepWait     StepState = "waiting" // for a person
	StepDone     StepState = "done"
	StepByHand   StepState = "by_hand"    // a person says that it is done; nothing that preflight can see shows it
	StepLeft     StepState = "left"       // it is left to a person, and does not keep the rim from running
	StepNeedless StepState = "not_needed" // as for a rim without a proxy
	StepFailed   StepState = "failed"
)

// Over tells whether nothing is left to do in a step.
func (s StepState) Over() bool { return s == StepDone || s == StepByHand || s == StepNeedless }

// Step is one step of the join of one rim.
type Step struct {
	Rim       string     `json:"rim"`
	Step      string     `json:"step"`
	Guide     string     `json:"guide"` // its steps in the guide's numbering
	Title     string     `json:"title"`
	By        string     `json:"by"` // who did the central node's part: certificate or hand
	State     StepState  `json:"state"`
	For       []string   `json:"waiting_for,omitempty"` // what a person has or had to do
	Seen      string     `json:"seen"`
	Owner     string     `json:"owner,omitempty"`
	Remedy    string     `json:"remedy,omitempty"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// BackOut is the way back.
type BackOut struct {
	State    string    `json:"state"` // ready, done, or incomplete: begun, and some rules are still there
	Files    []string  `json:"files"`
	Removals []Removal `json:"removals"`
}

// RemovalState is what became of taking a change back.
type RemovalState string

const (
	Removing  RemovalState = "started" // intended; its end was not seen
	Removed   RemovalState = "removed"
	Absent    RemovalState = "absent"    // it was not there
	Differs   RemovalState = "differs"   // it is no longer as it was left: not touched
	NotTaken  RemovalState = "failed"    // the server said so
	Uncertain RemovalState = "in_doubt"  // the server was asked, and its answer was not seen
	NotTried  RemovalState = "not_tried" // its server could not be reached or read
)

// Removal is one change taken back.
type Removal struct {
	ID        string       `json:"id"`
	Server    string       `json:"server"`
	Ports     []uint16     `json:"ports"`
	State     RemovalState `json:"state"`
	Was       string       `json:"was"`   // the rule that was to be removed, as stored
	Found     *string      `json:"found"` // the rule that is still there, as stored
	Error     string       `json:"error,omitempty"`
	StartedAt time.Time    `json:"started_at"`
	EndedAt   *time.Time   `json:"ended_at"`
}

// Compared is a flow whose verdict was compared with the one before.
type Compared struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Port    uint16        `json:"port"`
	Service string        `json:"service"`
	Was     proof.Verdict `json:"was"`
	Now     proof.Verdict `json:"now"`
	Change  string        `json:"change"` // new, fixed, unchanged, changed cause, not comparable
}

// Outcome is why a command broke off.
type Outcome string

const (
	Internal  Outcome = "internal"
	Misused   Outcome = "usage" // something had to be confirmed and was not
	Cancelled Outcome = "cancelled"
	Drift     Outcome = "drift"
)

// Apply folds one event into the record.
func (r *Record) Apply(e Event) {
	switch e := e.(type) {
	case RunStarted:
		*r = Record{
			SchemaVersion: SchemaVersion, Tool: e.Tool, Run: Run{ID: e.RunID, SiteFile: e.SiteFile, CAs: e.CAs, Commands: []Command{}}, Site: e.Site, Servers: []Server{},
			Plan:    Plan{Changes: []PlannedChange{}, Already: []PlannedRelied{}, Blocked: []PlannedVoid{}, Requests: []PlannedRequest{}, Unapproved: []PlannedChange{}},
			Changes: []Change{}, Proofs: []proof.Proof{}, Verified: []Compared{}, Findings: []checks.Finding{},
		}
		for _, n := range e.Site.Nodes {
			r.Servers = append(r.Servers, Server{Name: n.Name, Role: n.Role})
		}
	case CommandStarted:
		r.Run.Commands = append(r.Run.Commands, Command{Name: e.Name, Run: e.Run, Version: e.Version, Operator: e.Operator, StartedAt: e.At})
		if e.Ticket != "" {
			r.Change.Ticket = e.Ticket
		}
		// What this command does not reach or sign in to again, it knows nothing of.
		for i := range r.Servers {
			r.Servers[i].SignIn, r.Servers[i].Failure = nil, nil
		}
		if e.Name == "verify" {
			r.Verified = []Compared{}
		}
		r.before = map[string]proof.Proof{}
		for _, p := range r.Tested() {
			r.before[flowKey(p)] = p
		}
	case CommandEnded:
		r.Verdict = r.judge(e.Outcome, e.Error)
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
		r.Plan = Plan{Changes: e.Changes, Already: e.Already, Blocked: e.Blocked, Requests: e.Requests, Unapproved: []PlannedChange{}}
		r.Change.PlanSHA256 = e.SHA256
	case Replanned:
		r.Plan.Already, r.Plan.Blocked, r.Plan.Requests, r.Plan.Unapproved = e.Already, e.Blocked, e.Requests, e.Unapproved
	case Approved:
		r.Change.Approval = &Approval{How: e.How, Value: e.Value, At: e.At}
	case BackOutWritten:
		r.BackOut = &BackOut{State: "ready", Files: e.Files, Removals: []Removal{}}
	case ChangeStarted:
		r.begin(e.ID, e.Server, e.At, true)
	case ChangeEnded:
		r.begin(e.ID, e.Server, e.At, false)
		c := r.change(e.ID, e.Server)
		c.State, c.Before, c.After, c.Error, c.EndedAt = e.State, e.Before, e.After, e.Error, &e.At
		if r.BackOut != nil && r.BackOut.State == "done" && r.InPlace() > 0 {
			r.BackOut.State = "ready" // applied again
		}
	case ChangesInForce:
		for i := range r.Changes {
			if c := &r.Changes[i]; c.Server == e.Server && (c.State == Done || c.State == There) {
				c.InForce = e.Live
			}
		}
	case RemovalStarted:
		r.remove(e.ID, e.Server, e.Stored, e.At)
	case RemovalEnded:
		m := r.remove(e.ID, e.Server, "", e.At)
		m.State, m.Found, m.Error, m.EndedAt = e.State, e.Found, e.Error, &e.At
		if c := r.change(e.ID, e.Server); c != nil && (e.State == Removed || e.State == Absent) {
			c.State, c.InForce = TakenBack, facts.Known(false)
		}
		if r.InPlace() == 0 {
			r.BackOut.State = "done"
		}
	case JoinStarted:
		if r.Join == nil {
			r.Join = &Join{Steps: []Step{}}
		}
		r.Join.Rim, r.Join.By = e.Rim, "hand"
		if e.Certificate != nil {
			r.Join.QRS, r.Join.Certificate, r.Join.By = e.QRS, e.Certificate, "certificate"
		}
	case StepStarted:
		if r.Join == nil {
			r.Join = &Join{Rim: e.Rim}
		}
		r.Join.Steps = append(r.Join.Steps, Step{Rim: e.Rim, Step: e.Step, Guide: e.Guide, Title: e.Title, By: r.Join.By, State: StepStart, StartedAt: e.At})
	case StepWaiting:
		s := r.step(e.Rim, e.Step)
		s.State, s.For = StepWait, e.For
	case StepEnded:
		s := r.step(e.Rim, e.Step)
		s.State, s.Seen, s.Owner, s.Remedy, s.EndedAt = e.State, e.Seen, e.Owner, e.Remedy, &e.At
	case Proved:
		r.compare(e.Proof)
		i := slices.IndexFunc(r.Proofs, func(p proof.Proof) bool { return p.ID == e.Proof.ID })
		if i < 0 {
			r.Proofs = slices.Insert(r.Proofs, r.place(e.Proof), e.Proof)
		} else {
			r.Proofs[i] = e.Proof
		}
	case Judged:
		r.Findings = e.Findings
	}
	switch e.(type) {
	case ServerReached, ServerConnected, ServerInspected, StageStarted, Proved:
		return // many of them, and a stage's end judges them together
	}
	r.Verdict = r.judge("", "")
}

// Clone is a copy that later events do not change.
func (r Record) Clone() Record {
	r.Run.Commands, r.Servers, r.Changes = slices.Clone(r.Run.Commands), slices.Clone(r.Servers), slices.Clone(r.Changes)
	r.Proofs, r.Verified, r.before = slices.Clone(r.Proofs), slices.Clone(r.Verified), maps.Clone(r.before)
	if r.Join != nil {
		j := *r.Join
		j.Steps = slices.Clone(j.Steps)
		r.Join = &j
	}
	if r.BackOut != nil {
		b := *r.BackOut
		b.Removals = slices.Clone(b.Removals)
		r.BackOut = &b
	}
	return r
}

// place is where a new proof stands among the proofs, in the order of phases and flows: they come in the order in which
// servers answer.
func (r *Record) place(p proof.Proof) int {
	if r.places == nil { // thousands for a few dozen nodes: not to be made for each
		r.places = map[string]int{}
		flows := r.Flows()
		for i, f := range flows {
			for n, phase := range proof.Phases {
				r.places[proof.ID(phase, f)] = n*len(flows) + i
			}
		}
	}
	at, _ := slices.BinarySearchFunc(r.Proofs, r.places[p.ID]+1, func(other proof.Proof, after int) int { return r.places[other.ID] - after })
	return at
}

// step finds a step of a join that has begun, in its last attempt.
func (r *Record) step(rim, step string) *Step {
	if r.Join == nil {
		r.Join = &Join{Rim: rim, Steps: []Step{}}
	}
	for i := range slices.Backward(r.Join.Steps) {
		if s := &r.Join.Steps[i]; s.Rim == rim && s.Step == step {
			return s
		}
	}
	r.Join.Steps = append(r.Join.Steps, Step{Rim: rim, Step: step})
	return &r.Join.Steps[len(r.Join.Steps)-1]
}

// begin puts a change at its beginning: again, if it was tried before, or only if it is new.
func (r *Record) begin(id, server string, at time.Time, again bool) {
	c := r.change(id, server)
	switch {
	case c == nil:
		r.Changes = append(r.Changes, Change{ID: id, Server: server, State: Started, InForce: notAsked, StartedAt: at})
		slices.SortStableFunc(r.Changes, func(a, b Change) int { return r.planned(a) - r.planned(b) })
	case again:
		*c = Change{ID: id, Server: server, State: Started, InForce: notAsked, StartedAt: at}
	}
}

// remove finds the removal of a change that is under way, or begins one.
func (r *Record) remove(id, server, stored string, at time.Time) *Removal {
	if r.BackOut == nil {
		r.BackOut = &BackOut{Files: []string{}, Removals: []Removal{}}
	}
	b := r.BackOut
	for i := range b.Removals {
		if m := &b.Removals[i]; m.ID == id && m.Server == server && m.EndedAt == nil {
			m.Was = cmp.Or(stored, m.Was)
			return m
		}
	}
	m := Removal{ID: id, Server: server, Ports: []uint16{}, State: Removing, Was: stored, StartedAt: at}
	for _, p := range r.Plan.Changes {
		if p.ID == id && p.Server == server {
			m.Ports = p.Ports
		}
	}
	b.Removals, b.State = append(b.Removals, m), "incomplete"
	return &b.Removals[len(b.Removals)-1]
}

// InPlace counts the run's own changes that are or may be in place.
func (r *Record) InPlace() int {
	return r.count(Done) + r.count(Started) + r.count(InDoubt)
}

func (r *Record) count(s ChangeState) int {
	n := 0
	for _, c := range r.Changes {
		if c.State == s {
			n++
		}
	}
	return n
}

func flowKey(p proof.Proof) string { return fmt.Sprintf("%s %s %d", p.From, p.To, p.Port) }

// compare says what a verify finds different from the proof before.
func (r *Record) compare(p proof.Proof) {
	if c := r.command(); c == nil || c.Name != "verify" {
		return
	}
	was, tried := r.before[flowKey(p)]
	if !tried {
		return
	}
	r.Verified = slices.DeleteFunc(r.Verified, func(c Compared) bool { return c.From == p.From && c.To == p.To && c.Port == p.Port })
	r.Verified = append(r.Verified, Compared{From: p.From, To: p.To, Port: p.Port, Service: p.Service, Was: was.Verdict, Now: p.Verdict, Change: difference(was, p)})
}

func difference(was, now proof.Proof) string {
	cause := func(p proof.Proof) string {
		if p.Cause == nil {
			return ""
		}
		return *p.Cause
	}
	switch {
	case was.Verdict.Works() && now.Verdict.Works():
		return "unchanged"
	case was.Verdict.Works() && now.Verdict.Fails():
		return "new"
	case was.Verdict.Fails() && now.Verdict.Works():
		return "fixed"
	case was.Verdict.Fails() && now.Verdict.Fails():
		if was.Verdict == now.Verdict && cause(was) == cause(now) {
			return "unchanged"
		}
		return "changed cause"
	}
	return "not comparable"
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

// Flows are the flows that the site needs, in their order.
func (r *Record) Flows() []ports.Flow {
	flows, _ := ports.Flows(r.Site) // none for a release that is not in the catalogue
	return flows
}

// Latest is the latest proof of each flow of the site, in the order of the flows. A flow that was never tried has none; nor
// has one whose target the run has changed since.
func (r *Record) Latest() []proof.Proof { return r.latest(func(proof.Proof) bool { return true }) }

// Tested is like Latest, but a flow that a later command could not test keeps the proof before.
func (r *Record) Tested() []proof.Proof {
	return r.latest(func(p proof.Proof) bool { return p.Verdict != proof.NotTested })
}

func (r *Record) latest(counts func(proof.Proof) bool) []proof.Proof {
	changed := r.changed()
	byID := map[string]proof.Proof{}
	for _, p := range r.Proofs {
		byID[p.ID] = p
	}
	var out []proof.Proof
	for _, f := range r.Flows() {
		var latest proof.Proof
		for _, phase := range proof.Phases {
			p, ok := byID[proof.ID(phase, f)]
			if ok && !p.At.Before(latest.At) && !p.At.Before(changed[p.To]) && (counts(p) || latest.ID == "") {
				latest = p
			}
		}
		if latest.ID != "" {
			out = append(out, latest)
		}
	}
	return out
}

// changed is when the run last added or removed a rule on each server.
func (r *Record) changed() map[string]time.Time {
	last := map[string]time.Time{}
	note := func(server string, at *time.Time) {
		if at != nil && at.After(last[server]) {
			last[server] = *at
		}
	}
	for _, c := range r.Changes {
		if c.State != Failed && c.State != NotNeeded && c.State != Void {
			note(c.Server, c.EndedAt)
		}
	}
	if r.BackOut != nil {
		for _, m := range r.BackOut.Removals {
			if m.State == Removed {
				note(m.Server, m.EndedAt)
			}
		}
	}
	return last
}

func (r *Record) judge(o Outcome, broke string) Verdict {
	v := Verdict{Flows: Flows{Total: len(r.Flows())}}
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
		switch {
		case f.Verdict == checks.Fail && !r.mends(f):
			v.Failed++
		case f.Verdict == checks.Warn:
			v.Warnings++
		case f.Verdict == checks.Unknown:
			v.Unknown++
		}
	}
	v.ExitCode = r.exitCode(o, v)
	v.Complete = (v.Flows.NotTested == 0 || !r.proves()) && v.Unknown == 0 && len(r.Findings) > 0
	v.Passed = v.ExitCode == ExitPassed || v.ExitCode == ExitIncomplete
	v.Summary = r.summary(v)
	if broke != "" {
		// What was proven or planned before is not what this command ends with.
		v.Summary = broke
		if left := r.InPlace(); left > 0 {
			v.Summary += fmt.Sprintf("; %d of %d rules are in", left, len(r.Plan.Changes))
		}
	}
	return v
}

// doing is the name of the command that runs or ran last.
func (r *Record) doing() string {
	if c := r.command(); c != nil {
		return c.Name
	}
	return ""
}

// proves tells whether the command is about flows: plan and backout are not.
func (r *Record) proves() bool { return r.doing() != "plan" && r.doing() != "backout" }

// mends tells whether a failure is what the plan that was just made is for.
func (r *Record) mends(f checks.Finding) bool {
	return r.doing() == "plan" && f.Check == "firewall.rule-missing" && r.Change.PlanSHA256 != ""
}

func (r *Record) summary(v Verdict) string {
	switch r.doing() {
	case "plan":
		s := checks.Count(len(r.Plan.Changes), "rule", "rules") + " to add"
		closed := map[string]bool{}
		for _, b := range r.Plan.Blocked {
			closed[fmt.Sprint(b.Server, " ", b.Port)] = true
		}
		if n := len(closed); n > 0 {
			s += fmt.Sprintf(", %s that a rule added here would not open", checks.Count(n, "port", "ports"))
		} else if v.Failed > 0 {
			s = checks.Count(v.Failed, "check", "checks") + " failed; " + s
		}
		return s
	case "backout":
		left, gone := r.InPlace(), r.count(TakenBack)
		switch {
		case left > 0:
			return fmt.Sprintf("%d of %s taken back", gone, checks.Count(left+gone, "rule", "rules"))
		case gone == 0:
			return "nothing to take back"
		}
		removed, absent := 0, 0
		var removals []Removal
		if r.BackOut != nil {
			removals = r.BackOut.Removals
		}
		for _, m := range removals {
			switch {
			case m.StartedAt.Before(r.command().StartedAt):
			case m.State == Removed:
				removed++
			case m.State == Absent:
				absent++
			}
		}
		switch {
		case removed+absent == 0:
			return "nothing left to take back"
		case absent > 0:
			return fmt.Sprintf("%s taken back, %d not there any more", checks.Count(removed, "rule", "rules"), absent)
		}
		return checks.Count(removed, "rule", "rules") + " taken back"
	}
	s := fmt.Sprintf("%d of %d flows proven", v.Flows.Proven, v.Flows.Total)
	if joined := r.joinedNow(); len(joined) > 0 {
		s = strings.Join(joined, ", ") + " joined; " + s
	}
	if v.Flows.Failed > 0 {
		s += fmt.Sprintf(", %d failed", v.Flows.Failed)
	}
	if v.Flows.NotTested > 0 {
		s += fmt.Sprintf(", %d not tested", v.Flows.NotTested)
	}
	if v.Failed > 0 && v.Flows.Failed == 0 {
		s = checks.Count(v.Failed, "check", "checks") + " failed; " + s
	}
	return s
}

// joinedNow are the rims that the command has taken through every step of the join.
func (r *Record) joinedNow() []string {
	var rims []string
	if c := r.command(); c != nil && r.Join != nil {
		for _, s := range r.Join.Steps {
			if s.Step == LastStep && s.State.Over() && !s.StartedAt.Before(c.StartedAt) && !slices.Contains(rims, s.Rim) {
				rims = append(rims, s.Rim)
			}
		}
	}
	return rims
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

// exitCode is the first that holds of 7 1 2 130 6 4 3 5 0. A plan is judged by whether its changes mend every failure, a
// back-out by the undoing alone.
func (r *Record) exitCode(o Outcome, v Verdict) int {
	undoing := r.doing() == "backout"
	in, open := 0, len(r.Plan.Changes)
	for _, c := range r.Changes {
		switch c.State {
		case Done, There:
			in++
			open--
		case NotNeeded:
			open--
		case Started, InDoubt:
			in++ // it may be in
		}
	}
	left, takenBack := r.InPlace(), r.count(TakenBack)
	partly := len(r.Changes) > 0 && in > 0 && open > 0
	if undoing {
		partly = left > 0 && takenBack > 0
	}
	failed := func(stage string) bool {
		return slices.ContainsFunc(r.Servers, func(s Server) bool { return s.Failure != nil && s.Failure.Stage == stage })
	}
	switch {
	case partly:
		return ExitPartly
	case o == Internal:
		return ExitInternal
	case o == Misused:
		return ExitUsage
	case o == Cancelled:
		return ExitCancelled
	case o == Drift:
		return ExitDrift
	case undoing && left == 0:
		return ExitPassed
	case undoing && r.changedSince():
		return ExitDrift
	case failed("connect"):
		return ExitConnect
	case undoing:
		return ExitFailed
	case v.Failed > 0 || r.proves() && v.Flows.Failed > 0:
		return ExitFailed
	case v.Unknown > 0 || r.proves() && v.Flows.NotTested > 0 || len(r.Findings) == 0:
		return ExitIncomplete
	}
	return ExitPassed
}

// changedSince tells whether a rule could not be taken back because somebody has changed it.
func (r *Record) changedSince() bool {
	return r.BackOut != nil && slices.ContainsFunc(r.BackOut.Removals, func(m Removal) bool {
		c := r.change(m.ID, m.Server)
		return m.State == Differs && c != nil && c.State != TakenBack
	})
}
