package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// ConnectAll reaches every server and signs in. So that a wrong password locks nobody out, it first looks at all
// servers without a credential, then tries each credential on one server, and only then on the rest.
//
// A server that cannot be used is an event. The error is ErrStopped's if there is one, and another's if the run itself
// failed.
func (e *Engine) ConnectAll(ctx context.Context) error {
	if err := e.stage("connect"); err != nil {
		return err
	}
	var broke firstError
	var mu sync.Mutex
	reached := map[string]site.Node{}
	each(nodes(e.Site), func(name string, n site.Node) {
		id, err := e.Connect.Look(ctx, n)
		if err != nil {
			broke.set(e.fail(ctx, "connect", name, err))
			return
		}
		mu.Lock()
		reached[name] = n
		mu.Unlock()
		broke.set(e.emit(record.ServerReached{Server: name, Simulated: id.Simulated, At: e.now()}))
	})
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}

	credentials := map[string]map[string]site.Node{} // by user
	var users []string
	for _, n := range e.Site.Nodes {
		if _, ok := reached[n.Name]; ok {
			user := strings.ToLower(n.WinRM.User) // Windows knows accounts without regard to case
			if credentials[user] == nil {
				credentials[user] = map[string]site.Node{}
				users = append(users, user)
			}
			credentials[user][n.Name] = n
		}
	}
	for _, user := range users {
		rest := credentials[user]
		for _, n := range e.Site.Nodes {
			if _, ok := rest[n.Name]; !ok {
				continue
			}
			delete(rest, n.Name)
			rejected, err := e.signIn(ctx, n)
			broke.set(err)
			if rejected {
				each(rest, func(name string, other site.Node) {
					err := fmt.Errorf("%s: not tried: the sign-in of %s was rejected by %s", name, other.WinRM.User, n.Name)
					broke.set(e.fail(ctx, "connect", name, &explained{err, "not_tried", []string{"put the sign-in on " + n.Name + " right first"}}))
				})
				clear(rest)
			}
			if rejected || e.has(n.Name) || broke.err != nil {
				break
			}
		}
		if broke.err != nil {
			return broke.err
		}
		each(rest, func(_ string, n site.Node) {
			_, err := e.signIn(ctx, n)
			broke.set(err)
		})
	}
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if n := len(e.Site.Nodes) - len(e.servers); n > 0 {
		return stopped("%d of %d servers could not be signed in to", n, len(e.Site.Nodes))
	}
	return nil
}

func (e *Engine) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.servers[name] != nil
}

// signIn signs in to one server and asks its PowerShell whether it will run scripts.
func (e *Engine) signIn(ctx context.Context, n site.Node) (rejected bool, err error) {
	began := time.Now()
	s, err := e.Connect.SignIn(ctx, n)
	if err != nil {
		var x Explained
		if errors.As(err, &x) {
			kind, _ := x.Explain()
			rejected = kind == Rejected
		}
		return rejected, e.fail(ctx, "connect", n.Name, err)
	}
	s = e.kept(n.Name, s)
	language, err := script.Probe(ctx, s)
	if err == nil && !language.Full() {
		err = &explained{fmt.Errorf("%s: PowerShell is in %s, where scripts cannot run", n.Name, language.Mode), "language",
			[]string{"the policy that restricts PowerShell there (AppLocker or Device Guard) has to allow " + n.WinRM.User}}
	}
	if err != nil {
		s.Close()
		return false, e.fail(ctx, "connect", n.Name, err)
	}
	e.mu.Lock()
	e.servers[n.Name] = s
	e.mu.Unlock()
	return false, e.emit(record.ServerConnected{
		Server: n.Name, SignIn: s.SignIn(), MS: time.Since(began).Milliseconds(), At: e.now(),
	})
}

func nodes(s site.Site) map[string]site.Node {
	m := map[string]site.Node{}
	for _, n := range s.Nodes {
		m[n.Name] = n
	}
	return m
}

// explained is an Explained of the engine's own.
type explained struct {
	error
	kind  string
	hints []string
}

func (x *explained) Explain() (string, []string) { return x.kind, x.hints }
func (x *explained) Unwrap() error               { return x.error }

// firstError keeps the first error that is set, from any goroutine.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}
