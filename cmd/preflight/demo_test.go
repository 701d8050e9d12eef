package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

func TestNewRun(t *testing.T) {
	t.Parallel()
	runs := t.TempDir()
	now := time.Date(2026, 11, 24, 10, 18, 0, 0, time.Local)
	for _, want := range []string{"lab-20261124-1018", "lab-20261124-1018-2", "lab-20261124-1018-3"} {
		j, id, err := newRun(runs, "lab", now)
		if err != nil || id != want {
			t.Fatalf("newRun = %q, %v; want %q", id, err, want)
		}
		j.Close()
	}
}

// TestFinishBroken: a record that cannot be written keeps nothing else from being said, the way back above all, and the
// run's own exit code stays.
func TestFinishBroken(t *testing.T) {
	t.Parallel()
	j, _, err := newRun(t.TempDir(), "lab", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	if err := os.RemoveAll(j.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.Dir(), nil, 0o600); err != nil { // a file where the folder was
		t.Fatal(err)
	}
	var r record.Record
	for _, e := range []record.Event{
		record.RunStarted{Site: site.Site{Name: "lab", Release: "1.0.2"}},
		record.CommandStarted{Name: "demo"},
		record.Planned{Changes: []record.PlannedChange{{ID: "a", Server: "x"}, {ID: "b", Server: "x"}}},
		record.BackOutWritten{Files: []string{"backout/x.ps1"}},
		record.ChangeStarted{ID: "a", Server: "x"}, record.ChangeEnded{ID: "a", Server: "x", State: record.Done},
		record.CommandEnded{Outcome: record.Internal},
	} {
		r.Apply(e)
	}
	var stdout, stderr bytes.Buffer
	var code exit
	if err := finish(r, j, errors.New("the disk is full"), &stdout, &stderr); !errors.As(err, &code) || int(code) != record.ExitPartly {
		t.Errorf("finish = %v; want exit code 7", err)
	}
	if !strings.Contains(stdout.String(), "undo ") || !strings.Contains(stdout.String(), "partly applied") {
		t.Errorf("the result does not tell the way back:\n%s", &stdout)
	}
	if !strings.Contains(stderr.String(), "error: the disk is full") || !strings.Contains(stderr.String(), "error: writing record.json") {
		t.Errorf("what went wrong is not said:\n%s", &stderr)
	}
}
