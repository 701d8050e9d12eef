// Package qlik is what the services of a simulated Qlik Sense node answer.
package qlik

import (
	"fmt"
	"net/http"
)

// Setup is the repository service of a rim on port 4444: plain HTTP, as documented since release 1.0
// (help.qlik.com, "Service status: Get service state").
type Setup struct {
	State func() int // 0 initialising, 1 certificates not installed, 2 running
}

func (s Setup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/status/servicestate" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprintf(w, `{"value":%d}`, s.State())
}
