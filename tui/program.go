package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/internal/wizard"
)

// Options say how the wizard is drawn.
type Options struct {
	In, Out *os.File         // a terminal
	Color   string           // auto, always, never
	ASCII   bool             // only characters that every font has
	Now     func() time.Time // nil: time.Now
}

var (
	// ErrInterrupted is returned if the operator, or the end of the process, broke the conversation off.
	ErrInterrupted = errors.New("interrupted")
	// ErrTerminal is wrapped by the error of a terminal that cannot be used: the conversation can go on as plain prompts.
	ErrTerminal = errors.New("this terminal cannot be drawn on")
)

// Run leads through a conversation until it is over, and returns it as it ended. It also ends, without an error, where the
// operator leaves it at a question: then it is not over. The error is ErrInterrupted, or wraps ErrTerminal.
//
// The end of ctx stops the action that runs, and Run returns once that has ended. The operator can do the same with
// ctrl+c; if that is pressed a second time, Run returns at once, and an action may still be about to end: whoever must not
// go on before it has waits for the runner.
func Run(ctx context.Context, w wizard.Wizard, r wizard.Runner, o Options) (wizard.Wizard, error) {
	if !term.IsTerminal(int(o.In.Fd())) || !term.IsTerminal(int(o.Out.Fd())) {
		return w, fmt.Errorf("%w: there is none", ErrTerminal)
	}
	colours := profile(o.Color, o.Out)
	dark := true
	if colours != termenv.Ascii {
		// The terminal is asked before the program reads from it: an answer would be taken for keys.
		dark = lipgloss.NewRenderer(o.Out).HasDarkBackground()
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()

	m := &model{
		w: w, runner: r, ctx: running, now: o.Now, copy: clipboard(o.Out),
		theme: newTheme(colours, dark, glyphSet(o.ASCII, runtime.GOOS, os.Getenv)),
		after: func(d time.Duration, msg tea.Msg) tea.Cmd {
			return tea.Tick(d, func(time.Time) tea.Msg { return msg })
		},
	}
	if m.now == nil {
		m.now = time.Now
	}
	p := tea.NewProgram(m, tea.WithAltScreen(), tea.WithoutSignalHandler(), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithFilter(sized(o.Out)))
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-ctx.Done():
			p.Send(stop{})
		case <-over:
		}
	}()
	switch _, err := p.Run(); {
	case err == nil:
		return m.w, m.err
	case errors.Is(err, tea.ErrProgramPanic):
		return m.w, err
	default:
		return m.w, fmt.Errorf("%w: %w", ErrTerminal, err)
	}
}

// sized mends the size that consoles of Windows tell: it can be that of the buffer, with all that can be scrolled back to.
func sized(out *os.File) func(tea.Model, tea.Msg) tea.Msg {
	return func(_ tea.Model, msg tea.Msg) tea.Msg {
		if size, ok := msg.(tea.WindowSizeMsg); ok {
			if w, h, err := term.GetSize(int(out.Fd())); err == nil && w > 0 && h > 0 {
				return tea.WindowSizeMsg{Width: min(size.Width, w), Height: min(size.Height, h)}
			}
		}
		return msg
	}
}

// profile is how many colours are used.
func profile(color string, out *os.File) termenv.Profile {
	switch color {
	case "never":
		return termenv.Ascii
	case "always": // a lower profile is one of more colours
		return min(termenv.NewOutput(out, termenv.WithTTY(true)).ColorProfile(), termenv.ANSI256)
	}
	return termenv.NewOutput(out).EnvColorProfile()
}

// glyphSet is the set of characters that is used on a system with an environment.
func glyphSet(only bool, system string, env func(string) string) glyphs {
	switch {
	case only || env("TERM") == "linux":
		return ascii
	case env("WT_SESSION") != "":
		return full
	case system == "windows": // raster fonts have the code page alone, and every one for consoles has what is in limited
		return limited
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(env(name)); v != "" {
			if strings.Contains(v, "utf-8") || strings.Contains(v, "utf8") {
				return full
			}
			return ascii
		}
	}
	return ascii
}
