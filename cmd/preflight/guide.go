package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
	"github.com/qlik-preflight/preflight/internal/wizard"
	"github.com/qlik-preflight/preflight/reports"
	"github.com/qlik-preflight/preflight/tui"
)

// face says how the wizard is shown.
type face struct {
	accessible, ascii bool
	color             string
}

func (f *face) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.accessible, "accessible", false, "ask in plain numbered lines, for screen readers; so does the environment's ACCESSIBLE")
	cmd.Flags().BoolVar(&f.ascii, "ascii", false, "draw with characters that every font has")
	cmd.Flags().StringVar(&f.color, "color", "auto", "auto, always or never; NO_COLOR is heeded")
}

var colors = []string{"auto", "always", "never"}

func (f face) check() error {
	if !slices.Contains(colors, f.color) {
		return usage("write auto, always or never", "--color %s is not known", f.color)
	}
	return nil
}

// terminal tells whether somebody sits at a terminal.
func (a *app) terminal() bool { return isTerminal(a.stdin) && isTerminal(a.stdout) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// drawn tells whether the wizard is drawn on the terminal.
func (a *app) drawn(f face) bool {
	asked := f.accessible || os.Getenv("ACCESSIBLE") != "" || os.Getenv("PREFLIGHT_ACCESSIBLE") != ""
	lines := a.format == "jsonl" && a.result.file == nil // they come while it is drawn
	return a.terminal() && !asked && !lines && os.Getenv("TERM") != "dumb"
}

// wizardFlags are the answers that can be given before the wizard begins.
type wizardFlags struct {
	face
	file, ticket string
}

// wizard is the root command: a conversation that leads through the other commands.
func (a *app) wizard(cmd *cobra.Command, f wizardFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	g := &guide{app: a}
	// The lab is what an empty folder proposes: it needs no answer and touches nothing real.
	setup := wizard.Setup{Candidates: append(a.candidates("."), labCandidate(site.Site{})), Open: open, New: newSite(), File: f.file}
	if err := checkTicket(f.ticket); err != nil {
		return err
	}
	if cmd.Flags().Changed("ticket") {
		setup.Ticket = &f.ticket
	}
	return g.lead(cmd.Context(), setup, f.face)
}

// guide does what a conversation leads to.
type guide struct {
	app   *app
	lab   *lab.Lab // the simulated site, once there is one
	quiet bool     // the terminal belongs to what is drawn

	busy   atomic.Bool             // an action is being done
	runs   atomic.Pointer[session] // its command, once that was begun
	last   *session                // the last command, nil before the first; while an action is done it is the action's alone
	unable error                   // why the last action was not begun, nil if it was; like last
	site   wizard.Candidate
	ticket string
}

// lead leads through a conversation, drawn or in lines, and ends with the exit code of the last command, also if that could
// not be begun.
func (g *guide) lead(ctx context.Context, setup wizard.Setup, f face) error {
	a := g.app
	if a.noInput {
		return usage("preflight plan -f site.yaml asks nothing", "the wizard asks, which --no-input forbids")
	}
	defer func() {
		if g.lab != nil {
			g.lab.Close()
		}
	}()
	setup.Passwords = given
	w, err := wizard.New(setup)
	if err != nil {
		return err
	}
	drawn := a.drawn(f)
	if drawn {
		g.quiet = true
		_, err = tui.Run(ctx, w, g, tui.Options{In: a.stdin.(*os.File), Out: a.stdout.(*os.File), Color: f.color, ASCII: f.ascii, Now: clock})
		if errors.Is(err, tui.ErrTerminal) && !g.busy.Load() && g.last == nil {
			fmt.Fprintf(a.stderr, "note: %s; going on in lines\n", printable.Line(err.Error()))
			drawn, g.quiet = false, false
		}
	}
	if !drawn {
		p := a.prompts(g.flush)
		p.Show, p.Silence = g.show, 30*time.Second
		_, err = p.Lead(ctx, w, g)
	}
	return g.end(err)
}

// end ends the last command's run. broke is why the conversation is not over.
func (g *guide) end(broke error) error {
	a := g.app
	if g.busy.Load() {
		fmt.Fprintln(a.stderr, "error: left while servers were being worked on; the journal holds what was begun")
		if w := g.runs.Load(); w != nil {
			if r := w.Record(); r.InPlace() > 0 && w.SiteFile != "" {
				fmt.Fprintf(a.stderr, "hint: to take back what is in: %s\n", w.typed("backout"))
			}
		}
		return exit(record.ExitCancelled)
	}
	var code error
	if g.last != nil {
		code = errors.Join(g.last.finish(), g.last.journal.Close())
	}
	if broke == nil {
		broke = g.unable // the last word on what was wanted
	}
	if g.last == nil && broke == nil {
		return context.Canceled // left before anything was begun
	}
	var ended exit
	errors.As(code, &ended)
	interrupted := errors.Is(broke, tui.ErrInterrupted) || errors.Is(broke, context.Canceled)
	var missing *wizard.MissingError
	switch {
	case ended == record.ExitPartly, ended == record.ExitCancelled && interrupted, broke == nil: // which is said
		return code
	case errors.As(broke, &missing):
		return usage(cmp.Or(missing.Question.Flag, "preflight --help"), "%w", broke)
	case errors.Is(broke, tui.ErrInterrupted):
		return context.Canceled
	}
	return broke
}

// Do does an action as the command of its name, on the run of the conversation.
func (g *guide) Do(ctx context.Context, action wizard.Action, with wizard.Answers, o wizard.Operator) error {
	g.busy.Store(true)
	defer g.busy.Store(false)
	defer g.runs.Store(nil)
	w := &session{app: g.app, command: string(action), tell: o.Tell, quiet: g.quiet, wizard: true}
	var by engine.Joining
	g.unable = nil
	if action == wizard.DoJoin {
		by, g.unable = g.joins(with, o)
	}
	if g.unable == nil {
		g.unable = g.begin(w, action, with)
	}
	if g.unable != nil {
		return g.unable
	}
	g.last = w
	g.runs.Store(w)
	switch action {
	case wizard.DoApply:
		return w.perform(ctx, w.applying(ctx, "site name", with.Approval)...)
	case wizard.DoVerify:
		return w.perform(ctx, w.verifying(ctx, true)...) // the plan that was approved allows listeners
	case wizard.DoJoin:
		return w.perform(ctx, w.joining(ctx, with.Rim, by)...)
	case wizard.DoBackOut:
		return w.perform(ctx, w.backingOut(ctx)...)
	}
	return w.perform(ctx, w.planning(ctx)...)
}

// begin begins a command: of the run that there is, or of a new one if what was planned is of another site or ticket, or if
// the site file was edited since.
func (g *guide) begin(w *session, action wizard.Action, with wizard.Answers) error {
	s, run, connector, err := g.reach(with)
	if err != nil {
		return err
	}
	same := g.last != nil && reflect.DeepEqual(g.site.Site, with.Candidate.Site) && g.site.File == with.Candidate.File && g.ticket == with.Ticket
	if action != wizard.DoPlan || same {
		w.journal = g.last.journal
		if r := g.last.Record(); action == wizard.DoApply {
			if err := approve(w.name(), w.journal.Dir(), r, r.Change.PlanSHA256); err != nil {
				return err
			}
		}
		if err := w.resume(g.last.Record(), connector); err != nil {
			return err
		}
	} else {
		if g.last != nil {
			if err := g.last.journal.Close(); err != nil {
				return err
			}
			g.last = nil
		}
		if err := w.start(s, connector, with.Ticket, run); err != nil {
			return err
		}
		g.site, g.ticket = with.Candidate, with.Ticket
	}
	w.SiteFile = with.Candidate.File
	if w.rim = with.Rim; action == wizard.DoJoin && !with.ByHand {
		w.qrs = qrsFlags{auth: "certificate", cert: with.Certificate, key: with.Key}
	}
	if g.site.Simulated && times == nil {
		w.Times = loopback
	}
	return nil
}

// reach is how the chosen site's servers are reached.
func (g *guide) reach(with wizard.Answers) (site.Site, record.RunStarted, engine.Connector, error) {
	c := with.Candidate
	if !c.Simulated {
		path, err := filepath.Abs(c.File)
		if err != nil {
			return c.Site, record.RunStarted{}, nil, fmt.Errorf("finding the site file: %w", err)
		}
		cas, err := readCAs(c.Site, c.File)
		return c.Site, record.RunStarted{SiteFile: path, CAs: cas}, connect(cas, func(user string) winrm.Password {
			p, _ := with.Passwords.Of(user)
			return p
		}), err
	}
	if g.lab == nil {
		l, err := lab.Start(lab.Options{})
		if err != nil {
			return c.Site, record.RunStarted{}, nil, err
		}
		g.lab = l
	}
	s, err := siteOf(g.lab)
	return s, record.RunStarted{}, inLab(g.lab), err
}

// joins is who does the central node's part of a join.
func (g *guide) joins(with wizard.Answers, o wizard.Operator) (by engine.Joining, err error) {
	s := g.last.Site
	switch {
	case with.ByHand:
		by.Person = person{o.Ask}
	case g.site.Simulated:
		cert, key, root := g.lab.QRSCertificate()
		by.QRS, by.Certificate, err = qrs(s, cert, key, root, time.Now())
	default:
		by, err = qrsFlags{auth: "certificate", cert: with.Certificate, key: with.Key}.joining(s)
	}
	return by, err
}

// inLab reaches the servers of a lab.
func inLab(l *lab.Lab) engine.WinRM {
	return engine.WinRM{
		Roots: func(string) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(l.CA())
			return pool, nil
		},
		Password: func(string) winrm.Password { return winrm.Password(l.Password()) },
	}
}

// siteOf is the site of a lab.
func siteOf(l *lab.Lab) (site.Site, error) {
	text, err := l.SiteFile()
	if err != nil {
		return site.Site{}, err
	}
	return site.Parse("lab.yaml", text)
}

// flush waits until what happened is written.
func (g *guide) flush() {
	if g.last != nil {
		g.last.told.flush()
	}
}

// show is what there is to read at a question.
func (g *guide) show(w wizard.Wizard, q wizard.Question) string {
	var which []reports.Section
	switch q.ID {
	case "connect":
		which = []reports.Section{reports.Servers}
	case "inspect":
		which = []reports.Section{reports.Servers, reports.Findings}
	case "review", "undo":
		which = []reports.Section{reports.Rules}
	case "applied":
		which = []reports.Section{reports.Rules, reports.Findings}
	case "prove":
		which = []reports.Section{reports.Proofs, reports.Findings}
	case "joined", "report":
		which = []reports.Section{reports.Joins, reports.Proofs, reports.Findings}
	default:
		return ""
	}
	return "\n" + string(reports.Sections(w.Record(), reports.Options{Verbose: g.app.verbose}, which...))
}

// labCandidate is the lab as a candidate; its site may be unknown until it is started.
func labCandidate(s site.Site) wizard.Candidate {
	return wizard.Candidate{Name: labName, Site: s, Simulated: true}
}

const labName = "lab"

// taken are names that choose something else than a site file. One whose site has such a name is chosen by its path, so that
// nobody who means the lab comes to real servers.
var taken = []string{labName, "new"}

// given are the passwords of a site's users that need not be asked for.
func given(s site.Site) (wizard.Passwords, error) {
	var p wizard.Passwords
	users := s.Users()
	all, err := fromFile(users)
	for i, password := range all {
		p = p.With(users[i], password)
	}
	return p, err
}

// open reads a site file as a candidate.
func open(file string) (wizard.Candidate, error) {
	s, err := loadSite(file)
	if err == nil {
		_, err = readCAs(s, file)
	}
	return wizard.Candidate{Name: s.Name, Site: s, File: file}, err
}

// candidates are the site files in a folder, the one whose run is the newest first.
func (a *app) candidates(folder string) []wizard.Candidate {
	var all []wizard.Candidate
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, _ := filepath.Glob(filepath.Join(folder, pattern))
		files = append(files, found...)
	}
	runs, _ := record.Runs(a.runs)
	newest := map[string]time.Time{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !siteKey.Match(text) {
			continue
		}
		c, err := open(file)
		c.Name, c.Wrong = cmp.Or(c.Site.Name, file), err
		if slices.Contains(taken, c.Name) || slices.ContainsFunc(all, func(o wizard.Candidate) bool { return o.Name == c.Name }) {
			c.Name = file
		}
		if c.Last = "never run"; err != nil {
			c.Last, c.File = "", file
		}
		path, _ := filepath.Abs(file)
		for _, r := range runs {
			if r.File == path {
				newest[c.Name], c.Last = r.At, "run "+r.At.Local().Format("2 Jan")+": "+a.ended(r.Name)
				break
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b wizard.Candidate) int {
		return cmp.Or(cmp.Compare(map[bool]int{true: 1}[a.Wrong != nil], map[bool]int{true: 1}[b.Wrong != nil]), newest[b.Name].Compare(newest[a.Name]), strings.Compare(a.Name, b.Name))
	})
	return all
}

// siteKey is what every site file has.
var siteKey = regexp.MustCompile(`(?m)^site:`)

// ended is how a run's last command ended, in a word or two.
func (a *app) ended(run string) string {
	r, err := record.Replay(filepath.Join(a.runs, run))
	if err != nil {
		return "cannot be read"
	}
	return reports.Word(r)
}
