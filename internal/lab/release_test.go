package lab_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/ports"
)

// TestReleases: what is installed and what listens is that of the release, and every flow that the product knows of it has
// somebody at its end, once the rules are there that somebody made by hand.
func TestReleases(t *testing.T) {
	t.Parallel()
	const (
		older       = "443 Proxy, 4239 Repository, 4241 Repository, 4242 Repository, 4243 Proxy, 4244 Proxy, "
		newer       = "443 Proxy, 4239 Repository, 4242 Repository, 4243 Proxy, 4244 Proxy, "
		dispatched  = "4747 Engine, 4900 node, 4949 node, "
		synchronRim = older + "4444 Repository, 4747 Engine, 5151 Scheduler"
	)
	for release, want := range map[string]struct{ product, central, rim string }{
		"2.x":           {"Qlik Sense 2.2.4", older + "4747 Engine, 4900 node, 5050 Scheduler", synchronRim},
		"3.1":           {"Qlik Sense 3.1", older + "4747 Engine, 4900 node, 5050 Scheduler", synchronRim},
		"june-2017":     {"Qlik Sense June 2017", newer + "4432 postgres, " + dispatched + "5050 Scheduler", newer + "4444 Repository, " + dispatched + "5151 Scheduler"},
		"November-2025": {"Qlik Sense November 2025", newer + "4432 postgres, " + dispatched + "5050 Scheduler", newer + "4444 Repository, " + dispatched + "5151 Scheduler"},
	} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			l, s := start(t, lab.Options{Scenario: "joined", Rims: 2, Release: release})
			if s.Release != release {
				t.Errorf("the site file has release %s", s.Release)
			}
			servers := inspect(t, l, s)
			for name, f := range servers {
				listens := want.rim
				if name == "qs-central" {
					listens = want.central
				}
				if got := listening(f); got != listens || f.Release() != want.product {
					t.Errorf("%s has %q and listens on %s, want %q and %s", name, f.Release(), got, want.product, listens)
				}
			}
			if got := missing(t, s, servers); len(got) > 0 {
				t.Errorf("rules are missing: %q", got)
			}
			for _, f := range flows(t, s) {
				at, ok := servers[f.To].Listening(netip.AddrPortFrom(l.Host(f.To).Address.Addr(), f.Port))
				want := facts.Qlik
				if f.Part.Starter != "" {
					want = facts.Likely // a process of its own
				}
				if holder := servers[f.To].Holder(at, f.Part.Starter); !ok || holder != want {
					t.Errorf("%s: %+v listens, which is %s", f, at, holder)
				}
			}
			// The database says nothing, and all others do.
			silent := func(f ports.Flow) bool { return f.Speech == ports.Nothing }
			var all []string
			for _, f := range flows(t, s) {
				if silent(f) {
					all = append(all, f.From+" -> "+f.To)
				}
			}
			for id, d := range dial(t, l, s, 5*time.Second, silent) {
				if d.Result != "open" || len(d.Reply) > 0 || d.Took >= 5*time.Second { // nobody waits for what is not to come
					t.Errorf("%s: %+v", id, d)
				}
			}
			if shared := strings.Contains(release, "-"); shared != (len(all) == 2) {
				t.Errorf("4432 is for %q", all)
			}
			for id, d := range dial(t, l, s, 5*time.Second, func(f ports.Flow) bool { return !silent(f) }) {
				if d.Result != "open" || len(d.Reply) == 0 {
					t.Errorf("%s: %+v", id, d)
				}
			}
		})
	}
}

// TestReleaseWaits: before the join a rim of a later release listens on as little as one of the first.
func TestReleaseWaits(t *testing.T) {
	t.Parallel()
	l, s := start(t, lab.Options{Release: "may-2021"})
	servers := inspect(t, l, s)
	if got := listening(servers["qs-rim1"]); got != "4444 Repository" || servers["qs-rim1"].Phase() != facts.Installed {
		t.Errorf("it is %s and listens on %s", servers["qs-rim1"].Phase(), got)
	}
	want := []string{
		"qs-central [4239 4242 4432] from [10.0.0.12/32]", "qs-central [4243] from [10.0.0.12/32]", "qs-central [443 4244] from [10.20.0.0/16]",
		"qs-central [4747 4900 4949] from [10.0.0.12/32]", "qs-central [5050] from [10.0.0.12/32]",
		"qs-rim1 [4239 4242 4444] from [10.0.0.11/32]", "qs-rim1 [4243] from [10.0.0.11/32]", "qs-rim1 [443 4244] from [10.20.0.0/16]",
		"qs-rim1 [4747 4900 4949] from [10.0.0.11/32]", "qs-rim1 [5151] from [10.0.0.11/32]",
	}
	if diff := cmp.Diff(want, missing(t, s, servers)); diff != "" {
		t.Errorf("rules that are missing:\n%s", diff)
	}
}

func TestReleaseUnknown(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"1.0", "4.x", "may2021", "May 2021", "2", "2.x.1", "\x1b"} {
		_, err := lab.Start(lab.Options{Release: release})
		if _, ok := err.(lab.OptionError); !ok || !strings.Contains(err.Error(), "write 1.0.2, 2.x, 3.x or a month, as may-2021") {
			t.Errorf("%q: %v", release, err)
		}
	}
}
