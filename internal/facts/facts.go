// Package facts holds what was read from a server. Everything may be unknown, and then says why: unknown is a value of
// its own, never shown as "free", "closed" or 0.
package facts

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/firewall"
)

// Level says how sure a statement is.
type Level string

const (
	Proven   Level = "proven"   // both ends saw it
	Observed Level = "observed" // one end saw it
	Inferred Level = "inferred" // what is stored says so
	Assumed  Level = "assumed"
)

// Value is a fact, or the reason why it is not known.
type Value[T any] struct {
	V       T
	Unknown string // "" when V is known
}

// Known makes a fact.
func Known[T any](v T) Value[T] { return Value[T]{V: v} }

// Unknown makes a fact that could not be read.
func Unknown[T any](why string) Value[T] { return Value[T]{Unknown: cmp.Or(why, "no reason given")} }

// OK tells whether the value is known.
func (v Value[T]) OK() bool { return v.Unknown == "" }

type unknown struct {
	Unknown string `json:"unknown"`
}

// MarshalJSON writes the value itself, or {"unknown": "the reason"}.
func (v Value[T]) MarshalJSON() ([]byte, error) {
	if !v.OK() {
		return json.Marshal(unknown{v.Unknown})
	}
	return json.Marshal(v.V)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value[T]) UnmarshalJSON(b []byte) error {
	*v = Value[T]{}
	var u unknown
	if len(b) > 0 && b[0] == '{' && json.Unmarshal(b, &u) == nil && u.Unknown != "" {
		v.Unknown = u.Unknown
		return nil
	}
	return json.Unmarshal(b, &v.V)
}

// Server is what was read from one server.
type Server struct {
	Computer   string              `json:"computer"`
	Windows    string              `json:"windows"`    // version, as 10.0.17763.0
	PowerShell string              `json:"powershell"` // version
	Language   string              `json:"language"`   // of its display, as en-US
	UptimeS    Value[int64]        `json:"uptime_s"`
	Clock      Value[Clock]        `json:"clock"`
	Interfaces []Interface         `json:"interfaces"`
	Listeners  Value[[]Listener]   `json:"listeners"`
	Services   Value[[]Service]    `json:"services"`
	Releases   Value[[]string]     `json:"releases"` // display names of what is installed
	State      Value[ServiceState] `json:"state"`    // rim only
	// Certificates are Qlik Sense's own in the computer's Trusted Root and Personal stores.
	Certificates Value[[]Certificate] `json:"certificates"`
	Peers        []Peer               `json:"peers"`
	Missing      []Missing            `json:"unknown"`

	// Firewall is the stored rules and settings. It is no part of a record: rules that are not ours stand there only
	// where something relies on them.
	Firewall firewall.State `json:"-"`
}

// Interface is a network interface with its addresses and the firewall profile in force on it.
type Interface struct {
	Index     int            `json:"index"`
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	Profile   string         `json:"profile"` // domain, private, public, or unknown
}

// Clock is how far a server's clock is ahead of ours, within a bound: what the answer took to travel.
type Clock struct {
	AheadMS int64 `json:"ahead_ms"`
	ErrorMS int64 `json:"error_ms"`
}

// Listener is a TCP port that somebody listens on.
type Listener struct {
	Address netip.AddrPort `json:"address"`
	PID     int            `json:"pid"`
	Process string         `json:"process"` // program name without .exe; "System" for http.sys; "" unknown
}

// Service is a Windows service of Qlik Sense.
type Service struct {
	Name  string `json:"name"`
	State string `json:"state"` // Running, Stopped, Start Pending, …: not localised in Win32_Service
	Start string `json:"start"` // Auto, Manual, Disabled
	PID   int    `json:"pid"`
	Path  string `json:"path"`
}

// Certificate is one that Qlik Sense made: it carries the extension 1.3.6.1.5.5.7.13.3 (levi-turner/QlikSenseScripts,
// certificateBackup.ps1).
type Certificate struct {
	Store      string    `json:"store"` // root or my, of the computer
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Thumbprint string    `json:"thumbprint"` // SHA-1 of its DER in capital hex, as Windows shows it
	NotAfter   time.Time `json:"not_after"`
}

// Roots are the thumbprints of the site roots that the server trusts. A node of one site has exactly one, its central
// node's; with more, the repository service shuts down (help.qlik.com, Qlik Sense 2.1, "Certificates: root").
func (s Server) Roots() []Certificate {
	var roots []Certificate
	for _, c := range s.Certificates.V {
		if c.Store == "root" {
			roots = append(roots, c)
		}
	}
	return roots
}

// Holder is who holds a port.
type Holder string

const (
	Qlik          Holder = "qlik"
	Likely        Holder = "likely qlik" // by its name, and by the service that starts such programs
	HTTPSys       Holder = "http.sys"    // Windows' own web server in the kernel: Qlik Sense and IIS use it alike
	Foreign       Holder = "foreign"
	UnknownHolder Holder = "unknown" // its process could not be told, or whose it is
)

// programs are Qlik Sense's own that listen on the ports of the catalogue.
var programs = []string{"repository", "proxy", "engine", "scheduler", "printing"}

// started are the programs that Windows services of Qlik Sense start, whether those are all of them, and whether they can be
// there without that service: the site's database can be a PostgreSQL installed apart (Qlik support article 1713744). PostgreSQL's
// service is its pg_ctl, which starts postgres (postgresql.org, "pg_ctl", register). Those of the Service Dispatcher are
// ServiceDispatcher\node\node.exe (help.qlik.com, Qlik Sense April 2018, "Services"); what later releases start was not
// seen.
var started = map[string]struct {
	programs []string
	all      bool
	apart    bool
}{
	"QlikSenseRepositoryDatabase": {programs: []string{"postgres"}, all: true, apart: true},
	"QlikSenseServiceDispatcher":  {programs: []string{"node"}},
}

// Holder tells whether a listener is Qlik Sense's: by the process ids of its services, else by the program's name. starter
// is the Windows service that starts what should listen there, "" if that is a service's own program. A program that was
// started has a process of its own, and a name that others have too: that it is Qlik Sense's is at best likely.
func (s Server) Holder(l Listener, starter string) Holder {
	name := strings.ToLower(l.Process)
	by, other := started[starter]
	switch {
	case l.PID == 4:
		return HTTPSys
	case slices.ContainsFunc(s.Services.V, func(sv Service) bool { return sv.PID == l.PID && l.PID != 0 }), slices.Contains(programs, name):
		return Qlik
	case name == "":
		return UnknownHolder
	case other && slices.Contains(by.programs, name):
		service, installed := s.Service(starter)
		if service.State == "Running" || by.apart && s.Services.OK() && !installed {
			return Likely
		}
		return UnknownHolder
	case other && !by.all:
		return UnknownHolder
	}
	return Foreign
}

// Service finds a Windows service by its name, which Windows knows without regard to case.
func (s Server) Service(name string) (Service, bool) {
	i := slices.IndexFunc(s.Services.V, func(sv Service) bool { return strings.EqualFold(sv.Name, name) })
	if i < 0 {
		return Service{}, false
	}
	return s.Services.V[i], true
}

// ServiceState is what the repository service of a rim says of itself on port 4444, documented since release 1.0 as
// GET /status/servicestate (help.qlik.com, "Service status: Get service state").
type ServiceState int

const (
	Initialising             ServiceState = 0
	CertificatesNotInstalled ServiceState = 1
	Running                  ServiceState = 2
)

func (s ServiceState) String() string {
	switch s {
	case Initialising:
		return "initialising"
	case CertificatesNotInstalled:
		return "waiting for certificates"
	case Running:
		return "running with certificates"
	}
	return "unknown"
}

// Peer is how one server sees another.
type Peer struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"` // what its host name resolves to here, best first
	Source    netip.Addr   `json:"source"`    // the own address used to talk to the first of them
	Code      int          `json:"code"`      // Windows Sockets error of the look-up or the route, 0 if none
}

// Missing is a section of the inspection that could not be read.
type Missing struct {
	Fact string `json:"fact"`
	Why  string `json:"why"`
}

// Peer finds how the server sees the one called name.
func (s Server) Peer(name string) (Peer, bool) {
	for _, p := range s.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

// Listening finds who takes connections to a port at one of the server's addresses: a listener on that address or on
// every address. It is false if nobody does.
func (s Server) Listening(at netip.AddrPort) (Listener, bool) {
	for _, l := range s.Listeners.V {
		if l.Address.Port() == at.Port() && (l.Address.Addr().IsUnspecified() || l.Address.Addr() == at.Addr()) {
			return l, true
		}
	}
	return Listener{}, false
}

// Runs tells whether a Windows service runs or may: it is not known to be stopped or missing.
func (s Server) Runs(service string) bool {
	if !s.Services.OK() {
		return true
	}
	sv, installed := s.Service(service)
	return installed && sv.State != "Stopped"
}

// Phase is how far a rim node has come.
type Phase string

const (
	NotInstalled Phase = "not installed"
	Installed    Phase = "installed" // waits for its certificates
	Joined       Phase = "joined"    // holds certificates; of which site, only the certificates themselves tell
	PhaseUnknown Phase = "unknown"
)

// Phase is how far the server has come as a rim node.
func (s Server) Phase() Phase {
	if s.Services.OK() && s.Releases.OK() && len(s.Services.V) == 0 && len(s.Releases.V) == 0 {
		return NotInstalled
	}
	if !s.State.OK() {
		return PhaseUnknown
	}
	switch s.State.V {
	case CertificatesNotInstalled:
		return Installed
	case Running:
		return Joined
	}
	return PhaseUnknown
}

// Release is the installed Qlik Sense release's display name, without patches and components; "" if there is none.
func (s Server) Release() string {
	for _, name := range s.Releases.V {
		if strings.HasPrefix(name, "Qlik Sense ") && !strings.Contains(name, " Patch ") && !strings.HasSuffix(name, " Service Dispatcher") {
			return name
		}
	}
	return ""
}
