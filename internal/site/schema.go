package site

import (
	_ "embed"

	"github.com/goccy/go-yaml/ast"
)

//go:embed site.schema.json
var schema string

// Schema is the JSON Schema of site files, for editors and pipelines. It refuses nothing that Parse reads, and most of what
// Parse refuses.
func Schema() string { return schema }

// ErrorAt is a mistake in the value of a key at the top of a site file, for whoever knows more of it than Parse, as which
// releases there are. text is a file that Parse reads.
func ErrorAt(file string, text []byte, key, hint, problem string) error {
	r := reader{file: file}
	if m, ok := r.open(text).(ast.MapNode); ok {
		for pairs := m.MapRange(); pairs.Next(); {
			if pairs.Key().GetToken().Value == key {
				r.fail(first(pairs.Value()), hint, "%s", visible(problem))
			}
		}
	}
	r.fail(nil, hint, "%s", visible(problem)) // without a place, if the key is not there
	return r.err
}
