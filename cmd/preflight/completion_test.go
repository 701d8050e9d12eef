package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// TestCompletionIsClean: what a journal or the name of a folder holds does nothing to a terminal, and is no line of its own.
func TestCompletionIsClean(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no name of a folder can hold that here")
	}
	const evil = "\x1b[31m\n:4\tx"
	runs := t.TempDir()
	for _, name := range []string{"good", evil} {
		var journal []byte
		for _, ev := range []record.Event{
			record.RunStarted{RunID: name, At: time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local), Site: site.Site{Name: "s", Release: "1.0.2", Nodes: []site.Node{{Name: "qs-rim1" + evil, Role: site.Rim}}}},
			record.CommandStarted{Name: "plan" + evil, Run: name},
			record.Planned{SHA256: "0123"},
		} {
			line, err := record.EncodeEvent(ev)
			if err != nil {
				t.Fatal(err)
			}
			journal = append(append(journal, line...), '\n')
		}
		if err := os.Mkdir(filepath.Join(runs, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(runs, name, "journal.jsonl"), journal, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"report", "--runs", runs, ""}, "last\tthe newest\ngood\tplan[31m :4 x of 2 Jan 12:00\n:4\n"},
		{[]string{"join", "--runs", runs, "good", "--rim", ""}, "qs-rim1[31m :4 x\n:4\n"},
	} {
		if got := preflight(t, "", append([]string{"__complete"}, test.args...)...).stdout; got != test.want {
			t.Errorf("%q proposes\n%q; want\n%q", test.args, got, test.want)
		}
	}
}
