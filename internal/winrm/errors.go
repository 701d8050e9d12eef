package winrm

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// Kind says what kind of trouble an [Error] is.
type Kind string

const (
	KindNoName          Kind = "no_name"          // the host name does not resolve
	KindNoRoute         Kind = "no_route"         // there is no way to it from here
	KindRefused         Kind = "refused"          // the host is up and nothing listens on the port
	KindTimeout         Kind = "timeout"          // no answer in time, or the context's deadline passed
	KindNotTLS          Kind = "not_tls"          // the port is open but no TLS came to be
	KindCertificate     Kind = "certificate"      // its certificate cannot be verified
	KindPin             Kind = "pin"              // its certificate is not the pinned one, or the pin itself is no use
	KindNotWinRM        Kind = "not_winrm"        // something else answered
	KindRejected        Kind = "rejected"         // HTTP 401: these credentials, or this way to sign in, are not accepted
	KindNotAllowed      Kind = "not_allowed"      // signed in, but without the right to run commands
	KindQuota           Kind = "quota"            // the server is at one of its limits
	KindFault           Kind = "fault"            // any other refusal in the protocol's own terms
	KindLost            Kind = "lost"             // the server went away: whether a command ran, or ran to its end, is not known
	KindRefusedInsecure Kind = "refused_insecure" // this package refused to send a credential unprotected
	KindCancelled       Kind = "cancelled"        // this side ended it
)

// Error is any failure of this package. Its text is one line and holds nothing that a terminal would obey, also where
// it quotes the server.
type Error struct {
	Kind        Kind
	Server      string
	Doing       string       // what was being done: "signing in"
	Code        string       // the number of the fault, if the server gave one
	Certificate *Certificate // what the server showed, if that is what it is about
	Err         error
	Hints       []string // what may help, one thing each, most of it to be typed on the server
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Server, e.Doing, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// The numbers of the faults that mean something to this package (wsmerror.h; system error codes).
const (
	codeTimedOut        = "2150858793" // no output within OperationTimeout
	codeNoSuchShell     = "2150858843" // the shell is gone, or the command is; the number does not tell which
	codeShellClosed     = "2150859082"
	codeMaxShells       = "2150859173"
	codeMaxOperations   = "2150859174"
	codeUserQuota       = "2150859175"
	codeSystemQuota     = "2150859176"
	codeMaxUsers        = "2150859179"
	codeNoRemoteShells  = "2150859180"
	codeNoRemoteAccess  = "2150859229"
	codeAccessDenied    = "5"
	codeAccessDeniedCOM = "2147942405" // the same as an HRESULT
	codeCommandTooLong  = "2147942606"
)

// faultError is the error for a fault of the server.
func (w *wire) faultError(doing string, f *fault) *Error {
	e := &Error{Kind: KindFault, Server: w.server, Doing: doing, Code: f.code, Hints: faultHints(f.code)}
	switch f.code {
	case codeAccessDenied, codeAccessDeniedCOM:
		e.Kind = KindNotAllowed
		e.Err = fmt.Errorf("user name and password are right, but access is denied (fault %s)", f.code)
		return e
	case codeNoRemoteShells, codeNoRemoteAccess:
		e.Kind = KindNotAllowed
	case codeMaxShells, codeMaxOperations, codeUserQuota, codeSystemQuota, codeMaxUsers:
		e.Kind = KindQuota
	}
	name := f.code
	if name == "" {
		name = f.name
	}
	e.Err = fmt.Errorf("the server answered %q (fault %s)", strings.TrimRight(clean(f.text, 500), ". "), clean(name, 100))
	return e
}

func faultHints(code string) []string {
	switch code {
	case codeAccessDenied, codeAccessDeniedCOM:
		return []string{
			`use an account that is a member of the server's Administrators group`,
			`for a local account other than the built-in Administrator, on the server: reg add HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v LocalAccountTokenFilterPolicy /t REG_DWORD /d 1`,
		}
	case codeNoRemoteShells:
		return []string{`on the server: winrm set winrm/config/winrs '@{AllowRemoteShellAccess="true"}' (a Group Policy may set it)`}
	case codeNoRemoteAccess:
		return []string{`have the Group Policy "Allow remote server management through WinRM" set for the server`}
	case codeMaxShells:
		return []string{
			`wait until shells left behind end by themselves, or close them on the server: Get-WSManInstance -ResourceURI shell -Enumerate`,
			`on the server: winrm set winrm/config/winrs '@{MaxShellsPerUser="30"}'`,
		}
	case codeMaxUsers:
		return []string{`on the server: winrm set winrm/config/winrs '@{MaxConcurrentUsers="10"}', or try again later`}
	case codeMaxOperations, codeUserQuota, codeSystemQuota:
		return []string{`wait a minute and try again`}
	case codeNoSuchShell, codeShellClosed:
		return []string{`the shell is gone, for instance because the WinRM service was restarted: connect again`}
	case codeCommandTooLong:
		return []string{`a command line may have 8191 characters: send what is longer on standard input`}
	}
	return nil
}

// rejected is the error for a 401.
func (w *wire) rejected(doing string, resp *http.Response) *Error {
	offered := schemes(resp.Header)
	e := &Error{Kind: KindRejected, Server: w.server, Doing: doing}
	basic := slices.ContainsFunc(offered, func(s string) bool { return strings.EqualFold(s, "Basic") })
	switch {
	case len(offered) == 0:
		e.Err = errors.New("user name or password rejected (HTTP 401)")
	case !basic:
		e.Err = fmt.Errorf("sign-in by Basic rejected (HTTP 401; the server offers %s)", strings.Join(offered, ", "))
		e.Hints = []string{`Basic is off on this server, as it is by default; on the server: winrm set winrm/config/service/auth '@{Basic="true"}'`}
	default:
		e.Err = fmt.Errorf("user name or password rejected (HTTP 401; the server offers %s)", strings.Join(offered, ", "))
		e.Hints = []string{`check the user name and the password; every further try counts towards a lock-out`}
	}
	e.Hints = append(e.Hints, `Basic knows the server's local accounts only, not those of a domain`)
	return e
}

// notWinRM is the error for an answer that is not in the protocol: a proxy's, a web server's, HTTP.sys's own.
func (w *wire) notWinRM(doing string, resp *http.Response, why string) *Error {
	e := &Error{Kind: KindNotWinRM, Server: w.server, Doing: doing}
	server := resp.Header.Get("Server")
	if server == "" {
		server = "unnamed"
	}
	e.Err = fmt.Errorf("not an answer of WinRM: %s (%s; server %s)", why, clean(resp.Status, 100), clean(server, 100))
	switch resp.StatusCode {
	case http.StatusNotFound:
		e.Hints = []string{
			`another web server or a reverse proxy may own the port`,
			`on the server, URLPrefix has to be wsman: winrm enumerate winrm/config/listener`,
		}
	case http.StatusServiceUnavailable:
		e.Hints = []string{
			`on the server, elevated: Restart-Service WinRM`,
			fmt.Sprintf(`on the server: netsh http show urlacl url=%s://+:%s/wsman/`, w.scheme, w.port),
		}
	default:
		e.Hints = []string{fmt.Sprintf(`check that port %s is the server's WinRM and that no proxy stands in between`, w.port)}
	}
	return e
}

// inDoubt turns an error that happened while a command was running into one of kind lost, unless it says something
// else worth knowing.
func inDoubt(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case KindNoName, KindNoRoute, KindRefused, KindNotTLS, KindNotWinRM, KindLost:
	case KindTimeout:
		if !errors.Is(err, errSlow) {
			return err // the caller's deadline
		}
	case KindFault:
		if e.Code != codeNoSuchShell && e.Code != codeShellClosed {
			return err
		}
	default:
		return err
	}
	lost := *e
	lost.Kind = KindLost
	lost.Err = fmt.Errorf("connection lost, whether the command ran to its end is not known: %w", e.Err)
	lost.Hints = []string{`find out on the server what the command has done before running it again`}
	return &lost
}

// clean makes a text of the server fit to be printed: one line, no control or format characters, at most max of them.
func clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	runes := []rune(strings.Join(strings.Fields(s), " "))
	if len(runes) > max {
		runes = append(runes[:max-3], []rune("...")...)
	}
	return string(runes)
}
