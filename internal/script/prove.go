package script

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/proof"
)

// Side is what one server is to do in a proof.
type Side struct {
	Listens []Listen
	Watches []Watch
	Dials   []Dial
	Limits  Limits
}

// Listen is a port of ours, the key it answers with, and the tokens it is to hear.
type Listen struct {
	Port   uint16
	Key    string
	Tokens []string
}

// Watch is a port of a service, and the addresses that will connect to it.
type Watch struct {
	Port uint16
	From []netip.Addr
}

// Dial is one connection to try.
type Dial struct {
	ID      string
	Address netip.Addr
	Port    uint16
	Words   string // token, tls, http or nothing
	Token   string
	After   time.Duration // after go; paces the dials
}

// Limits are the times of a proof.
type Limits struct {
	Dial  time.Duration // how long one connection may take. Windows needs 2 s to report a refused one
	Hold  time.Duration // how long a connection to a service is held open, to be seen in the target's TCP table
	Least time.Duration // how long each side serves after go, whatever it has seen
	Most  time.Duration // and how long at most
}

// Prover is one server's side of a proof, running.
type Prover struct {
	c      *Call
	report proof.Report
}

// StartProve starts a server's side. It listens once Ready has returned.
func StartProve(ctx context.Context, r Runner, s Side) *Prover {
	c := Start(ctx, r, ProveOp, s.Limits.Most+60*time.Second)
	for _, f := range s.frames() {
		c.send(f)
	}
	return &Prover{c: c, report: proof.Report{
		Busy: map[uint16]int{}, Dials: map[string]proof.Dial{}, Heard: map[string]proof.Heard{},
	}}
}

func (s Side) frames() []Frame {
	var out []Frame
	port := func(p uint16) string { return strconv.Itoa(int(p)) }
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	for _, l := range s.Listens {
		out = append(out, Frame{"listen", port(l.Port), l.Key, strings.Join(l.Tokens, " ")})
	}
	for _, w := range s.Watches {
		var from []string
		for _, a := range w.From {
			from = append(from, a.String())
		}
		out = append(out, Frame{"watch", port(w.Port), strings.Join(from, " ")})
	}
	for _, d := range s.Dials {
		out = append(out, Frame{"dial", d.ID, d.Address.String(), port(d.Port), d.Words, d.Token, ms(d.After)})
	}
	l := s.Limits
	return append(out, Frame{"limits", ms(l.Dial), ms(l.Hold), ms(l.Least), ms(l.Most)}, Frame{"set"})
}

// ParseSide reads what a server is to do, as a server does: frames up to "set".
func ParseSide(next func() (Frame, error)) (Side, error) {
	var s Side
	var bad error
	number := func(f Frame, i int) int64 {
		n, err := strconv.ParseInt(f.Field(i), 10, 64)
		if err != nil || n < 0 {
			bad = fmt.Errorf("%s: field %d is no number", f.Kind(), i)
		}
		return n
	}
	ms := func(f Frame, i int) time.Duration { return time.Duration(number(f, i)) * time.Millisecond }
	for {
		f, err := next()
		if err != nil {
			return s, err
		}
		switch f.Kind() {
		case "listen":
			s.Listens = append(s.Listens, Listen{Port: uint16(number(f, 1)), Key: f.Field(2), Tokens: strings.Fields(f.Field(3))})
		case "watch":
			w := Watch{Port: uint16(number(f, 1))}
			for _, t := range strings.Fields(f.Field(2)) {
				a, err := netip.ParseAddr(t)
				if err != nil {
					bad = err
				}
				w.From = append(w.From, a)
			}
			s.Watches = append(s.Watches, w)
		case "dial":
			a, err := netip.ParseAddr(f.Field(2))
			if err != nil {
				bad = err
			}
			s.Dials = append(s.Dials, Dial{ID: f.Field(1), Address: a, Port: uint16(number(f, 3)), Words: f.Field(4), Token: f.Field(5), After: ms(f, 6)})
		case "limits":
			s.Limits = Limits{Dial: ms(f, 1), Hold: ms(f, 2), Least: ms(f, 3), Most: ms(f, 4)}
		case "set":
			return s, bad
		}
	}
}

// Ready waits until the server listens.
func (p *Prover) Ready() error {
	for {
		f, err := p.c.Next()
		if err == io.EOF {
			err = ErrEnded
		}
		if err != nil {
			return err
		}
		if f.Kind() == "ready" {
			return nil
		}
		p.add(f, time.Now())
	}
}

// Go tells the server to dial, and notes when.
func (p *Prover) Go() {
	p.report.Went = time.Now()
	p.c.Send("go")
}

// Report waits for the end of the proof. A side that broke off is no error: its report says what it lost.
func (p *Prover) Report() proof.Report {
	for {
		f, err := p.c.Next()
		if errors.Is(err, io.EOF) {
			p.c.Close() // its listeners are closed when the process has ended
			if p.report.Served == 0 {
				p.report.Lost = "it did not say how long it listened"
			}
			return p.report
		}
		if err != nil {
			p.report.Lost = printable.Line(err.Error())
			return p.report
		}
		p.add(f, time.Now())
	}
}

// add takes one frame. What cannot be read makes the report incomplete; it is never taken for a result.
func (p *Prover) add(f Frame, now time.Time) {
	r := &p.report
	bad := false
	number := func(i int) int64 {
		n, err := strconv.ParseInt(f.Field(i), 10, 32)
		bad = bad || err != nil
		return n
	}
	port := func(i int) uint16 {
		n, err := strconv.ParseUint(f.Field(i), 10, 16)
		bad = bad || err != nil
		return uint16(n)
	}
	end := func(i int) netip.AddrPort {
		a, err := netip.ParseAddrPort(f.Field(i))
		bad = bad || err != nil
		return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	}
	ms := func(i int) time.Duration {
		n := number(i)
		bad = bad || n < 0
		return time.Duration(n) * time.Millisecond
	}
	switch f.Kind() {
	case "bound":
		if p := port(1); !bad {
			r.Bound = append(r.Bound, p)
		}
	case "busy":
		if p, code := port(1), number(2); !bad {
			r.Busy[p] = int(code)
		}
	case "dialled":
		d := proof.Dial{Result: f.Field(2), Code: int(number(3)), After: ms(4), Took: ms(5), Told: now}
		if f.Field(6) != "" {
			d.From = end(6)
		}
		reply, err := hex.DecodeString(f.Field(7))
		d.Reply = reply
		bad = bad || err != nil || !slices.Contains([]string{"open", "failed", "timeout"}, d.Result)
		if !bad {
			r.Dials[f.Field(1)] = d
		}
	case "heard":
		if h := (proof.Heard{From: end(3), To: end(4)}); !bad {
			r.Heard[f.Field(2)] = h
		}
	case "accepted":
		if p, from := port(1), end(2); !bad {
			r.Accepted = append(r.Accepted, proof.Seen{Port: p, From: from})
		}
	case "seen":
		if s := (proof.Seen{Port: port(1), From: end(2), To: end(3)}); !bad {
			r.Seen = append(r.Seen, s)
		}
	case "gone":
		if p := port(1); !bad {
			r.Gone = append(r.Gone, p)
		}
	case "served":
		if d, gap := ms(1), ms(2); !bad {
			r.Served, r.Began, r.Gap = d, now.Add(-d), gap
		}
	}
	if bad && r.Lost == "" {
		r.Lost = "an answer could not be read: " + printable.Line(f.Line())
	}
}
