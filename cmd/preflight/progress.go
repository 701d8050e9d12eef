package main

import (
	"io"
	"sync"
)

// progress writes lines without ever keeping the one who adds them waiting: a terminal may stand still while somebody
// marks text in it, and a pipe's reader may be slow, while servers are being changed.
type progress struct {
	mu     sync.Mutex
	more   *sync.Cond
	lines  []line
	busy   bool // lines are being written
	closed bool
	done   chan struct{}
}

type line struct {
	to   io.Writer
	text string
}

func newProgress() *progress {
	p := &progress{done: make(chan struct{})}
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
	p.lines = append(p.lines, line{to, text})
	p.more.Broadcast()
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
