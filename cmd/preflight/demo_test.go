package main

import (
	"testing"
	"time"
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
