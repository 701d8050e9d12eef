// Package site is the site file: which servers there are, what runs on them, and how to sign in. It holds no secrets and
// no ticket; it outlives both.
package site

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Site is one Qlik Sense site.
type Site struct {
	Name    string   `yaml:"site" json:"name"`
	Release string   `yaml:"release" json:"release"` // a port catalogue entry, as 1.0.2
	WinRM   WinRM    `yaml:"winrm" json:"winrm"`     // for every node, unless the node says otherwise
	Nodes   []Node   `yaml:"nodes" json:"nodes"`
	Clients Networks `yaml:"clients,omitempty" json:"clients"` // where people's browsers are
	Proof   Proof    `yaml:"proof,omitempty" json:"proof,omitzero"`
	Join    Join     `yaml:"join,omitempty" json:"join,omitzero"`
}

// Role is what a node is to its site.
type Role string

const (
	Central Role = "central"
	Rim     Role = "rim"
)

// Service is a Qlik Sense service that a node runs.
type Service string

const (
	Repository Service = "repository"
	Proxy      Service = "proxy"
	Engine     Service = "engine"
	Scheduler  Service = "scheduler"
	Printing   Service = "printing"
)

// Windows is the name of its Windows service (QlikProfessionalServices/ansible-qliksense-collection, start_services.yaml).
func (s Service) Windows() string {
	return "QlikSense" + strings.ToUpper(string(s[:1])) + string(s[1:]) + "Service"
}

// Services are all services, in the order in which they are listed.
var Services = []Service{Repository, Proxy, Engine, Scheduler, Printing}

// Node is one server.
type Node struct {
	Name     string    `yaml:"name" json:"name"`
	Role     Role      `yaml:"role" json:"role"`
	Host     string    `yaml:"host,omitempty" json:"host"` // what the other nodes dial; the name if left out
	Services []Service `yaml:"services" json:"services"`
	WinRM    WinRM     `yaml:"winrm,omitempty" json:"winrm"`
}

// Runs tells whether the node runs a service.
func (n Node) Runs(s Service) bool { return slices.Contains(n.Services, s) }

// WinRM says how to reach and sign in to a server. After Parse a node's is complete.
type WinRM struct {
	Address   string `yaml:"address,omitempty" json:"address,omitempty"` // what this workstation dials; the host if left out
	Port      int    `yaml:"port,omitempty" json:"port,omitempty"`       // 5986 for https, 5985 for http
	User      string `yaml:"user,omitempty" json:"user,omitempty"`
	Transport string `yaml:"transport,omitempty" json:"transport,omitempty"` // https or http
	Auth      string `yaml:"auth,omitempty" json:"auth,omitempty"`           // auto or basic, for now
	CA        string `yaml:"ca,omitempty" json:"ca,omitempty"`               // a PEM file; relative to the site file
	Pin       string `yaml:"pin,omitempty" json:"pin,omitempty"`             // sha256:… of the server's certificate
}

// Proof says how ports are proven.
type Proof struct {
	Listen *bool `yaml:"listen,omitempty" json:"listen,omitempty"` // false: never open a listener of our own
}

// Join says how rims are taken into the site.
type Join struct {
	// QRS is where this workstation dials the central node's repository service, as host:port; port 4242 of the central
	// node if it is left out.
	QRS string `yaml:"qrs,omitempty" json:"qrs,omitempty"`
}

// Networks are address ranges. Any address at all has to be written out as the word any.
type Networks []netip.Prefix

// MarshalJSON writes a list, also of none.
func (n Networks) MarshalJSON() ([]byte, error) {
	if n == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]netip.Prefix(n))
}

// MarshalYAML writes what Parse reads.
func (n Networks) MarshalYAML() (any, error) {
	if len(n) == 1 && n[0].Bits() == 0 {
		return "any", nil
	}
	list := []string{}
	for _, p := range n {
		list = append(list, p.String())
	}
	return list, nil
}

// Central is the site's central node.
func (s Site) Central() Node {
	for _, n := range s.Nodes {
		if n.Role == Central {
			return n
		}
	}
	return Node{}
}

// Users are the accounts that sign in to the site's servers, each once: Windows knows them without regard to case.
func (s Site) Users() []string {
	var users []string
	for _, n := range s.Nodes {
		if !slices.ContainsFunc(users, func(u string) bool { return strings.EqualFold(u, n.WinRM.User) }) {
			users = append(users, n.WinRM.User)
		}
	}
	return users
}

// Rims are the site's rim nodes, in the order of the file.
func (s Site) Rims() []Node {
	var rims []Node
	for _, n := range s.Nodes {
		if n.Role == Rim {
			rims = append(rims, n)
		}
	}
	return rims
}

// Node finds a node by name.
func (s Site) Node(name string) (Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Parse reads a site file. file is its name, for messages. A mistake is one *Error: the first in the file, where that is
// easy to tell.
func Parse(file string, text []byte) (Site, error) {
	r := reader{file: file}
	var s Site
	if doc := r.open(text); doc != nil {
		s = r.site(doc)
	}
	if r.err != nil {
		if r.err.Source != "" && !strings.Contains(strings.TrimSpace(string(text)), "\n") {
			// It may be a password file, named by mistake: nothing of it is shown.
			r.err = &Error{File: file, Line: 1, Column: 1, Text: "this is no site file: it has one line", Hint: "start with site:, release: and nodes:"}
		}
		return Site{}, r.err
	}
	return s, nil
}

// Marshal writes a site as a site file.
func (s Site) Marshal() ([]byte, error) { return yaml.Marshal(s) }

// fill completes what may be left out.
func (s *Site) fill() {
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Host = first(n.Host, n.Name)
		w, all := &n.WinRM, s.WinRM
		w.Address = first(w.Address, n.Host)
		w.User = first(w.User, all.User)
		w.Transport = first(w.Transport, all.Transport, "https")
		w.Auth = first(w.Auth, all.Auth, "auto")
		w.CA = first(w.CA, all.CA)
		w.Pin = first(w.Pin, all.Pin)
		if w.Port == 0 {
			w.Port = all.Port
		}
		if w.Port == 0 {
			w.Port = 5986
			if w.Transport == "http" {
				w.Port = 5985
			}
		}
	}
}
