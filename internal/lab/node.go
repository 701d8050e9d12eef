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
	name    string
	pid     int
	ports   []uint16
	program string // what listens, a process that the service has started; "" for the service itself
}

// windows is the name of its Windows service.
func (s service) windows() string {
	if s.program != "" {
		return "QlikSense" + s.name
	}
	return "QlikSense" + s.name + "Service"
}

// listens is the process that has the service's ports.
func (s service) listens() int {
	if s.program != "" {
		return s.pid + 4
	}
	return s.pid
}

// generation is what the nodes of some releases run, the repository service first.
type generation struct {
	central, rim []service
	rimsTalk     bool // rims dial each other, not the central node alone
}

// guide is release 1.0.2, as its multi-node guide has it.
var guide = generation{
	central: []service{
		{name: "Repository", pid: 2104, ports: []uint16{4241, 4242}},
		{name: "Proxy", pid: 2380, ports: []uint16{443, 4144, 4243}},
		{name: "Engine", pid: 2512},
		{name: "Scheduler", pid: 2640, ports: []uint16{5050, 5051}},
	},
	rim: []service{
		{name: "Repository", pid: 1988, ports: []uint16{4241, 4242, setupPort}},
		{name: "Proxy", pid: 2216, ports: []uint16{443, 4144, 4243}},
		{name: "Engine", pid: 2344},
		{name: "Scheduler", pid: 2472, ports: []uint16{5051}},
	},
}

// synchronised are 2.x and 3.x: each node has a database of its own, which only the node itself uses.
var synchronised = generation{
	rimsTalk: true,
	central: []service{
		{name: "Repository", pid: 2104, ports: []uint16{4239, 4241, 4242}},
		{name: "Proxy", pid: 2380, ports: []uint16{443, 4243, 4244}},
		{name: "Engine", pid: 2512, ports: []uint16{4747}},
		{name: "Scheduler", pid: 2640, ports: []uint16{5050}},
		{name: "ServiceDispatcher", pid: 1820, ports: []uint16{4900}, program: "node"},
	},
	rim: []service{
		{name: "Repository", pid: 1988, ports: []uint16{4239, 4241, 4242, setupPort}},
		{name: "Proxy", pid: 2216, ports: []uint16{443, 4243, 4244}},
		{name: "Engine", pid: 2344, ports: []uint16{4747}},
		{name: "Scheduler", pid: 2472, ports: []uint16{5151}},
	},
}

// shared are June 2017 and later: the site has one database, on the central node.
var shared = generation{
	rimsTalk: true,
	central: []service{
		{name: "Repository", pid: 2104, ports: []uint16{4239, 4242}},
		{name: "Proxy", pid: 2380, ports: []uint16{443, 4243, 4244}},
		{name: "Engine", pid: 2512, ports: []uint16{4747}},
		{name: "Scheduler", pid: 2640, ports: []uint16{5050}},
		{name: "ServiceDispatcher", pid: 1820, ports: []uint16{4900, 4949}, program: "node"},
		{name: "RepositoryDatabase", pid: 1604, ports: []uint16{databasePort}, program: "postgres"},
	},
	rim: []service{
		{name: "Repository", pid: 1988, ports: []uint16{4239, 4242, setupPort}},
		{name: "Proxy", pid: 2216, ports: []uint16{443, 4243, 4244}},
		{name: "Engine", pid: 2344, ports: []uint16{4747}},
		{name: "Scheduler", pid: 2472, ports: []uint16{5151}},
		{name: "ServiceDispatcher", pid: 1732, ports: []uint16{4900, 4949}, program: "node"},
	},
}

// The ports of the repository service: where the central node's is asked, where a rim's waits for certificates and tells
// its state, and where it waits for the one-time password.
const (
	qrsPort    = 4242
	setupPort  = 4444
	unlockPort = 4570
)

// databasePort is where the site's PostgreSQL is. It says nothing until it is told something.
const databasePort = 4432

// forClients tells whether people's browsers use a port.
func forClients(port uint16) bool { return port == 443 || port == 4144 || port == 4244 }

// services are those of a node, the repository service first.
func (l *Lab) services(h *host.Host) []service {
	if h == l.central() {
		return l.generation.central
	}
	return l.generation.rim
}

// furnish gives a server what a Windows Server has anyway, and the product.
func furnish(h *host.Host, product string) {
	h.AddRule("local", "WINRM-HTTP-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Domain|Profile=Private|LPort=5985|App=System|Name=Windows Remote Management (HTTP-In)|Desc=|EmbedCtxt=Windows Remote Management|")
	h.AddRule("local", "{5d0aa3b4-64f3-4c1e-9d51-0f6a5a0f2f11}", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5986|Name=WinRM HTTPS|")
	h.AddRule("local", "RemoteDesktop-UserMode-In-TCP", "v2.29|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|Svc=termservice|Name=Remote Desktop - User Mode (TCP-In)|Desc=|EmbedCtxt=Remote Desktop|")
	h.AddRule("local", "FPS-SMB-In-TCP", "v2.29|Action=Allow|Active=FALSE|Dir=In|Protocol=6|Profile=Private|LPort=445|App=System|Name=File and Printer Sharing (SMB-In)|Desc=|EmbedCtxt=File and Printer Sharing|")
	h.AddRelease(product)
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
		repository := l.services(h)[0]
		h.StartService(repository.windows(), repository.pid, repository.name)
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
		case port == databasePort:
			err = l.serveSilence(h, port, s.listens())
		default:
			err = l.serveTLS(h, port, s.listens(), own)
		}
		if err != nil {
			return fmt.Errorf("starting %s on %s: %w", s.windows(), h.Name, err)
		}
	}
	h.StartService(s.windows(), s.pid, s.name)
	if s.program != "" {
		h.AddProcess(s.listens(), s.program)
	}
	return nil
}

// openByHand adds what somebody once did by hand for the rims that have joined: for each service a rule on the central
// node for exactly those rims, and one on each of them for the central node and, where the release wants it, the other
// rims; the ports that browsers use are open for the clients, too.
func (l *Lab) openByHand(joined []*host.Host) {
	open := func(h *host.Host, from []netip.Prefix) {
		for _, s := range l.services(h) {
			browsers, others := split(s.ports)
			addByHand(h, "Qlik Sense "+strings.ToLower(s.name), others, from...)
			addByHand(h, "Qlik Sense hub and QMC", browsers, append(slices.Clone(from), clients)...)
		}
	}
	var from []netip.Prefix
	for _, h := range joined {
		from = append(from, host32(h))
	}
	for i, h := range joined {
		others := []netip.Prefix{host32(l.central())}
		if l.generation.rimsTalk {
			others = append(others, slices.Delete(slices.Clone(from), i, i+1)...)
		}
		open(h, others)
	}
	if len(joined) > 0 {
		open(l.central(), from)
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
