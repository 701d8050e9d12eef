package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/qlik-preflight/preflight/internal/lab/host"
)

// ca issues certificates. It lives as long as the lab.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	mark func(*x509.Certificate) // what all its certificates have in common
}

// newCA makes a CA, the lab's own or a site's.
func newCA(name string, mark func(*x509.Certificate)) (*ca, error) {
	c := &ca{mark: mark}
	t := c.template(name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	own, err := c.sign(t)
	if err != nil {
		return nil, err
	}
	c.cert, c.key = own.Leaf, own.PrivateKey.(*ecdsa.PrivateKey)
	return c, nil
}

// issue makes a certificate for a server.
func (c *ca) issue(name string, addresses ...string) (tls.Certificate, error) {
	t := c.template(name)
	t.DNSNames = []string{name}
	for _, a := range addresses {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(a))
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return c.sign(t)
}

// issueClient makes a certificate for a client.
func (c *ca) issueClient(name string) (tls.Certificate, error) {
	t := c.template(name)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return c.sign(t)
}

func (c *ca) template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	if c.mark != nil {
		c.mark(t)
	}
	return t
}

// sign makes a new key and its certificate; the CA's own if it has none yet.
func (c *ca) sign(t *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	parent, by := c.cert, c.key
	if parent == nil {
		parent, by = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// pool is the CA as what a TLS configuration trusts.
func (c *ca) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// qlikMark gives a certificate what those that Qlik Sense makes have: they end in ten years, and carry an extension by
// which they are found (levi-turner/QlikSenseScripts, certificateBackup.ps1). What a real one has in it is not known.
func qlikMark(t *x509.Certificate) {
	t.NotAfter = qlikEnd
	t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 13, 3}, Value: asn1.NullBytes}}
}

var qlikEnd = time.Date(2036, time.January, 10, 0, 0, 0, 0, time.UTC)

// installed is a certificate in a store of a server.
func installed(store string, c *x509.Certificate) host.Certificate {
	return host.Certificate{
		Store: store, Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		Thumbprint: fmt.Sprintf("%X", sha1.Sum(c.Raw)), NotAfter: c.NotAfter,
	}
}

// elsewhere is a root certificate of another site, of which there is no more than the name.
func elsewhere(name string) host.Certificate {
	return host.Certificate{
		Store: "root", Subject: name, Issuer: name,
		Thumbprint: fmt.Sprintf("%X", sha1.Sum([]byte(name+" issued by "+name))), NotAfter: qlikEnd,
	}
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
