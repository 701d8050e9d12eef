package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
)

// ErrUnconfirmed is wrapped by the error of a BackOut that would cut off a running rim.
var ErrUnconfirmed = errors.New("not confirmed")

// BackOut takes back what the run added, the last first, on all servers at the same time: only rules of the run, and only
// those that are still exactly as they were left. It needs ConnectAll and Inspect before it, but goes on where a server
// could not be used. confirmed says that a running rim may be cut off.
func (e *Engine) BackOut(ctx context.Context, confirmed bool) error {
	if err := e.stage("backout"); err != nil {
		return err
	}
	rec := e.Record()
	todo := map[string][]record.PlannedChange{}
	for _, p := range slices.Backward(rec.Plan.Changes) {
		switch find(rec.Changes, p).State {
		case record.Done, record.Started, record.InDoubt:
			todo[p.Server] = append(todo[p.Server], p)
		}
	}
	if len(todo) > 0 && len(e.servers) == 0 {
		for server, changes := range todo {
			if err := e.notTried(server, changes); err != nil {
				return err
			}
		}
		return stopped("no server could be signed in to, so nothing was taken back")
	}
	if rims := e.cutsOff(todo); len(rims) > 0 && !confirmed {
		return fmt.Errorf("%w: taking the rules back cuts off %s", ErrUnconfirmed, strings.Join(rims, ", and "))
	}
	var broke firstError
	each(todo, func(server string, changes []record.PlannedChange) {
		broke.set(e.takeBack(ctx, server, changes, rec.Changes))
	})
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if rec := e.Record(); rec.BackOut != nil && rec.BackOut.State == "incomplete" {
		return stopped("not every rule could be taken back")
	}
	return nil
}

// cutsOff finds the rims that run, or may, and that rules to be taken back are for, and says of each why.
func (e *Engine) cutsOff(todo map[string][]record.PlannedChange) (rims []string) {
	for _, n := range e.Site.Rims() {
		at, known := e.sourceOf(n.Name)
		affected := slices.ContainsFunc(todo[e.Site.Central().Name], func(c record.PlannedChange) bool {
			return !known || slices.ContainsFunc(c.From, func(s string) bool {
				p, err := firewall.ParseSource(s)
				return err == nil && p.Contains(at)
			})
		})
		if !affected && len(todo[n.Name]) == 0 {
			continue
		}
		f, inspected := e.facts[n.Name]
		switch {
		case !inspected:
			rims = append(rims, n.Name+", which may be running: it was not inspected")
		case f.Phase() == facts.Joined:
			rims = append(rims, n.Name+", which is running")
		case f.Phase() == facts.PhaseUnknown && f.Runs("QlikSenseRepositoryService"):
			rims = append(rims, n.Name+", which may be running: the state of its repository service is not known ("+cmp.Or(f.State.Unknown, f.State.V.String())+")")
		}
	}
	return rims
}

// sourceOf is the address from which a rim dials the central node, as it was seen now or in an earlier command of the run.
func (e *Engine) sourceOf(rim string) (netip.Addr, bool) {
	f, ok := e.facts[rim]
	if !ok {
		for _, s := range e.Record().Servers {
			if s.Name == rim && s.Facts != nil {
				f = *s.Facts
			}
		}
	}
	p, _ := f.Peer(e.Site.Central().Name)
	return p.Source, p.Source.IsValid()
}

// takeBack takes back the rules of one server in one process there.
func (e *Engine) takeBack(ctx context.Context, server string, todo []record.PlannedChange, changes []record.Change) error {
	session := e.servers[server]
	if session == nil {
		return e.notTried(server, todo)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	removing := script.StartRemove(ctx, session)
	for _, p := range todo {
		stored := ""
		if c := find(changes, p); c.After != nil {
			stored = *c.After
		} else if raw, _, same := e.stored(p); same {
			stored = raw // the end of adding it was not seen, but it is there
		}
		if err := e.emit(record.RemovalStarted{ID: p.ID, Server: server, Stored: stored, At: e.now()}); err != nil {
			return err
		}
		out, err := removing.Remove(p.ID, stored)
		if err == nil && out.Kind == "differs" && stored == "" {
			// It came after the server was looked at, or the server could not be looked at.
			if wanted, bad := e.ruleOf(p); bad == nil && sameEffect(out.Stored, wanted) {
				if err := e.emit(record.RemovalStarted{ID: p.ID, Server: server, Stored: out.Stored, At: e.now()}); err != nil {
					return err
				}
				out, err = removing.Remove(p.ID, out.Stored)
			}
		}
		end := e.removed(server, p, out, err)
		if err := e.emit(end); err != nil {
			return err
		}
		if end.State == record.Uncertain {
			break // the process is gone, or does not answer any more
		}
	}
	removing.Finish() // how each rule ended was said
	return nil
}

// notTried says that a server's rules could not be taken back, for nobody could sign in there.
func (e *Engine) notTried(server string, todo []record.PlannedChange) error {
	for _, p := range todo {
		if err := e.emit(record.RemovalEnded{ID: p.ID, Server: server, State: record.NotTried, Error: server + " could not be signed in to", At: e.now()}); err != nil {
			return err
		}
	}
	return nil
}

// removed is what became of taking one rule back.
func (e *Engine) removed(server string, p record.PlannedChange, out script.Outcome, err error) record.RemovalEnded {
	end := record.RemovalEnded{ID: p.ID, Server: server, At: e.now()}
	var said *script.Error
	switch {
	case errors.As(err, &said):
		end.State, end.Error = record.NotTaken, printable.Line(said.Error())
	case err != nil:
		end.State, end.Error = record.Uncertain, printable.Line(err.Error())
	case out.Kind == "removed":
		end.State = record.Removed
	case out.Kind == "absent":
		end.State = record.Absent
	default:
		end.State, end.Found, end.Error = record.Differs, &out.Stored, "it is no longer as it was left, so it stays"
	}
	return end
}

// writeBackOut writes, for each server, PowerShell that takes back what the run adds there. It needs no tool but
// PowerShell on that server. It is written with the plan, when it can only name the rules; and once more when they are
// in, when it can say what they have to be like.
//
// adding are the rules that are about to be added: whatever became of them before, they have to be taken back again.
func (e *Engine) writeBackOut(adding map[string][]record.PlannedChange) (files []string, err error) {
	rec := e.Record()
	changes := slices.DeleteFunc(rec.Changes, func(c record.Change) bool {
		return slices.ContainsFunc(adding[c.Server], func(p record.PlannedChange) bool { return p.ID == c.ID })
	})
	todo := map[string][]record.PlannedChange{}
	for _, c := range rec.Plan.Changes {
		todo[c.Server] = append(todo[c.Server], c)
	}
	files = []string{}
	for _, n := range e.Site.Nodes {
		if len(todo[n.Name]) == 0 {
			continue
		}
		name := "backout/" + n.Name + ".ps1"
		if err := e.Folder.WriteFile(name, []byte(backOutText(rec.Run.ID, n.Name, todo[n.Name], changes))); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

const localRules = `HKLM:\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules`

// backOutText is the back-out of one server. A rule whose stored form is known is removed only if it is still that; one
// that was there before the run stays.
func backOutText(run, server string, todo []record.PlannedChange, changes []record.Change) string {
	lines := []string{
		fmt.Sprintf("# Takes back the firewall rules that run %s adds on %s.", run, server),
		"# Paste it there into PowerShell, as administrator. It touches no other rule. A rule that was seen once it was added is",
		"# removed only if it is still the same; one that was not seen is removed by its name.",
	}
	if slices.ContainsFunc(todo, func(p record.PlannedChange) bool { return comparable(find(changes, p)) }) {
		lines = append(lines, "$rules = Get-ItemProperty -LiteralPath "+firewall.Quote(localRules))
	}
	for _, p := range slices.Backward(todo) {
		switch c := find(changes, p); {
		case c.State == record.There:
			lines = append(lines, "# "+p.ID+" was there before: it stays")
		case c.State == record.Failed, c.State == record.NotNeeded, c.State == record.Void:
			lines = append(lines, "# "+p.ID+" was not added")
		case c.State == record.TakenBack:
			lines = append(lines, "# "+p.ID+" was taken back")
		case comparable(c):
			lines = append(lines, fmt.Sprintf("if ($rules.%s -ceq %s) { %s } else { %s }", firewall.Quote(p.ID), firewall.Quote(*c.After), p.Inverse, firewall.Quote(p.ID+" is not there, or not as it was left: passed over")))
		default:
			lines = append(lines, p.Inverse)
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// comparable tells whether it is known how a rule was stored, in characters that every console takes.
func comparable(c record.Change) bool {
	return c.State == record.Done && c.After != nil && strings.IndexFunc(*c.After, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
