package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Event is something that happened in a run. The set is closed: these types and no others.
type Event interface{ event() }

// RunStarted is the first event of every run.
type RunStarted struct {
	RunID string    `json:"run_id"`
	Tool  Tool      `json:"tool"`
	Site  site.Site `json:"site"`
	// SiteFile is where the site was read from, "" for a site that is in no file. What the site file names is relative to it.
	SiteFile string `json:"site_file"`
	// CAs are the certificates that the site names in files, as PEM by the name it gives them, so that the run does not
	// depend on those files.
	CAs map[string]string `json:"cas,omitempty"`
	At  time.Time         `json:"at"`
}

// CommandStarted begins what one invocation of preflight does in the run.
type CommandStarted struct {
	Name     string    `json:"name"`
	Run      string    `json:"run"`     // the run as it is named on a command line: its name, or its folder
	Version  string    `json:"version"` // of the tool, which may not be the one that began the run
	Operator Operator  `json:"operator"`
	Ticket   string    `json:"ticket,omitempty"`
	At       time.Time `json:"at"`
}

// CommandEnded ends it. Outcome is "" unless it broke off.
type CommandEnded struct {
	Outcome Outcome   `json:"outcome,omitempty"`
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at"`
}

// StageStarted says that the run has come to a stage: connect, inspect, plan, apply, prove, join, backout.
type StageStarted struct {
	Stage string    `json:"stage"`
	At    time.Time `json:"at"`
}

// ServerReached says that a server answered, before anybody signed in, and whether it said that it is simulated.
type ServerReached struct {
	Server    string    `json:"server"`
	Simulated bool      `json:"simulated"`
	At        time.Time `json:"at"`
}

// ServerConnected says that a server was signed in to.
type ServerConnected struct {
	Server string    `json:"server"`
	SignIn SignIn    `json:"sign_in"`
	MS     int64     `json:"ms"`
	At     time.Time `json:"at"`
}

// ServerFailed says that a server could not be reached, signed in to or inspected, and what to type there.
type ServerFailed struct {
	Server string    `json:"server"`
	Stage  string    `json:"stage"`
	Kind   string    `json:"kind"`
	Error  string    `json:"error"`
	Hints  []string  `json:"hints"`
	At     time.Time `json:"at"`
}

// ServerInspected holds what was read from a server.
type ServerInspected struct {
	Server string       `json:"server"`
	Role   site.Role    `json:"role"`
	Facts  facts.Server `json:"facts"`
	At     time.Time    `json:"at"`
}

// Planned is the plan: what to add where, and what is right already.
type Planned struct {
	Changes  []PlannedChange  `json:"changes"`
	Already  []PlannedRelied  `json:"already"`
	Blocked  []PlannedVoid    `json:"blocked"`
	Requests []PlannedRequest `json:"requests"`
	SHA256   string           `json:"sha256"` // of plan.json; "" if it cannot be approved: check only looks
	At       time.Time        `json:"at"`
}

// Replanned is what planning again says before an approved plan is applied: how the servers are now.
type Replanned struct {
	Already    []PlannedRelied  `json:"already"`
	Blocked    []PlannedVoid    `json:"blocked"`
	Requests   []PlannedRequest `json:"requests"`
	Unapproved []PlannedChange  `json:"unapproved"` // wanted now, and not in the approved plan: drift
	At         time.Time        `json:"at"`
}

// Approved says how the plan was approved.
type Approved struct {
	How   string    `json:"how"` // digest, site name, demo
	Value string    `json:"value"`
	At    time.Time `json:"at"`
}

// BackOutWritten says that the way back is on disk: before the first change.
type BackOutWritten struct {
	Files []string  `json:"files"`
	At    time.Time `json:"at"`
}

// ChangeStarted is the intent to make a change. It is on disk before the server is asked.
type ChangeStarted struct {
	ID     string    `json:"id"`
	Server string    `json:"server"`
	Ports  []uint16  `json:"ports"`
	At     time.Time `json:"at"`
}

// ChangeEnded is what became of it.
type ChangeEnded struct {
	ID     string      `json:"id"`
	Server string      `json:"server"`
	State  ChangeState `json:"state"`
	Before *string     `json:"before"` // the rule that was there, as stored
	After  *string     `json:"after"`  // the rule that is there now, as stored
	Error  string      `json:"error,omitempty"`
	At     time.Time   `json:"at"`
}

// ChangesInForce is the firewall's own word, after all changes on a server, on whether they are in force.
type ChangesInForce struct {
	Server string            `json:"server"`
	Live   facts.Value[bool] `json:"live"`
	At     time.Time         `json:"at"`
}

// RemovalStarted is the intent to take a change back. It is on disk before the server is asked.
type RemovalStarted struct {
	ID     string    `json:"id"`
	Server string    `json:"server"`
	Stored string    `json:"stored"` // what the rule has to be to be removed
	At     time.Time `json:"at"`
}

// RemovalEnded is what became of it.
type RemovalEnded struct {
	ID     string       `json:"id"`
	Server string       `json:"server"`
	State  RemovalState `json:"state"`
	Found  *string      `json:"found"` // the rule that is still there, as stored
	Error  string       `json:"error,omitempty"`
	At     time.Time    `json:"at"`
}

// Proved is the verdict on one flow.
type Proved struct {
	Proof proof.Proof `json:"proof"`
	At    time.Time   `json:"at"`
}

// JoinStarted begins taking a rim through the join, from its first step: what was done already is seen there.
type JoinStarted struct {
	Rim string `json:"rim"`
	// QRS is where the central node's repository service was asked, and Certificate with what; "" and nil if a person does
	// that part.
	QRS         string             `json:"qrs,omitempty"`
	Certificate *ClientCertificate `json:"certificate,omitempty"`
	At          time.Time          `json:"at"`
}

// StepStarted begins one step of the join.
type StepStarted struct {
	Rim   string    `json:"rim"`
	Step  string    `json:"step"` // node, certificate, unlock, running, proxy
	Guide string    `json:"guide"`
	Title string    `json:"title"`
	At    time.Time `json:"at"`
}

// StepWaiting says what a person has to do in a step, line by line.
type StepWaiting struct {
	Rim  string    `json:"rim"`
	Step string    `json:"step"`
	For  []string  `json:"for"`
	At   time.Time `json:"at"`
}

// StepEnded is what became of a step.
type StepEnded struct {
	Rim    string    `json:"rim"`
	Step   string    `json:"step"`
	State  StepState `json:"state"`
	Seen   string    `json:"seen"`
	Owner  string    `json:"owner,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
	At     time.Time `json:"at"`
}

// Judged holds the findings; they replace those before.
type Judged struct {
	Findings []checks.Finding `json:"findings"`
	At       time.Time        `json:"at"`
}

func (RunStarted) event()      {}
func (CommandStarted) event()  {}
func (CommandEnded) event()    {}
func (StageStarted) event()    {}
func (ServerReached) event()   {}
func (ServerConnected) event() {}
func (ServerFailed) event()    {}
func (ServerInspected) event() {}
func (Planned) event()         {}
func (Approved) event()        {}
func (BackOutWritten) event()  {}
func (ChangeStarted) event()   {}
func (ChangeEnded) event()     {}
func (ChangesInForce) event()  {}
func (Replanned) event()       {}
func (RemovalStarted) event()  {}
func (RemovalEnded) event()    {}
func (Proved) event()          {}
func (JoinStarted) event()     {}
func (StepStarted) event()     {}
func (StepWaiting) event()     {}
func (StepEnded) event()       {}
func (Judged) event()          {}

// kinds names every event as the journal does.
var kinds = map[string]reflect.Type{}

func init() {
	for name, e := range map[string]Event{
		"run_started": RunStarted{}, "command_started": CommandStarted{}, "command_ended": CommandEnded{}, "stage_started": StageStarted{},
		"server_reached": ServerReached{}, "server_connected": ServerConnected{}, "server_failed": ServerFailed{}, "server_inspected": ServerInspected{},
		"planned": Planned{}, "approved": Approved{}, "back_out_written": BackOutWritten{},
		"change_started": ChangeStarted{}, "change_ended": ChangeEnded{}, "changes_in_force": ChangesInForce{},
		"replanned": Replanned{}, "removal_started": RemovalStarted{}, "removal_ended": RemovalEnded{},
		"join_started": JoinStarted{}, "step_started": StepStarted{}, "step_waiting": StepWaiting{}, "step_ended": StepEnded{},
		"proved": Proved{}, "judged": Judged{},
	} {
		kinds[name] = reflect.TypeOf(e)
	}
}

// Kind is the event's name in the journal and in JSON lines.
func Kind(e Event) string {
	for name, t := range kinds {
		if t == reflect.TypeOf(e) {
			return name
		}
	}
	return ""
}

type line struct {
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// EncodeEvent writes an event as one line of JSON, without the line end.
func EncodeEvent(e Event) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(line{Kind(e), data})
	return printable.JSON(b), err
}

// ErrNewer is wrapped by the error of an event that this preflight does not know.
var ErrNewer = errors.New("unknown event")

// DecodeEvent reads what EncodeEvent wrote.
func DecodeEvent(b []byte) (Event, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, err
	}
	t, ok := kinds[l.Event]
	if !ok {
		return nil, fmt.Errorf("%w %q", ErrNewer, l.Event)
	}
	v := reflect.New(t)
	if err := json.Unmarshal(l.Data, v.Interface()); err != nil {
		return nil, fmt.Errorf("event %s: %w", l.Event, err)
	}
	return v.Elem().Interface().(Event), nil
}

// MustBeForced tells whether an event has to be on disk before the run goes on: what a way back depends on.
func MustBeForced(e Event) bool {
	switch e.(type) {
	case RunStarted, Planned, Replanned, Approved, BackOutWritten, ChangeStarted, ChangeEnded, RemovalStarted, RemovalEnded, JoinStarted, StepStarted, StepEnded, CommandEnded:
		return true
	}
	return false
}
