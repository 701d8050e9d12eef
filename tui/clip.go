package tui

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf16"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/qlik-preflight/preflight/internal/printable"
)

// clipboard asks the terminal itself to take a text to the clipboard, which also works through a session on another
// machine. There is no answer: a terminal that cannot do it ignores it. Windows' older consoles are among those; Windows has
// a program for it.
func clipboard(out io.Writer) func(string) tea.Cmd {
	return func(s string) tea.Cmd {
		return func() tea.Msg {
			s = printable.Text(s)
			if runtime.GOOS == "windows" {
				clip := exec.Command(filepath.Join(os.Getenv("SystemRoot"), "System32", "clip.exe"))
				clip.Stdin = bytes.NewReader(forClip(s))
				if clip.Run() == nil {
					return nil
				}
			}
			if strings.HasPrefix(os.Getenv("TERM"), "screen") {
				termenv.NewOutput(out).Copy(s)
				return nil
			}
			io.WriteString(out, ansi.SetSystemClipboard(s))
			return nil
		}
	}
}

// forClip is a text as clip.exe takes it: what is not ASCII as UTF-16, for it reads everything else in the console's code page.
func forClip(s string) []byte {
	if strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return []byte(s)
	}
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
