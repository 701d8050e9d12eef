package engine_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/site"
)

// inRelease is a run on a lab of a release in which rims dial each other.
func inRelease(t *testing.T, o lab.Options) (*lab.Lab, run) {
	t.Helper()
	l, err := lab.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	r := start(t, l, winRM(l, l.Password()), nil)
	r.Times = steady
	return l, r
}

// closesOut proves what the close-out of qs-rim1 does.
func closesOut(t *testing.T, r run) {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{r.ConnectAll(ctx), r.Inspect(ctx), r.ProveServer(ctx, proof.CloseOut, "qs-rim1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestProveServerOtherRims: where rims dial each other, a rim's close-out says nothing of ports of another that waits for
// its certificates.
func TestProveServerOtherRims(t *testing.T) {
	t.Parallel()
	_, r := inRelease(t, lab.Options{Scenario: "second-rim", Release: "may-2021"})
	closesOut(t, r)
	got := map[string]int{}
	for _, p := range r.Record().Proofs {
		got[p.From+" "+p.To]++
	}
	// qs-rim1 runs; qs-rim2 listens on nothing but 4444, which only the central node dials.
	if want := (map[string]int{"qs-central qs-rim1": 8, "qs-rim1 qs-central": 8, "qs-rim2 qs-rim1": 6}); !maps.Equal(got, want) {
		t.Errorf("the close-out has %v, want %v", got, want)
	}
	// Of the server that was asked about everything is said.
	if err := r.ProveServer(t.Context(), proof.Verify, "qs-rim2"); err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, p := range r.Record().Proofs {
		if p.Phase == proof.Verify && p.To == "qs-rim2" && p.Seen == proof.NothingListens {
			open++
		}
	}
	if open != 7+6 {
		t.Errorf("nobody listens for %d flows to qs-rim2, want 13", open)
	}
}

// TestProveServerNoName: a rim that cannot find another one will not find it later either.
func TestProveServerNoName(t *testing.T) {
	t.Parallel()
	_, r := inRelease(t, lab.Options{Scenario: "second-rim", Release: "may-2021"})
	i := slices.IndexFunc(r.Site.Nodes, func(n site.Node) bool { return n.Name == "qs-rim2" })
	r.Site.Nodes[i].Host = "qs-nobody"
	closesOut(t, r)
	unknown := 0
	for _, p := range r.Record().Proofs {
		if p.From == "qs-rim1" && p.To == "qs-rim2" && p.Verdict == proof.NoName {
			unknown++
		}
	}
	if unknown != 6 {
		t.Errorf("%d flows to the rim that has no name fail, want 6", unknown)
	}
}

// TestProveStarted: what a service starts is looked for where it listens, and so the database, which says nothing, is proven.
func TestProveStarted(t *testing.T) {
	t.Parallel()
	_, r := inRelease(t, lab.Options{Scenario: "joined", Release: "may-2021"})
	closesOut(t, r)
	all := r.Record().Proofs
	if len(all) != 16 {
		t.Errorf("there are %d proofs, want 16", len(all))
	}
	for _, p := range all {
		if p.Verdict != proof.Service {
			t.Errorf("%s -> %s %d: %s, %s", p.From, p.To, p.Port, p.Verdict, p.Seen)
		}
	}
}

// TestProveServerStopped: that another rim has stopped is said.
func TestProveServerStopped(t *testing.T) {
	t.Parallel()
	l, r := inRelease(t, lab.Options{Scenario: "joined", Rims: 2, Release: "may-2021"})
	rim := l.Host("qs-rim2")
	rim.Close()
	remote, err := rim.Listen(3389, 4) // something always listens on Windows
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remote.Close() })
	closesOut(t, r)
	stopped := 0
	for _, p := range r.Record().Proofs {
		if p.From == "qs-rim1" && p.To == "qs-rim2" && p.Verdict == proof.NotTested && p.Seen == proof.NothingListens {
			stopped++
		}
	}
	if stopped != 6 {
		t.Errorf("%d flows to the rim that has stopped are not tested, want 6", stopped)
	}
}
