package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
)

// Apply adds the rules of the plan, on all servers at the same time, on each one after the other. The way back is on
// disk before the first is added, and each intent before the server is asked. On a server where one rule fails, those
// after it are not tried.
func (e *Engine) Apply(ctx context.Context, how, value string) error {
	if err := e.stage("apply"); err != nil {
		return err
	}
	if err := e.emit(record.Approved{How: how, Value: value, At: e.now()}); err != nil {
		return err
	}
	plan := e.Record().Plan
	todo := map[string][]record.PlannedChange{}
	for _, c := range plan.Changes {
		todo[c.Server] = append(todo[c.Server], c)
	}
	files, err := e.writeBackOut(todo)
	if err == nil && len(files) > 0 {
		err = e.emit(record.BackOutWritten{Files: files, At: e.now()})
	}
	if err != nil {
		return err
	}
	var broke, incomplete firstError
	each(todo, func(server string, changes []record.PlannedChange) {
		failed, err := e.applyOn(ctx, server, changes)
		broke.set(err)
		incomplete.set(failed)
	})
	_, err = e.writeBackOut(todo)
	broke.set(err)
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if incomplete.err != nil {
		return stopped("%w", incomplete.err)
	}
	return nil
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
	}
	live, err := adding.Finish()
	if err != nil {
		live = facts.Unknown[bool](printable.Line(err.Error()))
	}
	return failed, e.emit(record.ChangesInForce{Server: server, Live: live, At: e.now()})
}

// add asks a server for one rule and says what became of it.
func (e *Engine) add(adding *script.Changer, server string, c record.PlannedChange) record.ChangeEnded {
	end := record.ChangeEnded{ID: c.ID, Server: server, At: e.now()}
	from, err := parse(c.From)
	if err != nil {
		end.State, end.Error = record.Failed, printable.Line(err.Error())
		return end
	}
	wanted := firewall.Change{ID: c.ID, Group: c.Service, Ports: c.Ports, From: from, Profiles: c.Profiles, Why: c.Why}.Rule(e.Site.Name)
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
