//go:build !windows

package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/internal/wizard"
)

// screen is a terminal with a program on it.
type screen struct {
	*testing.T
	keys io.Writer
	mu   sync.Mutex
	term *vt.Emulator
	drew chan struct{}
}

func (s *screen) read() (text string, alternate bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term.String(), s.term.IsAltScreen()
}

// until waits until something is on the screen.
func (s *screen) until(want string) {
	s.Helper()
	late := time.After(10 * time.Second)
	for {
		text, _ := s.read()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-s.drew:
		case <-late:
			s.Fatalf("%q never came:\n%s", want, text)
		}
	}
}

func (s *screen) press(keys string) {
	s.Helper()
	if _, err := io.WriteString(s.keys, keys); err != nil {
		s.Fatal(err)
	}
}

// terminal opens a terminal of 80x24.
func terminal(t *testing.T) (*screen, *os.File) {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	s := &screen{T: t, keys: keys, term: vt.NewEmulator(80, 24), drew: make(chan struct{}, 1)}
	go io.Copy(keys, s.term) // what the terminal answers
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := keys.Read(b)
			s.mu.Lock()
			s.term.Write(b[:n])
			s.mu.Unlock()
			select {
			case s.drew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { tty.Close(); keys.Close() })
	return s, tty
}

// seconds is a clock on which every look is a second later, so that no key comes too soon.
func seconds() func() time.Time {
	var n atomic.Int64
	return func() time.Time { return noon.Add(time.Duration(n.Add(1)) * time.Second) }
}

// TestRun: on a terminal, with real keys; the terminal is as before when it ends.
func TestRun(t *testing.T) {
	t.Parallel()
	s, tty := terminal(t)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	type end struct {
		w   wizard.Wizard
		err error
	}
	ends := make(chan end, 1)
	go func() {
		w, err := Run(context.Background(), begun(t), telling(planned()...), Options{In: tty, Out: tty, Color: "never", Now: seconds()})
		ends <- end{w, err}
	}()
	s.until("Which site is this about?")
	if _, alternate := s.read(); !alternate {
		t.Error("it draws where other things stand")
	}
	s.press("\r")
	s.until("> Password")
	s.press("pa55\r")
	s.until("> Ticket")
	s.press("\x1b[200~CHG1\n\x1b[201~") // pasted
	s.until("CHG1")
	s.press("\r")
	s.until("Go on to the review?")
	s.press("w")
	got := <-ends
	if got.err != nil || !got.w.Over() || got.w.Answers().Ticket != "CHG1" {
		t.Errorf("err = %v, over %v, ticket %q", got.err, got.w.Over(), got.w.Answers().Ticket)
	}
	after, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the terminal is %v, was %v", after, before)
	}
	tty.WriteString("END")
	s.until("END")
	if text, alternate := s.read(); alternate || s.term.CursorHidden() || strings.Contains(text, "review") {
		t.Errorf("alternate %v, cursor hidden %v:\n%s", alternate, s.term.CursorHidden(), text)
	}
}

// TestRunEnds: the end of the process ends what runs, then the wizard.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	s, tty := terminal(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stopped atomic.Bool
	ends := make(chan error, 1)
	go func() {
		_, err := Run(ctx, begun(t), runner(func(ctx context.Context, _ wizard.Action, _ wizard.Answers, _ wizard.Operator) error {
			<-ctx.Done()
			stopped.Store(true)
			return ctx.Err()
		}), Options{In: tty, Out: tty, Color: "never", Now: seconds()})
		ends <- err
	}()
	s.until("Which site is this about?")
	s.press("\r")
	s.until("> Password")
	s.press("x\r")
	s.until("> Ticket")
	s.press("\r")
	s.until("working")
	cancel()
	if err := <-ends; !errors.Is(err, ErrInterrupted) || !stopped.Load() {
		t.Errorf("err = %v, stopped %v", err, stopped.Load())
	}
}

// TestSized: a size is never larger than the terminal's own: consoles of Windows tell that of what can be scrolled back to.
func TestSized(t *testing.T) {
	t.Parallel()
	_, tty := terminal(t)
	for told, want := range map[tea.WindowSizeMsg]tea.WindowSizeMsg{{Width: 120, Height: 9001}: {Width: 80, Height: 24}, {Width: 60, Height: 20}: {Width: 60, Height: 20}} {
		if got := sized(tty)(nil, told); got != want {
			t.Errorf("told %v the size is %v, want %v", told, got, want)
		}
	}
}

// TestNoTerminal: what is no terminal is not drawn on.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := Run(context.Background(), begun(t), nil, Options{In: r, Out: w}); !errors.Is(err, ErrTerminal) {
		t.Errorf("err = %v", err)
	}
}
