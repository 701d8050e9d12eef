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
	files, err := e.writeBackOut(todo)
	if err == nil && e.Record().BackOut == nil { // a crash came between writing them and saying so
		err = e.emit(record.BackOutWritten{Files: files, At: e.now()})
	}
	if err != nil {
		return err
	}
	before := e.Record().Changes
	var broke, incomplete firstError
	each(todo, func(server string, changes []record.PlannedChange) {
		failed, err := e.applyOn(ctx, server, changes, before)
		broke.set(err)
		incomplete.set(failed)
	})
	_, err = e.writeBackOut(nil)
	broke.set(err)
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if incomplete.err != nil {
		return stopped("%w", incomplete.err)
	}
	return nil
}

// readable tells whether every server of the plan, and how the others reach it, could be read again: where that is not
// so nothing is added.
func (e *Engine) readable() error {
	routes := e.routes()
	for _, c := range e.Record().Plan.Changes {
		f, ok := e.facts[c.Server]
		if !ok {
			return stopped("%s was not inspected", c.Server)
		}
		if len(f.Firewall.Unknown) > 0 {
			return stopped("the rules of %s could not be read again: %s", c.Server, strings.Join(f.Firewall.Unknown, "; "))
		}
		for _, f := range e.flows {
			if _, known := routes[[2]string{f.From, f.To}]; f.To == c.Server && !known {
				return stopped("how %s reaches %s is not known any more: it does not resolve the name, or has no way to it", f.From, f.To)
			}
		}
	}
	return nil
}

// settle says what has become of the changes that need not be made any more. It returns by server those that are to be
// made, as planning again gives them; a server where rules of the plan are in place already is there too, if only to be
// asked whether they are in force.
func (e *Engine) settle(now record.Planned) (map[string][]record.PlannedChange, error) {
	rec := e.Record()
	todo := map[string][]record.PlannedChange{}
	for _, c := range rec.Plan.Changes {
		if i := slices.IndexFunc(now.Changes, func(n record.PlannedChange) bool { return n.ID == c.ID && n.Server == c.Server }); i >= 0 {
			todo[c.Server] = append(todo[c.Server], now.Changes[i])
			continue
		}
		was := find(rec.Changes, c).State
		stored, there, same := e.stored(c)
		if same {
			todo[c.Server] = append(todo[c.Server], nil...)
		}
		end := record.ChangeEnded{ID: c.ID, Server: c.Server, State: record.NotNeeded, At: e.now()}
		switch blocked := against(now.Blocked, c); {
		case there && (was == record.Done || same && was == record.There):
			continue // as the run left it, or changed by hand since: the run's own all the same
		case there && !same && maybeIn(was):
			continue // what it is, only somebody who looks can tell
		case same && maybeIn(was):
			end.State, end.After = record.Done, &stored
		case same:
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

// maybeIn tells whether a change was tried and its end not seen.
func maybeIn(s record.ChangeState) bool { return s == record.Started || s == record.InDoubt }

// find is what became of a planned change; zero if it was not tried.
func find(changes []record.Change, p record.PlannedChange) record.Change {
	for _, c := range changes {
		if c.ID == p.ID && c.Server == p.Server {
			return c
		}
	}
	return record.Change{}
}

// stored is the rule with a change's id as the server stores it, whether it is there, and whether it does what the change
// wants.
func (e *Engine) stored(c record.PlannedChange) (raw string, there, same bool) {
	wanted, err := e.ruleOf(c)
	for _, r := range e.facts[c.Server].Firewall.Rules {
		if r.Store == firewall.Local && strings.EqualFold(r.ID, c.ID) {
			return r.Raw, true, err == nil && sameEffect(r.Raw, wanted)
		}
	}
	return "", false, false
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

// applyOn adds the rules of one server in one process there. before is how far the run's changes had come. failed is why it
// stopped there; err is the run's own.
func (e *Engine) applyOn(ctx context.Context, server string, changes []record.PlannedChange, before []record.Change) (failed, err error) {
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
		if end.State == record.There && maybeIn(find(before, c).State) {
			end.State, end.Before = record.Done, nil // it came late: the run's own
		}
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
