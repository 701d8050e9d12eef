// Package printable keeps text that came from a server from doing anything to a terminal or a reader: it is data.
package printable

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// unsafe tells whether a rune can act instead of being read: control characters, and the format characters that change
// the direction or the look of what stands beside them.
func unsafe(r rune) bool { return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) }

// Text leaves out of a text what can act, but for line ends.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unsafe(r) || r == utf8.RuneError) {
			return -1
		}
		return r
	}, s)
}

// Line makes one line of a text, of at most 300 characters.
func Line(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s)), " ")
	if r := []rune(Text(s)); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return Text(s)
}

// Argument is a text as one argument on a command line that somebody is to type: double quotes are the same to every shell.
func Argument(s string) string {
	switch s = Line(s); {
	case s == "" || strings.ContainsAny(s, " \t'()&;,"):
		return `"` + s + `"`
	case strings.HasPrefix(s, "-"):
		return "./" + s
	}
	return s
}

// JSON escapes in JSON text what can act, so that the values stay what they are while the file can be shown.
func JSON(b []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(b) {
		switch {
		case r == '\n' || !unsafe(r):
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}
