package main

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// width is how many columns help takes at most: a console of Windows Server has 80.
const width = 80

// help shows what a command is for and how it is typed.
func (a *app) help(cmd *cobra.Command, _ []string) {
	fmt.Fprintf(a.stdout, "%s\n%s", folded(cmp.Or(cmd.Long, cmd.Short)), synopsis(cmd))
}

// synopsis is how a command is typed.
func synopsis(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n\nCommands:\n", cmd.CommandPath())
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s  %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	for _, part := range []struct{ title, flags string }{
		{"Flags", cmd.LocalFlags().FlagUsagesWrapped(width)}, {"Flags of every command", cmd.InheritedFlags().FlagUsagesWrapped(width)},
	} {
		if part.flags != "" {
			// That a flag without a value can be given one goes without saying.
			fmt.Fprintf(&b, "\n%s:\n%s", part.title, strings.ReplaceAll(part.flags, "[=true|false]", strings.Repeat(" ", len("[=true|false]"))))
		}
	}
	return b.String()
}

// folded is a text of Markdown with its paragraphs, list items and tables in lines of that width. What is indented stays as
// it is.
func folded(text string) string {
	var out strings.Builder
	var rows [][]string     // of a table, that are gathered
	block, indent := "", "" // what else is, and how its second line begins
	flush := func() {
		if len(rows) > 0 {
			table(&out, rows)
			rows = nil
		}
		if block != "" {
			lines := fold(block, width-len(indent))
			out.WriteString(strings.Join(lines, "\n"+indent) + "\n")
		}
		block, indent = "", ""
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		item := strings.HasPrefix(line, "* ") || strings.HasPrefix(line, "- ")
		switch {
		case indent != "" && strings.HasPrefix(line, indent), block != "" && line != "" && !item && !strings.ContainsAny(line[:1], " |#"):
			block += " " + strings.TrimSpace(line)
			continue
		}
		if cells := strings.Split(strings.Trim(line, "| "), "|"); strings.HasPrefix(line, "|") {
			for i, cell := range cells {
				cells[i] = strings.TrimSpace(cell)
			}
			rows = append(rows, cells)
			continue
		}
		flush()
		switch {
		case item:
			block, indent = line, "  "
		case line == "", strings.ContainsAny(line[:1], " |#"):
			out.WriteString(line + "\n")
		default:
			block = line
		}
	}
	flush()
	return out.String()
}

// table writes the rows of a table of Markdown: below its head there is a line, then come the others.
func table(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	left := width - 2*len(widths)
	for n, row := range rows {
		for i, cell := range row {
			if n != 1 { // dashes
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, w := range widths {
		left -= w
	}
	for ; left < 0; left++ {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		widths[widest]--
	}
	for i := range rows[0] {
		rows[1][i] = strings.Repeat("-", widths[i])
	}
	grid(b, "  ", widths, rows)
}
