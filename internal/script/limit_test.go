package script

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// deaf is a server on which the script never comes to run.
type deaf struct{}

func (deaf) Run(ctx context.Context, _ string, _ io.Reader, _, _ io.Writer) (int, error) {
	<-ctx.Done()
	return -1, ctx.Err()
}

// TestLimit: a script that never comes to run, and so cannot end itself, is given up, and its input ended for whoever
// still reads it.
func TestLimit(t *testing.T) {
	t.Parallel()
	c := startWithin(t.Context(), deaf{}, InspectOp, time.Minute, 10*time.Millisecond)
	_, err := c.Next()
	if err == nil || !strings.Contains(err.Error(), "given up after 10ms") {
		t.Errorf("Next = %v; want that it was given up", err)
	}
	if _, err := io.Copy(io.Discard, c.in); err != nil {
		t.Errorf("reading what is left of the input: %v", err)
	}
}
