package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// ProbeCommand asks PowerShell for its language mode and version, with nothing that Constrained Language Mode forbids:
// it refuses the bootstrap itself, so this comes first (about_Language_Modes).
const ProbeCommand = `powershell.exe -NoLogo -NoProfile -NonInteractive -Command "` + ProbeText + `"`

// ProbeText is the PowerShell of ProbeCommand.
const ProbeText = `'` + probeMark + ` ' + $ExecutionContext.SessionState.LanguageMode + ' ' + $PSVersionTable.PSVersion`

const probeMark = "#pf-probe"

// ProbeOp is the probe as a script: it is on the command line itself.
var ProbeOp = Op{"probe", "prints PowerShell's language mode and version", ProbeText + "\n"}

// Language is what the probe found.
type Language struct {
	Mode    string // FullLanguage, ConstrainedLanguage, …
	Version string // of PowerShell
}

// Full tells whether scripts can run.
func (l Language) Full() bool { return l.Mode == "FullLanguage" }

// Probe finds the language mode of a server's PowerShell.
func Probe(ctx context.Context, r Runner) (Language, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("PowerShell did not answer in a minute"))
	defer cancel()
	var stdout bytes.Buffer
	var complaint tail
	t, out := newTape(r, ProbeOp), newLines()
	out.tape = t
	code, err := r.Run(ctx, ProbeCommand, strings.NewReader(""), io.MultiWriter(&stdout, out), &complaint)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	out.close(nil)
	go t.end(code, err, complaint.String(), language)
	if err != nil {
		return Language{}, fmt.Errorf("probe: %w", err)
	}
	for line := range strings.Lines(stdout.String()) {
		if f, ok := language(line); ok {
			return Language{Mode: printable.Line(f[1]), Version: printable.Line(f[2])}, nil
		}
	}
	return Language{}, errors.New(strings.TrimSpace(fmt.Sprintf("probe: PowerShell did not answer (exit code %d) %s %s", code, printable.Line(stdout.String()), complaint.String())))
}

// language tells whether a line is the probe's answer.
func language(line string) (Frame, bool) {
	_, rest, found := strings.Cut(line, probeMark+" ")
	f := strings.Fields(rest)
	if !found || len(f) != 2 {
		return nil, false
	}
	return Frame{probeMark, f[0], f[1]}, true
}
