package reports

import _ "embed"

//go:embed report.schema.json
var schema string

// Schema is the JSON Schema of record.json. It is made from the types of the record by a test, go test ./reports -update.
func Schema() string { return schema }
