package engine

import (
	"fmt"
	"sync"

	"github.com/qlik-preflight/preflight/internal/script"
)

// transcriptFolder is where in a run's folder the transcripts are.
const transcriptFolder = "transcripts"

// Unwritten is why a transcript could not be written, nil if every one was. It stops nothing: what a server did stands in
// the record.
func (e *Engine) Unwritten() error {
	e.unwritten.mu.Lock()
	defer e.unwritten.mu.Unlock()
	return e.unwritten.err
}

// kept is a server that keeps transcripts, if anybody wants them.
func (e *Engine) kept(name string, s Server) Server {
	if e.Transcripts == nil {
		return s
	}
	return &keeper{Server: s, engine: e, name: name, names: map[string]int{}}
}

// keeper is a server of which each script that runs there leaves a transcript.
type keeper struct {
	Server
	engine *Engine
	name   string

	running sync.WaitGroup // scripts of which the transcript is not written yet

	mu    sync.Mutex
	names map[string]int // of transcripts
}

// Keep names a transcript, by where in the run its script begins, and writes it when that has ended.
func (k *keeper) Keep(op script.Op) func(script.Transcript) {
	rec := k.engine.Record()
	number, command := len(rec.Run.Commands), ""
	if number > 0 {
		command = rec.Run.Commands[number-1].Name
	}
	file := k.file(number, command, op)
	run := rec.Run.ID
	if rec.Run.Simulated {
		run += ", simulated servers"
	}
	k.running.Add(1)
	return func(t script.Transcript) {
		defer k.running.Done()
		text := t.Text([2]string{"run", run}, [2]string{"command", fmt.Sprintf("%d, %s", number, command)}, [2]string{"server", k.name})
		k.engine.unwritten.set(k.engine.Transcripts.WriteFile(file, text))
	}
}

// file is the name of a transcript: the number of the command in the run, the number of the stage in the command, so that
// names sort as things happened, servers side by side. A command that goes on with the run has another number.
func (k *keeper) file(number int, command string, op script.Op) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := fmt.Sprintf("%s/%03d-%s-%02d-%s-%s", transcriptFolder, number, command, k.engine.stages, k.name, op.Name)
	k.names[name]++
	if n := k.names[name]; n > 1 {
		name += fmt.Sprintf("_%d", n) // which sorts after the one without
	}
	return name + ".txt"
}

// Close closes the connection, which ends what still runs, and waits until every transcript is written.
func (k *keeper) Close() error {
	err := k.Server.Close()
	k.running.Wait()
	return err
}
