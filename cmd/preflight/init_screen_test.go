//go:build !windows

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/lab"
)

// TestInitOnTerminal: on a terminal the file's name is asked for, the password is not seen, and what is there stays.
func TestInitOnTerminal(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	dir := t.TempDir()
	taken, file := filepath.Join(dir, "taken.yaml"), filepath.Join(dir, "lab.yaml")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := inLines(t, s.reached(t)...)
	for _, asked := range [][2]string{
		{"Password of", s.Password()}, {"Which release", ""}, {"The services of qs-central", "b"}, {"[1.0.2]", ""},
		{"The services of qs-central", "repository proxy"}, {"The services of qs-rim1", "repository proxy"}, {"The networks of", "any"}, {"The name of the new file", taken}, {"already exists", file},
	} {
		v.tells(asked[0])
		v.types(asked[1] + "\r")
	}
	text := v.ends(0)
	for _, want := range []string{"file already exists", "written " + file, "next    preflight check -f " + file} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if strings.Contains(text, s.Password()) || strings.Count(text, "Password of") != 1 {
		t.Errorf("the password was shown, or asked for again: %s", text)
	}
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "\nclients: any ") || !strings.Contains(string(b), "services: [repository, proxy]\n") {
		t.Errorf("%v\n%s", err, b)
	}
	if b, _ := os.ReadFile(taken); string(b) != "mine" {
		t.Errorf("the file that was there is %s", b)
	}

	// Without questions it is shown.
	v = onScreen(t, "init", "--no-input", "--site", "s", "--central", "c", "--rim", "r", "--user", "u", "--release", "1.0.2")
	if text := v.ends(0); !strings.Contains(text, "site: s\r\n") {
		t.Errorf("the site file is not in %s", text)
	}
}
