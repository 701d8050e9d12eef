package checks_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/site"
)

// joinOf is a join of a rim whose steps came to these states; the fifth step is the last.
func joinOf(rim string, states ...string) []checks.JoinStep {
	titles := []string{"create the node", "send the certificate", "unlock the certificate", "wait until it runs", "let it serve browsers"}
	guide := []string{"1-3", "4-5", "6-7", "8", "9"}
	var steps []checks.JoinStep
	for i, state := range states {
		s := checks.JoinStep{Rim: rim, Title: titles[i], Guide: guide[i], State: state, Last: i == 4}
		switch state {
		case "failed":
			s.Seen, s.Owner, s.Remedy = "the answer was 400", "the network team", "open port 4444"
		case "left":
			s.Seen, s.Owner, s.Remedy = "virtual proxies are not offered", "you", "add the node in the QMC"
		case "done":
			s.Seen = "seen"
		}
		steps = append(steps, s)
	}
	return steps
}

// TestJoinComplete: the steps of a rim in, the verdict on its join out.
func TestJoinComplete(t *testing.T) {
	t.Parallel()
	const again = "run the same preflight join lab-1 --rim r again"
	for _, test := range []struct {
		name    string
		steps   []checks.JoinStep
		verdict checks.Verdict // "" for no finding
		seen    string
		owner   string
		remedy  string
	}{
		{"nothing was joined", nil, "", "", "", ""},
		{"another rim was joined", joinOf("other", "failed"), "", "", "", ""},
		{"done", joinOf("r", "done", "done", "done", "done", "done"), checks.Pass, "every step is done", "", ""},
		{"no proxy", joinOf("r", "done", "done", "done", "done", "not_needed"), checks.Pass, "every step is done", "", ""},
		{"by hand", joinOf("r", "done", "done", "done", "done", "by_hand"), checks.Pass, "every step is done; on a person's word alone: let it serve browsers (step 9 of the guide)", "", ""},
		{"more by hand", joinOf("r", "by_hand", "done", "done", "done", "by_hand"), checks.Pass,
			"every step is done; on a person's word alone: create the node (step 1-3 of the guide), let it serve browsers (step 9 of the guide)", "", ""},
		{"failed", joinOf("r", "done", "failed"), checks.Fail, "not done: send the certificate (step 4-5 of the guide): the answer was 400", "the network team", "open port 4444"},
		{"failed after a person's word", joinOf("r", "by_hand", "failed"), checks.Fail, "not done: send the certificate (step 4-5 of the guide): the answer was 400", "the network team", "open port 4444"},
		{"failed without a word", []checks.JoinStep{{Rim: "r", Title: "create the node", Guide: "1-3", State: "failed"}}, checks.Fail, "not done: create the node (step 1-3 of the guide)", "you", again},
		{"failed after one that was left", joinOf("r", "left", "failed"), checks.Fail, "not done: send the certificate (step 4-5 of the guide): the answer was 400", "the network team", "open port 4444"},
		{"failed twice", append(joinOf("r", "failed"), checks.JoinStep{Rim: "r", Title: "x", Guide: "9", State: "failed"}), checks.Fail,
			"not done: create the node (step 1-3 of the guide): the answer was 400", "the network team", "open port 4444"},
		{"left", joinOf("r", "done", "done", "done", "done", "left"), checks.Unknown, "left to do: let it serve browsers (step 9 of the guide): virtual proxies are not offered", "you", "add the node in the QMC"},
		{"waiting", joinOf("r", "waiting"), checks.Unknown, "broken off while it waited for a person: create the node (step 1-3 of the guide)", "you", again},
		{"started", joinOf("r", "done", "started"), checks.Unknown, "broken off, and its end was not seen: send the certificate (step 4-5 of the guide)", "you", again},
		{"a state of a later version", joinOf("r", "done", "postponed"), checks.Unknown, "broken off, and its end was not seen: send the certificate (step 4-5 of the guide)", "you", again},
		{"broken off between two steps", joinOf("r", "done", "done"), checks.Unknown, "the join was broken off before its last step", "you", again},
		{"broken off after a person's word", joinOf("r", "by_hand", "done"), checks.Unknown, "the join was broken off before its last step", "you", again},
	} {
		got := findings(checks.Input{Run: "lab-1", Join: test.steps}, checks.JoinComplete, "r")
		if test.verdict == "" {
			if len(got) != 0 {
				t.Errorf("%s: %+v", test.name, got)
			}
			continue
		}
		if len(got) != 1 {
			t.Fatalf("%s: %d findings", test.name, len(got))
		}
		f := got[0]
		if f.Verdict != test.verdict || f.Seen != test.seen || f.Owner != test.owner || f.Remedy != test.remedy || f.Title == "" || f.Expected == "" {
			t.Errorf("%s: %+v", test.name, f)
		}
	}
}

// TestJoinLevel: what rests on a person's word is assumed.
func TestJoinLevel(t *testing.T) {
	t.Parallel()
	for last, want := range map[string]facts.Level{"done": facts.Observed, "by_hand": facts.Assumed} {
		if f := findings(checks.Input{Join: joinOf("r", "done", "done", "done", "done", last)}, checks.JoinComplete, "r")[0]; f.Level != want {
			t.Errorf("%s: level %s, want %s", last, f.Level, want)
		}
	}
}

// TestJoinRims: each rim that was joined has a finding of its own, in the order of the site file; a name is quoted for a
// command line, and without a run there is no command.
func TestJoinRims(t *testing.T) {
	t.Parallel()
	in := checks.Input{Run: "my runs/lab-1", Site: site.Site{Name: "lab", Release: "1.0.2", Nodes: append(slices.Clone(lab.Nodes), site.Node{Name: "r2", Role: site.Rim}, site.Node{Name: "r3", Role: site.Rim})}}
	in.Join = slices.Concat(joinOf("r3", "done", "failed"), joinOf("r", "done", "done", "done", "done", "done"))
	in.Join = append(in.Join, joinOf("r2", "waiting")...)
	type short struct{ server, verdict, remedy string }
	read := func() (got []short) {
		for _, f := range checks.All(in) {
			if f.Check == checks.JoinComplete {
				got = append(got, short{f.Server, string(f.Verdict), f.Remedy})
			}
		}
		return got
	}
	want := []short{{"r", "pass", ""}, {"r2", "unknown", `run the same preflight join "my runs/lab-1" --rim r2 again`}, {"r3", "fail", "open port 4444"}}
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
	last := &in.Join[len(in.Join)-1]
	last.By, want[1].remedy = "certificate", want[1].remedy+", with its --qrs flags"
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("with a certificate: %q, want %q", got, want)
	}
	in.Join[0].By, last.By, want[1].remedy = "certificate", "hand", strings.TrimSuffix(want[1].remedy, ", with its --qrs flags")
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("where another rim is joined with a certificate: %q, want %q", got, want)
	}
	in.Run, want[1].remedy = "", ""
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("without a run: %q, want %q", got, want)
	}
	in.BackOut = true
	if got := read(); len(got) != 0 {
		t.Errorf("a back-out is judged by its join: %q", got)
	}
}
