package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/qlik-preflight/preflight/internal/wizard"
)

// The smallest terminal that the wizard is drawn on.
const (
	minWidth  = 40
	minHeight = 12
)

// gutter is how far the text of a body stands in from the edge: the mark of what is chosen stands in it.
const gutter = 2

// lineOf is a line of one tone.
func lineOf(t tone, s string) line { return line{{s, t}} }

// width is how many columns a line takes.
func (l line) width() int {
	n := 0
	for _, s := range l {
		n += ansi.StringWidth(s.text)
	}
	return n
}

// slice is what of a line stands in the columns from one up to another.
func (l line) slice(from, to int) line {
	var out line
	at := 0
	for _, s := range l {
		w := ansi.StringWidth(s.text)
		if lo, hi := max(from-at, 0), min(to-at, w); lo < hi {
			out = append(out, span{ansi.Cut(s.text, lo, hi), s.tone})
		}
		at += w
	}
	return out
}

// padded is a line made as wide as a width with spaces, or cut to it.
func (l line) padded(width int) line {
	if n := width - l.width(); n > 0 {
		return append(l[:len(l):len(l)], span{strings.Repeat(" ", n), plain})
	}
	return l.slice(0, width)
}

// pad makes a text as wide as a width with spaces.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// wrapped is a text in lines of at most a width. It is broken at spaces alone: a name or a command is not broken at its
// hyphens.
func wrapped(s string, t tone, width int) []line {
	var out []line
	var now string
	for word := range strings.FieldsSeq(s) {
		for {
			switch joined := now + " " + word; {
			case now == "" && ansi.StringWidth(word) <= width:
				now, word = word, ""
			case now == "":
				out = append(out, lineOf(t, ansi.Cut(word, 0, width)))
				word = ansi.Cut(word, width, ansi.StringWidth(word))
			case ansi.StringWidth(joined) <= width:
				now, word = joined, ""
			default:
				out, now = append(out, lineOf(t, now)), ""
			}
			if word == "" {
				break
			}
		}
	}
	if now != "" {
		out = append(out, lineOf(t, now))
	}
	return out
}

// window is where a list that has room for n lines begins, so that one of its lines is seen.
func window(total, n, at int) int {
	return max(0, min(at-n/2, total-n))
}

// spread is a line with one part at the left and one at the right edge. The right one stays whole.
func spread(left, right line, width int) line {
	room := width - right.width()
	return append(left.slice(0, room).padded(room), right...)
}

// View draws the screen: nothing before its size is known.
func (m *model) View() string {
	switch {
	case m.width <= 0 || m.height <= 0:
		return ""
	case m.width < minWidth || m.height < minHeight:
		small := []string{m.theme.draw(lineOf(plain, fmt.Sprintf("make the window larger (now %dx%d)", m.width, m.height)), m.width)}
		if m.simulated() && m.height > 1 {
			small = append(small, m.theme.draw(lineOf(waiting, simulatedServers), m.width))
		}
		return strings.Join(small, "\n")
	}
	p := m.parts()
	lines := []string{m.theme.draw(m.header(), m.width), m.theme.rule(m.width)}
	lines = append(lines, p.middle...)
	lines = append(lines, m.theme.rule(m.width))
	lines = append(lines, p.ask...)
	lines = append(lines, m.theme.draw(m.footer(p), m.width))
	return strings.Join(lines, "\n")
}

const simulatedServers = "simulated servers"

// simulated tells whether nothing that is shown is real.
func (m *model) simulated() bool {
	c, rec := m.w.Answers().Candidate, m.w.Record()
	return c.Simulated || rec.Run.Simulated && rec.Site.Name == c.Site.Name
}

// header says which site this is, and how far it has come. What has no room is left out, but never that servers are
// simulated.
func (m *model) header() line {
	step := m.w.Step()
	right := line{{fmt.Sprintf("%d/%d ", step, wizard.Steps), dim}, {step.String(), strong}}
	if began, ok := m.began(); ok {
		right = append(right, span{"   " + clock(m.now().Sub(began)), plain})
	}
	right = append(right, span{" ", plain})

	a := m.w.Answers()
	var say line
	if m.simulated() {
		say = line{{"  ", plain}, {simulatedServers, waiting}}
	}
	program, ticket := line{{" preflight", strong}}, line(nil)
	site := line{{"  " + a.Candidate.Name, accent}}
	if a.Candidate.Name == "" {
		site = nil
	}
	if a.Ticket != "" {
		ticket = line{{"  " + a.Ticket, plain}}
	}
	room := m.width - right.width() - 1
	for _, drop := range []*line{nil, &ticket, &program} {
		if drop != nil {
			*drop = nil
		}
		if wide := m.theme.lettering(join(program, site, say, ticket)).width(); wide <= room {
			break
		}
	}
	site = m.theme.fit(site, max(0, room-m.theme.lettering(join(program, say, ticket)).width()))
	return spread(m.theme.lettering(join(program, site, say, ticket)), right, m.width)
}

func join(parts ...line) line {
	var out line
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// clock is a time as minutes and seconds.
func clock(d time.Duration) string {
	s := max(0, int(d.Seconds()))
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// began is when the run's first command began.
func (m *model) began() (time.Time, bool) {
	rec := m.w.Record()
	if len(rec.Run.Commands) == 0 {
		return time.Time{}, false
	}
	return rec.Run.Commands[0].StartedAt, true
}

// corner says whether anything was changed.
func (m *model) corner() line {
	switch {
	case !m.w.Changed():
		return lineOf(dim, " nothing has been changed")
	case m.job != nil:
		return lineOf(dim, " what is done stays")
	}
	return nil
}

// footer says whether anything was changed, and which keys work.
func (m *model) footer(p parts) line {
	left := m.corner()
	var right line
	switch {
	case m.pending == leaving:
		right = lineOf(waiting, "Leave? y/n")
	case m.pending == interrupting:
		right = lineOf(waiting, "press ctrl+c again to leave")
	case m.notice != "":
		right = m.theme.fit(lineOf(accent, m.notice), m.width-left.width()-3)
	default:
		right = footerKeys(p.keys, m.theme, m.width-left.width()-3)
	}
	right = append(m.theme.lettering(right), span{" ", plain})
	return spread(left, right, m.width)
}

// parts are the parts of a screen between the header and the footer, as high as they are drawn, and the keys that work
// with them.
type parts struct {
	middle []string
	ask    []string
	keys   []binding
	scroll int // how far the middle can be scrolled
}

// parts shares the height out: the question takes what it needs, what is said of the chosen row at least a part, and the
// rows the rest.
func (m *model) parts() parts {
	b := m.body()
	room := m.height - 4 // without the header, the footer, and a rule at each
	s := m.shape(b, room)
	var p parts
	p.keys = m.bindings(b, s)
	if q, ok := m.question(); ok && !m.help && !m.open && !m.formed(q, b) {
		s.ask[0] = m.besides(s.ask[0], p.keys)
	}
	for _, l := range s.ask {
		p.ask = append(p.ask, m.theme.draw(l, m.width))
	}
	room -= len(p.ask)

	switch {
	case m.help:
		p.middle, p.scroll = m.scrolled(m.helpPage(b, s), room, m.top)
	case m.open:
		p.middle, p.scroll = m.scrolled(m.page(b, s), room, m.pageTop)
	case s.whole != nil:
		p.middle = m.lines(indented(s.whole))
	case len(m.choices(b)) == 0:
		var all []line
		all = append(all, b.head...)
		for _, r := range b.rows {
			all = append(all, r.line)
		}
		p.middle, p.scroll = m.scrolled(all, room, m.top)
	default:
		p.middle = m.rows(b, s)
		if s.detail > 0 {
			p.middle = append(p.middle, m.theme.rule(m.width))
			p.middle = append(p.middle, m.detail(b, s)...)
		}
	}
	for len(p.middle) < room {
		p.middle = append(p.middle, "")
	}
	p.middle = p.middle[:room]
	return p
}

// besides puts the answers beside the question, where the footer has no room for all keys; they are in the help then.
func (m *model) besides(question line, keys []binding) line {
	var shown, answer []binding
	for _, b := range keys {
		if b.rank != inHelp {
			shown = append(shown, b)
		}
		if b.rank == answers {
			answer = append(answer, b)
		}
	}
	if m.theme.lettering(keyLine(shown)).width() <= m.width-m.corner().width()-3 {
		return question
	}
	right := append(m.theme.lettering(keyLine(answer)), span{" ", plain})
	if question.width()+2+right.width() > m.width {
		return question
	}
	for i := range keys {
		if keys[i].rank == answers {
			keys[i].rank = inHelp
		}
	}
	return spread(question, right, m.width)
}

// shape is how the height is shared out.
type shape struct {
	whole  []line // what is drawn in place of a body: a question that has the screen to itself
	ask    []line // what stands between the last rule and the footer
	body   int    // lines of head and rows
	detail int    // lines of what is said of the chosen row, 0 if nothing is said of any
	cut    bool   // what is said of the chosen row has more lines than that
	head   int    // lines of the head
	reads  string // the key that shows all of the head
}

func (m *model) shape(b body, room int) shape {
	var s shape
	q, asked := m.question()
	trouble := m.errorLines()
	switch {
	case m.help:
		return s
	case !asked:
		s.ask = []line{m.activity()}
	case m.formed(q, b):
		f := m.form(q)
		if len(b.head)+len(b.rows) == 0 {
			s.whole = f.fit(room - len(trouble))
		} else {
			s.ask = indented(f.fit(max(3, room-len(trouble)-min(len(b.head)+len(b.rows), max(3, room/4)))))
		}
	default:
		s.ask = []line{m.questionLine(q)}
	}
	if most := max(1, room-len(s.ask)-3); len(trouble) > most {
		last := append(trouble[most-1][:len(trouble[most-1]):len(trouble[most-1])], span{" …", dim})
		trouble = append(trouble[:most-1:most-1], m.theme.fit(last, m.width))
	}
	s.ask = append(s.ask, trouble...)
	room -= len(s.ask)

	s.body = room
	most := 0 // of any row, so that nothing jumps when another one is chosen
	for _, r := range b.rows {
		most = max(most, len(r.detail.lines))
		for _, c := range r.cells {
			most = max(most, len(c.detail.lines))
		}
	}
	if most > 0 && room >= 6 && !(asked && m.formed(q, b)) {
		s.body = max(2, min(len(b.head)+len(b.rows), room-1-min(most, max(3, room*2/5))))
		s.detail = room - 1 - s.body
		s.cut = len(m.chosenDetail(b).lines) > s.detail
	}
	s.reads = "enter"
	if asked && m.formed(q, b) {
		s.reads = "pgdn"
	}
	s.head = min(len(b.head), max(1, s.body-min(3, len(b.rows))))
	return s
}

// indented sets lines in, as everything is but what is chosen.
func indented(lines []line) []line {
	out := make([]line, len(lines))
	for i, l := range lines {
		out[i] = append(line{{" ", plain}}, l...)
	}
	return out
}

func (m *model) lines(lines []line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, m.theme.draw(l, m.width))
	}
	return out
}

// scrolled is as many lines as there is room for, from one on, and how far that can go.
func (m *model) scrolled(all []line, room, top int) ([]string, int) {
	most := max(0, len(all)-room)
	top = min(top, most)
	shown := all[top:]
	if len(shown) > room {
		shown = shown[:room]
	}
	var out []string
	for _, l := range shown {
		out = append(out, m.theme.draw(append(line{{strings.Repeat(" ", gutter), plain}}, l...), m.width))
	}
	if len(out) > 1 && top < most {
		out[len(out)-1] = m.theme.draw(lineOf(dim, strings.Repeat(" ", gutter)+fmt.Sprintf("… %d more lines", len(all)-top-room+1)), m.width)
	}
	return out, most
}

// rows are the head and as many rows as there is room for, the chosen one among them. Of a head that is too high the last
// line stays, which is a table's; where there is room for one line, and no matrix below it, the first does.
func (m *model) rows(b body, s shape) []string {
	head, room := b.head, s.body
	switch n := len(head); {
	case n <= s.head:
	case s.head == 1 && len(b.rows[0].cells) == 0:
		head = []line{join(head[0], lineOf(dim, " …"))}
	default:
		head = append(head[:s.head-1:s.head-1], head[n-1])
		if s.head > 1 {
			head[s.head-2] = lineOf(dim, "… "+s.reads+" shows all of it")
		}
	}
	room -= len(head)
	chosen := m.chosenRow(b)
	top := window(len(b.rows), room, chosen)

	var out []string
	for _, l := range head {
		out = append(out, m.theme.draw(append(line{{strings.Repeat(" ", gutter), plain}}, l...), m.width))
	}
	for i, r := range b.rows[top:min(len(b.rows), top+room)] {
		mark := line{{strings.Repeat(" ", gutter), plain}}
		if top+i == chosen {
			mark = line{{"> ", accent}}
		}
		out = append(out, m.theme.draw(append(mark, m.cells(r, top+i == chosen)...), m.width))
	}
	return out
}

// cells is a row with its cells, if it is a matrix's, the chosen one marked.
func (m *model) cells(r row, chosen bool) line {
	l := m.theme.lettering(r.line)
	for i, c := range r.cells {
		text := m.theme.lettering(c.text)
		end := c.at + text.width()
		before, after := l.slice(0, c.at).padded(c.at), l.slice(end, max(end, l.width()))
		if chosen && c.at > 0 && i == m.chosenCell(r) {
			before = append(before.slice(0, c.at-1), span{">", accent})
		}
		l = join(before, text, after)
	}
	return l
}

// detail is what is said of the chosen row, in as many lines as it has.
func (m *model) detail(b body, s shape) []string {
	lines := m.chosenDetail(b).lines
	if s.cut {
		lines = append(lines[:s.detail-1:s.detail-1], lineOf(dim, "… enter shows the rest"))
	}
	return m.lines(indented(lines))
}

// page is what enter shows in place of the rows: what there is more to say of the chosen one, after what had no room.
func (m *model) page(b body, s shape) []line {
	d := m.chosenDetail(b)
	var all []line
	for _, part := range []struct {
		lines []line
		shown bool
	}{{b.head, s.head < len(b.head)}, {d.lines, s.cut}, {d.more, d.more != nil}} {
		switch {
		case !part.shown:
		case all == nil:
			all = append(all, part.lines...)
		default:
			all = append(append(all, nil), part.lines...)
		}
	}
	if all == nil { // the terminal is larger by now
		return d.lines
	}
	return all
}
