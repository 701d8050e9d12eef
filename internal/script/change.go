package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/printable"
)

// Rule is a firewall rule to add. The script makes it inbound, allow and TCP, in the group Preflight.
type Rule struct {
	ID, Name, Description string
	Ports                 []uint16
	From                  []netip.Prefix // a prefix of length 0 is any
	Profiles              rule.Profiles
}

// Group is the group of every rule that preflight adds.
const Group = firewall.Group

func (r Rule) frame() Frame {
	var ports []string
	for _, p := range r.Ports {
		ports = append(ports, strconv.Itoa(int(p)))
	}
	return Frame{"add", r.ID, r.Name, r.Description, strings.Join(ports, ","), strings.Join(firewall.Sources(r.From...), ","), r.Profiles.String()}
}

// ParseRule reads the frame that asks for a rule, as a server does.
func ParseRule(f Frame) (Rule, error) {
	r := Rule{ID: f.Field(1), Name: f.Field(2), Description: f.Field(3)}
	if f.Kind() != "add" || len(f) != 7 {
		return r, errors.New("not a rule")
	}
	for s := range strings.SplitSeq(f[4], ",") {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return r, fmt.Errorf("not a port: %s", s)
		}
		r.Ports = append(r.Ports, uint16(n))
	}
	for s := range strings.SplitSeq(f[5], ",") {
		p, err := firewall.ParseSource(s)
		if err != nil {
			return r, err
		}
		r.From = append(r.From, p)
	}
	for s := range strings.SplitSeq(f[6], ",") {
		p, ok := map[string]rule.Profile{"Domain": rule.Domain, "Private": rule.Private, "Public": rule.Public}[s]
		if !ok {
			return r, fmt.Errorf("not a profile: %s", s)
		}
		r.Profiles |= rule.Profiles(p)
	}
	return r, nil
}

// Outcome is what a server says of one rule it was asked to add or remove.
type Outcome struct {
	Kind   string // added, exists, removed, absent, differs
	Stored string // the rule as the server stores it, after adding or where it stands in the way
}

// ErrInDoubt is wrapped by the error of a rule that may be there although adding it failed.
var ErrInDoubt = errors.New("the rule may be there all the same")

// Changer is a running add or remove: one process that takes one rule after the other.
type Changer struct{ c *Call }

// StartAdd starts adding rules on a server.
func StartAdd(ctx context.Context, r Runner) *Changer {
	return &Changer{Start(ctx, r, AddOp, 5*time.Minute)}
}

// StartRemove starts removing rules on a server.
func StartRemove(ctx context.Context, r Runner) *Changer {
	return &Changer{Start(ctx, r, RemoveOp, 5*time.Minute)}
}

// Add adds one rule. An error that is not a *Error leaves it in doubt whether the rule is there.
func (ch *Changer) Add(r Rule) (Outcome, error) {
	ch.c.send(r.frame())
	return ch.outcome(r.ID)
}

// Remove removes one rule if it is still exactly stored.
func (ch *Changer) Remove(id, stored string) (Outcome, error) {
	ch.c.Send("remove", id, stored)
	return ch.outcome(id)
}

func (ch *Changer) outcome(id string) (Outcome, error) {
	f, err := ch.c.Next()
	if err == io.EOF {
		err = ErrEnded
	}
	var said *Error
	if errors.As(err, &said) {
		// The script as a whole failed: what it did with this rule is not known.
		return Outcome{}, fmt.Errorf("%w: %v", ErrInDoubt, said)
	}
	if err != nil {
		return Outcome{}, err
	}
	if f.Field(1) != id {
		return Outcome{}, fmt.Errorf("%s: the answer is about another rule: %s", ch.c.op.Name, printable.Line(f.Field(1)))
	}
	said = &Error{Op: ch.c.op.Name, Type: f.Field(2), HResult: f.Field(3), Message: f.Field(5)}
	switch f.Kind() {
	case "failed":
		return Outcome{}, said
	case "doubt":
		return Outcome{}, fmt.Errorf("%w: %v", ErrInDoubt, said)
	case "added", "exists", "removed", "absent", "differs":
		return Outcome{Kind: f.Kind(), Stored: f.Field(2)}, nil
	}
	return Outcome{}, fmt.Errorf("%s: an answer of an unknown kind: %s", ch.c.op.Name, printable.Line(f.Kind()))
}

// Finish ends the process. For add it returns whether the firewall says that the rules of the group are in force on a
// profile that is active.
func (ch *Changer) Finish() (facts.Value[bool], error) {
	live := facts.Unknown[bool]("the server did not say")
	ch.c.in.close()
	for {
		f, err := ch.c.Next()
		if err == io.EOF {
			return live, ch.c.Close()
		}
		if err != nil {
			return live, err
		}
		switch f.Kind() {
		case "group":
			live = facts.Known(f.Field(1) != "0")
		case "unknown":
			live = facts.Unknown[bool](printable.Line(f.Field(5)))
		}
	}
}
