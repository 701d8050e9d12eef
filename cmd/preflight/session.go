package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// session is a command at work on a run.
type session struct {
	*engine.Engine
	app     *app
	command string
	journal *record.Journal
	told    *progress
	tell    func(record.Event) // is told what happens, if it is not nil
	quiet   bool               // what happens does not go to standard error

	rim       string   // that joins
	qrs       qrsFlags // how
	confirmed bool     // the operator said that a running rim may be cut off
	wizard    bool     // led through by questions
	broke     error
	filed     filed
}

// filed is what was written into the run's folder at the end of a command.
type filed struct {
	record  []byte
	sum     string
	written map[string]bool
	err     error
}

// appended is called after each event that a command wrote to its journal; tests end the process there.
var appended = func() {}

// times are those of a proof, if a test has set them.
var times *engine.Times

// clock is what the drawn wizard goes by; tests let it run ahead.
var clock = time.Now

const runsDefault = "preflight-runs"

func (a *app) runsFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.runs, "runs", runsDefault, "the folder of runs")
}

// begin begins a run of the site that -f names.
func (a *app) begin(cmd *cobra.Command, file, ticket string) (*session, error) {
	s, err := readSite(cmd, file)
	if err != nil {
		return nil, err
	}
	cas, err := readCAs(s, file)
	if err != nil {
		return nil, err
	}
	c, err := a.connector(cmd.Context(), s, cas)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("finding the site file: %w", err)
	}
	w, err := a.start(s, c, cmd.Name(), ticket, record.RunStarted{SiteFile: path, CAs: cas})
	if err == nil {
		w.SiteFile = file
	}
	return w, err
}

// goOn goes on with an opened run, which it closes if that is not to be.
func (a *app) goOn(cmd *cobra.Command, j *record.Journal, r record.Record) (*session, error) {
	c, err := a.connector(cmd.Context(), r.Site, r.Run.CAs)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return a.resume(j, r, c, cmd.Name())
}

// start begins a run of a site with a command.
func (a *app) start(s site.Site, c engine.Connector, command, ticket string, run record.RunStarted) (*session, error) {
	w := &session{app: a, command: command}
	return w, w.start(s, c, ticket, run)
}

func (w *session) start(s site.Site, c engine.Connector, ticket string, run record.RunStarted) error {
	j, id, err := newRun(w.app.runs, s.Name, time.Now())
	if err != nil {
		return usage("name another folder with --runs", "%w", err)
	}
	w.journal, w.told = j, newProgress()
	w.Engine, err = engine.New(s, c, j, w.emit)
	if err == nil {
		run.RunID, run.Tool = id, tool()
		err = w.Start(run)
	}
	return w.begin(err, ticket)
}

// resume goes on with a run.
func (a *app) resume(j *record.Journal, rec record.Record, c engine.Connector, command string) (*session, error) {
	w := &session{app: a, command: command, journal: j}
	return w, w.resume(rec, c)
}

func (w *session) resume(rec record.Record, c engine.Connector) (err error) {
	w.told = newProgress()
	w.Engine, err = engine.Resume(rec, c, w.journal, w.emit)
	return w.begin(err, "")
}

// begin begins the command. If that is not to be the journal is closed.
func (w *session) begin(err error, ticket string) error {
	if err == nil {
		err = w.Begin(record.CommandStarted{Name: w.command, Run: w.name(), Version: version, Operator: operator(), Ticket: ticket})
	}
	if err != nil {
		w.told.end()
		return errors.Join(err, w.journal.Close())
	}
	w.Transcripts = w.journal
	if times != nil {
		w.Times = *times
	}
	return nil
}

// emit writes an event to the journal, and only then lets anybody see it.
func (w *session) emit(ev record.Event) error {
	if err := w.journal.Append(ev); err != nil {
		return err
	}
	appended()
	if w.tell != nil {
		w.tell(ev)
	}
	if !w.quiet {
		w.told.add(w.app.stderr, reports.Line(ev))
	}
	if w.app.format == "jsonl" {
		b, err := record.EncodeEvent(ev)
		if err != nil {
			return err
		}
		w.told.add(w.app.result, string(b))
	}
	return nil
}

// do runs stages until one breaks the command off, ends the command, and writes what is left of it. Its error is the run's
// exit code.
func (w *session) do(ctx context.Context, stages ...func() error) (err error) {
	defer func() { err = errors.Join(err, w.journal.Close()) }()
	if !w.quiet && (w.command != "join" || w.qrs.auth != "") { // a person who does it is asked, and takes their time
		w.told.watch(w.app.stderr, silence)
	}
	w.perform(ctx, stages...)
	return w.finish()
}

// perform runs stages until one breaks the command off, ends the command and writes its files. The error is that its end
// could not be written down.
func (w *session) perform(ctx context.Context, stages ...func() error) error {
	var broke error
	for _, stage := range stages {
		if broke = stage(); broke != nil {
			break
		}
	}
	switch {
	case ctx.Err() != nil && errors.Is(broke, context.DeadlineExceeded):
		broke = said{fmt.Sprintf("the %v that --timeout allows are over", w.app.timeout), broke}
	case errors.Is(broke, context.Canceled):
		broke = said{"interrupted", broke}
	}
	ended := w.End(broke)
	w.told.end()
	if broke != nil && ended != nil && strings.Contains(ended.Error(), broke.Error()) {
		broke = nil // the same failure once more: of a journal, above all
	}
	w.broke = errors.Join(broke, ended)
	w.filed = w.file()
	return errors.Join(ended, w.filed.err)
}

// said is an error in words of its own.
type said struct {
	text string
	error
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.error }

// onward goes on with the other servers after a stage that could not use some: the record says so.
func onward(err error) error {
	if errors.Is(err, engine.ErrStopped) {
		return nil
	}
	return err
}

// file writes the reports into the run's folder.
func (w *session) file() filed {
	r := w.Record()
	text, err := reports.JSON(r)
	f := filed{record: text, sum: fmt.Sprintf("%x", sha256.Sum256(text)), written: map[string]bool{}, err: err}
	files := []struct {
		name string
		data []byte
	}{{"record.json", text}, {"ticket.txt", nil}, {"gpo-request.txt", reports.PolicyRequest(r)}}
	if r.Change.PlanSHA256 != "" {
		files[1].data = reports.Ticket(r, f.sum)
	}
	for _, file := range files {
		switch {
		case f.err != nil:
		case file.data != nil:
			f.err = w.journal.WriteFile(file.name, file.data)
			f.written[file.name] = f.err == nil
		default:
			f.err = w.journal.RemoveFile(file.name) // what an earlier command asked for is not needed any more
		}
	}
	return f
}

// finish writes the result, and ends with the run's exit code. What could not be written any more is said, and does not
// keep the rest from being shown: the way back above all.
func (w *session) finish() error {
	r := w.Record()
	kept, wrote := w.Unwritten(), w.write(r)
	for _, e := range []error{w.broke, w.filed.err, kept, wrote} {
		if e != nil {
			fmt.Fprintf(w.app.stderr, "error: %s\n", printable.Line(e.Error()))
		}
	}
	for _, hint := range w.hints(r, w.broke) {
		fmt.Fprintf(w.app.stderr, "hint: %s\n", printable.Text(hint)) // a command in it stays whole
	}
	switch code := r.Verdict.ExitCode; {
	case code != record.ExitPartly && (w.filed.err != nil || kept != nil || wrote != nil):
		return exit(record.ExitInternal)
	case code != record.ExitPassed:
		return exit(code)
	}
	return nil
}

// write writes the result in the format that was asked for.
func (w *session) write(r record.Record) error {
	var b []byte
	switch w.app.format {
	case "json":
		b = w.filed.record
	case "jsonl":
		end := struct {
			Event string `json:"event"`
			Data  ending `json:"data"`
		}{"result", ending{r.Run.ID, r.Run.Simulated, r.Verdict, filepath.Join(w.journal.Dir(), "record.json"), w.filed.sum}}
		var err error
		if b, err = json.Marshal(end); err != nil {
			return err
		}
		b = append(printable.JSON(b), '\n')
	default:
		b = reports.Text(r, reports.Options{Verbose: w.app.verbose})
		if w.wizard {
			b = reports.Summary(r)
		}
		b = append(b, w.trailer(r)...)
	}
	if _, err := w.app.result.Write(b); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// ending is the last line of a result as JSON lines.
type ending struct {
	Run       string         `json:"run"`
	Simulated bool           `json:"simulated"`
	Verdict   record.Verdict `json:"verdict"`
	Record    string         `json:"record"`
	SHA256    string         `json:"sha256"` // of the record
}

// trailer says where things are and what comes next.
func (w *session) trailer(r record.Record) string {
	written := w.filed.written
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%-8s%s\n", name, value) }
	if written["record.json"] {
		row("record", filepath.Join(w.journal.Dir(), "record.json"))
		row("sha256", w.filed.sum)
	}
	if written["ticket.txt"] && w.SiteFile != "" {
		row("ticket", filepath.Join(w.journal.Dir(), "ticket.txt"))
	}
	if written["gpo-request.txt"] {
		row("request", filepath.Join(w.journal.Dir(), "gpo-request.txt"))
	}
	switch {
	case w.SiteFile == "": // the site has gone with the command
		if r.BackOut != nil {
			row("undo", filepath.Join(w.journal.Dir(), "backout"))
		}
		return b.String()
	case w.command == "plan" && written["ticket.txt"]:
		row("digest", fmt.Sprintf("%.12s  (the SHA-256 of plan.json there begins so)", r.Change.PlanSHA256))
		row("next", w.typed("apply")+fmt.Sprintf(" --approve %.12s", r.Change.PlanSHA256))
	case w.command == "backout" && r.Verdict.ExitCode == record.ExitPassed:
		for _, s := range r.Servers {
			if s.Phase == facts.Joined && r.InPlace() == 0 && len(r.Changes) > 0 {
				row("note", s.Name+" is a node of the site still, which these rules were for:")
				row("", "take it out in the QMC, or apply again")
			}
		}
	case (w.command == "apply" || w.command == "join") && r.Verdict.ExitCode == record.ExitPassed:
		for _, rim := range w.ToJoin() {
			row("next", w.typed("join")+w.qrs.typed(rim))
		}
	case w.command == "check" && r.Verdict.ExitCode == record.ExitFailed && len(r.Plan.Changes) > 0:
		row("next", "preflight plan -f "+printable.Argument(w.SiteFile))
	}
	if r.InPlace() > 0 {
		undo := w.typed("backout")
		if slices.ContainsFunc(r.Servers, func(s record.Server) bool { return s.Phase == facts.Joined }) {
			undo += " --confirm-outage " + printable.Argument(r.Site.Name)
		}
		row("undo", undo)
		if r.Verdict.ExitCode != record.ExitPartly {
			row("again", w.typed("verify"))
		}
	}
	return b.String()
}

// name is the run as it is named on a command line.
func (w *session) name() string { return nameOf(w.journal.Dir()) }

// nameOf is the run in a folder as it is named on a command line.
func nameOf(dir string) string {
	if filepath.Dir(dir) != runsDefault {
		return dir
	}
	return filepath.Base(dir)
}

// typed is a command on this run, as it has to be typed.
func (w *session) typed(command string) string {
	return "preflight " + command + " " + printable.Argument(w.name())
}

// hints are what to do about a command that broke off.
func (w *session) hints(r record.Record, broke error) []string {
	var hints []string
	switch {
	case w.SiteFile == "": // the site has gone, and nothing can be done about it
		return nil
	case errors.Is(broke, engine.ErrDrift):
		return []string{"plan again, and have that approved: preflight plan -f " + printable.Argument(w.SiteFile)}
	case errors.Is(broke, engine.ErrUnconfirmed):
		return []string{w.typed("backout") + " --confirm-outage " + printable.Argument(r.Site.Name)}
	case r.Verdict.ExitCode == record.ExitPartly && w.command == "apply":
		hints = append(hints, fmt.Sprintf("put that right, and run the same again: %s --approve %.12s", w.typed("apply"), r.Change.PlanSHA256))
	case r.Verdict.ExitCode == record.ExitPartly && w.command == "backout":
		again := w.typed("backout")
		if w.confirmed {
			again += " --confirm-outage " + printable.Argument(r.Site.Name)
		}
		return []string{"put that right, and run the same again: " + again}
	}
	switch {
	case w.command != "join" || broke == nil:
	case r.Verdict.ExitCode == record.ExitCancelled:
		return []string{"what is done is not done twice; to go on, run the same again: " + w.typed("join") + w.qrs.typed(w.rim)}
	default:
		return []string{"what is done is not done twice; put that right, and run the same again: " + w.typed("join") + w.qrs.typed(w.rim)}
	}
	if r.InPlace() > 0 && (broke != nil || r.Verdict.ExitCode == record.ExitPartly) && w.command == "apply" {
		if hints == nil {
			hints = append(hints, fmt.Sprintf("to go on, run the same again: %s --approve %.12s", w.typed("apply"), r.Change.PlanSHA256))
		}
		hints = append(hints, fmt.Sprintf("or take back what is in: %s", w.typed("backout")))
	}
	return hints
}

// newRun makes the folder of a new run, named after its site and the time.
func newRun(runs, site string, now time.Time) (*record.Journal, string, error) {
	base := site + now.Format("-20060102-1504")
	for n := 1; ; n++ {
		id := base
		if n > 1 {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		j, err := record.Create(runs, id)
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			continue
		}
		return j, id, err
	}
}

// find finds the folder of a run: by its path, by its name below the folder of runs, or the last one. The last one is a
// change, unless any will do.
func (a *app) find(name string, anyRun bool) (string, error) {
	if name != "last" {
		for _, dir := range []string{filepath.Join(a.runs, name), name} {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				return dir, nil
			}
		}
	}
	all, err := record.Runs(a.runs)
	if err != nil {
		return "", usage("name another folder with --runs", "%w", err)
	}
	if name == "last" {
		for _, r := range all {
			if anyRun || r.Change() {
				return filepath.Join(a.runs, r.Name), nil
			}
		}
		return "", usage("preflight plan -f site.yaml begins one", "there is no run in %s yet", a.runs)
	}
	var names []string
	for _, r := range all {
		if names = append(names, r.Name); len(names) == 5 {
			break
		}
	}
	hint := "preflight plan -f site.yaml begins one; --runs names another folder of runs"
	if len(names) > 0 {
		hint = "the last ones are " + strings.Join(names, ", ")
	}
	return "", usage(hint, "there is no run %q in %s", name, a.runs)
}

// open opens a run to go on with it.
func (a *app) open(name string) (*record.Journal, record.Record, error) {
	dir, err := a.find(name, false)
	if err != nil {
		return nil, record.Record{}, err
	}
	j, r, err := record.Open(dir)
	switch {
	case errors.Is(err, record.ErrLocked):
		return nil, r, usage("wait until it has ended", "%w", err)
	case errors.Is(err, record.ErrNoRun):
		return nil, r, usage("name a run that preflight plan has begun", "%w", err)
	case errors.Is(err, record.ErrNewer):
		return nil, r, usage("use the preflight that wrote it, or a newer one", "%w", err)
	case err != nil:
		return nil, r, err
	}
	first := record.Beginning{File: r.Run.SiteFile, Planned: r.Change.PlanSHA256 != ""}
	if len(r.Run.Commands) > 0 {
		first.Command = r.Run.Commands[0].Name
	}
	if !first.Change() {
		err := usage("preflight report "+printable.Argument(name)+" shows it", "%s is the record of a %s, with which nothing goes on", name, first.Command)
		return nil, r, errors.Join(err, j.Close())
	}
	if err := whole(dir, r); err != nil {
		return nil, r, errors.Join(err, j.Close())
	}
	return j, r, nil
}

// whole tells whether a run's journal holds all that its record.json does. After a crash it holds more; less means that
// somebody has cut it.
func whole(dir string, r record.Record) error {
	text, err := os.ReadFile(filepath.Join(dir, "record.json"))
	var written record.Record
	if err != nil || json.Unmarshal(text, &written) != nil {
		return nil // nothing to compare with
	}
	cut := len(written.Run.Commands) > len(r.Run.Commands)
	for _, c := range written.Changes {
		i := slices.IndexFunc(r.Changes, func(j record.Change) bool { return j.ID == c.ID && j.Server == c.Server })
		cut = cut || i < 0
	}
	if !cut {
		return nil
	}
	return usage("the PowerShell in its folder backout takes the run's rules back without it",
		"the journal of %s lacks what its record.json holds: it was cut, and nothing goes on from it", dir)
}

// operator is who runs preflight, from where.
func operator() record.Operator {
	var o record.Operator
	if u, err := user.Current(); err == nil {
		o.User = u.Username
	}
	o.Host, _ = os.Hostname()
	return o
}
