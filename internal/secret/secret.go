// Package secret is text that must not be shown: passwords and keys.
package secret

import (
	"fmt"
	"io"
)

const mask = "********"

// Text is a secret that fmt, encoding/json and everything built on them print as "********". It is not hidden from fmt
// inside an unexported field of another type: fmt calls no methods there.
type Text string

// Reveal returns the secret itself.
func (s Text) Reveal() string { return string(s) }

func (Text) String() string               { return mask }
func (Text) GoString() string             { return mask }
func (Text) Format(f fmt.State, _ rune)   { io.WriteString(f, mask) }
func (Text) MarshalText() ([]byte, error) { return []byte(mask), nil }
func (Text) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }
