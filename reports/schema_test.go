package reports_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/reports"
)

// TestSchema: the published schema is what the types of the record say.
func TestSchema(t *testing.T) {
	t.Parallel()
	got := generated(t)
	if *update {
		if err := os.WriteFile("report.schema.json", got, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(reports.Schema(), string(got)); diff != "" {
		t.Errorf("the record has changed; docs/scripting.md promises what may, and go test ./reports -update writes its schema (-schema +types):\n%s", diff)
	}
}

// schemas are the published schema and its strict variant, which a record meets that holds nothing undescribed.
func schemas(t *testing.T) (published, strict *validator.Schema) {
	t.Helper()
	compile := func(change func(any)) *validator.Schema {
		doc := parse(t, reports.Schema())
		change(doc)
		c := validator.NewCompiler()
		c.AssertFormat()
		if err := c.AddResource("record", doc); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile("record")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return compile(func(any) {}), compile(sealed)
}

// sealed forbids keys that a schema does not describe, in all of its objects.
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

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := validator.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRecords: every kind of run's record is what the schema says, and holds nothing that it does not describe.
func TestRecords(t *testing.T) {
	t.Parallel()
	published, strict := schemas(t)
	check := func(name, text string) {
		for kind, s := range map[string]*validator.Schema{"published": published, "strict": strict} {
			if err := s.Validate(parse(t, text)); err != nil {
				t.Errorf("%s is not what the %s schema says: %v", name, kind, err)
			}
		}
	}
	one, err := os.ReadFile("../internal/record/testdata/one-change.json")
	if err != nil {
		t.Fatal(err)
	}
	check("one-change.json", string(one))
	for _, g := range goldens {
		r := g.run(t)
		// The fixtures leave out some of what every check and every failure has.
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Level == "" {
				f.Level = facts.Observed
			}
		}
		for _, s := range r.Servers {
			if s.Failure != nil && s.Failure.Hints == nil {
				s.Failure.Hints = []string{}
			}
		}
		b, err := reports.JSON(r)
		if err != nil {
			t.Fatal(err)
		}
		check(g.name, string(b))
	}
}

// TestBadRecords: a record that is not one is refused; with a key more, only by the strict variant.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	published, strict := schemas(t)
	text, err := os.ReadFile("../internal/record/testdata/one-change.json")
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	for _, test := range []struct {
		at    string // the keys that lead to it
		value any
	}{
		{"schema_version", "2"}, {"schema_version", 1}, {"schema_version", gone}, {"tool", "preflight"}, {"verdict", gone},
		{"run simulated", "true"}, {"run commands", gone}, {"run commands 0 exit_code", "3"}, {"run commands 0 exit_code", gone}, {"run commands 0 started_at", "yesterday"},
		{"change approval", "yes"}, {"verdict flows total", "14"}, {"verdict flows total", 1.5},
		{"site nodes 0 role", "slave"}, {"site nodes 0 services 0", "sheduler"}, {"site clients", "10.20.0.0/16"}, {"site clients", []any{"everywhere"}},
		{"servers 1 phase", "half joined"}, {"servers 0 role", ""}, {"servers 0 facts", []any{}},
		{"servers 1 facts uptime_s", object{"unknown": ""}}, {"servers 1 facts uptime_s", object{}}, {"servers 1 facts uptime_s", "x"}, {"servers 1 facts clock", object{"unknown": nil}},
		{"servers 1 facts listeners", object{"unknown": 1}}, {"servers 1 facts listeners", []any{object{}}},
		{"servers 1 facts peers", []any{object{"name": "x", "addresses": []any{""}, "source": "", "code": 0}}},
		{"servers 1 facts peers", []any{object{"name": "x", "addresses": []any{"10.0.0.300"}, "source": "", "code": 0}}},
		{"servers 1 facts peers", []any{object{"name": "x", "addresses": []any{}, "source": "here", "code": 0}}},
		{"plan changes", object{}}, {"plan changes 0 ports 0", 0}, {"plan changes 0 ports 0", 65536}, {"plan changes 0 profiles 0", "Domain"}, {"plan changes 0 inverse", gone},
		{"changes 0 state", "done"}, {"changes 0 in_force", "yes"}, {"changes 0 in_force", object{"unknown": ""}}, {"changes 0 ended_at", "2026-11-24"},
		{"proofs 0 verdict", "open"}, {"proofs 0 phase", "after apply"}, {"proofs 0 level", "certain"}, {"proofs 0 dialler", gone}, {"proofs 0 port", "443"},
		{"findings 0 verdict", "warning"}, {"findings", nil}, {"servers 1 facts peers", nil}, {"servers 1 facts services", nil}, {"join", object{"rim": "qs-rim1"}}, {"backout", "ready"},
	} {
		doc := parse(t, string(text))
		change(t, doc, strings.Fields(test.at), test.value)
		if err := published.Validate(doc); err == nil {
			t.Errorf("with %s = %v it is taken", test.at, test.value)
		}
	}
	for _, test := range []struct {
		at    string
		value any
	}{
		{"findings", []any{}}, {"servers 1 facts services", object{"unknown": "access is denied"}},
		{"servers 1 facts peers", []any{object{"name": "x", "addresses": []any{}, "source": "", "code": 11001}}},
		{"servers 1 facts peers", []any{object{"name": "x", "addresses": []any{"fd00::1", "10.0.0.11"}, "source": "10.0.0.12", "code": 0}}},
		{"servers 1 facts state", 7}, // a later release may say so
	} {
		doc := parse(t, string(text))
		change(t, doc, strings.Fields(test.at), test.value)
		if err := strict.Validate(doc); err != nil {
			t.Errorf("with %s = %v it is refused: %v", test.at, test.value, err)
		}
	}
	for _, at := range []string{"more", "run more", "run commands 0 more", "servers 1 facts more", "plan changes 0 more", "proofs 0 more", "findings 0 more", "site winrm more"} {
		doc := parse(t, string(text))
		change(t, doc, strings.Fields(at), "x")
		if err := published.Validate(doc); err != nil {
			t.Errorf("with a new key %s it is refused, which a later preflight may write: %v", at, err)
		}
		if err := strict.Validate(doc); err == nil {
			t.Errorf("the strict variant does not see %s", at)
		}
	}
}

// gone as a value takes out what is there.
var gone any = new(int)

// change puts a value where keys lead to in a document. All but the last have to be there.
func change(t *testing.T, doc any, keys []string, value any) {
	t.Helper()
	for i, key := range keys {
		last := i == len(keys)-1
		switch v := doc.(type) {
		case map[string]any:
			if last && value == gone {
				if _, ok := v[key]; !ok {
					t.Fatalf("%v: %s is not there", keys, key)
				}
				delete(v, key)
			} else if last {
				v[key] = value
			}
			doc = v[key]
		case []any:
			n, err := strconv.Atoi(key)
			if err != nil || n >= len(v) {
				t.Fatalf("%v: %s is not there", keys, key)
			}
			if last {
				v[n] = value
			}
			doc = v[n]
		default:
			t.Fatalf("%v: %s is not there", keys, key)
		}
	}
}
