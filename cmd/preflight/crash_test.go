package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/record"
)

// TestKilled: whatever event of Apply the journal ends with when the process is killed, backout leaves no rule, and the
// record says what is so.
func TestKilled(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("preflight-killed")
	if err != nil {
		t.Fatal(err)
	}
	// Where Apply begins and ends in the journal of a command that is not killed.
	whole := newLab(t, lab.Options{})
	whole.run(t, 0, "plan", "-f", whole.files.Site)
	planned := len(events(t, whole))
	whole.run(t, 0, "apply", filepath.Join(whole.runs, whole.last(t).Run.ID), "--approve", whole.last(t).Change.PlanSHA256)
	first, last := 0, 0
	for i, e := range events(t, whole)[planned:] {
		switch e := e.(type) {
		case record.StageStarted:
			if e.Stage == "apply" {
				first = i + 1
			}
		case record.ChangesInForce:
			last = i + 1
		}
	}
	if last-first != 21-1 { // stage, replanned, approved, 8 intents, 8 ends, 2 in force
		t.Fatalf("apply writes the events %d to %d", first, last)
	}

	// A few labs serve all the kills, each one run after the other.
	after := make(chan int, last)
	for n := first; n <= last; n++ {
		after <- n
	}
	close(after)
	var reached sync.Map
	for worker := range 4 {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{})
			before := s.rules(t)
			for n := range after {
				s.run(t, 0, "plan", "-f", s.files.Site)
				r := s.last(t)
				run := filepath.Join(s.runs, r.Run.ID)
				cmd := exec.Command(program, "apply", run, "--approve", r.Change.PlanSHA256)
				cmd.Env = append(os.Environ(), fmt.Sprintf("KILL_AFTER=%d", n), passwordFile+"="+s.files.Password)
				if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() == 0 {
					t.Fatalf("after %d events: the command was not killed (%v)\n%s", n, err, out)
				}
				r = s.last(t)
				reached.Store(n, true)
				if c := r.Run.Commands[1]; c.EndedAt != nil || c.ExitCode != nil {
					t.Errorf("after %d events: the record says that the command ended: %+v", n, c)
				}
				agree(t, s, r, n)
				s.run(t, 0, "backout", run)
				if diff := cmp.Diff(before, s.rules(t)); diff != "" {
					t.Errorf("after %d events, and backout: rules are left:\n%s", n, diff)
				}
				for _, c := range s.last(t).Changes {
					if c.State != record.TakenBack {
						t.Errorf("after %d events, and backout: %s on %s is %s", n, c.ID, c.Server, c.State)
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		for n := first; n <= last; n++ {
			if _, ok := reached.Load(n); !ok && !t.Failed() {
				t.Errorf("no process was killed after %d events", n)
			}
		}
	})
}

// agree: what the record says of a killed command's changes is so. A change whose end is not in the journal may be in.
func agree(t *testing.T, s simulated, r record.Record, n int) {
	t.Helper()
	tried := map[string]record.ChangeState{}
	for _, c := range r.Changes {
		tried[c.Server+" "+c.ID] = c.State
		stored, there := s.Host(c.Server).Rules("local")[c.ID]
		if c.State == record.Done && (!there || stored != *c.After) {
			t.Errorf("after %d events: the record says that %s is in on %s, which has %q", n, c.ID, c.Server, stored)
		}
	}
	for _, p := range r.Plan.Changes {
		if _, there := s.Host(p.Server).Rules("local")[p.ID]; there && tried[p.Server+" "+p.ID] == "" {
			t.Errorf("after %d events: %s is on %s, and the journal has no intent", n, p.ID, p.Server)
		}
	}
}

// events are those of the last run.
func events(t *testing.T, s simulated) []record.Event {
	t.Helper()
	text, err := record.Events(filepath.Join(s.runs, s.last(t).Run.ID))
	if err != nil {
		t.Fatal(err)
	}
	var all []record.Event
	for line := range strings.Lines(string(text)) {
		e, err := record.DecodeEvent([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
