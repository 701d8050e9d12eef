// Package reports renders a run's record. Every rendering is a pure function of the record.
package reports

import (
	"bytes"
	"encoding/json"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/record"
)

// JSON is the record as the file record.json: the report that is attached to the change ticket. The same record gives
// the same bytes. What could act on a terminal is escaped.
func JSON(r record.Record) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return printable.JSON(b.Bytes()), nil
}
