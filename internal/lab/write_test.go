package lab_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/lab"
)

// tree is what is in a folder: by name the text, or the kind of what is no file.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		all[e.Name()] = e.Type().String()
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all[e.Name()] = string(b)
		}
	}
	return all
}

func written(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	text, err := l.SiteFile()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, root := l.QRSCertificate()
	return map[string]string{
		"site.yaml": string(text), "lab-ca.pem": string(l.CA()), "password": l.Password() + "\n",
		"client.pem": string(cert), "client_key.pem": string(key), "root.pem": string(root),
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "lab")
	first, _ := start(t, lab.Options{})
	second, _ := start(t, lab.Options{Rims: 2, Scenario: "wrong-password"})
	for _, l := range []*lab.Lab{first, second, second} {
		f, err := l.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		in := func(name string) string { return filepath.Join(dir, name) }
		if want := (lab.Files{
			Site: in("site.yaml"), CA: in("lab-ca.pem"), Password: in("password"),
			QRSCert: in("client.pem"), QRSKey: in("client_key.pem"), QRSRoot: in("root.pem"),
		}); f != want {
			t.Errorf("wrote %+v, want %+v", f, want)
		}
		if diff := cmp.Diff(written(t, l), tree(t, dir)); diff != "" {
			t.Error(diff)
		}
		for name, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, f.Password: 0o600, f.CA: 0o600, f.Site: 0o600, f.QRSCert: 0o600, f.QRSKey: 0o600, f.QRSRoot: 0o600} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS != "windows" && info.Mode() != want {
				t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
			}
		}
	}
}

// TestWriteRefuses: what no lab wrote stays as it is.
func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	l, _ := start(t, lab.Options{})
	ours := written(t, l)["site.yaml"]
	for _, test := range []struct {
		name  string
		files map[string]string // before; "/" is a folder
		ok    bool
	}{
		{name: "other files only", files: map[string]string{"notes.txt": "x", "record.json": "{}"}, ok: true},
		{name: "a lab's", files: map[string]string{"site.yaml": ours, "password": "old", "client_key.pem": "old", "notes.txt": "x"}, ok: true},
		{name: "a site file", files: map[string]string{"site.yaml": "site: finance-bi\n"}},
		{name: "a site file and more", files: map[string]string{"site.yaml": "# ours\n" + ours, "lab-ca.pem": "x", "password": "x"}},
		{name: "an empty site file", files: map[string]string{"site.yaml": ""}},
		{name: "a password only", files: map[string]string{"password": "secret"}},
		{name: "a certificate only", files: map[string]string{"lab-ca.pem": "x"}},
		{name: "a client certificate only", files: map[string]string{"client.pem": "x"}},
		{name: "a site's exported certificates", files: map[string]string{"client.pem": "x", "client_key.pem": "x", "root.pem": "x", "server.pem": "x"}},
		{name: "a key only", files: map[string]string{"client_key.pem": "x"}},
		{name: "a root certificate only", files: map[string]string{"root.pem": "x"}},
		{name: "a lab's, but a folder called client_key.pem", files: map[string]string{"site.yaml": ours, "client_key.pem": "/"}},
		{name: "a folder called site.yaml", files: map[string]string{"site.yaml": "/"}},
		{name: "a lab's, but a folder called password", files: map[string]string{"site.yaml": ours, "password": "/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range test.files {
				err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
				if text == "/" {
					err = errors.Join(os.Remove(filepath.Join(dir, name)), os.Mkdir(filepath.Join(dir, name), 0o755))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			want := tree(t, dir)
			_, err := l.Write(dir)
			if test.ok {
				if err != nil {
					t.Fatal(err)
				}
				for name, text := range written(t, l) {
					want[name] = text
				}
			} else if _, refused := errors.AsType[lab.OptionError](err); !refused {
				t.Errorf("%T %v, want a refusal", err, err)
			}
			if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
	// Through a link one would write somewhere else.
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "site.yaml")
	if err := os.WriteFile(elsewhere, []byte(ours), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "site.yaml")); err != nil {
		t.Skip(err) // not everybody may make one on Windows
	}
	if _, err := l.Write(dir); err == nil {
		t.Error("it wrote through a link")
	}
}
