//go:build !windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// screen is a terminal of 80x24 with the program on it.
type screen struct {
	t      *testing.T
	master *os.File

	mu      sync.Mutex
	changed *sync.Cond
	vt      *vt.Emulator
	text    string // all that the program has written
	gone    bool

	stderr strings.Builder
	code   chan int
}

// onScreen starts the program on a terminal of its own.
func onScreen(t *testing.T, args ...string) *screen {
	t.Helper()
	s := &screen{}
	s.start(t, func(io.Writer) io.Writer { return &s.stderr }, args)
	return s
}

// inLines is onScreen for what is asked in lines: standard error is the terminal, too.
func inLines(t *testing.T, args ...string) *screen {
	t.Helper()
	s := &screen{}
	s.start(t, func(terminal io.Writer) io.Writer { return terminal }, args)
	return s
}

func (s *screen) start(t *testing.T, stderr func(terminal io.Writer) io.Writer, args []string) {
	t.Helper()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	s.t, s.master, s.vt, s.code = t, master, vt.NewEmulator(80, 24), make(chan int, 1)
	s.changed = sync.NewCond(&s.mu)
	ctx, cancel := context.WithCancel(t.Context())
	go s.read()
	go io.Copy(master, s.vt) // what a terminal answers when it is asked; ends with the process
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.code <- run(ctx, args, terminal, terminal, stderr(terminal))
		terminal.Close()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		master.Close()
	})
}

// read shows what the program writes.
func (s *screen) read() {
	b := make([]byte, 4096)
	for {
		n, err := s.master.Read(b)
		s.mu.Lock()
		s.vt.Write(b[:n])
		s.text += string(b[:n])
		s.gone = err != nil
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows waits until every text is on the screen, and returns the screen.
func (s *screen) shows(all ...string) string {
	s.t.Helper()
	return s.until(fmt.Sprintf("%q", all), func(now string) bool {
		return !slices.ContainsFunc(all, func(text string) bool { return !strings.Contains(now, text) })
	})
}

// tells waits until a text is on the screen, wherever the terminal breaks it.
func (s *screen) tells(text string) {
	s.t.Helper()
	joined := func(text string) string { return strings.Join(strings.Fields(text), "") }
	s.until(fmt.Sprintf("%q", text), func(now string) bool { return strings.Contains(joined(now), joined(text)) })
}

// hides waits until a text is no longer on the screen.
func (s *screen) hides(text string) {
	s.t.Helper()
	s.until(fmt.Sprintf("no more %q", text), func(now string) bool { return !strings.Contains(now, text) })
}

func (s *screen) until(what string, holds func(now string) bool) string {
	s.t.Helper()
	late := time.AfterFunc(20*time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.gone = true
		s.changed.Broadcast()
	})
	defer late.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch now := s.vt.String(); {
		case holds(now):
			return now
		case s.gone:
			s.t.Fatalf("%s does not come:\n%s", what, now)
		}
		s.changed.Wait()
	}
}

// types types keys.
func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the program's end, and returns what it has written, the errors last.
func (s *screen) ends(want int) string {
	s.t.Helper()
	select {
	case code := <-s.code:
		s.mu.Lock()
		defer s.mu.Unlock()
		for !s.gone {
			s.changed.Wait()
		}
		if code != want {
			s.t.Errorf("exit code %d, want %d\n%s%s", code, want, s.vt.String(), s.stderr.String())
		}
		return s.text + s.stderr.String()
	case <-time.After(30 * time.Second):
		s.t.Fatal(errors.New("the program does not end"))
	}
	return ""
}
