package reports_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall/rule"
	"github.com/qlik-preflight/preflight/internal/record"
)

const module = "github.com/qlik-preflight/preflight/"

// generator makes the schema of a record out of its Go types: the library knows structs, lists and their comments, and what
// it does not know of ours is here.
type generator struct {
	t         *testing.T
	reflector *jsonschema.Reflector
	defs      jsonschema.Definitions
	structs   map[string]reflect.Type // by the name of their definition
}

// generated is the schema as the file.
func generated(t *testing.T) []byte {
	t.Helper()
	g := &generator{t: t, defs: jsonschema.Definitions{}, structs: map[string]reflect.Type{}}
	g.reflector = &jsonschema.Reflector{
		Anonymous: true, AllowAdditionalProperties: true, ExpandedStruct: true,
		Namer: defName, Mapper: g.mapped,
	}
	for _, dir := range []string{"record", "facts", "proof", "site"} {
		g.comments("../internal/" + dir)
	}
	g.comments("../checks")

	s := g.reflector.ReflectFromType(reflect.TypeFor[record.Record]())
	maps.Copy(s.Definitions, g.defs)
	one, why := uint64(1), jsonschema.NewProperties()
	why.Set("unknown", &jsonschema.Schema{Type: "string", MinLength: &one, Description: "the reason"})
	s.Definitions["Unknown"] = &jsonschema.Schema{
		Type: "object", Description: "Something that is not known, with the reason.", Properties: why, Required: []string{"unknown"},
	}
	s.Definitions["Address"] = &jsonschema.Schema{
		Type: "string", Description: "An IPv4 or IPv6 address.", AnyOf: []*jsonschema.Schema{{Format: "ipv4"}, {Format: "ipv6"}},
	}
	for name, of := range g.structs {
		g.finish(cmp.Or(s.Definitions[name], s), of)
	}
	s.ID = "urn:preflight:record:" + record.SchemaVersion
	s.Title = "The record of a preflight run, record.json"
	s.Description = "What a run saw and did. Fields may be added within a schema_version: pass over what you do not know."
	version, _ := s.Properties.Get("schema_version")
	version.Type, version.Const, version.Description = "", record.SchemaVersion, "the version of this format"

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// comments reads the comments of a package's types.
func (g *generator) comments(dir string) {
	if err := g.reflector.AddGoComments(path.Join(module, "reports"), dir); err != nil {
		g.t.Fatal(err)
	}
	for name, text := range g.reflector.CommentMap {
		text = strings.ReplaceAll(text, "nil:", "null:")
		g.reflector.CommentMap[name] = strings.Join(strings.Fields(text), " ")
	}
}

// defName is the name of a type's definition: its own, and before it its package's, but for the record's.
func defName(t reflect.Type) string {
	pkg := path.Base(t.PkgPath())
	if t.Name() == "" || pkg == "record" || !strings.HasPrefix(t.PkgPath(), module) {
		return ""
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + t.Name()
}

// mapped is the schema of a type that the library does not know, or nil.
func (g *generator) mapped(t reflect.Type) *jsonschema.Schema {
	ours := strings.HasPrefix(t.PkgPath(), module)
	switch {
	case t == reflect.TypeFor[netip.Addr]():
		return &jsonschema.Schema{Ref: "#/$defs/Address"}
	case t == reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f.:]+/[0-9]{1,3}$`}
	case t == reflect.TypeFor[netip.AddrPort]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9.]+|\[[0-9A-Fa-f.:]+(%[^\]]+)?\]):[0-9]{1,5}$`}
	case t == reflect.TypeFor[rule.Profiles]():
		return g.profiles()
	case isValue(t):
		return g.value(t)
	case ours && (t.Kind() == reflect.String || t.Kind() == reflect.Int):
		return g.words(t)
	case ours && t.Kind() == reflect.Struct:
		g.structs[cmp.Or(defName(t), t.Name())] = t
	case t.Kind() == reflect.Uint16:
		return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "65535"} // always a port
	}
	return nil
}

// isValue tells whether a type is a facts.Value, and held is what such a value holds.
func isValue(t reflect.Type) bool {
	return strings.HasPrefix(t.Name(), "Value[") && t.PkgPath() == reflect.TypeFor[facts.Server]().PkgPath()
}

func held(t reflect.Type) reflect.Type {
	v, _ := t.FieldByName("V")
	return v.Type
}

// value is a facts.Value: what it holds, or the reason why that is not known.
func (g *generator) value(t reflect.Type) *jsonschema.Schema {
	v := g.reflector.ReflectFromType(held(t))
	maps.Copy(g.defs, v.Definitions)
	v.Definitions, v.Version = nil, ""
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{v, {Ref: "#/$defs/Unknown"}}}
}

// profiles is a list of the words for the profiles of Windows Firewall.
func (g *generator) profiles() *jsonschema.Schema {
	var words []any
	b, err := json.Marshal(rule.AllProfiles)
	if err == nil {
		err = json.Unmarshal(b, &words)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "string", Enum: words}, UniqueItems: true}
}

// words is a type that has a constant for each of its values: an enum. A number comes from a server, and may be another.
func (g *generator) words(t reflect.Type) *jsonschema.Schema {
	name := cmp.Or(defName(t), t.Name())
	if g.defs[name] == nil {
		values, meanings := g.constants(t)
		text := g.reflector.CommentMap[t.PkgPath()+"."+t.Name()]
		if meanings != "" {
			text += "\n" + meanings
		}
		g.defs[name] = &jsonschema.Schema{Type: "string", Enum: values, Description: text}
		if t.Kind() == reflect.Int {
			g.defs[name] = &jsonschema.Schema{Type: "integer", Description: text}
		}
	}
	return &jsonschema.Schema{Ref: "#/$defs/" + name}
}

// constants are the values of a type's constants, and what their comments say of them, read from the source: a new one is
// in the schema, or the test fails.
func (g *generator) constants(t reflect.Type) (values []any, meanings string) {
	dir := filepath.Join("..", filepath.FromSlash(strings.TrimPrefix(t.PkgPath(), module)))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			g.t.Fatal(err)
		}
		for spec := range constSpecs(f) {
			if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != t.Name() {
				continue
			}
			if len(spec.Names) != 1 || len(spec.Values) != 1 {
				g.t.Fatalf("%s: the constants of %s have to stand one a line, each with its value", file, t)
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				g.t.Fatalf("%s: the value of %s is not written out", file, spec.Names[0])
			}
			word := lit.Value
			if lit.Kind == token.STRING {
				if word, err = strconv.Unquote(word); err != nil {
					g.t.Fatal(err)
				}
			}
			meaning := strings.TrimSpace(spec.Comment.Text())
			if lit.Kind == token.INT && meaning == "" {
				meaning = spec.Names[0].Name
			}
			if meaning != "" {
				meanings += fmt.Sprintf("\n%s: %s", word, meaning)
			}
			values = append(values, word)
		}
	}
	if len(values) == 0 {
		g.t.Fatalf("%s has no constants", t)
	}
	return values, meanings
}

// constSpecs are the lines of a file's const declarations.
func constSpecs(f *ast.File) func(yield func(*ast.ValueSpec) bool) {
	return func(yield func(*ast.ValueSpec) bool) {
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, spec := range decl.Specs {
				if !yield(spec.(*ast.ValueSpec)) {
					return
				}
			}
		}
	}
}

// finish says of a struct's fields which may be null or empty.
func (g *generator) finish(s *jsonschema.Schema, t reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p, ok := s.Properties.Get(name)
		if !ok {
			continue
		}
		null := &jsonschema.Schema{Type: "null"}
		switch {
		case f.Type.Kind() == reflect.Pointer && !strings.Contains(options, "omitempty"):
			p = or(p, null)
		case f.Type == reflect.TypeFor[netip.Addr]():
			p = or(p, &jsonschema.Schema{Const: ""}) // not known
		}
		s.Properties.Set(name, p)
	}
}

// or is a schema or another, under the description of the first.
func or(s, other *jsonschema.Schema) *jsonschema.Schema {
	text := s.Description
	s.Description = ""
	if len(s.AnyOf) == 0 {
		s = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s}}
	}
	s.AnyOf, s.Description = append(s.AnyOf, other), text
	return s
}
