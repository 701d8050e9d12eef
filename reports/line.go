package reports

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
)

// Line is an event as a line of progress, or a few; "" if it is not worth one.
func Line(e record.Event) string { return printable.Text(line(e)) }

func line(e record.Event) string {
	switch e := e.(type) {
	case record.StageStarted:
		return e.Stage
	case record.ServerReached:
		if e.Simulated {
			return "  " + e.Server + ": a simulated server"
		}
	case record.ServerConnected:
		return fmt.Sprintf("  %s: signed in, %s, %s", e.Server, SignedIn(e.SignIn), Seconds(e.MS))
	case record.ServerFailed:
		s := "  " + flat(e.Error)
		for _, hint := range e.Hints {
			s += "\n    hint: " + flat(hint)
		}
		return s
	case record.ServerInspected:
		return fmt.Sprintf("  %s: %s", e.Server, Inspected(e.Facts.Windows, e.Facts.Release()))
	case record.Planned:
		if len(e.Changes)+len(e.Already)+len(e.Blocked) == 0 {
			return "  nothing to compare: no server's rules could be read"
		}
		return "  " + checks.Count(len(e.Changes), "rule", "rules") + " to add" + stands(e.Already, e.Blocked) + after("; digest ", fmt.Sprintf("%.12s", e.SHA256))
	case record.Replanned:
		s := "  planned again" + strings.Replace(stands(e.Already, e.Blocked), ",", ":", 1)
		if n := len(e.Unapproved); n > 0 {
			s += "; " + checks.Count(n, "rule is", "rules are") + " wanted that the approved plan does not hold: nothing is added"
		}
		return s
	case record.BackOutWritten:
		return "  the way back is written: " + strings.Join(e.Files, " ")
	case record.ChangeStarted:
		return fmt.Sprintf("  %s: adding the rule for %s", e.Server, checks.List(e.Ports, ","))
	case record.ChangeEnded:
		if e.State != record.Done || e.Error != "" {
			word := map[record.ChangeState]string{record.Done: "added", record.There: "already there", record.Failed: "failed",
				record.NotNeeded: "not needed any more", record.Void: "VOID, so not added"}[e.State]
			return fmt.Sprintf("  %s: %s: %s%s", e.Server, cmp.Or(word, "in doubt"), e.ID, after(": ", flat(e.Error)))
		}
	case record.ChangesInForce:
		switch {
		case !e.Live.OK():
			return fmt.Sprintf("  %s: whether the rules are in force is not known: %s", e.Server, flat(e.Live.Unknown))
		case e.Live.V:
			return fmt.Sprintf("  %s: the rules are in force", e.Server)
		}
		return fmt.Sprintf("  %s: the rules are NOT in force", e.Server)
	case record.RemovalStarted:
		return fmt.Sprintf("  %s: taking back %s", e.Server, e.ID)
	case record.RemovalEnded:
		return fmt.Sprintf("  %s: %s: %s", e.Server, e.ID, removalState(e.State, e.Error))
	case record.JoinStarted:
		return "  " + strings.Join(wrap(fmt.Sprintf("%s: joining, %s", e.Rim, AskedWith(e.QRS, e.Certificate)), 74), "\n    ")
	case record.StepStarted:
		return fmt.Sprintf("  %s: step %s, %s ...", e.Rim, e.Guide, e.Title)
	case record.StepWaiting:
		s := fmt.Sprintf("  %s: waiting for you:", e.Rim)
		for _, line := range e.For {
			indent := "\n    " + map[bool]string{true: "  "}[strings.HasPrefix(line, " ")]
			s += indent + strings.Join(wrap(flat(line), 80-len(indent)), indent)
		}
		return s
	case record.StepEnded:
		s := fmt.Sprintf("%s: %s%s", e.Rim, StepState(e.State), after(": ", flat(e.Seen)))
		return "  " + strings.Join(wrap(s, 74), "\n    ")
	case record.Proved:
		p := e.Proof
		return fmt.Sprintf("  %s -> %s %d %s: %s", p.From, p.To, p.Port, p.Service, checks.Words(p.Verdict))
	}
	return ""
}

// stands is what is right already and what a rule added there would not open, counted in ports of servers.
func stands(already []record.PlannedRelied, blocked []record.PlannedVoid) string {
	right, void := map[string]bool{}, map[string]bool{}
	for _, a := range already {
		right[fmt.Sprint(a.Server, " ", a.Port)] = true
	}
	for _, b := range blocked {
		void[fmt.Sprint(b.Server, " ", b.Port)] = true
	}
	s := ", " + checks.Count(len(right), "port", "ports") + " right already"
	if len(void) > 0 {
		s += fmt.Sprintf(", %d that a rule added here would not open", len(void))
	}
	return s
}

// Inspected is what was read from a server, in the shortest words: its version of Windows and its Qlik Sense release.
func Inspected(windows, release string) string {
	return fmt.Sprintf("Windows %s, %s", flat(windows), cmp.Or(flat(release), "no Qlik Sense"))
}

// Seconds is how long something took.
func Seconds(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }
