package record_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qlik-preflight/preflight/internal/record"
)

// stepStarted begins a step of a join, and stepWaiting and stepEnded go on with it.
func stepStarted(rim, step, clock string) record.Event {
	return record.StepStarted{Rim: rim, Step: step, Guide: "1-3", Title: step, At: at(clock)}
}

func stepWaiting(rim, step string, lines ...string) record.Event {
	return record.StepWaiting{Rim: rim, Step: step, For: lines, At: at("10:24:10")}
}

func stepEnded(rim, step string, state record.StepState, clock string) record.Event {
	return record.StepEnded{Rim: rim, Step: step, State: state, Seen: "seen", Owner: "you", Remedy: "run the same again", At: at(clock)}
}

// said is what is said of steps, each as "rim step state".
func said(steps []record.Step) []string {
	var all []string
	for _, s := range steps {
		all = append(all, strings.Join([]string{s.Rim, s.Step, string(s.State)}, " "))
	}
	return all
}

// TestJoinStep: a step begins, waits for a person and ends; one whose end was not seen stays as it was left.
func TestJoinStep(t *testing.T) {
	t.Parallel()
	start, wait := stepStarted("qs-rim1", "node", "10:24:05"), stepWaiting("qs-rim1", "node", "Open the QMC.", "Type the password.")
	end := at("10:25:00")
	begun := record.Step{Rim: "qs-rim1", Step: "node", Guide: "1-3", Title: "node", By: "hand", State: record.StepStart, StartedAt: at("10:24:05")}
	waits, ended := begun, begun
	waits.State, waits.For = record.StepWait, []string{"Open the QMC.", "Type the password."}
	ended.State, ended.Seen, ended.Owner, ended.Remedy, ended.EndedAt = record.StepFailed, "seen", "you", "run the same again", &end
	endedByHand := ended
	endedByHand.State, endedByHand.For = record.StepByHand, waits.For
	waitsOnce := waits
	waitsOnce.For = []string{"Type it once more."}
	for _, test := range []struct {
		name   string
		events []record.Event
		want   record.Step
	}{
		{"started", []record.Event{start}, begun},
		{"started, and the command ended", []record.Event{start, record.CommandEnded{Outcome: record.Cancelled, At: at("10:24:06")}}, begun},
		{"started, and another command ran", []record.Event{start, record.CommandStarted{Name: "verify"}, record.CommandEnded{}}, begun},
		{"waiting", []record.Event{start, wait}, waits},
		{"waiting, and the command ended", []record.Event{start, wait, record.CommandEnded{}}, waits},
		{"told twice what to do", []record.Event{start, wait, stepWaiting("qs-rim1", "node", "Type it once more.")}, waitsOnce},
		{"failed", []record.Event{start, stepEnded("qs-rim1", "node", record.StepFailed, "10:25:00")}, ended},
		{"done by hand keeps what was to be done", []record.Event{start, wait, stepEnded("qs-rim1", "node", record.StepByHand, "10:25:00")}, endedByHand},
	} {
		r := fold(slices.Concat([]record.Event{oneChange()[0], record.CommandStarted{Name: "join"}, record.JoinStarted{Rim: "qs-rim1"}}, test.events)...)
		if diff := cmp.Diff([]record.Step{test.want}, r.Join.Steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestJoinAgain: the steps of every attempt are kept, each with who did the central node's part in it; what comes later goes
// on with the last attempt. With what the repository service was asked stays when a person joins the next rim.
func TestJoinAgain(t *testing.T) {
	t.Parallel()
	certificate := &record.ClientCertificate{Subject: "CN=QlikClient"}
	newer := &record.ClientCertificate{Subject: "CN=QlikClient", SHA256: "b194"}
	var events []record.Event
	before := 0
	for _, test := range []struct {
		name        string
		events      []record.Event
		rim, qrs    string
		certificate *record.ClientCertificate
		steps       []string // the new ones
		latest      []string
	}{
		{"begun by hand", []record.Event{record.JoinStarted{Rim: "qs-rim1"}}, "qs-rim1", "", nil, nil, nil},
		{"its first step", []record.Event{stepStarted("qs-rim1", "node", "10:24:05"), stepWaiting("qs-rim1", "node", "x")}, "qs-rim1", "", nil,
			[]string{"qs-rim1 node waiting"}, []string{"qs-rim1 node waiting"}},
		{"with a certificate, up to a failure", []record.Event{record.JoinStarted{Rim: "qs-rim1", QRS: "qs-central:4242", Certificate: certificate},
			stepStarted("qs-rim1", "node", "10:25:05"), stepEnded("qs-rim1", "node", record.StepDone, "10:25:06"),
			stepStarted("qs-rim1", "certificate", "10:25:06"), stepEnded("qs-rim1", "certificate", record.StepFailed, "10:25:07")}, "qs-rim1", "qs-central:4242", certificate,
			[]string{"qs-rim1 node done", "qs-rim1 certificate failed"}, []string{"qs-rim1 node done", "qs-rim1 certificate failed"}},
		{"another rim, by hand", []record.Event{record.JoinStarted{Rim: "qs-rim2"}, stepStarted("qs-rim2", "node", "10:26:00")}, "qs-rim2", "qs-central:4242", certificate,
			[]string{"qs-rim2 node started"}, []string{"qs-rim1 node done", "qs-rim1 certificate failed", "qs-rim2 node started"}},
		{"the first again", []record.Event{record.JoinStarted{Rim: "qs-rim1", QRS: "qs-central:14242", Certificate: newer}}, "qs-rim1", "qs-central:14242", newer,
			nil, []string{"qs-rim1 node done", "qs-rim1 certificate failed", "qs-rim2 node started"}},
		{"broken off in its first step", []record.Event{stepStarted("qs-rim1", "node", "10:30:00")}, "qs-rim1", "qs-central:14242", newer,
			[]string{"qs-rim1 node started"}, []string{"qs-rim1 node done", "qs-rim1 certificate failed", "qs-rim2 node started"}},
		{"and once more", []record.Event{record.JoinStarted{Rim: "qs-rim1", QRS: "qs-central:14242", Certificate: newer},
			stepStarted("qs-rim1", "node", "10:31:00"), stepEnded("qs-rim1", "node", record.StepDone, "10:31:01"),
			stepStarted("qs-rim1", "certificate", "10:31:01"), stepEnded("qs-rim1", "certificate", record.StepDone, "10:31:02")}, "qs-rim1", "qs-central:14242", newer,
			[]string{"qs-rim1 node done", "qs-rim1 certificate done"}, []string{"qs-rim1 node done", "qs-rim1 certificate done", "qs-rim2 node started"}},
	} {
		events = append(events, test.events...)
		r := fold(append([]record.Event{oneChange()[0], record.CommandStarted{Name: "join"}}, events...)...)
		if j := r.Join; j.Rim != test.rim || j.QRS != test.qrs || j.Certificate != test.certificate || j.Steps == nil {
			t.Errorf("%s: %+v; want rim %s, qrs %q, certificate %+v", test.name, j, test.rim, test.qrs, test.certificate)
		}
		got := said(r.Join.Steps)[before:]
		if before = len(r.Join.Steps); !slices.Equal(got, test.steps) {
			t.Errorf("%s: steps %q, want %q", test.name, got, test.steps)
		}
		if got := said(r.Join.Latest()); !slices.Equal(got, test.latest) {
			t.Errorf("%s: latest %q, want %q", test.name, got, test.latest)
		}
	}
	r := fold(append([]record.Event{oneChange()[0]}, events...)...)
	var by []string
	for _, s := range r.Join.Steps {
		by = append(by, s.By)
	}
	if want := strings.Fields("hand certificate certificate hand certificate certificate certificate"); !slices.Equal(by, want) {
		t.Errorf("the steps were done by %q, want %q", by, want)
	}
	// The evidence is that of the attempt that did it.
	if s := r.Join.Latest()[0]; !s.StartedAt.Equal(at("10:25:05")) {
		t.Errorf("the first step is that of %v", s.StartedAt)
	}
}

// TestJoinLatest: what was seen to be done stays so unless a later attempt saw that it could not be done; a person's word
// that it is done also gives way to any other end.
func TestJoinLatest(t *testing.T) {
	t.Parallel()
	const (
		started, waiting, done, byHand, left, needless, failed = record.StepStart, record.StepWait, record.StepDone, record.StepByHand, record.StepLeft, record.StepNeedless, record.StepFailed
	)
	all := []record.StepState{started, waiting, done, byHand, left, needless, failed}
	// stays has the later states that leave the earlier one as it is.
	stays := map[record.StepState][]record.StepState{
		done:     {started, waiting, done, byHand, left, needless},
		needless: {started, waiting, done, byHand, left, needless},
		byHand:   {started, waiting},
	}
	for _, first := range all {
		for _, second := range all {
			j := record.Join{Steps: []record.Step{
				{Rim: "qs-rim1", Step: "proxy", State: first, Seen: "first"}, {Rim: "qs-rim2", Step: "proxy", State: done}, {Rim: "qs-rim1", Step: "node", State: failed},
				{Rim: "qs-rim1", Step: "proxy", State: second, Seen: "second"},
			}}
			want := record.Step{Rim: "qs-rim1", Step: "proxy", State: second, Seen: "second"}
			if slices.Contains(stays[first], second) {
				want.State, want.Seen = first, "first"
			}
			if got := j.Latest(); len(got) != 3 || cmp.Diff(want, got[0]) != "" || got[1].Rim != "qs-rim2" || got[2].Step != "node" {
				t.Errorf("%s and then %s: %+v, want first %+v", first, second, got, want)
			}
			if j.Steps[0].State != first || len(j.Steps) != 4 {
				t.Errorf("%s and then %s: the attempts have become %+v", first, second, j.Steps)
			}
		}
	}
	if got := (*record.Join)(nil).Latest(); len(got) != 0 {
		t.Errorf("without a join: %+v", got)
	}
}

// TestJoinWithoutStart: a journal whose join has lost its beginning can be read, whichever event is the first.
func TestJoinWithoutStart(t *testing.T) {
	t.Parallel()
	for _, first := range []record.Event{
		stepStarted("qs-rim1", "node", "10:24:05"), stepWaiting("qs-rim1", "node", "x"), stepEnded("qs-rim1", "node", record.StepDone, "10:24:06"),
	} {
		r := fold(oneChange()[0], first)
		if r.Join == nil || r.Join.Rim != "qs-rim1" || len(r.Join.Steps) != 1 || r.Join.Steps[0].Step != "node" {
			t.Errorf("%s alone: %+v", record.Kind(first), r.Join)
		}
		if r.Apply(stepStarted("qs-rim2", "node", "10:25:00")); !slices.Contains(said(r.Join.Steps), "qs-rim2 node started") {
			t.Errorf("%s, and a step of another rim: %q", record.Kind(first), said(r.Join.Steps))
		}
	}
}

// TestJoinOfNothing: a run that joins nobody has no join in its record.
func TestJoinOfNothing(t *testing.T) {
	t.Parallel()
	if r := fold(applied()...); r.Join != nil {
		t.Errorf("apply has the join %+v", r.Join)
	}
}

// TestJoinClone: a join that somebody holds stays as it was, and so does the one that a copy was made of.
func TestJoinClone(t *testing.T) {
	t.Parallel()
	begin := []record.Event{oneChange()[0], record.CommandStarted{Name: "join"}}
	events := slices.Concat(joined("qs-rim1")[:2], []record.Event{stepWaiting("qs-rim1", "node", "x", "y")}, joined("qs-rim1")[2:],
		joined("qs-rim2")[:6], joined("qs-rim1"), []record.Event{stepEnded("qs-rim1", "proxy", record.StepLeft, "10:40:00")})
	r := fold(begin...)
	var held []record.Record
	var were []string
	for i, e := range events {
		was, c := shown(t, r), r.Clone()
		for _, later := range events[i:] {
			c.Apply(later)
		}
		if diff := cmp.Diff(was, shown(t, r)); diff != "" {
			t.Errorf("what became of the copy before event %d, %s, changed the record:\n%s", i, record.Kind(e), diff)
		}
		r.Apply(e)
		held, were = append(held, r.Clone()), append(were, shown(t, r))
	}
	for i, h := range held {
		if diff := cmp.Diff(were[i], shown(t, h)); diff != "" {
			t.Errorf("what was held after event %d, %s, has changed:\n%s", i, record.Kind(events[i]), diff)
		}
	}
}

// TestJoinEvents: the events of a join survive the journal, and what a person has to be able to rely on is forced to disk.
func TestJoinEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		event  record.Event
		kind   string
		forced bool
		want   string
	}{
		{joined("qs-rim1")[0], "join_started", true, `{"event":"join_started","data":{"rim":"qs-rim1","qrs":"qs-central.corp.example:4242","certificate":{"subject":"CN=QlikClient",` +
			`"sha256":"b1946ac92492d2347c6235b4d2611184f0e4c2b5a6d7980f1e2d3c4b5a697887","not_after":"2036-01-10T12:30:00Z"},"at":"2026-11-24T10:24:05Z"}}`},
		{record.JoinStarted{Rim: "qs-rim1", At: at("10:24:05")}, "join_started", true, `{"event":"join_started","data":{"rim":"qs-rim1","at":"2026-11-24T10:24:05Z"}}`},
		{stepStarted("qs-rim1", "node", "10:24:05"), "step_started", true,
			`{"event":"step_started","data":{"rim":"qs-rim1","step":"node","guide":"1-3","title":"node","at":"2026-11-24T10:24:05Z"}}`},
		{stepWaiting("qs-rim1", "node", "Open the QMC.", "\x1b[2J"), "step_waiting", false,
			`{"event":"step_waiting","data":{"rim":"qs-rim1","step":"node","for":["Open the QMC.","\u001b[2J"],"at":"2026-11-24T10:24:10Z"}}`},
		{stepEnded("qs-rim1", "node", record.StepByHand, "10:25:00"), "step_ended", true,
			`{"event":"step_ended","data":{"rim":"qs-rim1","step":"node","state":"by_hand","seen":"seen","owner":"you","remedy":"run the same again","at":"2026-11-24T10:25:00Z"}}`},
		{record.StepEnded{Rim: "qs-rim1", Step: "node", State: record.StepDone, At: at("10:25:00")}, "step_ended", true,
			`{"event":"step_ended","data":{"rim":"qs-rim1","step":"node","state":"done","seen":"","at":"2026-11-24T10:25:00Z"}}`},
	} {
		b, err := record.EncodeEvent(test.event)
		if err != nil || string(b) != test.want {
			t.Errorf("%s\nis %s (%v)\nwant %s", test.kind, b, err, test.want)
		}
		back, err := record.DecodeEvent(b)
		if err != nil {
			t.Errorf("%s: %v", test.kind, err)
			continue
		}
		if diff := cmp.Diff(test.event, back); diff != "" {
			t.Errorf("%s does not survive the journal:\n%s", test.kind, diff)
		}
		if again, err := record.EncodeEvent(back); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s becomes %s (%v)", test.kind, again, err)
		}
		if kind, forced := record.Kind(test.event), record.MustBeForced(test.event); kind != test.kind || forced != test.forced {
			t.Errorf("%s: kind %s, forced %v, want %v", test.kind, kind, forced, test.forced)
		}
	}
}

// TestOver: a step is over if nothing of it is left to do, whoever did it.
func TestOver(t *testing.T) {
	t.Parallel()
	for state, want := range map[record.StepState]bool{
		record.StepStart: false, record.StepWait: false, record.StepDone: true, record.StepByHand: true, record.StepLeft: false,
		record.StepNeedless: true, record.StepFailed: false, "": false,
	} {
		if state.Over() != want {
			t.Errorf("%q: over %v, want %v", state, !want, want)
		}
	}
}
