package tui

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/wizard"
)

// burst is how long after an answer no other is taken: consoles without bracketed paste turn a pasted line end into the
// key enter, and what follows it must not answer what is asked next.
const burst = 100 * time.Millisecond

// How often the screen is drawn anew without anything having happened.
const (
	working = 150 * time.Millisecond
	idling  = time.Second
)

// model is the wizard on a screen. Only Update changes it.
type model struct {
	w      wizard.Wizard
	runner wizard.Runner
	theme  theme
	ctx    context.Context // of actions
	now    func() time.Time
	after  func(time.Duration, tea.Msg) tea.Cmd // a message, once some time has passed
	copy   func(string) tea.Cmd

	width, height int // of the terminal, 0 until they are known

	job      *job // what runs
	asks     []*ask
	stopping bool // the job was told to stop
	stopped  bool // the process was: it ends with the job

	asked    any // what tells the question that the answer below is for from any other
	field    field
	typing   bool  // keys go to the field
	option   int   // of a list, -1 if none is chosen
	failed   error // why the last answer was not taken
	answered time.Time

	step    wizard.Step // what is chosen below is of this step
	chosen  string      // a row's id
	place   int         // where it was, if there is no such row any more
	cell    string      // of a matrix, a cell's id
	column  int         // where it is; -1 if nobody has chosen yet
	top     int         // of a page without rows
	open    bool        // what enter shows of the chosen row
	pageTop int
	help    bool

	pending pending
	notice  string // in the footer, until a key is pressed

	pace  time.Duration // of the ticks that are under way, 0 if none are
	chain int           // the only ticks that count
	turn  int           // of what turns while something runs

	over bool
	err  error // what Run returns
}

// pending is what the next key confirms.
type pending int

const (
	nothing pending = iota
	leaving
	interrupting
)

// tick comes round as long as something on the screen moves by itself.
type tick struct{ chain int }

// stop says that the process is to end.
type stop struct{}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.settle() }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		cmd = m.press(msg)
	case happened:
		cmd = m.happen(msg)
	case tick:
		if msg.chain == m.chain {
			m.pace = 0
			m.turn++
		}
	case stop:
		m.stopped = true
		if m.job == nil {
			m.leave(ErrInterrupted)
		} else {
			m.stop()
		}
	}
	return m, tea.Batch(cmd, m.settle())
}

// settle begins what follows from how things are now: the next action, the next question, the ticks, the end.
func (m *model) settle() tea.Cmd {
	if m.over || m.w.Over() {
		m.over, m.pace = true, 0
		m.chain++
		m.field.reset()
		return tea.Quit
	}
	var begun tea.Cmd
	if a, ok := m.w.Action(); ok && m.job == nil {
		m.job, m.stopping = newJob(m.ctx), false
		begun = tea.Batch(m.job.do(m.runner, a, m.w.Answers()), m.job.wait())
	}
	if s := m.w.Step(); s != m.step {
		m.step, m.chosen, m.cell, m.column, m.place, m.top, m.pageTop, m.open = s, "", "", -1, 0, 0, 0, false
	}
	m.pose()
	return tea.Batch(begun, m.tick())
}

// tick begins ticks of the pace that is needed, unless they are under way. Those of another pace count no more.
func (m *model) tick() tea.Cmd {
	var pace time.Duration
	if _, began := m.began(); began {
		pace = idling
	}
	if m.job != nil {
		pace = working
	}
	if pace == m.pace {
		return nil
	}
	m.pace = pace
	m.chain++
	if pace == 0 {
		return nil
	}
	return m.after(pace, tick{m.chain})
}

// happen takes in what the action said.
func (m *model) happen(msg happened) tea.Cmd {
	if msg.job != m.job {
		return nil
	}
	for _, s := range msg.said {
		switch s := s.(type) {
		case told:
			m.w = m.w.Event(s.event)
		case *ask:
			m.asks = append(m.asks, s)
		case withdrawn:
			m.asks = without(m.asks, s.ask)
		case ended:
			m.w = m.w.Done(s.err)
			m.job, m.asks, m.stopping = nil, nil, false
			if m.stopped {
				m.leave(ErrInterrupted)
			}
			return nil
		}
	}
	return m.job.wait()
}

// stop tells the action to stop. Its end is waited for.
func (m *model) stop() {
	m.stopping = true
	m.job.cancel()
}

// leave ends the program.
func (m *model) leave(err error) { m.over, m.err = true, err }

// question is what is asked: by the action if it asks something, else by the conversation.
func (m *model) question() (wizard.Question, bool) {
	if len(m.asks) > 0 {
		return m.asks[0].question, true
	}
	return m.w.Question()
}

// pose makes ready for the answer if what is asked is not what was asked before.
func (m *model) pose() {
	q, ok := m.question()
	var asked any
	switch {
	case len(m.asks) > 0:
		asked = m.asks[0]
	case ok:
		asked = fmt.Sprint(q.Step, " ", q.ID, " ", q.Of)
	}
	if asked == m.asked {
		return
	}
	m.asked, m.failed = asked, nil
	m.field.reset()
	m.typing = ok && q.Kind != wizard.Choice
	if q.Kind == wizard.Text {
		m.field.set(q.Default, false)
	}
	m.field.secret = q.Kind == wizard.Secret
	m.option = slices.IndexFunc(q.Options, func(o wizard.Option) bool { return o.Name == q.Default })
}

// answer answers what is asked.
func (m *model) answer(text string) {
	now := m.now()
	if since := now.Sub(m.answered); since >= 0 && since < burst {
		return
	}
	m.failed = nil
	if len(m.asks) > 0 {
		a, err := m.asks[0].question.Check(text)
		if err != nil {
			m.failed = err
			return
		}
		m.asks[0].answer <- a
		m.asks = m.asks[1:]
	} else {
		w, err := m.w.Answer(text)
		if err != nil {
			m.failed = err
			return
		}
		m.w = w
	}
	m.field.reset()
	m.answered, m.asked, m.open = now, nil, false
}

// back goes to the question before.
func (m *model) back() {
	m.w = m.w.Back()
	m.asked = nil
}

// press does what a key does.
func (m *model) press(k tea.KeyMsg) tea.Cmd {
	m.notice = ""
	if key.Matches(k, interruptKey().Binding) {
		m.interrupted()
		return nil
	}
	was := m.pending
	m.pending = nothing
	if was == leaving {
		switch {
		case !key.Matches(k, key.NewBinding(key.WithKeys("y"))):
		case m.job != nil: // which asks something: its end is waited for
			m.stopped = true
			m.stop()
		default:
			m.leave(nil)
		}
		return nil
	}
	if m.width < minWidth || m.height < minHeight {
		return nil
	}
	for _, can := range m.parts().keys {
		if key.Matches(k, can.Binding) {
			return can.do()
		}
	}
	if m.typing && !m.help && !m.open {
		for _, can := range m.field.bindings() {
			if key.Matches(k, can.Binding) {
				m.failed = nil
				return can.do()
			}
		}
		if text := k.Runes; len(text) > 0 || k.Type == tea.KeySpace {
			if len(text) == 0 {
				text = []rune{' '}
			}
			m.failed = nil
			m.field.insert(text)
		}
	}
	return nil
}

// interrupted is the first or the second ctrl+c. The first never loses anything.
func (m *model) interrupted() {
	switch {
	case m.job != nil && !m.stopping:
		m.stop()
	case m.job != nil, m.pending == interrupting:
		m.leave(ErrInterrupted)
	default:
		m.pending = interrupting
	}
}

// body is what the step shows of the run. A sign-in shows nothing of it, and a choice of a site none of another's.
func (m *model) body() body { return bodyOf(m.w, m.width-gutter-1, m.now()) }

// choices are the rows that can be chosen.
func (m *model) choices(b body) []int {
	var out []int
	for i, r := range b.rows {
		if r.id != "" {
			out = append(out, i)
		}
	}
	return out
}

// chosenRow is the row that is chosen, -1 if none can be.
func (m *model) chosenRow(b body) int {
	can := m.choices(b)
	if len(can) == 0 {
		return -1
	}
	for _, i := range can {
		if b.rows[i].id == m.chosen {
			return i
		}
	}
	if m.chosen == "" && m.job == nil { // nobody has chosen yet: what is wrong comes first
		for _, i := range can {
			if wrong(b.rows[i].line) || slices.ContainsFunc(b.rows[i].cells, func(c cell) bool { return wrong(c.text) }) {
				return i
			}
		}
	}
	return can[min(m.place, len(can)-1)]
}

// wrong tells whether a line says that something is.
func wrong(l line) bool {
	return slices.ContainsFunc(l, func(s span) bool { return s.tone == bad })
}

// chosenCell is the cell that is chosen in a row of a matrix.
func (m *model) chosenCell(r row) int {
	if i := slices.IndexFunc(r.cells, func(c cell) bool { return c.id == m.cell }); i >= 0 {
		return i
	}
	if m.column >= 0 {
		return min(m.column, len(r.cells)-1)
	}
	if i := slices.IndexFunc(r.cells, func(c cell) bool { return wrong(c.text) }); i >= 0 {
		return i
	}
	return max(0, slices.IndexFunc(r.cells, func(c cell) bool { return c.detail.more != nil }))
}

// chosenDetail is what is said of what is chosen.
func (m *model) chosenDetail(b body) detail {
	i := m.chosenRow(b)
	switch {
	case i < 0:
		return detail{}
	case len(b.rows[i].cells) > 0:
		return b.rows[i].cells[m.chosenCell(b.rows[i])].detail
	}
	return b.rows[i].detail
}

// move chooses the row that is so many further down.
func (m *model) move(b body, by int) {
	can := m.choices(b)
	if r := b.rows[m.chosenRow(b)]; len(r.cells) > 0 {
		m.cell, m.column = "", m.chosenCell(r)
	}
	at := slices.Index(can, m.chosenRow(b))
	m.place = max(0, min(at+by, len(can)-1))
	m.chosen = b.rows[can[m.place]].id
	m.pageTop = 0
}

// across chooses the cell that is so many further right.
func (m *model) across(r row, by int) {
	m.column = max(0, min(m.chosenCell(r)+by, len(r.cells)-1))
	m.cell = r.cells[m.column].id
	m.pageTop = 0
}

// canGoBack tells whether there is a question before this one. What an action asks has none.
func (m *model) canGoBack() bool {
	return m.job == nil && m.w.CanGoBack()
}

// scroll scrolls a page to a line.
func (m *model) scroll(top *int, to int) {
	*top = max(0, to)
	*top = min(*top, m.parts().scroll)
}

// activity says what runs.
func (m *model) activity() line {
	turning := `|/-\`[m.turn%4:][:1]
	stage := m.w.Stage()
	if a, _ := m.w.Action(); stage == "" {
		stage = string(a)
	}
	if m.stopping {
		return line{{" " + turning + " ", waiting}, {"stopping after what is running; ctrl+c again to leave now", waiting}}
	}
	return line{{" " + turning + " ", accent}, {"working: " + printable.Line(stage), plain}}
}
