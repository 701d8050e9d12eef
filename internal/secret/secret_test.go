package secret_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/internal/secret"
)

const canary = "correct horse \"battery\" st\u00e4ple"

const text = secret.Text(canary)

// hidden checks that nothing of the secret is to be read, and that something says that there is one.
func hidden(t *testing.T, how, got string) {
	t.Helper()
	for _, s := range []string{"horse", "battery", hex.EncodeToString([]byte("horse")), strings.ToUpper(hex.EncodeToString([]byte("horse"))), "68 6f", "104 111"} {
		if strings.Contains(got, s) {
			t.Errorf("%s shows the secret: %s", how, got)
		}
	}
	if !strings.Contains(got, "********") {
		t.Errorf("%s = %s; want the mask", how, got)
	}
}

type account struct {
	User     string
	Password secret.Text
}

func TestHidden(t *testing.T) {
	t.Parallel()
	cause := errors.New("access is denied")
	for _, v := range []any{
		text, account{"u", text}, []secret.Text{text}, [1]secret.Text{text}, map[string]secret.Text{"p": text}, &account{"u", text},
		struct{ A account }{account{"u", text}}, []any{text},
		fmt.Errorf("signing in with %v: %w", text, cause), fmt.Errorf("signing in with %q: %w", []secret.Text{text}, cause),
		fmt.Errorf("twice: %w", fmt.Errorf("signing in as %+v: %w", account{"u", text}, cause)),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%10s", "%.3s", "%-40v|", "%U", "%c"} {
			if _, ok := v.(error); ok && strings.ContainsAny(verb, "xX#.dUc") {
				continue // those write the error's text in another form, or not all of it
			}
			hidden(t, fmt.Sprintf("%s of %T", verb, v), fmt.Sprintf(verb, v))
		}
		if _, ok := v.(error); ok {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%T as JSON: %v", v, err)
		}
		hidden(t, fmt.Sprintf("JSON of %T", v), string(b))
	}
	hidden(t, "Sprint", fmt.Sprint(text))
	hidden(t, "Sprintln", fmt.Sprintln("a", text))
	hidden(t, "an argument too many", fmt.Sprintf(string([]byte("x")), text))
	hidden(t, "String", text.String())
	b, err := xml.Marshal(account{"u", text})
	if err != nil {
		t.Error(err)
	}
	hidden(t, "XML", string(b))
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"a log as text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"a log as JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("signing in", "password", text, "account", account{"u", text})
		hidden(t, name, out.String())
	}
}

func TestReveal(t *testing.T) {
	t.Parallel()
	if got := text.Reveal(); got != canary {
		t.Errorf("Reveal = %q", got)
	}
	// An empty one looks no different, and none has the length of the secret.
	if a, b := fmt.Sprint(secret.Text("")), fmt.Sprint(secret.Text(strings.Repeat("x", 100))); a != b {
		t.Errorf("%s and %s", a, b)
	}
}
