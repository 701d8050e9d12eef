package checks

import (
	"fmt"
	"slices"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
)

func portInUse(in Input) []Finding {
	release, err := ports.Lookup(in.Site.Release)
	var out []Finding
	for _, n := range in.Site.Nodes {
		s, inspected := in.Servers[n.Name]
		needs := release.Of(n)
		f := Finding{Verdict: Unknown, Server: n.Name, Expected: "held by Qlik Sense or by nobody", Level: facts.Observed}
		switch {
		case !inspected:
			continue
		case err != nil:
			f.Seen = err.Error()
		case len(needs) == 0:
			continue
		case !s.Listeners.OK():
			f.Seen = "who listens is not known: " + s.Listeners.Unknown
		case !s.Services.OK():
			f.Seen = "the services are not known: " + s.Services.Unknown
		default:
			out = append(out, holders(f, s, needs)...)
			continue
		}
		out = append(out, f)
	}
	return out
}

// holders judges who listens on the ports that a node needs: a finding for each verdict, f with the rest.
func holders(f Finding, s facts.Server, needs []ports.Port) []Finding {
	var foreign, near, kernel, shared, likely, unnamed tally
	for _, p := range needs {
		for _, l := range s.Listeners.V {
			if l.Address.Port() != p.Number {
				continue
			}
			switch who := fmt.Sprintf("%s (pid %d) listens", l.Process, l.PID); s.Holder(l, p.Part.Starter) {
			case facts.Foreign:
				if onlyLoopback(s.Listeners.V, l) {
					near.add(who+", for the server itself alone, on", p.Number)
				} else {
					foreign.add(who+" on", p.Number)
				}
			case facts.HTTPSys:
				service, _ := s.Service(p.Service.Windows())
				switch {
				case p.Part.Starter != "": // it starts programs that do not use http.sys, as far as is known
					unnamed.add("http.sys, of which it is not known that Qlik Sense uses it there, listens on", p.Number)
				case service.State == "Running":
					shared.add(string(p.Service), p.Number)
				default:
					kernel.add(string(p.Service), p.Number)
				}
			case facts.Likely:
				how := fmt.Sprintf("as %s starts it", p.Part.Starter)
				if _, installed := s.Service(p.Part.Starter); !installed {
					how = "installed apart from Qlik Sense"
				}
				likely.add(fmt.Sprintf("%s, %s, holds", l.Process, how), p.Number)
			case facts.UnknownHolder:
				if l.Process != "" {
					unnamed.add(who+", and whether it is Qlik Sense's is not known, on", p.Number)
				} else {
					unnamed.add(fmt.Sprintf("a program whose name is not known (pid %d) listens on", l.PID), p.Number)
				}
			}
		}
	}
	const stop = "stop it or give it another port"
	var out []Finding
	add := func(v Verdict, seen, cause, owner, remedy string) {
		if seen != "" {
			f.Verdict, f.Seen, f.Cause, f.Owner, f.Remedy = v, seen, cause, owner, remedy
			out = append(out, f)
		}
	}
	add(Fail, foreign.portsLast(), "another program holds the port", "you", stop)
	add(Warn, near.portsLast(), "another program holds the port on the loopback address", "you", stop)
	add(Warn, kernel.say(func(service, ports string) string {
		return fmt.Sprintf("http.sys holds %s and the %s service is not running", ports, service)
	}), "IIS or another web server may own it", "you", "netsh http show servicestate, on "+f.Server)
	add(Unknown, unnamed.portsLast(), "", "", "")
	if len(out) == 0 {
		seen := Count(len(needs), "port is", "ports are") + " held by Qlik Sense or by nobody"
		if by := likely.portsLast(); by != "" {
			seen += ", likely so: " + by
			f.Level = facts.Inferred
		}
		if also := shared.say(func(service, ports string) string {
			return fmt.Sprintf("http.sys holds %s while the %s service runs", ports, service)
		}); also != "" {
			seen += "; " + also
		}
		add(Pass, seen, "", "", "")
	}
	return out
}

// onlyLoopback tells whether a listener's process can be reached on that port from the server itself alone.
func onlyLoopback(all []facts.Listener, l facts.Listener) bool {
	return !slices.ContainsFunc(all, func(o facts.Listener) bool {
		return o.PID == l.PID && o.Address.Port() == l.Address.Port() && !o.Address.Addr().Unmap().IsLoopback()
	})
}
