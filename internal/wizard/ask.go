package wizard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/record"
)

// Question is what is asked now; false while an action runs, and at the end.
func (w Wizard) Question() (Question, bool) {
	if _, running := w.Action(); running || w.at == over {
		return Question{}, false
	}
	q := w.ask()
	q.Step = w.Step()
	if said := w.said[q.ID+" "+q.Of]; said != "" && proposed[q.ID] {
		q.Default = said
	}
	return q, true
}

// proposed are the questions whose earlier answer is proposed again: those about the site and the sign-in. What was decided
// once about servers is decided anew.
var proposed = map[string]bool{"site": true, "file": true, "ticket": true, "certificate": true, "key": true}

func (w Wizard) ask() Question {
	switch w.at {
	case atSite:
		q := Question{ID: "site", Kind: Choice, Text: "Which site is this about?", Flag: "-f FILE"}
		for i, c := range w.setup.Candidates {
			q.Options = append(q.Options, Option{Name: c.Name, Text: c.About()})
			if i == 0 && c.Wrong == nil {
				q.Default = c.Name
			}
		}
		if w.setup.New.Make != nil {
			q.Options = append(q.Options, Option{"n", newSite, "a few questions, then a site file you can edit"})
		}
		if w.setup.Open != nil {
			q.Options, q.Free = append(q.Options, Option{"o", anotherFile, "a site file that is somewhere else"}), "the path of a site file"
		}
		return q
	case atNew:
		q, _ := w.draft.Question()
		q.Flag = "preflight init " + q.Flag
		return q
	case atFile:
		return Question{ID: "file", Kind: Text, Text: "The site file", Flag: "-f FILE"}
	case atPassword:
		user := w.users()[w.user]
		_, given := w.answers.Passwords.Of(user)
		return Question{
			ID: "password", Of: user, Kind: Secret, Text: "Password of " + user, Given: given, Flag: "--password-stdin",
			Notes: []string{"The password is tried on one server first. If it is wrong, the others are not tried, so nobody is locked out. It is kept in memory only."},
		}
	case atTicket:
		return Question{
			ID: "ticket", Kind: Text, Optional: true, Text: "Number of the change ticket", Flag: "--ticket",
			Notes: []string{"It goes into the record and the ticket text. Then every server is signed in to and looked at: nothing is changed."},
		}
	case atConnect:
		q := Question{ID: "connect", Kind: Choice, Text: "Try again?", Default: again, Options: []Option{{"r", again, "when what is named above is put right"}}}
		rejected := slices.ContainsFunc(w.rec.Servers, func(s record.Server) bool { return s.Failure != nil && s.Failure.Kind == "rejected" })
		if rejected && !w.answers.Candidate.Simulated { // a simulated site brings its password
			q.Text, q.Default = "What now?", password
			q.Options = append([]Option{{"p", password, "sign in with another password"}}, q.Options...)
		}
		q.Options = append(q.Options, leaveNow)
		return q
	case atInspect:
		return Question{ID: "inspect", Kind: Choice, Text: "Go on to the review?", Default: next, Options: []Option{
			{"n", next, "what would be added, and why"}, {"r", again, "look at the servers once more"}, leaveNow,
		}}
	case atReview:
		return Question{ID: "review", Kind: Choice, Text: "Go on to apply this plan?", Default: next, Flag: "preflight plan -f FILE, then preflight apply RUN --approve DIGEST", Options: []Option{
			{"n", next, "approve it; nothing is added before that"},
			{"w", leave, "the plan, its ticket and its way back are written: apply it when it is approved"},
		}}
	case atApproval:
		return Question{
			ID: "approve", Kind: Text, Text: "Type the site's name to go on", Must: w.rec.Site.Name, Flag: "preflight apply RUN --approve DIGEST",
			Notes: w.approvalNotes(),
		}
	case atApplied:
		q := Question{ID: "applied", Kind: Choice, Text: "What now?"}
		q.Options = append(q.Options, Option{"r", again, "when that is put right; what is in is not added twice"})
		return w.withUndo(q)
	case atProve:
		q := Question{ID: "prove", Kind: Choice, Text: "Go on to the report?", Default: next, Options: []Option{{"n", next, "how the run ended, and where everything is"}, {"r", again, "prove every flow once more"}}}
		if rim := w.nextRim(); rim.at == atJoin {
			q.Text, q.Options[0].Text = "Go on to the join of "+rim.answers.Rim+"?", "nothing is begun before you say how"
		} else if waiting := w.toJoin(); len(waiting) > 0 {
			q.Text = "No join of " + strings.Join(waiting, ", ") + " while a check fails. Go on to the report?"
		}
		return w.withUndo(q)
	case atUndo:
		q := YesNo("undo", fmt.Sprintf("Take back the %s that this run added?", checks.Count(w.rec.InPlace(), "rule", "rules")))
		q.Default, q.Flag = no, "preflight backout RUN"
		return q
	case atJoin:
		q := Question{ID: "join", Of: w.answers.Rim, Kind: Choice, Text: "Take " + w.answers.Rim + " into the site?", Flag: "preflight join RUN --rim " + w.answers.Rim}
		if w.answers.Candidate.Simulated {
			q.Notes = []string{"A simulated site has no QMC to click in: its join is with its own client certificate."}
		} else {
			q.Options = append(q.Options, Option{"h", byHand, "you create the node in the QMC; preflight says what to click, unlocks and watches"})
		}
		q.Options = append(q.Options, Option{"c", certificate, "preflight does it with the site's client certificate"}, Option{"l", later, "leave it out of the site for now"})
		q.Default = q.Options[0].Name
		return q
	case atCertificate:
		return Question{ID: "certificate", Kind: Text, Text: "File of the site's client certificate (client.pem)", Flag: "--qrs-cert", Notes: []string{whereCertificate}}
	case atKey:
		return Question{ID: "key", Kind: Text, Text: "File of its key (client_key.pem)", Flag: "--qrs-key", Notes: []string{whereCertificate}}
	case atConfirm:
		q := YesNo("confirm certificate", "Use the site's client certificate for this join?")
		q.Of, q.Default, q.Flag = w.answers.Rim, no, "--qrs-auth certificate"
		q.Notes = []string{"This certificate may do everything in the site: it is the site's master key. preflight uses it to create the node, to have its certificate sent, to look at its services and to add it to the virtual proxy; it is sent nowhere and kept nowhere. The record says that it was used."}
		return q
	case atJoined:
		on := "to the report"
		if other := w.otherRim(); other.at == atJoin {
			on = fmt.Sprintf("to the join of %s; %s is left as it is", other.answers.Rim, w.answers.Rim)
		}
		return Question{ID: "joined", Of: w.answers.Rim, Kind: Choice, Text: "What now?", Default: next, Options: []Option{
			{"n", next, on}, {"r", again, "go on with the join: what is done is not done twice"},
		}}
	}
	return Question{ID: "report", Kind: Choice, Text: "This is the end.", Default: leave, Options: []Option{{"n", leave, "the summary stays on the screen"}}}
}

var leaveNow = Option{"w", leave, "end here"}

const whereCertificate = `It lies on the central node in C:\ProgramData\Qlik\Sense\Repository\Exported Certificates\.Local Certificates, with root.pem beside it.`

// withUndo adds to a question what can be done about rules that are in.
func (w Wizard) withUndo(q Question) Question {
	if w.rec.InPlace() > 0 {
		q.Options = append(q.Options, Option{"u", undo, "take back what this run added"})
	}
	q.Options = append(q.Options, leaveNow)
	return q
}

// approvalNotes say what is approved.
func (w Wizard) approvalNotes() []string {
	var notes []string
	servers := map[string]int{}
	for _, c := range w.rec.Plan.Changes {
		servers[c.Server]++
	}
	if len(servers) == 0 {
		notes = append(notes, "No rule has to be added. What works is proven, with listeners of preflight's own for a few seconds on ports that nobody uses yet.")
	}
	for _, s := range w.rec.Servers {
		if n := servers[s.Name]; n > 0 {
			notes = append(notes, fmt.Sprintf("%s will be added on %s.", checks.Count(n, "rule", "rules"), s.Name))
		}
	}
	if len(servers) > 0 {
		notes = append(notes, "Nothing else is changed. The way back is written already.")
	}
	if n := len(w.rec.Plan.Requests); n > 0 {
		notes = append(notes, fmt.Sprintf("%s for the owners of policies in gpo-request.txt; a rule added here would be void.", checks.Count(n, "rule waits", "rules wait")))
	}
	return append(notes, "After this step you cannot go back to the questions; you can undo the rules.")
}

// About is a candidate in a few words.
func (c Candidate) About() string {
	switch {
	case c.Wrong != nil:
		return "cannot be used: " + c.Wrong.Error()
	case c.Simulated:
		return "simulated servers on this machine; touches nothing real"
	}
	var parts []string
	if c.File != "" {
		parts = append(parts, c.File)
	}
	rims := len(c.Site.Rims())
	parts = append(parts, "1 central, "+checks.Count(rims, "rim", "rims"))
	if c.Last != "" {
		parts = append(parts, c.Last)
	}
	return strings.Join(parts, ", ")
}

// Chosen is the candidate that an answer to the question about the site would choose, false if that is none that can be
// used.
func (w Wizard) Chosen(answer string) (Candidate, bool) {
	for _, c := range w.setup.Candidates {
		if c.Name == answer && c.Wrong == nil {
			return c, true
		}
	}
	return Candidate{}, false
}
