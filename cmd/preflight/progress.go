package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress writes lines without ever keeping the one who adds them waiting: a terminal may stand still while somebody
// marks text in it, and a pipe's reader may be slow, while servers are being changed.
type progress struct {
	mu     sync.Mutex
	more   *sync.Cond
	lines  []line
	heard  time.Time // when a line was added last
	busy   bool      // lines are being written
	closed bool
	done   chan struct{}
}

type line struct {
	to   io.Writer
	text string
}

func newProgress() *progress {
	p := &progress{heard: time.Now(), done: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	go p.write()
	return p
}

func (p *progress) write() {
	defer close(p.done)
	for {
		p.mu.Lock()
		for len(p.lines) == 0 && !p.closed {
			p.more.Wait()
		}
		lines := p.lines
		p.lines, p.busy = nil, len(lines) > 0
		p.mu.Unlock()
		if len(lines) == 0 {
			return
		}
		for _, l := range lines {
			io.WriteString(l.to, l.text+"\n")
		}
		p.mu.Lock()
		p.busy = false
		p.more.Broadcast()
		p.mu.Unlock()
	}
}

// add queues a line for a stream.
func (p *progress) add(to io.Writer, text string) {
	if text == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
	p.lines = append(p.lines, line{to, text})
	p.more.Broadcast()
}

// silence is how long a command may say nothing before it is said that it still works.
const silence = 30 * time.Second

// watch says on a stream, until the end, that nothing was added for a time, each time that it is over.
func (p *progress) watch(to io.Writer, silence time.Duration) {
	go func() {
		tick := time.NewTicker(silence)
		defer tick.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-tick.C:
			}
			p.mu.Lock()
			if silent := time.Since(p.heard); silent >= silence {
				p.lines = append(p.lines, line{to, fmt.Sprintf("  still working, nothing new for %.0f s", silent.Seconds())})
				p.more.Broadcast()
			}
			p.mu.Unlock()
		}
	}()
}

// flush waits until what was added so far is written.
func (p *progress) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.lines) > 0 || p.busy {
		p.more.Wait()
	}
}

// end waits until what was added is written.
func (p *progress) end() {
	p.mu.Lock()
	p.closed = true
	p.more.Broadcast()
	p.mu.Unlock()
	<-p.done
}
