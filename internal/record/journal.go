package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Journal is a run's folder with its journal open for appending.
type Journal struct {
	dir string
	f   *os.File
}

const journalFile = "journal.jsonl"

// Create makes the folder of a new run below runs, which may be missing, and opens its journal. If the folder is there
// already the error wraps fs.ErrExist. What is in it is for its owner alone.
func Create(runs, id string) (*Journal, error) {
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of runs: %w", err)
	}
	dir := filepath.Join(runs, id)
	if err := mkdirPrivate(dir); err != nil {
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting the journal: %w", err)
	}
	return &Journal{dir: dir, f: f}, nil
}

// Dir is the run's folder.
func (j *Journal) Dir() string { return j.dir }

// Append writes an event. An event that a way back depends on is on disk when Append returns.
func (j *Journal) Append(e Event) error {
	b, err := EncodeEvent(e)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	if MustBeForced(e) {
		if err := j.f.Sync(); err != nil {
			return fmt.Errorf("writing the journal: %w", err)
		}
	}
	return nil
}

// Close closes the journal.
func (j *Journal) Close() error { return j.f.Close() }

// WriteFile writes a file of the run: completely, or not at all.
func (j *Journal) WriteFile(name string, data []byte) error {
	path := filepath.Join(j.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// Replay folds a run's journal. A last line that was cut off by a crash is left out.
func Replay(dir string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%s is not the folder of a run: it has no %s", dir, journalFile)
	}
	if err != nil {
		return Record{}, fmt.Errorf("reading the journal: %w", err)
	}
	var r Record
	whole, _, _ := cutLast(b)
	sc := bufio.NewScanner(bytes.NewReader(whole))
	sc.Buffer(nil, 64<<20)
	for n := 1; sc.Scan(); n++ {
		e, err := DecodeEvent(sc.Bytes())
		if err != nil {
			return Record{}, fmt.Errorf("reading the journal, line %d: %w", n, err)
		}
		r.Apply(e)
	}
	return r, sc.Err()
}

// cutLast separates the complete lines from what follows the last line end.
func cutLast(b []byte) (whole, rest []byte, found bool) {
	i := bytes.LastIndexByte(b, '\n')
	if i < 0 {
		return nil, b, false
	}
	return b[:i+1], b[i+1:], true
}
