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
	Flows    []ports.Flow
	Failures map[string]Failure      // servers that could not be reached or signed in to
	Servers  map[string]facts.Server // inspected
	Missing  map[string][]Missing    // by server: rules that are wanted and not there
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

// Applied is a rule that was added.
type Applied struct {
	Server  string
	ID      string
	Ports   []uint16
	InForce facts.Value[bool]
	Error   string
}

// Check is one entry of the catalogue.
type Check struct {
	ID    string
	Title string
	Needs []string // facts, by the names that an inspection uses
	Eval  func(Input) []Finding
}

// Catalogue is every check, in the order in which findings are shown.
var Catalogue = []Check{
	{"winrm.sign-in", "every server can be reached and signed in to", nil, signIn},
	{"firewall.rule-missing", "a firewall rule admits every flow", []string{"rules-local", "rules-policy", "rules-mdm", "settings"}, ruleMissing},
	{"firewall.rule-in-force", "every rule that was added is in force", nil, ruleInForce},
	{"flow.reachable", "every flow is proven from the other node", nil, reachable},
	{"rim.state", "each rim waits for its certificates", []string{"state"}, rimState},
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
		_, inspected := in.Servers[n.Name]
		switch {
		case failed:
			out = append(out, Finding{Verdict: Fail, Server: n.Name, Seen: f.Seen, Expected: "signed in", Cause: f.Seen, Owner: "you", Remedy: f.Remedy, Level: facts.Observed})
		case inspected:
			out = append(out, Finding{Verdict: Pass, Server: n.Name, Seen: "signed in", Level: facts.Observed})
		default:
			out = append(out, Finding{Verdict: Unknown, Server: n.Name, Seen: "not tried", Expected: "signed in", Level: facts.Observed})
		}
	}
	return out
}

func ruleMissing(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		s, ok := in.Servers[n.Name]
		if !ok {
			continue
		}
		if unread := unread(s, "rules-local", "rules-policy", "rules-mdm", "settings"); unread != "" {
			out = append(out, Finding{Verdict: Unknown, Server: n.Name, Seen: unread, Expected: "the stored rules can be read", Owner: "you", Level: facts.Observed})
			continue
		}
		missing := in.Missing[n.Name]
		if len(missing) == 0 {
			out = append(out, Finding{Verdict: Pass, Server: n.Name, Seen: "rules admit every flow", Level: facts.Inferred})
			continue
		}
		var numbers []uint16
		var from []string
		for _, m := range missing {
			numbers = append(numbers, m.Ports...)
			from = append(from, m.From...)
		}
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
		slices.Sort(from)
		from = slices.Compact(from)
		out = append(out, Finding{
			Verdict: Fail, Server: n.Name,
			Seen:     fmt.Sprintf("%s no rule that admits %s: %s", Count(len(numbers), "port has", "ports have"), strings.Join(from, ", "), List(numbers, " ")),
			Expected: "a rule that admits every source of every port",
			Cause:    "the rules were never added", Owner: "you", Remedy: "add the rules that the plan shows", Level: facts.Inferred,
		})
	}
	return out
}

func ruleInForce(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		var bad, unknown, good []string
		for _, a := range in.Applied {
			label := List(a.Ports, ",")
			switch {
			case a.Server != n.Name:
			case a.Error != "":
				bad = append(bad, label+" ("+a.Error+")")
			case !a.InForce.OK():
				unknown = append(unknown, label+" ("+a.InForce.Unknown+")")
			case !a.InForce.V:
				bad = append(bad, label)
			default:
				good = append(good, label)
			}
		}
		f := Finding{Server: n.Name, Expected: "in force on a profile that is active", Level: facts.Observed}
		switch {
		case len(bad) > 0:
			f.Verdict, f.Seen, f.Owner = Fail, "not in force: "+strings.Join(bad, " "), "you"
			f.Cause, f.Remedy = "the firewall does not apply the rule, or it could not be added", "preflight explain firewall.rule-in-force"
		case len(unknown) > 0:
			f.Verdict, f.Seen = Unknown, strings.Join(unknown, " ")
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
		var bad, translated []string
		works := 0
		for _, p := range in.Proofs {
			if p.To != n.Name {
				continue
			}
			what := fmt.Sprintf("%d from %s", p.Port, p.From)
			switch {
			case p.Verdict.Fails():
				bad = append(bad, fmt.Sprintf("%s %s", what, Words(p.Verdict)))
			case p.Verdict == proof.Translated:
				translated = append(translated, what)
			case p.Verdict.Works():
				works++
			}
		}
		f := Finding{Server: n.Name, Expected: "proven", Level: facts.Proven}
		switch {
		case len(bad) > 0:
			f.Verdict, f.Seen, f.Owner = Fail, strings.Join(bad, ", "), "you"
			f.Cause, f.Remedy = "see the proofs", "preflight explain flow.reachable"
		case len(translated) > 0:
			f.Verdict, f.Seen, f.Owner = Warn, "another source address arrives: "+strings.Join(translated, ", "), "the network team"
			f.Cause, f.Remedy = "address translation between the nodes", "preflight explain flow.reachable"
		case works > 0:
			f.Verdict, f.Seen = Pass, Count(works, "flow works", "flows work")
		default:
			continue // nothing was tried: the flows themselves say so, and the run is incomplete
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
