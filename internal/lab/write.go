package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are where Write put what the other commands need.
type Files struct {
	Site, CA, Password       string
	QRSCert, QRSKey, QRSRoot string // under the names by which Qlik Sense exports them
}

// Write writes the site file, the CA certificate that it names, the password, and the certificates and the key for the
// repository service into a folder, which it makes if there is none; only their owner can read them. A folder of an
// earlier lab is written anew. If a file of these names is there that no lab wrote, nothing is touched and the error is an
// OptionError.
func (l *Lab) Write(dir string) (Files, error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	f := Files{in("site.yaml"), in(CAFile), in("password"), in("client.pem"), in("client_key.pem"), in("root.pem")}
	text, err := l.SiteFile()
	if err != nil {
		return Files{}, err
	}
	again, err := f.check()
	if err != nil {
		return Files{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, err
	}
	// The site file comes last: once it is there, so are the others.
	cert, key, root := l.QRSCertificate()
	files := []struct {
		name string
		data []byte
	}{{f.Password, []byte(l.password + "\n")}, {f.CA, l.CA()}, {f.QRSCert, cert}, {f.QRSKey, key}, {f.QRSRoot, root}, {f.Site, text}}
	for i, w := range files {
		if err := replace(w.name, w.data); err != nil {
			if !again { // without a site file nobody would know them for a lab's
				for _, before := range files[:i] {
					os.Remove(before.name)
				}
			}
			return Files{}, err
		}
	}
	return f, nil
}

// check fails if a file would be lost that no lab wrote. A lab's folder is known by its site file; ours tells whether
// this is one.
func (f Files) check() (ours bool, err error) {
	for _, name := range []string{f.Site, f.CA, f.Password, f.QRSCert, f.QRSKey, f.QRSRoot} {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if info.Mode().IsRegular() && name == f.Site {
			text, err := os.ReadFile(name)
			if err != nil {
				return false, err
			}
			ours = bytes.HasPrefix(text, []byte(siteComment))
		}
		if !ours || !info.Mode().IsRegular() {
			return false, OptionError(fmt.Sprintf("%s is there already and was not written by a lab", name))
		}
	}
	return ours, nil
}

// replace writes a file at once or not at all.
func replace(name string, data []byte) error {
	t, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp") // readable by its owner alone
	if err != nil {
		return err
	}
	_, err = t.Write(data)
	if err = errors.Join(err, t.Close()); err == nil {
		err = os.Rename(t.Name(), name)
	}
	if err != nil {
		os.Remove(t.Name())
	}
	return err
}
