package reports

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// page is plain text that is being written, in lines of at most a width. Commands alone are longer if they have to be:
// they are there to be copied.
type page struct {
	bytes.Buffer
	width int
}

// done is the text, without what could act on a terminal.
func (p *page) done() []byte { return []byte(printable.Text(p.String())) }

// line writes a line as it is; whatever is in it, it is one.
func (p *page) line(s string) {
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s)
	p.WriteString(strings.TrimRight(s, " "))
	p.WriteByte('\n')
}

// para writes text after a first word or indent; the lines after the first are indented by as much.
func (p *page) para(first, text string) {
	for i, line := range wrap(flat(text), p.width-utf8.RuneCountInString(first)) {
		if i > 0 {
			first = strings.Repeat(" ", utf8.RuneCountInString(first))
		}
		p.line(first + line)
	}
}

// advice writes text like para, but a command in it stays whole: if the text does not fit on one line, the command gets one
// of its own.
func (p *page) advice(first, text string) {
	text = flat(text)
	before, command, rest := Advice(text)
	if command == "" || utf8.RuneCountInString(first+text) <= p.width {
		p.para(first, text)
		return
	}
	hanging := strings.Repeat(" ", utf8.RuneCountInString(first))
	indent := hanging[:len(first)-len(strings.TrimLeft(first, " "))] + "  "
	if before != "" || strings.TrimSpace(first) != "" {
		p.para(first, before)
	}
	p.line(indent + command)
	if rest != "" {
		p.advice(hanging, rest)
	}
}

// Advice cuts a text at the first command in it, for that to stay whole: what comes before it, the command, and what comes
// after. The command is "" if there is none, and all of the text comes before.
func Advice(text string) (before, typed, after string) {
	text = flat(text)
	at := command.FindStringSubmatchIndex(text)
	if at == nil {
		return text, "", ""
	}
	return strings.TrimRight(text[:at[2]], " "), text[at[2]:at[3]], strings.TrimLeft(text[at[3]:], "; ")
}

// command finds a command: at the start of a text or after a colon, up to a semicolon or the end.
var command = regexp.MustCompile(`(?:^|: )((?:\$[a-z]+ =|preflight|winrm|netsh|reg|gpupdate|certutil|[A-Z][a-z]+-[A-Z][A-Za-z]+) .*?)(?:; |$)`)

// row is a row of a grid. mark stands before its first line, under are lines that follow it as they are.
type row struct {
	mark  string
	cells []string
	under []string
}

// grid writes rows in columns that are as wide as what is in them. If that is too wide for the page, the widest columns
// give way and what is in them is broken between words.
func (p *page) grid(indent string, rows []row) {
	var widths, least []int
	mark := 0
	for _, r := range rows {
		mark = max(mark, utf8.RuneCountInString(r.mark))
		for i, cell := range r.cells {
			if i == len(widths) {
				widths, least = append(widths, 0), append(least, 0)
			}
			cell = flat(cell)
			r.cells[i] = cell
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			for word := range strings.SplitSeq(cell, " ") {
				least[i] = max(least[i], utf8.RuneCountInString(word))
			}
		}
	}
	for total(widths)+len(indent)+mark > p.width {
		widest := -1
		for i, w := range widths {
			if w > least[i] && (widest < 0 || w >= widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest] = narrower(rows, widest, widths[widest])
	}
	for _, r := range rows {
		var cells [][]string
		height := 0
		for i, cell := range r.cells {
			cells = append(cells, wrap(cell, widths[i]))
			height = max(height, len(cells[i]))
		}
		for n := range height {
			line := indent + pad(map[bool]string{true: r.mark}[n == 0], mark)
			for i, cell := range cells {
				text := ""
				if n < len(cell) {
					text = cell[n]
				}
				line += pad(text, widths[i]) + "  "
			}
			p.line(line)
		}
		for _, line := range r.under {
			p.line(line)
		}
	}
}

// narrower is the next smaller width that a column can have.
func narrower(rows []row, column, width int) int {
	w := 0
	for _, r := range rows {
		if column < len(r.cells) {
			for _, line := range wrap(r.cells[column], width-1) {
				w = max(w, utf8.RuneCountInString(line))
			}
		}
	}
	return w
}

// total is the width of columns with two spaces between them.
func total(widths []int) int {
	n := 2 * (len(widths) - 1)
	for _, w := range widths {
		n += w
	}
	return n
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// wrap breaks a text between words into lines of at most a width, if its words let it. It gives at least one line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = word
			continue
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// flat makes one line of a text: what a server sent cannot begin a line of its own.
func flat(s string) string { return printable.Text(strings.Join(strings.Fields(s), " ")) }
