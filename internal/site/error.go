package site

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Error is a mistake in a site file. Text and Source hold nothing that a terminal would obey.
type Error struct {
	File         string
	Line, Column int
	Text         string // what is wrong
	Source       string // the line of the file, cut where it is long; empty where the mistake is not in a line
	Hint         string // what to write instead

	indent, width int // of the caret under Source
}

// Error is one line, as finance-bi.yaml:14:17: role "slave" is not known.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", visible(e.File), e.Line, e.Column, e.Text)
}

// Detail is all there is to say, as error: and hint: lines with the source between them.
func (e *Error) Detail() string {
	var b strings.Builder
	fmt.Fprintf(&b, "error: %s\n", e.Error())
	if e.Source != "" {
		number := fmt.Sprintf("    %d | ", e.Line)
		fmt.Fprintf(&b, "%s%s\n", number, e.Source)
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", len(number)+e.indent), strings.Repeat("^", max(e.width, 1)))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", e.Hint)
	}
	return b.String()
}

// mark sets Source: the marked runes of a line, with as much around them as a screen has room for.
func (e *Error) mark(line string, marked int) {
	runes := []rune(line)
	start := min(max(e.Column-1, 0), len(runes))
	end := min(start+marked, len(runes))
	before, mark, after := []rune(visible(string(runes[:start]))), []rune(visible(string(runes[start:end]))), []rune(visible(string(runes[end:])))
	const most = 50
	if len(before) > most {
		before = append([]rune("..."), before[len(before)-most:]...)
	}
	if len(mark) > most {
		mark, after = mark[:most], []rune("...")
	}
	if len(after) > most {
		after = append(after[:most:most], []rune("...")...)
	}
	e.Source = string(before) + string(mark) + string(after)
	e.indent, e.width = len(before), max(len(mark), 1)
}

// visible writes out the runes that cannot be seen or that a terminal obeys.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// quote is for text of the file in a message. It does not double backslashes: CORP\\qs-admin is nobody's account.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return `"` + visible(string(r[:most])) + `"...`
	}
	return `"` + visible(s) + `"`
}
