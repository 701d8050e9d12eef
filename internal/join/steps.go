package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/site"
)

// State is what became of a step.
type State string

const (
	Done     State = "done"
	ByHand   State = "by_hand"    // a person says so; nothing that can be seen shows it
	Left     State = "left"       // to a person, and the rim runs without it
	Needless State = "not_needed" // as for a rim without a proxy
	Failed   State = "failed"
)

// Outcome is what became of a step, and what shows it. Owner and Remedy are for one that is not done.
type Outcome struct {
	State  State
	Seen   string
	Owner  string
	Remedy string
}

// Rim is what can be asked and done on the rim itself; a script.Setup is one.
type Rim interface {
	State() (facts.Value[facts.ServiceState], error)
	Listening() (map[uint16]bool, error)
	Unlock(password secret.Text) (status int, text string, err error)
}

// Person does by hand what nobody else may.
type Person interface {
	// OneTimePassword is what the QMC shows once it has created a node.
	OneTimePassword(ctx context.Context) (secret.Text, error)
	// Confirm asks whether something is done.
	Confirm(ctx context.Context, question string) (Answer, error)
}

// Answer is what a person says to a question.
type Answer int

const (
	NoAnswer Answer = iota
	Yes
	No
)

// unlockPort is where a rim waits for the one-time password, on its own localhost alone.
const unlockPort = 4570

// Join takes one rim into its site. It keeps the one-time password between two steps, and nowhere else.
type Join struct {
	Site   site.Site
	Node   site.Node // the rim
	Ports  []uint16  // those that the other nodes dial on it
	Rim    Rim
	QRS    *QRS                        // nil: a person does that part
	Person Person                      // if QRS is nil
	Tell   func(lines ...string) error // tells the person what to do

	Poll  time.Duration // between two looks
	Limit time.Duration // how long is waited for the rim to run; its services get a fifth of it more to listen

	node     string // the node's id
	password secret.Text
	running  bool // it runs with certificates already
}

// Do does one step: each of Steps once, in their order, up to the first that failed. An error is the end of ctx, or of the
// conversation with the person; what could not be done on the servers is an Outcome.
func (j *Join) Do(ctx context.Context, s Step) (Outcome, error) {
	auto := map[string]func(context.Context) (Outcome, error){
		NodeStep.ID: j.findOrCreate, CertificateStep.ID: j.send, UnlockStep.ID: j.unlock, RunningStep.ID: j.wait, ProxyStep.ID: j.proxy,
	}
	if j.QRS == nil {
		auto[NodeStep.ID], auto[CertificateStep.ID], auto[ProxyStep.ID] = j.handNode, j.handSent, j.handProxy
	}
	out, err := auto[s.ID](ctx)
	if err == nil {
		err = ctx.Err()
	}
	out.Seen, out.Owner, out.Remedy = printable.Line(out.Seen), printable.Line(out.Owner), printable.Line(out.Remedy)
	return out, err
}

func done(format string, args ...any) (Outcome, error) {
	return Outcome{State: Done, Seen: fmt.Sprintf(format, args...)}, nil
}

func failed(remedy, format string, args ...any) (Outcome, error) {
	return Outcome{State: Failed, Seen: fmt.Sprintf(format, args...), Owner: "you", Remedy: remedy}, nil
}

// failure is the outcome of a request to the QRS that failed.
func failure(err error) (Outcome, error) {
	var e *Error
	if errors.As(err, &e) {
		return failed(e.Hint, "%v", e)
	}
	return failed("", "%v", err)
}

// again is what to do about most failures.
const again = "put that right, and run the same again: what is done is not done twice"

// look asks the rim for its state, until it is not initialising any more.
func (j *Join) look(ctx context.Context) (facts.Value[facts.ServiceState], error) {
	var state facts.Value[facts.ServiceState]
	_, err := j.until(ctx, j.Limit, func() (bool, error) {
		var err error
		state, err = j.Rim.State()
		return !state.OK() || state.V != facts.Initialising, err
	})
	j.running = state.OK() && state.V == facts.Running
	return state, err
}

// until looks again and again until something is so, ctx is over, or limit has passed; the last is no error.
func (j *Join) until(ctx context.Context, limit time.Duration, so func() (bool, error)) (bool, error) {
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(j.Poll)
	defer tick.Stop()
	for {
		if ok, err := so(); ok || err != nil {
			return ok, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-over.C:
			return false, nil
		case <-tick.C:
		}
	}
}

// findOrCreate finds the node of the rim in the site, or creates it.
func (j *Join) findOrCreate(ctx context.Context) (Outcome, error) {
	about, err := j.QRS.About(ctx)
	if err != nil {
		return failure(err)
	}
	if !about.Central {
		return failed("let join.qrs in the site file name the central node", "the repository service that answers is not that of a central node")
	}
	nodes, err := j.QRS.Nodes(ctx, j.Node.Host, j.Node.Name)
	if err != nil {
		return failure(err)
	}
	var same, near []Node
	for _, n := range nodes {
		if strings.EqualFold(n.HostName, j.Node.Host) {
			same = append(same, n)
		} else {
			near = append(near, n)
		}
	}
	state, err := j.look(ctx)
	if err != nil {
		return failed(again, "%v", err)
	}
	switch {
	case len(same) > 1:
		return failed("remove all but one in the QMC; none of them was touched", "the site has %d nodes with the host name %s", len(same), j.Node.Host)
	case len(same) == 1 && same[0].Central != nil && *same[0].Central:
		return failed("correct host in the site file", "%s is the host name of the central node", j.Node.Host)
	case len(same) == 1:
		j.node = same[0].ID
		return done("the site has the node %s with the host name %s already%s", same[0].Name, same[0].HostName, j.differences(same[0]))
	case len(near) > 0:
		return failed("a host name cannot be changed in the QMC: let the site file's host be that one, or remove that node there",
			"the site has the node %s with the host name %s, which may be the same server as %s", near[0].Name, near[0].HostName, j.Node.Host)
	case j.running:
		return failed("preflight explain rim.certificates", "%s runs with certificates, but the site has no node of it: they may be those of another site", j.Node.Name)
	case !state.OK() || state.V != facts.CertificatesNotInstalled:
		return failed(again, "%s does not wait for a certificate: %s", j.Node.Name, describe(state))
	}
	j.node, err = j.QRS.CreateNode(ctx, NewNode{
		Name: j.Node.Name, HostName: j.Node.Host, Engine: j.Node.Runs(site.Engine), Proxy: j.Node.Runs(site.Proxy),
		Scheduler: j.Node.Runs(site.Scheduler), Printing: j.Node.Runs(site.Printing), Since2: !strings.HasPrefix(j.Site.Release, "1."),
	})
	if err != nil {
		return failure(err)
	}
	return done("created with the host name %s", j.Node.Host)
}

// differences are the services that a node has otherwise than the site file says, as far as the QRS tells.
func (j *Join) differences(n Node) string {
	var off, on []string
	for _, s := range []struct {
		service site.Service
		is      *bool
	}{{site.Engine, n.Engine}, {site.Proxy, n.Proxy}, {site.Scheduler, n.Scheduler}, {site.Printing, n.Printing}} {
		switch wanted := j.Node.Runs(s.service); {
		case s.is == nil || *s.is == wanted:
		case wanted:
			off = append(off, string(s.service))
		default:
			on = append(on, string(s.service))
		}
	}
	out := ""
	if len(off) > 0 {
		out += "; otherwise than in the site file it has no " + strings.Join(off, ", ")
	}
	if len(on) > 0 {
		out += "; otherwise than in the site file it has " + strings.Join(on, ", ")
	}
	return out
}

// send has the central node send the certificate to the rim.
func (j *Join) send(ctx context.Context) (Outcome, error) {
	if waits, out, err := j.ready(ctx); !waits {
		return out, err
	}
	password, err := j.QRS.StartRegistration(ctx, j.node, j.Node.Host)
	if err != nil {
		return failure(err)
	}
	j.password = password
	return done("%s has sent the certificate to port 4444 of %s and given a one-time password", j.Site.Central().Name, j.Node.Name)
}

// ready tells whether the rim waits for its certificate, and what becomes of the step if it does not.
func (j *Join) ready(ctx context.Context) (waits bool, out Outcome, err error) {
	state, err := j.look(ctx)
	switch {
	case err != nil:
		out, err = failed(again, "%v", err)
	case j.running:
		out, err = done("%s runs with certificates already", j.Node.Name)
	case !state.OK() || state.V != facts.CertificatesNotInstalled:
		out, err = failed(again, "%s does not wait for a certificate: %s", j.Node.Name, describe(state))
	default:
		return true, out, nil
	}
	return false, out, err
}

func describe(s facts.Value[facts.ServiceState]) string {
	if !s.OK() {
		return "its state is not known: " + s.Unknown
	}
	return "it is " + s.V.String()
}

// unlocked is what a rim answers to the right password (guide to release 1.0.2, step 7).
const unlocked = "successfully unlocked"

// unlock gives the rim the one-time password. A person may type it wrong, and then has two more tries.
func (j *Join) unlock(ctx context.Context) (Outcome, error) {
	if j.running {
		return done("%s runs with certificates already", j.Node.Name)
	}
	for tries := 1; ; tries++ {
		out, err := j.tryPassword(ctx)
		if err != nil || out.State == Done || j.QRS != nil || tries == 3 {
			j.password = ""
			return out, err
		}
		if waits, err := j.waits(); err != nil || !waits {
			j.password = ""
			return out, nil
		}
		if err := j.Tell(printable.Line(out.Seen), "Type the one-time password once more: the one that was shown last. Small and capital letters count."); err != nil {
			return Outcome{}, err
		}
		if j.password, err = j.Person.OneTimePassword(ctx); err != nil {
			return Outcome{}, err
		}
		if j.password == "" {
			return out, nil
		}
	}
}

// arrived waits for a certificate that waits for its password. The central node has sent it by the time it gives the
// password.
func (j *Join) arrived(ctx context.Context) (bool, error) {
	return j.until(ctx, j.Limit/60, j.waits)
}

// waits tells whether the rim waits for a password still.
func (j *Join) waits() (bool, error) {
	open, err := j.Rim.Listening()
	return open[unlockPort], err
}

func (j *Join) tryPassword(ctx context.Context) (Outcome, error) {
	switch waits, err := j.arrived(ctx); {
	case ctx.Err() != nil:
		return Outcome{}, ctx.Err()
	case err != nil:
		return failed(again, "%v", err)
	case !waits:
		return failed(again, "nothing listens on port %d of %s itself: no certificate waits there for its password", unlockPort, j.Node.Name)
	}
	status, text, err := j.Rim.Unlock(j.password)
	var said *script.Error
	switch {
	case err != nil && !errors.As(err, &said):
		return failed(again, "whether the password arrived is not known: %v", err)
	case err == nil && status == 200 && strings.Contains(text, unlocked):
		return done("%s answered that it is %s", j.Node.Name, unlocked)
	}
	// The answer of later releases is not documented: the port closes as soon as the certificate is unlocked.
	closed, lost := j.until(ctx, j.Limit/200, func() (bool, error) {
		waits, err := j.waits()
		return !waits, err
	})
	switch {
	case ctx.Err() != nil:
		return Outcome{}, ctx.Err()
	case lost != nil:
		return failed(again, "whether the certificate is unlocked is not known: %v", lost)
	case closed:
		return done("port %d of %s has closed%s", unlockPort, j.Node.Name, answer(status, text, err))
	}
	remedy := "run the same again, which gives a new password"
	if j.QRS == nil {
		remedy = "distribute the certificate once more in the QMC, which gives a new password, and run the same again"
	}
	return failed(remedy, "%s still waits for the password%s", j.Node.Name, answer(status, text, err))
}

// answer is what came back, in short.
func answer(status int, text string, err error) string {
	if err != nil {
		return "; " + err.Error()
	}
	return fmt.Sprintf("; it answered %d: %.200s", status, words(text))
}

// wait waits until the rim runs, the site says so of each of its services, and they listen.
func (j *Join) wait(ctx context.Context) (Outcome, error) {
	var state facts.Value[facts.ServiceState]
	runs, err := j.until(ctx, j.Limit, func() (bool, error) {
		var err error
		state, err = j.Rim.State()
		return state.OK() && state.V == facts.Running, err
	})
	switch {
	case ctx.Err() != nil:
		return Outcome{}, ctx.Err()
	case err != nil:
		return failed(again, "%v", err)
	case !runs:
		return failed("preflight explain join.complete", "after %v %s does not run: %s", j.Limit, j.Node.Name, describe(state))
	}
	seen := "it runs with certificates"
	if j.QRS != nil {
		services, err := j.services(ctx)
		if err != nil {
			return failure(err)
		}
		switch off := j.notRunning(services); {
		case len(services) == 0:
			seen = "it runs with certificates; the site does not tell whether its services run"
		case len(off) > 0:
			return failed("look at the service's log on "+j.Node.Name, "%s runs, but of its services: %s", j.Node.Name, strings.Join(off, ", "))
		default:
			seen = "it runs with certificates; the site says that its services run"
		}
	}
	var silent []string
	_, err = j.until(ctx, j.Limit/5, func() (bool, error) {
		open, err := j.Rim.Listening()
		silent = nil
		for _, port := range j.Ports {
			if !open[port] {
				silent = append(silent, fmt.Sprint(port))
			}
		}
		return len(silent) == 0, err
	})
	switch {
	case ctx.Err() != nil:
		return Outcome{}, ctx.Err()
	case err != nil:
		return failed(again, "%v", err)
	case len(silent) > 0:
		return done("%s; nobody listens yet on %s", seen, strings.Join(silent, " "))
	}
	return done("%s; every port is listened on", seen)
}

// services are those of the node, once they all run, or when the time is over; none if the site does not tell.
func (j *Join) services(ctx context.Context) ([]ServiceStatus, error) {
	var services []ServiceStatus
	var e *Error
	_, err := j.until(ctx, j.Limit, func() (bool, error) {
		var err error
		services, err = j.QRS.Services(ctx, j.node)
		if errors.As(err, &e) && (e.Kind == Unreachable || e.Status >= 500) {
			return false, nil // the site is busy with the new node; asking changes nothing
		}
		e = nil
		return len(services) > 0 && len(j.notRunning(services)) == 0, err
	})
	switch {
	case errors.As(err, &e) && e.Kind == NotFound:
		return nil, nil
	case err == nil && e != nil:
		return nil, e
	}
	return services, err
}

// serviceTypes are the services as the QRS numbers them.
var serviceTypes = map[int]site.Service{0: site.Repository, 1: site.Proxy, 2: site.Scheduler, 3: site.Engine, 5: site.Printing}

// notRunning are the services that neither run nor, if the site file does not name them, are turned off.
func (j *Join) notRunning(all []ServiceStatus) []string {
	var off []string
	told := map[site.Service]bool{}
	for _, s := range all {
		told[serviceTypes[s.Type]] = true
		if s.State != serviceRunning && (s.State != serviceDisabled || j.Node.Runs(serviceTypes[s.Type])) {
			off = append(off, s.String())
		}
	}
	for _, s := range j.Node.Services {
		if !told[s] {
			off = append(off, string(s)+" not there")
		}
	}
	return off
}

// names are the host names that browsers may use for the rim.
func (j *Join) names() []string {
	names := []string{j.Node.Host}
	if short, _, ok := strings.Cut(j.Node.Host, "."); ok && strings.Trim(short, "0123456789") != "" {
		names = append(names, short)
	}
	return names
}

// proxy adds the rim to the load balancing nodes and the host allow list of the default virtual proxy.
func (j *Join) proxy(ctx context.Context) (Outcome, error) {
	if !j.Node.Runs(site.Proxy) {
		return Outcome{State: Needless, Seen: j.Node.Name + " runs no proxy"}, nil
	}
	all, err := j.QRS.VirtualProxies(ctx)
	var e *Error
	if errors.As(err, &e) && e.Kind == NotFound {
		return Outcome{State: Left, Seen: "this release's repository service does not offer its virtual proxies", Owner: "you", Remedy: strings.Join(j.handProxyLines(), " ")}, nil
	}
	if err != nil {
		return failure(err)
	}
	i := slices.IndexFunc(all, func(p VirtualProxy) bool { return p.Default })
	if i < 0 {
		return Outcome{State: Left, Seen: "the site has no default virtual proxy", Owner: "you", Remedy: strings.Join(j.handProxyLines(), " ")}, nil
	}
	before := all[i]
	now, err := j.QRS.AddToVirtualProxy(ctx, before.ID, j.node, j.names())
	if err != nil {
		return failure(err)
	}
	called := before.Description
	if called == "" {
		called = "default virtual proxy"
	}
	var added []string
	if !qrsHas(before.Nodes, j.node) {
		added = append(added, fmt.Sprintf("load balancing node %s (%s)", j.Node.Name, j.node))
	}
	for _, h := range now.Hosts {
		if !slices.Contains(before.Hosts, h) {
			added = append(added, "host "+h)
		}
	}
	seen := fmt.Sprintf("%q names %s already", called, j.Node.Name)
	if len(added) > 0 {
		seen = fmt.Sprintf("added to %q: %s", called, strings.Join(added, ", "))
	}
	if !strings.Contains(j.Node.Host, ".") {
		seen += "; if browsers use a longer name, add it there too"
	}
	switch n := len(all) - 1; {
	case n == 1:
		seen += "; the other virtual proxy was not touched"
	case n > 1:
		seen += fmt.Sprintf("; the %d other virtual proxies were not touched", n)
	}
	return done("%s", seen)
}
