package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Dials are paced, per source and target, so that no port scan alarm goes off.
const (
	paceDials  = 15
	paceWindow = 5 * time.Second
)

// justBooted is how long after a server's start its services may still be about to take their ports.
const justBooted = 5 * time.Minute

// Prove tries every flow between the servers that were inspected, all at the same time. listen allows listeners of our
// own, for a few seconds, on ports that nobody uses.
func (e *Engine) Prove(ctx context.Context, phase proof.Phase, listen bool) error {
	return e.prove(ctx, phase, listen, func(proof.Question) bool { return true })
}

// ProveServices tries the flows from and to a server behind which a service listens; of the others it knows no more than
// before.
func (e *Engine) ProveServices(ctx context.Context, phase proof.Phase, server string) error {
	return e.prove(ctx, phase, false, func(q proof.Question) bool {
		return touches(q, server) && (q.Target == proof.TargetService || q.Verdict.Fails())
	})
}

// ProveServer tries the flows from and to a server, on the services that listen. Of those to another rim that waits for its
// certificates, and on whose port nobody listens yet, it knows no more than before: they are proven when that rim joins.
func (e *Engine) ProveServer(ctx context.Context, phase proof.Phase, server string) error {
	return e.prove(ctx, phase, false, func(q proof.Question) bool {
		early := q.Flow.To != server && q.Reason == proof.NothingListens && e.waits(q.Flow.To)
		return touches(q, server) && !early
	})
}

// waits tells whether a server is a rim that waits for its certificates.
func (e *Engine) waits(server string) bool { return slices.Contains(e.ToJoin(), server) }

func touches(q proof.Question, server string) bool {
	return q.Flow.From == server || q.Flow.To == server
}

// prove tries the flows that are wanted.
func (e *Engine) prove(ctx context.Context, phase proof.Phase, listen bool, wanted func(proof.Question) bool) error {
	if err := e.stage("prove"); err != nil {
		return err
	}
	if e.Site.Proof.Listen != nil && !*e.Site.Proof.Listen {
		listen = false
	}
	var questions []proof.Question
	keys := map[string]string{} // one for each listener
	for _, f := range e.flows {
		q := e.question(f, listen)
		if !wanted(q) {
			continue
		}
		if q.Target == proof.TargetListener {
			if keys[q.ID] == "" {
				keys[q.ID] = random()
			}
			q.Token, q.Key = random(), keys[q.ID]
		}
		questions = append(questions, q)
	}
	return cmp.Or(e.ask(ctx, phase, questions), ctx.Err())
}

// readyLimit is how long a server may take to get ready for a proof, while the others already listen.
const readyLimit = 30 * time.Second

var errNotReady = fmt.Errorf("it was not ready in %v", readyLimit)

// question decides how a flow is tried: on the service that listens there, on a listener of ours, or not at all.
func (e *Engine) question(f ports.Flow, listen bool) proof.Question {
	q := proof.Question{ID: fmt.Sprintf("%s:%d", f.To, f.Port), Flow: f, Target: proof.TargetNone, Verdict: proof.NotTested}
	skip := func(v proof.Verdict, format string, args ...any) proof.Question {
		q.Verdict, q.Reason = v, fmt.Sprintf(format, args...)
		return q
	}
	from, ok := e.facts[f.From]
	if !ok {
		return skip(proof.NotTested, "%s was not inspected", f.From)
	}
	to, ok := e.facts[f.To]
	if !ok {
		return skip(proof.NotTested, "%s was not inspected", f.To)
	}
	node, _ := e.Site.Node(f.To)
	peer, _ := from.Peer(f.To)
	switch {
	case len(peer.Addresses) == 0 && peer.Code > 0:
		return skip(proof.NoName, "%s cannot resolve %s (%d)", f.From, node.Host, peer.Code)
	case len(peer.Addresses) == 0:
		return skip(proof.NotTested, "%s did not say how it resolves %s", f.From, node.Host)
	case !peer.Source.IsValid():
		return skip(proof.NoRoute, "%s has no way to %s (%d)", f.From, peer.Addresses[0], peer.Code)
	case !peer.Addresses[0].Is4():
		return skip(proof.NotTested, "%s resolves %s to IPv6 addresses only; proofs are IPv4", f.From, node.Host)
	}
	q.Address, q.Source = peer.Addresses[0], peer.Source
	if !to.Listeners.OK() {
		return skip(proof.NotTested, "who listens on %s is not known: %s", f.To, to.Listeners.Unknown)
	}
	if l, ok := to.Listening(netip.AddrPortFrom(q.Address, f.Port)); ok {
		q.Target, q.Owner, q.Holder, q.Hold = proof.TargetService, l.Process, to.Holder(l, f.Part.Starter), e.Times.Hold
		q.Policy = policy(to, q, l.Process)
		return q
	}
	if l, ok := elsewhere(to, f); ok {
		return skip(proof.NotTested, "%s listens on %s of %s, and not on %s", cmp.Or(l.Process, "a program"), l.Address, f.To, netip.AddrPortFrom(q.Address, f.Port))
	}
	if !listen {
		return skip(proof.NotTested, proof.NothingListens)
	}
	if why := soonTaken(node, to); why != "" {
		return skip(proof.NotTested, proof.NothingListens+": %s", why)
	}
	q.Target = proof.TargetListener
	q.Policy = policy(to, q, "powershell")
	return q
}

// elsewhere finds where the very program that a flow is for listens, at other addresses than the one that is dialled, as a
// database that takes connections from its own server alone: its port is not free to be borrowed.
func elsewhere(s facts.Server, f ports.Flow) (facts.Listener, bool) {
	for _, l := range s.Listeners.V {
		holder := s.Holder(l, f.Part.Starter)
		if l.Address.Port() == f.Port && l.Address.Addr().Unmap().Is4() && (holder == facts.Qlik || holder == facts.Likely) {
			return l, true
		}
	}
	return facts.Listener{}, false
}

// policy is what the stored rules of a target say about a dial to a program there.
func policy(to facts.Server, q proof.Question, program string) *firewall.Decision {
	d := firewall.Evaluate(to.Firewall, firewall.Packet{From: q.Source, To: q.Address, Port: q.Flow.Port, Program: program})
	return &d
}

// soonTaken tells why a free port of a server must not be borrowed: its service may be about to take it.
func soonTaken(n site.Node, s facts.Server) string {
	if !s.Services.OK() {
		return "its services could not be read: " + s.Services.Unknown
	}
	for _, sv := range s.Services.V {
		if strings.Contains(sv.State, "Pending") {
			return sv.Name + " is " + strings.ToLower(sv.State)
		}
	}
	switch {
	case !s.UptimeS.OK():
		return "when it started is not known: " + s.UptimeS.Unknown
	case time.Duration(s.UptimeS.V)*time.Second < justBooted:
		return "it started less than 5 minutes ago"
	case n.Role == site.Rim && !s.State.OK():
		return "the state of its repository service is not known: " + s.State.Unknown
	case n.Role == site.Rim && s.State.V != facts.CertificatesNotInstalled:
		return "its repository service is " + s.State.V.String()
	}
	return ""
}

// ask runs both sides of every question: one process per server does all its listening and dialling. Every side listens
// before the first is told to go. A question is judged as soon as both its ends have reported.
func (e *Engine) ask(ctx context.Context, phase proof.Phase, questions []proof.Question) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sides := e.sides(questions)
	var mu sync.Mutex
	var broke firstError
	reports := map[string]proof.Report{}
	judge := func() {
		over := func(name string) bool {
			_, asked := sides[name]
			_, reported := reports[name]
			return reported || !asked
		}
		var rest []proof.Question
		for _, q := range questions {
			if q.Target != proof.TargetNone && !(over(q.Flow.From) && over(q.Flow.To)) {
				rest = append(rest, q)
				continue
			}
			p := proof.Judge(phase, q, reports[q.Flow.From], reports[q.Flow.To])
			p.At = e.now()
			broke.set(e.emit(record.Proved{Proof: p, At: p.At}))
		}
		questions = rest
	}
	report := func(name string, r proof.Report) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return // what was broken off shows nothing
		}
		reports[name] = r
		judge()
	}
	judge()
	ready := map[string]*script.Prover{}
	each(sides, func(name string, side script.Side) {
		ctx, giveUp := context.WithCancelCause(ctx)
		late := time.AfterFunc(readyLimit, func() { giveUp(errNotReady) })
		p := script.StartProve(ctx, e.servers[name], side)
		err := p.Ready()
		if !late.Stop() && err == nil {
			err = errNotReady
		}
		if err != nil {
			report(name, proof.Report{Lost: printable.Line(err.Error())})
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ready[name] = p
	})
	for _, p := range ready {
		p.Go()
	}
	each(ready, func(name string, p *script.Prover) { report(name, p.Report()) })
	return broke.err
}

// sides splits the questions into what each server is to do.
func (e *Engine) sides(questions []proof.Question) map[string]script.Side {
	sides := map[string]script.Side{}
	dialled := map[[2]string]int{}
	last := time.Duration(0)
	for _, q := range questions {
		if q.Target == proof.TargetNone {
			continue
		}
		f := q.Flow
		n := dialled[[2]string{f.From, f.To}]
		dialled[[2]string{f.From, f.To}]++
		d := script.Dial{ID: q.ID, Address: q.Address, Port: f.Port, Words: string(f.Speech), After: time.Duration(n/paceDials) * paceWindow}
		last = max(last, d.After)
		to := sides[f.To]
		if q.Target == proof.TargetListener {
			d.Words, d.Token = "token", q.Token
			to.Listens = listens(to.Listens, f.Port, q)
		} else {
			peer, _ := e.facts[f.From].Peer(f.To)
			to.Watches = watches(to.Watches, f.Port, peer.Source)
		}
		sides[f.To] = to
		from := sides[f.From]
		from.Dials = append(from.Dials, d)
		sides[f.From] = from
	}
	for name, s := range sides {
		s.Limits = script.Limits{Dial: e.Times.Dial, Hold: e.Times.Hold, Most: last + e.Times.Dial + e.Times.Margin}
		if len(s.Watches) > 0 {
			// A service's other connections could be taken for the expected one: look until the dials can be over.
			s.Limits.Least = last + e.Times.Hold
		}
		sides[name] = s
	}
	return sides
}

// listens adds a question to a server's listeners.
func listens(all []script.Listen, port uint16, q proof.Question) []script.Listen {
	if i := slices.IndexFunc(all, func(l script.Listen) bool { return l.Port == port }); i >= 0 {
		all[i].Tokens = append(all[i].Tokens, q.Token)
		return all
	}
	return append(all, script.Listen{Port: port, Key: q.Key, Tokens: []string{q.Token}})
}

func watches(all []script.Watch, port uint16, from netip.Addr) []script.Watch {
	if i := slices.IndexFunc(all, func(w script.Watch) bool { return w.Port == port }); i >= 0 {
		all[i].From = append(all[i].From, from)
		return all
	}
	return append(all, script.Watch{Port: port, From: []netip.Addr{from}})
}

func random() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
