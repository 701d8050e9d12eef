package winrm

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// answer is a server's answer, decoded. Which of its fields are set depends on what was asked.
type answer struct {
	fault *fault

	identified      bool
	vendor, version string

	shell   string // Create
	command string // Command

	output []output // Receive, in the order of the answer
	done   bool
	exit   int // if done
}

type output struct {
	stream string // "stdout" or "stderr"
	data   []byte
}

type fault struct {
	code string // its number; "" if it has none
	name string // the protocol's name for it: "w:TimedOut"
	text string
}

// envelope is what is read of an answer. Elements are matched by their local names: servers differ in prefixes, and
// some in name spaces.
type envelope struct {
	XMLName xml.Name `xml:"Envelope"`
	Header  struct {
		NotUnderstood struct {
			Name string `xml:"qname,attr"`
		}
	}
	Body struct {
		Fault *struct {
			Code struct {
				Value   string
				Subcode string `xml:"Subcode>Value"`
			}
			Reason string `xml:"Reason>Text"`
			Detail struct {
				WSManFault *wsmanFault
				WMI        struct {
					Code    string `xml:"error_Code"`
					Message string
				} `xml:"MSFT_WmiError"`
			}
		}
		IdentifyResponse *struct {
			ProductVendor  string
			ProductVersion string
		}
		ResourceCreated struct {
			Selectors []struct {
				Name  string `xml:",attr"`
				Value string `xml:",chardata"`
			} `xml:"ReferenceParameters>SelectorSet>Selector"`
		}
		Shell struct {
			ShellID string `xml:"ShellId"`
		}
		CommandResponse struct {
			CommandID string `xml:"CommandId"`
		}
		ReceiveResponse struct {
			Streams []struct {
				Name string `xml:",attr"`
				Data string `xml:",chardata"`
			} `xml:"Stream"`
			State struct {
				State    string `xml:",attr"`
				ExitCode *string
			} `xml:"CommandState"`
		}
	}
}

// wsmanFault holds its text in Message, or deeper: in the fault of the provider that it passes on.
type wsmanFault struct {
	Code    string `xml:",attr"`
	Message struct {
		Text     string `xml:",chardata"`
		Provider struct {
			Text  string      `xml:",chardata"`
			Fault *wsmanFault `xml:"WSManFault"`
		} `xml:"ProviderFault"`
	}
}

// fill takes the number from the outermost fault that has one, and the text from the innermost: it says most.
func (f *fault) fill(w *wsmanFault) {
	for ; w != nil; w = w.Message.Provider.Fault {
		if f.code == "" {
			f.code = strings.TrimSpace(w.Code)
		}
		for _, text := range []string{w.Message.Text, w.Message.Provider.Text} {
			if text = strings.TrimSpace(text); text != "" {
				f.text = text
			}
		}
	}
}

// decode reads an answer. It fails on anything that is not a whole answer of the protocol, and on one that contradicts
// itself, so that what it returns can be relied on as it is.
func decode(body []byte) (answer, error) {
	var e envelope
	if err := xml.Unmarshal(body, &e); err != nil {
		return answer{}, fmt.Errorf("no SOAP envelope: %s", clean(err.Error(), 200))
	}
	var a answer
	b := &e.Body
	if b.Fault != nil {
		a.fault = &fault{name: strings.TrimSpace(b.Fault.Code.Subcode)}
		a.fault.fill(b.Fault.Detail.WSManFault)
		if a.fault.code == "" { // a quota's fault can be of this kind instead (seen on Server 2012)
			a.fault.code = strings.TrimSpace(b.Fault.Detail.WMI.Code)
		}
		if a.fault.name == "" {
			a.fault.name = strings.TrimSpace(b.Fault.Code.Value)
			if q := strings.TrimSpace(e.Header.NotUnderstood.Name); q != "" {
				a.fault.name += " " + q
			}
		}
		for _, text := range []string{b.Fault.Detail.WMI.Message, b.Fault.Reason} {
			if a.fault.text == "" {
				a.fault.text = strings.TrimSpace(text)
			}
		}
		return a, nil
	}
	if b.IdentifyResponse != nil {
		a.identified = true
		a.vendor = clean(b.IdentifyResponse.ProductVendor, 200)
		a.version = clean(b.IdentifyResponse.ProductVersion, 200)
	}

	// Server 2008 R2 gives the shell's id in the selector only, newer ones in both places.
	var err error
	if a.shell, err = id(b.Shell.ShellID); err != nil {
		return answer{}, err
	}
	for _, s := range b.ResourceCreated.Selectors {
		if s.Name != "ShellId" {
			continue
		}
		selector, err := id(s.Value)
		switch {
		case err != nil:
			return answer{}, err
		case a.shell == "":
			a.shell = selector
		case !strings.EqualFold(a.shell, selector):
			return answer{}, errors.New("two different shell ids")
		}
	}
	if a.command, err = id(b.CommandResponse.CommandID); err != nil {
		return answer{}, err
	}

	for _, s := range b.ReceiveResponse.Streams {
		if s.Name != "stdout" && s.Name != "stderr" {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s.Data), ""))
		if err != nil {
			return answer{}, fmt.Errorf("output that is not base64: %w", err)
		}
		if len(data) > 0 {
			a.output = append(a.output, output{s.Name, data})
		}
	}
	if state := b.ReceiveResponse.State; strings.HasSuffix(strings.TrimSpace(state.State), "/CommandState/Done") {
		if state.ExitCode == nil {
			return answer{}, errors.New("an ended command without an exit code")
		}
		// An exit code is 32 bits, which some servers print signed and some unsigned.
		code, err := strconv.ParseInt(strings.TrimSpace(*state.ExitCode), 10, 64)
		if err != nil || code != int64(int32(code)) && code != int64(uint32(code)) {
			return answer{}, fmt.Errorf("an exit code that is no number: %q", clean(*state.ExitCode, 40))
		}
		a.done, a.exit = true, int(code)
	}
	return a, nil
}

var idForm = regexp.MustCompile(`^[0-9A-Za-z{}:._-]{0,128}$`)

// id returns an id of the server without the white space around it (OMI adds some). Ids go into our messages as they
// are, so what could be markup is none.
func id(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !idForm.MatchString(s) {
		return "", fmt.Errorf("an id that is none: %q", clean(s, 40))
	}
	return s, nil
}
