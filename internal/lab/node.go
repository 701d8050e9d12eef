package lab

import (
	"crypto/sha1"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/lab/host"
	"github.com/qlik-preflight/preflight/internal/lab/qlik"
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

// setupPort is where a rim's repository service waits for certificates and tells its state.
const setupPort = 4444

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
	if in {
		h.AddCertificate(certificate("root", siteRoot, siteRoot))
		h.AddCertificate(certificate("my", "CN="+h.Name, siteRoot))
	}
	if h != l.central() {
		h.SetState(1)
		if in {
			h.SetState(2)
		}
	}
	for _, s := range l.services(h) {
		sv := host.Service{Name: "QlikSense" + s.name + "Service", State: "Stopped", Start: "Auto", Path: `C:\Program Files\Qlik\Sense\` + s.name + `\` + s.name + ".exe"}
		if in || s.name == "Repository" {
			sv.State, sv.PID = "Running", s.pid
		}
		h.AddService(sv, s.name)
		for _, port := range s.ports {
			var err error
			if port == setupPort {
				err = l.serveSetup(h, s.pid)
			} else if in {
				err = l.serveTLS(h, port, s.pid)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// serveSetup answers on setupPort as the repository service does.
func (l *Lab) serveSetup(h *host.Host, pid int) error {
	ln, err := h.Listen(setupPort, pid)
	if err != nil {
		return err
	}
	l.serve(ln, qlik.Setup{State: h.State})
	return nil
}

// siteRoot is the root certificate that the central node made for its site.
const siteRoot = "CN=qs-central-CA"

// certificate makes one of Qlik Sense's own. Its thumbprint comes from its names, so it is the same in every lab.
func certificate(store, subject, issuer string) host.Certificate {
	return host.Certificate{
		Store: store, Subject: subject, Issuer: issuer,
		Thumbprint: fmt.Sprintf("%X", sha1.Sum([]byte(subject+" issued by "+issuer))),
		NotAfter:   time.Date(2036, time.January, 10, 0, 0, 0, 0, time.UTC),
	}
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
