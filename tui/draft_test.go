package tui

import (
	"errors"
	"strings"
	"testing"

	"github.com/muesli/termenv"

	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// drafting is a wizard in a folder without a site file, with these answers given.
func drafting(t testing.TB, answers ...string) wizard.Wizard {
	t.Helper()
	w, err := wizard.New(wizard.Setup{
		Candidates: []wizard.Candidate{{Name: "lab", Simulated: true}},
		Open: func(file string) (wizard.Candidate, error) {
			return wizard.Candidate{Name: "finance-bi", Site: fixtureSite(1), File: file}, nil
		},
		Passwords: func(site.Site) (wizard.Passwords, error) { return wizard.Passwords{}, nil },
		New: wizard.DraftSetup{
			Releases: []string{"1.0.2", "2.x", "3.x", "june-2017", "april-2018", "february-2019", "august-2021", "november-2022", "february-2024", "november-2025"},
			Release:  func(text string) (string, error) { return text, nil },
			Make: func(file string, _ wizard.Draft) error {
				if file == "taken.yaml" {
					return errors.New("taken.yaml: file already exists: write another name")
				}
				return nil
			},
		},
	})
	for _, a := range answers {
		if err == nil {
			w, err = w.Answer(a)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// toRelease are answers up to the release.
var toRelease = []string{"new", "finance-bi", "qs-central.corp.example", "qs-rim1.corp.example", "", `CORP\qs-admin`, ""}

// TestMaking: a new site is asked for with keys alone, there is a way back, and then it is the chosen one.
func TestMaking(t *testing.T) {
	t.Parallel()
	m := still(drafting(t), termenv.Ascii, full).do(80, 24, "n")
	for _, keys := range [][]string{
		{"f", "enter"}, {"c", "enter"}, {"r", "enter"}, {"enter"}, {"u", "enter"}, {"t"}, {"o"}, {"m", "a", "y", "enter"}, {"enter"}, {"enter"},
		{"enter"}, {"ctrl+u", "t", "a", "k", "e", "n", ".", "y", "a", "m", "l", "enter"},
	} {
		m.do(80, 24, keys...)
	}
	if screen := m.View(); !strings.Contains(screen, "file already exists") || !strings.Contains(screen, "> taken.yaml") {
		t.Fatalf("a file that is there:\n%s", screen)
	}
	m.do(80, 24, "ctrl+u", "x", "enter")
	if c := m.w.Answers().Candidate; c.File != "x" || !strings.Contains(m.View(), "(from x)") {
		t.Errorf("chosen is %+v:\n%s", c, m.View())
	}
	m.do(80, 24, "shift+tab")
	if screen := m.View(); !strings.Contains(screen, "> 1  finance-bi") {
		t.Errorf("back from the sign-in:\n%s", screen)
	}
}

// TestNothingProposed: where no release is proposed, enter alone writes none; the arrows and the keys choose one.
func TestNothingProposed(t *testing.T) {
	t.Parallel()
	m := still(drafting(t, toRelease...), termenv.Ascii, full).do(80, 24, "enter")
	if screen := m.View(); !strings.Contains(screen, "error: choose one") || strings.Contains(screen, "> 1  1.0.2") || !strings.Contains(screen, "Which release") {
		t.Fatalf("enter alone:\n%s", screen)
	}
	if m.do(80, 24, "down"); m.option != 0 || m.failed != nil || !strings.Contains(m.View(), "> 1  1.0.2") {
		t.Errorf("down leads to %d:\n%s", m.option, m.View())
	}
	if m.do(80, 24, "down", "enter", "shift+tab"); !strings.Contains(m.View(), "> 2  2.x") {
		t.Errorf("2.x is not what was chosen:\n%s", m.View())
	}
	m = still(drafting(t, toRelease...), termenv.Ascii, full)
	if m.do(80, 24, "up", "enter", "shift+tab"); !strings.Contains(m.View(), "> 1  1.0.2") {
		t.Errorf("1.0.2 is not what was chosen:\n%s", m.View())
	}
}
