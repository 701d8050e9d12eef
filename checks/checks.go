// Package checks is the catalogue of what can be wrong with a site, each with what to do and whose it is. Only this
// package makes findings. A check looks at facts, never at a server.
package checks

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Verdict is what a check found.
type Verdict string

const (
	Pass          Verdict = "pass"
	Warn          Verdict = "warn"
	Fail          Verdict = "fail" // stops the join
	Unknown       Verdict = "unknown"
	NotApplicable Verdict = "not_applicable"
)

// Finding is a check's verdict on a server or on the site.
type Finding struct {
	Check    string      `json:"check"`
	Verdict  Verdict     `json:"verdict"`
	Server   string      `json:"server"` // "" for the site as a whole
	Title    string      `json:"title"`
	Seen     string      `json:"seen"`
	Expected string      `json:"expected"`
	Cause    string      `json:"cause"`
	Owner    string      `json:"owner"` // whose it is: you, or the team that has to be asked
	Remedy   string      `json:"remedy"`
	Level    facts.Level `json:"level"`
	Waived   *string     `json:"waived"`
}

// Input is all that checks look at.
type Input struct {
	Site     site.Site
	SignedIn map[string]bool         // servers
	Failures map[string]Failure      // servers that could not be used
	Servers  map[string]facts.Server // inspected
	Planned  bool                    // a plan was made of what was read
	Lost     map[string][]ports.Flow // by server: flows whose addresses are not known
	Missing  map[string][]Missing    // by server: rules that are wanted and not there
	Blocked  map[string][]Blocked    // by server: what no rule of ours would open
	Applied  []Applied
	Proofs   []proof.Proof // the latest of each flow
}

// Failure is why a server could not be used.
type Failure struct {
	Seen   string
	Remedy string
}

// Missing is a rule that would have to be added.
type Missing struct {
	Ports []uint16
	From  []string
}

// Blocked is a port that stays closed whatever is added, and why.
type Blocked struct {
	Port uint16
	From string
	Why  string
}

// Applied is a rule that was to be added, and what became of it.
type Applied struct {
	Server  string
	Ports   []uint16
	Added   facts.Value[bool] // unknown: its end was not seen
	InForce facts.Value[bool]
	Error   string
}

// Check is one entry of the catalogue.
type Check struct {
	ID    string
	Title string
	Eval  func(Input) []Finding
}

// Catalogue is every check, in the order in which findings are shown.
var Catalogue = []Check{
	{"winrm.sign-in", "every server can be reached and signed in to", signIn},
	{"server.readable", "every server can be inspected", readable},
	{"firewall.rule-missing", "a firewall rule admits every flow", ruleMissing},
	{"firewall.rule-blocked", "nothing overrules the rules that are needed", ruleBlocked},
	{"firewall.rule-in-force", "every rule that was added is in force", ruleInForce},
	{"flow.reachable", "every flow is proven from the other node", reachable},
	{"rim.state", "each rim waits for its certificates, or has them", rimState},
}

// All evaluates the catalogue. Findings come in its order, then by server as in the site file.
func All(in Input) []Finding {
	var all []Finding
	for _, c := range Catalogue {
		for _, f := range c.Eval(in) {
			f.Check, f.Title = c.ID, c.Title
			all = append(all, f)
		}
	}
	return all
}

//go:embed pages/*.md
var pages embed.FS

// Page is the page of a check, for `preflight explain`.
func Page(id string) (string, error) {
	b, err := pages.ReadFile("pages/" + id + ".md")
	if err != nil {
		return "", fmt.Errorf("there is no check %q", id)
	}
	return string(b), nil
}

func signIn(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		f, failed := in.Failures[n.Name]
		switch {
		case in.SignedIn[n.Name]:
			out = append(out, Finding{Verdict: Pass, Server: n.Name, Seen: "signed in", Level: facts.Observed})
		case failed:
			out = append(out, Finding{Verdict: Fail, Server: n.Name, Seen: f.Seen, Expected: "signed in", Cause: f.Seen, Owner: "you", Remedy: f.Remedy, Level: facts.Observed})
		default:
			out = append(out, Finding{Verdict: Unknown, Server: n.Name, Seen: "not tried", Expected: "signed in", Level: facts.Observed})
		}
	}
	return out
}

func readable(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		s, inspected := in.Servers[n.Name]
		f := Finding{Verdict: Unknown, Server: n.Name, Expected: "everything can be read", Owner: "you", Level: facts.Observed}
		switch failure, failed := in.Failures[n.Name]; {
		case !in.SignedIn[n.Name]:
			continue
		case failed:
			f.Seen, f.Remedy = failure.Seen, failure.Remedy
		case !inspected:
			f.Seen = "not inspected"
		case len(s.Missing) > 0:
			var what []string
			for _, m := range s.Missing {
				what = append(what, m.Fact+" ("+m.Why+")")
			}
			f.Seen = "not read: " + strings.Join(what, ", ")
		default:
			f.Verdict, f.Seen, f.Owner = Pass, "everything was read", ""
		}
		out = append(out, f)
	}
	return out
}

func ruleMissing(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		s, inspected := in.Servers[n.Name]
		missing := in.Missing[n.Name]
		f := Finding{Verdict: Unknown, Server: n.Name, Expected: "a rule that admits every source of every port", Level: facts.Inferred}
		unread := unread(s, "rules-local", "rules-policy", "rules-mdm", "settings")
		switch {
		case !inspected:
			continue
		case unread != "":
			f.Seen = unread
		case !in.Planned:
			f.Seen = "the rules were read, but not compared with what is wanted"
		case len(missing) > 0:
			numbers, from := sourcesOf(missing)
			f.Verdict = Fail
			f.Seen = fmt.Sprintf("%s no rule that admits %s: %s", Count(len(numbers), "port has", "ports have"), strings.Join(from, ", "), List(numbers, " "))
			f.Cause, f.Owner, f.Remedy = "the rules are not there", "you", "add the rules that the plan shows"
		case len(in.Lost[n.Name]) > 0:
			var flows []string
			for _, l := range in.Lost[n.Name] {
				flows = append(flows, l.String())
			}
			f.Seen = "the addresses are not known of " + strings.Join(flows, ", ")
		case len(in.Blocked[n.Name]) > 0:
			f.Verdict, f.Seen = NotApplicable, "see firewall.rule-blocked"
		default:
			f.Verdict, f.Seen = Pass, "rules admit every flow"
		}
		out = append(out, f)
	}
	return out
}

// sourcesOf are the ports and the sources of rules that are missing, sorted.
func sourcesOf(missing []Missing) (numbers []uint16, from []string) {
	for _, m := range missing {
		numbers = append(numbers, m.Ports...)
		from = append(from, m.From...)
	}
	slices.Sort(numbers)
	slices.Sort(from)
	return slices.Compact(numbers), slices.Compact(from)
}

func ruleBlocked(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		var closed, why []string
		for _, b := range in.Blocked[n.Name] {
			closed = append(closed, fmt.Sprintf("%d from %s", b.Port, b.From))
			if !slices.Contains(why, b.Why) {
				why = append(why, b.Why)
			}
		}
		if len(closed) > 0 {
			out = append(out, Finding{
				Verdict: Fail, Server: n.Name, Seen: strings.Join(closed, ", "), Expected: "a rule on the server would open them", Cause: strings.Join(why, "; "),
				Owner: "whoever set that", Remedy: "have it changed; a rule added here would do nothing", Level: facts.Inferred,
			})
		}
	}
	return out
}

func ruleInForce(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		var bad, unknown, good []string
		for _, a := range in.Applied {
			label := List(a.Ports, ",")
			if a.Error != "" {
				label += " (" + a.Error + ")"
			}
			switch {
			case a.Server != n.Name:
			case !a.Added.OK():
				unknown = append(unknown, "in doubt: "+label)
			case !a.Added.V:
				bad = append(bad, "not added: "+label)
			case a.Error != "":
				bad = append(bad, label)
			case !a.InForce.OK():
				unknown = append(unknown, "not known whether in force: "+label+" ("+a.InForce.Unknown+")")
			case !a.InForce.V:
				bad = append(bad, "not in force: "+label)
			default:
				good = append(good, label)
			}
		}
		f := Finding{Server: n.Name, Expected: "stored as asked, and the firewall says that the group is in force", Level: facts.Observed}
		switch {
		case len(bad) > 0:
			f.Verdict, f.Seen, f.Owner = Fail, strings.Join(bad, ", "), "you"
			f.Cause, f.Remedy = "see there", "preflight explain firewall.rule-in-force"
		case len(unknown) > 0:
			f.Verdict, f.Seen, f.Owner, f.Remedy = Unknown, strings.Join(unknown, ", "), "you", "look at the server's rules, then run this again"
		case len(good) > 0:
			f.Verdict, f.Seen = Pass, "in force: "+strings.Join(good, " ")
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

func reachable(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		var bad, translated, open []string
		works := 0
		for _, p := range in.Proofs {
			what := fmt.Sprintf("%d from %s", p.Port, p.From)
			switch {
			case p.To != n.Name:
			case p.Verdict.Fails():
				bad = append(bad, fmt.Sprintf("%s %s", what, Words(p.Verdict)))
			case p.Verdict == proof.NotTested || p.Level != facts.Proven:
				open = append(open, what)
			case p.Verdict == proof.Translated:
				translated = append(translated, what)
			default:
				works++
			}
		}
		f := Finding{Server: n.Name, Expected: "proven", Level: facts.Proven}
		switch {
		case len(bad) > 0:
			f.Verdict, f.Seen, f.Owner = Fail, strings.Join(bad, ", "), "you"
			f.Cause, f.Remedy = "see the proofs", "preflight explain flow.reachable"
		case len(open) > 0:
			f.Verdict, f.Seen, f.Level = Unknown, "not proven: "+strings.Join(open, ", "), facts.Observed
		case len(translated) > 0:
			f.Verdict, f.Seen, f.Owner = Warn, "another source address arrives: "+strings.Join(translated, ", "), "the network team"
			f.Cause, f.Remedy = "address translation between the nodes", "preflight explain flow.reachable"
		case works > 0:
			f.Verdict, f.Seen = Pass, Count(works, "flow is", "flows are")+" proven"
		default:
			continue // nothing was tried: the run is incomplete by its flows
		}
		out = append(out, f)
	}
	return out
}

func rimState(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Rims() {
		s, ok := in.Servers[n.Name]
		if !ok {
			continue
		}
		f := Finding{Server: n.Name, Expected: "waiting for certificates, before the join", Level: facts.Observed}
		switch {
		case s.Phase() == facts.NotInstalled:
			f.Verdict, f.Seen, f.Owner = Fail, "Qlik Sense is not installed", "you"
			f.Cause, f.Remedy = "the rim node has not been installed", "run the Qlik Sense setup there as a rim node"
		case !s.State.OK():
			f.Verdict, f.Seen = Unknown, s.State.Unknown
		case s.State.V == facts.Initialising:
			f.Verdict, f.Seen, f.Owner = Warn, "the repository service is initialising", "you"
			f.Remedy = "wait until it has started, then run this again"
		default:
			f.Verdict, f.Seen = Pass, "the repository service is "+s.State.V.String()
		}
		out = append(out, f)
	}
	return out
}

func unread(s facts.Server, sections ...string) string {
	for _, m := range s.Missing {
		if slices.Contains(sections, m.Fact) {
			return m.Fact + " could not be read: " + m.Why
		}
	}
	return ""
}

// Words is a verdict in words: "no name" for no_name.
func Words(v proof.Verdict) string { return strings.ReplaceAll(string(v), "_", " ") }

// List is numbers as text.
func List(numbers []uint16, separator string) string {
	var s []string
	for _, n := range numbers {
		s = append(s, fmt.Sprint(n))
	}
	return strings.Join(s, separator)
}

// Count is a number with its noun.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
