package checks

import (
	"fmt"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/site"
)

// serviceInstalled looks for the Windows services of what the site file says runs on a node. That a node has more than
// that is usual: the setup installs them all, and the site decides which are used.
func serviceInstalled(in Input) []Finding {
	var out []Finding
	for _, n := range in.Site.Nodes {
		s, inspected := in.Servers[n.Name]
		if !inspected {
			continue
		}
		f := Finding{Verdict: Pass, Server: n.Name, Expected: "the services that the site file gives it", Seen: "it has the services of the site file", Level: facts.Observed}
		missing, disabled := without(s, n)
		switch {
		case !s.Services.OK():
			f.Verdict, f.Seen = Unknown, "the services are not known: "+s.Services.Unknown
		case len(s.Services.V) == 0 && n.Role == site.Rim:
			f.Verdict, f.Seen = NotApplicable, "see rim.state"
		case len(missing) > 0:
			f.Verdict, f.Seen = Fail, fmt.Sprintf("%s of the site file: not installed on %s", strings.Join(missing, ", "), n.Name)
			f.Cause, f.Owner = "ports would be opened for nothing, and a join would wait in vain", "you"
			f.Remedy = fmt.Sprintf("take that out of the services of %s in the site file, or install it there", n.Name)
		case len(disabled) > 0:
			f.Verdict, f.Seen = Warn, fmt.Sprintf("%s of the site file: disabled on %s", strings.Join(disabled, ", "), n.Name)
			f.Cause, f.Owner = "Windows does not start it", "you"
			f.Remedy = fmt.Sprintf("take that out of the services of %s in the site file, or have Windows start it", n.Name)
		}
		out = append(out, f)
	}
	return out
}

// without are the services of a node that its server does not have, or has and does not start.
func without(s facts.Server, n site.Node) (missing, disabled []string) {
	for _, service := range n.Services {
		switch sv, installed := s.Service(service.Windows()); {
		case !installed:
			missing = append(missing, string(service))
		case sv.Start == "Disabled":
			disabled = append(disabled, string(service))
		}
	}
	return missing, disabled
}
