package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const draft7 = "http://json-schema.org/draft-07/schema#"

// schemaOf is the schema, read as the draft that it names, or as another.
func schemaOf(draft string) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		return nil, err
	}
	if draft != "" {
		doc.(map[string]any)["$schema"] = draft
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("site", doc); err != nil {
		return nil, err
	}
	return c.Compile("site")
}

var (
	published = sync.OnceValues(func() (*jsonschema.Schema, error) { return schemaOf("") })
	older     = sync.OnceValues(func() (*jsonschema.Schema, error) { return schemaOf(draft7) })
)

// document is what YAML makes of a site file, as a validator has it.
func document(text []byte) (any, error) {
	var doc any
	err := yaml.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &doc)
	return finite(doc), err
}

// validate is what the schema says of a site file, and notYAML if that is none.
func validate(t *testing.T, schema func() (*jsonschema.Schema, error), text []byte) error {
	t.Helper()
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := document(text)
	if err != nil {
		return notYAML{err}
	}
	return s.Validate(doc)
}

type notYAML struct{ error }

// finite puts a number that JSON has in the place of one that it has not.
func finite(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return 0
		}
	case map[string]any:
		for k := range v {
			v[k] = finite(v[k])
		}
	case []any:
		for i := range v {
			v[i] = finite(v[i])
		}
	}
	return v
}

// accepted fails the test if the schema refuses a file that Parse reads.
func accepted(t *testing.T, text []byte) {
	t.Helper()
	doc, err := document(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range []func() (*jsonschema.Schema, error){published, older} {
		s, err := schema()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("Parse reads it, and the schema says: %v\n%s", err, text)
		}
	}
}

// onlyParse are the mistakes that Parse alone can see, each with the reason.
var onlyParse = map[string][]string{
	"YAML refuses it before a schema sees it": {
		"alias", "join-qrs-list", "key-password-syntax", "key-twice", "password-file-yaml", "syntax-bracket", "syntax-colon", "syntax-escape", "syntax-indent",
		"syntax-no-space", "syntax-quote", "syntax-quote-escape", "syntax-reserved", "syntax-tab", "syntax-value",
	},
	"a validator sees what YAML makes of it": {"anchor", "tag", "several-documents", "latin1"},
	"a schema cannot compare two values":     {"host-twice", "node-name-twice", "winrm-address-twice"},
	"a schema cannot calculate":              {"clients-host-bits"},
}

// TestSchemaRefuses: the schema refuses every bad file, but for what only Parse can see. An editor that reads it as draft-07
// does not count either.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	refuses(t, published, nil)
	refuses(t, older, []string{"central-twice-rim"})
}

func refuses(t *testing.T, schema func() (*jsonschema.Schema, error), too []string) {
	t.Helper()
	reasons := map[string]string{}
	for reason, names := range onlyParse {
		for _, name := range names {
			reasons[name] = reason
		}
	}
	for _, name := range too {
		reasons[name] = "maxContains is younger"
	}
	for name, text := range badFiles(t) {
		err := validate(t, schema, text)
		var not notYAML
		reason, only := reasons[name]
		switch {
		case errors.As(err, &not) && !strings.HasPrefix(reason, "YAML"):
			t.Errorf("%s is not YAML, and not in the list: %v", name, err)
		case err == nil && !only:
			t.Errorf("the schema does not see what is wrong with %s", name)
		case only && err != nil && !errors.As(err, &not):
			t.Errorf("the schema does see what is wrong with %s, and it is in the list of what it cannot: %v", name, err)
		}
		delete(reasons, name)
	}
	for name := range reasons {
		t.Errorf("%s is in the list, and no bad file", name)
	}
}

func badFiles(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		files[strings.TrimSuffix(filepath.Base(path), ".yaml")] = read(t, path)
	}
	return files
}

// TestSchemaRules: for each rule of the schema there is a bad file that breaks it.
func TestSchemaRules(t *testing.T) {
	t.Parallel()
	var doc any
	if err := json.Unmarshal([]byte(Schema()), &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	rules(doc, "", all)
	if len(all) < 60 {
		t.Errorf("the schema has only %d rules: %v", len(all), slices.Sorted(maps.Keys(all)))
	}
	for _, text := range badFiles(t) {
		var invalid *jsonschema.ValidationError
		if errors.As(validate(t, published, text), &invalid) {
			broken(invalid, func(rule string) {
				if _, ok := all[rule]; !ok {
					t.Errorf("%s is broken, and is no rule", rule)
				}
				all[rule] = true
			})
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(all)) {
		if !all[rule] {
			t.Errorf("no bad file breaks the rule %s", rule)
		}
	}
}

// rules finds the rules of a schema: the keywords that can refuse something by themselves, by their place. Of required each
// key is one.
func rules(schema any, at string, all map[string]bool) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	for keyword, v := range s {
		place := at + "/" + keyword
		switch keyword {
		case "required":
			for _, key := range v.([]any) {
				all[fmt.Sprintf("%s %s", place, key)] = false
			}
		case "type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "uniqueItems", "additionalProperties", "maxContains", "$ref":
			all[place] = false
		case "not", "contains": // what they hold is for them alone
			all[place] = false
		case "properties", "$defs":
			for key, sub := range v.(map[string]any) {
				rules(sub, place+"/"+key, all)
			}
		case "items", "then":
			rules(v, place, all)
		case "anyOf", "allOf":
			if keyword == "anyOf" {
				all[place] = false
			}
			for i, sub := range v.([]any) {
				rules(sub, place+"/"+strconv.Itoa(i), all)
			}
		case "if", "$schema", "$id", "$comment", "title", "description", "examples", "default":
		default:
			all[place+" is not known to this test"] = false
		}
	}
}

// broken tells the rules that a document breaks.
func broken(e *jsonschema.ValidationError, tell func(rule string)) {
	_, at, _ := strings.Cut(e.SchemaURL, "#")
	place := at + "/" + strings.Join(e.ErrorKind.KeywordPath(), "/")
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.AllOf:
	case *kind.Required:
		for _, key := range k.Missing {
			tell(place + " " + key)
		}
	case *kind.Contains:
		tell(place)
		return
	case *kind.Not:
		tell(at + "/not")
	default:
		tell(place)
	}
	for _, cause := range e.Causes {
		broken(cause, tell)
	}
}

// TestSchemaWords: the keys and words of the schema are those that Parse knows, all of them.
func TestSchemaWords(t *testing.T) {
	t.Parallel()
	s, err := published()
	if err != nil {
		t.Fatal(err)
	}
	node := s.Properties["nodes"].Items2020.Ref
	winrm := node.Properties["winrm"].Ref
	for _, m := range everywhere {
		schema := map[string]*jsonschema.Schema{"the site file": s, "a node": node, "winrm": winrm, "proof": s.Properties["proof"], "join": s.Properties["join"]}[m.name]
		if schema == nil {
			t.Fatalf("what is %s in the schema?", m.name)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(m.keys)), slices.Sorted(maps.Keys(schema.Properties))); diff != "" {
			t.Errorf("the keys of %s (-Parse +schema):\n%s", m.name, diff)
		}
	}
	all := s.Properties["winrm"].Ref.Properties
	for key, of := range winrm.Properties {
		if key != "address" && all[key].Ref != of.Ref {
			t.Errorf("winrm.%s of all nodes is not as that of one", key)
		}
	}
	for key, schema := range map[string]*jsonschema.Schema{
		"role": node.Properties["role"], "services": node.Properties["services"].Items2020, "transport": winrm.Properties["transport"].Ref, "auth": winrm.Properties["auth"].Ref,
	} {
		// What there is stands in the hint for a word that is not known.
		text := strings.NewReplacer("{user: u}", "{user: u, transport: https, auth: auto}").Replace(least)
		for _, old := range []string{"services: [repository", key + ": rim", key + ": https", key + ": auto"} {
			if strings.HasPrefix(old, key) {
				text = strings.Replace(text, old, old[:strings.LastIndexAny(old, "[ ")+1]+"zzzzzzzz", 1)
			}
		}
		_, err := Parse("x.yaml", []byte(text))
		var mistake *Error
		if !errors.As(err, &mistake) {
			t.Fatalf("%s: Parse reads\n%s", key, text)
		}
		words := strings.Fields(strings.NewReplacer("write ", "", ",", "", " or ", " ").Replace(mistake.Hint))
		var enum []string
		for _, v := range schema.Enum.Values {
			enum = append(enum, v.(string))
		}
		if diff := cmp.Diff(words, enum); diff != "" {
			t.Errorf("the words of %s (-Parse +schema):\n%s", key, diff)
		}
	}
}

// spelled is a site file with a key a line, in which each rule of the schema has something to look at.
const spelled = `site: s
release: 1.0.2
winrm:
  user: u
  transport: https
nodes:
  - name: c
    role: central
    services: [repository]
    winrm:
      address: 10.0.0.11
      port: 5986
      auth: auto
      pin: sha256:3f9a510c3f9a510c3f9a510c3f9a510c3f9a510c3f9a510c3f9a510c3f9a510c
  - name: "1"
    host: r
    role: rim
    services: [repository]
clients: any
proof:
  listen: true
join:
  qrs: c:4242
`

// TestSchemaAccepts: whatever value Parse takes for a key, the schema does too.
func TestSchemaAccepts(t *testing.T) {
	t.Parallel()
	values := slices.Concat(texts, qrsGood, []string{
		"", "null", "~", "true", "no", "0", "7", "2026", "2.10", "1_000", "+5", "-5", "0x1F", "0o17", "0b11", "1e3", ".inf", ".nan", "65535", "65536", "5986.0",
		"a", "a.b", "A_b-c", "1a", "1-a", "_a._b", "a-", "-a", "a..b", "a.1", "1.a", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 127) + "a",
		"localhost", "LocalHost", "127.0.0.1", "127.1", "127.a", "::1", "0::1", "::ffff:127.0.0.1", "10.0.0.11", "010.0.0.1", "fd00::11", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0", "::",
		"'[qs-central]:4242'", "'[10.0.0.11]:4242'", "qs:04242", "qs:0", "qs:65535", "qs:65536", "'0x1F:1'", "1e3:1",
		"any", "'any'", "[any]", "[]", "[10.0.0.0/8]", "[10.0.0.0/7]", "[10.20.0.5]", "[10.20.0.5/32]", "[10.20.0.5, 10.20.0.5/32]", "[fc00::/7]", "[fd00::5/128, fd00::/99, fd00::/119]", "[fd00::/8]", "['::/0']", "['fd00::1']", "['::ffff:1.2.3.4']", "['::1.2.3.4/128']", "[7]", "[2001:db8::/32, 10.0.0.0/31]",
		"[repository]", "[repository, proxy]", "[proxy, repository, printing]", "[repository, repository]", "{}", "{a: b}",
		"sha256:" + strings.Repeat("3f9A:510c:", 8), "SHA256:" + strings.Repeat(":3f", 32), "sha256:" + strings.Repeat("3f", 31), "https", "http", "HTTPS", "basic", "auto", "central", "rim",
		"\"a\\tb\"", "\"a\\u00a0b\"", "|-\n    a b", ">-\n    qs-rim1",
	})
	taken, tried := 0, 0
	lines := strings.Split(spelled, "\n")
	for i, line := range lines {
		key, _, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		for _, v := range values {
			changed := slices.Clone(lines)
			changed[i] = key + ": " + v
			text := []byte(strings.Join(changed, "\n"))
			tried++
			if parses(text) {
				taken++
				accepted(t, text)
			}
		}
		if text := []byte(strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "\n")); parses(text) {
			accepted(t, text)
		}
	}
	// Sign-in: each of what the site and a node may say of it, or leave out.
	for _, keys := range combinations([]string{"", "user: u"}, []string{"", "auth: auto", "auth: basic"}, []string{"", "transport: http", "transport: https"}) {
		for _, own := range combinations([]string{"", "user: v"}, []string{"", "auth: auto", "auth: basic"}, []string{"", "transport: http", "transport: https"}) {
			all := "winrm: {" + keys + "}\n"
			if keys == "" {
				all = ""
			}
			text := []byte(strings.NewReplacer("winrm: {user: u}\n", all, "[repository]", "[repository], winrm: {"+own+"}").Replace(least))
			refused := validate(t, published, text) != nil
			if parses(text) == refused {
				t.Errorf("the schema refuses: %t; Parse does not think so\n%s", refused, text)
			}
		}
	}
	if taken < 300 || tried-taken < 1000 {
		t.Errorf("%d of %d files were read: too few, or too many", taken, tried)
	}
}

func parses(text []byte) bool {
	_, err := Parse("x.yaml", text)
	return err == nil
}

// combinations takes one of each, as a YAML flow mapping has them.
func combinations(lists ...[]string) []string {
	all := []string{""}
	for _, list := range lists {
		var longer []string
		for _, before := range all {
			for _, one := range list {
				longer = append(longer, strings.Trim(before+", "+one, ", "))
			}
		}
		all = longer
	}
	return all
}

// TestSchemaText: the schema is indented as preflight prints JSON, so that every format of it is the same.
func TestSchemaText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(Schema()), "", "  "); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), Schema()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestErrorAt: a mistake that others see is shown as one that Parse sees.
func TestErrorAt(t *testing.T) {
	t.Parallel()
	const hint = "write another"
	for _, test := range []struct{ text, want string }{
		{least, "error: x.yaml:2:10: it is not known\n    2 | release: 1.0.2\n                 ^^^^^\nhint: write another\n"},
		{"# a site\n\"release\":  '1.0.2' # or so\n" + strings.Replace(least, "release: 1.0.2\n", "", 1), "error: x.yaml:2:13: it is not known\n    2 | \"release\":  '1.0.2' # or so\n                    ^^^^^^^\nhint: write another\n"},
		{"site: s\n", "error: x.yaml:1:1: it is not known\n    1 | site: s\n        ^\nhint: write another\n"},
	} {
		var mistake *Error
		if err := ErrorAt("x.yaml", []byte(test.text), "release", hint, "it is not known"); !errors.As(err, &mistake) || mistake.Detail() != test.want {
			t.Errorf("got\n%s\nwant\n%s", mistake.Detail(), test.want)
		}
	}
}
