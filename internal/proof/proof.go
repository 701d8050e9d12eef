// Package proof judges connections by one rule: a verdict needs both ends' view of the same attempt.
//
// With Windows Firewall on, a connection to a port that nobody listens on is dropped silently, whether a rule allows it
// or not (stealth mode). A time-out alone therefore proves nothing: it becomes dropped only when the target listened the
// whole time.
package proof

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/ports"
)

// Verdict is what became of one attempt.
type Verdict string

const (
	Answered        Verdict = "answered"   // our listener, with the key
	Service         Verdict = "service"    // the real service
	Other           Verdict = "other"      // something else answered
	Translated      Verdict = "translated" // proven, but the target saw another source address
	Refused         Verdict = "refused"
	Dropped         Verdict = "dropped"
	NoName          Verdict = "no_name"
	NoRoute         Verdict = "no_route"
	BlockedAtSource Verdict = "blocked_at_source"
	NotTested       Verdict = "not_tested"
)

// Works tells whether the flow works.
func (v Verdict) Works() bool { return v == Answered || v == Service || v == Translated }

// Fails tells whether the flow was seen not to work.
func (v Verdict) Fails() bool {
	return slices.Contains([]Verdict{Other, Refused, Dropped, NoName, NoRoute, BlockedAtSource}, v)
}

// Phase is the moment of a run that a proof belongs to.
type Phase string

const (
	Baseline   Phase = "baseline"
	AfterApply Phase = "after_apply"
	CloseOut   Phase = "close_out"
	Verify     Phase = "verify" // at any later time
)

// NothingListens is what is seen of a flow to a port on which nobody listens, and where no listener of ours was allowed.
const NothingListens = "nothing listens yet, and no listener was opened"

// Phases are all phases, in the order of a run.
var Phases = []Phase{Baseline, AfterApply, CloseOut, Verify}

// Question is one flow to try: what the dialler is to do, and what the target has for it.
type Question struct {
	ID      string // the dial's name in both reports
	Flow    ports.Flow
	Source  netip.Addr // the dialler's own address on that way
	Address netip.Addr // dialled
	Target  Target
	Owner   string             // who listens, as the target's own table has it; "" unknown
	Holder  facts.Holder       // whose that is, "" not asked
	Policy  *firewall.Decision // what the target's stored rules say of the packet; nil: they were not asked
	Hold    time.Duration      // how long a connection to a service is held open at least
	Token   string             // what the dialler says to our listener
	Key     string             // what our listener answers with; the dialler never has it
	Reason  string             // why the flow is not tried, for TargetNone
	Verdict Verdict
}

// Target is what stands at the other end of a question.
type Target string

const (
	TargetListener Target = "listener" // a listener of ours, for the moment
	TargetService  Target = "service"  // whoever listens there already
	TargetNone     Target = "none"     // not tried: Verdict and Reason say why
)

// Answer is what our listener has to reply.
func (q Question) Answer() string {
	h := hmac.New(sha256.New, []byte(q.Key))
	h.Write([]byte(q.Token))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// Report is one server's side of a proof, as its script told it.
type Report struct {
	Bound    []uint16         // ports of ours that listened
	Busy     map[uint16]int   // ports that could not be bound, with the Windows Sockets error
	Dials    map[string]Dial  // by question
	Heard    map[string]Heard // by token
	Accepted []Seen           // connections that our listeners accepted, heard or not
	Seen     []Seen           // new connections to watched ports, wherever from
	Gone     []uint16         // watched ports on which nobody listened any more at some moment
	Served   time.Duration    // how long it listened and watched after go, by its own clock; 0: its end was not seen
	Gap      time.Duration    // the longest time in which it did not look at its connections
	Went     time.Time        // when go was sent, by our clock
	Began    time.Time        // by when it had certainly begun to watch, by our clock: go may travel long
	Lost     string           // why the report is incomplete, "" if it is complete
}

// Dial is the dialler's view of one attempt.
type Dial struct {
	Result string // open, failed, timeout
	Code   int    // Windows Sockets error
	After  time.Duration
	Took   time.Duration
	From   netip.AddrPort
	Reply  []byte
	Told   time.Time // when we were told, by our clock
}

// Heard is a token that our listener received.
type Heard struct{ From, To netip.AddrPort }

// Seen is a connection in the target's TCP table.
type Seen struct {
	Port     uint16
	From, To netip.AddrPort
}

// Proof is the verdict on one flow, with the evidence of both ends.
type Proof struct {
	ID       string      `json:"id"`
	Phase    Phase       `json:"phase"`
	From     string      `json:"from"`
	To       string      `json:"to"`
	Protocol string      `json:"protocol"`
	Port     uint16      `json:"port"`
	Service  string      `json:"service"`
	Verdict  Verdict     `json:"verdict"`
	Level    facts.Level `json:"level"`
	Seen     string      `json:"seen"` // what happened, in words
	At       time.Time   `json:"at"`   // when it was judged
	Dialler  *Dialler    `json:"dialler"`
	Target   *Targeted   `json:"target"`
	Cause    *string     `json:"cause"`  // why it fails, inferred from the evidence and the target's stored rules; nil: not known
	Owner    *string     `json:"owner"`  // who can change that
	Remedy   *string     `json:"remedy"` // what to type, or to ask for
}

// Dialler is the dialling end in a record.
type Dialler struct {
	Address   string    `json:"address"` // own address and port; "" if it never connected
	StartedAt time.Time `json:"started_at"`
	MS        int64     `json:"ms"`
	Code      int       `json:"code"` // Windows Sockets error, 0 if none
}

// Targeted is the dialled end in a record.
type Targeted struct {
	Address  string `json:"address"`
	SeenFrom string `json:"seen_from"` // the source the target saw; "" if it saw none
	Owner    string `json:"owner"`     // who listens: a program's name, "preflight" for our listener, "" unknown
}

// ID names a flow's proof in one phase.
func ID(phase Phase, f ports.Flow) string {
	return fmt.Sprintf("%s:%s:%s:%d", phase, f.From, f.To, f.Port)
}

// Judge says what became of a question. from and to are the reports of the two ends.
func Judge(phase Phase, q Question, from, to Report) Proof {
	p := Proof{
		ID: ID(phase, q.Flow), Phase: phase, From: q.Flow.From, To: q.Flow.To, Protocol: "tcp",
		Port: q.Flow.Port, Service: string(q.Flow.Service), Verdict: NotTested, Level: facts.Observed,
	}
	d, dialled := from.Dials[q.ID]
	var j judgement
	switch {
	case q.Target == TargetNone:
		j = judgement{q.Verdict, facts.Observed, q.Reason}
	case !dialled:
		j = notTested("%s did not report its dial: %s", q.Flow.From, orElse(from.Lost, "no reason given"))
	default:
		a := newAttempt(q, d, from, to)
		j = a.judge()
		p.Dialler = &Dialler{StartedAt: from.Went.Add(d.After).UTC(), MS: d.Took.Milliseconds(), Code: d.Code}
		p.Target = &Targeted{Address: netip.AddrPortFrom(q.Address, q.Flow.Port).String(), Owner: q.Owner}
		if q.Target == TargetListener {
			p.Target.Owner = "preflight"
		}
		if d.From.IsValid() {
			p.Dialler.Address = d.From.String()
		}
		if a.arrived {
			p.Target.SeenFrom = a.saw.String()
		}
		b := a.because(j.verdict)
		p.Cause, p.Owner, p.Remedy = given(b.cause), given(b.owner), given(b.remedy)
	}
	p.Verdict, p.Level, p.Seen = j.verdict, j.level, line(j.seen)
	return p
}

// judgement is a verdict, how sure it is, and what it rests on in words.
type judgement struct {
	verdict Verdict
	level   facts.Level
	seen    string
}

func proven(v Verdict, format string, args ...any) judgement {
	return judgement{v, facts.Proven, fmt.Sprintf(format, args...)}
}

func observed(v Verdict, format string, args ...any) judgement {
	return judgement{v, facts.Observed, fmt.Sprintf(format, args...)}
}

func notTested(format string, args ...any) judgement { return observed(NotTested, format, args...) }

// attempt is one dial with what both ends say of it.
type attempt struct {
	q       Question
	d       Dial
	from    Report
	to      Report
	saw     netip.AddrPort // the source that the target saw
	arrived bool           // it saw one
	listens bool           // somebody listened at the target, as far as its report goes
	silent  string         // why that is not so, if it is not
	covers  bool           // the whole attempt lies within the time the target listened
	late    string         // why that is not so, if it is not
}

func newAttempt(q Question, d Dial, from, to Report) attempt {
	because := func(s string) string {
		if to.Lost != "" {
			s += ": " + to.Lost
		}
		return s
	}
	a := attempt{q: q, d: d, from: from, to: to}
	a.saw, a.arrived = to.saw(q, d)
	a.covers, a.late = to.Lost == "" && to.covers(d), because(q.Flow.To+" did not listen all that time")
	code, busy := to.Busy[q.Flow.Port]
	switch {
	case q.Target == TargetService:
		a.listens = !slices.Contains(to.Gone, q.Flow.Port)
		a.silent = fmt.Sprintf("at some moment nobody listened on %d of %s", q.Flow.Port, q.Flow.To)
	case busy:
		a.silent = fmt.Sprintf("%s could not listen on %d (error %d)", q.Flow.To, q.Flow.Port, code)
	default:
		a.listens = slices.Contains(to.Bound, q.Flow.Port)
		a.silent = because(fmt.Sprintf("%s did not say that it listened on %d", q.Flow.To, q.Flow.Port))
	}
	return a
}

func (a attempt) judge() judgement {
	switch {
	case a.d.Result == "open" && a.q.Target == TargetListener:
		return a.listenerAnswered()
	case a.d.Result == "open":
		return a.serviceAnswered()
	case a.d.Result == "timeout" || a.d.Code == 10060:
		return a.timedOut()
	}
	return a.failed()
}

// listenerAnswered judges a connection to a listener of ours: the key and the token decide.
func (a attempt) listenerAnswered() judgement {
	f := a.q.Flow
	right := string(bytes.TrimSpace(a.d.Reply)) == a.q.Answer()
	switch {
	case right && a.arrived && a.d.From.IsValid() && a.saw.Addr() != a.d.From.Addr():
		return proven(Translated, "%s answered with the key, but saw %s where %s dialled from %s", f.To, a.saw.Addr(), f.From, a.d.From.Addr())
	case right && a.arrived:
		return proven(Answered, "%s answered with the key", f.To)
	case right:
		return observed(Answered, "%s answered with the key; its own report does not show the connection", f.To)
	case !a.arrived && a.to.accepted(f.Port, a.d.From):
		return notTested("%s accepted the connection, but did not hear the token", f.To)
	case a.arrived && len(a.d.Reply) == 0:
		return notTested("%s heard %s, but its answer did not come in time", f.To, a.saw.Addr())
	case a.arrived:
		return proven(Other, "%s heard %s, but something else answered", f.To, a.saw.Addr())
	case !a.listens:
		return notTested("something accepted the connection; whether it was %s is not known: %s", f.To, a.silent)
	case !a.covers:
		return notTested("something accepted the connection; whether it was %s is not known: %s", f.To, a.late)
	}
	return proven(Other, "something accepted the connection, but not the listener on %s", f.To)
}

// serviceAnswered judges a connection to whoever listens there: the target's TCP table and the first words decide.
func (a attempt) serviceAnswered() judgement {
	f, who := a.q.Flow, orElse(a.q.Owner, "the service")
	switch {
	case a.arrived && f.Speech == ports.Nothing:
		return a.silentService()
	case a.arrived && !speaks(f.Speech, a.d.Reply):
		return proven(Other, "%s accepted the connection but does not speak %s", who, f.Speech)
	case a.arrived && a.foreign():
		return proven(Other, "%s answered, which is not Qlik Sense's", orElse(a.q.Owner, "a program"))
	case a.arrived:
		return proven(Service, "%s answered", who)
	case !a.covers:
		return notTested("something accepted the connection; what, is not known: %s", a.late)
	case !a.to.watched(a.from, a.d):
		return notTested("something accepted the connection; what, is not known: %s did not look at its connections at that time", f.To)
	case a.to.Gap >= a.q.Hold:
		return notTested("something accepted the connection; what, is not known: %s did not look at its connections for %.1f s, which may be when this one was there", f.To, a.to.Gap.Seconds())
	case a.to.elsewhere(f.Port, a.q.Source):
		return notTested("something accepted the connection; %s saw others come, and one may be this one with its address translated", f.To)
	}
	return proven(Other, "something accepted the connection, but %s has no such connection", f.To)
}

// silentService judges a connection that the target has, to a service that waits to be told something: there is no word of
// it to go by, so who listens decides.
func (a attempt) silentService() judgement {
	f, who := a.q.Flow, orElse(a.q.Owner, "a program")
	switch {
	case len(a.d.Reply) > 0:
		return proven(Other, "%s accepted the connection and spoke first, which the %s there does not", who, orElse(f.Part.Name, string(f.Service)))
	case a.foreign():
		return proven(Other, "%s accepted the connection, which is not Qlik Sense's", who)
	case a.q.Holder == facts.Qlik || a.q.Holder == facts.Likely:
		return proven(Service, "%s has the connection", who)
	}
	return notTested("%s accepted the connection and says nothing; whether it is Qlik Sense's is not known", who)
}

// foreign tells whether another's program listens at the target. Windows' own web server may be Qlik Sense's where it
// speaks, but it never waits to be told something else than HTTP.
func (a attempt) foreign() bool {
	return a.q.Holder == facts.Foreign || a.q.Holder == facts.HTTPSys && a.q.Flow.Speech == ports.Nothing
}

// timedOut judges silence, which means something only while the target listened.
func (a attempt) timedOut() judgement {
	switch {
	case !a.listens:
		return notTested("no answer, but %s", a.silent)
	case !a.covers:
		return notTested("did not overlap: no answer, but %s", a.late)
	case a.arrived:
		return proven(Dropped, "%s received the connection, but its answer did not come back", a.q.Flow.To)
	case a.q.Target == TargetService && a.to.from(a.q.Flow.Port, a.q.Source):
		return observed(Dropped, "no answer in %.1f s, though %s saw a connection from there, perhaps this one", a.d.Took.Seconds(), a.q.Flow.To)
	}
	return proven(Dropped, "no answer in %.1f s; %s saw nothing of it", a.d.Took.Seconds(), a.q.Flow.To)
}

// failed judges a dial that ended with an error of Windows Sockets (win32, windows-sockets-error-codes-2).
func (a attempt) failed() judgement {
	f := a.q.Flow
	switch a.d.Code {
	case 10061:
		switch {
		case !a.listens:
			return notTested("refused (10061), but %s", a.silent)
		case a.q.Target == TargetListener && !a.covers:
			return notTested("did not overlap: refused (10061), but %s", a.late)
		}
		return observed(Refused, "the connection was refused (10061)")
	case 10013:
		return observed(BlockedAtSource, "%s itself forbids the connection (10013)", f.From)
	case 10049, 10050, 10051, 10064, 10065:
		return observed(NoRoute, "%s has no way to %s (%d)", f.From, a.q.Address, a.d.Code)
	}
	return notTested("the dial failed for a reason that says nothing about the port (%d)", a.d.Code)
}

// reason is why a flow fails, whose that is, and what to do; "" where nothing is known.
type reason struct{ cause, owner, remedy string }

// because gives the reason for a verdict. Only what the two ends and the target's rules tell is taken for one.
func (a attempt) because(v Verdict) reason {
	f := a.q.Flow
	switch {
	case v == Other && a.arrived && a.q.Target == TargetService && a.foreign():
		return reason{fmt.Sprintf("%s holds port %d of %s", orElse(a.q.Owner, "another program"), f.Port, f.To), "you", "preflight explain port.in-use"}
	case v == Dropped && a.q.Policy != nil && !a.perhaps():
		return a.filtered(*a.q.Policy)
	}
	return reason{}
}

// filtered gives the reason for a silence, of which the target saw nothing.
func (a attempt) filtered(d firewall.Decision) reason {
	to := a.q.Flow.To
	switch {
	case d.Verdict == firewall.Passes:
		return reason{
			fmt.Sprintf("the rules on %s admit it, and %s did not see it: lost on the way", to, to), NetworkTeam,
			"source, target, port and time stand in the record: ask who filters between them",
		}
	case d.Verdict != firewall.Blocked:
		return reason{cause: "not told apart: " + d.Why}
	case d.Store == "": // by default, for no rule admits it
		return reason{"host firewall: " + d.Why, "you", "add the rule that is missing; preflight plan shows it"}
	}
	return reason{"host firewall: " + d.Why, Owner(d.Store), Remedy(d.Store, d.By != nil)}
}

// perhaps tells whether the target received the attempt, or may have: then its rules are no reason for a silence.
func (a attempt) perhaps() bool {
	return a.arrived || slices.ContainsFunc(slices.Concat(a.to.Seen, a.to.Accepted), func(s Seen) bool {
		return s.Port == a.q.Flow.Port && s.From.Addr() == a.q.Source
	})
}

// NetworkTeam is whose everything between two servers is.
const NetworkTeam = "the network team"

// Owner is who can change what stands in one of the firewall's stores; "" if it is not known which store that is.
func Owner(s firewall.Store) string {
	switch s {
	case firewall.Policy:
		return "the Active Directory team"
	case firewall.MDM:
		return "the device management team"
	case firewall.Local:
		return "you"
	}
	return ""
}

// Remedy is what to do about a rule or a setting in one of the firewall's stores that closes a port.
func Remedy(s firewall.Store, rule bool) string {
	switch {
	case s != firewall.Local && rule:
		return "ask for it to be removed or narrowed; a rule added here would do nothing"
	case s != firewall.Local:
		return "ask for it to be changed; a rule added here would do nothing"
	case rule:
		return "remove or narrow that rule; preflight does not touch rules that are not its own"
	}
	return "change that setting; a rule added here would do nothing"
}

// given is a text as one line, or nil for none.
func given(s string) *string {
	if s = line(s); s == "" {
		return nil
	}
	return &s
}

func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// saw finds the attempt in the target's report: the token it heard, or the very address pair in its TCP table.
func (r Report) saw(q Question, d Dial) (netip.AddrPort, bool) {
	if q.Target == TargetListener {
		h, ok := r.Heard[q.Token]
		return h.From, ok
	}
	for _, s := range r.Seen {
		if s.Port == q.Flow.Port && d.From.IsValid() && s.From == d.From {
			return s.From, true
		}
	}
	return netip.AddrPort{}, false
}

// accepted tells whether our listener on a port accepted the very connection.
func (r Report) accepted(port uint16, from netip.AddrPort) bool {
	return from.IsValid() && slices.ContainsFunc(r.Accepted, func(s Seen) bool { return s.Port == port && s.From == from })
}

// from tells whether the target saw a new connection to a port from an address.
func (r Report) from(port uint16, a netip.Addr) bool {
	return slices.ContainsFunc(r.Seen, func(s Seen) bool { return s.Port == port && s.From.Addr() == a })
}

// elsewhere tells whether it saw one from another address.
func (r Report) elsewhere(port uint16, a netip.Addr) bool {
	return slices.ContainsFunc(r.Seen, func(s Seen) bool { return s.Port == port && s.From.Addr() != a })
}

// covers tells whether an attempt lies wholly within the time the server listened. It began after go was sent, when the
// server had said that it listens. It ended before we were told of it; the server went on at least until Served after
// go. Only durations of the server's clock are used, never its time.
func (r Report) covers(d Dial) bool {
	return r.Served > 0 && !r.Went.IsZero() && !d.Told.IsZero() && !d.Told.After(r.Went.Add(r.Served))
}

// watched tells whether a connection still stood when the server had begun to look at its table: go may have reached it
// later than the dialler, and what came and went before is not in its report. A listener needs no such care, for it
// listens before go.
func (r Report) watched(from Report, d Dial) bool {
	return !from.Went.Add(d.After + d.Took).Before(r.Began)
}

// speaks tells whether the first bytes of a reply are what the service says: a TLS handshake or alert record (RFC 5246,
// 6.2.1), or an HTTP status line.
func speaks(s ports.Speech, reply []byte) bool {
	switch s {
	case ports.TLS:
		return len(reply) >= 3 && (reply[0] == 0x16 || reply[0] == 0x15) && reply[1] == 3
	case ports.HTTP:
		return bytes.HasPrefix(reply, []byte("HTTP/1."))
	}
	return len(reply) > 0
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
