package script_test

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/tier"
)

// TestPowerShellSilence: a service that waits to be told something is told nothing, and its connection is held as long as
// any other, but not until the dial would have been given up.
func TestPowerShellSilence(t *testing.T) {
	t.Parallel()
	p := powerShell{path: tier.PowerShell(t)}
	heard := make(chan []byte, 1)
	service, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		c, err := service.Accept()
		if err != nil {
			heard <- []byte(err.Error())
			return
		}
		defer c.Close()
		text, _ := io.ReadAll(c)
		heard <- text
	}()
	address := netip.MustParseAddrPort(service.Addr().String())
	limits := script.Limits{Dial: 20 * time.Second, Hold: 500 * time.Millisecond, Least: 600 * time.Millisecond, Most: 30 * time.Second}
	target := script.StartProve(t.Context(), p, script.Side{Watches: []script.Watch{{Port: address.Port(), From: []netip.Addr{address.Addr()}}}, Limits: limits})
	dialler := script.StartProve(t.Context(), p, script.Side{Limits: limits, Dials: []script.Dial{{ID: "service", Address: address.Addr(), Port: address.Port(), Words: "nothing"}}})
	for _, side := range []*script.Prover{target, dialler} {
		if err := side.Ready(); err != nil {
			t.Fatal(err)
		}
	}
	target.Go()
	dialler.Go()
	from, to := dialler.Report(), target.Report()
	if from.Lost != "" || to.Lost != "" {
		t.Fatalf("lost: %q %q", from.Lost, to.Lost)
	}
	d := from.Dials["service"]
	if d.Result != "open" || len(d.Reply) > 0 || d.Took < limits.Hold || d.Took >= limits.Dial {
		t.Errorf("the dial = %+v", d)
	}
	if !slices.ContainsFunc(to.Seen, func(s proof.Seen) bool { return s.From == d.From && s.Port == address.Port() }) {
		t.Errorf("seen %v; want the connection from %v", to.Seen, d.From)
	}
	if text := <-heard; len(text) > 0 {
		t.Errorf("it was told %q", text)
	}
}
