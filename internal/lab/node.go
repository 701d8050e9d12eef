package lab

import (
	"crypto/sha1"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/lab/host"
)

// The networks of the site.
var (
	nodes   = netip.MustParsePrefix("10.0.0.0/24")
	clients = netip.MustParsePrefix("10.20.0.0/16")
)

// service is a service of Qlik Sense on a node, with the ports that the other nodes dial. The lab knows them on its own
// and not from the product's catalogue.
type service struct {
	name  string
	pid   int
	ports []uint16
}

// windows is the name of its Windows service.
func (s service) windows() string { return "QlikSense" + s.name + "Service" }

var centralServices = []service{
	{"Repository", 2104, []uint16{4241, 4242}},
	{"Proxy", 2380, []uint16{443, 4144, 4243}},
	{"Engine", 2512, nil},
	{"Scheduler", 2640, []uint16{5050, 5051}},
}

var rimServices = []service{
	{"Repository", 1988, []uint16{4241, 4242, setupPort}},
	{"Proxy", 2216, []uint16{443, 4144, 4243}},
	{"Engine", 2344, nil},
	{"Scheduler", 2472, []uint16{5051}},
}

// The ports of the repository service: where the central node's is asked, where a rim's waits for certificates and tells
// its state, and where it waits for the one-time password.
const (
	qrsPort    = 4242
	setupPort  = 4444
	unlockPort = 4570
)

// forClients tells whether people's browsers use a port.
func forClients(port uint16) bool { return port == 443 || port == 4144 }

// services are those of a node.
func (l *Lab) services(h *host.Host) []service {
	if h == l.central() {
		return centralServices
	}
	return rimServices
}

// furnish gives a server what a Windows Server has anyway.
func furnish(h *host.Host) {
	h.AddRule("local", "WINRM-HTTP-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=5985|App=System|Name=Windows Remote Management (HTTP-In)|Desc=|EmbedCtxt=Windows Remote Management|")
	h.AddRule("local", "{5d0aa3b4-64f3-4c1e-9d51-0f6a5a0f2f11}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5986|Name=WinRM HTTPS|")
	h.AddRule("local", "RemoteDesktop-UserMode-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|Svc=termservice|Name=Remote Desktop - User Mode (TCP-In)|Desc=|EmbedCtxt=Remote Desktop|")
	h.AddRule("local", "FPS-SMB-In-TCP", "v2.29|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Private|LPort=445|App=System|Name=File and Printer Sharing (SMB-In)|Desc=|EmbedCtxt=File and Printer Sharing|")
	h.AddRelease("Qlik Sense 1.0.2")
}

// run starts a node. One that is in its site holds certificates and all its services run. Else it is a rim whose
// repository service waits for certificates on setupPort, while proxy, engine and scheduler wait for it.
func (l *Lab) run(h *host.Host, in bool) error {
	for _, s := range l.services(h) {
		h.AddService(host.Service{
			Name: s.windows(), State: "Stopped", Start: "Auto", Path: `C:\Program Files\Qlik\Sense\` + s.name + `\` + s.name + ".exe",
		}, s.name)
	}
	if h != l.central() {
		h.SetState(1)
		if err := l.serveSetup(h); err != nil {
			return err
		}
	}
	if !in {
		h.StartService(rimServices[0].windows(), rimServices[0].pid, rimServices[0].name)
		return nil
	}
	own, err := l.qlik.issue(h.Name)
	if err != nil {
		return err
	}
	h.AddCertificate(installed("root", l.qlik.cert))
	h.AddCertificate(installed("my", own.Leaf))
	for _, s := range l.services(h) {
		if err := l.startService(h, s, own); err != nil {
			return err
		}
	}
	if h == l.central() {
		return nil
	}
	h.SetState(2)
	n, err := l.qrs.Add(node(h))
	if err != nil {
		return err
	}
	return l.qrs.Balance(n)
}

// startService starts a service of a node in its site: its ports listen, and then it runs.
func (l *Lab) startService(h *host.Host, s service, own tls.Certificate) error {
	for _, port := range s.ports {
		var err error
		switch {
		case port == setupPort: // it listens all the time
		case port == qrsPort && h == l.central():
			err = l.serveQRS(h, s.pid, own)
		default:
			err = l.serveTLS(h, port, s.pid, own)
		}
		if err != nil {
			return fmt.Errorf("starting %s on %s: %w", s.windows(), h.Name, err)
		}
	}
	h.StartService(s.windows(), s.pid, s.name)
	return nil
}

// openByHand adds what somebody once did by hand for the rims that have joined: for each service a rule on the central
// node for exactly those rims, and one on each of them for the central node; the ports that browsers use are open for
// the clients, too.
func openByHand(central *host.Host, joined []*host.Host) {
	open := func(h *host.Host, services []service, from []netip.Prefix) {
		for _, s := range services {
			browsers, others := split(s.ports)
			addByHand(h, "Qlik Sense "+strings.ToLower(s.name), others, from...)
			addByHand(h, "Qlik Sense hub and QMC", browsers, append(slices.Clone(from), clients)...)
		}
	}
	var from []netip.Prefix
	for _, h := range joined {
		from = append(from, host32(h))
		open(h, rimServices, []netip.Prefix{host32(central)})
	}
	if len(joined) > 0 {
		open(central, centralServices, from)
	}
}

func host32(h *host.Host) netip.Prefix { return netip.PrefixFrom(h.Address.Addr(), 32) }

// split divides ports into those that browsers use and the others.
func split(ports []uint16) (browsers, others []uint16) {
	for _, port := range ports {
		if forClients(port) {
			browsers = append(browsers, port)
		} else {
			others = append(others, port)
		}
	}
	return browsers, others
}

// addByHand adds a rule as the Windows Firewall console does: in the local store, in no group, with a GUID for its id.
func addByHand(h *host.Host, name string, ports []uint16, from ...netip.Prefix) {
	if len(ports) == 0 {
		return
	}
	h.AddRule("local", guid(h.Name, name, ports, from), rule.Rule{
		Version: "2.29", Action: rule.Allow, Active: rule.Yes, Dir: "In", Protocol: rule.TCP, Profiles: rule.AllProfiles,
		LocalPorts: rule.PortList(ports...), RemoteAddrs: rule.AddrList(from...), Name: name,
	}.String())
}

// guid makes an id that looks like one of Windows' and is the same in every lab.
func guid(of ...any) string {
	b := sha1.Sum(fmt.Append(nil, of...))
	return fmt.Sprintf("{%X-%X-%X-%X-%X}", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
