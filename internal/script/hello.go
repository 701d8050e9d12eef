package script

import (
	"encoding/hex"
	"regexp"
)

var helloText = regexp.MustCompile(`\$hello = '([0-9a-f]+)'`)

// Hello is the TLS client hello that prove says to a service, as its text has it.
func Hello() []byte {
	b, err := hex.DecodeString(helloText.FindStringSubmatch(proveText)[1])
	if err != nil {
		panic("script: the client hello in prove.ps1 is not hexadecimal: " + err.Error())
	}
	return b
}
