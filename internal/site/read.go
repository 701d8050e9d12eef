package site

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// A site file is read by hand from its syntax tree, for each value has its place there. Of YAML it may use mappings,
// lists, text and comments; no anchors, no tags, one document.
const (
	maxBytes  = 1 << 20
	maxTokens = 30000 // far more than a large site has; the parser's time and memory grow with the square of some
	maxDepth  = 20
)

// reader reads one file. Its err is the first mistake; it reads on after one, and what it finds then is not looked at.
type reader struct {
	file  string
	lines []string
	err   *Error
}

// fail notes a mistake at a token, if it is the first.
func (r *reader) fail(at *token.Token, hint, format string, args ...any) {
	line, column, marked := 1, 1, 1
	if at != nil && at.Position != nil {
		line, column = at.Position.Line, at.Position.Column
		first, _, _ := strings.Cut(strings.TrimSpace(at.Origin), "\n")
		marked = utf8.RuneCountInString(strings.TrimSpace(first))
	}
	r.failAt(line, column, marked, hint, format, args...)
}

func (r *reader) failAt(line, column, marked int, hint, format string, args ...any) {
	if r.err != nil {
		return
	}
	// The library's places are not always right: a token may start with the spaces before it, or its place may be where
	// a text of several lines ends.
	line = min(max(line, 1), max(len(r.lines), 1))
	source := ""
	if len(r.lines) > 0 {
		source = r.lines[line-1]
	}
	runes := []rune(source)
	column = min(max(column, 1), len(runes)+1)
	for c := column; marked > 0 && c <= len(runes); c++ {
		if !unicode.IsSpace(runes[c-1]) {
			column = c
			break
		}
	}
	r.err = &Error{File: r.file, Line: line, Column: column, Text: fmt.Sprintf(format, args...), Hint: hint}
	if end := secret.FindStringIndex(source); end != nil {
		source = source[:end[1]] + " ..."
	}
	if strings.TrimSpace(source) != "" {
		r.err.mark(source, marked)
	}
}

// secret is a key that looks like that of a secret. What follows it is not shown, whatever is wrong with its line.
var secret = regexp.MustCompile(`(?i)(pas|pwd|secret|cred|token)\w*["']?\s*:`)

// open parses the YAML and returns the top of the one document.
func (r *reader) open(text []byte) ast.Node {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	const saveAs = "save the file as UTF-8"
	switch {
	case len(text) > maxBytes:
		r.fail(nil, "is it the right file?", "the file has %d bytes; a site file has at most %d", len(text), maxBytes)
		return nil
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		r.fail(nil, saveAs+"; Windows PowerShell's > writes UTF-16", "the file is UTF-16")
		return nil
	}
	whole := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text))
	r.lines = strings.Split(strings.ToValidUTF8(whole, "\ufffd"), "\n")
	for i, line := range strings.Split(whole, "\n") {
		if !utf8.ValidString(line) {
			bad := strings.IndexFunc(line, func(c rune) bool { return c == utf8.RuneError })
			r.failAt(i+1, utf8.RuneCountInString(line[:bad])+1, 1, saveAs, "this is not UTF-8 text")
			return nil
		}
	}
	doc, err := r.parse(whole + "\n") // the lexer drops an unfinished tag at the very end
	var y yaml.Error
	switch {
	case r.err != nil:
		return nil
	case errors.As(err, &y):
		text, hint := plainly(y.GetMessage())
		at := y.GetToken()
		if at != nil && strings.Contains(y.GetMessage(), "'\t'") { // the tab itself, not what follows it
			r.failAt(at.Position.Line, at.Position.Column, 0, hint, "%s", text)
		}
		r.fail(at, hint, "%s", visible(text))
		return nil
	case err != nil:
		r.fail(nil, "", "the file cannot be read as YAML: %s", visible(err.Error()))
		return nil
	case doc == nil:
		r.lines = nil
		r.fail(nil, "start with site:, release: and nodes:", "the file is empty")
		return nil
	}
	return doc
}

func (r *reader) parse(text string) (doc ast.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			doc, err = nil, fmt.Errorf("%v", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	depth := 0
	for i, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth > maxDepth || i > maxTokens {
			r.fail(t, "is it the right file?", "a site file is not as long or as deep as this")
			return nil, nil
		}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	for _, d := range file.Docs {
		switch {
		case d.Body == nil:
		case doc == nil:
			doc = d.Body
		default:
			at := d.Start
			if at == nil {
				at = d.Body.GetToken()
			}
			r.fail(at, "keep each site in a file of its own", "the file holds more than one document")
			return nil, nil
		}
	}
	return doc, nil
}

// plainly says what the parser says in words for people who do not know YAML's.
func plainly(message string) (text, hint string) {
	has := func(s string) bool { return strings.Contains(message, s) }
	switch {
	case has("character '\t'"):
		return "a line starts with a tab", "indent with spaces"
	case has("unknown escape"):
		return message, `in double quotes a backslash is written twice; without quotes it is just CORP\qs-admin; or is a quotation mark before it not closed?`
	case has("quoted text"):
		return "a quotation mark is not closed", "close it, or leave the quotation marks out"
	case has("non-map value"), has("unexpected key name"):
		return "this is not a key with a value", "write key: value, with a space after the colon"
	case has("must be specified"), has("end token"):
		return message, "close each [ with a ] and each { with a }, here or in a line above"
	case has("reserved character"), has("directive"):
		return message, "put the text in single quotes"
	}
	return "this is not YAML: " + message, "indent the keys of one block alike, with spaces; quote a text that holds a colon and a space"
}

// field is a key that a mapping may have.
type field struct {
	key  string
	read func(v ast.Node)
}

// found is where a mapping starts, and the keys it has.
type found struct {
	start *token.Token
	pairs map[string]pair
}

type pair struct{ key, value *token.Token }

// at is where the first of the keys that is there has its value, or where the mapping starts.
func (f found) at(keys ...string) *token.Token {
	for _, k := range keys {
		if f.has(k) {
			return f.pairs[k].value
		}
	}
	return f.start
}

func (f found) has(key string) bool { return f.pairs[key].key != nil }

// everywhere holds the keys of each mapping, by how the mapping is called.
var everywhere = []struct {
	name string
	keys []string
}{
	{"the site file", []string{"site", "release", "winrm", "nodes", "clients", "proof", "join"}},
	{"a node", []string{"name", "role", "host", "services", "winrm"}},
	{"winrm", []string{"address", "port", "user", "transport", "auth", "ca", "pin"}},
	{"proof", []string{"listen"}},
	{"join", []string{"qrs"}},
}

// mapping reads a mapping, key by key as they stand in the file.
func (r *reader) mapping(v ast.Node, name string, fields ...field) found {
	f := found{start: first(v), pairs: map[string]pair{}}
	m, ok := v.(ast.MapNode)
	if !ok {
		r.wrong(v, name, "keys with values", "write its keys below it, one a line, as key: value")
		return f
	}
	for pairs := m.MapRange(); pairs.Next(); {
		at := pairs.Key().GetToken()
		key := at.Value
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		switch {
		case i < 0:
			r.unknownKey(at, name, key, fields)
		case f.has(key):
			r.fail(at, "keep one of them", "%s is here twice; the first is in line %d", key, f.pairs[key].key.Position.Line)
		default:
			f.pairs[key] = pair{at, first(pairs.Value())}
			fields[i].read(pairs.Value())
		}
	}
	return f
}

func (r *reader) unknownKey(at *token.Token, name, key string, fields []field) {
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	hint := "known are " + strings.Join(keys, ", ")
	for _, other := range everywhere {
		if other.name != name && slices.Contains(other.keys, key) {
			hint = fmt.Sprintf("%s is a key of %s", key, other.name)
		}
	}
	if n := near(key, keys); n != "" {
		hint = fmt.Sprintf("did you mean %s?", n)
	}
	switch {
	case secret.MatchString(key + ":"):
		hint = "a site file holds no secrets; the password is asked for when it is needed"
	case key == "ticket":
		hint = "a site file outlives its tickets; give the ticket to the run, with --ticket"
	}
	r.fail(at, hint, "key %s is not known in %s", quote(key), name)
}

// wrong says that a value is of the wrong kind.
func (r *reader) wrong(v ast.Node, what, want, hint string) {
	is := "something else"
	switch v.(type) {
	case *ast.NullNode:
		r.fail(first(v), hint, "%s has no value", what)
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.fail(first(v), "write the value itself", "%s: anchors, aliases and tags are not read", what)
		return
	case *ast.SequenceNode:
		is = "a list"
	case ast.MapNode:
		is = "keys with values"
	case *ast.BoolNode:
		is = "true or false"
	case *ast.StringNode, *ast.LiteralNode:
		is = "text"
	case *ast.IntegerNode, *ast.FloatNode:
		is = "a number"
	}
	r.fail(first(v), hint, "%s has to be %s, not %s", what, want, is)
}

// first is the first token of a value.
func first(v ast.Node) *token.Token {
	switch n := v.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return first(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return v.GetToken()
}

// text reads a text. A number is one, as it is written: release 2.10 is not 2.1.
func (r *reader) text(v ast.Node, what string) string {
	s := ""
	switch n := v.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		s = n.GetToken().Value
	default:
		r.wrong(v, what, "text", "write one value after the colon; in quotes, if it is true or false")
		return ""
	}
	switch {
	case s == "":
		r.fail(first(v), "write a value, or leave the key out", "%s is empty", what)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fail(first(v), "write it on one line, without control characters", "%s %s holds characters that cannot be seen", what, quote(s))
	}
	return s
}

// oneOf reads one of a few words.
func (r *reader) oneOf(v ast.Node, what string, words ...string) string {
	s := r.text(v, what)
	if !slices.Contains(words, s) {
		last := len(words) - 1
		hint := fmt.Sprintf("write %s or %s", strings.Join(words[:last], ", "), words[last])
		if n := near(s, words); n != "" && last > 1 {
			hint = fmt.Sprintf("did you mean %s? there are %s and %s", n, strings.Join(words[:last], ", "), words[last])
		}
		r.fail(first(v), hint, "%s %s is not known", what, quote(s))
	}
	return s
}

// list reads a list that is not empty, one by one.
func (r *reader) list(v ast.Node, what, hint string, each func(ast.Node)) {
	l, ok := v.(*ast.SequenceNode)
	if !ok {
		r.wrong(v, what, "a list", hint)
		return
	}
	if len(l.Values) == 0 {
		r.fail(first(v), hint, "%s is empty", what)
	}
	for _, item := range l.Values {
		each(item)
	}
}

// near is the word that was probably meant, or nothing.
func near(s string, words []string) string {
	best, least := "", 2+min(len(s)/5, 1)
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters have to be put in, left out or replaced.
func distance(a, b string) int {
	if len(a) > 40 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
