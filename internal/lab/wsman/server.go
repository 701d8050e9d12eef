// Package wsman is the WinRM end of a simulated server: what a Windows server's WS-Management service does for a
// client that runs commands, as an [http.Handler].
//
// It answers as Windows does in what clients depend on: Identify, Basic sign-in, shells and their quota, commands with
// streaming input and output, long polls that time out, faults with Windows' numbers. It does not simulate cmd.exe,
// sealed messages, nor shells that end because nobody uses them. Its answers are accepted by masterzen/winrm and
// pywinrm as well as by this project's client.
package wsman

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Shell runs one command as a Windows server's shell would. It returns when the command has ended, or soon after ctx
// has. Reading stdin gives the client's input as it comes, until the client ends it, and fails once ctx has ended;
// writing fails then, too. An error is told to the client as one more line on stderr and an exit code that is not 0.
type Shell interface {
	Run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) (exitCode int, err error)
}

// Server is the WS-Management service of one simulated server. Its fields are set before it is first used.
type Server struct {
	Shell     Shell
	User      string // signs in with Basic, whatever its case; "" lets nobody in
	Password  string
	Vendor    string // what Identify says; "" means "preflight lab, simulated server"
	MaxShells int    // how many shells there may be at once; 0 is no limit

	mu           sync.Mutex
	ctx          context.Context // ends with Close
	stop         context.CancelFunc
	closed       bool
	shells       map[string]*shell
	running      sync.WaitGroup
	ok, rejected int
}

type shell struct {
	ctx      context.Context // ends with the shell
	end      context.CancelFunc
	commands map[string]*command // guarded by Server.mu
}

// Attempts counts the requests that carried a credential: the accepted ones and the rejected ones, each of which
// Windows would count towards a lock-out.
func (s *Server) Attempts() (ok, rejected int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ok, s.rejected
}

// Close ends all commands, waits for them to return and refuses what comes after. It does not close connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	s.running.Wait()
}

const (
	nsShell    = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
	nsTransfer = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
	nsWSMan    = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"

	requestMax = 500 << 10 // bytes; MaxEnvelopeSizekb of Server 2012 and later
	outputMax  = 32 << 10  // bytes of output in one answer: in base64 far below what clients ask for
	timeoutMax = time.Minute
)

// request is what is read of a client's message. Elements are matched by their local names.
type request struct {
	XMLName xml.Name `xml:"Envelope"`
	Header  struct {
		Action           string
		MessageID        string
		OperationTimeout string
		Selectors        []struct {
			Name  string `xml:",attr"`
			Value string `xml:",chardata"`
		} `xml:"SelectorSet>Selector"`
	}
	Body struct {
		Identify    *struct{}
		CommandLine struct {
			Command   string
			Arguments []string
		}
		Send struct {
			Streams []struct {
				Name      string `xml:",attr"`
				CommandID string `xml:"CommandId,attr"`
				End       string `xml:",attr"`
				Data      string `xml:",chardata"`
			} `xml:"Stream"`
		}
		Receive struct {
			DesiredStream struct {
				CommandID string `xml:"CommandId,attr"`
			}
		}
		Signal struct {
			CommandID string `xml:"CommandId,attr"`
		}
	}
}

func (r *request) selector(name string) string {
	for _, s := range r.Header.Selectors {
		if s.Name == name {
			return strings.TrimSpace(s.Value)
		}
	}
	return ""
}

// ServeHTTP answers one message.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/wsman" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestMax))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	anonymous := strings.EqualFold(r.Header.Get("WSMANIDENTIFY"), "unauthenticated")
	if !anonymous && !s.signedIn(r) {
		for _, scheme := range []string{"Negotiate", "Kerberos", `Basic realm="WSMAN"`} {
			w.Header().Add("WWW-Authenticate", scheme)
		}
		w.WriteHeader(http.StatusUnauthorized) // with an empty body, as Windows
		return
	}
	var req request
	if err := xml.Unmarshal(body, &req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if req.Body.Identify != nil {
		s.identify(w)
		return
	}
	if anonymous {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a := s.answer(r.Context(), &req)
	if a == nil { // closed, or the client has gone
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	status := http.StatusOK
	if a.action == faultAction {
		status = http.StatusInternalServerError // Windows' status for every fault
	}
	send(w, status, fmt.Sprintf(`<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:x="%s" xmlns:w="%s" xmlns:rsp="%s"><s:Header><a:Action>%s</a:Action><a:MessageID>uuid:%s</a:MessageID><a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>%s</a:RelatesTo></s:Header><s:Body>%s</s:Body></s:Envelope>`,
		nsTransfer, nsWSMan, nsShell, a.action, newID(), text(strings.TrimSpace(req.Header.MessageID)), a.body))
}

func (s *Server) signedIn(r *http.Request) bool {
	if r.Header.Get("Authorization") == "" {
		return false
	}
	user, password, ok := r.BasicAuth()
	ok = ok && s.User != "" && strings.EqualFold(user, s.User) && password == s.Password
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.ok++
	} else {
		s.rejected++
	}
	return ok
}

func (s *Server) identify(w http.ResponseWriter) {
	vendor := s.Vendor
	if vendor == "" {
		vendor = "preflight lab, simulated server"
	}
	send(w, http.StatusOK, fmt.Sprintf(`<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body><wsmid:IdentifyResponse xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><wsmid:ProtocolVersion>%s</wsmid:ProtocolVersion><wsmid:ProductVendor>%s</wsmid:ProductVendor><wsmid:ProductVersion>OS: 0.0.0 SP: 0.0 Stack: 3.0</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>`,
		nsWSMan, text(vendor)))
}

func send(w http.ResponseWriter, status int, envelope string) {
	w.Header().Set("Content-Type", "application/soap+xml;charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(envelope)))
	w.WriteHeader(status)
	io.WriteString(w, envelope)
}

// answer is the action and the body of an answer.
type answer struct{ action, body string }

const faultAction = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"

// fault is an answer that refuses, with the protocol's name, Windows' number ("" is none) and its text.
func fault(side, name, code, message string) *answer {
	m := text(message)
	detail := ""
	if code != "" {
		detail = `<s:Detail><f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="` + code + `" Machine="lab"><f:Message>` + m + `</f:Message></f:WSManFault></s:Detail>`
	}
	return &answer{faultAction, `<s:Fault><s:Code><s:Value>s:` + side + `</s:Value><s:Subcode><s:Value>` + name + `</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">` + m + `</s:Text></s:Reason>` + detail + `</s:Fault>`}
}

// Windows says the same, with the same number, of a shell and of a command that it does not know.
func unknown() *answer {
	return fault("Sender", "w:InvalidSelectors", "2150858843", "The WS-Management service cannot process the request because the request contained invalid selectors for the resource.")
}

// answer answers a message of somebody who has signed in; nil means not at all.
func (s *Server) answer(ctx context.Context, r *request) *answer {
	action := strings.TrimSpace(r.Header.Action)
	if action == nsTransfer+"/Create" {
		return s.create()
	}
	id := r.selector("ShellId")
	sh := s.shell(id)
	if sh == nil {
		return unknown()
	}
	switch action {
	case nsTransfer + "/Delete":
		s.mu.Lock()
		delete(s.shells, id)
		s.mu.Unlock()
		sh.end()
		return &answer{nsTransfer + "/DeleteResponse", ""}
	case nsShell + "/Command":
		return s.start(sh, strings.Join(append([]string{r.Body.CommandLine.Command}, r.Body.CommandLine.Arguments...), " "))
	case nsShell + "/Send":
		for _, stream := range r.Body.Send.Streams {
			c := s.command(sh, stream.CommandID)
			if c == nil || stream.Name != "stdin" {
				return unknown()
			}
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(stream.Data), ""))
			if err != nil {
				return fault("Sender", "w:InvalidParameter", "87", "The parameter is incorrect.")
			}
			if !c.stdin.write(data) {
				// What winrscmd.dll says of a process that has ended (ansible/ansible#69595).
				return fault("Receiver", "w:InternalError", "109", "The pipe has been ended.")
			}
			if strings.EqualFold(stream.End, "true") || stream.End == "1" {
				c.stdin.close(io.EOF)
			}
		}
		return &answer{nsShell + "/SendResponse", `<rsp:SendResponse/>`}
	case nsShell + "/Receive":
		id := r.Body.Receive.DesiredStream.CommandID
		c := s.command(sh, id)
		if c == nil {
			return unknown()
		}
		return c.receive(ctx, text(id), timeout(r.Header.OperationTimeout))
	case nsShell + "/Signal":
		// Whatever the signal: there is no command here that would survive a Ctrl-C.
		c := s.command(sh, r.Body.Signal.CommandID)
		if c == nil {
			return unknown()
		}
		c.end()
		if c.toldEnd() {
			s.mu.Lock()
			delete(sh.commands, r.Body.Signal.CommandID)
			s.mu.Unlock()
		}
		return &answer{nsShell + "/SignalResponse", `<rsp:SignalResponse/>`}
	}
	return fault("Sender", "a:ActionNotSupported", "", "The WS-Management service cannot process the request because the action is not supported.")
}

func (s *Server) create() *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.MaxShells > 0 && len(s.shells) >= s.MaxShells {
		return fault("Sender", "w:QuotaLimit", "2150859173", fmt.Sprintf("The WS-Management service cannot process the request. This user is allowed a maximum number of %d concurrent shells, which has been exceeded. Close existing shells or raise the quota for this user.", s.MaxShells))
	}
	if s.ctx == nil {
		s.ctx, s.stop = context.WithCancel(context.Background())
		s.shells = map[string]*shell{}
	}
	sh := &shell{commands: map[string]*command{}}
	sh.ctx, sh.end = context.WithCancel(s.ctx)
	id := newID()
	s.shells[id] = sh
	// Older clients look for the id in the selector, newer ones in the shell.
	return &answer{nsTransfer + "/CreateResponse", `<x:ResourceCreated><a:Address>http://lab/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>` + nsShell + `/cmd</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">` + id + `</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated><rsp:Shell><rsp:ShellId>` + id + `</rsp:ShellId><rsp:ResourceUri>` + nsShell + `/cmd</rsp:ResourceUri><rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>`}
}

func (s *Server) shell(id string) *shell {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shells[id]
}

func (s *Server) command(sh *shell, id string) *command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sh.commands[id]
}

func (s *Server) start(sh *shell, line string) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	c := newCommand(sh.ctx)
	id := newID()
	sh.commands[id] = c
	s.running.Go(func() { c.run(s.Shell, line) })
	return &answer{nsShell + "/CommandResponse", `<rsp:CommandResponse><rsp:CommandId>` + id + `</rsp:CommandId></rsp:CommandResponse>`}
}

var durationForm = regexp.MustCompile(`^P(?:T(?:(\d{1,4})M)?(?:(\d{1,6}(?:\.\d{1,9})?)S)?)$`)

// timeout reads an OperationTimeout: minutes and seconds, as clients write it. Anything else is the default.
func timeout(s string) time.Duration {
	m := durationForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return timeoutMax
	}
	minutes, _ := strconv.Atoi(m[1])
	seconds, _ := strconv.ParseFloat(m[2], 64)
	return min(timeoutMax, time.Duration(minutes)*time.Minute+time.Duration(seconds*float64(time.Second)))
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func text(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // a bytes.Buffer does not fail
	return b.String()
}
