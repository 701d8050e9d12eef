package main

import (
	"strings"
	"testing"
	"time"
)

// lineWriter hands on what is written.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// TestProgressWatch: where nothing is added it is said again and again that the command still works, and at the end no more.
func TestProgressWatch(t *testing.T) {
	t.Parallel()
	const silence = 20 * time.Millisecond
	p, to := newProgress(), make(lineWriter, 1000)
	began := time.Now()
	p.watch(to, silence)
	for range 3 {
		if got := <-to; !strings.HasPrefix(got, "  still working, nothing new for ") {
			t.Errorf("it says %q", got)
		}
	}
	if passed := time.Since(began); passed < 3*silence-silence/2 {
		t.Errorf("it has said that three times after %v", passed)
	}
	p.end()
	for len(to) > 0 {
		<-to
	}
	p.add(to, "late")
	if len(to) > 0 {
		t.Errorf("after the end it says %q", <-to)
	}

	// What is added counts as news.
	p, to = newProgress(), make(lineWriter, 1000)
	defer p.end()
	p.watch(to, time.Hour)
	p.add(to, "news")
	p.flush()
	if got := <-to; got != "news\n" || len(to) > 0 {
		t.Errorf("it says %q", got)
	}
}
