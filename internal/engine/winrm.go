package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
)

// SimulatedVendor begins the name that a simulated server gives itself to whoever asks (WS-Man Identify).
const SimulatedVendor = "preflight lab"

// WinRM is the Connector that real runs use.
type WinRM struct {
	// Roots reads the certificates that the site file's ca names.
	Roots func(file string) (*x509.CertPool, error)
	// Password is the password of a user.
	Password func(user string) winrm.Password
}

// Look reaches a server without a credential.
func (w WinRM) Look(ctx context.Context, n site.Node) (Identity, error) {
	ep, err := w.endpoint(n)
	if err != nil {
		return Identity{}, err
	}
	id, err := winrm.Look(ctx, ep)
	return Identity{Simulated: strings.HasPrefix(id.Vendor, SimulatedVendor)}, explain(err)
}

// SignIn signs in to a server.
func (w WinRM) SignIn(ctx context.Context, n site.Node) (Server, error) {
	ep, err := w.endpoint(n)
	if err != nil {
		return nil, err
	}
	s, err := winrm.Dial(ctx, ep, winrm.Credential{User: n.WinRM.User, Password: w.Password(n.WinRM.User)})
	if err != nil {
		return nil, explain(err)
	}
	return winrmServer{s}, nil
}

func (w WinRM) endpoint(n site.Node) (winrm.Endpoint, error) {
	ep := winrm.Endpoint{Name: n.Name, Host: n.WinRM.Address, Port: n.WinRM.Port, HTTPS: n.WinRM.Transport == "https", Pin: n.WinRM.Pin}
	if n.WinRM.CA == "" || n.WinRM.Pin != "" {
		return ep, nil
	}
	roots, err := w.Roots(n.WinRM.CA)
	if err != nil {
		return ep, fmt.Errorf("%s: reading the CA certificate: %w", n.Name, err)
	}
	ep.Roots = roots
	return ep, nil
}

type winrmServer struct{ *winrm.Session }

func (s winrmServer) SignIn() record.SignIn {
	in := s.Session.SignIn()
	return record.SignIn{User: in.User, Auth: in.Auth, Transport: in.Transport, Protection: in.Protection, Identity: in.Identity}
}

// explain makes an error of winrm an Explained.
func explain(err error) error {
	var e *winrm.Error
	if !errors.As(err, &e) {
		return err
	}
	return &explained{err, string(e.Kind), e.Hints}
}
