package tui

import (
	"slices"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// binding is a key that works now: what it is called, and what it does. The footer and the help are made of the very
// bindings that keys are looked up in.
type binding struct {
	key.Binding
	rank int // the highest comes first in the footer, and the last of them is left out of it first; 0: it is in the help alone
	do   func() tea.Cmd
}

// bind makes a binding. label is how the keys are called.
func bind(rank int, label, does string, do func() tea.Cmd, keys ...string) binding {
	return binding{key.NewBinding(key.WithKeys(keys...), key.WithHelp(label, does)), rank, do}
}

// act is a thing to do that is over at once.
func act(do func()) func() tea.Cmd {
	return func() tea.Cmd { do(); return nil }
}

// rank of the footer's keys.
const (
	inHelp  = 0
	always  = 1
	answers = 2
	goBack  = 3
	copying = 4
	opening = 5
	moving  = 6
)

// footerKeys are as many of the keys that work now as a width has room for.
func footerKeys(all []binding, t theme, width int) line {
	var shown []binding
	for _, b := range all {
		if b.rank != inHelp {
			shown = append(shown, b)
		}
	}
	slices.SortStableFunc(shown, func(a, b binding) int { return b.rank - a.rank })
	for {
		l := keyLine(shown)
		if len(shown) == 0 || t.lettering(l).width() <= width {
			return l
		}
		last := slices.IndexFunc(shown, func(b binding) bool { return b.rank != shown[0].rank })
		if last < 0 {
			last = len(shown)
		}
		shown = slices.Delete(shown, last-1, last)
	}
}

// keyLine is keys beside each other.
func keyLine(keys []binding) line {
	var l line
	for i, b := range keys {
		if i > 0 {
			l = append(l, span{"  ", plain})
		}
		l = append(l, span{b.Help().Key, accent}, span{" " + b.Help().Desc, plain})
	}
	return l
}

// named are the bindings that are not named with another one.
func named(all []binding) []binding {
	var out []binding
	for _, b := range all {
		if b.Help().Key != "" {
			out = append(out, b)
		}
	}
	return out
}

// helpLines are all keys that work now.
func helpLines(all []binding) []line {
	widest := 0
	for _, b := range named(all) {
		widest = max(widest, len([]rune(b.Help().Key)))
	}
	var out []line
	for _, b := range named(all) {
		out = append(out, line{{pad(b.Help().Key, widest), accent}, {"  " + b.Help().Desc, plain}})
	}
	return out
}

// bindings are the keys that work now, those that come first taking precedence. What edits a field is not among them.
func (m *model) bindings(b body, s shape) []binding {
	if m.help {
		return append(m.scrolling(&m.top), bind(always, "esc", "close", act(func() { m.help, m.top = false, 0 }), "esc", "enter", "?", "q", "b"))
	}
	return m.beneath(b, s)
}

// beneath are the keys that work while there is no help over the screen.
func (m *model) beneath(b body, s shape) []binding {
	q, asked := m.question()
	switch {
	case m.open:
		keys := append(m.scrolling(&m.pageTop), m.copying(b)...)
		return append(keys, bind(always, "esc", "close", act(func() { m.open = false }), "esc", "enter", "b"), m.helping())
	case asked && m.typing:
		return m.writing(q, b, s)
	}
	var keys []binding
	formed := asked && m.formed(q, b)
	if asked && q.Kind != wizard.Choice {
		keys = append(keys, bind(answers, "enter", "write on", act(func() { m.typing = true }), "enter", "n", "tab"))
	}
	for i, o := range q.Options {
		if k := optionKey(q, i); k != "" {
			rank := answers
			if formed {
				rank = inHelp // the list shows it
			}
			keys = append(keys, bind(rank, k, printable.Line(o.Name), act(func() { m.answer(o.Name) }), k))
		}
	}
	if formed && q.Kind == wizard.Choice {
		choose := func(i int) func() tea.Cmd {
			return act(func() { m.option, m.failed = max(0, min(i, len(q.Options)-1)), nil })
		}
		use := bind(answers, "enter", "use", act(func() { m.use(q) }), "enter")
		if m.option < 0 {
			use = quiet(use.do, "enter") // which says what to do first
		}
		keys = append(keys,
			bind(moving, "arrows", "choose", choose(m.option-1), "up", "k"), quiet(choose(m.option+1), "down", "j"),
			quiet(choose(0), "home"), quiet(choose(len(q.Options)-1), "end"),
			use)
		keys = append(keys, m.reading(b, s)...)
		if len(m.choices(b)) > 0 {
			keys = append(keys, m.paging(b)...)
		} else if len(b.head) > 0 {
			keys = append(keys, m.pages(&m.top)...)
		}
	} else {
		keys = append(keys, m.rowing(b, s)...)
		if asked && q.Kind == wizard.Choice && q.Default != "" {
			keys = append(keys, bind(inHelp, "enter", printable.Line(q.Default), act(func() { m.answer("") }), "enter"))
		}
	}
	if m.canGoBack() {
		keys = append(keys, bind(goBack, "b", "back", act(m.back), "b", "shift+tab"))
	}
	if asked {
		keys = append(keys, bind(inHelp, "q", "leave", act(func() { m.pending = leaving }), "q"))
	}
	switch {
	case m.job == nil:
		keys = append(keys, interruptKey())
	case m.stopping:
		keys = append(keys, bind(answers, "ctrl+c", "leave now", nil, "ctrl+c"))
	case asked:
		keys = append(keys, bind(inHelp, "ctrl+c", "stop", nil, "ctrl+c"))
	default:
		keys = append(keys, bind(answers, "ctrl+c", "stop", nil, "ctrl+c"))
	}
	return effective(append(keys, m.helping()))
}

// effective leaves out bindings all of whose keys do something else.
func effective(all []binding) []binding {
	taken := map[string]bool{}
	return slices.DeleteFunc(all, func(b binding) bool {
		void := true
		for _, k := range b.Keys() {
			void = void && taken[k]
			taken[k] = true
		}
		return void
	})
}

// writing are the keys of a field that is being written.
func (m *model) writing(q wizard.Question, b body, s shape) []binding {
	does := "next"
	if q.ID == "approve" {
		does = "apply"
	}
	keys := []binding{
		bind(answers, "enter", does, act(func() { m.answer(string(m.field.text)) }), "enter", "tab"),
		bind(always, "esc", "leave field", act(func() { m.typing = false }), "esc"),
	}
	if m.canGoBack() {
		keys = append(keys, bind(goBack, "shift+tab", "back", act(m.back), "shift+tab"))
	}
	keys = append(keys, m.reading(b, s)...)
	if len(m.choices(b)) > 0 {
		keys = append(keys, bind(inHelp, "up, down", "move", act(func() { m.move(b, -1) }), "up"), quiet(act(func() { m.move(b, 1) }), "down"))
	}
	return keys
}

// rowing are the keys that move among the rows of a body, and what can be done with the one that is chosen.
func (m *model) rowing(b body, s shape) []binding {
	at := m.chosenRow(b)
	switch {
	case at < 0 && len(b.head) > 0:
		return m.scrolling(&m.top)
	case at < 0:
		return nil
	}
	step := func(by int) func() tea.Cmd { return act(func() { m.move(b, by) }) }
	keys := []binding{
		bind(moving, "arrows", "move", step(-1), "up", "k"), quiet(step(1), "down", "j"),
		bind(inHelp, "home, end", "to the first, to the last", step(-len(b.rows)), "home"), quiet(step(len(b.rows)), "end"),
	}
	keys = append(keys, m.paging(b)...)
	if r := b.rows[at]; len(r.cells) > 0 {
		keys = append(keys,
			bind(inHelp, "left, right", "move in the row", act(func() { m.across(r, -1) }), "left", "h"), quiet(act(func() { m.across(r, 1) }), "right", "l", "tab"))
	}
	if d := m.chosenDetail(b); d.more != nil || s.cut || s.head < len(b.head) {
		keys = append(keys, bind(opening, "enter", "more", act(func() { m.open, m.pageTop = true, 0 }), "enter"))
	}
	return append(keys, m.copying(b)...)
}

// reading is the key that shows a head that is too high, where enter answers.
func (m *model) reading(b body, s shape) []binding {
	if s.head >= len(b.head) {
		return nil
	}
	return []binding{bind(opening, s.reads, "read all", act(func() { m.open, m.pageTop = true, 0 }), "pgdown")}
}

// paging are the keys that move far among the rows of a body.
func (m *model) paging(b body) []binding {
	page := max(1, m.height/2)
	return []binding{bind(inHelp, "pgup, pgdn", "move by a page", act(func() { m.move(b, -page) }), "pgup"), quiet(act(func() { m.move(b, page) }), "pgdown")}
}

// scrolling are the keys that scroll what does not fit.
func (m *model) scrolling(top *int) []binding {
	by := func(n int) func() tea.Cmd { return act(func() { m.scroll(top, *top+n) }) }
	return append(m.pages(top), bind(inHelp, "up, down", "scroll", by(-1), "up", "k"), quiet(by(1), "down", "j"), quiet(by(-*top), "home"), quiet(by(1<<20), "end"))
}

// pages are the keys that scroll far.
func (m *model) pages(top *int) []binding {
	page := max(1, m.height/2)
	return []binding{
		bind(inHelp, "pgup, pgdn", "scroll by a page", act(func() { m.scroll(top, *top-page) }), "pgup"), quiet(act(func() { m.scroll(top, *top+page) }), "pgdown"),
	}
}

// copying is the key that copies what is chosen, if there is something to copy.
func (m *model) copying(b body) []binding {
	text := m.chosenDetail(b).copy
	if text == "" {
		return nil
	}
	return []binding{bind(copying, "y", "copy", func() tea.Cmd {
		m.notice = "to the clipboard: " + printable.Line(text)
		return m.copy(text)
	}, "y")}
}

func (m *model) helping() binding {
	return bind(always, "?", "help", act(func() { m.help, m.top = true, 0 }), "?")
}

// quiet is a binding that is named with another one.
func quiet(do func() tea.Cmd, keys ...string) binding {
	return binding{key.NewBinding(key.WithKeys(keys...)), inHelp, do}
}

// interruptKey works everywhere.
func interruptKey() binding {
	return bind(inHelp, "ctrl+c", "leave, if pressed twice", nil, "ctrl+c")
}
