package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
	"github.com/qlik-preflight/preflight/reports"
)

func (a *app) initCommand() *cobra.Command {
	var connect, force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "write a site file, from answers or what is on the servers",
		Long: `init makes a site file: which servers there are, what runs on them, and how to sign in. What no flag says is asked, on
standard error, and answered on standard input. At its end, and with --no-input, what may be left out has its default, and
what may not is an error. The file goes to standard output, to --out, or on a terminal to a name that is asked for. A file that
is there is not written over, unless --force says so.

  preflight init
  preflight init --site finance-bi --central qs-central.corp.example \
      --rim qs-rim1.corp.example --user qs-admin --release may-2021 \
      --out finance-bi.yaml

With --connect the servers are signed in to and looked at first, which changes nothing on them: release and services are
proposed as they are installed, and a flag that differs from them wins and is pointed out.`,
		Args: noArguments,
	}
	f := cmd.Flags()
	given := map[string]string{"name": "site", "central": "central", "user": "user", "transport": "transport", "ca": "ca", "release": "release", "clients": "clients"}
	f.String("site", "", "name of the site")
	f.String("central", "", "host name of the central node, as the rims dial it, or NAME=HOST")
	f.String("user", "", "local account that signs in, as qs-admin; an administrator on every server")
	f.String("transport", "", "https; over http nobody is signed in so far (default https)")
	f.String("ca", "", "PEM file of the CA that signed the servers' certificates (default: this machine's)")
	f.String("release", "", "installed release of Qlik Sense, as may-2021 or 1.0.2")
	f.String("clients", "", "networks of people's browsers, with commas between them, or any (default none)")
	several := map[string]string{"rim": "rim", "pin": "pin", "winrm": "winrm", "services": "services"}
	f.StringArray("rim", nil, "host name of a rim node, or NAME=HOST; repeat it for each")
	f.StringArray("pin", nil, "pin of the servers' certificate, sha256:..., or of one node's, as NODE=sha256:...")
	f.StringArray("winrm", nil, "where this machine dials a node, if not at its host: NODE=HOST or NODE=HOST:PORT")
	f.StringArray("services", nil, "services of every node, or of one, as NODE=a,b (default repository,proxy,engine,scheduler)")
	f.BoolVar(&connect, "connect", false, "sign in to the servers and propose what is installed")
	f.BoolVar(&force, "force", false, "write over a file that is there")
	a.passwordFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m := making{app: a, force: force, connect: connect, flags: map[string]string{}, given: map[string][]string{}}
		for id, name := range given {
			m.flags[id] = name
			if f.Changed(name) {
				text, _ := f.GetString(name)
				m.given[id] = []string{text}
			}
		}
		for id, name := range several {
			m.flags[id] = name
			m.given[id], _ = f.GetStringArray(name)
		}
		return m.run(cmd.Context())
	}
	return cmd
}

// making is a site file in the making.
type making struct {
	app            *app
	force, connect bool
	flags          map[string]string   // by question
	given          map[string][]string // by question
	silent         bool                // nothing is asked
}

func (m making) run(ctx context.Context) error {
	a := m.app
	m.silent = a.noInput || a.passwordStdin
	if err := m.free(); err != nil {
		return err
	}
	setup := drafting()
	setup.Given = m.given
	if !m.silent && a.format == "text" && a.out == "" && isTerminal(a.stdout) {
		setup.Make = func(file string, d wizard.Draft) error { return create(file, d, m.force) }
	}
	d, err := wizard.NewDraft(setup)
	if err == nil {
		d, err = m.fill(ctx, d)
	}
	if err != nil {
		return m.explain(err)
	}
	if err := m.free(); err != nil { // somebody else may have made it while the questions were answered
		return err
	}
	return m.show(d)
}

// free is an error if the file that --out names is there and may not be written over.
func (m making) free() error {
	path := m.app.result.path
	if m.force || path == "" {
		return nil
	}
	if err := isThere(path); err != nil {
		return usage("name another file with --out, or add --force to write over it", "--out %w", err)
	}
	return nil
}

// fill has the questions answered. The servers are looked at once they are known.
func (m making) fill(ctx context.Context, d wizard.Draft) (wizard.Draft, error) {
	p := m.app.prompts(func() {})
	var looked []site.WinRM
	for {
		d = m.hear(d)
		if servers := dialled(d.Site()); m.connect && d.Ready() && !slices.Equal(servers, looked) {
			found, err := m.look(ctx, d.Site())
			if err != nil {
				return d, err
			}
			d, looked = d.Found(found), servers
		}
		q, ok := d.Question()
		if !ok {
			return d, nil
		}
		next, err := d, error(&wizard.MissingError{Question: q})
		if !m.silent {
			next, err = p.Next(ctx, d)
		}
		if missing := (*wizard.MissingError)(nil); errors.As(err, &missing) && (q.Optional || q.Default != "") {
			next, err = d.Answer("")
		}
		if err != nil {
			return d, err
		}
		d = next
	}
}

// hear says what there is to say of an answer.
func (m making) hear(d wizard.Draft) wizard.Draft {
	note, d := d.Heard()
	if note != "" {
		var b strings.Builder
		para(&b, "", "note: "+printable.Line(note))
		io.WriteString(m.app.stderr, b.String())
	}
	return d
}

// dialled is how each server of a site is reached.
func dialled(s site.Site) []site.WinRM {
	var all []site.WinRM
	for _, n := range s.Nodes {
		all = append(all, n.WinRM)
	}
	return all
}

// explain says which flag an error is about.
func (m making) explain(err error) error {
	var given *wizard.GivenError
	var missing *wizard.MissingError
	var mistake *site.Mistake
	text, hint := err.Error(), ""
	if errors.As(err, &mistake) {
		text, hint = mistake.Text, mistake.Hint
	}
	switch {
	case errors.As(err, &given):
		return usage(hint, "--%s: %s", m.flags[given.ID], text)
	case mistake != nil:
		return usage(hint, "%s", text)
	case errors.As(err, &missing) && m.app.passwordStdin:
		return usage(missing.Question.Flag+"; --password-stdin leaves no standard input for an answer", "%w", err)
	case errors.As(err, &missing):
		return usage(missing.Question.Flag, "%w", err)
	}
	return err
}

// show writes the result, unless it is in the file that was asked for, and says what comes next.
func (m making) show(d wizard.Draft) error {
	a := m.app
	file := cmp.Or(d.File(), a.result.path)
	if d.File() == "" {
		name := cmp.Or(file, d.Site().Name+".yaml")
		text, err := textOf(d, name)
		if err != nil {
			return m.explain(err)
		}
		s, err := site.Parse(name, text)
		if err != nil {
			return err
		}
		if err := a.show(string(text), s); err != nil {
			return err
		}
		if a.format != "text" {
			return nil
		}
		if file == "" {
			fmt.Fprintf(a.stderr, "save this as %s; then\n", name)
			file = name
		}
	}
	if d.File() != "" {
		fmt.Fprintf(a.stderr, "written %s\n", printable.Line(file))
	}
	fmt.Fprintf(a.stderr, "next    preflight check -f %s\n", printable.Argument(file))
	return nil
}

// drafting is how site files are made: with the catalogue's releases.
func drafting() wizard.DraftSetup {
	return wizard.DraftSetup{Releases: ports.Names(), Release: release, CA: func(file string) error {
		text, err := os.ReadFile(file)
		switch {
		case err != nil:
			return &site.Mistake{Text: fmt.Sprintf("reading %s: %v", file, cause(err)), Hint: "name the PEM file of the CA's certificate"}
		case !x509.NewCertPool().AppendCertsFromPEM(text):
			return &site.Mistake{Text: file + " holds no certificate", Hint: "it has to begin with -----BEGIN CERTIFICATE-----"}
		}
		return nil
	}}
}

// release is the catalogue's release that a text means: by its own name, or by the one that Windows lists it under.
func release(text string) (string, error) {
	r, err := ports.Named(text)
	var unknown *ports.UnknownRelease
	if errors.As(err, &unknown) {
		return "", &site.Mistake{Text: fmt.Sprintf("%q is not in the port catalogue", unknown.Release), Hint: unknown.Hint}
	}
	return r.For, err
}

// textOf is a draft as the file of that name. The CA's file, named from here, is written relative to it.
func textOf(d wizard.Draft, file string) ([]byte, error) {
	s := d.Site()
	if ca := s.WinRM.CA; ca != "" {
		s.WinRM.CA = from(filepath.Dir(file), ca)
		for i := range s.Nodes {
			s.Nodes[i].WinRM.CA = s.WinRM.CA
		}
	}
	text, err := s.Text(file, d.Comments())
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", file, err)
	}
	_, err = site.Parse(file, text)
	var wrong *site.Error
	if errors.As(err, &wrong) { // what no answer alone can tell
		return nil, &site.Mistake{Text: "this would be no site file: " + wrong.Text, Hint: wrong.Hint}
	}
	return text, err
}

// from is a file as it is named from a folder, absolute where there is no way from one to the other.
func from(folder, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	dir, err1 := filepath.Abs(folder)
	path, err2 := filepath.Abs(file)
	if errors.Join(err1, err2) != nil {
		return file
	}
	if relative, err := filepath.Rel(dir, path); err == nil {
		return relative
	}
	return path
}

// isThere is an error if a file is there.
func isThere(file string) error {
	_, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s: %w", file, cmp.Or(cause(err), fs.ErrExist))
}

// create makes the file of a draft, whole or not at all.
func create(file string, d wizard.Draft, force bool) error {
	if file == "-" { // which --out takes for standard output
		return &site.Mistake{Text: "- is not the name of a file", Hint: "write a name, as " + d.Site().Name + ".yaml"}
	}
	if err := isThere(file); err != nil && !force {
		return &site.Mistake{Text: err.Error(), Hint: "write another name; with preflight init --force it is written over"}
	}
	text, err := textOf(d, file)
	if err != nil {
		return err
	}
	r, err := newResult(nil, file)
	if err != nil {
		return &site.Mistake{Text: strings.TrimPrefix(err.Error(), "--out "), Hint: "name a file in a folder that exists and can be written"}
	}
	_, err = r.Write(text)
	return errors.Join(err, r.close())
}

// look signs in to the servers of a site and reads what is installed there. Nothing is changed on them, and nothing of it is
// kept on disk.
func (m making) look(ctx context.Context, s site.Site) (wizard.Found, error) {
	a := m.app
	s.Release = cmp.Or(s.Release, ports.Names()[0]) // what is looked at does not depend on it
	cas, err := readCAs(s, "")
	if err != nil {
		return wizard.Found{}, err
	}
	c, err := a.connector(ctx, s, cas)
	if err != nil {
		return wizard.Found{}, err
	}
	told := newProgress()
	defer told.end()
	e, err := engine.New(s, c, nil, func(ev record.Event) error {
		told.add(a.stderr, reports.Line(ev))
		return nil
	})
	if err != nil {
		return wizard.Found{}, err
	}
	err = e.Start(record.RunStarted{})
	for _, stage := range []func(context.Context) error{e.ConnectAll, e.Inspect} {
		if err == nil {
			err = onward(stage(ctx))
		}
	}
	e.Close()
	told.end()
	if err != nil {
		return wizard.Found{}, err
	}
	r := e.Record()
	found, seen := foundOn(r, time.Now())
	for _, text := range append(seen, m.differs(r, found)...) {
		fmt.Fprintf(a.stderr, "  %s\n", printable.Line(text))
	}
	if m.silent && slices.ContainsFunc(r.Servers, func(s record.Server) bool { return s.Failure != nil }) {
		fmt.Fprintln(a.stderr, "error: not every server could be looked at: no site file is written")
		return found, exit(record.ExitConnect)
	}
	return found, nil
}

// foundOn is what was found on servers, to be proposed, and what there is to say of it.
func foundOn(r record.Record, now time.Time) (f wizard.Found, seen []string) {
	f = wizard.Found{Services: map[string][]site.Service{}, From: site.Comments{Services: map[string]string{}}}
	releases := map[string]string{} // by the server that was the first to have it
	var order []string
	for _, s := range r.Servers {
		if s.Facts == nil {
			continue
		}
		from := fmt.Sprintf("read from %s on %s", s.Name, now.Format(time.DateOnly))
		if s.Simulated != nil && *s.Simulated {
			from = strings.Replace(from, s.Name, s.Name+" (simulated)", 1)
		}
		if product := s.Facts.Release(); product != "" {
			name, err := release(product)
			if err != nil {
				seen = append(seen, fmt.Sprintf("%s: %s is not in the port catalogue", s.Name, product))
				name = product
			}
			if releases[name] == "" {
				releases[name] = s.Name
				order = append(order, name)
				if err == nil {
					f.Release, f.From.Release = name, from
				}
			}
		}
		services, what := installed(*s.Facts)
		if len(services) > 0 {
			f.Services[s.Name], f.From.Services[s.Name] = services, from
		}
		seen = append(seen, s.Name+": "+what)
	}
	if len(order) > 1 {
		f.Release, f.From.Release = "", ""
		var all []string
		for _, name := range order {
			all = append(all, name+" on "+releases[name])
		}
		seen = append(seen, "the servers differ: "+strings.Join(all, ", ")+"; none of them is proposed")
	}
	return f, seen
}

// installed are the services of Qlik Sense that a server has, and what there is to say of them.
func installed(f facts.Server) (services []site.Service, what string) {
	if !f.Services.OK() {
		return nil, "its services are not known: " + f.Services.Unknown
	}
	var has, disabled []string
	for _, s := range site.Services {
		switch sv, installed := f.Service(s.Windows()); {
		case !installed:
		case sv.Start == "Disabled":
			disabled = append(disabled, string(s))
		default:
			services, has = append(services, s), append(has, string(s))
		}
	}
	what = "has " + strings.Join(has, " ")
	if len(disabled) > 0 {
		what += "; disabled: " + strings.Join(disabled, " ")
	}
	switch {
	case len(services) == 0 && len(disabled) == 0:
		return nil, "no service of Qlik Sense is installed; what most nodes run is proposed"
	case !slices.Contains(services, site.Repository):
		return nil, what + ": every node runs the repository, so what most nodes run is proposed"
	}
	return services, what
}

// differs says where flags differ from what was found.
func (m making) differs(r record.Record, found wizard.Found) (all []string) {
	if given := m.given["release"]; len(given) > 0 && found.Release != "" {
		if name, _ := release(given[0]); name != found.Release {
			all = append(all, fmt.Sprintf("note: --release says %s, and %s is installed", name, found.Release))
		}
	}
	for _, s := range r.Servers {
		text, given := wizard.OfNode(m.given["services"], s.Name)
		services, err := site.ReadServices(text)
		if has := found.Services[s.Name]; given && err == nil && len(has) > 0 && !slices.Equal(services, has) {
			all = append(all, fmt.Sprintf("note: --services says otherwise of %s: %s", s.Name, printable.Line(text)))
		}
	}
	return all
}

// newSite is how the wizard makes a site file. It never writes over one.
func newSite() wizard.DraftSetup {
	setup := drafting()
	setup.Make = func(file string, d wizard.Draft) error {
		if _, err := given(d.Site()); err != nil {
			return err
		}
		return create(file, d, false)
	}
	return setup
}
