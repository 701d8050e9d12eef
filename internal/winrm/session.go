package winrm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	masterzen "github.com/masterzen/winrm"
)

const (
	endLimit = 3 * time.Second        // for the messages that tidy up
	endWait  = 500 * time.Millisecond // how much of it Run waits for
	// inputGrace is how long a command of which the input failed may take to say why.
	inputGrace = 2 * time.Second
	// pace is the least time between two requests for output of which the first brought nothing.
	pace = 100 * time.Millisecond
	// chunk is the most input that one message carries: in base64 far below what any Windows accepts.
	chunk = 32 << 10
)

// Look finds out what answers at ep. It shows no credential, so it locks out no account. Over plain HTTP what it
// returns is only what somebody claims.
func Look(ctx context.Context, ep Endpoint) (Identity, error) {
	const doing = "asking who it is"
	w, err := newWire(ep)
	if err != nil {
		return Identity{}, err
	}
	defer w.close()

	resp, body, err := w.post(ctx, doing, identifyMessage, http.Header{"WSMANIDENTIFY": {"unauthenticated"}})
	var e *Error
	if errors.As(err, &e) && e.Kind == KindLost {
		e.Kind = KindNotWinRM // WinRM would have answered
	}
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	if resp.TLS != nil {
		id.Certificate = describe(resp.TLS.PeerCertificates[0])
		id.Verified = w.verified()
	}
	if resp.StatusCode != http.StatusUnauthorized {
		a, err := w.read(doing, resp, body)
		if err != nil {
			return Identity{}, err
		}
		if !a.identified {
			return Identity{}, w.notWinRM(doing, resp, "the answer is to something else")
		}
		id.Vendor, id.Version = a.vendor, a.version
		// Without the header it is an ordinary request that nobody has signed.
		if resp, body, err = w.post(ctx, doing, identifyMessage, nil); err != nil {
			return Identity{}, err
		}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		id.Schemes = schemes(resp.Header)
		// WinRM's own 401 is empty; a log-in page's is not.
		if len(id.Schemes) == 0 || id.Vendor == "" && len(body) > 0 {
			return Identity{}, w.notWinRM(doing, resp, "something else asks for a sign-in")
		}
	}
	return id, nil
}

func (w *wire) verified() string {
	if w.pinned {
		return "pinned"
	}
	return "verified"
}

// Session is a signed-in session with one server: one shell, in which one command runs at a time. It is safe for use
// by several goroutines.
type Session struct {
	wire   *wire
	params *masterzen.Parameters
	shell  string
	signIn SignIn

	turn   chan struct{} // holds a token while a command runs
	once   sync.Once
	closed error
}

// Dial signs in to the server at ep and opens a shell there, which proves the right to run commands as well. It tries
// the credential once: a rejection is final, so one call counts once towards a lock-out. A credential for Basic is not
// sent over plain HTTP; that is an error of KindRefusedInsecure before anything is sent at all.
//
// The caller closes the session. If the context ends while the server is answering, a shell may be left on it for the
// three minutes after which the server deletes it by itself.
func Dial(ctx context.Context, ep Endpoint, cred Credential) (*Session, error) {
	const doing = "signing in"
	w, err := newWire(ep)
	if err != nil {
		return nil, err
	}
	if !ep.HTTPS {
		w.close()
		return nil, &Error{
			Kind: KindRefusedInsecure, Server: w.server, Doing: doing,
			Err:   errors.New("user name and password are not sent over plain HTTP"),
			Hints: append([]string{`use HTTPS (port 5986)`}, w.listenerHints()...),
		}
	}
	w.authorise = func(req *http.Request) { req.SetBasicAuth(cred.User, cred.Password.Reveal()) }

	s := &Session{
		wire:   w,
		params: parameters(ep.operationTimeout()),
		signIn: SignIn{User: cred.User, Auth: "basic", Transport: w.scheme, Protection: "tls", Identity: w.verified()},
		turn:   make(chan struct{}, 1),
	}
	a, err := w.call(ctx, doing, createMessage(w.url, s.params))
	if err == nil && a.shell == "" {
		err = &Error{Kind: KindFault, Server: w.server, Doing: doing, Err: errors.New("the server made a shell without an id")}
	}
	if err != nil {
		w.close()
		return nil, err
	}
	s.shell = a.shell
	return s, nil
}

// SignIn says how the session signed in.
func (s *Session) SignIn() SignIn { return s.signIn }

// Format prints the session's server and user. Without it, fmt would print what it finds in the connection's buffers,
// where the password is.
func (s *Session) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "WinRM session with %s as %s", s.wire.server, s.signIn.User)
}

// Run runs one command line in the session's shell, through cmd.exe, and returns its exit code once the server has
// said that it ended and all its output is written. With an error the exit code is -1.
//
// Input is a stream: what one Read of stdin returns is sent before the next Read, and the end of stdin is the end of
// the command's input. Nil is no input. A nil stdout or stderr drops that output. Nothing is written after Run has
// returned, but a Read of stdin may still be under way: Run does not wait for it, so the caller closes the other end
// of a pipe. What that Read returns is lost.
//
// Input that the server does not take is not sent again. If the command then ends by itself, it did not need it and Run
// returns the exit code; otherwise it is ended and the failure returned.
//
// When ctx ends, Run returns within a second, whatever the server does, having told it to end the command; that goes
// on in the background for a few seconds at most. An error of KindLost means that it is not known whether the command
// ran to its end.
func (s *Session) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (exitCode int, err error) {
	const doing = "running a command"
	escaped, err := escape(command)
	if err != nil {
		return -1, s.error(KindFault, doing, err)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return -1, s.wire.fail(ctx, ctx, doing, ctx.Err())
	}

	id, err := s.start(ctx, escaped)
	if err != nil {
		return -1, err
	}
	defer s.terminate(ctx, id)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.feed(ctx, cancel, id, stdin)
	code, err := s.drain(ctx, id, stdout, stderr)
	if err != nil {
		return -1, inDoubt(err)
	}
	return code, nil
}

// start starts a command and returns its id. If ctx ends first, the answer is still waited for, in the background and
// for a short time, so that a command that did start is ended.
func (s *Session) start(ctx context.Context, escaped string) (id string, err error) {
	const doing = "starting a command"
	type result struct {
		answer
		err error
	}
	results, gone := make(chan result), make(chan struct{})
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(gone)
		defer cancel()
		a, err := s.wire.call(request, doing, commandMessage(s.wire.url, s.shell, escaped, s.params))
		select {
		case results <- result{a, err}:
		case <-ctx.Done():
			if err == nil && a.command != "" {
				s.terminate(ctx, a.command)
			}
		}
	}()

	select {
	case r := <-results:
		var e *Error
		switch {
		case errors.As(r.err, &e) && e.Kind == KindFault:
			return "", r.err // refused, so nothing runs
		case r.err != nil:
			return "", inDoubt(r.err)
		case r.command == "":
			return "", s.error(KindLost, doing, errors.New("the server started a command without an id"))
		}
		return r.command, nil
	case <-ctx.Done():
		time.AfterFunc(endLimit, cancel)
		select {
		case <-gone:
		case <-time.After(endWait):
		}
		return "", s.wire.fail(ctx, ctx, doing, ctx.Err())
	}
}

// drain writes the command's output until it has ended.
func (s *Session) drain(ctx context.Context, command string, stdout, stderr io.Writer) (int, error) {
	const doing = "reading a command's output"
	to := map[string]io.Writer{"stdout": stdout, "stderr": stderr}
	for {
		if ctx.Err() != nil {
			return 0, s.wire.fail(ctx, ctx, doing, ctx.Err())
		}
		asked := time.Now()
		a, err := s.wire.call(ctx, doing, masterzen.NewGetOutputRequest(s.wire.url, s.shell, command, "stdout stderr", s.params).String())
		var e *Error
		if errors.As(err, &e) && e.Code == codeTimedOut {
			err = nil // there is none yet
		}
		if err != nil {
			return 0, err
		}
		for _, o := range a.output {
			if to[o.stream] == nil {
				continue
			}
			if _, err := to[o.stream].Write(o.data); err != nil {
				return 0, s.error(KindCancelled, "writing a command's output", err)
			}
		}
		if a.done {
			return a.exit, nil
		}
		if len(a.output) == 0 {
			// The server should have waited. One that does not must not be asked as fast as it answers.
			select {
			case <-time.After(pace - time.Since(asked)):
			case <-ctx.Done():
			}
		}
	}
}

// inputError is why feed ended a run.
type inputError struct{ err error }

func (e *inputError) Error() string { return e.err.Error() }

// feed sends stdin as the command's input until either ends.
func (s *Session) feed(ctx context.Context, cancel context.CancelCauseFunc, command string, stdin io.Reader) {
	const doing = "sending a command's input"
	buf := make([]byte, chunk)
	for {
		n, err := 0, io.EOF
		if stdin != nil {
			n, err = stdin.Read(buf)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && err != io.EOF {
			// Not the end of the input: the command must not take it for that.
			cancel(&inputError{s.error(KindCancelled, "reading the input for a command", err)})
			return
		}
		end := err == io.EOF
		if n == 0 && !end {
			continue
		}
		_, err = s.wire.call(ctx, doing, masterzen.NewSendInputRequest(s.wire.url, s.shell, command, buf[:n], end, s.params).String())
		if err != nil && ctx.Err() == nil {
			// Most likely the command has ended, or it is about to say what is wrong with it.
			select {
			case <-time.After(inputGrace):
				cancel(&inputError{err})
			case <-ctx.Done():
			}
		}
		if err != nil || end {
			return
		}
	}
}

// terminate ends the command on the server, or lets go of it if it has ended. What comes of it makes no difference to
// anybody: the shell's deletion does the same.
func (s *Session) terminate(ctx context.Context, command string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer cancel()
		s.wire.call(ctx, "ending a command", masterzen.NewSignalRequest(s.wire.url, s.shell, command, s.params).String())
	}()
	select {
	case <-done:
	case <-time.After(endWait):
	}
}

// Close deletes the shell, which ends a command that still runs in it, and closes all connections. It takes three
// seconds at most. A second Close does nothing and returns the same.
func (s *Session) Close() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		_, s.closed = s.wire.call(ctx, "deleting the shell", masterzen.NewDeleteShellRequest(s.wire.url, s.shell, s.params).String())
		var e *Error
		if errors.As(s.closed, &e) && e.Code == codeNoSuchShell {
			s.closed = nil // it is gone already
		}
		s.wire.close()
	})
	return s.closed
}

func (s *Session) error(kind Kind, doing string, err error) *Error {
	return &Error{Kind: kind, Server: s.wire.server, Doing: doing, Err: err}
}
