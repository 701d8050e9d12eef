package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// Kind says what kind of trouble an [Error] is.
type Kind string

const (
	Unreachable     Kind = "unreachable"      // the name does not resolve, nothing listens, no answer in time, or the connection broke
	Untrusted       Kind = "untrusted"        // the server's certificate is not from the site's root, or names another host
	Rejected        Kind = "rejected"         // the client certificate was not accepted: a TLS alert, or 401
	NotAllowed      Kind = "not_allowed"      // 403 with a sentence: signed in, but not allowed
	MalformedHeader Kind = "malformed_header" // 403: the server misses X-Qlik-User or cannot read it
	WrongKey        Kind = "wrong_key"        // 403: the two xrfkeys did not arrive as they were sent
	HostNotAllowed  Kind = "host_not_allowed" // 400: the host name is not in the virtual proxy's host allow list
	LoginPage       Kind = "login_page"       // a web page, or the way to one, in place of data
	NotFound        Kind = "not_found"        // 404
	NotSent         Kind = "not_sent"         // 400: the central node could not send its certificates to the rim's 4444
	NoPassword      Kind = "no_password"      // the registration was started, but no password came back
	Conflict        Kind = "conflict"         // 409 to the end: somebody else keeps saving the same thing
	Malformed       Kind = "malformed"        // what came, or what was to be sent, is not what it has to be
	Refused         Kind = "refused"          // any other status
	Cancelled       Kind = "cancelled"        // the context ended: errors.Is tells which way
)

// Error is any failure of a [QRS]. Its text is one line, holds nothing that a terminal would obey and no secret, also
// where it quotes the server.
type Error struct {
	Kind   Kind
	Doing  string // what was being done: "creating the node qs-rim1"
	Status int    // of HTTP; 0 if no answer came
	Said   string // the server's own words if they tell something: one line, 200 characters at most, without HTML
	Hint   string // what to do, one short sentence, or nothing
	Err    error  // what happened
}

func (e *Error) Error() string {
	what := string(e.Kind)
	if e.Err != nil {
		what = e.Err.Error()
	}
	if e.Said != "" {
		what += fmt.Sprintf("; the server says %q", e.Said)
	}
	return e.Doing + ": " + what
}

func (e *Error) Unwrap() error { return e.Err }

// qrsHandshakeError is a TLS handshake that failed; asked tells that our certificate had been asked for.
type qrsHandshakeError struct {
	error
	asked bool
}

func (e *qrsHandshakeError) Unwrap() error { return e.error }

// qrsUntrustedError is a server's certificate that did not pass.
type qrsUntrustedError struct{ error }

// qrsAlert tells whether the server ended TLS by an alert.
func qrsAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// failure is the error for a request that got no answer.
func (q *QRS) failure(parent, ctx context.Context, limit time.Duration, err error) *Error {
	e := &Error{Kind: Unreachable}
	var handshake *qrsHandshakeError
	var untrusted *qrsUntrustedError
	var record tls.RecordHeaderError
	inHandshake := errors.As(err, &handshake)
	text := err.Error()
	shown := errors.New(printable.Line(text))
	ended := parent.Err()
	if d, ok := parent.Deadline(); ok && ended == nil && !time.Now().Before(d) {
		ended = context.DeadlineExceeded // net's own timer may be a little faster than the context's
	}
	switch {
	case ended != nil:
		e.Kind, e.Err = Cancelled, fmt.Errorf("ended before the answer came: %w", ended)
		return e
	case ctx.Err() != nil:
		e.Err = fmt.Errorf("no answer from %s within %s", printable.Line(q.o.Address), limit)
	case errors.As(err, &untrusted):
		e.Kind, e.Err = Untrusted, errors.New(printable.Line(untrusted.Error()))
	case errors.As(err, &record):
		e.Kind, e.Err = Malformed, fmt.Errorf("%s does not speak TLS", printable.Line(q.o.Address))
	case qrsAlert(err) && (inHandshake && handshake.asked || strings.Contains(text, "certificate")):
		e.Kind, e.Err = Rejected, fmt.Errorf("the client certificate is not accepted: %w", shown)
	case inHandshake && strings.Contains(text, "parse certificate"):
		e.Kind, e.Err = Untrusted, fmt.Errorf("the server's certificate cannot be read: %w", shown)
	case inHandshake:
		e.Err = fmt.Errorf("no TLS connection came to be: %w", shown)
		e.Hint = "TLS 1.2 or later has to be enabled on the central node"
		if handshake.asked {
			e.Hint = "a server that does not accept the client certificate may do this: check that it is this site's"
		}
		return e
	case strings.Contains(text, "malformed HTTP"): // the text goes on with what came
		e.Kind, e.Err = Malformed, errors.New("the answer is not HTTP")
	default:
		e.Err = fmt.Errorf("no answer: %w", shown)
	}
	e.Hint = q.hint(e.Kind)
	return e
}

// judge is the error for an answer, or nil for one that can be decoded.
func (q *QRS) judge(c qrsCall, a *qrsAnswer) *Error {
	e := &Error{Kind: Refused, Doing: c.doing, Status: a.status}
	words := a.words()
	contains := func(s string) bool { return strings.Contains(strings.ToLower(words), s) }
	what := "the request was refused"
	switch s := a.status; {
	case s < 300:
		switch {
		case len(a.body) > qrsMaxBody:
			e.Kind, what = Malformed, fmt.Sprintf("the answer is larger than %d MiB", qrsMaxBody>>20)
		case a.page():
			e.Kind, what = LoginPage, "a web page came in place of data"
		case s != 200 && (s != 201 || c.method != http.MethodPost) && c.method != http.MethodPut:
			e.Kind, what = Malformed, "the answer is not what was expected"
		default:
			return nil
		}
	case s < 400:
		where := a.where()
		what = "the answer is a redirect to " + where
		for _, w := range []string{"login", "authentication", "saml", "oidc"} {
			if strings.Contains(strings.ToLower(where), w) {
				e.Kind = LoginPage
			}
		}
	case s == 400 && contains("request header is incorrect"):
		e.Kind, what = HostNotAllowed, "the host name is not in the host allow list"
	case s == 400 && c.rim != "":
		e.Kind, what = NotSent, "the central node could not send them"
	case s == 401:
		e.Kind, what = Rejected, "the client certificate is not accepted"
	case s == 403 && contains("x-qlik-user"):
		e.Kind, what = MalformedHeader, "the header X-Qlik-User is missing or malformed"
	case s == 403 && contains("xsrf"):
		e.Kind, what = WrongKey, "the request's key did not arrive as it was sent"
	case s == 403 && words != "" && !a.page():
		e.Kind, what = NotAllowed, "signed in, but not allowed"
	case s == 404:
		e.Kind, what = NotFound, "not found"
	case s == 409:
		e.Kind, what = Conflict, "it was changed by somebody else at the same time"
	}
	what += fmt.Sprintf(" (HTTP %d", a.status)
	if server := a.masked(a.header.Get("Server")); server != "" && a.page() {
		what += ", server " + server // another one may have answered
	}
	e.Err = errors.New(what + ")")
	if e.Status >= 500 || e.Kind == Malformed {
		e.Err = c.inDoubt(e.Err)
	}
	if !c.quiet || a.status >= 300 || e.Kind == LoginPage && c.rim == "" {
		e.Said = a.said()
	}
	e.Hint = q.hint(e.Kind)
	if e.Kind == NotSent {
		e.Hint = c.reach()
	}
	return e
}

// hint is what to do about a kind of trouble.
func (q *QRS) hint(k Kind) string {
	host, port := printable.Line(q.o.Host), printable.Line(q.port)
	dialled, _, err := net.SplitHostPort(q.o.Address)
	if err != nil {
		dialled = q.o.Address
	}
	switch k {
	case Unreachable:
		return fmt.Sprintf("try on this machine: Test-NetConnection %s -Port %s; and on the central node: Get-Service QlikSenseRepositoryService", printable.Line(dialled), port)
	case Untrusted:
		return "check that the root certificate is this site's root.pem, that the address is the central node's, and that its host in the site file is the name in its certificate"
	case Rejected:
		return "use client.pem and client_key.pem of this site, as its central node exports them"
	case NotAllowed:
		return "the server's sentence tells why; neither a password nor the firewall changes it"
	case MalformedHeader, WrongKey:
		return "dial the repository service itself, port 4242, with nothing in between that changes requests"
	case HostNotAllowed:
		return fmt.Sprintf("add %s to the virtual proxy's host allow list in the QMC, or dial the repository service itself, port 4242", host)
	case LoginPage:
		return "this is a login form or another web server: dial the repository service of the central node, port 4242"
	case NotFound:
		return "it was deleted, or this release does not have it: look in the QMC"
	case NoPassword:
		return "start the registration again"
	case Conflict:
		return "wait until nobody else is saving it in the QMC and try again"
	case Malformed:
		return fmt.Sprintf("check that port %s is the repository service of the central node", port)
	}
	return ""
}

// page tells whether the answer is a web page.
func (a *qrsAnswer) page() bool {
	return bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")) ||
		strings.Contains(strings.ToLower(a.header.Get("Content-Type")), "html") && len(a.body) > 0 && !json.Valid(a.body)
}

// where is the address of a redirect, without its query, which may hold the key.
func (a *qrsAnswer) where() string {
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		return "somewhere unreadable"
	}
	return a.masked((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + strings.TrimPrefix(u.Path, "/")}).String())
}

var qrsTags = regexp.MustCompile(`(?is)<script\b.*?</script\s*>|<style\b.*?</style\s*>|<!--.*?-->|</?[a-z!?][^>]*(?:>|$)`)

// words are the server's words on one line, without HTML.
func (a *qrsAnswer) words() string { return words(string(a.body[:min(len(a.body), 64<<10)])) }

// words are those of a page, on one line.
func words(s string) string {
	s = html.UnescapeString(qrsTags.ReplaceAllString(s, " "))
	s = qrsTags.ReplaceAllString(s, " ") // again, as they may have been escaped
	return strings.Join(strings.Fields(s), " ")
}

// said is the part of the words that an error shows.
func (a *qrsAnswer) said() string {
	s := []rune(a.masked(a.words()))
	if len(s) > 200 {
		s = append(s[:199], '…')
	}
	return string(s)
}

// masked makes one line of a text, without the request's key.
func (a *qrsAnswer) masked(s string) string {
	key := regexp.MustCompile("(?i)" + regexp.QuoteMeta(a.key))
	return printable.Line(key.ReplaceAllLiteralString(printable.Text(s), "********"))
}
