package wizard_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// making is how site files are made here: there is one CA file, ca.pem, and one file that is there, taken.yaml.
func making() wizard.DraftSetup {
	return wizard.DraftSetup{
		Releases: []string{"1.0.2", "3.x"},
		Release: func(text string) (string, error) {
			if r := strings.TrimPrefix(text, "Qlik Sense "); slices.Contains([]string{"1.0.2", "3.x", "3.2.4"}, r) {
				return r, nil
			}
			return "", fmt.Errorf("release %q is not in the catalogue", text)
		},
		CA: func(file string) error {
			if file != "ca.pem" {
				return errors.New(file + " holds no certificate")
			}
			return nil
		},
		Make: func(file string, _ wizard.Draft) error {
			if file == "taken.yaml" {
				return &site.Mistake{Text: "taken.yaml: file already exists", Hint: "write another name"}
			}
			return nil
		},
	}
}

func drafted(t *testing.T, s wizard.DraftSetup, all ...string) wizard.Draft {
	t.Helper()
	d, err := wizard.NewDraft(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		next, err := d.Answer(a)
		if err != nil {
			q, _ := d.Question()
			t.Fatalf("%s: %q: %v", q.ID, a, err)
		}
		d = next
	}
	return d
}

// asked is which question of a draft is asked, "" for none.
func asked(d wizard.Draft) string {
	q, _ := d.Question()
	return strings.TrimSpace(q.ID + " " + q.Of)
}

// TestDraft: every question in its order, and the site that its answers make.
func TestDraft(t *testing.T) {
	t.Parallel()
	d := drafted(t, making())
	for _, step := range []struct{ id, answer, flag string }{
		{"name", "finance-bi", "--site NAME"},
		{"central", "qs-central.corp.example", "--central HOST"},
		{"rim 1", "qs-rim1.corp.example", "--rim HOST"},
		{"rim 2", "r2=10.0.0.13", "--rim HOST"},
		{"rim 3", "", "--rim HOST"},
		{"user", `CORP\qs-admin`, "--user ACCOUNT"},
		{"trust", "ca", "--ca FILE or --pin NODE=sha256:..."},
		{"ca", "ca.pem", "--ca FILE"},
		{"release", "another", "--release RELEASE, or --connect to read it from the servers"},
		{"another release", "3.2.4", "--release RELEASE, or --connect to read it from the servers"},
		{"services qs-central", "", "--services qs-central=a,b,c"},
		{"services qs-rim1", "repository, engine", "--services qs-rim1=a,b,c"},
		{"services r2", "", "--services r2=a,b,c"},
		{"clients", "10.20.0.0/16", "--clients NETWORKS"},
		{"new file", "", "--out FILE"},
	} {
		if q, _ := d.Question(); asked(d) != step.id || q.Flag != step.flag || q.Step != wizard.Site || q.Text == "" {
			t.Fatalf("%+v is asked, want %+v", q, step)
		}
		if ready := step.id == "release"; ready && !d.Ready() || step.id == "ca" && d.Ready() {
			t.Errorf("at %s the servers are known: %v", step.id, d.Ready())
		}
		d = answersDraft(t, d, step.answer)
	}
	if q, ok := d.Question(); ok || !d.Done() || d.File() != "finance-bi.yaml" {
		t.Errorf("asked is %+v, done is %v, the file %q", q, d.Done(), d.File())
	}
	text, err := d.Site().Text(d.File(), d.Comments())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "draft.yaml", text)
	if _, err := d.Answer("x"); err == nil {
		t.Error("there is an answer when nothing is asked")
	}
}

func answersDraft(t *testing.T, d wizard.Draft, a string) wizard.Draft {
	t.Helper()
	next, err := d.Answer(a)
	if err != nil {
		t.Fatalf("%s: %q: %v", asked(d), a, err)
	}
	return next
}

// begin are answers up to the account.
var begin = []string{"finance-bi", "qs-central.corp.example", "qs-rim1.corp.example", ""}

// TestDraftMistakes: an answer that cannot be one is refused at once, in the words of the site file's rules, and nothing
// has happened.
func TestDraftMistakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		before int // how many of the answers below
		answer string
		want   string
	}{
		{0, "finance bi", "is not a name"}, {0, "", "an answer is needed"},
		{1, "https://qs", "is not a host name"}, {1, "localhost", "every server's own address"},
		{2, "", "an answer is needed"}, {2, "QS-CENTRAL.corp.example", "is the host of qs-central already"}, {2, "qs-central.other", "two nodes would be called"},
		{3, "x=qs-rim1.corp.example", "is the host of qs-rim1 already"},
		{5, "nothing", "none of the answers"}, {6, "b.pem", "holds no certificate"},
		{7, "9.9", "not in the catalogue"}, {7, "", "an answer is needed"}, {8, "proxy", "every node runs the repository"}, {9, "repository web", `service "web" is not known`},
		{10, "10.20.0.1/16", "not a network"}, {10, "0.0.0.0/0", "write any"}, {11, "taken.yaml", "taken.yaml: file already exists: write another name"},
	} {
		all := append(slices.Clone(begin), "u", "CA file", "ca.pem", "1.0.2", "", "", "")
		d := drafted(t, making(), all[:test.before]...)
		was := asked(d)
		next, err := d.Answer(test.answer)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q: %v, want %q", was, test.answer, err, test.want)
		}
		if asked(next) != was || len(next.Site().Nodes) != len(d.Site().Nodes) {
			t.Errorf("%s: after %q %s is asked", was, test.answer, asked(next))
		}
	}
}

// TestDraftBack: back goes to the question before, whichever that was, with its answer proposed; what is answered then
// replaces it.
func TestDraftBack(t *testing.T) {
	t.Parallel()
	all := append(slices.Clone(begin), "u", "CA file", "ca.pem", "another", "3.2.4", "repository", "", "any")
	d := drafted(t, making(), all...)
	for i := len(all) - 1; i >= 0; i-- {
		if !d.CanGoBack() {
			t.Fatalf("no way back from %s", asked(d))
		}
		was := asked(d)
		d = d.Back()
		want := all[i]
		if q, _ := d.Question(); want != "" && q.Default != want {
			t.Errorf("back from %s, %s proposes %q, want %q", was, asked(d), q.Default, want)
		}
	}
	if asked(d) != "name" || d.CanGoBack() || asked(d.Back()) != "name" {
		t.Errorf("at the beginning %s is asked", asked(d))
	}
	// The second rim goes, the other nodes stay.
	d = drafted(t, making(), "s", "c", "r1", "r2").Back()
	d = answersDraft(t, d, "r3")
	d = answersDraft(t, d, "")
	var names []string
	for _, n := range d.Site().Nodes {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "c r1 r3" {
		t.Errorf("the nodes are %s", got)
	}
	// A draft stays what it was, whatever is answered after it.
	d = drafted(t, making(), "s", "c", "r1", "r2")
	one, other := answersDraft(t, d, "r3"), answersDraft(t, d, "r4")
	if a, b := one.Site().Nodes[3].Name, other.Site().Nodes[3].Name; a != "r3" || b != "r4" {
		t.Errorf("the nodes are %s and %s", a, b)
	}
	d = drafted(t, making(), append(slices.Clone(begin), "u", "", "1.0.2")...)
	if answersDraft(t, d, "repository"); d.Site().Nodes[0].Services != nil {
		t.Errorf("a draft has the services of the next: %+v", d.Site().Nodes)
	}
	// Another way to trust servers leaves nothing of the first.
	d = drafted(t, making(), append(slices.Clone(begin), "u", "CA file", "ca.pem")...).Back().Back()
	if d = answersDraft(t, d, "pins"); d.Site().WinRM.CA != "" || asked(d) != "release" {
		t.Errorf("the CA is %q, asked is %s", d.Site().WinRM.CA, asked(d))
	}
}

// TestDraftGiven: what was given is not asked for; of a node it wins over what is for all.
func TestDraftGiven(t *testing.T) {
	t.Parallel()
	pin := "sha256:" + strings.Repeat("3f9a510c", 8)
	s := making()
	s.Make = nil
	s.Given = map[string][]string{
		"name": {"s"}, "central": {"c"}, "rim": {"r1", "r2"}, "user": {"u"}, "transport": {"https"}, "pin": {"R1=" + pin}, "winrm": {"r2=127.0.0.1:15986"},
		"release": {"Qlik Sense 3.2.4"}, "services": {"r2=repository", "repository,proxy"}, "clients": {"any"}, "ca": {"ca.pem"},
	}
	d := drafted(t, s)
	if !d.Done() || d.CanGoBack() {
		t.Fatalf("%s is asked", asked(d))
	}
	text, err := d.Site().Text("given.yaml", site.Comments{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "given.yaml", text)

	// What is not given is asked for, in between.
	for _, id := range []string{"name", "central", "user", "release", "clients"} {
		some := s
		some.Given = map[string][]string{}
		for k, v := range s.Given {
			if k != id {
				some.Given[k] = v
			}
		}
		if d := drafted(t, some); asked(d) != id {
			t.Errorf("without %s, %s is asked", id, asked(d))
		}
	}
	pinned := making()
	pinned.Given = map[string][]string{"name": {"s"}, "central": {"c"}, "rim": {"r"}, "user": {"u"}, "transport": {"https"}, "pin": {pin}}
	if d := drafted(t, pinned); asked(d) != "release" || d.Site().Nodes[1].WinRM.Pin != pin {
		t.Errorf("with a pin %s is asked, and that of r is %s", asked(d), d.Site().Nodes[1].WinRM.Pin)
	}

	for _, test := range []struct{ id, text, want string }{
		{"name", "a b", "is not a name"}, {"central", "", "host is empty"}, {"rim", "localhost", "own address"}, {"user", "", "is empty"}, {"transport", "ftp", "is no transport"}, {"transport", "http", "over http nobody is signed in so far"},
		{"ca", "b.pem", "no certificate"}, {"pin", "r1=3f", "is not a pin"}, {"pin", "r9=" + pin, `is for no node: begin it with one of c=, r1=, r2=`}, {"winrm", "c=h:0", "host with its port"}, {"winrm", "h:5986", "is for no node"},
		{"release", "9", "not in the catalogue"}, {"services", "r1=web", "is not known"}, {"services", "r9=repository", "is for no node"}, {"clients", "x", "is not a network"},
	} {
		wrong := s
		wrong.Given = map[string][]string{}
		for k, v := range s.Given {
			wrong.Given[k] = v
		}
		wrong.Given[test.id] = []string{test.text}
		_, err := wizard.NewDraft(wrong)
		var given *wizard.GivenError
		if !errors.As(err, &given) || given.ID != test.id || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %q: %v, want %q", test.id, test.text, err, test.want)
		}
	}
	// Of several mistakes the same one is said each time.
	for range 20 {
		wrong := making()
		wrong.Given = map[string][]string{"user": {""}, "release": {"9"}, "clients": {"x"}, "name": {"a b"}}
		var given *wizard.GivenError
		if _, err := wizard.NewDraft(wrong); !errors.As(err, &given) || given.ID != "clients" {
			t.Errorf("of four mistakes this is said: %v", err)
		}
	}
	// What was given may also fit no answer: then that is refused.
	some := making()
	some.Given = map[string][]string{"rim": {"qs-1"}}
	d = drafted(t, some, "s")
	if _, err := d.Answer("QS-1"); err == nil || !strings.Contains(err.Error(), "is the host of") {
		t.Errorf("the central node is the rim: %v", err)
	}
}

// TestDraftFound: what was read from servers is proposed, and where it is taken over the file says so.
func TestDraftFound(t *testing.T) {
	t.Parallel()
	found := wizard.Found{
		Release: "3.2.4", Services: map[string][]site.Service{"qs-central": {site.Repository}, "qs-rim1": {site.Repository, site.Engine}},
		From: site.Comments{Release: "read from qs-central", Services: map[string]string{"qs-central": "read from qs-central", "qs-rim1": "read from qs-rim1"}},
	}
	d := drafted(t, making(), append(slices.Clone(begin), "u", "")...).Found(found)
	if q, _ := d.Question(); q.ID != "release" || q.Default != "3.2.4" || q.Options[0].Name != "3.2.4" || q.Options[0].Text != "read from qs-central" {
		t.Errorf("proposed is %+v", q)
	}
	d = answersDraft(t, answersDraft(t, d.Back(), ""), "")
	if q, _ := d.Question(); q.Default != "repository" || !strings.Contains(q.Notes[0], "read from qs-central") {
		t.Errorf("proposed is %+v", q)
	}
	d = answersDraft(t, answersDraft(t, d, "repository proxy"), "")
	c := d.Comments()
	if c.Release != "read from qs-central" || c.Services["qs-central"] != "" || c.Services["qs-rim1"] != "read from qs-rim1" {
		t.Errorf("the comments are %+v", c)
	}
	if d = answersDraft(t, d.Back().Back().Back(), "1.0.2"); d.Comments().Release != "" {
		t.Error("a release that was not taken over is said to be read")
	}
}

// TestDraftAccount: an account of a domain, given or answered, is taken and said to be none that can sign in yet, once.
func TestDraftAccount(t *testing.T) {
	t.Parallel()
	for account, domain := range map[string]bool{`CORP\qs-admin`: true, "qs-admin@corp.example": true, "qs-admin": false, `.\qs-admin`: false} {
		s := making()
		s.Given = map[string][]string{"user": {account}}
		note, d := drafted(t, s).Heard()
		if again, _ := d.Heard(); (note != "") != domain || again != "" || domain && !strings.HasPrefix(note, account+" names a domain") {
			t.Errorf("%s given: %q, then %q", account, note, again)
		}
		d = drafted(t, making(), append(slices.Clone(begin), account)...)
		q, _ := d.Question()
		if noted := strings.Contains(strings.Join(q.Notes, "\n"), "NTLM"); noted != domain || d.Site().WinRM.User != account {
			t.Errorf("after %s the account is %s, and the notes are %q", account, d.Site().WinRM.User, q.Notes)
		}
		_, heard := d.Heard()
		q, _ = heard.Question()
		after, _ := answersDraft(t, d, "").Question()
		if len(q.Notes)+len(after.Notes) != 0 {
			t.Errorf("%s is noted again: %q, %q", account, q.Notes, after.Notes)
		}
	}
}

// withNew is setup with a way to make a site file; made are those that were.
func withNew(made *[]string) wizard.Setup {
	s := setup()
	s.New = making()
	refuses := s.New.Make
	s.New.Make = func(file string, d wizard.Draft) error {
		if err := refuses(file, d); err != nil {
			return err
		}
		*made = append(*made, file)
		return nil
	}
	s.Open = func(file string) (wizard.Candidate, error) {
		return wizard.Candidate{Name: strings.TrimSuffix(file, ".yaml"), Site: twoNodes("there"), File: file}, nil
	}
	return s
}

// TestNew: a new site is asked for question by question, written, and then it is a site as any other: chosen, and the first
// of the choice that back goes to.
func TestNew(t *testing.T) {
	t.Parallel()
	var made []string
	w := begun(t, withNew(&made))
	if q, _ := w.Question(); q.Options[len(q.Options)-2].Name != "new" || q.Default != "finance-bi" {
		t.Errorf("what can be chosen is %+v", q)
	}
	w = answers(t, w, "new")
	asks(t, w, "name", wizard.Site)
	if w = w.Back(); w.CanGoBack() {
		t.Error("there is a question before the first")
	}
	asks(t, w, "site", wizard.Site)
	w = answers(t, w, "new", "there").Back().Back()
	if w = answers(t, w, "new"); asks(t, w, "name", wizard.Site).Default != "there" {
		t.Error("what was answered is not proposed again")
	}
	w = answers(t, w, "there", "c", "b1")
	w = answers(t, w.Back(), "r1", "", "u", "", "1.0.2", "", "", "")
	if q := asks(t, w, "new file", wizard.Site); q.Flag != "preflight init --out FILE" || q.Default != "there.yaml" {
		t.Errorf("the file is asked for with %+v", q)
	}
	if refused, err := w.Answer("taken.yaml"); err == nil || made != nil {
		t.Errorf("a file that is there is written over: %+v", refused)
	}
	w = answers(t, w, "")
	if got := strings.Join(made, " "); got != "there.yaml" || w.Answers().Candidate.File != "there.yaml" {
		t.Fatalf("made is %q, chosen %+v", got, w.Answers().Candidate)
	}
	asks(t, w, "password", wizard.SignIn)
	w = w.Back()
	if q := asks(t, w, "site", wizard.Site); q.Default != "there" || q.Options[0].Name != "there" || w.CanGoBack() {
		t.Errorf("back from the sign-in is %+v", q)
	}
	w = answers(t, w, "")
	asks(t, w, "password", wizard.SignIn)

	// One of a name that is there already is chosen by its file.
	w = answers(t, w.Back(), "new", "x", "c", "r1", "", "u", "", "1.0.2", "", "", "", "there.yaml")
	if q, _ := w.Back().Question(); q.Options[0].Name != "there.yaml" || q.Options[1].Name != "there" {
		t.Errorf("what can be chosen is %+v", q.Options)
	}
	// Where none can be made, none is offered, and new is a file's name.
	q, _ := begun(t, setup()).Question()
	if slices.ContainsFunc(q.Options, func(o wizard.Option) bool { return o.Name == "new" }) {
		t.Errorf("new is offered: %+v", q.Options)
	}
}

// TestNewPrompts: the questions for a new site in lines read as testdata/new.txt does.
func TestNewPrompts(t *testing.T) {
	t.Parallel()
	var made []string
	p, out := typed(`new
?
there
localhost
c.corp.example
b

r1
r2
-

CORP\u
nothing
CA file
ca.pem
9.9
3.2.4

repository

any
taken.yaml
there.yaml
`)
	_, err := p.Lead(t.Context(), begun(t, withNew(&made)), whole)
	var missing *wizard.MissingError
	if !errors.As(err, &missing) || missing.Question.ID != "password" || len(made) != 1 {
		t.Errorf("made is %q: %v", made, err)
	}
	golden(t, "new.txt", out.Bytes())

	// A question of a draft of its own, without a wizard.
	p, out = typed("a b\ns\n")
	d, err := p.Next(t.Context(), drafted(t, making()))
	if asked(d) != "central" || err != nil {
		t.Errorf("%s is asked: %v", asked(d), err)
	}
	if want := "error: site \"a b\" is not a name\nhint: use up to 63"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is not in %s", want, out)
	}
	if d, err = p.Next(t.Context(), d); !errors.As(err, &missing) || missing.Question.Flag != "--central HOST" || asked(d) != "central" {
		t.Errorf("at the end of the input: %v", err)
	}
}
