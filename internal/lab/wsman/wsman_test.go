package wsman_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/masterzen/winrm"

	"github.com/qlik-preflight/preflight/internal/lab/wsman"
)

type shellFunc func(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error)

func (f shellFunc) Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return f(ctx, command, stdin, stdout, stderr)
}

func serve(t *testing.T, s *wsman.Server) *httptest.Server {
	t.Helper()
	ts := httptest.NewUnstartedServer(s)
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.StartTLS()
	t.Cleanup(func() { s.Close(); ts.Close() })
	return ts
}

func client(t *testing.T, ts *httptest.Server, password string) *winrm.Client {
	t.Helper()
	u, err := url.Parse(ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(u.Host)
	n, _ := strconv.Atoi(port)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})
	ep := winrm.NewEndpoint(host, n, true, false, ca, nil, nil, 10*time.Second)
	c, err := winrm.NewClientWithParameters(ep, "Administrator", password, winrm.NewParameters("PT10S", "en-US", 153600))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A client that is not ours, so that our two ends cannot agree on a mistake.
func TestMasterzen(t *testing.T) {
	t.Parallel()
	s := &wsman.Server{User: "Administrator", Password: "right", Shell: shellFunc(func(_ context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		input, err := io.ReadAll(stdin)
		fmt.Fprintf(stdout, "%s <%s>", command, input)
		fmt.Fprint(stderr, "grüße\r\n")
		return 3, err
	})}
	ts := serve(t, s)

	var stdout, stderr bytes.Buffer
	code, err := client(t, ts, "right").RunWithContextWithInput(t.Context(), "type & more", &stdout, &stderr, strings.NewReader("one\r\ntwo"))
	if err != nil || code != 3 {
		t.Fatalf("got exit code %d, error %v", code, err)
	}
	if got, want := stdout.String(), "type & more <one\r\ntwo>"; got != want {
		t.Errorf("stdout is %q, want %q", got, want)
	}
	if got, want := stderr.String(), "grüße\r\n"; got != want {
		t.Errorf("stderr is %q, want %q", got, want)
	}
	if ok, rejected := s.Attempts(); ok == 0 || rejected != 0 {
		t.Errorf("%d accepted and %d rejected", ok, rejected)
	}

	if _, err := client(t, ts, "wrong").CreateShell(); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a wrong password got %v, want a 401", err)
	}
	if _, rejected := s.Attempts(); rejected != 1 {
		t.Errorf("%d rejected, want 1", rejected)
	}
}

func TestMasterzenLargeOutput(t *testing.T) {
	t.Parallel()
	want := strings.Repeat("0123456789abcdeé", 1<<16)
	ts := serve(t, &wsman.Server{User: "Administrator", Password: "right", Shell: shellFunc(func(_ context.Context, _ string, _ io.Reader, stdout, _ io.Writer) (int, error) {
		_, err := io.WriteString(stdout, want)
		return 0, err
	})})
	var stdout bytes.Buffer
	code, err := client(t, ts, "right").RunWithContextWithInput(t.Context(), "type large.txt", &stdout, io.Discard, strings.NewReader(""))
	if err != nil || code != 0 || stdout.String() != want {
		t.Errorf("got exit code %d, error %v, %d bytes of %d", code, err, stdout.Len(), len(want))
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	ts := serve(t, &wsman.Server{User: "Administrator", Password: "right", MaxShells: 1})
	c := client(t, ts, "right")
	first, err := c.CreateShell()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateShell(); err == nil {
		t.Error("a second shell was made")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := c.CreateShell()
	if err != nil {
		t.Fatalf("no shell after the first was closed: %v", err)
	}
	second.Close()
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	ts := serve(t, &wsman.Server{User: "Administrator", Password: "right"})
	const envelope = `<e:Envelope xmlns:e="x"><e:Header><Action>%s</Action><SelectorSet><Selector Name="ShellId">no-such</Selector></SelectorSet></e:Header><e:Body>%s</e:Body></e:Envelope>`
	for _, test := range []struct {
		name, method, path, body string
		anonymous, signed        bool
		status                   int
		contains                 string
	}{
		{name: "another path", method: "POST", path: "/", status: 404},
		{name: "get", method: "GET", path: "/wsman", status: 405},
		{name: "nobody", method: "POST", path: "/wsman", body: fmt.Sprintf(envelope, "", "<Identify/>"), status: 401},
		{name: "identify", method: "POST", path: "/wsman", body: fmt.Sprintf(envelope, "", "<Identify/>"), anonymous: true, status: 200, contains: "simulated server"},
		{name: "anonymous and more", method: "POST", path: "/wsman", body: fmt.Sprintf(envelope, "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create", ""), anonymous: true, status: 401},
		{name: "not xml", method: "POST", path: "/wsman", body: "hello", signed: true, status: 400},
		{name: "too long", method: "POST", path: "/wsman", body: strings.Repeat(" ", 1<<20), signed: true, status: 413},
		{name: "unknown shell", method: "POST", path: "/wsman", body: fmt.Sprintf(envelope, "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete", ""), signed: true, status: 500, contains: "2150858843"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequest(test.method, ts.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.anonymous {
				req.Header.Set("WSMANIDENTIFY", "unauthenticated")
			}
			if test.signed {
				req.SetBasicAuth("administrator", "right") // user names have no case
			}
			resp, err := ts.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != test.status || !strings.Contains(string(body), test.contains) {
				t.Errorf("got %s with %q, want %d with %q", resp.Status, body, test.status, test.contains)
			}
		})
	}
}
