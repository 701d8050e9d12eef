package record_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// journalled is the folder of a run with these events.
func journalled(t *testing.T, runs, id string, events ...record.Event) string {
	t.Helper()
	j, err := record.Create(runs, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.Dir()
}

// TestOpenTorn: a run whose last line a crash cut off goes on as if that line had never been begun.
func TestOpenTorn(t *testing.T) {
	t.Parallel()
	for _, torn := range []string{"", "{", `{"event":"proved","data":{"pro`, `{"event":"command_ended","data":{"at":"2026-11-24T10:20:21Z"}}`} {
		dir := journalled(t, t.TempDir(), "x", applied()...)
		file := filepath.Join(dir, "journal.jsonl")
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(slices.Clone(whole), torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		j, r, err := record.Open(dir)
		if err != nil {
			t.Fatalf("%q: Open = %v", torn, err)
		}
		if diff := cmp.Diff(shown(t, fold(applied()...)), shown(t, r)); diff != "" {
			t.Errorf("%q: the opened record differs (-want +got):\n%s", torn, diff)
		}
		next := record.CommandStarted{Name: "verify", At: at("10:30:00")}
		if err := errors.Join(j.Append(next), j.Close()); err != nil {
			t.Fatal(err)
		}
		line, err := record.EncodeEvent(next)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != string(whole)+string(line)+"\n" {
			t.Errorf("%q: the journal ends with %q (%v)", torn, got[min(len(whole), len(got)):], err)
		}
		if r, err := record.Replay(dir); err != nil || len(r.Run.Commands) != 3 || r.Run.Commands[2].Name != "verify" {
			t.Errorf("%q: Replay = %+v, %v; want the new command", torn, r.Run.Commands, err)
		}
	}
}

func shown(t *testing.T, r record.Record) string {
	t.Helper()
	b, err := reports.JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAppendStops: after an event that could not be written none is, although the next one could be.
func TestAppendStops(t *testing.T) {
	t.Parallel()
	j, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Append(oneChange()[0]); err != nil {
		t.Fatal(err)
	}
	before, err := record.Events(j.Dir())
	if err != nil {
		t.Fatal(err)
	}
	first := j.Append(record.StageStarted{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}) // no such year in JSON
	second := j.Append(record.StageStarted{Stage: "connect"})
	if first == nil || !errors.Is(second, first) {
		t.Errorf("Append = %v, and then %v; want the first error twice", first, second)
	}
	if after, err := record.Events(j.Dir()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the journal went on with %q (%v)", after[min(len(before), len(after)):], err)
	}
}

// TestOpenLocked: a run is open once at a time, whether it was begun or gone on with, and again after it was closed. An
// Open that fails keeps no lock.
func TestOpenLocked(t *testing.T) {
	t.Parallel()
	refused := func(dir string) {
		t.Helper()
		if _, _, err := record.Open(dir); !errors.Is(err, record.ErrLocked) {
			t.Errorf("Open of a run that is open = %v; want ErrLocked", err)
		}
	}
	j, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(oneChange()[0]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		refused(j.Dir())
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if j, _, err = record.Open(j.Dir()); err != nil {
			t.Fatalf("Open after Close = %v", err)
		}
	}
	j.Close()

	dir := journalled(t, t.TempDir(), "x", oneChange()[0])
	file := filepath.Join(dir, "journal.jsonl")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(slices.Clone(whole), "{\"event\":\"from_the_future\",\"data\":{}}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := record.Open(dir); !errors.Is(err, record.ErrNewer) {
			t.Errorf("Open = %v; want ErrNewer", err)
		}
	}
	if _, _, err := record.Open(t.TempDir()); !errors.Is(err, record.ErrNoRun) {
		t.Errorf("Open of another folder = %v; want ErrNoRun", err)
	}
}

// TestReplayJudges: a command that was cut off is judged by all that it saw; one that ended keeps its verdict.
func TestReplayJudges(t *testing.T) {
	t.Parallel()
	var dropped record.Event
	for _, e := range oneChange() {
		if p, ok := e.(record.Proved); ok && p.Proof.Verdict.Fails() {
			dropped = p
		}
	}
	begun := []record.Event{oneChange()[0], record.CommandStarted{Name: "check"}, dropped}
	for _, test := range []struct {
		name         string
		end          []record.Event
		code, failed int
	}{
		{"cut off", nil, record.ExitFailed, 1},
		{"cancelled", []record.Event{record.CommandEnded{Outcome: record.Cancelled}}, record.ExitCancelled, 1},
	} {
		r, err := record.Replay(journalled(t, t.TempDir(), "x", append(slices.Clip(begun), test.end...)...))
		if err != nil {
			t.Fatal(err)
		}
		if v := r.Verdict; v.ExitCode != test.code || v.Flows.Failed != test.failed {
			t.Errorf("%s: exit code %d, %d flows failed; want %d, %d", test.name, v.ExitCode, v.Flows.Failed, test.code, test.failed)
		}
	}
}

// TestRuns: runs are listed newest first, of the same time by name; what is no run is passed over, and a folder that is
// missing has none.
func TestRuns(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	start := func(clock string) record.Event {
		return record.RunStarted{RunID: "x", Site: site.Site{Name: "finance-bi"}, At: at(clock)}
	}
	command := record.CommandStarted{Name: "plan"}
	for _, run := range []struct{ name, clock string }{{"c", "10:00:00"}, {"z-old", "09:00:00"}, {"a-new", "11:00:00"}, {"d", "10:00:00"}, {"b", "10:00:00"}} {
		journalled(t, runs, run.name, start(run.clock), command)
	}
	journalled(t, runs, "empty")
	journalled(t, runs, "begun", start("12:00:00"))
	journalled(t, runs, "headless", command)
	for name, text := range map[string]string{"file": "", "folder/x": "", "other/journal.jsonl": "not a journal\n\n"} {
		path := filepath.Join(runs, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := record.Runs(runs)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range all {
		if names = append(names, r.Name); r.Site != "finance-bi" || r.Command != "plan" {
			t.Errorf("%+v", r)
		}
	}
	if want := []string{"a-new", "d", "c", "b", "z-old"}; !slices.Equal(names, want) {
		t.Errorf("Runs = %q, want %q", names, want)
	}
	if all, err := record.Runs(filepath.Join(runs, "missing")); err != nil || len(all) != 0 {
		t.Errorf("Runs of a missing folder = %v, %v", all, err)
	}
}

// TestChange: a run can be gone on with if it has a plan that can be approved; a look, a plan that broke off, and a demo,
// whose site is gone, cannot.
func TestChange(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	for _, test := range []struct {
		name    string
		command string
		events  []record.Event
		want    bool
	}{
		{"plan", "plan", []record.Event{record.StageStarted{Stage: "connect"}, record.Planned{SHA256: "9f2c"}}, true},
		{"plan and more", "plan", []record.Event{record.Planned{SHA256: "9f2c"}, record.CommandEnded{}, record.CommandStarted{Name: "verify"}}, true},
		{"plan that broke off", "plan", []record.Event{record.CommandEnded{Outcome: record.Cancelled}}, false},
		{"check and another command", "check", []record.Event{record.CommandEnded{}, record.CommandStarted{Name: "plan"}}, false},
		{"check", "check", []record.Event{record.Planned{}}, false},
		{"verify", "verify", nil, false},
		{"demo", "demo", []record.Event{record.Planned{SHA256: "9f2c"}}, false},
	} {
		started := oneChange()[0].(record.RunStarted)
		if test.name == "demo" {
			started.SiteFile = ""
		}
		journalled(t, runs, test.name, append([]record.Event{started, record.CommandStarted{Name: test.command}}, test.events...)...)
		all, err := record.Runs(runs)
		i := slices.IndexFunc(all, func(b record.Beginning) bool { return b.Name == test.name })
		if err != nil || i < 0 {
			t.Fatalf("%s is not among %+v (%v)", test.name, all, err)
		}
		if got := all[i]; got.Change() != test.want || got.Command != test.command {
			t.Errorf("%s: %+v, Change = %v, want %v", test.name, got, got.Change(), test.want)
		}
	}
}

// TestFiles: a file of a run is replaced as a whole or stays, and nothing else is left; one that is removed may be missing.
func TestFiles(t *testing.T) {
	t.Parallel()
	j, err := record.Create(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := os.MkdirAll(filepath.Join(j.Dir(), "folder", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		do    func() error
		fails bool
		want  []string // name=text
	}{
		{"write", func() error { return j.WriteFile("a", []byte("one, long")) }, false, []string{"a=one, long"}},
		{"replace", func() error { return j.WriteFile("a", []byte("two")) }, false, []string{"a=two"}},
		{"write below a folder", func() error { return j.WriteFile("backout/b", []byte("b")) }, false, []string{"a=two", "backout/b=b"}},
		{"write where a folder is", func() error { return j.WriteFile("folder", []byte("c")) }, true, []string{"a=two", "backout/b=b"}},
		{"write below a file", func() error { return j.WriteFile("a/b", []byte("c")) }, true, []string{"a=two", "backout/b=b"}},
		{"remove", func() error { return j.RemoveFile("a") }, false, []string{"backout/b=b"}},
		{"remove again", func() error { return j.RemoveFile("a") }, false, []string{"backout/b=b"}},
		{"remove a full folder", func() error { return j.RemoveFile("folder") }, true, []string{"backout/b=b"}},
	} {
		if err := step.do(); (err != nil) != step.fails {
			t.Errorf("%s: %v; want an error: %v", step.name, err, step.fails)
		}
		var files []string
		err := filepath.WalkDir(j.Dir(), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == "journal.jsonl" || d.Name() == "lock" {
				return err
			}
			name, _ := filepath.Rel(j.Dir(), path)
			text, err := os.ReadFile(path)
			files = append(files, filepath.ToSlash(name)+"="+string(text))
			return err
		})
		if err != nil || !slices.Equal(files, step.want) {
			t.Errorf("%s: files %q (%v), want %q", step.name, files, err, step.want)
		}
	}
}
