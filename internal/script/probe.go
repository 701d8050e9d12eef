package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// ProbeCommand asks PowerShell for its language mode and version, with nothing that Constrained Language Mode forbids:
// it refuses the bootstrap itself, so this comes first (about_Language_Modes).
const ProbeCommand = `powershell.exe -NoLogo -NoProfile -NonInteractive -Command "` + ProbeText + `"`

// ProbeText is the PowerShell of ProbeCommand.
const ProbeText = `'#pf-probe ' + $ExecutionContext.SessionState.LanguageMode + ' ' + $PSVersionTable.PSVersion`

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
	code, err := r.Run(ctx, ProbeCommand, strings.NewReader(""), &stdout, &complaint)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if err != nil {
		return Language{}, fmt.Errorf("probe: %w", err)
	}
	for line := range strings.Lines(stdout.String()) {
		if _, rest, ok := strings.Cut(line, "#pf-probe "); ok {
			if f := strings.Fields(rest); len(f) == 2 {
				return Language{Mode: printable.Line(f[0]), Version: printable.Line(f[1])}, nil
			}
		}
	}
	return Language{}, errors.New(strings.TrimSpace(fmt.Sprintf("probe: PowerShell did not answer (exit code %d) %s %s", code, printable.Line(stdout.String()), complaint.String())))
}
