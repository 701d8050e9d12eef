package engine

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/join"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Joining is who does the central node's part of a join: its repository service, or a person.
type Joining struct {
	QRS         *join.QRS                 // nil: a person
	Certificate *record.ClientCertificate // what it is asked with
	Person      join.Person
}

// QRSAddress is where the repository service of a site's central node is dialled from here.
func QRSAddress(s site.Site) string {
	if s.Join.QRS != "" {
		return s.Join.QRS
	}
	return net.JoinHostPort(s.Central().Host, strconv.Itoa(qrsPort))
}

const (
	qrsPort   = 4242
	setupPort = 4444 // where the central node sends the certificate
)

// ToJoin are the rims that wait for their certificates, as they were inspected last.
func (e *Engine) ToJoin() []string {
	var names []string
	for _, n := range e.Site.Rims() {
		if f, ok := e.facts[n.Name]; ok && f.Phase() == facts.Installed {
			names = append(names, n.Name)
		}
	}
	return names
}

// Join takes a rim into the site, step by step. Nothing is begun if a check fails, if a rule is missing, or if the central
// node is not known to reach the rim's port 4444. Each step first looks whether it is done already.
func (e *Engine) Join(ctx context.Context, rim string, by Joining) error {
	if err := e.stage("join"); err != nil {
		return err
	}
	if err := e.mayJoin(rim); err != nil {
		return err
	}
	started := record.JoinStarted{Rim: rim, Certificate: by.Certificate, At: e.now()}
	if by.QRS != nil {
		started.QRS = QRSAddress(e.Site)
	}
	if err := e.emit(started); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	setup := script.StartSetup(ctx, e.servers[rim])
	node, _ := e.Site.Node(rim)
	current := ""
	j := join.Join{
		Site: e.Site, Node: node, Ports: e.portsOf(rim), Rim: setup, QRS: by.QRS, Person: by.Person, Poll: e.Times.Poll, Limit: e.Times.Join,
		Tell: func(lines ...string) error {
			return e.emit(record.StepWaiting{Rim: rim, Step: current, For: lines, At: e.now()})
		},
	}
	for _, s := range join.Steps {
		current = s.ID
		if err := e.emit(record.StepStarted{Rim: rim, Step: s.ID, Guide: s.Guide, Title: s.Title, At: e.now()}); err != nil {
			return err
		}
		out, err := j.Do(ctx, s)
		if err != nil {
			return err
		}
		if err := e.emit(record.StepEnded{
			Rim: rim, Step: s.ID, State: record.StepState(out.State), Seen: out.Seen, Owner: out.Owner, Remedy: out.Remedy, At: e.now(),
		}); err != nil {
			return err
		}
		if out.State == join.Failed {
			return stopped("%s: %s: %s", rim, s.Title, out.Seen)
		}
	}
	setup.Close() // what it was asked, it has answered
	return nil
}

// portsOf are the ports that the other nodes dial on a server.
func (e *Engine) portsOf(server string) []uint16 {
	var ports []uint16
	for _, f := range e.flows {
		if f.To == server && !slices.Contains(ports, f.Port) {
			ports = append(ports, f.Port)
		}
	}
	slices.Sort(ports)
	return ports
}

// needed are the checks without whose word a join does not begin: on rules that could not be read, or with certificates
// of who knows which site.
var needed = []string{"firewall.rule-missing", "rim.certificates"}

// mayJoin tells whether the join of a rim may begin. It plans again, for the servers may have changed since the rules were
// added.
func (e *Engine) mayJoin(rim string) error {
	now, err := e.replan()
	if err != nil {
		return err
	}
	e.again = now.Changes
	central := e.Site.Central().Name
	for _, c := range now.Changes {
		if c.Server == rim || c.Server == central {
			return stopped("%s: %s has no rule for %s from %s, so nothing was begun", rim, c.Server, numbers(c.Ports), sources(c.From))
		}
	}
	failed := 0
	for _, f := range checks.All(e.input()) {
		if f.Server != rim && f.Server != central || f.Check == checks.JoinComplete {
			continue
		}
		switch {
		case f.Verdict == checks.Fail:
			failed++
		case f.Verdict == checks.Unknown && slices.Contains(needed, f.Check):
			return stopped("%s: %s of %s is not known (%s), so nothing was begun", rim, f.Check, f.Server, f.Seen)
		}
	}
	if failed > 0 {
		return stopped("%s: %s failed, so nothing was begun", rim, checks.Count(failed, "check", "checks"))
	}
	if s := e.facts[rim].State; !s.OK() {
		return stopped("%s: the state of its repository service is not known (%s), so nothing was begun", rim, s.Unknown)
	}
	rec := e.Record()
	for _, p := range rec.Latest() {
		if p.From == central && p.To == rim && p.Port == setupPort && p.Verdict.Works() && p.Level == facts.Proven {
			return nil
		}
	}
	return stopped("%s: that %s reaches its port %d is not proven, so nothing was begun", rim, central, setupPort)
}

// CameToRun tells whether a rim has come to run in a join of the run.
func (e *Engine) CameToRun(rim string) bool {
	rec := e.Record()
	return slices.ContainsFunc(rec.Join.Latest(), func(s record.Step) bool {
		return s.Rim == rim && s.Step == record.RunningStep && s.State == record.StepDone
	})
}

// joinSteps are the steps of joins as the checks look at them.
func joinSteps(j *record.Join) []checks.JoinStep {
	var out []checks.JoinStep
	for _, s := range j.Latest() {
		out = append(out, checks.JoinStep{
			Rim: s.Rim, Title: s.Title, Guide: s.Guide, By: s.By, State: string(s.State), Last: s.Step == record.LastStep,
			Seen: strings.TrimSuffix(s.Seen, "."), Owner: s.Owner, Remedy: s.Remedy,
		})
	}
	return out
}
