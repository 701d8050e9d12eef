package join

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/site"
)

// rim is one that has a certificate waiting once arrived is set, and comes to run with the right password.
type rim struct {
	mu       sync.Mutex
	state    facts.Value[facts.ServiceState]
	open     map[uint16]bool
	right    secret.Text
	words    string // the page for the right password
	wrong    string // and for another
	status   int    // 200, if it is 0; another opens nothing
	opens    map[uint16]bool
	breaks   bool // the conversation ends after a password
	tried    []secret.Text
	broke    error // the conversation's end
	refuses  bool  // the exchange fails
	awakened func(*rim)
}

func (r *rim) State() (facts.Value[facts.ServiceState], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.awakened != nil {
		r.awakened(r)
	}
	return r.state, r.broke
}

func (r *rim) Listening() (map[uint16]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open, r.broke
}

func (r *rim) Unlock(p secret.Text) (int, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = append(r.tried, p)
	switch {
	case r.refuses:
		return 0, "", &script.Error{Op: "setup", Message: "the connection was closed"}
	case p != r.right:
		if r.breaks {
			r.broke = errors.New("the script ended without its last frame")
		}
		return 200, cmp.Or(r.wrong, "<html><title>Setup</title><p>The password is incorrect.</p><form>"), nil
	case r.status != 0:
		return r.status, r.words, nil
	}
	r.state = facts.Known(facts.Running)
	r.open = map[uint16]bool{443: true, 4242: true, setup: true}
	if r.opens != nil {
		r.open = r.opens
	}
	return 200, r.words, nil
}

const setup = 4444

// waiting is a rim whose certificate has arrived.
func waiting() *rim {
	return &rim{
		state: facts.Known(facts.CertificatesNotInstalled), open: map[uint16]bool{setup: true, unlockPort: true}, right: "s3cret",
		words: "<p>The service was successfully unlocked.</p>",
	}
}

// operator answers in turn.
type operator struct {
	passwords []secret.Text
	says      Answer
	err       error
	waits     bool // gives no password until it is broken off
}

func (o *operator) OneTimePassword(ctx context.Context) (secret.Text, error) {
	if o.waits {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if len(o.passwords) == 0 {
		return "", o.err
	}
	p := o.passwords[0]
	o.passwords = o.passwords[1:]
	return p, nil
}

func (o *operator) Confirm(context.Context, string) (Answer, error) { return o.says, o.err }

// walk does every step up to the first that fails.
func walk(t *testing.T, j *Join) (outcomes map[string]Outcome, told string, err error) {
	t.Helper()
	j.Site = site.Site{Name: "x", Release: "1.0.2", Nodes: []site.Node{{Name: "c", Role: site.Central, Host: "c.corp.example"}}}
	if j.Node.Name == "" {
		j.Node = site.Node{Name: "r", Role: site.Rim, Host: "r.corp.example", Services: []site.Service{site.Repository, site.Proxy, site.Engine}}
	}
	j.Ports, j.Poll = []uint16{443, 4242}, time.Millisecond
	if j.Limit == 0 {
		j.Limit = 200 * time.Millisecond
	}
	var lines []string
	j.Tell = func(s ...string) error {
		lines = append(lines, s...)
		return nil
	}
	outcomes = map[string]Outcome{}
	for _, s := range Steps {
		out, err := j.Do(t.Context(), s)
		if err != nil {
			return outcomes, strings.Join(lines, "\n"), err
		}
		outcomes[s.ID] = out
		if out.State == Failed {
			break
		}
	}
	return outcomes, strings.Join(lines, "\n"), nil
}

// states are those of the steps that were tried, last what became of the last of them.
func states(outcomes map[string]Outcome) (all []string, last Outcome) {
	for _, s := range Steps {
		if out, ok := outcomes[s.ID]; ok {
			all, last = append(all, string(out.State)), out
		}
	}
	return all, last
}

// TestByHand: what becomes of the steps when a person does the central node's part.
func TestByHand(t *testing.T) {
	t.Parallel()
	running := func() *rim {
		return &rim{state: facts.Known(facts.Running), open: map[uint16]bool{443: true, 4242: true, setup: true}}
	}
	for _, test := range []struct {
		name   string
		rim    *rim
		person *operator
		node   site.Node
		want   []string // a state for each step that was tried
		says   string   // in what was seen of the last
		told   string
		tried  int
	}{
		{name: "all goes well", rim: waiting(), person: &operator{passwords: []secret.Text{"s3cret"}, says: Yes},
			want: []string{"done", "done", "done", "done", "by_hand"}, says: "a person says that it is done", tried: 1,
			told: "Under Load balancing add the node r;"},
		{name: "the last is left", rim: waiting(), person: &operator{passwords: []secret.Text{"s3cret"}, says: No},
			want: []string{"done", "done", "done", "done", "left"}, says: "a person says that it is not done", tried: 1, told: "host allow list: r.corp.example, r; Apply."},
		{name: "the last is not answered", rim: waiting(), person: &operator{passwords: []secret.Text{"s3cret"}},
			want: []string{"done", "done", "done", "done", "left"}, says: "nobody has answered whether it is done", tried: 1, told: "A certificate waits on r already."},
		{name: "no proxy", rim: waiting(), person: &operator{passwords: []secret.Text{"s3cret"}}, tried: 1,
			node: site.Node{Name: "r", Role: site.Rim, Host: "10.0.0.12", Services: []site.Service{site.Repository}},
			want: []string{"done", "done", "done", "done", "not_needed"}, says: "r runs no proxy", told: "type that."},
		{name: "mistyped twice", rim: waiting(), person: &operator{passwords: []secret.Text{"a", "b", "s3cret"}, says: Yes},
			want: []string{"done", "done", "done", "done", "by_hand"}, told: "once more", tried: 3},
		{name: "mistyped", rim: waiting(), person: &operator{passwords: []secret.Text{"a", "b", "c", "d"}},
			want: []string{"done", "done", "failed"}, says: "r still waits for the password; it answered 200: Setup The password is incorrect.", tried: 3},
		{name: "mistyped, and then nothing", rim: waiting(), person: &operator{passwords: []secret.Text{"a"}},
			want: []string{"done", "done", "failed"}, says: "r still waits for the password", tried: 1},
		{name: "no password", rim: waiting(), person: &operator{}, want: []string{"failed"}, says: "no one-time password was given"},
		{name: "runs already", rim: running(), person: &operator{says: Yes}, want: []string{"done", "done", "done", "done", "by_hand"}},
		{name: "unlocked by somebody else meanwhile", person: &operator{waits: true, says: Yes},
			rim: func() *rim {
				r, looks := waiting(), 0
				r.awakened = func(r *rim) {
					if looks++; looks == 3 {
						r.state, r.open = facts.Known(facts.Running), map[uint16]bool{443: true, 4242: true}
					}
				}
				return r
			}(),
			want: []string{"done", "done", "done", "done", "by_hand"}},
		{name: "no certificate", rim: &rim{state: facts.Known(facts.CertificatesNotInstalled)}, person: &operator{passwords: []secret.Text{"s3cret"}},
			want: []string{"failed"}, says: "a password was given, but nothing listens on port 4570", told: "name r, host name r.corp.example (it cannot be changed later); tick engine, proxy; Apply."},
		{name: "not waiting", rim: &rim{state: facts.Unknown[facts.ServiceState]("refused")}, person: &operator{},
			want: []string{"failed"}, says: "its state is not known: refused"},
		{name: "another page, and the port closes", person: &operator{passwords: []secret.Text{"s3cret"}, says: Yes}, tried: 1,
			rim:  func() *rim { r := waiting(); r.words = "<b>Thank you</b>"; return r }(),
			want: []string{"done", "done", "done", "done", "by_hand"}},
		{name: "the exchange fails", person: &operator{passwords: []secret.Text{"s3cret", "s3cret", "s3cret"}}, tried: 3,
			rim:  func() *rim { r := waiting(); r.refuses = true; return r }(),
			want: []string{"done", "done", "failed"}, says: "still waits for the password; setup: the connection was closed"},
		{name: "initialising for ever", rim: &rim{state: facts.Known(facts.Initialising)}, person: &operator{}, want: []string{"failed"}, says: "it is initialising"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j := &Join{Rim: test.rim, Person: test.person, Node: test.node}
			outcomes, told, err := walk(t, j)
			if err != nil {
				t.Fatal(err)
			}
			got, last := states(outcomes)
			if !slices.Equal(got, test.want) || !strings.Contains(last.Seen, test.says) {
				t.Errorf("steps %q, the last saw %q; want %q, %q", got, last.Seen, test.want, test.says)
			}
			if (last.State == Failed || last.State == Left) != (last.Owner != "" && last.Remedy != "") {
				t.Errorf("owner %q and remedy %q of a step that is %s", last.Owner, last.Remedy, last.State)
			}
			if !strings.Contains(told, test.told) || len(test.rim.tried) != test.tried {
				t.Errorf("told:\n%s\nwant %q; tried %d passwords, want %d", told, test.told, len(test.rim.tried), test.tried)
			}
			for _, out := range outcomes {
				if strings.Contains(out.Seen+out.Remedy, "s3cret") {
					t.Errorf("the password is shown: %+v", out)
				}
			}
			if strings.Contains(told, "s3cret") {
				t.Error("the password is shown")
			}
		})
	}
}

// TestByHandBroken: the end of the conversation with the rim, or with the person, ends the join.
func TestByHandBroken(t *testing.T) {
	t.Parallel()
	gone := errors.New("the script ended without its last frame")
	if outcomes, _, err := walk(t, &Join{Rim: &rim{broke: gone, state: facts.Unknown[facts.ServiceState]("x")}, Person: &operator{}}); err != nil || outcomes["node"].State != Failed {
		t.Errorf("the rim's end before: %+v, %v", outcomes, err)
	}
	r, looks := waiting(), 0
	r.awakened = func(r *rim) {
		if looks++; looks == 3 {
			r.broke = gone
		}
	}
	if outcomes, _, err := walk(t, &Join{Rim: r, Person: &operator{waits: true}}); err != nil || outcomes["node"].State != Failed || !strings.Contains(outcomes["node"].Seen, gone.Error()) {
		t.Errorf("the rim's end while a person is asked: %+v, %v", outcomes, err)
	}
	r = waiting()
	r.breaks = true
	o := &operator{passwords: []secret.Text{"wrong", "s3cret"}}
	if outcomes, _, err := walk(t, &Join{Rim: r, Person: o}); err != nil || outcomes["unlock"].State != Failed || !strings.Contains(outcomes["unlock"].Seen, "whether the certificate is unlocked is not known") || len(o.passwords) != 1 {
		t.Errorf("the rim's end after a password: %+v, %v, %d left", outcomes, err, len(o.passwords))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j := &Join{Rim: waiting(), Person: &operator{}, Tell: func(...string) error { return nil }, Poll: time.Millisecond, Limit: time.Second}
	if _, err := j.Do(ctx, NodeStep); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	said := errors.New("reading standard input: closed")
	if _, _, err := walk(t, &Join{Rim: waiting(), Person: &operator{err: said}}); !errors.Is(err, said) {
		t.Errorf("the person's: %v", err)
	}
}
