package tui

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

var updateScreens = flag.Bool("update-screens", false, "write the goldens of screens anew")

// still is a model of a conversation as it stands, without anything that runs beside it.
func still(w wizard.Wizard, colours termenv.Profile, g glyphs) *model {
	m := &model{
		w: w, ctx: context.Background(), theme: newTheme(colours, true, g), now: func() time.Time { return later },
		after: func(time.Duration, tea.Msg) tea.Cmd { return nil }, copy: func(string) tea.Cmd { return nil },
	}
	if _, running := w.Action(); running {
		m.job = newJob(m.ctx)
	}
	m.settle()
	return m
}

// do sizes a model's terminal and presses keys; "ask" has the action ask something.
func (m *model) do(width, height int, keys ...string) *model {
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	for _, k := range keys {
		m.answered = time.Time{}
		if k == "ask" {
			m.Update(happened{m.job, []any{&ask{wizard.Question{ID: "one-time password", Kind: wizard.Secret, Text: "The one-time password that the QMC shows"}, make(chan string, 1)}}})
			continue
		}
		if t, ok := special[k]; ok {
			m.Update(tea.KeyMsg{Type: t})
		} else {
			m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
		}
	}
	return m
}

// asking is a run of the fixture clean at the question of an id.
func asking(t *testing.T, id string) wizard.Wizard {
	t.Helper()
	w := walk(t, fixture("clean"), func(w wizard.Wizard, e record.Event) bool {
		q, ok := w.Question()
		return e == nil && ok && q.ID == id
	})
	if q, _ := w.Question(); q.ID != id {
		t.Fatalf("%s is never asked", id)
	}
	return w
}

// moments are the screens that are kept.
func moments(t *testing.T) []struct {
	name string
	w    wizard.Wizard
	keys []string
} {
	at := func(name string) wizard.Wizard {
		for _, s := range shots {
			if s.name == name {
				return s.at(t)
			}
		}
		t.Fatalf("there is no moment %s", name)
		return wizard.Wizard{}
	}
	return []struct {
		name string
		w    wizard.Wizard
		keys []string
	}{
		{"site", asking(t, "site"), nil},
		{"site-none", drafting(t), nil},
		{"new", drafting(t, toRelease[:2]...), []string{"l", "o", "c", "a", "l", "h", "o", "s", "t", "enter"}},
		{"new-release", drafting(t, toRelease...), nil},
		{"sign-in", asking(t, "password"), []string{"p", "a", "5", "5"}},
		{"sign-in-ticket", asking(t, "ticket"), []string{"C", "H", "G"}},
		{"connect", at("connect-running"), nil},
		{"connect-refused", at("connect-refused"), []string{"down"}},
		{"inspect", at("inspect"), nil},
		{"review", at("review-gpo"), []string{"down", "down", "down"}},
		{"review-more", at("review"), []string{"down", "enter"}},
		{"apply", asking(t, "approve"), []string{"x", "enter"}},
		{"apply-running", at("apply-running"), nil},
		{"prove", at("prove-three"), nil},
		{"prove-stopping", at("prove-running"), []string{"ctrl+c"}},
		{"join", asking(t, "join"), nil},
		{"join-confirm", asking(t, "confirm certificate"), nil},
		{"join-waiting", at("join-waiting"), nil},
		{"join-asks", at("join-waiting"), []string{"ask", "p", "a", "5", "5"}},
		{"report", at("report"), nil},
		{"help", at("prove"), []string{"?"}},
		{"leave", at("prove"), []string{"q"}},
	}
}

// TestScreens compares whole screens with those that are kept.
func TestScreens(t *testing.T) {
	t.Parallel()
	for _, moment := range moments(t) {
		for _, size := range []struct {
			width, height int
			g             glyphs
			name          string
		}{{60, 20, full, "60x20"}, {80, 24, full, "80x24"}, {120, 40, full, "120x40"}, {80, 24, ascii, "80x24-ascii"}} {
			name := moment.name + "-" + size.name
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := still(moment.w, termenv.Ascii, size.g).do(size.width, size.height, moment.keys...)
				var got bytes.Buffer
				for l := range strings.SplitSeq(m.View(), "\n") {
					fmt.Fprintln(&got, strings.TrimRight(l, " "))
				}
				path := filepath.Join("testdata", "screens", name+".txt")
				if *updateScreens {
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s is not as it was (go test ./tui -update-screens writes it anew):\n%s", path, got.String())
				}
			})
		}
	}
}

// TestSizes: no line is ever wider than the terminal, and there are never more of them than it is high; without Unicode
// there is no other character, and the choice is marked by more than a colour.
func TestSizes(t *testing.T) {
	t.Parallel()
	sizes := [][2]int{{1, 1}, {39, 12}, {40, 12}, {47, 14}, {60, 20}, {100, 13}, {120, 40}, {200, 60}}
	for _, moment := range moments(t) {
		t.Run(moment.name, func(t *testing.T) {
			t.Parallel()
			for _, g := range []glyphs{full, ascii} {
				colours := termenv.TrueColor
				if g == ascii {
					colours = termenv.Ascii
				}
				m := still(moment.w, colours, g).do(80, 24, moment.keys...)
				for _, keys := range [][]string{nil, {"down", "right"}, {"end", "pgup"}, {"y"}, {"enter"}, {"?"}, {"end"}, {"esc"}, {"esc"}, {"q"}} {
					m.do(80, 24, keys...)
					for _, size := range sizes {
						fits(t, m, size[0], size[1], g)
					}
				}
			}
		})
	}
}

// fits checks a model's screen at a size.
func fits(t *testing.T, m *model, width, height int, g glyphs) {
	t.Helper()
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	screen := m.View()
	lines := strings.Split(screen, "\n")
	if len(lines) > height {
		t.Fatalf("%d lines at %dx%d:\n%s", len(lines), width, height, screen)
	}
	large := width >= minWidth && height >= minHeight
	if large && len(lines) != height {
		t.Fatalf("%d lines at %dx%d:\n%s", len(lines), width, height, screen)
	}
	for _, l := range lines {
		if w := ansi.StringWidth(l); w > width {
			t.Fatalf("a line of %d at %dx%d:\n%s\nin\n%s", w, width, height, l, screen)
		}
	}
	if g == ascii {
		for i := range len(screen) {
			if screen[i] >= 0x80 || screen[i] < ' ' && screen[i] != '\n' {
				t.Fatalf("byte %#x at %dx%d:\n%s", screen[i], width, height, screen)
			}
		}
	}
	if b := m.body(); large && !m.help && !m.open && len(m.choices(b)) > 0 && !strings.Contains(ansi.Strip(screen), "\n> ") {
		t.Fatalf("no row is marked at %dx%d:\n%s", width, height, ansi.Strip(screen))
	}
	if large && !m.typing && !m.help && !m.open && m.pending == nothing && m.notice == "" && !strings.Contains(ansi.Strip(lines[height-1]), "help") {
		t.Fatalf("no help is offered at %dx%d:\n%s", width, height, ansi.Strip(screen))
	}
}

// TestSmallest: on the smallest terminal the question stays whole, and that there is more to know of it, and how to read
// that, is said.
func TestSmallest(t *testing.T) {
	t.Parallel()
	for id, want := range map[string][]string{
		"confirm certificate": {"… ? shows all of it\n", " Use the site's client certificate for\n", " this join?\n", " y  yes", "> x  no"},
		"approve":             {"… esc, then ? shows all of it\n", " Type the site's name to go on\n", " > _"},
	} {
		m := still(asking(t, id), termenv.Ascii, full).do(minWidth, minHeight)
		for _, w := range want {
			if !strings.Contains(m.View(), w) {
				t.Errorf("%s: %q is not shown:\n%s", id, w, m.View())
			}
		}
	}
}

// TestCut: what has no room is cut with a mark, down to the mark alone: of a line, and of why an answer was not taken.
func TestCut(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{0: "", 1: "…", 2: "a…", 3: "ab…", 4: "abcd", 5: "abcd"} {
		if got := newTheme(termenv.Ascii, true, full).draw(lineOf(plain, "abcd"), width); got != want {
			t.Errorf("at a width of %d abcd is %q, want %q", width, got, want)
		}
	}
	m := still(asking(t, "ticket"), termenv.Ascii, full).do(minWidth, minHeight)
	m.failed = errors.New(strings.Repeat("why ", 70) + "the-end")
	if v := m.View(); !strings.Contains(v, " error: why why") || !strings.Contains(v, "why …\n") {
		t.Errorf("that an error goes on is not shown:\n%s", v)
	}
	if m.do(100, 30); !strings.Contains(m.View(), "the-end\n") || strings.Contains(m.View(), "…") {
		t.Errorf("the error is not whole:\n%s", m.View())
	}
}

// TestOpen: what enter has opened is there at any size, also if there is room for all of it by then.
func TestOpen(t *testing.T) {
	t.Parallel()
	m := still(wizardAt(t, wizard.Connect, "refused"), termenv.Ascii, full).do(60, 14, "enter")
	if !m.open {
		t.Fatalf("nothing is cut:\n%s", m.View())
	}
	for _, size := range [][2]int{{60, 14}, {120, 40}} {
		if m.do(size[0], size[1]); !strings.Contains(m.View(), "a firewall refuses it") {
			t.Errorf("at %v nothing of it is there:\n%s", size, m.View())
		}
	}
}

// TestNarrow: of keys for which there is no room those stay that lead on, and of a head its beginning, with a mark.
func TestNarrow(t *testing.T) {
	t.Parallel()
	v := still(asking(t, "prove"), termenv.Ascii, full).do(55, minHeight).View()
	if last := v[strings.LastIndex(v, "\n")+1:]; !strings.Contains(last, "n next  r again  u undo  w leave  ? help") {
		t.Errorf("the keys are %q", last)
	}
	v = still(asking(t, "prove"), termenv.Ascii, full).do(40, minHeight).View()
	if last := v[strings.LastIndex(v, "\n")+1:]; !strings.Contains(last, " n next  r again  u undo  ? help") {
		t.Errorf("the keys are %q", last)
	}
	v = still(wizardAt(t, wizard.Report, "gpo"), termenv.Ascii, full).do(40, minHeight).View()
	if !strings.Contains(v, "\n  not ready: ") || !strings.Contains(v, "…\n> ") {
		t.Errorf("how it ended is not shown:\n%s", v)
	}

	if v = still(asking(t, "prove"), termenv.Ascii, full).do(64, minHeight).View(); !strings.Contains(v, "\n  from \\ to") {
		t.Errorf("the matrix has no head:\n%s", v)
	}

	// All of a head is a key away: enter, or where enter answers another one.
	m := still(wizardAt(t, wizard.Report, "gpo"), termenv.Ascii, full).do(40, minHeight)
	b := m.body()
	for _, r := range m.choices(b) {
		if b.rows[r].detail.more == nil && len(b.rows[r].detail.lines) == 1 { // nothing else to open
			m.chosen = b.rows[r].id
		}
	}
	if v = m.do(40, minHeight, "enter").View(); !m.open || !strings.Contains(v, " failed\n") {
		t.Errorf("the rest of how it ended is not shown:\n%s", v)
	}
	for _, moment := range moments(t) {
		if moment.name != "join-asks" {
			continue
		}
		m = still(moment.w, termenv.Ascii, full).do(60, 16, moment.keys...)
		if v = m.View(); !strings.Contains(v, "… pgdn shows all of it\n") || strings.Contains(v, "nothing has to be") {
			t.Errorf("how to read all of it is not said:\n%s", v)
		}
		if v = m.do(60, 16, "pgdown", "end").View(); !m.open || !strings.Contains(v, "nothing has to be") {
			t.Errorf("all of it is not shown:\n%s", v)
		}
	}
}

// TestListKeys: in a list of answers the keys lead to each, and page keys move among the rows above it.
func TestListKeys(t *testing.T) {
	t.Parallel()
	m := still(asking(t, "join"), termenv.Ascii, full).do(80, 24)
	for _, step := range []struct {
		key    string
		option int
	}{{"end", 2}, {"up", 1}, {"home", 0}, {"up", 0}, {"down", 1}, {"j", 2}, {"down", 2}, {"k", 1}} {
		if m.do(80, 24, step.key); m.option != step.option {
			t.Errorf("%s leads to %d, want %d", step.key, m.option, step.option)
		}
	}
	if m.do(80, 24, "pgdown"); m.place != 4 {
		t.Errorf("a page down among the rows leads to %d", m.place)
	}
	if m.do(80, 24, "pgup"); m.place != 0 {
		t.Errorf("a page up among the rows leads to %d", m.place)
	}
}

// TestChoice: what is chosen stays chosen while the run goes on, and is seen wherever it is.
func TestChoice(t *testing.T) {
	t.Parallel()
	w := walk(t, fixture("twenty"), func(w wizard.Wizard, e record.Event) bool { q, _ := w.Question(); return q.ID == "review" })
	m := still(w, termenv.Ascii, full).do(80, 24)
	b := m.body()
	last := b.rows[m.choices(b)[len(m.choices(b))-1]]
	m.do(80, 24, "end")
	if m.chosen != last.id {
		t.Fatalf("chosen is %q, not %q", m.chosen, last.id)
	}
	m.do(80, 24, "up", "pgup", "pgdown", "home", "pgdown", "down")
	chosen := m.chosen
	if !strings.Contains(m.View(), "\n> ") {
		t.Errorf("the chosen row is not seen:\n%s", m.View())
	}
	m.do(60, 12)
	if m.chosen != chosen || !strings.Contains(m.View(), "\n> ") {
		t.Errorf("chosen is %q, was %q:\n%s", m.chosen, chosen, m.View())
	}
}

// TestChosenRow: until somebody chooses, what is wrong is chosen, but not while it may change; a row that is gone leaves the
// choice where it was.
func TestChosenRow(t *testing.T) {
	t.Parallel()
	b := body{rows: []row{{id: "a"}, {}, {id: "b"}, {id: "c", line: lineOf(bad, "FAILED")}, {id: "d"}}}
	m := &model{column: -1}
	if got := m.chosenRow(b); got != 3 {
		t.Errorf("chosen is %d, not what is wrong", got)
	}
	m.job = newJob(t.Context())
	if got := m.chosenRow(b); got != 0 {
		t.Errorf("while something runs %d is chosen, not the first", got)
	}
	m.chosen, m.place = "gone", 1
	if got := m.chosenRow(b); got != 2 {
		t.Errorf("in place of what is gone %d is chosen", got)
	}
	m.place = 9
	if got := m.chosenRow(b); got != 4 {
		t.Errorf("in place of the last, which is gone, %d is chosen", got)
	}
	if got := m.chosenRow(body{rows: []row{{}}}); got != -1 {
		t.Errorf("where there is nothing to choose %d is chosen", got)
	}
}

// TestMatrix: arrows move among the cells, and a column stays chosen from row to row.
func TestMatrix(t *testing.T) {
	t.Parallel()
	m := still(wizardAt(t, wizard.Prove, "three"), termenv.Ascii, full).do(100, 30)
	shows := func(want string) {
		t.Helper()
		if !strings.Contains(m.View(), want) {
			t.Errorf("%q is not shown:\n%s", want, m.View())
		}
	}
	shows("qs-central -> qs-rim2") // which fails
	m.do(100, 30, "down")
	shows("qs-rim1 -> qs-rim2") // which is below it
	m.do(100, 30, "up")
	m.do(100, 30, "left")
	shows("qs-central -> qs-rim1")
	m.do(100, 30, "right")
	m.do(100, 30, "down")
	shows("qs-rim1 -> qs-rim2")
	m.do(100, 30, "left", "left", "left")
	shows("qs-rim1 -> qs-central")
	m.do(100, 30, "enter")
	shows("port")
	m.do(100, 30, "esc")
	shows(" -> qs-central")
}

// TestCopy: y copies what the detail advises, says so, and is offered only where there is something.
func TestCopy(t *testing.T) {
	t.Parallel()
	m := still(wizardAt(t, wizard.Review, "clean"), termenv.Ascii, full)
	var copied string
	m.copy = func(s string) tea.Cmd { copied = s; return nil }
	m.do(80, 24)
	if want := m.chosenDetail(m.body()).copy; want == "" || !strings.Contains(m.View(), "y copy") {
		t.Fatalf("nothing is to be copied (%q):\n%s", want, m.View())
	} else if m.do(80, 24, "y"); copied != want {
		t.Errorf("copied is %q, not %q", copied, want)
	}
	if !strings.Contains(m.View(), "to the clipboard: New-NetFirewallRule") {
		t.Errorf("it is not said:\n%s", m.View())
	}
	if m.do(80, 24, "down"); strings.Contains(m.View(), "to the clipboard:") {
		t.Errorf("it is said still:\n%s", m.View())
	}
	m = still(asking(t, "site"), termenv.Ascii, full).do(80, 24)
	if strings.Contains(m.View(), "y copy") {
		t.Errorf("copying is offered:\n%s", m.View())
	}
}

// TestClipboard: what is copied goes to the terminal as one sequence, without what could act when it is pasted.
func TestClipboard(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clipboard(&out)("a\x1bb")()
	if got, want := out.String(), ansi.SetSystemClipboard("ab"); got != want {
		t.Errorf("written is %q, want %q", got, want)
	}
}

func BenchmarkView(b *testing.B) {
	m := still(wizardAt(b, wizard.Prove, "twenty"), termenv.TrueColor, full).do(120, 40)
	for b.Loop() {
		m.View()
	}
}
