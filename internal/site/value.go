package site

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Values that stand in no file yet, as an answer or a flag, are read by the rules of the file.

// Mistake is what is wrong with such a value.
type Mistake struct {
	Text string
	Hint string // what to write instead
}

// Error is one line.
func (m *Mistake) Error() string { return m.Text + ": " + m.Hint }

// Detail is the mistake as error: and hint: lines.
func (m *Mistake) Detail() string { return "error: " + m.Text + "\nhint: " + m.Hint + "\n" }

// CheckName checks the name of a site.
func CheckName(s string) error {
	_, err := value(s, func(r *reader, v ast.Node) string { return r.name(v, "site") })
	return err
}

// CheckUser checks an account that signs in.
func CheckUser(s string) error {
	_, err := value(s, func(r *reader, v ast.Node) string { return r.text(v, "winrm.user") })
	return err
}

// NodeAt is a node from the host that the other nodes dial, or NAME=HOST. Without a name, it has the first part of the
// host's.
func NodeAt(s string, role Role) (Node, error) {
	name, host, named := strings.Cut(s, "=")
	if !named {
		host = s
		if name, _, _ = strings.Cut(s, "."); isAddress(s) {
			name = s
		}
	}
	if _, err := value(host, (*reader).dialled); err != nil {
		return Node{}, err
	}
	if !named && !nameForm.MatchString(name) {
		return Node{}, &Mistake{"a node cannot be called " + quote(name), "give it a name too, as qs-rim1=" + host}
	}
	_, err := value(name, func(r *reader, v ast.Node) string { return r.name(v, "name") })
	return Node{Name: name, Role: role, Host: host}, err
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Beside checks that a node is another one than those before it.
func (n Node) Beside(before []Node) error {
	for _, other := range before {
		switch {
		case strings.EqualFold(n.Host, other.Host):
			return &Mistake{n.Host + " is the host of " + other.Name + " already", "two nodes are two servers; name the other one's host"}
		case strings.EqualFold(n.Name, other.Name):
			return &Mistake{"two nodes would be called " + n.Name, "give this one a name of its own, as " + n.Name + "-2=" + n.Host}
		}
	}
	return nil
}

// ReadPin reads the pin of a certificate.
func ReadPin(s string) (string, error) { return value(s, (*reader).pin) }

// ReadReach reads where this workstation dials a server's WinRM: HOST or HOST:PORT; port 0 if none is written.
func ReadReach(s string) (host string, port int, err error) {
	if isHost(s) {
		return s, 0, nil
	}
	if _, err := value(s, func(r *reader, v ast.Node) string { return r.hostPort(v, "winrm") }); err != nil {
		return "", 0, err
	}
	at := strings.LastIndex(s, ":")
	port, err = strconv.Atoi(s[at+1:])
	return strings.Trim(s[:at], "[]"), port, err
}

// ReadServices reads the services of a node, as words with spaces or commas between them.
func ReadServices(s string) ([]Service, error) { return value(words(s), (*reader).services) }

// ReadClients reads networks with spaces or commas between them, or the word any. Nothing is no network.
func ReadClients(s string) (Networks, error) {
	list := words(s)
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) == 1 && list[0] == "any":
		return value(list[0], (*reader).clients)
	}
	n, err := value(list, (*reader).clients)
	if m, ok := err.(*Mistake); ok {
		m.Hint = strings.ReplaceAll(m.Hint, "clients: any", "any") // no key is written here
	}
	return n, err
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// value reads a text, or a list of texts, as it would be read in a file.
func value[In string | []string, Out any](in In, read func(*reader, ast.Node) Out) (Out, error) {
	text := func(s string) ast.Node {
		return ast.String(token.New(s, s, &token.Position{Line: 1, Column: 1}))
	}
	var v ast.Node
	switch in := any(in).(type) {
	case string:
		v = text(in)
	case []string:
		list := ast.Sequence(token.New("[", "[", &token.Position{Line: 1, Column: 1}), true)
		for _, s := range in {
			list.Values = append(list.Values, text(s))
		}
		v = list
	}
	var r reader
	out := read(&r, v)
	if r.err != nil {
		return out, &Mistake{r.err.Text, r.err.Hint}
	}
	return out, nil
}
