package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// PlanFile is the name of the plan in the run's folder.
const PlanFile = "plan.json"

// Plan works out what to add on each server, and writes plan.json and the way back. It changes nothing on a server.
func (e *Engine) Plan() error {
	if err := e.stage("plan"); err != nil {
		return err
	}
	p := e.wanted()
	text, err := PlanText(e.Site, p.Changes)
	if err != nil {
		return err
	}
	if err := e.Folder.WriteFile(PlanFile, text); err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	p.SHA256, p.At = hex.EncodeToString(sum[:]), e.now()
	if err := e.emit(p); err != nil {
		return err
	}
	files, err := e.writeBackOut(nil)
	if err != nil || len(files) == 0 {
		return err
	}
	return e.emit(record.BackOutWritten{Files: files, At: e.now()})
}

// Compare works out what to add, as Plan does, for the findings alone: there is nothing to approve.
func (e *Engine) Compare() error {
	p := e.wanted()
	p.At = e.now()
	return e.emit(p)
}

// wanted compares what the servers' rules admit with what the site's flows need.
func (e *Engine) wanted() record.Planned {
	e.compared = true
	p := record.Planned{Changes: []record.PlannedChange{}, Already: []record.PlannedRelied{}, Blocked: []record.PlannedVoid{}, Requests: []record.PlannedRequest{}}
	routes := e.routes()
	for _, n := range e.Site.Nodes {
		f, ok := e.facts[n.Name]
		if !ok || len(f.Firewall.Unknown) > 0 {
			continue // nothing is planned on rules that could not be read; the finding says so
		}
		wants, _ := ports.Wants(e.Site, n.Name, e.flows, routes)
		changes, already, conflicts := firewall.Plan(f.Firewall, e.Site.Name, false, wants)
		for _, c := range changes {
			p.Changes = append(p.Changes, record.PlannedChange{
				ID: c.ID, Server: n.Name, Action: "add", Service: c.Group, Ports: c.Ports, From: firewall.Sources(c.From...), Profiles: c.Profiles,
				Why: c.Why, PowerShell: c.PowerShell(), Inverse: c.Inverse(),
			})
		}
		for _, a := range already {
			r := record.PlannedRelied{
				Server: n.Name, Service: a.Group, Port: a.Port, From: firewall.Sources(a.From)[0], Ours: a.Ours, Why: a.Why,
				By: a.By.ID, Store: string(a.By.Store), Rule: a.By.Raw,
			}
			if parsed, err := rule.Parse(a.By.Raw); err == nil && a.By.Raw != "" {
				r.Name = parsed.Name
			}
			p.Already = append(p.Already, r)
		}
		for _, c := range conflicts {
			v := record.PlannedVoid{
				Server: n.Name, Service: c.Want.Group, Port: c.Want.Port, From: firewall.Sources(c.Want.From)[0],
				Why: c.Decision.Why, Store: string(c.Decision.Store),
			}
			if by := c.Decision.By; by != nil {
				v.By, v.Rule = by.ID, by.Raw
			}
			p.Blocked = append(p.Blocked, v)
		}
		requests := firewall.Requests(e.Site.Name, conflicts)
		for _, store := range []firewall.Store{firewall.Policy, firewall.MDM} {
			for _, c := range requests[store] {
				p.Requests = append(p.Requests, record.PlannedRequest{
					ID: c.ID, Server: n.Name, Store: string(store), Service: c.Group, Name: c.Rule(e.Site.Name).Name, Ports: c.Ports,
					From: firewall.Sources(c.From...), Profiles: c.Profiles, Why: c.Why, PowerShell: c.PowerShellIn(PolicyToFillIn),
				})
			}
		}
	}
	return p
}

// PolicyToFillIn stands in a requested rule for the Group Policy that it is to be added to, which only its owner knows.
const PolicyToFillIn = `DOMAIN\POLICY`

// PlanText is plan.json, what is approved: the site and the changes, and nothing that differs from one run to the next.
func PlanText(s site.Site, changes []record.PlannedChange) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Site    site.Site              `json:"site"`
		Changes []record.PlannedChange `json:"changes"`
	}{s, changes})
	return printable.JSON(b.Bytes()), err
}

// ErrDrift is wrapped by the error of an Apply that found the servers to need something that the approved plan does not
// hold.
var ErrDrift = fmt.Errorf("the servers are no longer as the approved plan found them")

// replan plans again. Drift is when that wants a change that the approved plan does not hold.
func (e *Engine) replan() (record.Planned, error) {
	now := e.wanted()
	approved := map[string]bool{}
	for _, c := range e.Record().Plan.Changes {
		approved[c.Server+" "+c.ID] = true
	}
	again := record.Replanned{Already: now.Already, Blocked: now.Blocked, Requests: now.Requests, Unapproved: []record.PlannedChange{}, At: e.now()}
	for _, c := range now.Changes {
		if !approved[c.Server+" "+c.ID] {
			again.Unapproved = append(again.Unapproved, c)
		}
	}
	if err := e.emit(again); err != nil {
		return now, err
	}
	if len(again.Unapproved) > 0 {
		c := again.Unapproved[0]
		return now, fmt.Errorf("%w: %s now also needs a rule for %s from %s", ErrDrift, c.Server, numbers(c.Ports), sources(c.From))
	}
	return now, nil
}

// routes are the addresses that each flow uses, as its source sees them.
func (e *Engine) routes() map[[2]string]ports.Route {
	routes := map[[2]string]ports.Route{}
	for _, f := range e.flows {
		p, ok := e.facts[f.From].Peer(f.To)
		if ok && len(p.Addresses) > 0 && p.Source.IsValid() {
			routes[[2]string{f.From, f.To}] = ports.Route{From: p.Source, To: p.Addresses[0]}
		}
	}
	return routes
}
