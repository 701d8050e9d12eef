package tui

import (
	"io"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// caretTone is the tone of the character under the cursor, "" behind the last.
const caretTone tone = -1

// glyphs is a set of characters that the terminal's font is taken to have.
type glyphs int

const (
	full    glyphs = iota // all of them
	limited               // letters, and what Windows fonts without a fallback have beside them
	ascii                 // below 0x80 alone
)

// theme is everything about the look. It is made once, from what the terminal can do; there are no styles elsewhere.
type theme struct {
	glyphs glyphs
	tones  map[tone]lipgloss.Style
	cursor lipgloss.Style
	mono   bool              // styles are not to be seen, so that a cursor needs a character of its own
	simple *strings.Replacer // writes what not every font has in characters that every one has; nil if the glyphs are full
}

// newTheme makes the look for a terminal with so many colours, whose background is dark or light.
func newTheme(colours termenv.Profile, dark bool, g glyphs) theme {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(colours)
	r.SetHasDarkBackground(dark)
	// The 16 colours alone: consoles from Server 2016 on have them, and people choose them for their own eyes.
	pick := func(onDark, onLight string) lipgloss.Style {
		if dark {
			return r.NewStyle().Foreground(lipgloss.Color(onDark))
		}
		return r.NewStyle().Foreground(lipgloss.Color(onLight))
	}
	t := theme{
		glyphs: g,
		mono:   colours == termenv.Ascii,
		cursor: r.NewStyle().Reverse(true),
		tones: map[tone]lipgloss.Style{
			plain:   r.NewStyle(),
			dim:     pick("8", "8"),
			strong:  r.NewStyle().Bold(true),
			good:    pick("10", "2"),
			waiting: pick("11", "3").Bold(true),
			bad:     pick("9", "1").Bold(true),
			accent:  pick("14", "6").Bold(true),
		},
	}
	if g != full {
		t.simple = strings.NewReplacer("…", "...", "→", "->", "←", "<-", "–", "-", "—", "-", "“", `"`, "”", `"`, "‘", "'", "’", "'", "✓", "x", "≤", "<=", "≥", ">=", "×", "x", "\u00a0", " ")
	}
	return t
}

// text is a text in characters that the terminal has, without any that act. Its width is the one that counts.
func (t theme) text(s string) string {
	s = printable.Text(strings.ReplaceAll(s, "\n", " "))
	if t.glyphs == full {
		return s
	}
	s = t.simple.Replace(s)
	if t.glyphs == limited {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x80:
			return r
		case r == '·' || r == '•':
			return '*'
		case r == '─':
			return '-'
		case r == '│':
			return '|'
		case r == '►':
			return '>'
		}
		return '?'
	}, s)
}

// lettering is a line in characters that the terminal has. What measures and cuts comes after it.
func (t theme) lettering(l line) line {
	out := make(line, len(l))
	for i, s := range l {
		out[i] = span{t.text(s.text), s.tone}
	}
	return out
}

// draw is a line as it goes to the terminal, cut to a width.
func (t theme) draw(l line, width int) string {
	var b strings.Builder
	for _, s := range t.fit(l, width) {
		switch {
		case s.tone == caretTone:
			b.WriteString(t.caret(s.text))
		case s.text != "":
			b.WriteString(t.tones[s.tone].Render(s.text))
		}
	}
	return b.String()
}

// fit cuts a line to a width, with a mark where something is left out.
func (t theme) fit(l line, width int) line {
	l = t.lettering(l)
	if l.width() <= width {
		return l
	}
	mark := line{{t.text("…"), dim}}
	if width < mark.width() {
		return l.slice(0, width)
	}
	return join(l.slice(0, width-mark.width()), mark)
}

// rule is the line between two parts of the screen.
func (t theme) rule(width int) string {
	c := "─"
	if t.glyphs == ascii {
		c = "-"
	}
	return t.tones[dim].Render(strings.Repeat(c, width))
}

// caret is where the next character goes, over the one that is there now, "" at the end.
func (t theme) caret(over string) string {
	switch {
	case !t.mono && over == "":
		return t.cursor.Render(" ")
	case !t.mono:
		return t.cursor.Render(over)
	case over == "":
		return "_"
	}
	return "|" + over
}
