package tui

import (
	"strings"
	"testing"

	"github.com/muesli/termenv"
)

func TestText(t *testing.T) {
	t.Parallel()
	const s = "a…b → ü ─ ·\x1b[2J\n\u202ec"
	for g, want := range map[glyphs]string{
		full: "a…b → ü ─ ·[2J c", limited: "a...b -> ü ─ ·[2J c", ascii: "a...b -> ? - *[2J c",
	} {
		if got := newTheme(termenv.Ascii, true, g).text(s); got != want {
			t.Errorf("glyphs %d: %q, want %q", g, got, want)
		}
	}
}

// TestTones: without colours nothing but text is drawn, and with them every tone but the plain one is to be seen.
func TestTones(t *testing.T) {
	t.Parallel()
	for tone := plain; tone <= accent; tone++ {
		if got := newTheme(termenv.Ascii, true, full).draw(lineOf(tone, "a"), 9); got != "a" {
			t.Errorf("tone %d without colours is %q", tone, got)
		}
		for _, dark := range []bool{true, false} {
			if got := newTheme(termenv.ANSI, dark, full).draw(lineOf(tone, "a"), 9); strings.Contains(got, "\x1b") != (tone != plain) {
				t.Errorf("tone %d is %q", tone, got)
			}
		}
	}
}

func TestGlyphSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		only   bool
		system string
		env    map[string]string
		want   glyphs
	}{
		{false, "linux", map[string]string{"LANG": "en_US.UTF-8"}, full},
		{false, "linux", map[string]string{"LANG": "C.utf8", "LC_ALL": "C"}, ascii},
		{false, "linux", map[string]string{"LC_CTYPE": "C.utf8"}, full},
		{false, "linux", nil, ascii},
		{false, "linux", map[string]string{"LANG": "C.utf8", "TERM": "linux"}, ascii},
		{true, "linux", map[string]string{"LANG": "C.utf8"}, ascii},
		{false, "windows", map[string]string{"WT_SESSION": "1"}, full},
		{false, "windows", nil, limited},
		{true, "windows", map[string]string{"WT_SESSION": "1"}, ascii},
	} {
		if got := glyphSet(c.only, c.system, func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestForClip: commands are pasted as they are, and names in any language, too.
func TestForClip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "",
		"Get-Service\r\n":      "Get-Service\r\n",
		"\u00fc":               "\xfc\x00",
		"a\u65e5":              "a\x00\xe5\x65",
		"\U0001f512":           "\x3d\xd8\x12\xdd",
		strings.Repeat("x", 9): "xxxxxxxxx",
	} {
		if got := string(forClip(text)); got != want {
			t.Errorf("%q goes to clip.exe as %q, not %q", text, got, want)
		}
	}
}
