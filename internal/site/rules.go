package site

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (r *reader) name(v ast.Node, what string) string {
	s := r.text(v, what)
	if !nameForm.MatchString(s) {
		r.fail(first(v), "use up to 63 letters from a to z, digits, dots, dashes and underscores; start with a letter or digit", "%s %s is not a name", what, quote(s))
	}
	return s
}

func (r *reader) host(v ast.Node, what string) string {
	s := r.text(v, what)
	if !isHost(s) {
		hint := "write a host name or an address"
		if strings.ContainsAny(s, ":/") {
			hint += " alone; https:// or http:// is transport, and a port is port, both under winrm"
		}
		r.fail(first(v), hint, "%s %s is not a host name or an address", what, quote(s))
	}
	return s
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

// isHost tells whether s is a host name or an address. What ends in a number is an address or nothing.
func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	last := s[strings.LastIndex(s, ".")+1:]
	return len(s) <= 253 && hostForm.MatchString(s) && strings.Trim(last, "0123456789") != ""
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && a.Unmap().IsLoopback()
}

// dialled reads the host that the other nodes dial.
func (r *reader) dialled(v ast.Node) string {
	host := r.host(v, "host")
	if isLoopback(host) {
		r.fail(first(v), "write the name or address that the other nodes dial; what this workstation dials is winrm.address", "host %s is every server's own address", quote(host))
	}
	return host
}

func (r *reader) port(v ast.Node, what string) int {
	if _, ok := v.(*ast.IntegerNode); !ok {
		r.wrong(v, what, "a number", "write a number from 1 to 65535")
		return 0
	}
	s := v.GetToken().Value
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		r.fail(first(v), "write a number from 1 to 65535", "%s %s is not a port", what, quote(s))
	}
	return int(n)
}

// hostPort reads a host and its port, as qs-central:4242 or [fd00::11]:4242.
func (r *reader) hostPort(v ast.Node, what string) string {
	s := r.text(v, what)
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || !isHost(host) || bad != nil || n == 0 {
		r.fail(first(v), "write a host and a port, as qs-central.corp.example:4242", "%s %s is not a host with its port", what, quote(s))
	}
	return s
}

var pinForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// pin reads the SHA-256 of a certificate. Tools show it in capitals and with colons, and it may be pasted so.
func (r *reader) pin(v ast.Node) string {
	s := r.text(v, "winrm.pin")
	kind, digits, _ := strings.Cut(s, ":")
	pin := strings.ToLower(kind + ":" + strings.ReplaceAll(digits, ":", ""))
	if !pinForm.MatchString(pin) {
		hint := "write sha256: and the 64 hexadecimal digits of the certificate's SHA-256"
		if bare := strings.Map(hexOnly, s); len(bare) == 40 {
			hint += "; a thumbprint of 40 digits is its SHA-1"
		}
		r.fail(first(v), hint, "winrm.pin %s is not a pin", quote(s))
	}
	return pin
}

func hexOnly(c rune) rune {
	if strings.ContainsRune("0123456789abcdefABCDEF", c) {
		return c
	}
	return -1
}

const clientsHint = "write a list of networks, as [10.20.0.0/16], or the word any"

func (r *reader) clients(v ast.Node) (n Networks) {
	if s, ok := v.(*ast.StringNode); ok {
		if s.Value == "any" {
			return Networks{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
		}
		if _, err := network(s.Value); err == nil {
			r.fail(first(v), fmt.Sprintf("write clients: [%s]", s.Value), "clients has to be a list, not text")
		}
	}
	r.list(v, "clients", clientsHint, func(item ast.Node) {
		s := r.text(item, "a client network")
		p, err := network(s)
		switch {
		case s == "any":
			r.fail(first(item), "write clients: any, without a list", "any stands alone")
		case err != nil:
			r.fail(first(item), "write a network as 10.20.0.0/16, or one address as 10.20.0.5", "%s is not a network", quote(s))
		case p.Bits() == 0:
			r.fail(first(item), "if that is meant, write clients: any", "%s is every address there is", s)
		case p.Bits() < 7 || p.Addr().Is4() && p.Bits() < 8:
			r.fail(first(item), "list the networks one by one; if everyone is meant, write clients: any", "%s is far wider than a network of one's own", s)
		case p != p.Masked():
			r.fail(first(item), fmt.Sprintf("for the whole network write %s, for this one address %s", p.Masked(), p.Addr()), "%s is an address in a network, not a network", s)
		case slices.Contains(n, p):
			r.fail(first(item), "keep one of them", "%s is in the list twice", s)
		}
		n = append(n, p)
	})
	return n
}

// network reads a network or an address, which is a network of one.
func network(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return p, err
		}
		p = netip.PrefixFrom(a, a.BitLen())
		if a.IsUnspecified() || a.Zone() != "" {
			return p, errors.New("not an address of a client")
		}
	}
	if p.Addr().Is4In6() || p.Addr().IsMulticast() {
		return p, errors.New("not an address of a client")
	}
	return p, nil
}

func (r *reader) winrm(v ast.Node, w *WinRM) found {
	return r.mapping(v, "winrm",
		field{"address", func(v ast.Node) { w.Address = r.host(v, "winrm.address") }},
		field{"port", func(v ast.Node) { w.Port = r.port(v, "winrm.port") }},
		field{"user", func(v ast.Node) { w.User = r.text(v, "winrm.user") }},
		field{"transport", func(v ast.Node) { w.Transport = r.oneOf(v, "transport", "https", "http") }},
		field{"auth", func(v ast.Node) { w.Auth = r.oneOf(v, "auth", "auto", "basic") }},
		field{"ca", func(v ast.Node) { w.CA = r.text(v, "winrm.ca") }},
		field{"pin", func(v ast.Node) { w.Pin = r.pin(v) }},
	)
}

// places is where the keys of a node are.
type places struct{ node, winrm found }

// line is the line that names the node.
func (p places) line() int { return p.node.at("name").Position.Line }

func (r *reader) node(v ast.Node) (n Node, at places) {
	at.node = r.mapping(v, "a node",
		field{"name", func(v ast.Node) { n.Name = r.name(v, "name") }},
		field{"role", func(v ast.Node) { n.Role = Role(r.oneOf(v, "role", string(Central), string(Rim))) }},
		field{"host", func(v ast.Node) { n.Host = r.dialled(v) }},
		field{"services", func(v ast.Node) { n.Services = r.services(v) }},
		field{"winrm", func(v ast.Node) { at.winrm = r.winrm(v, &n.WinRM) }},
	)
	for _, key := range []struct{ name, hint string }{
		{"name", "give the node a name, as name: qs-rim1"},
		{"role", "write role: central or role: rim"},
		{"services", "write what the node runs, as services: [repository, proxy, engine, scheduler]"},
	} {
		if !at.node.has(key.name) {
			r.fail(at.node.start, key.hint, "this node has no %s", key.name)
		}
	}
	if !at.node.has("host") && (!isHost(n.Name) || isLoopback(n.Name)) {
		r.fail(at.node.at("name"), "give the node a host: its host name or address", "name %s cannot be dialled", quote(n.Name))
	}
	return n, at
}

func (r *reader) services(v ast.Node) (services []Service) {
	var words []string
	for _, s := range Services {
		words = append(words, string(s))
	}
	r.list(v, "services", "write what the node runs, as [repository, proxy, engine, scheduler]", func(item ast.Node) {
		s := Service(r.oneOf(item, "service", words...))
		if slices.Contains(services, s) {
			r.fail(first(item), "keep one of them", "service %s is in the list twice", s)
		}
		services = append(services, s)
	})
	if !slices.Contains(services, Repository) {
		r.fail(first(v), "add repository to the list", "every node runs the repository")
	}
	return services
}

// site reads the whole file. Checks of one value come first, then those that need all of them.
func (r *reader) site(doc ast.Node) (s Site) {
	var all found
	var at []places
	nodes := func(v ast.Node) {
		r.list(v, "nodes", "list the central node and at least one rim, each as - name: ...", func(item ast.Node) {
			n, where := r.node(item)
			r.another(n, where, s.Nodes, at)
			s.Nodes, at = append(s.Nodes, n), append(at, where)
		})
	}
	top := r.mapping(doc, "the site file",
		field{"site", func(v ast.Node) { s.Name = r.name(v, "site") }},
		field{"release", func(v ast.Node) {
			s.Release = r.text(v, "release")
			if !nameForm.MatchString(s.Release) {
				r.fail(first(v), "write it as 1.0.2", "%s is not a release", quote(s.Release))
			}
		}},
		field{"winrm", func(v ast.Node) {
			all = r.winrm(v, &s.WinRM)
			if all.has("address") {
				r.fail(all.at("address"), "write it under winrm: of the node it belongs to", "one address cannot be that of every node")
			}
		}},
		field{"nodes", nodes},
		field{"clients", func(v ast.Node) { s.Clients = r.clients(v) }},
		field{"proof", func(v ast.Node) {
			r.mapping(v, "proof", field{"listen", func(v ast.Node) {
				b, ok := v.(*ast.BoolNode)
				if !ok {
					r.wrong(v, "proof.listen", "true or false", "write true or false")
					return
				}
				listen := b.Value
				s.Proof.Listen = &listen
			}})
		}},
		field{"join", func(v ast.Node) {
			r.mapping(v, "join", field{"qrs", func(v ast.Node) { s.Join.QRS = r.hostPort(v, "join.qrs") }})
		}},
	)
	for _, key := range []struct{ name, hint string }{
		{"site", "give the site a name, as site: finance-bi"},
		{"release", "write the installed release of Qlik Sense, as release: 1.0.2"},
		{"nodes", "list the central node and at least one rim under nodes:"},
	} {
		if !top.has(key.name) {
			r.fail(top.start, key.hint, "%s is missing", key.name)
		}
	}
	if r.err != nil {
		return s
	}
	has := func(role Role) bool { return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Role == role }) }
	if !has(Central) {
		r.fail(top.pairs["nodes"].key, "exactly one node has role central", "this site has no central node")
	}
	if !has(Rim) {
		r.fail(top.pairs["nodes"].key, "a site of one node has nothing to open; add the node that is to join, with role rim", "this site has no rim node")
	}
	s.fill()
	for i, n := range s.Nodes {
		r.signIn(n, at[i], all)
		for j, other := range s.Nodes[:i] {
			mine, theirs := n.WinRM, other.WinRM
			if strings.EqualFold(n.Host, other.Host) {
				r.fail(at[i].node.at("host", "name"), "two nodes are two servers; give each a host of its own", "%s has the host of %s (line %d)", n.Name, other.Name, at[j].line())
			}
			if strings.EqualFold(mine.Address, theirs.Address) && mine.Port == theirs.Port {
				where := at[i].node.at("host", "name")
				if at[i].winrm.has("address") || at[i].winrm.has("port") {
					where = at[i].winrm.at("address", "port")
				}
				r.fail(where, "two nodes are two servers; give each a winrm.address or port of its own", "%s is reached at %s port %d, and so is %s (line %d)", n.Name, mine.Address, mine.Port, other.Name, at[j].line())
			}
		}
	}
	return s
}

// another checks a node against those before it.
func (r *reader) another(n Node, where places, before []Node, at []places) {
	for i, other := range before {
		if r.err != nil {
			return // one of them may have no name
		}
		if strings.EqualFold(n.Name, other.Name) {
			r.fail(where.node.at("name"), "give each node a name of its own; upper and lower case are the same", "two nodes are called %s; the first is in line %d", n.Name, at[i].line())
		}
		if n.Role == Central && other.Role == Central {
			r.fail(where.node.at("role"), "exactly one node has role central; the others are rims", "this site has two central nodes, %s (line %d) and %s", other.Name, at[i].line(), n.Name)
		}
	}
}

// signIn checks how a node is signed in to, with what it takes from the whole site.
func (r *reader) signIn(n Node, at places, all found) {
	if n.WinRM.User == "" {
		r.fail(at.node.at("name"), `write the account that signs in under winrm:, as user: CORP\qs-admin`, "winrm.user is missing for %s", n.Name)
	}
	if n.WinRM.Auth == "basic" && n.WinRM.Transport == "http" {
		where := all.at("auth")
		for _, key := range []string{"transport", "auth"} {
			if at.winrm.has(key) {
				where = at.winrm.at(key)
			}
		}
		r.fail(where, "write transport: https, or auth: auto, which seals what it sends over http", "basic over http would send the password of %s to %s in clear", quote(n.WinRM.User), n.Name)
	}
}
