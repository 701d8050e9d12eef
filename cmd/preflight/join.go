package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/join"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/site"
)

// qrsFlags say how the central node's repository service is asked.
type qrsFlags struct{ auth, cert, key, ca string }

// typed are the flags of a join of a rim, as they have to be typed.
func (q qrsFlags) typed(rim string) string {
	s := " --rim " + printable.Argument(rim)
	for _, f := range [][2]string{{"auth", q.auth}, {"cert", q.cert}, {"key", q.key}, {"ca", q.ca}} {
		if f[1] != "" {
			s += " --qrs-" + f[0] + " " + printable.Argument(f[1])
		}
	}
	return s
}

func (a *app) joinCommand() *cobra.Command {
	var rim string
	var q qrsFlags
	cmd := &cobra.Command{
		Use:   "join RUN [--rim NAME]",
		Short: "take a prepared rim into its site, and prove its services",
		Long: `join takes a rim node through the steps of the guide: the node is created, the central node sends its certificate, the
one-time password unlocks it on the rim, the rim runs, and serves browsers. It looks at the servers first, and begins
nothing while a check fails. After it every flow is proven once more, by the real services. Run again after a failure,
each step first sees whether it is done.

By itself join is by hand: it says what to do in the QMC, takes the one-time password that the QMC shows, from the
terminal or as a line of standard input, unlocks the certificate on the rim, and watches.

With --qrs-auth certificate the program does all of it, with the site's client certificate, as it lies on the central
node in C:\ProgramData\Qlik\Sense\Repository\Exported Certificates\.Local Certificates. That certificate may do
everything in the site; it is never sent anywhere, and root.pem beside it proves who answers.`,
		Args: oneArgument("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.allowed(q); err != nil {
				return err
			}
			j, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			rim, err := toJoin(r, rim)
			if err == nil && r.Change.Approval == nil {
				err = usage(fmt.Sprintf("preflight apply %s --approve DIGEST, once that is approved; its digest stands in ticket.txt", printable.Argument(args[0])),
					"the plan of %s has not been approved and applied: a join is part of the same change", r.Run.ID)
			}
			var by engine.Joining
			if err == nil && q.auth != "" {
				by, err = q.joining(r.Site)
			}
			if err != nil {
				return errors.Join(err, j.Close())
			}
			w, err := a.goOn(cmd, j, r)
			if err != nil {
				return err
			}
			if by.QRS == nil {
				by.Person = person{a.prompts(w.told.flush).Ask}
			}
			w.rim, w.qrs = rim, q
			ctx := cmd.Context()
			return w.do(ctx, w.joining(ctx, rim, by)...)
		},
	}
	cmd.Flags().StringVar(&rim, "rim", "", "the rim node that is to join; may be left out if the site has one")
	cmd.Flags().StringVar(&q.auth, "qrs-auth", "", "certificate: ask the central node's repository service with the site's client certificate")
	cmd.Flags().StringVar(&q.cert, "qrs-cert", "", "the client certificate, as client.pem")
	cmd.Flags().StringVar(&q.key, "qrs-key", "", "its key, as client_key.pem")
	cmd.Flags().StringVar(&q.ca, "qrs-ca", "", "the site's root certificate (default: root.pem beside the client certificate)")
	a.runsFlag(cmd)
	a.passwordFlag(cmd)
	return cmd
}

// toJoin is the rim that is meant.
func toJoin(r record.Record, name string) (string, error) {
	var names []string
	for _, n := range r.Site.Rims() {
		names = append(names, n.Name)
	}
	n, known := r.Site.Node(name)
	switch {
	case name == "" && len(names) == 1:
		return names[0], nil
	case name == "":
		return "", usage("--rim is one of "+strings.Join(names, ", "), "--rim is missing: which of the site's %d rims is to join?", len(names))
	case !known:
		return "", usage("--rim is one of "+strings.Join(names, ", "), "--rim %q is no node of this run's site", name)
	case n.Role != site.Rim:
		return "", usage("--rim is one of "+strings.Join(names, ", "), "--rim %s is the central node", name)
	}
	return name, nil
}

// allowed tells whether the flags agree on who does the central node's part.
func (a *app) allowed(q qrsFlags) error {
	const how = "--qrs-auth certificate --qrs-cert client.pem --qrs-key client_key.pem"
	switch {
	case q.auth == "" && q.cert+q.key+q.ca != "":
		return usage(how, "the client certificate may do everything in the site: it is used only with --qrs-auth certificate")
	case q.auth == "" && a.noInput:
		return usage("let the program do it: "+how, "a join by hand asks for the one-time password, which --no-input forbids")
	case q.auth == "" && a.passwordStdin:
		return usage("give that password in a file that "+passwordFile+" names", "--password-stdin leaves no standard input for the one-time password of a join by hand")
	case q.auth == "":
		return nil
	case q.auth != "certificate":
		return usage("write certificate, or leave it out for a join by hand", "--qrs-auth %q is not known", q.auth)
	case q.cert == "" || q.key == "":
		return usage(how, "--qrs-auth certificate needs --qrs-cert and --qrs-key")
	}
	return nil
}

// joining is a client of a site's QRS, with the certificate that the flags name.
func (q qrsFlags) joining(s site.Site) (by engine.Joining, err error) {
	cert, err := os.ReadFile(q.cert)
	if err != nil {
		return by, usage("name the PEM file of the client certificate", "reading --qrs-cert %s: %w", q.cert, cause(err))
	}
	key, err := os.ReadFile(q.key)
	if err != nil {
		return by, usage("name the PEM file of its key", "reading --qrs-key %s: %w", q.key, cause(err))
	}
	if _, err := pairOf(cert, key); err != nil {
		return by, usage("they are client.pem and client_key.pem of the central node", "--qrs-cert %s, --qrs-key %s: %w", q.cert, q.key, err)
	}
	if q.ca == "" {
		q.ca = filepath.Join(filepath.Dir(q.cert), "root.pem")
	}
	root, err := os.ReadFile(q.ca)
	if err != nil {
		return by, usage("name the site's root certificate with --qrs-ca", "reading the site's root certificate, %s: %w", q.ca, cause(err))
	}
	by.QRS, by.Certificate, err = qrs(s, cert, key, root, time.Now())
	if err != nil {
		return by, usage("they are client.pem, client_key.pem and root.pem of the central node", "--qrs-cert %s, --qrs-key %s, root %s: %w", q.cert, q.key, q.ca, err)
	}
	return by, nil
}

// pairOf is a client certificate with its key, from PEM texts. No error quotes one of them.
func pairOf(cert, key []byte) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return pair, nil
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return pair, errors.New("the key is encrypted: export it without a password")
	}
	return pair, fmt.Errorf("no certificate with its key: %s", strings.TrimPrefix(err.Error(), "tls: "))
}

// qrs makes a client of a site's QRS from PEM texts. No error quotes one of them.
func qrs(s site.Site, cert, key, root []byte, now time.Time) (*join.QRS, *record.ClientCertificate, error) {
	pair, err := pairOf(cert, key)
	if err != nil {
		return nil, nil, err
	}
	leaf := pair.Leaf
	if now.After(leaf.NotAfter) {
		return nil, nil, fmt.Errorf("the certificate has expired on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, nil, errors.New("the root holds no certificate")
	}
	sum := sha256.Sum256(leaf.Raw)
	return join.NewQRS(join.Options{Address: engine.QRSAddress(s), Host: s.Central().Host, Certificate: pair, Roots: roots}),
		&record.ClientCertificate{Subject: leaf.Subject.String(), SHA256: hex.EncodeToString(sum[:]), NotAfter: leaf.NotAfter.UTC()}, nil
}
