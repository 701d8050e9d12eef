package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one invocation of the program: its streams, and the flags that every command has.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	format  string // of the result: text, json, jsonl, or what the command knows besides
	out     string
	noInput bool
	timeout time.Duration
	verbose bool

	runs          string // the folder of runs
	passwordStdin bool

	keys   *term.Terminal // reads secrets; nil before the first
	unread chan answer    // what a question that was broken off still reads; nil: none does

	result *result
	done   func() // ends what --timeout began
}

// answer is a line of standard input.
type answer struct {
	text string
	err  error
}

// formats is the annotation of a command that names the formats it knows, if they are not the usual ones.
const formats = "formats"

// known are the formats of a command's result.
func known(cmd *cobra.Command) []string {
	if own := strings.Fields(cmd.Annotations[formats]); len(own) > 0 {
		return own
	}
	return []string{"text", "json", "jsonl"}
}

// prepare checks the flags that every command has, before the command does anything.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	if known := known(cmd); !slices.Contains(known, a.format) {
		return usage("write "+strings.Join(known, ", "), "-o %s is not a format of %s", a.format, cmd.CommandPath())
	}
	if a.timeout < 0 {
		return usage("a time as 90s or 10m, or 0 for no limit", "--timeout %v is not a time to wait", a.timeout)
	}
	if a.timeout > 0 {
		ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
		a.done = cancel
		cmd.SetContext(ctx)
	}
	var err error
	a.result, err = newResult(a.stdout, a.out)
	return err
}

// show writes a result that is not a run's: text, or v as JSON.
func (a *app) show(text string, v any) error {
	if a.format == "text" {
		_, err := io.WriteString(a.result, text)
		return err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if a.format == "json" {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := a.result.Write(b.Bytes())
	return err
}

// result is where the result of a command goes: standard output, or a file that is there only once it is complete.
type result struct {
	io.Writer
	file *os.File // nil for standard output
	path string
}

func newResult(stdout io.Writer, path string) (*result, error) {
	if path == "" || path == "-" {
		return &result{Writer: stdout}, nil
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the file that a link names, not the link
	}
	switch info, err := os.Stat(path); {
	case err != nil || info.Mode().IsRegular():
	case info.IsDir():
		return nil, usage("name a file", "--out %s: not a file", path)
	default: // a device or a pipe has no place to be put in
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, usage("name a file", "--out %s: %w", path, cause(err))
		}
		return &result{Writer: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".preflight-*")
	if err != nil {
		return nil, usage("name a file in a folder that exists and can be written", "--out %s: %w", path, errors.Unwrap(err))
	}
	return &result{Writer: f, file: f, path: path}, nil
}

// close puts the file in its place. A command that had no result leaves what was there before.
func (r *result) close() error {
	if r == nil || r.file == nil {
		return nil
	}
	defer os.Remove(r.file.Name())
	size, err := r.file.Seek(0, io.SeekCurrent)
	err = errors.Join(err, r.file.Sync(), r.file.Close())
	if err == nil && size > 0 {
		err = os.Rename(r.file.Name(), r.path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", r.path, err)
	}
	return nil
}
