// Package qlik is what the services of a simulated Qlik Sense site answer.
package qlik

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
)

// Package is what the central node sends to a rim: the certificates, for whoever knows the one-time password. A real one
// is encrypted with it; this one is between parts of the lab and holds its hash.
type Package struct {
	Password string   `json:"password"` // SHA-256, hexadecimal
	Root     []byte   `json:"root"`     // DER
	Own      []byte   `json:"own"`      // DER, of the rim
	Key      []byte   `json:"key"`      // PKCS #8, of the rim
	Services []string `json:"services"` // those that the rim is to run
}

// Hash is a one-time password as a package has it.
func Hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// Setup is the repository service of a rim on port 4444: plain HTTP, as documented since release 1.0
// (help.qlik.com, "Service status: Get service state", "Certificate installation: Install certificate").
type Setup struct {
	State   func() int          // 0 initialising, 1 certificates not installed, 2 running
	Install func(Package) error // keeps the certificates until they are unlocked
}

func (s Setup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /status/servicestate":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"value":%d}`, s.State())
	case "POST /setup/certificatedistribution":
		var p Package
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&p); err != nil {
			http.Error(w, "The certificate package could not be read.", http.StatusBadRequest)
			return
		}
		if err := s.Install(p); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	default:
		http.NotFound(w, r)
	}
}

// Unlock is the repository service of a rim on port 4570, which is open to the rim itself alone, and from the arrival of
// a certificate until it is unlocked (help.qlik.com, Qlik Sense 2.1, "Certificate trust: requirements"): a page with a
// form for the one-time password.
type Unlock struct {
	Try func(password string) bool // tells whether it is right, and closes the port if so
}

func (u Unlock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/certificateSetup" || r.Method != http.MethodGet && r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	switch {
	case r.Method == http.MethodGet:
		page(w, "", true)
	case r.ParseForm() == nil && u.Try(r.PostForm.Get("__pwd")):
		w.Header().Set("Connection", "close")
		page(w, "The service was successfully unlocked.", false) // as the guide has it
	default:
		// What a real one says to a wrong password is not known.
		page(w, "The password is incorrect.", true)
	}
}

// page writes a page with a sentence and perhaps the form.
func page(w http.ResponseWriter, text string, form bool) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!DOCTYPE html>\n<html><head><title>Qlik Sense</title></head><body>\n<p>%s</p>\n", html.EscapeString(text))
	if form {
		fmt.Fprint(w, `<form method="post" action="/certificateSetup"><input type="password" name="__pwd"><input type="submit" value="Submit"></form>`+"\n")
	}
	fmt.Fprint(w, "</body></html>\n")
}
