package record

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
)

// Journal is a run's folder with its journal open for appending. While it is open, no other process can open it.
type Journal struct {
	dir  string
	f    *os.File
	lock *flock.Flock
	err  error // the first that Append met; nothing is written after it
}

const (
	journalFile = "journal.jsonl"
	lockFile    = "lock" // not the journal itself: on Windows nobody could read what is locked
)

// ErrLocked is wrapped by the error of opening a run that another process works on.
var ErrLocked = errors.New("another preflight works on this run")

// ErrNoRun is wrapped by the error of opening a folder that is not a run's.
var ErrNoRun = errors.New("not the folder of a run")

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
	lock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, journalFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("starting the journal: %w", err)
	}
	j := &Journal{dir: dir, f: f, lock: lock}
	if err := errors.Join(syncDir(dir), syncDir(runs)); err != nil {
		j.Close()
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}
	return j, nil
}

func lock(dir string) (*flock.Flock, error) {
	l := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	locked, err := l.TryLock()
	if err == nil && !locked {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("locking the run %s: %w", filepath.Base(dir), err)
	}
	return l, nil
}

// Open goes on with a run whose folder is dir. A last line of its journal that a crash cut off is dropped: whoever wrote it
// had not gone on yet.
func Open(dir string) (*Journal, Record, error) {
	journal := filepath.Join(dir, journalFile)
	if _, err := os.Stat(journal); errors.Is(err, fs.ErrNotExist) {
		return nil, Record{}, fmt.Errorf("%s is %w: it has no %s", dir, ErrNoRun, journalFile)
	}
	lock, err := lock(dir)
	if err != nil {
		return nil, Record{}, err
	}
	r, whole, err := replay(dir)
	if err == nil {
		err = os.Truncate(journal, whole)
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(journal, os.O_WRONLY|os.O_APPEND, 0o600)
	}
	if err != nil {
		lock.Unlock()
		return nil, Record{}, err
	}
	return &Journal{dir: dir, f: f, lock: lock}, r, nil
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

// RemoveFile removes a file of the run that is no longer true; it may be missing.
func (j *Journal) RemoveFile(name string) error {
	if err := os.Remove(filepath.Join(j.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// Close closes the journal and lets other processes have it.
func (j *Journal) Close() error { return errors.Join(j.f.Close(), j.lock.Unlock()) }

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
		err = rename(f.Name(), path)
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
	r, _, err := replay(dir)
	return r, err
}

// replay also returns how long the journal is without a last line that was cut off.
func replay(dir string) (Record, int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, 0, fmt.Errorf("%s is %w: it has no %s", dir, ErrNoRun, journalFile)
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("reading the journal: %w", err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	var r Record
	n := 0
	for line := range bytes.Lines(b) {
		n++
		e, err := DecodeEvent(line)
		if err != nil {
			return Record{}, 0, fmt.Errorf("reading the journal of %s, line %d: %w", filepath.Base(dir), n, err)
		}
		r.Apply(e)
	}
	if r.Run.ID == "" {
		return Record{}, 0, fmt.Errorf("%s is %w: its journal has no beginning", dir, ErrNoRun)
	}
	if c := r.command(); c != nil && c.EndedAt == nil {
		r.Verdict = r.judge("", "cut off: its end is not in the journal")
	}
	return r, int64(len(b)), nil
}

// Events are the lines of a run's journal, without one that was cut off by a crash.
func Events(dir string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, journalFile))
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	return b[:bytes.LastIndexByte(b, '\n')+1], nil
}

// Beginning is what the beginning of a run's journal tells.
type Beginning struct {
	Name    string // of the folder
	Site    string
	File    string // the site file, "" for a site that is in none
	Command string // the first
	Planned bool   // it has a plan that can be approved
	At      time.Time
}

// Change tells whether the run can be gone on with: check and a verify of a site file leave a record only, a simulated site
// that is in no file has gone, and a plan may have broken off before there was one.
func (s Beginning) Change() bool { return s.Planned && s.File != "" }

// Runs are the runs below a folder, the newest first. What is not a run's folder is passed over. A folder that does not
// exist has none.
func Runs(folder string) ([]Beginning, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for runs: %w", err)
	}
	var runs []Beginning
	for _, entry := range entries {
		if s, ok := beginning(filepath.Join(folder, entry.Name())); ok {
			runs = append(runs, s)
		}
	}
	slices.SortStableFunc(runs, func(a, b Beginning) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Name, a.Name)) })
	return runs, nil
}

func beginning(dir string) (Beginning, bool) {
	f, err := os.Open(filepath.Join(dir, journalFile))
	if err != nil {
		return Beginning{}, false
	}
	defer f.Close()
	s := Beginning{Name: filepath.Base(dir)}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() && !s.Planned {
		e, err := DecodeEvent(sc.Bytes())
		if err != nil {
			break // what stands before is the beginning
		}
		switch e := e.(type) {
		case RunStarted:
			s.Site, s.File, s.At = e.Site.Name, e.SiteFile, e.At
		case CommandStarted:
			s.Command = cmp.Or(s.Command, e.Name)
		case Planned:
			s.Planned = e.SHA256 != ""
		}
	}
	return s, s.Site != "" && s.Command != ""
}
