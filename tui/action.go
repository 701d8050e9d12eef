package tui

import (
	"context"
	"slices"
	"sync"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// job is an action that runs. It is the operator that the action tells and asks: what it says goes through one queue, so
// that it arrives in the order in which it was said, its end last.
type job struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	said  []any         // told, *ask, withdrawn, ended
	ready chan struct{} // something is in said
}

type (
	told      struct{ event record.Event }
	withdrawn struct{ ask *ask } // nobody waits for its answer any more
	ended     struct{ err error }
)

// ask is a question of the action itself.
type ask struct {
	question wizard.Question
	answer   chan string
}

// happened is everything that an action has said since the last one.
type happened struct {
	job  *job
	said []any
}

func newJob(ctx context.Context) *job {
	j := &job{ready: make(chan struct{}, 1)}
	j.ctx, j.cancel = context.WithCancel(ctx)
	return j
}

// put never waits: what runs must not depend on how fast a terminal is.
func (j *job) put(what any) {
	j.mu.Lock()
	j.said = append(j.said, what)
	j.mu.Unlock()
	select {
	case j.ready <- struct{}{}:
	default:
	}
}

// wait is the command that brings what is said next, all of it in one message: the screen is drawn once for each.
func (j *job) wait() tea.Cmd {
	return func() tea.Msg {
		<-j.ready
		j.mu.Lock()
		defer j.mu.Unlock()
		said := j.said
		j.said = nil
		return happened{j, said}
	}
}

// do is the command that does the action.
func (j *job) do(r wizard.Runner, a wizard.Action, with wizard.Answers) tea.Cmd {
	return func() tea.Msg {
		defer j.cancel()
		j.put(ended{r.Do(j.ctx, a, with, j)})
		return nil
	}
}

// Tell implements wizard.Operator.
func (j *job) Tell(e record.Event) { j.put(told{e}) }

// Ask implements wizard.Operator.
func (j *job) Ask(ctx context.Context, q wizard.Question) (string, error) {
	a := &ask{q, make(chan string, 1)}
	j.put(a)
	select {
	case answer := <-a.answer:
		return answer, nil
	case <-ctx.Done():
		j.put(withdrawn{a})
		return "", ctx.Err()
	case <-j.ctx.Done():
		j.put(withdrawn{a})
		return "", j.ctx.Err()
	}
}

// without is a list of questions but for one.
func without(asks []*ask, one *ask) []*ask {
	return slices.DeleteFunc(slices.Clone(asks), func(a *ask) bool { return a == one })
}
