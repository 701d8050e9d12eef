package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qlik-preflight/preflight/checks"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/winrm"
)

// passwordFile is the environment variable that names a file of passwords.
const passwordFile = "PREFLIGHT_PASSWORD_FILE"

func (a *app) passwordFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.passwordStdin, "password-stdin", false, "read the password from standard input; with several users, a line for each, in the site file's order")
}

// passwords asks for the password of each user of a site: standard input if --password-stdin says so, else the file that
// PREFLIGHT_PASSWORD_FILE names, else the terminal. A password is never a flag: command lines are seen by others.
func (a *app) passwords(ctx context.Context, s site.Site) (map[string]winrm.Password, error) {
	users := s.Users()
	given, err := a.read(ctx, users)
	if err != nil {
		return nil, err
	}
	return byUser(users, given), nil
}

// byUser are passwords by user in lower case: Windows knows accounts without regard to case.
func byUser(users []string, given []winrm.Password) map[string]winrm.Password {
	passwords := map[string]winrm.Password{}
	for i, user := range users {
		passwords[strings.ToLower(user)] = given[i]
	}
	return passwords
}

// fromFile reads the passwords of a site's users from the file that PREFLIGHT_PASSWORD_FILE names; nil if it names none.
func fromFile(users []string) ([]winrm.Password, error) {
	file := os.Getenv(passwordFile)
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("let "+passwordFile+" name a file that holds the password and nothing else", "reading %s, %s: %w", passwordFile, file, cause(err))
	}
	return lines(file, text, users)
}

// read reads a password for each user, in this order.
func (a *app) read(ctx context.Context, users []string) ([]winrm.Password, error) {
	if !a.passwordStdin {
		if passwords, err := fromFile(users); passwords != nil || err != nil {
			return passwords, err
		}
	}
	in, isFile := a.stdin.(*os.File)
	switch {
	case a.passwordStdin:
		text, err := io.ReadAll(io.LimitReader(a.stdin, 1<<16))
		if err != nil {
			return nil, usage("", "reading the password from standard input: %w", err)
		}
		return lines("standard input", text, users)
	case a.noInput || !isFile || !term.IsTerminal(int(in.Fd())):
		return nil, usage("give it with --password-stdin, or in a file that "+passwordFile+" names", "the password of %s is missing", printable.Line(users[0]))
	}
	var passwords []winrm.Password
	for _, user := range users {
		var p winrm.Password
		for p == "" {
			var err error
			if p, err = a.prompt(ctx, in, fmt.Sprintf("Password of %s: ", printable.Line(user))); err != nil {
				return nil, err
			}
		}
		passwords = append(passwords, p)
	}
	return passwords, nil
}

// lines are the passwords in a text, one for each user.
func lines(where string, text []byte, users []string) ([]winrm.Password, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // as Windows' editors begin a text
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, usage("save it as UTF-8", "%s is not UTF-8 text, so no password is taken from it", where)
	}
	all := strings.Split(strings.TrimRight(string(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))), "\n"), "\n")
	if len(all) != len(users) {
		return nil, usage("one line for each user: "+printable.Line(strings.Join(users, ", ")), "%s holds %s for %s", where, checks.Count(len(all), "line", "lines"), checks.Count(len(users), "user", "users"))
	}
	var passwords []winrm.Password
	for i, p := range all {
		if p == "" {
			return nil, usage("WinRM needs an account with a password", "the password of %s in %s is empty", printable.Line(users[i]), where)
		}
		passwords = append(passwords, winrm.Password(p))
	}
	return passwords, nil
}

// prompt asks on the terminal. Its echo is off before the question is there, so that nothing typed is ever seen. An
// interrupt ends the question and leaves the terminal as it was.
func (a *app) prompt(ctx context.Context, in *os.File, question string) (winrm.Password, error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("asking for a password: %w", err)
	}
	defer term.Restore(int(in.Fd()), before)
	if a.keys == nil { // one for all questions, as it may have read the next answer already
		a.keys = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, a.stderr}, "")
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := a.keys.ReadPassword(question)
		answered <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		a.unread = answered
		fmt.Fprint(a.stderr, "\r\n")
		return "", ctx.Err()
	case got := <-answered:
		switch {
		case errors.Is(got.err, io.EOF): // ctrl+c and ctrl+d; raw, they are keys
			fmt.Fprint(a.stderr, "\r\n")
			return "", context.Canceled
		case got.err != nil:
			return "", fmt.Errorf("asking for a password: %w", got.err)
		}
		return winrm.Password(got.text), nil
	}
}
