package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// installing is a server on which products and services are installed; one that begins with - is disabled.
func installing(name, product string, services ...string) record.Server {
	var f facts.Server
	if product != "" {
		f.Releases.V = []string{product}
	}
	for _, s := range services {
		short, disabled := strings.CutPrefix(s, "-")
		sv := facts.Service{Name: "QlikSense" + strings.ToUpper(short[:1]) + short[1:] + "Service", Start: "Auto"}
		if disabled {
			sv.Start = "Disabled"
		}
		f.Services.V = append(f.Services.V, sv)
	}
	return record.Server{Name: name, Facts: &f}
}

// TestFoundOn: what is proposed of what was found, and what is said of it.
func TestFoundOn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	unread := installing("r", "Qlik Sense May 2021")
	unread.Facts.Services = facts.Unknown[[]facts.Service]("access is denied")
	simulated := installing("c", "Qlik Sense May 2021", "repository")
	simulated.Simulated = new(bool)
	*simulated.Simulated = true
	for _, test := range []struct {
		name     string
		servers  []record.Server
		release  string
		services string // of the nodes
		says     []string
	}{
		{"alike", []record.Server{installing("c", "Qlik Sense May 2021", "scheduler", "repository", "serviceDispatcher"), installing("r", "Qlik Sense May 2021", "repository", "proxy")},
			"may-2021, read from c on 2026-11-25", "map[c:[repository scheduler] r:[repository proxy]]", []string{"c: has repository scheduler", "r: has repository proxy"}},
		{"differ", []record.Server{installing("c", "Qlik Sense May 2021", "repository"), installing("r", "Qlik Sense 3.2.4", "repository")},
			", ", "map[c:[repository] r:[repository]]", []string{"the servers differ: may-2021 on c, 3.2.4 on r; none of them is proposed"}},
		{"not installed", []record.Server{installing("c", "Qlik Sense May 2021", "repository"), installing("r", "")},
			"may-2021, read from c on 2026-11-25", "map[c:[repository]]", []string{"r: no service of Qlik Sense is installed; what most nodes run is proposed"}},
		{"not known", []record.Server{{Name: "c"}, unread},
			"may-2021, read from r on 2026-11-25", "map[]", []string{"r: its services are not known: access is denied"}},
		{"disabled", []record.Server{installing("c", "Qlik Sense May 2021", "repository", "-proxy", "engine"), installing("r", "Qlik Sense May 2021", "-repository", "proxy")},
			"may-2021, read from c on 2026-11-25", "map[c:[repository engine]]", []string{"c: has repository engine; disabled: proxy", "r: has proxy; disabled: repository: every node runs the repository, so"}},
		{"not in the catalogue", []record.Server{installing("c", "Qlik Sense May 2099", "repository")},
			", ", "map[c:[repository]]", []string{"c: Qlik Sense May 2099 is not in the port catalogue"}},
		{"one of them not in the catalogue", []record.Server{installing("c", "Qlik Sense May 2099", "repository"), installing("r", "Qlik Sense May 2021", "repository")},
			", ", "map[c:[repository] r:[repository]]", []string{"c: Qlik Sense May 2099 is not in the port catalogue", "the servers differ: Qlik Sense May 2099 on c, may-2021 on r; none of them is proposed"}},
		{"simulated", []record.Server{simulated}, "may-2021, read from c (simulated) on 2026-11-25", "map[c:[repository]]", nil},
	} {
		f, seen := foundOn(record.Record{Servers: test.servers}, now)
		if got := f.Release + ", " + f.From.Release; got != test.release || fmt.Sprint(f.Services) != test.services {
			t.Errorf("%s: proposed are %s and %v", test.name, got, f.Services)
		}
		says(t, strings.Join(seen, "\n"), test.says...)
		for _, n := range test.servers {
			if (f.From.Services[n.Name] != "") != (len(f.Services[n.Name]) > 0) {
				t.Errorf("%s: where the services of %s were read is %q", test.name, n.Name, f.From.Services[n.Name])
			}
		}
	}
}

// TestDiffers: a flag that differs from what is installed is pointed out, and one that agrees is not.
func TestDiffers(t *testing.T) {
	t.Parallel()
	r := record.Record{Servers: []record.Server{installing("c", "Qlik Sense May 2021", "repository", "proxy"), installing("r", "")}}
	found, _ := foundOn(r, time.Now())
	for _, test := range []struct {
		given map[string][]string
		want  []string
	}{
		{nil, nil},
		{map[string][]string{"release": {"May-2021"}, "services": {"repository,proxy"}}, nil},
		{map[string][]string{"release": {"1.0.2"}}, []string{"note: --release says 1.0.2, and may-2021 is installed"}},
		{map[string][]string{"services": {"c=repository"}}, []string{"note: --services says otherwise of c: repository"}},
	} {
		if got := (making{given: test.given}).differs(r, found); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%v: %q, want %q", test.given, got, test.want)
		}
	}
}

// TestFrom: a file that is named from here is named from another folder.
func TestFrom(t *testing.T) {
	t.Parallel()
	abs := filepath.Join(t.TempDir(), "ca.pem")
	for _, test := range [][3]string{
		{".", "ca.pem", "ca.pem"}, {"sites", "ca.pem", filepath.Join("..", "ca.pem")}, {"lab", filepath.Join("lab", "ca.pem"), "ca.pem"}, {"sites", abs, abs},
	} {
		if got := from(test[0], test[1]); got != test[2] {
			t.Errorf("%s from %s is %s, want %s", test[1], test[0], got, test[2])
		}
	}
}

// reached are the flags with which init reaches a lab.
func (s simulated) reached(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(s.files.Site)
	if err != nil {
		t.Fatal(err)
	}
	in, err := site.Parse("site.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"init", "--connect", "--site", "lab", "--central", in.Central().Host, "--user", lab.User, "--ca", s.files.CA}
	for _, n := range in.Nodes {
		if n.Role == site.Rim {
			flags = append(flags, "--rim", n.Host)
		}
		flags = append(flags, "--winrm", fmt.Sprintf("%s=%s:%d", n.Name, n.WinRM.Address, n.WinRM.Port))
	}
	return flags
}

// TestInitSignIn: a wrong password is tried once, whatever it is asked for, and a password is in nothing that is written.
func TestInitSignIn(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Scenario: "wrong-password", Rims: 2})
	o := preflight(t, s.Password()+"\n", append(s.reached(t), "--password-stdin", "--release", "1.0.2")...)
	if o.code != record.ExitConnect || o.stdout != "" || s.attempts() != 1 {
		t.Errorf("exit code %d after %d sign-ins\n%s%s", o.code, s.attempts(), o.stdout, o.stderr)
	}
	says(t, o.stderr, "not tried: the sign-in of")
	if o = preflight(t, "", append(s.reached(t), "--no-input")...); o.code != record.ExitUsage || s.attempts() != 1 {
		t.Errorf("without a password: exit code %d\n%s", o.code, o.stderr)
	}

	s = newLab(t, lab.Options{})
	o = preflight(t, s.Password()+"\n", append(s.reached(t), "--password-stdin")...)
	if o.code != 0 || !strings.Contains(o.stdout, "\nrelease: 1.0.2 ") || strings.Contains(o.stdout+o.stderr, s.Password()) {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// meanwhile is standard input with an answer, before which something else happens.
type meanwhile struct {
	io.Reader
	do func()
}

func (m meanwhile) Read(p []byte) (int, error) {
	m.do()
	return m.Reader.Read(p)
}

// TestInitMeanwhile: nor is a file written over that somebody else has made while the questions were answered.
func TestInitMeanwhile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "s.yaml")
	in := meanwhile{strings.NewReader("this machine\n1.0.2\n"), func() {
		if err := os.WriteFile(file, []byte("another's"), 0o600); err != nil {
			t.Error(err)
		}
	}}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"init", "--site", "s", "--central", "c", "--rim", "r", "--user", "u", "--transport", "https", "--out", file}, in, &stdout, &stderr)
	if got, err := os.ReadFile(file); code != record.ExitUsage || string(got) != "another's" {
		t.Errorf("exit code %d, the file holds %q (%v)\n%s", code, got, err, &stderr)
	}
	says(t, stderr.String(), "file already exists")
}

// TestIsThere: what cannot be looked at is not taken for free.
func TestIsThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	if err := isThere(file); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("nowhere", file); err != nil {
		t.Skip(err)
	}
	if err := isThere(file); !errors.Is(err, os.ErrExist) {
		t.Errorf("a link to nowhere: %v", err)
	}
}
