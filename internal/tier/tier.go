// Package tier tells tests which of the tiers that need more than Go were asked for.
//
// go test ./... runs what needs nothing but loopback. PREFLIGHT_TIERS names what else to run, as "script,packet"; a tool
// that is missing then is a failure, never a skip.
package tier

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Need skips the test unless PREFLIGHT_TIERS names the tier.
func Need(t testing.TB, name string) {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("PREFLIGHT_TIERS"), ","), name) {
		t.Skipf("tier %s was not asked for (PREFLIGHT_TIERS)", name)
	}
}

// PowerShell is the PowerShell that the script tier runs, from PREFLIGHT_PWSH. It skips the test unless the tier was
// asked for, and fails it if the PowerShell is not there.
func PowerShell(t testing.TB) string {
	t.Helper()
	Need(t, "script")
	name := os.Getenv("PREFLIGHT_PWSH")
	if name == "" {
		name = "pwsh"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("PREFLIGHT_PWSH names no PowerShell: %v", err)
	}
	return path
}
