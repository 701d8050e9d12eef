package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/secret"
)

// SetupLimit is how long one Setup works at most: time enough for somebody to do their part by hand.
const SetupLimit = 30 * time.Minute

// Setup is a running conversation with the repository service of a rim, on the rim itself: one process there, which does
// one thing after the other as it is asked. Its methods are for one goroutine.
type Setup struct {
	c     *Call
	given []secret.Text // to the server: none of its words may hold one
}

// StartSetup starts it. It ends with Close, with ctx, or after SetupLimit.
func StartSetup(ctx context.Context, r Runner) *Setup {
	return &Setup{c: Start(ctx, r, SetupOp, SetupLimit)}
}

// State asks the repository service for its state. It is unknown, with the reason, if the service does not answer or
// answers something else. The error is the conversation's: it has ended.
func (s *Setup) State() (facts.Value[facts.ServiceState], error) {
	s.c.Send("state")
	f, err := s.answer("state")
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return facts.Unknown[facts.ServiceState](printable.Line(refused.Message)), nil
	case err != nil:
		return facts.Unknown[facts.ServiceState](printable.Line(err.Error())), err
	}
	return parseState(f.Field(1), f.Field(2)), nil
}

// Listening are the TCP ports that somebody listens on, at whatever address.
func (s *Setup) Listening() (map[uint16]bool, error) {
	s.c.Send("ports")
	f, err := s.answer("ports")
	if err != nil {
		return nil, err
	}
	ports := map[uint16]bool{}
	for n := range strings.FieldsSeq(f.Field(1)) {
		port, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: not a port: %s", SetupOp.Name, printable.Line(n))
		}
		ports[uint16(port)] = true
	}
	return ports, nil
}

// Unlock gives the repository service the one-time password: POST http://localhost:4570/certificateSetup, form field
// __pwd (ahaydon/Qlik-Cli-Windows, node.ps1; the port is open to the server itself alone, and only between the arrival of
// the certificate and its unlocking: help.qlik.com, Qlik Sense 2.1, "Certificate trust: requirements"). text is the page
// that came back, without the password, whatever form it stands there in. An error that is a *Error is the server's word
// that the exchange failed; whether the password arrived is then not known.
func (s *Setup) Unlock(password secret.Text) (status int, text string, err error) {
	s.given = append(s.given, password)
	s.c.Send("unlock")
	s.c.SendSecret(password)
	f, err := s.answer("unlock")
	if err != nil {
		return 0, "", err
	}
	status, err = strconv.Atoi(f.Field(1))
	if err != nil {
		return 0, "", fmt.Errorf("%s: not an HTTP status: %s", SetupOp.Name, printable.Line(without(f.Field(1), password)))
	}
	page := []rune(without(f.Field(2), password))
	if len(utf16.Encode([]rune(f.Field(2)))) >= pageSent {
		page = page[:min(len(page), pageSent-1000)] // half a password may stand at its end
	}
	return status, string(page), nil
}

// pageSent is how many characters of a page come back at most (http.ps1).
const pageSent = 4000

// Close ends the conversation.
func (s *Setup) Close() error {
	if err := s.c.Close(); err != nil {
		return hidden{s.hide(err.Error()), err}
	}
	return nil
}

// answer is the next frame, which has to be of one kind. The error is a *Error only if the script says that this one thing
// failed, and goes on.
func (s *Setup) answer(kind string) (Frame, error) {
	f, err := s.next(kind)
	if err != nil {
		return nil, hidden{s.hide(err.Error()), err}
	}
	return f, nil
}

// hide is a text without what was given to the server.
func (s *Setup) hide(text string) string {
	for _, p := range s.given {
		text = without(text, p)
	}
	return text
}

// hidden is an error in other words.
type hidden struct {
	text string
	error
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.error }

func (s *Setup) next(kind string) (Frame, error) {
	f, err := s.c.Next()
	var said *Error
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("%s: %w", SetupOp.Name, ErrEnded)
	case errors.As(err, &said):
		said.Message = s.hide(said.Message)  // before it is cut short
		return nil, errors.New(said.Error()) // the script as a whole failed
	case err != nil:
		return nil, err
	case f.Kind() == "failed" && f.Field(1) == kind:
		return nil, &Error{Op: SetupOp.Name, Type: f.Field(2), HResult: f.Field(3), Message: s.hide(f.Field(5))}
	case f.Kind() != kind:
		return nil, fmt.Errorf("%s: an answer to something else: %s", SetupOp.Name, printable.Line(s.hide(f.Kind())))
	}
	return f, nil
}

// without is a text in which a secret is not to be read any more.
func without(text string, s secret.Text) string { return eraser(s, s.String())(text) }

// eraser puts mask in the place of a secret in a text, where that stands as it is and as it stands in an address, in HTML
// or in JSON. .NET and others do not agree on what they write there otherwise, so each character may be in any form.
func eraser(s secret.Text, mask string) func(text string) string {
	switch n := len(s); {
	case n == 0:
		return func(text string) string { return text }
	case n > 1000: // no password, but what would take long
		return func(string) string { return "" }
	}
	var whole strings.Builder
	for _, c := range s.Reveal() {
		forms := []string{fmt.Sprintf(`&#0*%d;`, c), fmt.Sprintf(`(?i:&#x0*%x;)`, c)}
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) || c > unicode.MaxASCII {
			forms = append(forms, `&[A-Za-z][A-Za-z0-9]*;`)
		}
		var percent, units string
		for _, b := range []byte(string(c)) {
			percent += fmt.Sprintf("%%%02x", b)
		}
		for _, u := range utf16.Encode([]rune{c}) {
			units += fmt.Sprintf(`\\u%04x`, u)
		}
		forms = append(forms, `(?i:`+percent+`|`+units+`)`, `\\?`+regexp.QuoteMeta(string(c)))
		if c == ' ' {
			forms = append(forms, `\+`)
		}
		whole.WriteString(`(?:` + strings.Join(forms, "|") + `)`)
	}
	form := regexp.MustCompile(whole.String())
	return func(text string) string { return form.ReplaceAllLiteralString(text, mask) }
}
