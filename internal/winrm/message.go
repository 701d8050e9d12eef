package winrm

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	masterzen "github.com/masterzen/winrm"
	"github.com/masterzen/winrm/soap"
)

const (
	anonymous  = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
	createURI  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create"
	commandURI = soap.NS_WIN_SHELL + "/Command"
	cmdURI     = soap.NS_WIN_SHELL + "/cmd"

	// envelopeSize is the longest answer asked for. It is the smallest default of any Windows (2008 R2; 2012 and later
	// allow 500 KB).
	envelopeSize = 150 << 10

	// idleTimeout is when the server deletes our shell if we have gone without doing it ourselves.
	idleTimeout = 3 * time.Minute
)

// identifyMessage is the only message that WinRM answers to somebody who has not signed in, given the header
// WSMANIDENTIFY: unauthenticated.
const identifyMessage = `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body><wsmid:Identify/></s:Body></s:Envelope>`

func parameters(operationTimeout time.Duration) *masterzen.Parameters {
	return masterzen.NewParameters(duration(operationTimeout), "en-US", envelopeSize)
}

// duration writes d as an xs:duration.
func duration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S"
}

// createMessage asks for a shell. masterzen's own loads the user's profile and sets no idle time-out.
func createMessage(url string, p *masterzen.Parameters) string {
	m := soap.NewMessage()
	header(m, url, p).
		Action(createURI).
		AddOption(soap.NewHeaderOption("WINRS_NOPROFILE", "TRUE")).
		AddOption(soap.NewHeaderOption("WINRS_CODEPAGE", "65001")). // output is UTF-8
		Build()
	shell := m.CreateBodyElement("Shell", soap.DOM_NS_WIN_SHELL)
	m.CreateElement(shell, "IdleTimeOut", soap.DOM_NS_WIN_SHELL).SetContent(duration(idleTimeout))
	m.CreateElement(shell, "InputStreams", soap.DOM_NS_WIN_SHELL).SetContent("stdin")
	m.CreateElement(shell, "OutputStreams", soap.DOM_NS_WIN_SHELL).SetContent("stdout stderr")
	return m.String()
}

// commandMessage starts a command. masterzen's own makes standard input a console, which has no end (MS-WSMV
// 3.1.4.11), and lets "]]>" in a command break the message. Its text is escaped already.
func commandMessage(url, shell, escaped string, p *masterzen.Parameters) string {
	m := soap.NewMessage()
	header(m, url, p).
		Action(commandURI).
		ShellId(shell).
		AddOption(soap.NewHeaderOption("WINRS_CONSOLEMODE_STDIN", "FALSE")).
		AddOption(soap.NewHeaderOption("WINRS_SKIP_CMD_SHELL", "FALSE")).
		Build()
	line := m.CreateBodyElement("CommandLine", soap.DOM_NS_WIN_SHELL)
	m.CreateElement(line, "Command", soap.DOM_NS_WIN_SHELL).SetContent(escaped)
	return m.String()
}

func header(m *soap.SoapMessage, url string, p *masterzen.Parameters) *soap.SoapHeader {
	return m.Header().
		To(url).
		ReplyTo(anonymous).
		MaxEnvelopeSize(p.EnvelopeSize).
		Id(messageID()).
		Locale(p.Locale).
		Timeout(p.Timeout).
		ResourceURI(cmdURI)
}

func messageID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // a random UUID (RFC 9562)
	return fmt.Sprintf("uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// escape makes a command line fit to stand in a message. Characters that XML cannot carry are refused: what runs is
// the command as given or none.
func escape(command string) (string, error) {
	if command == "" {
		return "", errors.New("an empty command")
	}
	if !utf8.ValidString(command) || strings.ContainsFunc(command, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f || r == 0xfffe || r == 0xffff
	}) {
		return "", errors.New("a command with characters that a command line cannot have")
	}
	var b strings.Builder
	xml.EscapeText(&b, []byte(command)) // a strings.Builder does not fail
	return b.String(), nil
}
