package site

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// Comments are where values of a site come from, in a few words that stand beside them in its file.
type Comments struct {
	Release  string
	Services map[string]string // by the node's name
}

// Text is a site as a site file of that name: what may be left out is left out, and what does not speak for itself has a
// comment. Parse of it is the site, if the site is one that Parse gave.
func (s Site) Text(file string, c Comments) ([]byte, error) {
	var w writer
	fmt.Fprintf(&w.text, "# %s: what must be able to talk to what. No secrets, no ticket: it outlives both.\n", visible(filepath.Base(file)))
	w.line("", "site", s.Name, "")
	w.line("", "release", s.Release, cmp.Or(c.Release, "port catalogue; preflight ports lists the releases"))
	if s.WinRM != (WinRM{}) {
		w.line("", "winrm", nil, "for every node, unless the node says otherwise")
		w.winrm("  ", s.WinRM, WinRM{})
	}
	w.line("", "nodes", nil, "")
	for i, n := range s.Nodes {
		w.line("  - ", "name", n.Name, "")
		w.line("    ", "role", string(n.Role), "")
		if n.Host != n.Name {
			comment := ""
			if i == 0 {
				comment = "what the other nodes dial"
			}
			w.line("    ", "host", n.Host, comment)
		}
		w.line("    ", "services", n.Services, c.Services[n.Name])
		if out := s.leftOut(n); n.WinRM != out {
			w.line("    ", "winrm", nil, "")
			w.winrm("      ", n.WinRM, out)
		}
	}
	switch {
	case len(s.Clients) == 0:
		w.line("# ", "clients", []string{"10.20.0.0/16"}, "where people's browsers are; any has to be written out")
	case s.Clients[0].Bits() == 0:
		w.line("", "clients", s.Clients, "people's browsers may be anywhere")
	default:
		w.line("", "clients", s.Clients, "where people's browsers are")
	}
	if s.Proof.Listen != nil {
		w.line("", "proof", nil, "")
		w.line("  ", "listen", *s.Proof.Listen, "whether preflight may listen where nobody does yet")
	}
	if s.Join.QRS != "" {
		w.line("", "join", nil, "")
		w.line("  ", "qrs", s.Join.QRS, "where this machine dials the central node's repository service")
	}
	return []byte(w.text.String()), w.err
}

// Complete is the site with everything filled in that a file may leave out, as Parse does.
func (s Site) Complete() Site {
	s.Nodes = slices.Clone(s.Nodes)
	s.fill()
	return s
}

// leftOut is what a node's winrm is where the file says nothing of it, given the transport, which the port goes by.
func (s Site) leftOut(n Node) WinRM {
	n.WinRM = WinRM{Transport: n.WinRM.Transport}
	out := Site{WinRM: s.WinRM, Nodes: []Node{n}}.Complete().Nodes[0].WinRM
	out.Transport = cmp.Or(s.WinRM.Transport, "https")
	return out
}

// writer writes lines of a site file. Its err is the first that happened.
type writer struct {
	text strings.Builder
	err  error
}

// winrm writes the keys that are not what leaving them out says.
func (w *writer) winrm(indent string, r, out WinRM) {
	for _, k := range []struct{ key, value, out, comment string }{
		{"address", r.Address, out.Address, "what this machine dials"},
		{"user", r.User, out.User, ""},
		{"transport", r.Transport, out.Transport, ""},
		{"auth", r.Auth, out.Auth, ""},
		{"ca", r.CA, out.CA, "who signed the servers' certificates"},
		{"pin", r.Pin, out.Pin, ""},
	} {
		if k.value != k.out {
			w.line(indent, k.key, k.value, k.comment)
		}
	}
	if r.Port != out.Port {
		w.line(indent, "port", r.Port, "")
	}
}

// line writes a key with its value, nil for one that follows below it.
func (w *writer) line(indent, key string, value any, comment string) {
	l := indent + key + ":"
	if value != nil {
		l = indent + w.pair(key, value)
	}
	if comment != "" {
		const column = 39
		l += strings.Repeat(" ", max(column-utf8.RuneCountInString(l), 2)) + "# " + visible(comment)
	}
	w.text.WriteString(l + "\n")
}

// plain is a text that needs no quotes.
var plain = regexp.MustCompile(`^[\pL\pN][\pL\pN .:/@_-]*$`)

// pair is a key with its value on one line, quoted where YAML needs it: in single quotes, which leave CORP\qs-admin as it is.
func (w *writer) pair(key string, value any) string {
	var text []byte
	var err error
	switch v := value.(type) {
	case []Service, []string, Networks:
		text, err = yaml.MarshalWithOptions(v, yaml.Flow(true), yaml.UseSingleQuote(true))
		text = append([]byte(key+": "), text...)
	default:
		text, err = yaml.MarshalWithOptions(yaml.MapSlice{{Key: key, Value: v}}, yaml.UseSingleQuote(true))
		if s, ok := v.(string); ok && !plain.MatchString(s) && strings.HasSuffix(string(text), " "+s+"\n") { // the library leaves ? as it is
			text = []byte(key + ": '" + strings.ReplaceAll(s, "'", "''") + "'")
		}
	}
	if w.err == nil {
		w.err = err
	}
	return strings.TrimSuffix(string(text), "\n")
}
