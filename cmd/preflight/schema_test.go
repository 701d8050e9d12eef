package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/reports"
)

// recordSchemas are the schema of a record and its strict variant, in which every object has the keys that are described
// and no others.
var recordSchemas = sync.OnceValues(func() ([]*jsonschema.Schema, error) {
	var all []*jsonschema.Schema
	for _, change := range []func(any){func(any) {}, sealed} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(reports.Schema()))
		if err != nil {
			return nil, err
		}
		change(doc)
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("record", doc); err != nil {
			return nil, err
		}
		s, err := c.Compile("record")
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
})

func sealed(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == "object" && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for _, sub := range v {
			sealed(sub)
		}
	case []any:
		for _, sub := range v {
			sealed(sub)
		}
	}
}

// checkRecords validates the records of all runs below a folder. What is none of preflight's making, as a folder in the
// record's place, is passed over.
func checkRecords(dir string) error {
	schemas, err := recordSchemas()
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "record.json" {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			return err
		}
		for _, s := range schemas {
			if err := s.Validate(doc); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestSchemaCommand: the schemas are printed as they are, in every format the same document, and go into a file.
func TestSchemaCommand(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"site": site.Schema(), "report": reports.Schema()} {
		if o := preflight(t, "", "schema", name); o.code != 0 || o.stderr != "" || o.stdout != want {
			t.Errorf("schema %s: exit code %d, %s%s", name, o.code, o.stderr, o.stdout)
		}
		file := filepath.Join(t.TempDir(), name+".schema.json")
		if o := preflight(t, "", "schema", name, "--out", file); o.code != 0 || o.stdout != "" {
			t.Errorf("schema %s --out: %+v", name, o)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("the file is not the schema (%v)", err)
		}
		if o := preflight(t, "", "schema", name, "-o", "json"); o.stdout != want {
			t.Errorf("schema %s -o json is other text", name)
		}
		if o := preflight(t, "", "schema", name, "-o", "jsonl"); strings.Count(o.stdout, "\n") != 1 || !strings.Contains(o.stdout, `"$schema":"https:`) {
			t.Errorf("schema %s -o jsonl is not one line:\n%s", name, o.stdout)
		}
	}
	for _, test := range []struct{ args, says string }{
		{"schema", "error: preflight schema: which schema?\nhint: the schemas are site and report\n"},
		{"schema sites", "error: there is no schema \"sites\"\nhint: the schemas are site and report\n"},
		{"schema site report", "error: preflight schema: unexpected argument \"report\"\nhint: the schemas are site and report\n"},
	} {
		if o := preflight(t, "", strings.Fields(test.args)...); o.code != 2 || o.stdout != "" || o.stderr != test.says {
			t.Errorf("%s: exit code %d\n%s%s", test.args, o.code, o.stdout, o.stderr)
		}
	}
}
