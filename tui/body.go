package tui

// tone is how a piece of text is drawn. It only helps: words carry what it means.
type tone int

const (
	plain   tone = iota
	dim          // less important
	strong       // a heading, a name
	good         // works, done
	waiting      // under way, or waits for somebody
	bad          // fails
	accent       // what can be chosen or is chosen
)

// span is a piece of text of one tone. It holds no control characters.
type span struct {
	text string
	tone tone
}

// line is a line of the screen. One that is too wide is cut where it is drawn.
type line []span

// body is what a step shows of a run: lines that stay, and below them rows that scroll, of which one is chosen.
type body struct {
	head []line
	rows []row
}

// row is one line of a body.
type row struct {
	id     string // the same whenever the body is made anew, so that the choice stays on it; "" for a row that cannot be chosen
	line   line
	cells  []cell // of a matrix, from left to right: one of them is chosen with the row
	detail detail // what is said of the row below all rows while it is chosen; of a matrix, its cells' details are
}

// cell is a part of a matrix's row.
type cell struct {
	id     string
	at     int // where it begins in the row, in columns
	text   line
	detail detail
}

// detail is what is said of what is chosen.
type detail struct {
	lines []line // already wrapped to the width
	copy  string // the command or text that can be copied from it, "" for none
	more  []line // what enter shows in place of the rows: the flows of a pair, a rule's PowerShell; nil for nothing
}
