package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/internal/lab"
)

// spellings are a secret in every form in which it could slip out.
func spellings(secret string) []string {
	var wide []byte
	for _, u := range utf16.Encode([]rune(secret)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	forms := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), string(wide)}
	for _, raw := range []string{secret, lab.User + ":" + secret, string(wide)} {
		// Base64 of a longer text shows the secret at one of three shifts; of each, what does not depend on its neighbours.
		for shift := range 3 {
			b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + raw))
			forms = append(forms, strings.TrimRight(b[4*((shift+2)/3):], "=")[:len(raw)-3])
		}
	}
	return forms
}

// TestSecrets: no password, one-time password or client key stands in nothing that any command prints or leaves, right or wrong.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"clean", "gpo-merge-off", "wrong-password", "winrm-down"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{Scenario: scenario})
			var said strings.Builder
			say := func(stdin string, args ...string) {
				o := preflight(t, stdin, args...)
				said.WriteString(o.stdout + o.stderr)
			}
			work := func(command string, args ...string) {
				say(s.Password()+"\n", append([]string{command, "--runs", s.runs, "--password-stdin"}, args...)...)
			}
			for _, format := range []string{"text", "json", "jsonl"} {
				work("check", "-f", s.files.Site, "-v", "-o", format)
			}
			work("plan", "-f", s.files.Site, "-v")
			work("apply", "last", "--approve", "000000000000")
			if d := s.last(t).Change.PlanSHA256; d != "" {
				work("apply", "last", "--approve", d)
			}
			work("verify", "last")
			for _, format := range []string{"text", "json", "jsonl"} {
				work("join", append([]string{"last", "-v", "-o", format}, s.certificate()...)...)
			}
			// The wrong file each.
			work("join", "last", "--qrs-auth", "certificate", "--qrs-cert", s.files.QRSKey, "--qrs-key", s.files.QRSKey)
			work("join", "last", "--qrs-auth", "certificate", "--qrs-cert", s.files.QRSCert, "--qrs-key", s.files.Password)
			work("join", "last", "--qrs-auth", s.files.QRSKey)
			say("", "check", "-f", s.files.QRSKey)
			say("", "demo", "--headless", "--runs", filepath.Join(s.runs, "demo"))
			work("verify", "-f", s.files.Site, "--listen")
			work("backout", "last")
			work("backout", "last", "--confirm-outage", "lab")
			for _, format := range []string{"text", "json", "jsonl", "ticket"} {
				work("report", "last", "-o", format)
			}
			// Twice the password, as one does who answers a prompt that is not there.
			say(s.Password()+"\n"+s.Password()+"\n", "check", "--runs", s.runs, "--password-stdin", "-f", s.files.Site)
			// The program's own words about a password file that is none.
			say("", "check", "--runs", s.runs, "-f", s.files.Password)
			say("", "lab", "--write", s.files.Password)

			forms := spellings(s.Password())
			if once := s.OneTimePasswords(); scenario == "clean" && len(once) == 0 {
				t.Error("no one-time password was given")
			}
			for _, p := range s.OneTimePasswords() {
				forms = append(forms, spellings(p)...)
				forms = append(forms, strings.ReplaceAll(url.QueryEscape(p), "+", "%20"))
			}
			key, err := os.ReadFile(s.files.QRSKey)
			block, _ := pem.Decode(key)
			if err != nil || block == nil {
				t.Fatalf("no key: %v", err)
			}
			// Any 30 bytes of the key in a row, after what every such key begins with.
			for at := 36; at+30 < len(block.Bytes); at += 30 {
				forms = append(forms, spellings(string(block.Bytes[at:at+30]))...)
			}
			for line := range strings.Lines(string(key)) {
				if !strings.HasPrefix(line, "-") {
					forms = append(forms, strings.TrimSpace(line))
				}
			}
			search := func(where, text string) {
				for _, form := range forms {
					if i := strings.Index(text, form); i >= 0 {
						t.Errorf("%s holds a secret as %q: …%q", where, form, text[max(0, i-80):i])
					}
				}
			}
			search("what was printed", said.String())
			files, kept := 0, ""
			err = filepath.WalkDir(s.runs, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				files++
				text, err := os.ReadFile(path)
				search(path, string(text))
				if strings.HasSuffix(path, "-setup.txt") {
					kept += string(text)
				}
				return err
			})
			if err != nil || files < 10 {
				t.Errorf("%d files were searched (%v)", files, err)
			}
			// What was said while the one-time passwords were given is among them.
			if n := strings.Count(kept, " > unlock\n"); scenario == "clean" && n == 0 || n != strings.Count(kept, " > <redacted>\n") {
				t.Errorf("the transcripts have %d unlocks:\n%s", n, kept)
			}
		})
	}
}

// TestSpellings: the search finds what it is to find.
func TestSpellings(t *testing.T) {
	t.Parallel()
	const secret = "p/ss wörd&canary"
	var wide []byte
	for _, u := range utf16.Encode([]rune(secret)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	for name, text := range map[string]string{
		"plain":              "x" + secret + "y",
		"url":                "pwd=" + url.QueryEscape(secret),
		"hex":                hex.EncodeToString([]byte(secret)),
		"basic":              base64.StdEncoding.EncodeToString([]byte(lab.User + ":" + secret)),
		"base64":             base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64, shifted":    base64.StdEncoding.EncodeToString([]byte("1" + secret + "2")),
		"base64, shifted on": base64.StdEncoding.EncodeToString([]byte("12" + secret + "2")),
		"encoded command":    base64.StdEncoding.EncodeToString(wide),
	} {
		found := false
		for _, form := range spellings(secret) {
			found = found || strings.Contains(text, form)
		}
		if !found {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
}

// TestPasswords: where a password comes from, and what is said where there is none.
func TestPasswords(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{Rims: 2})
	site, err := os.ReadFile(s.files.Site)
	if err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(filepath.Dir(s.files.Site), "two.yaml")
	// The last node has a user of its own.
	text := strings.TrimRight(string(site), "\n")
	at := strings.LastIndex(text, "  winrm:\n")
	text = text[:at] + "  winrm:\n    user: LAB\\other\n" + text[at+len("  winrm:\n"):]
	if err := os.WriteFile(two, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"none", "", []string{"-f", s.files.Site}, 2, `error: the password of LAB\qs-admin is missing`},
		{"none, and no question allowed", "", []string{"-f", s.files.Site, "--no-input"}, 2, "hint: give it with --password-stdin, or in a file that PREFLIGHT_PASSWORD_FILE names"},
		{"empty", "\n", []string{"-f", s.files.Site, "--password-stdin"}, 2, "is empty"},
		{"nothing at all", "", []string{"-f", s.files.Site, "--password-stdin"}, 2, "is empty"},
		{"two lines for one user", "a\nb\n", []string{"-f", s.files.Site, "--password-stdin"}, 2, `standard input holds 2 lines for 1 user`},
		{"one line for two users", "a\n", []string{"-f", two, "--password-stdin"}, 2, `hint: one line for each user: LAB\qs-admin, LAB\other`},
		{"line ends of Windows", s.Password() + "\r\n", []string{"-f", s.files.Site, "--password-stdin"}, 3, ""},
		{"no line end", s.Password(), []string{"-f", s.files.Site, "--password-stdin"}, 3, ""},
		{"two users, one wrong", s.Password() + "\nwrong\n", []string{"-f", two, "--password-stdin"}, 4, "rejected"},
	} {
		o := preflight(t, test.stdin, append([]string{"check", "--runs", s.runs}, test.args...)...)
		if o.code != test.code || !strings.Contains(o.stdout+o.stderr, test.says) {
			t.Errorf("%s: exit code %d, want %d, with %q:\n%s%s", test.name, o.code, test.code, test.says, o.stdout, o.stderr)
		}
	}
}

// TestPrompt: on a terminal the password is asked for once for each user, and is not seen; an interrupt ends the question,
// and --no-input allows none. The terminal is left as it was.
func TestPrompt(t *testing.T) {
	t.Parallel()
	s := newLab(t, lab.Options{})
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	restored := func(what string) {
		t.Helper()
		if now, err := term.GetState(int(terminal.Fd())); err != nil || !reflect.DeepEqual(before, now) {
			t.Errorf("%s: the terminal is not as it was (%v)", what, err)
		}
	}
	typed := func(ctx context.Context, text string, then func()) (outcome, string) {
		var stdout, stderr strings.Builder
		asked := make(chan string, 1)
		var mu sync.Mutex // an interrupted question may still be written while the program says that it ends
		w := writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(string(p), "Password of ") {
				select {
				case asked <- string(p):
				default:
				}
			}
			return stderr.Write(p)
		})
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"check", "--runs", s.runs, "-f", s.files.Site}, terminal, &stdout, w)
		}()
		question := <-asked
		if now, err := term.GetState(int(terminal.Fd())); err != nil || reflect.DeepEqual(before, now) {
			t.Errorf("the terminal is as it was while the password is typed (%v)", err)
		}
		master.WriteString(text)
		then()
		return outcome{<-code, stdout.String(), stderr.String()}, question
	}
	o, question := typed(t.Context(), "\r"+s.Password()+"\r", func() {}) // empty: asked again
	if o.code != 3 || strings.TrimSpace(question) != `Password of LAB\qs-admin:` || strings.Count(o.stderr, question) != 2 {
		t.Errorf("exit code %d, want 3, asked %q:\n%s", o.code, question, o.stderr)
	}
	restored("answered")
	if o, _ := typed(t.Context(), "half\x03", func() {}); o.code != 130 {
		t.Errorf("ctrl+c: exit code %d, want 130\n%s", o.code, o.stderr)
	}
	restored("ctrl+c")
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"check", "--runs", s.runs, "-f", s.files.Site, "--no-input", "--timeout", "10s"}, terminal, &stdout, &stderr); code != 2 || strings.Contains(stderr.String(), "Password of ") {
		t.Errorf("--no-input: exit code %d, want 2, without a question:\n%s", code, &stderr)
	}
	restored("--no-input")
	ctx, interrupt := context.WithCancel(t.Context())
	if o, _ := typed(ctx, "", interrupt); o.code != 130 {
		t.Errorf("interrupted: exit code %d, want 130\n%s", o.code, o.stderr)
	}
	restored("interrupted")
	terminal.WriteString("end")
	seen := make([]byte, 4096)
	n, err := master.Read(seen)
	if err != nil || strings.Contains(string(seen[:n]), s.Password()) {
		t.Errorf("the terminal shows %q (%v)", seen[:n], err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
