// Package checks is the catalogue of what can be wrong with a site, each with what to do and whose it is. Only this
// package makes findings. A check looks at facts, never at a server.
package checks

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
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
	SiteFile string                  // its path as the operator gave it, "" if there is none
	Run      string                  // the run folder's name, "" if there is none
	Digest   string                  // of the run's plan, "" if nothing can be approved
	SignedIn map[string]bool         // servers
	Failures map[string]Failure      // servers that could not be used
	Servers  map[string]facts.Server // inspected
	Planned  bool                    // what was read was compared with what is wanted
	Lost     map[string][]ports.Flow // by server: flows whose addresses are not known
	Missing  map[string][]Missing    // by server: rules that are wanted and not there
	Blocked  map[string][]Blocked    // by server: what no rule of ours would open
	Applied  []Applied
	Join     []JoinStep    // of each rim, in their order
	Proofs   []proof.Proof // the latest of each flow

	// BackOut says that the rules of a run were taken back: only that is judged, for the site is not to be joined.
	BackOut   bool
	TakenBack []TakenBack
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
	Port  uint16
	From  string
	By    string // the id of the rule that decides, "" if a setting does
	Store string // local, policy or mdm: where that rule or setting comes from; "" if it is not known
	Why   string
	// Requested says that the rule that would open it is in gpo-request.txt.
	Requested bool
}

// Applied is a rule that was to be added, and what became of it.
type Applied struct {
	Server  string
	Ports   []uint16
	Added   facts.Value[bool] // unknown: its end was not seen
	InForce facts.Value[bool]
	Error   string
}

// TakenBack is a rule of a run that was to be removed, and what became of it.
type TakenBack struct {
	Server string
	Ports  []uint16
	Gone   facts.Value[bool] // unknown: its end was not seen
	Why    string            // it is not known to be gone; "" if it is, or if nobody said
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
	{"service.installed", "every node has the services that the site file gives it", serviceInstalled},
	{"firewall.rule-missing", "a firewall rule admits every flow", ruleMissing},
	{"firewall.rule-blocked", "nothing overrules the rules that are needed", ruleBlocked},
	{"firewall.rule-in-force", "every rule that was added is in force", ruleInForce},
	{"port.in-use", "no other program holds a port that Qlik Sense needs", portInUse},
	{"flow.reachable", "every flow is proven from the other node", reachable},
	{"rim.certificates", "no rim holds certificates of another site", rimCertificates},
	{"rim.state", "each rim waits for its certificates, or has them", rimState},
	{JoinComplete, "every step of the join is done", joinComplete},
	{"backout.complete", "every rule of the run has been taken back", backOutComplete},
}

// ofBackOut are the checks that say something of a back-out.
var ofBackOut = []string{"winrm.sign-in", "server.readable", "backout.complete"}

// All evaluates the catalogue. Findings come in its order, then by server as in the site file.
func All(in Input) []Finding {
	all := []Finding{}
	for _, c := range Catalogue {
		if in.BackOut && !slices.Contains(ofBackOut, c.ID) {
			continue
		}
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
		case !in.BackOut: // which signs in only where there is something to take back
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
	if !in.Planned {
		return nil // what was read, if anything, was not compared with what is wanted
	}
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
		case len(missing) > 0:
			ports := map[uint16]bool{}
			var all tally
			for _, m := range missing {
				for _, p := range m.Ports {
					ports[p] = true
					all.add("from "+strings.Join(m.From, ", "), p)
				}
			}
			f.Verdict, f.Seen = Fail, fmt.Sprintf("%s no rule for these sources: %s", Count(len(ports), "port has", "ports have"), all.portsFirst())
			f.Cause, f.Owner, f.Remedy = "the rules are not there", "you", in.addRules()
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

// addRules is what to type to have the rules added that are missing, as far as the run has come.
func (in Input) addRules() string {
	switch {
	case in.Run != "" && in.Digest != "":
		return fmt.Sprintf("preflight apply %s --approve %.12s", printable.Argument(in.Run), in.Digest)
	case in.SiteFile != "":
		return "preflight plan -f " + printable.Argument(in.SiteFile)
	}
	return "add the rules that the plan shows"
}

func ruleBlocked(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		for _, owner := range []string{proof.Owner(firewall.Policy), proof.Owner(firewall.MDM), proof.Owner(firewall.Local), whoever} {
			var closed tally
			var why, remedy []string
			for _, b := range in.Blocked[n.Name] {
				if b.owner() == owner {
					closed.add("from "+b.From, b.Port)
					why, remedy = appendNew(why, b.cause()), appendNew(remedy, b.remedy())
				}
			}
			if len(why) > 0 {
				out = append(out, Finding{
					Verdict: Fail, Server: n.Name, Seen: closed.portsFirst(), Expected: "a rule on the server would open them",
					Cause: strings.Join(why, "; "), Owner: owner, Remedy: strings.Join(remedy, "; "), Level: facts.Inferred,
				})
			}
		}
	}
	return out
}

// whoever is the owner of what came from nobody knows where.
const whoever = "whoever set that"

func (b Blocked) owner() string { return cmp.Or(proof.Owner(firewall.Store(b.Store)), whoever) }

// cause is why, with the rule's id and store where the sentence names the rule by its display name: that is not unique.
func (b Blocked) cause() string {
	switch {
	case b.By == "" || strings.Contains(b.Why, b.By):
		return b.Why
	case b.Store == "":
		return fmt.Sprintf("%s (rule %s)", b.Why, b.By)
	}
	return fmt.Sprintf("%s (rule %s, store %s)", b.Why, b.By, b.Store)
}

func (b Blocked) remedy() string {
	switch {
	case b.Requested:
		return "hand over gpo-request.txt"
	case b.Store == string(firewall.Local) && strings.HasPrefix(strings.ToLower(b.By), "preflight-"):
		return "remove that rule, which is no longer as preflight added it, and plan again"
	}
	return proof.Remedy(firewall.Store(b.Store), b.By != "")
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
		var bad []trouble
		var translated, open tally
		works, closed := 0, false
		for _, p := range in.Proofs {
			from := "from " + p.From
			switch {
			case p.To != n.Name:
			case p.Verdict.Fails():
				bad = addTrouble(bad, p)
			case p.Verdict == proof.NotTested || p.Level != facts.Proven:
				open.add(from, p.Port)
				closed = closed || p.Seen == proof.NothingListens
			case p.Verdict == proof.Translated:
				translated.add(from, p.Port)
			default:
				works++
			}
		}
		f := Finding{Server: n.Name, Expected: "proven", Level: facts.Proven}
		switch {
		case len(bad) > 0:
			out = append(out, troubles(n.Name, bad)...)
			continue
		case len(open.what) > 0:
			f.Verdict, f.Seen, f.Level = Unknown, "not proven: "+open.portsFirst(), facts.Observed
			if closed {
				f.Owner, f.Remedy = "you", in.listen()
			}
		case len(translated.what) > 0:
			f.Verdict, f.Seen, f.Owner = Warn, "another source address arrives: "+translated.portsFirst(), proof.NetworkTeam
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

// listen is how to test ports on which nobody listens yet.
func (in Input) listen() string {
	const what = "to listen there for some seconds: preflight verify "
	switch {
	case in.Run != "":
		return what + printable.Argument(in.Run) + " --listen"
	case in.SiteFile != "":
		return what + "-f " + printable.Argument(in.SiteFile) + " --listen"
	}
	return ""
}

// trouble is flows to a server that fail for the same reason.
type trouble struct {
	owner, cause, remedy string
	level                facts.Level
	flows                tally
}

func addTrouble(all []trouble, p proof.Proof) []trouble {
	text := func(s *string, otherwise string) string {
		if s == nil {
			return otherwise
		}
		return *s
	}
	t := trouble{owner: text(p.Owner, "you"), cause: text(p.Cause, ""), remedy: text(p.Remedy, ""), level: p.Level}
	i := slices.IndexFunc(all, func(o trouble) bool { return o.owner == t.owner && o.cause == t.cause })
	if i < 0 {
		all, i = append(all, t), len(all)
	}
	if p.Level != facts.Proven {
		all[i].level = p.Level
	}
	all[i].flows.add("from "+p.From+" "+Words(p.Verdict), p.Port)
	return all
}

// troubles makes a finding for each owner.
func troubles(server string, all []trouble) []Finding {
	var out []Finding
	for len(all) > 0 {
		owner := all[0].owner
		f := Finding{Verdict: Fail, Server: server, Expected: "proven", Owner: owner, Level: facts.Proven}
		var seen, causes []string
		for _, t := range all {
			if t.owner != owner {
				continue
			}
			seen = append(seen, t.flows.portsFirst())
			if t.cause != "" {
				causes = append(causes, t.cause)
			}
			f.Remedy = cmp.Or(f.Remedy, t.remedy)
			if t.level != facts.Proven {
				f.Level = t.level
			}
		}
		f.Seen, f.Cause = strings.Join(seen, "; "), cmp.Or(strings.Join(causes, "; "), "see the proofs")
		f.Remedy = cmp.Or(f.Remedy, "preflight explain flow.reachable")
		out = append(out, f)
		all = slices.DeleteFunc(all, func(t trouble) bool { return t.owner == owner })
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

func backOutComplete(in Input) []Finding {
	if !in.BackOut {
		return nil
	}
	var out []Finding
	for _, n := range in.Site.Nodes {
		var gone, there, unknown []string
		for _, b := range in.TakenBack {
			label := List(b.Ports, ",")
			switch {
			case b.Server != n.Name:
			case !b.Gone.OK():
				unknown = append(unknown, because("not known whether taken back: "+label, cmp.Or(b.Why, b.Gone.Unknown)))
			case !b.Gone.V:
				there = append(there, because("not taken back: "+label, b.Why))
			default:
				gone = append(gone, label)
			}
		}
		f := Finding{Server: n.Name, Expected: "none of the run's rules is left", Owner: "you", Remedy: "preflight explain backout.complete", Level: facts.Observed}
		switch {
		case len(there) > 0:
			f.Verdict, f.Seen, f.Cause = Fail, strings.Join(append(there, unknown...), ", "), "see there"
		case len(unknown) > 0:
			f.Verdict, f.Seen = Unknown, strings.Join(unknown, ", ")
		case len(gone) > 0:
			f.Verdict, f.Seen, f.Owner, f.Remedy = Pass, "taken back: "+strings.Join(gone, " "), "", ""
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + " (" + why + ")"
}

func unread(s facts.Server, sections ...string) string {
	for _, m := range s.Missing {
		if slices.Contains(sections, m.Fact) {
			return m.Fact + " could not be read: " + m.Why
		}
	}
	return ""
}

// tally gathers ports under what is said of them. Both keep the order in which they came, ports within sorted.
type tally struct {
	what  []string
	ports map[string][]uint16
}

func (t *tally) add(what string, port uint16) {
	if t.ports == nil {
		t.ports = map[string][]uint16{}
	}
	t.what = appendNew(t.what, what)
	t.ports[what] = append(t.ports[what], port)
}

// say makes one text of it.
func (t tally) say(one func(what, ports string) string) string {
	var all []string
	for _, what := range t.what {
		numbers := slices.Compact(slices.Sorted(slices.Values(t.ports[what])))
		all = append(all, one(what, List(numbers, ",")))
	}
	return strings.Join(all, "; ")
}

// portsFirst says as "443,4144 from 10.0.0.11; 443 from 10.0.0.12".
func (t tally) portsFirst() string {
	return t.say(func(what, ports string) string { return ports + " " + what })
}

// portsLast says as "httpd (pid 3120) listens on 443".
func (t tally) portsLast() string {
	return t.say(func(what, ports string) string { return what + " " + ports })
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
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
