package reports

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

// Text is the run for a terminal or a log: plain words, no colour, and of what came from servers nothing that acts.
func Text(r record.Record) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, release %s, %d nodes.%s\n\n", r.Site.Name, r.Site.Release, len(r.Site.Nodes), simulated(r))
	servers(&b, r)
	plan(&b, r)
	proofs(&b, r)
	findings(&b, r)
	fmt.Fprintf(&b, "%s: %s\n", Word(r), r.Verdict.Summary)
	return []byte(printable.Text(b.String()))
}

func simulated(r record.Record) string {
	if r.Run.Simulated {
		return " Simulated servers: nothing real was touched."
	}
	return ""
}

// Word is the run's verdict in one or two words.
func Word(r record.Record) string {
	switch r.Verdict.ExitCode {
	case record.ExitPassed:
		return "ready"
	case record.ExitPartly:
		return "partly applied"
	case record.ExitCancelled:
		return "cancelled"
	case record.ExitIncomplete:
		return "incomplete"
	case record.ExitConnect:
		return "not connected"
	}
	return "not ready"
}

// table writes rows whose cells are separated by tabs, aligned.
func table(b *bytes.Buffer, write func(w *tabwriter.Writer)) {
	var t bytes.Buffer
	w := tabwriter.NewWriter(&t, 0, 0, 2, ' ', 0)
	write(w)
	w.Flush()
	for line := range bytes.Lines(t.Bytes()) {
		b.Write(bytes.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
}

func servers(b *bytes.Buffer, r record.Record) {
	table(b, func(w *tabwriter.Writer) {
		for _, s := range r.Servers {
			switch {
			case s.Failure != nil:
				fmt.Fprintf(w, "%s\tFAILED  %s\n", s.Name, s.Failure.Error)
			case s.SignIn != nil:
				fmt.Fprintf(w, "%s\t%s  %.1f s\n", s.Name, SignedIn(*s.SignIn), float64(s.SignIn.MS)/1000)
			default:
				fmt.Fprintf(w, "%s\tnot tried\n", s.Name)
			}
		}
	})
	b.WriteString("\n")
}

// SignedIn is a sign-in in words.
func SignedIn(s record.SignIn) string {
	auth := map[string]string{"basic": "Basic", "ntlm": "NTLM", "kerberos": "Kerberos", "certificate": "client certificate"}[s.Auth]
	if auth == "" {
		auth = s.Auth
	}
	return fmt.Sprintf("%s, %s, %s, certificate %s", s.User, auth, s.Transport, s.Identity)
}

// plan is the difference between what is there and what is wanted: + added or to add, = right already, ! no rule of ours
// would help.
func plan(b *bytes.Buffer, r record.Record) {
	states := map[string]record.Change{}
	for _, c := range r.Changes {
		states[c.Server+" "+c.ID] = c
	}
	for _, s := range r.Servers {
		var rows []string
		counts := map[string]int{}
		uniform := sameState(r.Plan.Changes, s.Name, states)
		for _, c := range r.Plan.Changes {
			if c.Server != s.Name {
				continue
			}
			done := states[c.Server+" "+c.ID]
			state, why := changeWord(done), ""
			if done.Error != "" {
				why = ": " + done.Error
			}
			counts[state]++
			row := fmt.Sprintf("  + %s\tfrom %s\t%s: %s", checks.List(c.Ports, ","), strings.Join(c.From, " "), c.Service, strings.Join(dialled(c.Why), ", "))
			if !uniform || why != "" {
				row += "\t" + state + why
			}
			rows = append(rows, row)
		}
		for _, a := range together(r.Plan.Already, s.Name) {
			counts["right already"]++
			rows = append(rows, a)
		}
		for _, v := range r.Plan.Blocked {
			if v.Server == s.Name {
				counts["void"]++
				rows = append(rows, fmt.Sprintf("  ! %d\tfrom %s\t%s\t%s", v.Port, v.From, v.Service, v.Why))
			}
		}
		if len(rows) == 0 {
			continue
		}
		var head []string
		for _, word := range []string{"added", "added, in force", "added, NOT in force", "to add", "already there", "failed", "in doubt", "right already", "void"} {
			if counts[word] > 0 {
				head = append(head, fmt.Sprintf("%d %s", counts[word], word))
			}
		}
		fmt.Fprintf(b, "%s  %s\n", s.Name, strings.Join(head, ", "))
		table(b, func(w *tabwriter.Writer) {
			for _, row := range rows {
				fmt.Fprintln(w, row)
			}
		})
		b.WriteString("\n")
	}
}

// sameState tells whether all changes of a server have come equally far: then its heading says it.
func sameState(changes []record.PlannedChange, server string, states map[string]record.Change) bool {
	words := map[string]bool{}
	for _, c := range changes {
		if c.Server == server {
			words[changeWord(states[server+" "+c.ID])] = true
		}
	}
	return len(words) <= 1
}

// dialled is who dials, from the flows that a change is for: "qs-rim1" of "qs-rim1 -> qs-central 443 proxy".
func dialled(why []string) []string {
	var who []string
	for _, flow := range why {
		if from, _, ok := strings.Cut(flow, " -> "); ok && !slices.Contains(who, from) {
			who = append(who, from)
		}
	}
	return who
}

func changeWord(c record.Change) string {
	switch c.State {
	case "":
		return "to add"
	case record.Done:
		switch {
		case !c.InForce.OK():
			return "added"
		case c.InForce.V:
			return "added, in force"
		}
		return "added, NOT in force"
	case record.There:
		return "already there"
	case record.Failed:
		return "failed"
	}
	return "in doubt"
}

// together joins what one rule makes right into one row.
func together(all []record.PlannedRelied, server string) []string {
	type key struct{ by, from, service, name string }
	ports := map[key][]uint16{}
	var order []key
	for _, a := range all {
		if a.Server != server {
			continue
		}
		name := a.Why
		switch {
		case a.By != "" && a.Ours:
			name = "by " + a.By + ", ours"
		case a.By != "":
			name = fmt.Sprintf("by %q, not ours", cmp.Or(a.Name, a.By))
		}
		k := key{a.By, a.From, a.Service, name}
		if ports[k] == nil {
			order = append(order, k)
		}
		ports[k] = append(ports[k], a.Port)
	}
	var rows []string
	for _, k := range order {
		rows = append(rows, fmt.Sprintf("  = %s\tfrom %s\t%s\t%s", checks.List(ports[k], ","), k.from, k.service, k.name))
	}
	return rows
}

// proofs are the flows by pair of nodes, each with the verdict of every phase that was run.
func proofs(b *bytes.Buffer, r record.Record) {
	if len(r.Proofs) == 0 {
		return
	}
	var phases []proof.Phase
	for _, phase := range proof.Phases {
		if slices.ContainsFunc(r.Proofs, func(p proof.Proof) bool { return p.Phase == phase }) {
			phases = append(phases, phase)
		}
	}
	verdicts := map[string]proof.Verdict{}
	for _, p := range r.Proofs {
		verdicts[p.ID] = p.Verdict
	}
	latest := r.Latest()
	for i, p := range latest {
		if i == 0 || latest[i-1].From != p.From || latest[i-1].To != p.To {
			table(b, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%s -> %s\n", p.From, p.To)
				header := "  port\tservice"
				for _, phase := range phases {
					header += "\t" + strings.ReplaceAll(string(phase), "_", " ")
				}
				fmt.Fprintln(w, header+"\t")
				for _, q := range latest[i:] {
					if q.From != p.From || q.To != p.To {
						break
					}
					row := fmt.Sprintf("  %d\t%s", q.Port, q.Service)
					for _, phase := range phases {
						v := verdicts[strings.Replace(q.ID, string(q.Phase), string(phase), 1)]
						row += "\t" + cmp.Or(checks.Words(v), "-")
					}
					fmt.Fprintln(w, row+"\t"+q.Seen)
				}
			})
			b.WriteString("\n")
		}
	}
}

// findings shows what is not right, with what to do; what passed is counted.
func findings(b *bytes.Buffer, r record.Record) {
	passed := 0
	for _, f := range r.Findings {
		if f.Verdict == checks.Pass || f.Verdict == checks.NotApplicable {
			passed++
			continue
		}
		fmt.Fprintf(b, "%-7s  %-23s  %s\n", strings.ToUpper(string(f.Verdict)), f.Check, f.Server)
		fmt.Fprintf(b, "         %s\n", f.Seen)
		if f.Cause != "" && f.Cause != f.Seen {
			fmt.Fprintf(b, "         cause: %s\n", f.Cause)
		}
		if f.Remedy != "" {
			fmt.Fprintf(b, "         %s: %s\n", cmp.Or(f.Owner, "you"), f.Remedy)
		}
	}
	if passed > 0 {
		fmt.Fprintf(b, "PASS     %s\n", checks.Count(passed, "check", "checks"))
	}
	b.WriteString("\n")
}

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
		return fmt.Sprintf("  %s: signed in, %s, %.1f s", e.Server, SignedIn(e.SignIn), float64(e.MS)/1000)
	case record.ServerFailed:
		return strings.Join(append([]string{"  " + e.Error}, e.Hints...), "\n    hint: ")
	case record.ServerInspected:
		return fmt.Sprintf("  %s: Windows %s, %s", e.Server, e.Facts.Windows, cmp.Or(e.Facts.Release(), "no Qlik Sense"))
	case record.Planned:
		right := map[string]bool{}
		for _, a := range e.Already {
			right[fmt.Sprint(a.Server, " ", a.Port)] = true
		}
		return fmt.Sprintf("  %s to add, %s right already; digest %.12s",
			checks.Count(len(e.Changes), "rule", "rules"), checks.Count(len(right), "port", "ports"), e.SHA256)
	case record.BackOutWritten:
		return "  the way back is written: " + strings.Join(e.Files, " ")
	case record.ChangeStarted:
		return fmt.Sprintf("  %s: adding the rule for %s", e.Server, checks.List(e.Ports, ","))
	case record.ChangeEnded:
		if e.Error != "" {
			return fmt.Sprintf("  %s: %s %s", e.Server, strings.ReplaceAll(string(e.State), "_", " "), e.Error)
		}
	case record.ChangesInForce:
		switch {
		case !e.Live.OK():
			return fmt.Sprintf("  %s: whether the rules are in force is not known: %s", e.Server, e.Live.Unknown)
		case e.Live.V:
			return fmt.Sprintf("  %s: the rules are in force", e.Server)
		}
		return fmt.Sprintf("  %s: the rules are NOT in force", e.Server)
	case record.Proved:
		p := e.Proof
		return fmt.Sprintf("  %s -> %s %d %s: %s", p.From, p.To, p.Port, p.Service, checks.Words(p.Verdict))
	}
	return ""
}
