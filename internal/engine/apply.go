package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
)

// Apply adds the rules of the approved plan that are still wanted, on all servers at the same time, on each one after the
// other. It plans again first: what is in place already counts as done, a change that the approved plan does not hold is
// ErrDrift, and then nothing is added. The way back is on disk before the first rule is added, and each intent before the
// server is asked. On a server where one rule fails, those after it are not tried.
func (e *Engine) Apply(ctx context.Context, how, value string) error {
	if err := e.stage("apply"); err != nil {
		return err
	}
	if err := e.readable(); err != nil {
		return err
	}
	now, err := e.replan()
	if err != nil {
		return err
	}
	if err := e.emit(record.Approved{How: how, Value: value, At: e.now()}); err != nil {
		return err
	}
	todo, err := e.settle(now)
	if err != nil {
		return err
	}
	if _, err := e.writeBackOut(); err != nil {
		return err
	}
	var broke, incomplete firstError
	each(todo, func(server string, changes []record.PlannedChange) {
		failed, err := e.applyOn(ctx, server, changes)
		broke.set(err)
		incomplete.set(failed)
	})
	_, err = e.writeBackOut()
	broke.set(err)
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if incomplete.err != nil {
		return stopped("%w", incomplete.err)
	}
	return nil
}

// readable tells whether the rules of every server of the plan could be read again: on others nothing is added.
func (e *Engine) readable() error {
	for _, c := range e.Record().Plan.Changes {
		f, ok := e.facts[c.Server]
		if !ok {
			return stopped("%s was not inspected", c.Server)
		}
		if len(f.Firewall.Unknown) > 0 {
			return stopped("the rules of %s could not be read again: %s", c.Server, strings.Join(f.Firewall.Unknown, "; "))
		}
	}
	return nil
}

// settle says what has become of the changes that need not be made any more, and returns the others by server.
func (e *Engine) settle(now record.Planned) (map[string][]record.PlannedChange, error) {
	rec := e.Record()
	todo := map[string][]record.PlannedChange{}
	for _, c := range rec.Plan.Changes {
		if slices.ContainsFunc(now.Changes, func(n record.PlannedChange) bool { return n.ID == c.ID && n.Server == c.Server }) {
			todo[c.Server] = append(todo[c.Server], c)
			continue
		}
		tried := find(rec.Changes, c)
		end := record.ChangeEnded{ID: c.ID, Server: c.Server, State: record.NotNeeded, At: e.now()}
		stored, there := e.stored(c)
		switch blocked := against(now.Blocked, c); {
		case there && (tried.State == record.Done || tried.State == record.There):
			continue
		case there && (tried.State == record.Started || tried.State == record.InDoubt):
			end.State, end.After = record.Done, &stored
		case there:
			end.State, end.Before, end.After = record.There, &stored, &stored
		case blocked != "":
			end.State, end.Error = record.Void, printable.Line(blocked)
		}
		if err := e.emit(end); err != nil {
			return nil, err
		}
	}
	return todo, nil
}

// find is what became of a planned change; zero if it was not tried.
func find(changes []record.Change, p record.PlannedChange) record.Change {
	for _, c := range changes {
		if c.ID == p.ID && c.Server == p.Server {
			return c
		}
	}
	return record.Change{}
}

// stored is the rule with a change's id as the server stores it, if it is there and does what the change wants.
func (e *Engine) stored(c record.PlannedChange) (string, bool) {
	wanted, err := e.ruleOf(c)
	for _, r := range e.facts[c.Server].Firewall.Rules {
		if r.Store == firewall.Local && strings.EqualFold(r.ID, c.ID) && err == nil && sameEffect(r.Raw, wanted) {
			return r.Raw, true
		}
	}
	return "", false
}

// against is why a port of a change cannot be opened by a rule added there, "" if nothing stands against it.
func against(blocked []record.PlannedVoid, c record.PlannedChange) string {
	for _, b := range blocked {
		if b.Server == c.Server && b.Service == c.Service && slices.Contains(c.Ports, b.Port) {
			return b.Why
		}
	}
	return ""
}

// applyOn adds the rules of one server in one process there. failed is why it stopped there; err is the run's own.
func (e *Engine) applyOn(ctx context.Context, server string, changes []record.PlannedChange) (failed, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	adding := script.StartAdd(ctx, e.servers[server])
	for _, c := range changes {
		if ctx.Err() != nil {
			break
		}
		if err := e.emit(record.ChangeStarted{ID: c.ID, Server: server, Ports: c.Ports, At: e.now()}); err != nil {
			return nil, err
		}
		end := e.add(adding, server, c)
		if err := e.emit(end); err != nil {
			return nil, err
		}
		if end.State != record.Done && end.State != record.There {
			failed = fmt.Errorf("%s: adding a rule: %s", server, end.Error)
			break
		}
		e.learn(server, firewall.StoredRule{Store: firewall.Local, ID: c.ID, Raw: *end.After})
	}
	live, err := adding.Finish()
	if err != nil {
		live = facts.Unknown[bool](printable.Line(err.Error()))
	}
	return failed, e.emit(record.ChangesInForce{Server: server, Live: live, At: e.now()})
}

// learn adds a rule to what is known of a server.
func (e *Engine) learn(server string, r firewall.StoredRule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.facts[server]
	f.Firewall.Rules = append(slices.Clone(f.Firewall.Rules), r)
	e.facts[server] = f
}

// ruleOf is the rule that a planned change adds.
func (e *Engine) ruleOf(c record.PlannedChange) (rule.Rule, error) {
	from, err := parse(c.From)
	return firewall.Change{ID: c.ID, Group: c.Service, Ports: c.Ports, From: from, Profiles: c.Profiles, Why: c.Why}.Rule(e.Site.Name), err
}

// add asks a server for one rule and says what became of it.
func (e *Engine) add(adding *script.Changer, server string, c record.PlannedChange) record.ChangeEnded {
	end := record.ChangeEnded{ID: c.ID, Server: server, At: e.now()}
	wanted, err := e.ruleOf(c)
	if err != nil {
		end.State, end.Error = record.Failed, printable.Line(err.Error())
		return end
	}
	from, _ := parse(c.From)
	out, err := adding.Add(script.Rule{ID: c.ID, Name: wanted.Name, Description: wanted.Desc, Ports: c.Ports, From: from, Profiles: c.Profiles})
	end.At = e.now()
	var said *script.Error
	switch {
	case errors.As(err, &said):
		end.State, end.Error = record.Failed, printable.Line(said.Error())
		return end
	case err != nil:
		end.State, end.Error = record.InDoubt, printable.Line(err.Error())
		return end
	}
	end.After = &out.Stored
	same := sameEffect(out.Stored, wanted)
	switch {
	case out.Kind == "added" && same:
		end.State = record.Done
	case out.Kind == "added":
		end.State, end.Error = record.Done, "the server stored something else than was asked for"
	case out.Kind == "exists" && same:
		end.State, end.Before = record.There, &out.Stored
	default:
		end.State, end.Error, end.Before = record.Failed, "another rule has this id: "+printable.Line(out.Stored), &out.Stored
	}
	return end
}

// sameEffect tells whether a stored rule does what the wanted one does. Names and descriptions do not count.
func sameEffect(stored string, wanted rule.Rule) bool {
	r, err := rule.Parse(stored)
	if err != nil {
		return false
	}
	return r.SameEffect(wanted)
}

// parse reads the sources of a planned change.
func parse(from []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range from {
		p, err := firewall.ParseSource(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func numbers(ports []uint16) string { return checks.List(ports, ",") }

func sources(from []string) string { return strings.Join(from, ", ") }
