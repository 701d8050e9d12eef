package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// shelf is a Folder for transcripts. None is written twice.
type shelf struct {
	t      *testing.T
	broken error

	mu    sync.Mutex
	files map[string]string
}

func newShelf(t *testing.T) *shelf { return &shelf{t: t, files: map[string]string{}} }

func (s *shelf) WriteFile(name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.files[name]; there {
		s.t.Errorf("%s is written a second time", name)
	}
	if s.files[name] = string(data); s.broken != nil {
		return s.broken
	}
	return nil
}

func (s *shelf) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}

// TestTranscripts: each script that ran on a server has left its transcript when the command has ended. The names sort as it
// happened, over all commands of a run.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	b, files := newBench(t, 1), newShelf(t)
	b.Transcripts = files
	rec := b.plan()
	want := []string{
		"transcripts/001-plan-01-c-probe.txt", "transcripts/001-plan-01-r1-probe.txt",
		"transcripts/001-plan-02-c-inspect.txt", "transcripts/001-plan-02-r1-inspect.txt",
	}
	if diff := cmp.Diff(want, files.names()); diff != "" {
		t.Errorf("after plan (-want +got):\n%s", diff)
	}
	ctx := t.Context()
	b.resume(rec, "apply")
	b.Transcripts = files
	for _, err := range []error{b.ConnectAll(ctx), b.Inspect(ctx), b.Apply(ctx, "digest", "x")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.resume(b.end(nil), "backout")
	b.Transcripts = files
	for _, err := range []error{b.ConnectAll(ctx), b.Inspect(ctx), b.Inspect(ctx), b.BackOut(ctx, false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.end(nil)
	for _, stage := range []string{
		"002-apply-01-%-probe", "002-apply-02-%-inspect", "002-apply-03-%-add",
		"003-backout-01-%-probe", "003-backout-02-%-inspect", "003-backout-03-%-inspect", "003-backout-04-%-remove",
	} {
		for _, server := range []string{"c", "r1"} {
			want = append(want, "transcripts/"+strings.Replace(stage, "%", server, 1)+".txt")
		}
	}
	if diff := cmp.Diff(want, files.names()); diff != "" {
		t.Errorf("after all (-want +got):\n%s", diff)
	}
	forWindows := regexp.MustCompile(`^transcripts/[0-9]{3}-[a-z]+-[0-9]{2}-[A-Za-z0-9._-]+\.txt$`)
	began := regexp.MustCompile(`(?m)^began +(\S+)$`)
	last := ""
	for _, name := range files.names() {
		text := files.files[name]
		if !forWindows.MatchString(name) {
			t.Errorf("%s is no name for every file system", name)
		}
		at := began.FindStringSubmatch(text)
		if at == nil || at[1] < last && !strings.Contains(name, "-r1-") { // the servers are worked on at the same time
			t.Errorf("%s began at %q, what sorts before it at %s", name, at, last)
		} else {
			last = at[1]
		}
	}
	for name, head := range map[string]string{
		want[0]:                               "run      lab-1, simulated servers\ncommand  1, plan\nserver   c\nscript   probe\nsha256   " + script.ProbeOp.SHA256() + "\nbegan    ",
		"transcripts/002-apply-03-r1-add.txt": "run      lab-1, simulated servers\ncommand  2, apply\nserver   r1\nscript   add\nsha256   " + script.AddOp.SHA256() + "\nbegan    ",
	} {
		if !strings.HasPrefix(files.files[name], head) {
			t.Errorf("%s:\n%s", name, files.files[name])
		}
	}
	if add := files.files["transcripts/002-apply-03-r1-add.txt"]; strings.Count(add, " > add\t") == 0 || strings.Count(add, " > add\t") != strings.Count(add, " < added\t") {
		t.Errorf("what was added is not in the transcript:\n%s", add)
	}
	if err := b.Unwritten(); err != nil {
		t.Error(err)
	}
}

// TestTranscriptNames: two runs of one script in one stage have two files.
func TestTranscriptNames(t *testing.T) {
	t.Parallel()
	b, files := newBench(t, 1), newShelf(t)
	b.Transcripts = files
	k := b.kept("qs-rim1", direct{}).(script.Keeper)
	for range 3 {
		k.Keep(script.ProveOp)(script.Transcript{Op: script.ProveOp})
	}
	k.Keep(script.AddOp)(script.Transcript{Op: script.AddOp})
	want := []string{"001-plan-00-qs-rim1-add", "001-plan-00-qs-rim1-prove", "001-plan-00-qs-rim1-prove_2", "001-plan-00-qs-rim1-prove_3"}
	for i, name := range files.names() {
		if name != "transcripts/"+want[i]+".txt" {
			t.Errorf("%s, want %s", name, want[i])
		}
	}
	if b.Transcripts = nil; b.kept("qs-rim1", direct{}) != (direct{}) {
		t.Error("transcripts that nobody wants are kept")
	}
}

// TestTranscriptsWithoutSignIn: where nobody could sign in nothing was sent.
func TestTranscriptsWithoutSignIn(t *testing.T) {
	t.Parallel()
	b, files := newBench(t, 2), newShelf(t)
	b.Transcripts = files
	b.reject = func(_ context.Context, n site.Node) error {
		if n.Name == "r1" {
			return errors.New("the account is disabled there")
		}
		return nil
	}
	err := b.ConnectAll(t.Context())
	b.end(err)
	if want := []string{"transcripts/001-plan-01-c-probe.txt", "transcripts/001-plan-01-r2-probe.txt"}; !errors.Is(err, ErrStopped) || !slices.Equal(files.names(), want) {
		t.Errorf("ConnectAll = %v; there are %q", err, files.names())
	}
}

// mute is a server on which scripts say nothing until the connection is closed.
type mute struct {
	Server
	closed chan struct{}
}

func (s mute) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if command == script.ProbeCommand {
		return s.Server.Run(ctx, command, stdin, stdout, stderr)
	}
	io.WriteString(stdout, "#pf 0 0 00000000 damaged\n")
	<-s.closed
	return -1, errCut
}

func (s mute) Close() error {
	close(s.closed)
	return nil
}

// TestTranscriptsOfWhatStillRuns: the end of a command ends what still runs, and waits for its transcript.
func TestTranscriptsOfWhatStillRuns(t *testing.T) {
	t.Parallel()
	b, files := newBench(t, 1), newShelf(t)
	b.Transcripts = files
	b.wrap = func(_ string, s Server) Server { return mute{s, make(chan struct{})} }
	ctx := t.Context()
	if err := b.ConnectAll(ctx); err != nil {
		t.Fatal(err)
	}
	err := b.Inspect(ctx)
	if n := len(files.names()); n > 2 {
		t.Errorf("there are %d transcripts while scripts run", n)
	}
	b.end(err)
	text := files.files["transcripts/001-plan-02-r1-inspect.txt"]
	if !strings.Contains(text, "\nended    the connection was cut\n") || !strings.Contains(text, " ? #pf 0 0 00000000 damaged\n") || len(files.names()) != 4 {
		t.Errorf("%q\n%s", files.names(), text)
	}
}

// TestTranscriptsUnwritable: a folder that takes no transcripts stops nothing; it is said when all is over.
func TestTranscriptsUnwritable(t *testing.T) {
	t.Parallel()
	b, files := newBench(t, 1), newShelf(t)
	files.broken = errors.New("the disk is full")
	b.Transcripts = files
	rec := b.plan()
	if err := b.Unwritten(); !errors.Is(err, files.broken) {
		t.Errorf("Unwritten = %v", err)
	}
	if !rec.Verdict.Passed || len(files.names()) != 4 {
		t.Errorf("the plan ended with %+v, %d transcripts were tried", rec.Verdict, len(files.names()))
	}
	b.resume(rec, "apply")
	b.Transcripts = files
	ctx := t.Context()
	for _, err := range []error{b.ConnectAll(ctx), b.Inspect(ctx), b.Apply(ctx, "digest", "x")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range b.end(nil).Changes {
		if c.State != record.Done {
			t.Errorf("%s on %s is %s", c.ID, c.Server, c.State)
		}
	}
	if err := b.Unwritten(); !errors.Is(err, files.broken) {
		t.Errorf("Unwritten = %v", err)
	}
}
