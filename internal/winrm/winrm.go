// Package winrm runs commands on a Windows server over WinRM.
//
// [Look] finds out what answers at an endpoint without showing it a credential. [Dial] signs in and opens a shell;
// [Session.Run] runs one command in it with streaming input and output; [Session.Close] leaves nothing behind. Every
// call takes a context and obeys it, whatever the server does, and every error is an [*Error] that says what kind of
// trouble it is and what to type on the server against it.
//
// The messages are those of github.com/masterzen/winrm. The connection, the run loop and the reading of answers are
// this package's own, because that library's ignore contexts, loop on faults and can crash the process.
//
// The only way to sign in so far is Basic over HTTPS. Nothing falls back to anything else: not the way of signing in,
// not TLS, not a pinned certificate.
package winrm

import (
	"crypto/x509"
	"time"

	"github.com/qlik-preflight/preflight/internal/secret"
)

// Password is the password of an account.
type Password = secret.Text

// Credential is what somebody signs in with.
type Credential struct {
	User     string
	Password Password
}

// Endpoint is where a server's WinRM listens and how the server has to prove that it is the right one.
type Endpoint struct {
	Name string // the server's name in errors; "" means Host
	Host string
	Port int // 0 means 5986, or 5985 without HTTPS

	HTTPS      bool
	Roots      *x509.CertPool // who may have signed its certificate; nil means this machine's authorities
	ServerName string         // the name its certificate has to carry; "" means Host
	Pin        string         // "sha256:<hex>" of its certificate (DER), which is then compared instead of Roots and ServerName

	// OperationTimeout is the longest that one request for output waits on the server for there to be some; 0 means
	// 20 s. It does not limit how long a command may run.
	OperationTimeout time.Duration
}

// Identity is what a server says about itself to somebody who has not signed in.
type Identity struct {
	Vendor  string   `json:"vendor"`  // "" if it tells only those who have signed in
	Version string   `json:"version"` // Windows leaves its release out here: "OS: 0.0.0 SP: 0.0 Stack: 3.0"
	Schemes []string `json:"schemes"` // the ways to sign in that it offers; nil if it did not say

	Certificate *Certificate `json:"certificate,omitempty"`
	Verified    string       `json:"verified,omitempty"` // "verified" or "pinned"; "" over plain HTTP
}

// Certificate is what a person needs to see of a server's certificate to decide whether to trust it.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of its DER, as hex
}

// Pin returns the certificate's value for [Endpoint.Pin].
func (c *Certificate) Pin() string { return "sha256:" + c.SHA256 }

// SignIn is how a session signed in and what protects it, for the record.
type SignIn struct {
	User       string `json:"user"`
	Auth       string `json:"auth"`       // "basic"
	Transport  string `json:"transport"`  // "https"
	Protection string `json:"protection"` // "tls"
	Identity   string `json:"identity"`   // "verified" or "pinned": how the server proved who it is
}
