package lab

import (
	"fmt"
	"time"

	"github.com/qlik-preflight/preflight/internal/lab/host"
)

// Scenario is a site that the lab can simulate.
type Scenario struct {
	Name string
	Does string // one sentence, short enough for a line of --help

	rims   int                      // the fewest it needs; 0 is one
	joined func(rim, rims int) bool // whether a rim, counted from 1, has joined; nil: none has
	change func(l *Lab) error       // what is different once everything runs, before WinRM answers
}

// Scenarios are all scenarios. Where one does not say otherwise it is as "clean".
var Scenarios = []Scenario{
	{
		Name: "clean",
		Does: "Rims wait for certificates; no firewall rule admits them.",
	},
	{
		Name:   "joined",
		Does:   "All rims have joined; rules made by hand admit just enough.",
		joined: func(rim, rims int) bool { return true },
	},
	{
		Name:   "second-rim",
		Does:   "All rims but the last have joined; its rules are missing.",
		rims:   2,
		joined: func(rim, rims int) bool { return rim < rims },
	},
	{
		Name:   "already-open",
		Does:   "Somebody else's rules open every port to the whole network.",
		change: openToAll,
	},
	{
		Name: "gpo-merge-off",
		Does: "Group Policy turns the rims' local firewall rules off.",
		change: func(l *Lab) error {
			for _, h := range l.rims() {
				h.Set(host.Setting{Store: "policy", Profile: "DomainProfile", Name: "AllowLocalPolicyMerge", Value: 0})
			}
			return nil
		},
	},
	{
		Name: "block-rule",
		Does: "A Block rule on the last rim closes 4241 and 4242.",
		change: func(l *Lab) error {
			const name = "Block legacy sync"
			l.last().AddRule("local", guid(l.last().Name, name), "v2.29|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort2_10=4241-4242|Name="+name+"|")
			return nil
		},
	},
	{
		Name: "port-in-use",
		Does: "Another program, httpd, has port 443 of the last rim.",
		change: func(l *Lab) error {
			const pid = 3120
			l.last().AddProcess(pid, "httpd")
			cert, err := l.ca.issue(l.last().Name)
			if err != nil {
				return err
			}
			return l.serveTLS(l.last(), 443, pid, cert)
		},
	},
	{
		Name: "wrong-password",
		Does: "Every server rejects the password that the lab gives.",
		change: func(l *Lab) error {
			l.password = random()
			return nil
		},
	},
	{
		Name: "winrm-down",
		Does: "The WinRM port of the last rim refuses connections.",
		change: func(l *Lab) error {
			l.silent = l.last().Name
			return nil
		},
	},
	{
		Name: "stale-certificates",
		Does: "The last rim trusts another site's root certificate.",
		change: func(l *Lab) error {
			l.last().AddCertificate(elsewhere("CN=old-central-CA"))
			return nil
		},
	},
	{
		Name:   "half-join",
		Does:   "The last rim's node exists; 4444 was closed to its start.",
		change: halfJoin,
	},
	{
		Name: "slow",
		Does: "Scripts take 0.6 s to begin, and each rule 0.15 s to add.",
		change: func(l *Lab) error {
			for _, h := range l.hosts {
				h.ToBegin, h.ToAdd = 600*time.Millisecond, 150*time.Millisecond
			}
			return nil
		},
	},
}

// halfJoin does what somebody does who makes a node before the firewall is open.
func halfJoin(l *Lab) error {
	n, err := l.qrs.Add(node(l.last()))
	if err != nil {
		return err
	}
	if _, err := l.qrs.Register(l.ctx, n); err == nil {
		return fmt.Errorf("%s got its certificate, though no rule admits %d", n.HostName, setupPort)
	}
	return nil
}

// openToAll adds rules that are far wider than what is needed, and somebody else's.
func openToAll(l *Lab) error {
	for _, h := range l.hosts {
		var all, browsers []uint16
		for _, s := range l.services(h) {
			b, _ := split(s.ports)
			all, browsers = append(all, s.ports...), append(browsers, b...)
		}
		addByHand(h, "QS internal", all, nodes)
		addByHand(h, "QS internal", browsers, clients)
	}
	return nil
}
