package proof

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/site"
)

var (
	zero   = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	source = netip.MustParseAddrPort("10.1.0.21:50111")
	nat    = netip.MustParseAddrPort("10.9.9.9:1024")
	target = netip.MustParseAddrPort("10.1.0.31:4242")
)

// trial is a question with the reports of both ends. Its dial began 100 ms after go and was told of after 1.2 s; the
// target listened for 5 s.
type trial struct {
	q        Question
	d        Dial
	from, to Report
	lostDial bool
}

func (a trial) judge() Proof {
	if !a.lostDial {
		a.from.Dials = map[string]Dial{a.q.ID: a.d}
	}
	return Judge(AfterApply, a.q, a.from, a.to)
}

func attemptOn(to Target, result string, code int) *trial {
	a := &trial{
		q: Question{
			ID: "central:4242", Source: source.Addr(), Address: target.Addr(), Target: to, Hold: time.Second, Token: "a token", Key: "a key",
			Flow: ports.Flow{From: "rim", To: "central", Port: target.Port(), Service: site.Repository, Speech: ports.TLS},
		},
		d:    Dial{Result: result, Code: code, After: 100 * time.Millisecond, Took: time.Second, Told: zero.Add(1200 * time.Millisecond)},
		from: Report{Went: zero, Served: 5 * time.Second},
		to:   Report{Went: zero, Served: 5 * time.Second, Began: zero.Add(50 * time.Millisecond), Gap: 100 * time.Millisecond},
	}
	if to == TargetListener {
		a.to.Bound = []uint16{target.Port()}
	} else {
		a.q.Owner = "Repository"
	}
	if result == "open" {
		a.d.From = source
	}
	return a
}

// alter is one thing that differs from a trial that went well.
type alter func(*trial)

func reply(s string) alter { return func(a *trial) { a.d.Reply = []byte(s) } }
func rightKey(a *trial)    { a.d.Reply = []byte(a.q.Answer() + "\r\n") }
func wrongKey(a *trial) {
	q := a.q
	q.Key = "another key"
	a.d.Reply = []byte(q.Answer())
}
func heardFrom(p netip.AddrPort) alter {
	return func(a *trial) { a.to.Heard = map[string]Heard{a.q.Token: {From: p, To: target}} }
}
func seenFrom(p netip.AddrPort) alter {
	return func(a *trial) { a.to.Seen = append(a.to.Seen, Seen{Port: target.Port(), From: p, To: target}) }
}
func seenOn(port uint16) alter {
	return func(a *trial) { a.to.Seen = append(a.to.Seen, Seen{Port: port, From: source, To: target}) }
}
func lost(a *trial)        { a.to.Lost = "the\r\nconnection broke" }
func unbound(a *trial)     { a.to.Bound = []uint16{443} }
func busy(a *trial)        { a.to.Bound, a.to.Busy = nil, map[uint16]int{target.Port(): 10048} }
func short(a *trial)       { a.to.Served = 1199 * time.Millisecond }
func exact(a *trial)       { a.to.Served = 1200 * time.Millisecond }
func unserved(a *trial)    { a.to.Served = 0 }
func wentEarlier(a *trial) { a.to.Went = zero.Add(-4 * time.Second) }
func neverWent(a *trial)   { a.to.Went = time.Time{} }
func untold(a *trial)      { a.d.Told = time.Time{} }
func lateGo(a *trial)      { a.to.Began = zero.Add(1101 * time.Millisecond) }
func gone(a *trial)        { a.to.Gone = []uint16{target.Port()} }
func otherGone(a *trial)   { a.to.Gone = []uint16{443} }
func accepted(a *trial)    { a.to.Accepted = []Seen{{Port: target.Port(), From: source}} }
func noLocal(a *trial)     { a.d.From = netip.AddrPort{} }
func noDial(a *trial)      { a.lostDial = true }
func fromLost(a *trial)    { a.from.Lost = "the rim went away" }
func http(a *trial)        { a.q.Flow.Speech = ports.HTTP }
func silent(a *trial) {
	a.q.Flow.Port, a.q.Flow.Speech, a.q.Flow.Part = target.Port(), ports.Nothing, ports.Part{Name: "database", Starter: "QlikSenseRepositoryDatabase"}
	a.q.Owner = "postgres"
}
func noOwner(a *trial)       { a.q.Owner = "" }
func fromWithLocal(a *trial) { a.d.From = source }
func foreign(a *trial)       { a.q.Holder, a.q.Owner = facts.Foreign, "httpd" }
func held(h facts.Holder) alter {
	return func(a *trial) { a.q.Holder = h }
}
func rules(v firewall.Verdict, store firewall.Store, why string) alter {
	return func(a *trial) { a.q.Policy = &firewall.Decision{Verdict: v, Store: store, Why: why} }
}

// decided is a decision of a rule.
func decided(store firewall.Store, why string) alter {
	return func(a *trial) {
		a.q.Policy = &firewall.Decision{Verdict: firewall.Blocked, Store: store, Why: why, By: &firewall.StoredRule{Store: store}}
	}
}

const tlsHello, tlsAlert = "\x16\x03\x03\x00\x7a\x02", "\x15\x03\x03\x00\x02\x02\x28"

func TestJudge(t *testing.T) {
	t.Parallel()
	const (
		listener = TargetListener
		service  = TargetService
	)
	tests := []struct {
		name    string
		on      Target
		result  string
		code    int
		alters  []alter
		want    Verdict
		level   facts.Level
		mention string
	}{
		// Our listener, connected.
		{"key, heard", listener, "open", 0, []alter{rightKey, heardFrom(source)}, Answered, facts.Proven, "answered with the key"},
		{"key, heard, own address not told", listener, "open", 0, []alter{rightKey, heardFrom(source), noLocal}, Answered, facts.Proven, "answered with the key"},
		{"key, heard from elsewhere", listener, "open", 0, []alter{rightKey, heardFrom(nat)}, Translated, facts.Proven, "10.9.9.9"},
		{"key, heard from another port", listener, "open", 0, []alter{rightKey, heardFrom(netip.AddrPortFrom(source.Addr(), 7))}, Answered, facts.Proven, ""},
		{"key, not heard", listener, "open", 0, []alter{rightKey}, Answered, facts.Observed, "does not show"},
		{"key, report lost", listener, "open", 0, []alter{rightKey, lost}, Answered, facts.Observed, ""},
		{"another key", listener, "open", 0, []alter{wrongKey}, Other, facts.Proven, "not the listener"},
		{"the token itself", listener, "open", 0, []alter{reply("a token")}, Other, facts.Proven, ""},
		{"key and more", listener, "open", 0, []alter{rightKey, func(a *trial) { a.d.Reply = append(a.d.Reply, "x"...) }}, Other, facts.Proven, ""},
		{"key cut short", listener, "open", 0, []alter{rightKey, func(a *trial) { a.d.Reply = a.d.Reply[:43] }}, Other, facts.Proven, ""},
		{"a web page", listener, "open", 0, []alter{reply("HTTP/1.1 403 Forbidden")}, Other, facts.Proven, ""},
		{"silence", listener, "open", 0, nil, Other, facts.Proven, "not the listener"},
		{"another key, report lost", listener, "open", 0, []alter{wrongKey, lost}, NotTested, facts.Observed, "the connection broke"},
		{"another key, not bound", listener, "open", 0, []alter{wrongKey, unbound}, NotTested, facts.Observed, "did not say"},
		{"another key, busy", listener, "open", 0, []alter{wrongKey, busy}, NotTested, facts.Observed, "10048"},
		{"another key, no overlap", listener, "open", 0, []alter{wrongKey, short}, NotTested, facts.Observed, "all that time"},
		{"another key, end not seen", listener, "open", 0, []alter{wrongKey, unserved}, NotTested, facts.Observed, ""},
		{"silence, no overlap", listener, "open", 0, []alter{short}, NotTested, facts.Observed, ""},
		{"silence, heard", listener, "open", 0, []alter{heardFrom(source)}, NotTested, facts.Observed, "did not come in time"},
		{"another key, heard", listener, "open", 0, []alter{wrongKey, heardFrom(nat)}, Other, facts.Proven, "something else answered"},

		// A service, connected.
		{"tls, seen", service, "open", 0, []alter{reply(tlsHello), seenFrom(source)}, Service, facts.Proven, "Repository answered"},
		{"tls, seen, another's program", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), foreign}, Other, facts.Proven, "httpd answered, which is not Qlik Sense's"},
		{"tls, seen, another's program without a name", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), noOwner, held(facts.Foreign)}, Other, facts.Proven, "a program answered"},
		{"silence, seen, another's program", service, "open", 0, []alter{seenFrom(source), foreign}, Other, facts.Proven, "httpd accepted the connection but does not speak"},
		{"tls, seen, http.sys", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), held(facts.HTTPSys)}, Service, facts.Proven, "answered"},
		{"it says nothing, and is Qlik Sense's", service, "open", 0, []alter{silent, seenFrom(source), held(facts.Qlik)}, Service, facts.Proven, "postgres has the connection"},
		{"it says nothing, and is likely Qlik Sense's", service, "open", 0, []alter{silent, seenFrom(source), held(facts.Likely)}, Service, facts.Proven, "postgres has the connection"},
		{"it says nothing, and whose it is is not known", service, "open", 0, []alter{silent, seenFrom(source), held(facts.UnknownHolder)}, NotTested, facts.Observed, "whether it is Qlik Sense's is not known"},
		{"it says nothing, and whose it is was not asked", service, "open", 0, []alter{silent, seenFrom(source)}, NotTested, facts.Observed, "not known"},
		{"it says nothing, and is another's", service, "open", 0, []alter{silent, seenFrom(source), foreign}, Other, facts.Proven, "httpd accepted the connection, which is not Qlik Sense's"},
		{"it says nothing, and is http.sys", service, "open", 0, []alter{silent, seenFrom(source), held(facts.HTTPSys)}, Other, facts.Proven, "not Qlik Sense's"},
		{"it should say nothing, and speaks", service, "open", 0, []alter{silent, seenFrom(source), held(facts.Likely), reply("SSH-2.0-x")}, Other, facts.Proven, "spoke first, which the database there does not"},
		{"it says nothing, and was not seen", service, "open", 0, []alter{silent, held(facts.Likely)}, Other, facts.Proven, "central has no such connection"},
		{"it says nothing, and the target was lost", service, "open", 0, []alter{silent, held(facts.Likely), lost}, NotTested, facts.Observed, "what, is not known"},
		{"http.sys speaks for Qlik Sense", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), held(facts.HTTPSys)}, Service, facts.Proven, "answered"},
		{"tls, seen, likely Qlik Sense's", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), held(facts.Likely)}, Service, facts.Proven, "answered"},
		{"tls, seen, holder not told", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), held(facts.UnknownHolder)}, Service, facts.Proven, "answered"},
		{"tls, not seen, another's program", service, "open", 0, []alter{reply(tlsHello), foreign}, Other, facts.Proven, "no such connection"},
		{"another's program, no overlap", service, "open", 0, []alter{reply(tlsHello), foreign, short}, NotTested, facts.Observed, "did not listen all that time"},
		{"tls, seen, unknown owner", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), noOwner}, Service, facts.Proven, "the service answered"},
		{"tls alert, seen", service, "open", 0, []alter{reply(tlsAlert), seenFrom(source)}, Service, facts.Proven, ""},
		{"http, seen", service, "open", 0, []alter{http, reply("HTTP/1.1 503 Busy"), seenFrom(source)}, Service, facts.Proven, ""},
		{"tls, seen, then lost", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), lost}, Service, facts.Proven, ""},
		{"tls where http belongs", service, "open", 0, []alter{http, reply(tlsHello), seenFrom(source)}, Other, facts.Proven, "speak http"},
		{"http where tls belongs", service, "open", 0, []alter{reply("HTTP/1.1 400 Bad"), seenFrom(source)}, Other, facts.Proven, "speak tls"},
		{"two bytes of tls", service, "open", 0, []alter{reply(tlsHello[:2]), seenFrom(source)}, Other, facts.Proven, ""},
		{"ssl 2", service, "open", 0, []alter{reply("\x16\x02\x00"), seenFrom(source)}, Other, facts.Proven, ""},
		{"silence, seen", service, "open", 0, []alter{seenFrom(source)}, Other, facts.Proven, "does not speak"},
		{"tls, not seen", service, "open", 0, []alter{reply(tlsHello)}, Other, facts.Proven, "no such connection"},
		{"tls, seen from another port", service, "open", 0, []alter{reply(tlsHello), seenFrom(netip.AddrPortFrom(source.Addr(), 50112))}, Other, facts.Proven, ""},
		{"timeout, a connection from there", service, "timeout", 10060, []alter{noLocal, seenFrom(netip.AddrPortFrom(source.Addr(), 50112))}, Dropped, facts.Observed, "perhaps this one"},
		{"timeout, a connection from elsewhere", service, "timeout", 10060, []alter{noLocal, seenFrom(nat)}, Dropped, facts.Proven, "saw nothing"},
		{"accepted, the token lost", listener, "open", 0, []alter{reply(""), accepted}, NotTested, facts.Observed, "did not hear"},
		{"tls, seen from another address", service, "open", 0, []alter{reply(tlsHello), seenFrom(netip.AddrPortFrom(nat.Addr(), source.Port()))}, NotTested, facts.Observed, "translated"},
		{"tls, seen on another port", service, "open", 0, []alter{reply(tlsHello), seenOn(443)}, Other, facts.Proven, ""},
		{"tls, own address not told", service, "open", 0, []alter{reply(tlsHello), noLocal, seenFrom(netip.AddrPort{})}, NotTested, facts.Observed, ""},
		{"tls, not seen, lost", service, "open", 0, []alter{reply(tlsHello), lost}, NotTested, facts.Observed, "did not listen all that time"},
		{"tls, not seen, no overlap", service, "open", 0, []alter{reply(tlsHello), short}, NotTested, facts.Observed, "did not listen all that time"},
		{"tls, not seen, too long between two looks", service, "open", 0, []alter{reply(tlsHello), func(a *trial) { a.to.Gap = time.Second }}, NotTested, facts.Observed, "for 1.0 s"},
		{"tls, seen, long between two looks", service, "open", 0, []alter{reply(tlsHello), seenFrom(source), func(a *trial) { a.to.Gap = 3 * time.Second }}, Service, facts.Proven, "Repository answered"},
		{"tls, not seen, over before it looked", service, "open", 0, []alter{reply(tlsHello), lateGo}, NotTested, facts.Observed, "did not look"},
		{"tls, seen, go came late", service, "open", 0, []alter{reply(tlsHello), lateGo, seenFrom(source)}, Service, facts.Proven, ""},
		{"silence, not seen", service, "open", 0, nil, Other, facts.Proven, "no such connection"},
		{"silence, not seen, lost", service, "open", 0, []alter{lost}, NotTested, facts.Observed, ""},
		{"tls to our listener's port is no key", listener, "open", 0, []alter{reply(tlsHello), seenFrom(source)}, Other, facts.Proven, ""},

		// No answer.
		{"time-out", listener, "timeout", 10060, nil, Dropped, facts.Proven, "no answer in 1.0 s"},
		{"time-out by Windows", listener, "failed", 10060, nil, Dropped, facts.Proven, ""},
		{"time-out without a code", listener, "timeout", 0, nil, Dropped, facts.Proven, ""},
		{"time-out, just covered", listener, "timeout", 10060, []alter{exact}, Dropped, facts.Proven, ""},
		{"time-out, no overlap", listener, "timeout", 10060, []alter{short}, NotTested, facts.Observed, "did not overlap"},
		{"time-out, target long over", listener, "timeout", 10060, []alter{wentEarlier}, NotTested, facts.Observed, "did not overlap"},
		{"time-out, target never went", listener, "timeout", 10060, []alter{neverWent}, NotTested, facts.Observed, "did not overlap"},
		{"time-out, moment unknown", listener, "timeout", 10060, []alter{untold}, NotTested, facts.Observed, "did not overlap"},
		{"time-out, end not seen", listener, "timeout", 10060, []alter{unserved}, NotTested, facts.Observed, "did not overlap"},
		{"time-out, report lost", listener, "timeout", 10060, []alter{lost}, NotTested, facts.Observed, "the connection broke"},
		{"time-out, not bound", listener, "timeout", 10060, []alter{unbound}, NotTested, facts.Observed, "did not say"},
		{"time-out, busy", listener, "timeout", 10060, []alter{busy}, NotTested, facts.Observed, "10048"},
		{"time-out, heard", listener, "timeout", 10060, []alter{heardFrom(source)}, Dropped, facts.Proven, "did not come back"},
		{"time-out, heard, no overlap", listener, "timeout", 10060, []alter{heardFrom(source), short}, NotTested, facts.Observed, ""},
		{"time-out of a service", service, "timeout", 10060, nil, Dropped, facts.Proven, ""},
		{"time-out of a service, others in its table", service, "timeout", 10060, []alter{seenFrom(nat)}, Dropped, facts.Proven, "saw nothing"},
		{"time-out of a service, seen", service, "timeout", 10060, []alter{fromWithLocal, seenFrom(source)}, Dropped, facts.Proven, "did not come back"},
		{"time-out of a service, no overlap", service, "timeout", 10060, []alter{short}, NotTested, facts.Observed, "did not overlap"},
		{"time-out of a service, lost", service, "timeout", 10060, []alter{lost}, NotTested, facts.Observed, "did not overlap"},
		{"time-out of a service that stopped", service, "timeout", 10060, []alter{gone}, NotTested, facts.Observed, "nobody listened on 4242"},
		{"time-out, another service stopped", service, "timeout", 10060, []alter{otherGone}, Dropped, facts.Proven, ""},

		// Refused, and the rest.
		{"refused", listener, "failed", 10061, nil, Refused, facts.Observed, "10061"},
		{"refused, not bound", listener, "failed", 10061, []alter{unbound}, NotTested, facts.Observed, "did not say"},
		{"refused, busy", listener, "failed", 10061, []alter{busy}, NotTested, facts.Observed, "10048"},
		{"refused, listener died", listener, "failed", 10061, []alter{lost}, NotTested, facts.Observed, "the connection broke"},
		{"refused, no overlap", listener, "failed", 10061, []alter{short}, NotTested, facts.Observed, "did not overlap"},
		{"refused by a service", service, "failed", 10061, nil, Refused, facts.Observed, ""},
		{"refused by a service, lost", service, "failed", 10061, []alter{lost}, Refused, facts.Observed, ""},
		{"refused, the service stopped", service, "failed", 10061, []alter{gone}, NotTested, facts.Observed, "nobody listened"},
		{"forbidden", listener, "failed", 10013, nil, BlockedAtSource, facts.Observed, "rim itself"},
		{"forbidden, report lost", service, "failed", 10013, []alter{lost}, BlockedAtSource, facts.Observed, ""},
		{"no route to the host", listener, "failed", 10065, nil, NoRoute, facts.Observed, "10.1.0.31"},
		{"no route to the network", service, "failed", 10051, nil, NoRoute, facts.Observed, "10051"},
		{"host down", listener, "failed", 10064, nil, NoRoute, facts.Observed, ""},
		{"address not valid", listener, "failed", 10049, nil, NoRoute, facts.Observed, ""},
		{"network down", listener, "failed", 10050, nil, NoRoute, facts.Observed, ""},
		{"a look-up's code", listener, "failed", 11001, nil, NotTested, facts.Observed, "11001"},
		{"a look-up's other code", service, "failed", 11004, nil, NotTested, facts.Observed, "11004"},
		{"reset", listener, "failed", 10054, nil, NotTested, facts.Observed, "10054"},
		{"out of buffers", service, "failed", 10055, nil, NotTested, facts.Observed, ""},
		{"unknown code", listener, "failed", 31337, nil, NotTested, facts.Observed, "31337"},
		{"no code", listener, "failed", 0, nil, NotTested, facts.Observed, ""},
		{"no Windows Sockets error", service, "failed", -1, nil, NotTested, facts.Observed, ""},
		{"no dial", listener, "open", 0, []alter{noDial}, NotTested, facts.Observed, "no reason given"},
		{"no dial, and why", listener, "open", 0, []alter{noDial, fromLost}, NotTested, facts.Observed, "the rim went away"},
		{"no dial, heard", listener, "open", 0, []alter{noDial, heardFrom(source)}, NotTested, facts.Observed, ""},
		{"dial told, then lost", listener, "open", 0, []alter{rightKey, heardFrom(source), fromLost}, Answered, facts.Proven, ""},
	}
	for _, test := range tests {
		t.Run(string(test.on)+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			a := attemptOn(test.on, test.result, test.code)
			for _, alter := range test.alters {
				alter(a)
			}
			p := a.judge()
			if p.Verdict != test.want || p.Level != test.level {
				t.Errorf("verdict %s (%s), want %s (%s): %s", p.Verdict, p.Level, test.want, test.level, p.Seen)
			}
			if !strings.Contains(p.Seen, test.mention) {
				t.Errorf("seen %q does not say %q", p.Seen, test.mention)
			}
			lawful(t, a.q, a.d, !a.lostDial, a.to, p)
		})
	}
}

// lawful tests what holds for every verdict.
func lawful(t *testing.T, q Question, d Dial, dialled bool, to Report, p Proof) {
	t.Helper()
	if strings.TrimSpace(p.Seen) == "" || strings.ContainsAny(p.Seen, "\r\n\t") || strings.Contains(p.Seen, "%!") {
		t.Errorf("seen %q is no sentence", p.Seen)
	}
	if p.Verdict.Works() && p.Verdict.Fails() {
		t.Errorf("%s both works and fails", p.Verdict)
	}
	if q.Target == TargetNone {
		return
	}
	ended := to.Went.Add(to.Served)
	listened := slices.Contains(to.Bound, q.Flow.Port)
	if q.Target == TargetService {
		listened = !slices.Contains(to.Gone, q.Flow.Port)
	}
	_, heard := to.Heard[q.Token]
	pair := slices.ContainsFunc(to.Seen, func(s Seen) bool {
		return s.Port == q.Flow.Port && s.From == d.From && d.From.IsValid()
	})
	came := slices.ContainsFunc(slices.Concat(to.Seen, to.Accepted), func(s Seen) bool { return s.Port == q.Flow.Port && s.From.Addr() == q.Source })
	key := strings.TrimSpace(string(d.Reply)) == q.Answer()
	speech := map[ports.Speech]bool{
		ports.TLS:  len(d.Reply) > 2 && (d.Reply[0] == 0x16 || d.Reply[0] == 0x15) && d.Reply[1] == 3,
		ports.HTTP: strings.HasPrefix(string(d.Reply), "HTTP/1."),
		"":         len(d.Reply) > 0, // no port of the catalogue
		// Nobody tells what it is but who listens.
		ports.Nothing: len(d.Reply) == 0 && (q.Holder == facts.Qlik || q.Holder == facts.Likely),
	}[q.Flow.Speech]
	looked := to.Lost == "" && to.Served > 0 && !d.Told.IsZero() && !to.Went.IsZero() && !d.Told.After(ended)
	whole := looked && listened
	laws := []struct {
		name  string
		broke bool
	}{
		{"dropped needs an trial that lies within the listening", p.Verdict == Dropped && (!whole || d.Result == "open")},
		{"works needs an open connection", p.Verdict.Works() && (!dialled || d.Result != "open")},
		{"answered and translated need the key and a listener of ours", (p.Verdict == Answered || p.Verdict == Translated) && !(key && q.Target == TargetListener)},
		{"translated needs two different sources", p.Verdict == Translated && (!heard || to.Heard[q.Token].From.Addr() == d.From.Addr())},
		{"service needs the address pair and its speech", p.Verdict == Service && !(pair && speech && q.Target == TargetService)},
		{"proven needs both ends", p.Level == facts.Proven && to.Lost != "" && !heard && !pair},
		{"other needs a target that looked, or saw", p.Verdict == Other && !whole && !heard && !pair && !(looked && q.Target == TargetService)},
		{"other is not said of the key", p.Verdict == Other && key && q.Target == TargetListener},
		{"a listener's refusal needs its listening", p.Verdict == Refused && q.Target == TargetListener && !whole},
		{"without a dial there is no verdict", !dialled && p.Verdict != NotTested},
		{"the service is not another's program", p.Verdict == Service && q.Holder == facts.Foreign},
		{"an owner or a remedy needs a cause", p.Cause == nil && (p.Owner != nil || p.Remedy != nil)},
		{"a cause is one line", p.Cause != nil && (*p.Cause == "" || strings.ContainsAny(*p.Cause, "\r\n\t"))},
		{"a cause is of a failure", p.Cause != nil && p.Verdict != Dropped && p.Verdict != Other},
		{"the target's rules explain only what it did not see", p.Cause != nil && p.Verdict == Dropped && (heard && q.Target == TargetListener || pair && q.Target == TargetService || came || q.Policy == nil)},
		{"another's program explains only what it received", p.Cause != nil && p.Verdict == Other && !(pair && (q.Holder == facts.Foreign || q.Holder == facts.HTTPSys && q.Flow.Speech == ports.Nothing))},
		{"not tested is no proof", p.Verdict == NotTested && p.Level == facts.Proven},
	}
	for _, l := range laws {
		if l.broke {
			t.Errorf("%s, yet %s (%s): %s", l.name, p.Verdict, p.Level, p.Seen)
		}
	}
}

func TestJudgeEvidence(t *testing.T) {
	t.Parallel()
	a := attemptOn(TargetListener, "open", 0)
	rightKey(a)
	heardFrom(nat)(a)
	p := a.judge()
	if p.ID != "after_apply:rim:central:4242" || p.From != "rim" || p.To != "central" || p.Port != 4242 || p.Service != "repository" || p.Protocol != "tcp" {
		t.Errorf("the proof is about %+v", p)
	}
	if want := (Dialler{Address: source.String(), StartedAt: zero.Add(100 * time.Millisecond), MS: 1000}); p.Dialler == nil || *p.Dialler != want {
		t.Errorf("dialler %+v, want %+v", p.Dialler, want)
	}
	if want := (Targeted{Address: target.String(), SeenFrom: nat.String(), Owner: "preflight"}); p.Target == nil || *p.Target != want {
		t.Errorf("target %+v, want %+v", p.Target, want)
	}

	p = attemptOn(TargetService, "timeout", 10060).judge()
	if p.Dialler.Address != "" || p.Dialler.Code != 10060 || p.Target.SeenFrom != "" || p.Target.Owner != "Repository" {
		t.Errorf("dialler %+v, target %+v; nothing connected", p.Dialler, p.Target)
	}
}

// TestJudgeCause: what is said of why, whose it is and what to do. The verdict and its level are those without it.
func TestJudgeCause(t *testing.T) {
	t.Parallel()
	const (
		way    = "the rules on central admit it, and central did not see it: lost on the way"
		ask    = "source, target, port and time stand in the record: ask who filters between them"
		rule   = "remove or narrow that rule; preflight does not touch rules that are not its own"
		change = "change that setting; a rule added here would do nothing"
		asked  = "ask for it to be changed; a rule added here would do nothing"
		policy = "ask for it to be removed or narrowed; a rule added here would do nothing"
		inUse  = "preflight explain port.in-use"
		noRule = "no rule admits 10.1.0.21"
	)
	for _, test := range []struct {
		name                 string
		on                   Target
		result               string
		code                 int
		alters               []alter
		cause, owner, remedy string // "" for none
	}{
		{"no rule", TargetListener, "timeout", 10060, []alter{rules(firewall.Blocked, "", noRule)}, "host firewall: " + noRule, "you", "add the rule that is missing; preflight plan shows it"},
		{"a local Block rule", TargetListener, "timeout", 10060, []alter{decided(firewall.Local, "the Block rule X")}, "host firewall: the Block rule X", "you", rule},
		{"a local setting", TargetListener, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.Local, "X")}, "host firewall: X", "you", change},
		{"a rule of a policy", TargetListener, "timeout", 10060, []alter{decided(firewall.Policy, "X")}, "host firewall: X", "the Active Directory team", policy},
		{"a policy", TargetService, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.Policy, "X")}, "host firewall: X", "the Active Directory team", asked},
		{"device management", TargetService, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.MDM, "X")}, "host firewall: X", "the device management team", asked},
		{"a store unheard of", TargetService, "timeout", 10060, []alter{rules(firewall.Blocked, "x", "X")}, "host firewall: X", "", asked},
		{"admitted", TargetListener, "timeout", 10060, []alter{rules(firewall.Passes, firewall.Local, "rule X admits it")}, way, "the network team", ask},
		{"admitted, others came", TargetService, "timeout", 10060, []alter{rules(firewall.Passes, firewall.Local, "rule X admits it"), seenFrom(nat)}, way, "the network team", ask},
		{"admitted, and it came", TargetListener, "timeout", 10060, []alter{rules(firewall.Passes, firewall.Local, "X"), heardFrom(source)}, "", "", ""},
		{"blocked, and it came", TargetListener, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.Policy, "X"), heardFrom(source)}, "", "", ""},
		{"admitted, and one came from there", TargetService, "timeout", 10060, []alter{rules(firewall.Passes, firewall.Local, "X"), seenFrom(netip.AddrPortFrom(source.Addr(), 50112))}, "", "", ""},
		{"blocked, and one was accepted from there", TargetListener, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.Policy, "X"), accepted}, "", "", ""},
		{"not certain", TargetListener, "timeout", 10060, []alter{rules(firewall.Unsure, firewall.Policy, "rule X may block")}, "not told apart: rule X may block", "", ""},
		{"not asked", TargetListener, "timeout", 10060, nil, "", "", ""},
		{"not overlapped", TargetListener, "timeout", 10060, []alter{rules(firewall.Blocked, firewall.Policy, "X"), short}, "", "", ""},
		{"refused", TargetListener, "failed", 10061, []alter{rules(firewall.Blocked, firewall.Policy, "X")}, "", "", ""},
		{"blocked at its source", TargetListener, "failed", 10013, []alter{rules(firewall.Blocked, firewall.Policy, "X")}, "", "", ""},
		{"answered all the same", TargetListener, "open", 0, []alter{rightKey, heardFrom(source), rules(firewall.Blocked, firewall.Policy, "X")}, "", "", ""},
		{"another's program", TargetService, "open", 0, []alter{reply(tlsHello), seenFrom(source), foreign, rules(firewall.Passes, "", "X")}, "httpd holds port 4242 of central", "you", inUse},
		{"another's program that does not speak it", TargetService, "open", 0, []alter{seenFrom(source), foreign}, "httpd holds port 4242 of central", "you", inUse},
		{"something else, not seen", TargetService, "open", 0, []alter{reply(tlsHello), foreign}, "", "", ""},
		{"something else before our listener", TargetListener, "open", 0, []alter{wrongKey, foreign}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := attemptOn(test.on, test.result, test.code)
			for _, alter := range test.alters {
				alter(a)
			}
			p := a.judge()
			for name, pair := range map[string]struct {
				got  *string
				want string
			}{"cause": {p.Cause, test.cause}, "owner": {p.Owner, test.owner}, "remedy": {p.Remedy, test.remedy}} {
				switch {
				case pair.got == nil && pair.want != "":
					t.Errorf("no %s, want %q", name, pair.want)
				case pair.got != nil && (*pair.got != pair.want || pair.want == ""):
					t.Errorf("%s %q, want %q", name, *pair.got, pair.want)
				}
			}
			lawful(t, a.q, a.d, true, a.to, p)
			a.q.Policy = nil
			if without := a.judge(); without.Verdict != p.Verdict || without.Level != p.Level || without.Seen != p.Seen {
				t.Errorf("%s (%s) %q, but without the rules %s (%s) %q", p.Verdict, p.Level, p.Seen, without.Verdict, without.Level, without.Seen)
			}
		})
	}
}

func TestJudgeNotTried(t *testing.T) {
	t.Parallel()
	for _, v := range []Verdict{NotTested, NoName, NoRoute} {
		a := attemptOn(TargetNone, "open", 0)
		rightKey(a)
		a.q.Verdict, a.q.Reason = v, "rim cannot\nresolve it"
		p := a.judge()
		if p.Verdict != v || p.Level != facts.Observed || p.Seen != "rim cannot resolve it" || p.Dialler != nil || p.Target != nil {
			t.Errorf("%s: %+v; want the question's own words and no evidence", v, p)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	// RFC 4231 has no text case that short; this is "printf '%s' what do ya want for nothing? | openssl dgst -hmac Jefe",
	// its test case 2, in base 64.
	q := Question{Key: "Jefe", Token: "what do ya want for nothing?"}
	if got, want := q.Answer(), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="; got != want {
		t.Errorf("Answer() = %s, want %s", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	want := map[Verdict]string{
		Answered: "works", Service: "works", Translated: "works",
		Other: "fails", Refused: "fails", Dropped: "fails", NoName: "fails", NoRoute: "fails", BlockedAtSource: "fails",
		NotTested: "", "": "", "unheard of": "",
	}
	for v, is := range want {
		if v.Works() != (is == "works") || v.Fails() != (is == "fails") {
			t.Errorf("%q: works %v, fails %v; want %q", v, v.Works(), v.Fails(), is)
		}
	}
}

// random makes an trial of few values, so that what fits together does so often.
func random(r *rand.Rand) trial {
	pick := func(n int) int { return r.IntN(n) }
	one := func() bool { return pick(2) == 0 }
	ends := []netip.AddrPort{{}, source, nat, netip.AddrPortFrom(source.Addr(), 9)}
	moments := []time.Duration{0, 1, time.Second, 1200 * time.Millisecond, 5 * time.Second, -time.Second}
	moment := func() time.Time {
		if pick(6) == 0 {
			return time.Time{}
		}
		return zero.Add(moments[pick(len(moments))])
	}
	words := []string{"", "", "the pipe\nbroke"}
	a := attemptOn([]Target{TargetListener, TargetService, TargetNone, ""}[pick(4)], []string{"open", "failed", "timeout", "", "half"}[pick(5)], 0)
	a.q.Flow.Speech = []ports.Speech{ports.TLS, ports.HTTP, ports.Nothing, ""}[pick(4)]
	a.q.Verdict, a.q.Reason = []Verdict{NotTested, NoName, NoRoute}[pick(3)], "a reason\r\nof two lines"
	a.d.Code = []int{0, -1, 10013, 10048, 10051, 10054, 10060, 10061, 10065, 11001, pick(70000)}[pick(11)]
	a.d.From, a.d.Told, a.d.After, a.d.Took = ends[pick(4)], moment(), moments[pick(6)], moments[pick(6)]
	a.d.Reply = []byte([]string{"", "\x16", tlsHello, tlsAlert, "HTTP/1.0 200 OK", "key", a.q.Answer(), a.q.Answer() + "\n"}[pick(8)])
	a.lostDial = pick(8) == 0
	a.q.Holder = []facts.Holder{"", facts.Qlik, facts.Likely, facts.HTTPSys, facts.Foreign, facts.UnknownHolder}[pick(6)]
	if one() {
		rules([]firewall.Verdict{firewall.Passes, firewall.Blocked, firewall.Unsure}[pick(3)], []firewall.Store{"", firewall.Local, firewall.Policy}[pick(3)], "a\r\nrule")(a)
	}
	a.from = Report{Went: moment(), Lost: words[pick(3)], Served: moments[pick(6)]}
	a.to = Report{Went: moment(), Began: moment(), Lost: words[pick(3)], Served: moments[pick(6)], Gap: moments[pick(6)]}
	if one() {
		a.to.Bound = []uint16{443, target.Port()}
	} else if one() {
		a.to.Busy = map[uint16]int{target.Port(): pick(20000)}
	}
	if one() {
		a.to.Heard = map[string]Heard{a.q.Token: {From: ends[pick(4)], To: target}}
	}
	if pick(4) == 0 {
		a.to.Accepted = []Seen{{Port: target.Port(), From: ends[pick(4)], To: target}}
	}
	for range pick(3) {
		a.to.Seen = append(a.to.Seen, Seen{Port: []uint16{443, target.Port()}[pick(2)], From: ends[pick(4)], To: target})
	}
	if pick(4) == 0 {
		a.to.Gone = []uint16{target.Port()}
	}
	return *a
}

func tryRandom(t *testing.T, a uint64, b uint64) Verdict {
	t.Helper()
	try := random(rand.New(rand.NewPCG(a, b)))
	p := try.judge()
	if try.q.Target != "" { // no target of any kind is judged, but promises nothing
		lawful(t, try.q, try.d, !try.lostDial, try.to, p)
	}
	if t.Failed() {
		t.Logf("seed %d %d: %+v", a, b, try)
	}
	return p.Verdict
}

func TestJudgeRandom(t *testing.T) {
	t.Parallel()
	met := map[Verdict]int{}
	for i := range uint64(5000) {
		met[tryRandom(t, i, 1)]++
		if t.Failed() {
			return
		}
	}
	// A generator that never meets a verdict tests nothing about it.
	for _, v := range []Verdict{Answered, Service, Other, Translated, Refused, Dropped, NoName, NoRoute, BlockedAtSource, NotTested} {
		if met[v] < 10 {
			t.Errorf("%s was met %d times", v, met[v])
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), int64(5*time.Second), int64(time.Second), "", "open", 0, []byte(tlsHello))
	f.Add([]byte("fedcba9876543210"), int64(time.Second), int64(5*time.Second), "gone\n", "timeout", 10060, []byte{})
	f.Fuzz(func(t *testing.T, seed []byte, served, told int64, lost, result string, code int, reply []byte) {
		seed = append(seed, make([]byte, 16)...)
		a := random(rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed), binary.LittleEndian.Uint64(seed[8:]))))
		a.to.Served, a.to.Lost = time.Duration(served), lost
		a.d.Told, a.d.Result, a.d.Code, a.d.Reply = zero.Add(time.Duration(told)), result, code, reply
		p := a.judge()
		if a.q.Target != "" {
			lawful(t, a.q, a.d, !a.lostDial, a.to, p)
		}
	})
}
