package engine

import (
	"cmp"
	"context"
	"fmt"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/script"
	"github.com/qlik-preflight/preflight/internal/site"
)

// Inspect reads every server that was signed in to. It changes nothing on them.
func (e *Engine) Inspect(ctx context.Context) error {
	if err := e.stage("inspect"); err != nil {
		return err
	}
	var broke firstError
	each(e.servers, func(name string, s Server) {
		node, _ := e.Site.Node(name)
		f, err := script.Inspect(ctx, s, node.Role == site.Rim, e.peers(name))
		if err != nil {
			broke.set(e.fail(ctx, "inspect", name, fmt.Errorf("%s: %w", name, err)))
			return
		}
		e.mu.Lock()
		e.facts[name] = f
		e.mu.Unlock()
		broke.set(e.emit(record.ServerInspected{Server: name, Role: node.Role, Facts: f, At: e.now()}))
	})
	if err := cmp.Or(broke.err, ctx.Err()); err != nil {
		return err
	}
	if n := len(e.servers) - len(e.facts); n > 0 {
		return stopped("%d of %d servers could not be inspected", n, len(e.servers))
	}
	return nil
}

// peers are the servers that one server talks to.
func (e *Engine) peers(name string) []script.Peer {
	talks := map[string]bool{}
	for _, f := range e.flows {
		talks[f.To] = talks[f.To] || f.From == name
		talks[f.From] = talks[f.From] || f.To == name
	}
	var peers []script.Peer
	for _, n := range e.Site.Nodes {
		if n.Name != name && talks[n.Name] {
			peers = append(peers, script.Peer{Name: n.Name, Host: n.Host})
		}
	}
	return peers
}
