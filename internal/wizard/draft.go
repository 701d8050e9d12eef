package wizard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/site"
)

// DraftSetup is what the making of a site file begins with.
type DraftSetup struct {
	// Given are answers that need not be asked for, by question. Those for rim, pin, winrm and services may be several; the
	// last two are of one node, as NODE=..., and pin and services may be.
	Given    map[string][]string
	Releases []string // that can be chosen
	// Release is the release that a text means. The error says what to write instead.
	Release func(text string) (string, error)
	CA      func(file string) error // whether certificates can be read from a file
	// Make makes the file; its error refuses the name. Nil: no file is asked for.
	Make func(file string, d Draft) error
}

// Found is what was read from servers. It is proposed.
type Found struct {
	Release  string // "" if it is not known
	Services map[string][]site.Service
	From     site.Comments // where it was read
}

// Draft is a site file in the making, as a conversation: what is asked now, and what has been answered. Its methods return
// the next value and leave the one before as it was.
type Draft struct {
	setup  DraftSetup
	at     topic
	node   int // whose services are asked for
	site   site.Site
	found  Found
	file   string
	note   string            // what there is to say at once of the last answer
	said   map[string]string // answers as they were given, by question, to be proposed again
	before []Draft           // what Back goes to
}

// topic is what a question is about, in the order in which they are asked.
type topic int

const (
	ofName topic = iota
	ofCentral
	ofRims
	ofUser
	ofTrust
	ofCA
	ofRelease
	ofAnother
	ofServices
	ofClients
	ofFile
	drafted
)

// ids are the questions of the topics.
var ids = map[topic]string{ofName: "name", ofCentral: "central", ofRims: "rim", ofUser: "user", ofTrust: "trust",
	ofCA: "ca", ofRelease: "release", ofAnother: "another release", ofServices: "services", ofClients: "clients", ofFile: "new file"}

// How the servers' certificates are trusted.
const (
	thisMachine = "this machine"
	caFile      = "CA file"
	pins        = "pins"
)

const anotherRelease = "another"

// usual are the services of a node of which nothing else is known.
var usual = []site.Service{site.Repository, site.Proxy, site.Engine, site.Scheduler}

// NewDraft begins with what was given. A *GivenError says which of it cannot be an answer.
func NewDraft(s DraftSetup) (Draft, error) {
	d := Draft{setup: s, said: map[string]string{}, note: accountNote(strings.Join(s.Given["user"], ""))}
	for _, id := range slices.Sorted(maps.Keys(s.Given)) { // of two mistakes the same is said each time
		for _, text := range s.Given[id] {
			if err := s.check(id, text); err != nil {
				return d, &GivenError{id, err}
			}
		}
	}
	return d.settle()
}

// GivenError says that what was given to answer a question cannot be its answer.
type GivenError struct {
	ID    string
	Wrong error
}

func (e *GivenError) Error() string { return e.Wrong.Error() }
func (e *GivenError) Unwrap() error { return e.Wrong }

// check checks what was given by itself, before there is anything else to compare it with.
func (s DraftSetup) check(id, text string) (err error) {
	_, value := ofNode(text)
	switch id {
	case "name":
		err = site.CheckName(text)
	case "central":
		_, err = site.NodeAt(text, site.Central)
	case "rim":
		_, err = site.NodeAt(text, site.Rim)
	case "user":
		err = site.CheckUser(text)
	case "transport":
		err = checkTransport(text)
	case "ca":
		err = s.CA(text)
	case "pin":
		_, err = site.ReadPin(value)
	case "winrm":
		_, _, err = site.ReadReach(value)
	case "release":
		_, err = s.Release(text)
	case "services":
		_, err = site.ReadServices(value)
	case "clients":
		_, err = site.ReadClients(text)
	}
	return err
}

// checkTransport takes https alone, until signing in is sealed: a site file may name http, but nobody is signed in over it.
func checkTransport(text string) error {
	switch text {
	case "https":
		return nil
	case "http":
		return &site.Mistake{
			Text: "over http nobody is signed in so far: the password would cross the network in clear",
			Hint: "leave it out, which means https; a server gets its HTTPS listener with winrm quickconfig -transport:https",
		}
	}
	return &site.Mistake{Text: fmt.Sprintf("%q is no transport", text), Hint: "leave it out, which means https"}
}

// accountNote says that an account cannot be signed in with yet, "" if it can: Basic is for a server's own accounts. It goes
// once NTLM is in.
func accountNote(user string) string {
	domain, _, has := strings.Cut(user, `\`)
	if (!has || domain == ".") && !strings.Contains(user, "@") {
		return ""
	}
	return user + " names a domain. Windows takes such accounts by NTLM or Kerberos, with which preflight cannot sign in yet: use a local account of the servers, as qs-admin."
}

// ofNode splits NODE=VALUE; the node is "" where there is none.
func ofNode(text string) (node, value string) {
	node, value, is := strings.Cut(text, "=")
	if !is {
		return "", text
	}
	return node, value
}

// Site is the site so far, with everything filled in that a file may leave out.
func (d Draft) Site() site.Site { return d.site.Complete() }

// Comments say of the site's values where they were read.
func (d Draft) Comments() site.Comments {
	c := site.Comments{Services: map[string]string{}}
	if d.site.Release == d.found.Release {
		c.Release = d.found.From.Release
	}
	for _, n := range d.site.Nodes {
		if slices.Equal(n.Services, d.found.Services[n.Name]) {
			c.Services[n.Name] = d.found.From.Services[n.Name]
		}
	}
	return c
}

// Ready tells whether the servers are known, and how they are signed in to. What is asked after that can be read there.
func (d Draft) Ready() bool { return d.at >= ofRelease }

// Found proposes what was read from the servers.
func (d Draft) Found(f Found) Draft {
	d.found = f
	return d
}

// Heard is what there is to say at once of the last answer, "" for nothing, and the draft that does not say it again at its
// next question.
func (d Draft) Heard() (note string, rest Draft) {
	note, d.note = d.note, ""
	return note, d
}

// Done tells whether everything is answered.
func (d Draft) Done() bool { return d.at == drafted }

// File is the name of the file, "" if it was not asked for.
func (d Draft) File() string { return d.file }

// CanGoBack tells whether there is a question to go back to.
func (d Draft) CanGoBack() bool { return len(d.before) > 0 }

// Back goes to the question before. What was answered is kept, to be proposed again.
func (d Draft) Back() Draft {
	n := len(d.before)
	if n == 0 {
		return d
	}
	was := d.before[n-1]
	was.said, was.found = d.said, d.found
	return was
}

// again begins anew, with the answers of before proposed.
func (d Draft) again(s DraftSetup) (Draft, error) {
	next, err := NewDraft(s)
	if d.said != nil {
		next.said = d.said
	}
	return next, err
}

// Question is what is asked now; false if everything is answered.
func (d Draft) Question() (Question, bool) {
	if d.at == drafted {
		return Question{}, false
	}
	q := d.ask()
	q.ID, q.Step = ids[d.at], Site
	if d.note != "" {
		q.Notes = append([]string{"Note: " + d.note}, q.Notes...)
	}
	if said := d.said[q.ID+" "+q.Of]; said != "" {
		q.Default = said
	}
	return q, true
}

func (d Draft) ask() Question {
	switch d.at {
	case ofName:
		return Question{Kind: Text, Text: "The name of the site", Flag: "--site NAME", Notes: []string{"A name for the site file, the rules and the reports, as finance-bi."}}
	case ofCentral:
		return Question{Kind: Text, Text: "The host name of the central node", Flag: "--central HOST", Notes: []string{
			"What the other nodes dial, as qs-central.corp.example. The node is called by its first part, or what you write as NAME=HOST."}}
	case ofRims:
		n := len(d.site.Rims())
		q := Question{Of: fmt.Sprint(n + 1), Kind: Text, Text: "The host name of a rim node", Flag: "--rim HOST"}
		if n > 0 {
			q.Text, q.Optional = "The host name of another rim node", true
			q.Notes = []string{"There are " + strings.Join(names(d.site.Nodes), ", ") + ". If that is all, leave it empty."}
		}
		return q
	case ofUser:
		return Question{Kind: Text, Text: "The account that signs in to the servers", Flag: "--user ACCOUNT", Notes: []string{
			"A local account that is an administrator on every server, as qs-admin. Its password is asked for when it is needed, and is in no file.",
			"So far preflight signs in with Basic over HTTPS, which Windows takes for local accounts alone."}}
	case ofTrust:
		return Question{Kind: Choice, Text: "How does this machine know the servers' certificates?", Default: thisMachine, Flag: "--ca FILE or --pin NODE=sha256:...", Options: []Option{
			{"t", thisMachine, "it trusts who signed them, as browsers here do"},
			{"f", caFile, "a PEM file holds the certificate of who signed them"},
			{"p", pins, "self-signed: compare each one, then write its pin into the file"},
		}}
	case ofCA:
		return Question{Kind: Text, Text: "The file of the CA's certificate", Flag: "--ca FILE", Notes: []string{"As PEM: it begins with -----BEGIN CERTIFICATE-----."}}
	case ofRelease:
		q := Question{Kind: Choice, Free: "another release", Text: "Which release of Qlik Sense is installed?", Default: d.found.Release, Flag: releaseFlag}
		if r := d.found.Release; r != "" {
			q.Options = []Option{{Name: r, Text: d.found.From.Release}}
		}
		for _, r := range d.setup.Releases {
			if r != d.found.Release {
				q.Options = append(q.Options, Option{Name: r})
			}
		}
		q.Options = append(q.Options, Option{"o", anotherRelease, "one that is not listed, as may-2021 or 3.2.4"})
		return q
	case ofAnother:
		return Question{Kind: Text, Text: "The release of Qlik Sense, as may-2021", Flag: releaseFlag, Notes: []string{
			"Or the name that Windows lists it under, as Qlik Sense May 2021 Patch 3."}}
	case ofServices:
		n := d.site.Nodes[d.node]
		q := Question{Of: n.Name, Kind: Text, Text: "The services of " + n.Name, Default: join(usual), Flag: "--services " + n.Name + "=a,b,c", Notes: []string{
			"Of " + join(site.Services) + "; every node has the repository."}}
		if found := d.found.Services[n.Name]; len(found) > 0 {
			q.Default, q.Notes = join(found), []string{"Those proposed were " + d.found.From.Services[n.Name] + "."}
		}
		return q
	case ofClients:
		return Question{Kind: Text, Optional: true, Text: "The networks of people's browsers", Flag: "--clients NETWORKS", Notes: []string{
			"As 10.20.0.0/16 10.30.0.0/16: they may use the proxies' ports. If it is everybody, write any. Empty: nobody's browser is let in."}}
	}
	return Question{Kind: Text, Text: "The name of the new file", Default: d.site.Name + ".yaml", Flag: "--out FILE", Notes: []string{"It can be edited at any time. It holds no secret."}}
}

const releaseFlag = "--release RELEASE, or --connect to read it from the servers"

// Answer answers the question. The error says what to answer instead, and then nothing has happened.
func (d Draft) Answer(answer string) (Draft, error) {
	q, ok := d.Question()
	if !ok {
		return d, errors.New("nothing is asked")
	}
	a, err := q.Check(answer)
	if err != nil {
		return d, err
	}
	_, next := d.Heard()
	if d.at == ofUser {
		next.note = accountNote(a)
	}
	if next, err = next.take(a); err == nil {
		next, err = next.settle()
	}
	if err != nil {
		return d, err
	}
	next.said = with(d.said, q.ID+" "+q.Of, a)
	next.before = append(slices.Clone(d.before), d)
	return next, nil
}

// settle takes what was given, up to a question that has to be asked.
func (d Draft) settle() (Draft, error) {
	for {
		a, given := d.given()
		if !given {
			return d, nil
		}
		next, err := d.take(a)
		var other *GivenError
		switch {
		case errors.As(err, &other):
			return d, err
		case err != nil:
			return d, &GivenError{ids[d.at], err}
		}
		d = next
	}
}

// given is the answer to what is asked now, if it was given.
func (d Draft) given() (string, bool) {
	all := d.setup.Given[ids[d.at]]
	switch d.at {
	case ofRims:
		n := len(d.site.Rims())
		if n < len(all) {
			return all[n], true
		}
		return "", n > 0 && n == len(all)
	case ofTrust:
		switch {
		case len(d.setup.Given["ca"]) > 0:
			return caFile, true
		case len(d.setup.Given["pin"]) > 0:
			return pins, true
		}
	case ofServices:
		return OfNode(all, d.site.Nodes[d.node].Name)
	case ofFile:
		return "", d.setup.Make == nil
	case drafted:
		return "", false
	}
	if len(all) == 0 {
		return "", false
	}
	return all[0], true
}

// OfNode is what was given for a node: as NODE=VALUE, or else for every node.
func OfNode(all []string, node string) (string, bool) {
	answer, given := "", false
	for _, text := range all {
		switch name, value := ofNode(text); {
		case strings.EqualFold(name, node):
			return value, true
		case name == "":
			answer, given = value, true
		}
	}
	return answer, given
}

// take goes on with an answer that can be one.
func (d Draft) take(a string) (Draft, error) {
	switch d.at {
	case ofName:
		d.site.Name, d.at = a, ofCentral
		return d, site.CheckName(a)
	case ofCentral, ofRims:
		if a == "" {
			d.at = ofUser
			return d.reach()
		}
		role := site.Rim
		if d.at == ofCentral {
			role = site.Central
		}
		n, err := site.NodeAt(a, role)
		if err != nil {
			return d, err
		}
		if err := n.Beside(d.site.Nodes); err != nil {
			return d, err
		}
		d.site.Nodes, d.at = append(slices.Clone(d.site.Nodes), n), ofRims
	case ofUser:
		d.site.WinRM.User, d.at = a, ofTrust // the transport is https, which a file may leave out
		return d, site.CheckUser(a)
	case ofTrust:
		if d.at = ofRelease; a == caFile {
			d.at = ofCA
		}
	case ofCA:
		d.site.WinRM.CA, d.at = a, ofRelease
		return d, d.setup.CA(a)
	case ofRelease, ofAnother:
		if a == anotherRelease && d.at == ofRelease {
			d.at = ofAnother
			return d, nil
		}
		release, err := d.setup.Release(a)
		d.site.Release, d.node, d.at = release, 0, ofServices
		return d, err
	case ofServices:
		services, err := site.ReadServices(a)
		if err != nil {
			return d, err
		}
		d.site.Nodes = slices.Clone(d.site.Nodes)
		d.site.Nodes[d.node].Services = services
		if d.node++; d.node == len(d.site.Nodes) {
			d.at = ofClients
		}
	case ofClients:
		clients, err := site.ReadClients(a)
		d.site.Clients, d.at = clients, ofFile
		return d, err
	case ofFile:
		d.file, d.at = a, drafted
		if d.setup.Make != nil {
			return d, d.setup.Make(a, d)
		}
	}
	return d, nil
}

// reach gives the nodes what was given of how this machine reaches each of them.
func (d Draft) reach() (Draft, error) {
	for _, id := range []string{"winrm", "pin", "services"} {
		for _, text := range d.setup.Given[id] {
			node, _ := ofNode(text)
			known := slices.ContainsFunc(d.site.Nodes, func(n site.Node) bool { return strings.EqualFold(n.Name, node) })
			if !known && (node != "" || id == "winrm") {
				return d, &GivenError{id, &site.Mistake{
					Text: fmt.Sprintf("%q is for no node", text), Hint: "begin it with one of " + strings.Join(names(d.site.Nodes), "=, ") + "=",
				}}
			}
		}
	}
	d.site.Nodes = slices.Clone(d.site.Nodes)
	for i := range d.site.Nodes {
		n := &d.site.Nodes[i]
		if text, given := OfNode(d.setup.Given["winrm"], n.Name); given {
			n.WinRM.Address, n.WinRM.Port, _ = site.ReadReach(text)
		}
		if text, given := OfNode(d.setup.Given["pin"], n.Name); given {
			n.WinRM.Pin, _ = site.ReadPin(text)
		}
	}
	return d, nil
}

func names(nodes []site.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return all
}

func join(services []site.Service) string {
	var all []string
	for _, s := range services {
		all = append(all, string(s))
	}
	return strings.Join(all, " ")
}
