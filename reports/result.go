package reports

import (
	"fmt"
	"slices"
	"time"

	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// standing is how a change stands. What was only looked at or asked for since then does not take the place of what the
// change has achieved: it is said beside it.
type standing struct {
	at       record.Record   // as the last command that did something to the change left it
	since    bool            // whether other commands came after that one
	verified *record.Record  // as the last verify after it left it
	idle     *record.Command // the last back-out after it, which took nothing back
}

func standingOf(r record.Record) standing {
	all := r.Run.Commands
	n := len(all) - 1
	for n > 0 && looksOnly(r, n) {
		n--
	}
	if n < 0 || looksOnly(r, n) {
		return standing{at: r} // it began with a look, and nothing came of it
	}
	s := standing{at: upTo(r, n), since: n < len(all)-1}
	for i := n + 1; i < len(all); i++ {
		switch {
		case all[i].Name == "verify":
			v := upTo(r, i)
			s.verified = &v
		case all[i].Name == "backout" && (all[i].ExitCode == nil || *all[i].ExitCode != record.ExitPassed):
			s.idle = &all[i]
		}
	}
	return s
}

// looksOnly tells whether a command left the change as it was: it only looked, or it was a back-out that took nothing back,
// nor did one after it.
func looksOnly(r record.Record, n int) bool {
	c := r.Run.Commands[n]
	switch c.Name {
	case "check", "verify":
		return true
	case "backout":
		return r.BackOut == nil || !slices.ContainsFunc(r.BackOut.Removals, func(m record.Removal) bool {
			return m.State != record.NotTried && !m.StartedAt.Before(c.StartedAt)
		})
	}
	return false
}

// upTo is the record at the end of an earlier command, after which others only looked, as far as they have not replaced what
// it saw: proofs of the same phase, and the findings, of which only the exit code is left.
func upTo(r record.Record, n int) record.Record {
	if n == len(r.Run.Commands)-1 {
		return r
	}
	later := r.Run.Commands[n+1].StartedAt
	r = r.Clone()
	r.Run.Commands = r.Run.Commands[:n+1]
	for i, q := range r.Proofs {
		if !q.At.Before(later) { // it has replaced one that is not known any more
			r.Proofs[i] = proof.Proof{ID: q.ID, Phase: q.Phase, From: q.From, To: q.To, Protocol: q.Protocol, Port: q.Port, Service: q.Service, Verdict: proof.NotTested}
		}
	}
	r.Findings = nil
	c := r.Run.Commands[n]
	if c.EndedAt == nil || c.ExitCode == nil {
		return r
	}
	r.Apply(record.CommandEnded{Error: c.Error, At: *c.EndedAt}) // its verdict again
	r.Run.Commands[n] = c
	r.Verdict.ExitCode = *c.ExitCode
	r.Verdict.Passed = *c.ExitCode == record.ExitPassed || *c.ExitCode == record.ExitIncomplete
	switch v := &r.Verdict; {
	case c.Error != "" || c.Name == "backout":
	case v.ExitCode == record.ExitFailed && v.Flows.Failed == 0:
		v.Summary = "a check failed; " + v.Summary
	case v.ExitCode == record.ExitIncomplete && v.Flows.NotTested == 0:
		v.Summary = "a check is unknown; " + v.Summary
	}
	return r
}

// says is something under a name.
type says struct{ what, text string }

// lines are what the change has achieved, first, and what came after it.
func (s standing) lines() []says {
	name, when := "now", ""
	if s.since {
		name = "result"
		if at := last(s.at).EndedAt; at != nil {
			when = moment(*at) + ", "
		}
	}
	all := takenBy(s.at)
	lines := []says{{name, when + outcome(s.at, all)}}
	if runs := only(takenEver(s.at), taken.runs); len(all) > 0 && joinSummary(s.at, all) == "" && len(runs) > 0 {
		lines = append(lines, says{"joined", joinedAre(s.at, runs)})
	}
	if v := s.verified; v != nil {
		text := moment(last(*v).StartedAt) + ", " + Outcome(*v)
		if tested(*v).NotTested < v.Verdict.Flows.NotTested {
			text += "; a flow that could not be tested then keeps the proof from before"
		}
		lines = append(lines, says{"last verify", text})
	}
	if c := s.idle; c != nil {
		became := "broke off before it took anything back"
		switch {
		case c.ExitCode == nil:
		case *c.ExitCode == record.ExitUsage:
			became = "was refused"
		default:
			became = "took nothing back"
		}
		lines = append(lines, says{"back-out", fmt.Sprintf("asked for on %s, and %s%s", moment(c.StartedAt), became, after(": ", c.Error))})
	}
	return lines
}

// takenBy are the rims that the result of a join is about: those it took, and those that run by earlier ones.
func takenBy(r record.Record) []taken {
	now := rimsOf(takenNow(r))
	if len(now) == 0 {
		return nil
	}
	return only(takenEver(r), func(t taken) bool { return t.runs() || slices.Contains(now, t.rim) })
}

// takenBackOn says when the run's rules were taken back, for one who wonders why they are not there; "" if they were not.
func takenBackOn(r record.Record) string {
	p := progressOf(r)
	if p.gone == 0 {
		return ""
	}
	var when time.Time
	for _, m := range r.BackOut.Removals {
		if m.EndedAt != nil && m.EndedAt.After(when) && (m.State == record.Removed || m.State == record.Absent) {
			when = *m.EndedAt
		}
	}
	which := "the rules of this run were"
	if left := p.added + p.doubt; left > 0 {
		which = fmt.Sprintf("%d of the %d rules of this run were", p.gone, p.gone+left)
	}
	return which + " taken back on " + when.UTC().Format(time.DateOnly)
}
