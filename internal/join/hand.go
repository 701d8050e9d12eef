package join

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/secret"
	"github.com/qlik-preflight/preflight/internal/site"
)

// handNode tells a person to create the node, and takes the one-time password that the QMC then shows. It watches the rim
// meanwhile: somebody may unlock the certificate there.
func (j *Join) handNode(ctx context.Context) (Outcome, error) {
	if waits, out, err := j.ready(ctx); !waits {
		return out, err
	}
	var services []string
	for _, s := range []site.Service{site.Engine, site.Proxy, site.Scheduler, site.Printing} {
		if j.Node.Runs(s) {
			services = append(services, string(s))
		}
	}
	ticked := "leave every service unticked"
	if len(services) > 0 {
		ticked = "tick " + strings.Join(services, ", ")
	}
	lines := []string{
		fmt.Sprintf("Open the QMC, https://%s/qmc, and there Nodes.", j.Site.Central().Host),
		"If the list has this host name already, open that node and have its certificate distributed again; else create a node:",
		fmt.Sprintf("  name %s, host name %s (it cannot be changed later); %s; Apply.", j.Node.Name, j.Node.Host, ticked),
		"The QMC then shows a one-time password. Type it here; nothing has to be opened on the rim.",
	}
	waits, err := j.waits()
	if err != nil {
		return failed(again, "%v", err)
	}
	if waits {
		lines = []string{
			fmt.Sprintf("A certificate waits on %s already. Type the one-time password that came with it; or have the certificate", j.Node.Name),
			fmt.Sprintf("distributed again in the QMC, https://%s/qmc, Nodes, which gives a new password, and type that.", j.Site.Central().Host),
		}
	}
	if err := j.Tell(lines...); err != nil {
		return Outcome{}, err
	}
	password, broke, err := j.watched(ctx)
	switch {
	case broke != nil:
		return failed(again, "the conversation with %s has ended: %v", j.Node.Name, broke)
	case err != nil:
		return Outcome{}, err
	case j.running:
		return done("%s has come to run with certificates meanwhile", j.Node.Name)
	case password == "":
		return failed("run the same again", "no one-time password was given")
	}
	// The password alone shows nothing: anything can be typed.
	switch arrived, err := j.arrived(ctx); {
	case err != nil:
		return failed(again, "%v", err)
	case !arrived:
		return failed("see in the QMC that the node is there, distribute its certificate once more, and run the same again",
			"a password was given, but nothing listens on port %d of %s itself: no certificate has arrived there", unlockPort, j.Node.Name)
	}
	j.password = password
	return done("%s has a certificate waiting, which the central node sends to a node that it knows", j.Node.Name)
}

// watched waits for the one-time password, or until the rim runs without it. broke is the end of the conversation with the
// rim, err that with the person.
func (j *Join) watched(ctx context.Context) (password secret.Text, broke, err error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var watch sync.WaitGroup
	watch.Go(func() {
		defer stop()
		_, broke = j.until(asking, script.SetupLimit, func() (bool, error) {
			state, err := j.Rim.State()
			j.running = state.OK() && state.V == facts.Running
			return j.running, err
		})
	})
	password, err = j.Person.OneTimePassword(asking)
	stop()
	watch.Wait()
	switch {
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case j.running:
		return "", nil, nil
	case errors.Is(broke, context.Canceled):
		broke = nil // it was asking that ended
	}
	return password, broke, err
}

// handSent sees whether the certificate has arrived.
func (j *Join) handSent(ctx context.Context) (Outcome, error) {
	if j.running {
		return done("%s runs with certificates already", j.Node.Name)
	}
	switch arrived, err := j.arrived(ctx); {
	case err != nil:
		return failed(again, "%v", err)
	case !arrived:
		return failed("distribute the certificate once more in the QMC, and run the same again",
			"nothing listens on port %d of %s itself: no certificate has arrived there", unlockPort, j.Node.Name)
	}
	return done("port %d of %s is open to itself: the certificate has arrived", unlockPort, j.Node.Name)
}

// handProxyLines is what to do for the rim to serve browsers.
func (j *Join) handProxyLines() []string {
	return []string{
		"In the QMC open Virtual proxies and there the default one, which may end people's sessions when it is saved.",
		fmt.Sprintf("Under Load balancing add the node %s; under Advanced add to the host allow list: %s; Apply.", j.Node.Name, strings.Join(j.names(), ", ")),
	}
}

// handProxy tells a person to have the rim serve browsers, and takes their word.
func (j *Join) handProxy(ctx context.Context) (Outcome, error) {
	if !j.Node.Runs(site.Proxy) {
		return Outcome{State: Needless, Seen: j.Node.Name + " runs no proxy"}, nil
	}
	if err := j.Tell(j.handProxyLines()...); err != nil {
		return Outcome{}, err
	}
	answer, err := j.Person.Confirm(ctx, "Is that done?")
	seen := "nobody has answered whether it is done"
	switch {
	case err != nil:
		return Outcome{}, err
	case answer == Yes:
		return Outcome{State: ByHand, Seen: "a person says that it is done"}, nil
	case answer == No:
		seen = "a person says that it is not done"
	}
	return Outcome{State: Left, Seen: seen, Owner: "you", Remedy: strings.Join(j.handProxyLines(), " ")}, nil
}
