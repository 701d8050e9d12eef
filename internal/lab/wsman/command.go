package wsman

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"
)

// command is a command of a shell, from its start until the shell is deleted or the client lets go of it.
type command struct {
	ctx   context.Context // ends with the command, or before: then it is to end
	end   context.CancelFunc
	stdin *input

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change of what follows
	out     []chunk       // not yet delivered
	ended   bool
	code    int
	told    bool // the client was told of the end, which happens once
}

type chunk struct {
	stream string
	data   []byte
}

func newCommand(ctx context.Context) *command {
	c := &command{stdin: newInput(), changed: make(chan struct{})}
	c.ctx, c.end = context.WithCancel(ctx)
	return c
}

func (c *command) run(sh Shell, line string) {
	defer c.end()
	stop := context.AfterFunc(c.ctx, func() { c.stdin.close(context.Cause(c.ctx)) })
	defer stop()
	stderr := &stream{c, "stderr"}
	code, err := sh.Run(c.ctx, line, c.stdin, &stream{c, "stdout"}, stderr)
	if err != nil {
		c.write("stderr", []byte(err.Error()+"\r\n"))
		if code == 0 {
			code = 1
		}
	}
	c.stdin.close(context.Canceled)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended, c.code = true, code
	c.change()
}

// change wakes those who wait in receive. The caller holds mu.
func (c *command) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *command) write(name string, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.out); n > 0 && c.out[n-1].stream == name {
		c.out[n-1].data = append(c.out[n-1].data, p...)
	} else {
		c.out = append(c.out, chunk{name, append([]byte(nil), p...)})
	}
	c.change()
}

// take removes up to max bytes from the output. The caller holds mu.
func (c *command) take(max int) []chunk {
	var taken []chunk
	for max > 0 && len(c.out) > 0 {
		first := &c.out[0]
		n := min(max, len(first.data))
		taken = append(taken, chunk{first.stream, first.data[:n:n]})
		first.data = first.data[n:]
		if max -= n; len(first.data) == 0 {
			c.out = c.out[1:]
		}
	}
	return taken
}

// receive waits until there is output or the command has ended, and answers with it. The end is told once, after all
// output, and from then on the command is unknown.
func (c *command) receive(ctx context.Context, id string, wait time.Duration) *answer {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		c.mu.Lock()
		if c.told {
			c.mu.Unlock()
			return unknown()
		}
		out := c.take(outputMax)
		c.told = c.ended && len(c.out) == 0
		told, code, changed := c.told, c.code, c.changed
		if told {
			c.change()
		}
		c.mu.Unlock()
		if len(out) > 0 || told {
			return received(id, out, told, code)
		}
		select {
		case <-changed:
		case <-timer.C:
			return fault("Receiver", "w:TimedOut", "2150858793", "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.")
		case <-ctx.Done():
			return nil
		}
	}
}

func received(id string, out []chunk, done bool, code int) *answer {
	var b strings.Builder
	b.WriteString(`<rsp:ReceiveResponse>`)
	for _, o := range out {
		fmt.Fprintf(&b, `<rsp:Stream Name="%s" CommandId="%s">%s</rsp:Stream>`, o.stream, id, base64.StdEncoding.EncodeToString(o.data))
	}
	if done {
		fmt.Fprintf(&b, `<rsp:Stream Name="stdout" CommandId="%[1]s" End="true"></rsp:Stream><rsp:Stream Name="stderr" CommandId="%[1]s" End="true"></rsp:Stream><rsp:CommandState CommandId="%[1]s" State="%[2]s/CommandState/Done"><rsp:ExitCode>%[3]d</rsp:ExitCode></rsp:CommandState>`, id, nsShell, code)
	} else {
		fmt.Fprintf(&b, `<rsp:CommandState CommandId="%s" State="%s/CommandState/Running"></rsp:CommandState>`, id, nsShell)
	}
	b.WriteString(`</rsp:ReceiveResponse>`)
	return &answer{nsShell + "/ReceiveResponse", b.String()}
}

func (c *command) toldEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// stream is the command's end of its output.
type stream struct {
	c    *command
	name string
}

func (s *stream) Write(p []byte) (int, error) {
	if err := s.c.ctx.Err(); err != nil {
		return 0, err
	}
	s.c.write(s.name, p)
	return len(p), nil
}

// input is a pipe that holds what has been written until it is read, so that a client's message is answered even if
// the command does not read.
type input struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	err  error // what Read returns after the data; nil while open
}

func newInput() *input {
	in := new(input)
	in.cond = sync.NewCond(&in.mu)
	return in
}

func (in *input) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.data) == 0 && in.err == nil {
		in.cond.Wait()
	}
	if len(in.data) == 0 {
		return 0, in.err
	}
	n := copy(p, in.data)
	in.data = in.data[n:]
	return n, nil
}

// write reports whether the pipe is still open.
func (in *input) write(p []byte) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		return false
	}
	in.data = append(in.data, p...)
	in.cond.Broadcast()
	return true
}

// close ends the pipe once: io.EOF as its writer does, any other error as its reader's end does.
func (in *input) close(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
		in.cond.Broadcast()
	}
}
