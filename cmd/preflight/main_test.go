package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/qlik-preflight/preflight/internal/engine"
	"github.com/qlik-preflight/preflight/internal/join"
	"github.com/qlik-preflight/preflight/internal/site"
)

// quick are times of a proof for servers on this machine.
var quick = engine.Times{Dial: 800 * time.Millisecond, Hold: 200 * time.Millisecond, Margin: 500 * time.Millisecond, Poll: 20 * time.Millisecond, Join: 20 * time.Second}

func TestMain(m *testing.M) {
	times = &quick
	var asked atomic.Int64
	clock = func() time.Time { return time.Now().Add(time.Duration(asked.Add(1)) * time.Second) } // no two keys come in one burst
	flag.Set("test.parallel", "12")                                                               // unless the command line says otherwise: these tests wait, mostly
	program := func(after func()) func() {
		return func() {
			appended = after
			os.Exit(invoke())
		}
	}
	testscript.Main(m, map[string]func(){
		"preflight": program(func() {}),
		// preflight-killed is ended by the system, as with SIGKILL or a power cut, right after the journal holds as many more
		// events as KILL_AFTER says.
		"preflight-killed": program(killer(os.Getenv("KILL_AFTER"))),
	})
}

func killer(after string) func() {
	left, _ := strconv.Atoi(after)
	return func() {
		if left--; left == 0 {
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {} // until it is dead
		}
	}
}

// TestScripts runs the stories in testdata/script, each a user's session.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Defer(func() {
				if err := checkRecords(e.WorkDir); err != nil {
					e.T().Fatal(err)
				}
			})
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"lab":   startedLab,
			"qmc":   qmc,
		},
	})
}

// exits CODE PROGRAM ARG... runs a program that has to end with an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// startedLab starts "preflight lab" with arguments, waits until it says that it runs, and sets PREFLIGHT_PASSWORD_FILE to
// its password file. It runs until the story ends.
func startedLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: lab ARG...")
	}
	program, err := exec.LookPath("preflight")
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"lab", "-o", "jsonl"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			ts.Logf("the lab: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	ts.Check(err)
	var said struct {
		Password string `json:"password_file"`
	}
	ts.Check(json.Unmarshal(line, &said))
	ts.Setenv(passwordFile, ts.MkAbs(said.Password))
}

// qmc RIM FILE does what a person does in the QMC of the lab in the folder lab: creates the node of a rim, has its
// certificate sent, and notes the one-time password that is shown.
func qmc(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: qmc RIM FILE")
	}
	s, err := site.Parse("site.yaml", []byte(ts.ReadFile("lab/site.yaml")))
	ts.Check(err)
	q, _, err := qrs(s, []byte(ts.ReadFile("lab/client.pem")), []byte(ts.ReadFile("lab/client_key.pem")), []byte(ts.ReadFile("lab/root.pem")), time.Now())
	ts.Check(err)
	id, err := q.CreateNode(context.Background(), join.NewNode{Name: args[0], HostName: args[0], Engine: true, Proxy: true, Scheduler: true})
	ts.Check(err)
	password, err := q.StartRegistration(context.Background(), id, args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(password.Reveal()+"\n"), 0o600))
}
