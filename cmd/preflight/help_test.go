package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/checks"
)

// TestFolded: text of Markdown in lines that a console has room for, as it is meant.
func TestFolded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 20)
	got := folded("# Head\n\n" + long + "\nand\nmore\n\n  indented   stays\n\n* " + long + "\n  goes on\n* second\n- third\n\n| a | b |\n|---|---|\n| 1 | " + long + "|\n")
	want := `# Head

word word word word word word word word word word word word word word word word
word word word word and more

  indented   stays

* word word word word word word word word word word word word word word word
  word word word word word goes on
* second
- third

  a  b
  -  DASHES
  1  word word word word word word word word word word word word word word word
     word word word word word
`
	want = strings.Replace(want, "DASHES", strings.Repeat("-", 75), 1)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestHelp: what people read fits a console of 80 columns, and loses nothing of what it is made of.
func TestHelp(t *testing.T) {
	t.Parallel()
	fits := func(name, text string) {
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
	var names []string
	for _, c := range (&app{}).rootCommand().Commands() {
		names = append(names, c.Name())
	}
	for _, name := range append(names, "") {
		var stdout, stderr bytes.Buffer
		args := []string{name, "--help"}
		if name == "" {
			args = args[1:]
		}
		if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %s", name, code, &stderr)
		}
		fits(name, stdout.String())
		if !strings.Contains(stdout.String(), "Usage:\n  preflight") || !strings.Contains(stdout.String(), "--no-input ") {
			t.Errorf("%s --help says\n%s", name, &stdout)
		}
	}
	for _, c := range checks.Catalogue {
		page, err := checks.Page(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		shown := folded(page)
		fits(c.ID, shown)
		if got, want := words(shown), words(page); got != want {
			t.Errorf("of %s is shown\n%s\nof\n%s", c.ID, got, want)
		}
	}
}

// words are those of a text in their alphabet's order, however it is laid out.
func words(text string) string {
	return strings.Join(slices.Sorted(strings.FieldsSeq(strings.NewReplacer("|", " ", "-", " ").Replace(text))), " ")
}
