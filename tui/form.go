package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/site"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// field is a line that is being written.
type field struct {
	text   []rune
	at     int  // the cursor, from 0 to the end
	secret bool // it is never drawn
}

// set begins with a text, the cursor behind it.
func (f *field) set(s string, secret bool) {
	f.reset()
	f.text, f.secret = []rune(s), secret
	f.at = len(f.text)
}

// reset leaves nothing of the text in memory that is the field's own.
func (f *field) reset() {
	clear(f.text[:cap(f.text)])
	*f = field{}
}

// The keys that edit a field.
func (f *field) bindings() []binding {
	to := func(at func() int) func() tea.Cmd { return act(func() { f.at = at() }) }
	cut := func(from, to int) {
		tail := f.text[from : from+copy(f.text[from:], f.text[to:])]
		clear(f.text[from+len(tail):])
		f.text, f.at = f.text[:from+len(tail)], from
	}
	return []binding{
		bind(inHelp, "left, right", "move the cursor", to(func() int { return max(0, f.at-1) }), "left"),
		{key.NewBinding(key.WithKeys("right")), inHelp, to(func() int { return min(len(f.text), f.at+1) })},
		bind(inHelp, "home, end", "to the beginning, to the end", to(func() int { return 0 }), "home", "ctrl+a"),
		{key.NewBinding(key.WithKeys("end", "ctrl+e")), inHelp, to(func() int { return len(f.text) })},
		bind(inHelp, "backspace, del", "delete a character", act(func() { cut(max(0, f.at-1), f.at) }), "backspace"),
		{key.NewBinding(key.WithKeys("delete")), inHelp, act(func() { cut(f.at, min(len(f.text), f.at+1)) })},
		bind(inHelp, "ctrl+u", "delete what is before the cursor", act(func() { cut(0, f.at) }), "ctrl+u"),
	}
}

// insert writes what was typed or pasted. Line ends of what was pasted are not part of it.
func (f *field) insert(runes []rune) {
	runes = slices.DeleteFunc(slices.Clone(runes), func(r rune) bool { return r < ' ' || r == 0x7f })
	text := slices.Concat(f.text[:f.at], runes, f.text[f.at:])
	clear(f.text)
	f.text, f.at = text, f.at+len(runes)
}

// draw is as much of the field around the cursor as a width has room for.
func (f *field) draw(t theme, width int) line {
	shown := make([]string, len(f.text))
	for i, r := range f.text {
		if shown[i] = t.text(string(r)); f.secret {
			shown[i] = "*"
		}
	}
	room := max(1, width-2) // the cursor and its mark
	from, wide := f.at, 0
	for from > 0 && wide+ansi.StringWidth(shown[from-1]) <= room {
		from--
		wide += ansi.StringWidth(shown[from])
	}
	to := f.at
	for to < len(shown) && wide+ansi.StringWidth(shown[to]) <= room {
		wide += ansi.StringWidth(shown[to])
		to++
	}
	l := lineOf(plain, strings.Join(shown[from:f.at], ""))
	if f.at >= to {
		return append(l, span{"", caretTone})
	}
	return append(l, span{shown[f.at], caretTone}, span{strings.Join(shown[f.at+1:to], ""), plain})
}

// form is a question that is more than a line of keys: a field, or a list to choose from.
type form struct {
	before []line // what to know first
	focus  []line // the field or the list
	at     int    // the line of focus that has to be seen
	after  []line // what to know besides
	reads  string // the keys that show all of it
}

// fit is as much of a form as there is room for: what can be chosen first, then what to know before it, of which at least a
// mark stays.
func (f form) fit(room int) []line {
	room = max(1, room)
	more := lineOf(dim, "… "+f.reads+" shows all of it")
	at, focus, most := f.at, f.focus, room
	if len(f.before) > 0 && room > 1 {
		most--
	}
	if len(focus) > most { // empty lines go first
		at -= len(slices.DeleteFunc(slices.Clone(focus[:at]), func(l line) bool { return l != nil }))
		focus = slices.DeleteFunc(slices.Clone(focus), func(l line) bool { return l == nil })
	}
	if len(focus) > most {
		top := window(len(focus), most, at)
		focus = focus[top : top+most]
	}
	room -= len(focus)
	var out []line
	if before := f.before; len(before) > 0 && room > 0 {
		if len(before) > room {
			before = append(before[:room-1:room-1], more)
		}
		room -= len(before)
		out = append(out, before...)
		if room > 0 {
			out, room = append(out, nil), room-1
		}
	}
	out = append(out, focus...)
	if after := f.after; len(after) > 0 && room > 1 {
		if room--; len(after) > room {
			after = append(after[:room-1:room-1], more)
		}
		out = append(append(out, nil), after...)
	}
	return out
}

// formed tells whether a question is drawn as a form. Where there are rows to move among, a choice is a line of keys, but
// for one that begins something.
func (m *model) formed(q wizard.Question, b body) bool {
	if q.Kind != wizard.Choice || len(m.asks) > 0 || len(m.choices(b)) == 0 {
		return true
	}
	return slices.Contains([]string{"site", "join", "undo", "confirm certificate"}, q.ID)
}

// form draws a question as one.
func (m *model) form(q wizard.Question) form {
	width := m.width - 2
	var notes []line
	for _, n := range q.Notes {
		notes = append(notes, wrapped(m.theme.text(n), plain, width)...)
	}
	var f form
	switch {
	case q.Kind == wizard.Choice:
		f = m.list(q, width)
		f.before = notes
	case len(m.asks) == 0 && q.Step == wizard.SignIn:
		f = m.signIn(q, width)
		f.after = notes
	default:
		f.focus = wrapped(m.theme.text(printable.Line(q.Text)), strong, width)
		f.focus = append(f.focus, m.input(q, "> ", width))
		f.at = len(f.focus) - 1
		f.before = notes
	}
	f.reads = "?"
	if m.typing {
		f.reads = "esc, then ?"
	}
	if q.ID == "site" {
		if c, ok := m.w.Chosen(m.chosenOption(q)); ok {
			f.after = append(f.after, siteLines(c, width)...)
		}
	}
	return f
}

// input is the field of a question behind a label. A secret that was given already is shown as one.
func (m *model) input(q wizard.Question, label string, width int) line {
	l := line{{label, accent}}
	if q.Given && len(m.field.text) == 0 {
		return append(l, span{"", m.caretTone()}, span{"******** is kept unless you write another", dim})
	}
	f := m.field.draw(m.theme, width-len(label))
	if !m.typing {
		for i := range f {
			f[i].tone = plain
		}
	}
	return append(l, f...)
}

func (m *model) caretTone() tone {
	if m.typing {
		return caretTone
	}
	return plain
}

// list is a choice as a list.
func (m *model) list(q wizard.Question, width int) form {
	f := form{focus: append(wrapped(m.theme.text(printable.Line(q.Text)), strong, width), nil)}
	wide := 0
	for _, o := range q.Options {
		wide = max(wide, ansi.StringWidth(m.theme.text(printable.Line(o.Name))))
	}
	for i, o := range q.Options {
		k := optionKey(q, i)
		l := line{{"  " + pad(k, 1) + "  ", accent}, {pad(m.theme.text(printable.Line(o.Name)), wide), plain}, {"  " + printable.Line(o.Text), dim}}
		if i == m.option {
			l[0].text, l[1].tone, l[2].tone = "> "+pad(k, 1)+"  ", accent, plain
			f.at = len(f.focus)
			if l.width() > width {
				f.after = wrapped(m.theme.text(printable.Line(o.Text)), dim, width)
			}
		}
		f.focus = append(f.focus, l)
	}
	return f
}

// optionKey is the key of an option: its letter, or its number.
func optionKey(q wizard.Question, i int) string {
	switch k := q.Options[i].Key; {
	case k != "":
		return k
	case i < 9:
		return fmt.Sprint(i + 1)
	}
	return ""
}

// chosenOption is the answer that enter gives to a list, "" if none is chosen.
func (m *model) chosenOption(q wizard.Question) string {
	if m.option >= 0 && m.option < len(q.Options) {
		return q.Options[m.option].Name
	}
	return ""
}

// use answers a list with what is chosen. Where nothing is proposed, enter alone must not answer.
func (m *model) use(q wizard.Question) {
	if m.option < 0 {
		m.failed = errors.New("choose one: with the arrows, or with the key before it")
		return
	}
	m.answer(m.chosenOption(q))
}

// signIn is the form of everything that is asked for to sign in; one field of it is being written.
func (m *model) signIn(q wizard.Question, width int) form {
	a := m.w.Answers()
	f := form{focus: []line{lineOf(strong, "How do you sign in to the servers?"), nil}}
	fact := func(label string, value line) {
		f.focus = append(f.focus, append(line{{"  " + pad(label, 11), dim}}, value...))
	}
	write := func(label string) {
		f.at = len(f.focus)
		f.focus = append(f.focus, m.input(q, "> "+pad(label, 11), width))
	}
	if !a.Candidate.Simulated {
		for _, user := range a.Candidate.Site.Users() {
			from := ""
			if a.Candidate.File != "" {
				from = "   (from " + printable.Line(a.Candidate.File) + ")"
			}
			fact("User", line{{printable.Line(user), plain}, {from, dim}})
			_, given := a.Passwords.Of(user)
			switch {
			case q.ID == "password" && strings.EqualFold(q.Of, user):
				write("Password")
			case given:
				fact("Password", lineOf(plain, "********"))
			default:
				fact("Password", lineOf(dim, "comes next"))
			}
		}
	} else {
		fact("User", lineOf(plain, "the simulated site brings its own, and its password"))
	}
	if q.ID == "ticket" {
		write("Ticket")
		f.focus = append(f.focus, lineOf(dim, "  "+pad("", 11)+"(may be left empty)"))
	} else {
		fact("Ticket", lineOf(plain, printable.Line(a.Ticket)))
	}
	return f
}

// questionLine is a choice whose answers are keys.
func (m *model) questionLine(q wizard.Question) line {
	return line{{" ", plain}, {m.theme.text(printable.Line(q.Text)), strong}}
}

// errorLines say why an answer was not taken.
func (m *model) errorLines() []line {
	if m.failed == nil {
		return nil
	}
	width := m.width - 2
	var wrong *site.Error
	if !errors.As(m.failed, &wrong) {
		return indented(wrapped(m.theme.text("error: "+printable.Line(m.failed.Error())), bad, width))
	}
	var out []line
	for l := range strings.Lines(printable.Text(wrong.Detail())) {
		if strings.HasPrefix(l, " ") { // the source, and the mark under it
			out = append(out, lineOf(plain, strings.TrimRight(l, "\n")))
			continue
		}
		out = append(out, wrapped(m.theme.text(l), bad, width)...)
	}
	return indented(out)
}

// helpPage says which keys work, and what there is to know about the question.
func (m *model) helpPage(b body, s shape) []line {
	width := m.width - gutter - 1
	keys := helpLines(m.beneath(b, s))
	q, ok := m.question()
	if !ok {
		return keys
	}
	out := wrapped(m.theme.text(printable.Line(q.Text)), strong, width)
	for i, o := range q.Options {
		if o.Text == "" {
			continue
		}
		out = append(out, wrapped(m.theme.text(fmt.Sprintf("%s %s: %s", optionKey(q, i), printable.Line(o.Name), printable.Line(o.Text))), plain, width)...)
	}
	for _, n := range q.Notes {
		out = append(append(out, nil), wrapped(m.theme.text(n), plain, width)...)
	}
	if q.Flag != "" {
		out = append(append(out, nil), wrapped("without the wizard: "+q.Flag, dim, width)...)
	}
	out = append(append(out, nil), keys...)
	if q.Kind != wizard.Choice {
		out = append(append(out, nil, lineOf(strong, "while writing")), helpLines(append(m.writing(q, b, s), m.field.bindings()...))...)
	}
	return out
}
