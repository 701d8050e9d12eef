package script

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const testKey = "0123456789abcdef0123456789abcdef"

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) < 0
}

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		f    Frame
		line string
	}{
		{"plain", Frame{"listen", "4242", "key"}, "listen\t4242\tkey"},
		{"one field", Frame{"go"}, "go"},
		{"empty fields", Frame{"", "", "x", ""}, "\t\tx\t"},
		{"one empty field", Frame{""}, ""},
		{"spaces", Frame{" a  b ", " "}, " a  b \t "},
		{"tab and line ends", Frame{"a\tb", "c\r\nd"}, `a\u0009b` + "\t" + `c\u000d\u000ad`},
		{"backslashes", Frame{`C:\Qlik\`, `\\`, `\u0041`, `\t`}, `C:\\Qlik\\` + "\t" + `\\\\` + "\t" + `\\u0041` + "\t" + `\\t`},
		{"accents", Frame{"Größe", "état"}, `Gr\u00f6\u00dfe` + "\t" + `\u00e9tat`},
		{"beyond the first plane", Frame{"𝄞", "a😀b"}, `\ud834\udd1e` + "\t" + `a\ud83d\ude00b`},
		{"control characters", Frame{"\x00\x1b[31m\x7f"}, `\u0000\u001b[31m\u007f`},
		{"a mark", Frame{"#pf 0 1 2 3"}, "#pf 0 1 2 3"},
		{"line separators", Frame{"\u0085\u2028\u2029\ufeff"}, `\u0085\u2028\u2029\ufeff`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			line := test.f.Line()
			if line != test.line {
				t.Errorf("Line() = %q, want %q", line, test.line)
			}
			if !ascii(line) {
				t.Errorf("Line() = %q is not plain ASCII", line)
			}
			for _, end := range []string{"", "\n", "\r\n"} {
				back, err := ParseLine(line + end)
				if err != nil || !slices.Equal(back, test.f) {
					t.Errorf("ParseLine(%q) = %q, %v; want %q", line+end, back, err, test.f)
				}
			}
			answer := test.f.Answer(testKey, 7)
			back, ok, err := parseAnswer(answer, testKey, 7)
			if !ascii(answer) || !ok || err != nil || !slices.Equal(back, test.f) {
				t.Errorf("parseAnswer(%q) = %q, %v, %v; want %q", answer, back, ok, err, test.f)
			}
		})
	}
}

func TestFrameLossy(t *testing.T) {
	t.Parallel()
	// What is no text does not come back, but never breaks a line.
	for field, want := range map[string]string{"a\xffb": "a\ufffdb", "\x99": "\ufffd", "\xed\xa0\x80": "\ufffd\ufffd\ufffd"} {
		back, err := ParseLine(Frame{field}.Line())
		if err != nil || back.Kind() != want {
			t.Errorf("%q comes back as %q, %v; want %q", field, back, err, want)
		}
	}
}

func TestParseLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line string
		want       Frame // nil: refused
	}{
		{"nothing", "", Frame{""}},
		{"line ends only at the end", "a\r\n", Frame{"a"}},
		{"upper case digits", `\u00DF\uD83D\uDE00`, Frame{"ß😀"}},
		{"half of a pair", `x\ud83dy`, Frame{"x\ufffdy"}},
		{"halves the wrong way round", `\ude00\ud83d`, Frame{"\ufffd\ufffd"}},
		{"pair over two fields", `\ud83d` + "\t" + `\ude00`, Frame{"\ufffd", "\ufffd"}},
		{"backslash at the end", `a\`, nil},
		{"odd backslashes", `a\\\`, nil},
		{"unknown escape", `a\tb`, nil},
		{"capital U", `\U00f6`, nil},
		{"three digits", `\u00f`, nil},
		{"cut by a tab", `\u00` + "\t" + `f6`, nil},
		{"sign", `\u+0f6`, nil},
		{"underscore", `\u0_f6`, nil},
		{"no digits", `\uzzzz`, nil},
		{"raw accent", "Größe", nil},
		{"raw accent beside an escape", `ö\u00f6`, nil},
		{"code page byte", "ABH\x99REN", nil},
		{"raw control character", "a\x00b", nil},
		{"carriage return inside", "a\rb", nil},
		{"two lines", "a\nb", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, err := ParseLine(test.line)
			if (err == nil) != (test.want != nil) || !slices.Equal(f, test.want) {
				t.Errorf("ParseLine(%q) = %q, %v; want %q", test.line, f, err, test.want)
			}
		})
	}
}

func TestFrameField(t *testing.T) {
	t.Parallel()
	f := Frame{"busy", "443"}
	if f.Kind() != "busy" || f.Field(1) != "443" || f.Field(2) != "" || (Frame{}).Kind() != "" || (Frame)(nil).Field(3) != "" {
		t.Errorf("fields of %q are wrong, or a field that is not there is not empty", f)
	}
}

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	f := Frame{"dialled", "x:443", "open"}
	good := f.Answer(testKey, 3)
	payload := f.Line()
	sum := check(testKey, 3, payload)
	type outcome int
	const (
		frame outcome = iota
		noise
		damaged
		missing
	)
	tests := []struct {
		name, line string
		want       outcome
	}{
		{"good", good, frame},
		{"noise before it on the line", "WARNING: slow disk" + good, frame},
		{"code page noise before it", "Ger\x84t\x99: " + good, frame},
		{"empty line", "", noise},
		{"text", "Windows PowerShell", noise},
		{"a progress record", "#< CLIXML", noise},
		{"a mark without its space", "#pf", noise},
		{"a mark cut short", "#p", noise},
		{"a mark in capitals", strings.Replace(good, "#pf", "#PF", 1), noise},
		{"the probe's mark", "#pf-probe FullLanguage 5.1", noise},
		{"mark alone", "#pf ", damaged},
		{"number alone", "#pf 3", damaged},
		{"no payload", fmt.Sprintf("#pf 3 %d %s", len(payload), sum), damaged},
		{"last character lost", good[:len(good)-1], damaged},
		{"cut in the check", good[:len("#pf 3 18 ab")], damaged},
		{"one character more", good + " ", damaged},
		{"carriage return left", good + "\r", damaged},
		{"noise behind it", good + "WARNING", damaged},
		{"one letter changed", strings.Replace(good, "open", "opex", 1), damaged},
		{"an accent made of two bytes", strings.Replace(good, "open", "öen", 1), damaged},
		{"check of nothing", fmt.Sprintf("#pf 3 %d 00000000 %s", len(payload), payload), damaged},
		{"check left out", fmt.Sprintf("#pf 3 %d  %s", len(payload), payload), damaged},
		{"check in capitals", fmt.Sprintf("#pf 3 %d %s %s", len(payload), strings.ToUpper(sum)+"A", payload), damaged},
		{"wrong length", fmt.Sprintf("#pf 3 %d %s %s", len(payload)+1, sum, payload), damaged},
		{"length no number", fmt.Sprintf("#pf 3 x %s %s", sum, payload), damaged},
		{"negative length", fmt.Sprintf("#pf 3 -%d %s %s", len(payload), sum, payload), damaged},
		{"number no number", fmt.Sprintf("#pf x %d %s %s", len(payload), sum, payload), damaged},
		{"another run's key", f.Answer("f"+testKey[1:], 3), damaged},
		{"no key", f.Answer("", 3), damaged},
		{"number changed", strings.Replace(good, "#pf 3", "#pf 4", 1), damaged},
		{"one was lost", f.Answer(testKey, 4), missing},
		{"the same again", f.Answer(testKey, 2), missing},
		{"the first again", f.Answer(testKey, 0), missing},
		{"two frames on one line", f.Answer(testKey, 2) + good, damaged},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok, err := parseAnswer(test.line, testKey, 3)
			switch test.want {
			case frame:
				if !ok || err != nil || !slices.Equal(got, f) {
					t.Errorf("parseAnswer(%q) = %q, %v, %v; want the frame", test.line, got, ok, err)
				}
			case noise:
				if ok || err != nil || got != nil {
					t.Errorf("parseAnswer(%q) = %q, %v, %v; want noise", test.line, got, ok, err)
				}
			case damaged, missing:
				word := map[outcome]string{damaged: "answer 3 is damaged", missing: "answer 3 is missing"}[test.want]
				if !ok || got != nil || err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("parseAnswer(%q) = %q, %v, %v; want %q", test.line, got, ok, err, word)
				}
			}
		})
	}
}

// TestParseAnswerWithBadPayload: a script that signs what is no frame is refused all the same.
func TestParseAnswerWithBadPayload(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`rule\`, `a\q`, "Größe"} {
		line := fmt.Sprintf("#pf 0 %d %s %s", len(payload), check(testKey, 0, payload), payload)
		if f, ok, err := parseAnswer(line, testKey, 0); !ok || err == nil {
			t.Errorf("parseAnswer(%q) = %q, %v, %v; want an error", line, f, ok, err)
		}
	}
}

// TestParseAnswerEveryChange changes each byte of an answer to another: nothing but the text before the mark may matter.
func TestParseAnswerEveryChange(t *testing.T) {
	t.Parallel()
	good := Frame{"served", "5000"}.Answer(testKey, 12)
	for i := range good {
		for _, c := range []byte{' ', '0', 'a', '~', '\t'} {
			bad := good[:i] + string(c) + good[i+1:]
			if bad == good {
				continue
			}
			if f, ok, err := parseAnswer(bad, testKey, 12); ok && err == nil {
				t.Errorf("parseAnswer(%q) = %q; it was %q", bad, f, good)
			}
		}
		if f, ok, err := parseAnswer(good[:i], testKey, 12); ok && err == nil {
			t.Errorf("parseAnswer(%q) = %q; it was cut", good[:i], f)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"", "a\tb", `\u00f6\\`, `\ud83d\ude00`, `\ud83d`, `\`, `\u12`, "ö", "x\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, err := ParseLine(line)
		if err != nil {
			return
		}
		if len(got) != strings.Count(line, "\t")+1 {
			t.Fatalf("ParseLine(%q) has %d fields", line, len(got))
		}
		again := got.Line()
		if !ascii(again) {
			t.Fatalf("Line() = %q is not plain ASCII", again)
		}
		back, err := ParseLine(again)
		if err != nil || !slices.Equal(back, got) {
			t.Fatalf("%q is %q, then %q, %v", line, got, back, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add("kind", "a\tb\n", `\u0041`, 0)
	f.Add("", "😀", "\xff", 99)
	f.Fuzz(func(t *testing.T, a, b, c string, number int) {
		want := Frame{a, b, c}
		line := want.Answer(testKey, number)
		if !ascii(line) {
			t.Fatalf("Answer() = %q is not plain ASCII", line)
		}
		got, ok, err := parseAnswer("noise "+line, testKey, number)
		if !ok || err != nil || len(got) != 3 {
			t.Fatalf("parseAnswer(%q) = %q, %v, %v", line, got, ok, err)
		}
		for i, s := range want {
			if utf8.ValidString(s) && got[i] != s {
				t.Fatalf("field %d: %q comes back as %q", i, s, got[i])
			}
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(Frame{"ready"}.Answer(testKey, 0))
	f.Add("#pf 0 5 00000000 ready")
	f.Add("#pf ")
	f.Fuzz(func(t *testing.T, line string) {
		got, ok, err := parseAnswer(line, testKey, 0)
		if (!ok || err != nil) && got != nil {
			t.Fatalf("parseAnswer(%q) = %q, %v, %v", line, got, ok, err)
		}
		if ok && err == nil && !strings.HasSuffix(line, check(testKey, 0, got.Line())+" "+got.Line()) && !strings.Contains(line, `\u`) {
			t.Fatalf("parseAnswer(%q) = %q", line, got)
		}
	})
}
