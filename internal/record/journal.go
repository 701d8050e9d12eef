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
	err error // the first that Append met; nothing is written after it
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
	if err := errors.Join(syncDir(dir), syncDir(runs)); err != nil {
		f.Close()
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}
	return &Journal{dir: dir, f: f}, nil
}

// Dir is the run's folder.
func (j *Journal) Dir() string { return j.dir }

// Append writes an event. An event that a way back depends on is on disk when Append returns. After an error nothing
// more is written, so that the journal stays readable up to there.
func (j *Journal) Append(e Event) error {
	if j.err != nil {
		return j.err
	}
	b, err := EncodeEvent(e)
	if err == nil {
		_, err = j.f.Write(append(b, '\n'))
	}
	if err == nil && MustBeForced(e) {
		err = j.f.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("writing the journal: %w", err)
	}
	return j.err
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
	if err == nil {
		err = syncDir(filepath.Dir(path))
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
	sc := bufio.NewScanner(bytes.NewReader(b[:bytes.LastIndexByte(b, '\n')+1]))
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
