package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/printable"
)

// JoinComplete is the check of the steps of joins.
const JoinComplete = "join.complete"

// JoinStep is one step of taking a rim into the site, and what became of it.
type JoinStep struct {
	Rim    string
	Title  string
	Guide  string // its steps in the guide's numbering
	By     string // who does the central node's part, as the record names it: certificate or hand
	State  string // as the record names it: started, waiting, done, by_hand, left, not_needed, failed
	Last   bool   // after it nothing is left to do
	Seen   string
	Owner  string
	Remedy string
}

func joinComplete(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Rims() {
		f := Finding{Verdict: Pass, Server: n.Name, Expected: "every step of the join is done", Level: facts.Observed}
		var said []string
		steps, ended := 0, false
		for _, s := range in.Join {
			if s.Rim != n.Name {
				continue
			}
			steps++
			ended = ended || s.Last
			label := fmt.Sprintf("%s (step %s of the guide)", s.Title, s.Guide)
			seen := strings.TrimSuffix(label+": "+s.Seen, ": ")
			is := func(v Verdict, seen, owner, remedy string) {
				// What comes first is to be put right first, and a failure before all else.
				if f.Verdict == Pass || v == Fail && f.Verdict != Fail {
					f.Verdict, f.Seen, f.Owner, f.Remedy = v, seen, cmp.Or(owner, "you"), cmp.Or(remedy, in.joinAgain(n.Name))
				}
			}
			switch s.State {
			case "done", "not_needed":
			case "by_hand":
				said = append(said, label)
			case "failed":
				is(Fail, "not done: "+seen, s.Owner, s.Remedy)
			case "left":
				is(Unknown, "left to do: "+seen, s.Owner, s.Remedy)
			case "waiting":
				is(Unknown, "broken off while it waited for a person: "+label, "", "")
			default:
				is(Unknown, "broken off, and its end was not seen: "+label, "", "")
			}
		}
		switch {
		case steps == 0:
			continue
		case f.Verdict != Pass:
		case !ended:
			f.Verdict, f.Seen = Unknown, "the join was broken off before its last step"
			f.Owner, f.Remedy = "you", in.joinAgain(n.Name)
		case len(said) > 0:
			f.Seen, f.Level = "every step is done; on a person's word alone: "+strings.Join(said, ", "), facts.Assumed
		default:
			f.Seen = "every step is done"
		}
		out = append(out, f)
	}
	return out
}

// joinAgain is how to go on with a join.
func (in Input) joinAgain(rim string) string {
	if in.Run == "" {
		return ""
	}
	again := fmt.Sprintf("run the same preflight join %s --rim %s again", printable.Argument(in.Run), rim)
	if slices.ContainsFunc(in.Join, func(s JoinStep) bool { return s.Rim == rim && s.By == "certificate" }) {
		again += ", with its --qrs flags"
	}
	return again
}
