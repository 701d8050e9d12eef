package script

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Frame is one line of a conversation with a script: its kind, then its fields.
type Frame []string

// Kind is the frame's first field, "" for an empty frame.
func (f Frame) Kind() string { return f.Field(0) }

// Field is the frame's i-th field, "" if it has no such field.
func (f Frame) Field(i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

// Line is the frame as it goes to a script: strict ASCII, without the line end.
func (f Frame) Line() string {
	fields := make([]string, len(f))
	for i, s := range f {
		fields[i] = escape(s)
	}
	return strings.Join(fields, "\t")
}

// Answer is the frame as a script sends it: "#pf NUMBER LENGTH CHECK FIELDS", without the line end. The check is the
// first four bytes of HMAC-SHA256, keyed with the run's key, over number and fields.
func (f Frame) Answer(key string, number int) string {
	payload := f.Line()
	return fmt.Sprintf("%s%d %d %s %s", mark, number, len(payload), check(key, number, payload), payload)
}

const mark = "#pf "

func check(key string, number int, payload string) string {
	h := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(h, "%d %s", number, payload)
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// parseAnswer reads a line of a script's output. ok is false for a line that is no frame at all; err tells of a frame
// that is damaged or out of turn.
func parseAnswer(line, key string, number int) (f Frame, ok bool, err error) {
	_, rest, found := strings.Cut(line, mark)
	if !found {
		return nil, false, nil
	}
	part := strings.SplitN(rest, " ", 4)
	if len(part) != 4 {
		return nil, true, fmt.Errorf("answer %d is damaged", number)
	}
	n, err1 := strconv.Atoi(part[0])
	length, err2 := strconv.Atoi(part[1])
	payload := part[3]
	if err1 != nil || err2 != nil || length != len(payload) || part[2] != check(key, n, payload) {
		return nil, true, fmt.Errorf("answer %d is damaged", number)
	}
	if n != number {
		return nil, true, fmt.Errorf("answer %d is missing, %d came", number, n)
	}
	f, err = parseLine(payload)
	return f, true, err
}

// ParseLine reads a line as Frame.Line wrote it.
func ParseLine(line string) (Frame, error) { return parseLine(strings.TrimRight(line, "\r\n")) }

func parseLine(line string) (Frame, error) {
	fields := strings.Split(line, "\t")
	for i, s := range fields {
		t, err := unescape(s)
		if err != nil {
			return nil, err
		}
		fields[i] = t
	}
	return fields, nil
}

func escape(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		switch {
		case u == '\\':
			b.WriteString(`\\`)
		case u >= ' ' && u <= '~':
			b.WriteByte(byte(u))
		default:
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return "", fmt.Errorf("not plain ASCII: %q", s)
		}
	}
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var units []uint16
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			units = append(units, uint16(s[i]))
			continue
		}
		i++
		switch {
		case i < len(s) && s[i] == '\\':
			units = append(units, '\\')
		case i+4 < len(s) && s[i] == 'u':
			u, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf("bad escape in %q", s)
			}
			units = append(units, uint16(u))
			i += 4
		default:
			return "", fmt.Errorf("bad escape in %q", s)
		}
	}
	return string(utf16.Decode(units)), nil
}
