package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/printable"
	"github.com/qlik-preflight/preflight/internal/site"
)

func (a *app) portsCommand() *cobra.Command {
	var text, file string
	cmd := &cobra.Command{
		Use:   "ports [--release RELEASE | -f site.yaml]",
		Short: "which ports a release needs, and who dials whom",
		Long: `ports shows the port catalogue: its entries; with --release all that one of them has, for a release of its name, a version
as 3.2.4, a month as may-2021 or the name that Windows lists it under; with -f the flows of a site, as a list for whoever filters between its servers.
It asks no server.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			one, all := cmd.Flags().Changed("release"), cmd.Flags().Changed("file")
			switch {
			case one && all:
				return usage("the site file says which release it is about", "--release and -f do not go together")
			case all:
				s, err := readSite(cmd, file)
				if err != nil {
					return err
				}
				v, err := flowsOf(s)
				if err != nil {
					return err
				}
				return a.show(v.text(), v)
			case one:
				name, err := releaseFlag(text)
				if err != nil {
					return err
				}
				r, err := ports.Lookup(name)
				if err != nil {
					return err
				}
				v := releaseOf(r)
				return a.show(v.text(), v)
			}
			v, err := entries()
			if err != nil {
				return err
			}
			return a.show(v.text(), v)
		},
	}
	cmd.Flags().StringVar(&text, "release", "", "show what the catalogue has for this release")
	siteFlag(cmd, &file)
	return cmd
}

// releaseFlag is the catalogue's release that --release means.
func releaseFlag(text string) (string, error) {
	name, err := release(text)
	var mistake *site.Mistake
	if errors.As(err, &mistake) {
		return "", usage(mistake.Hint, "--release: %s", mistake.Text)
	}
	return name, err
}

// portEntries are the entries of the catalogue, as JSON.
type portEntries struct {
	Entries []portEntry `json:"entries"`
}

type portEntry struct {
	Name    string       `json:"name"`
	New     string       `json:"new"` // what is different from the entry before
	Sources []portSource `json:"sources"`
}

type portSource struct {
	What  string `json:"what"`
	Where string `json:"where,omitempty"`
}

func entries() (portEntries, error) {
	var v portEntries
	for _, name := range ports.Names() {
		r, err := ports.Lookup(name)
		if err != nil {
			return v, err
		}
		v.Entries = append(v.Entries, portEntry{r.Name, r.New, sourcesOf(r)})
	}
	return v, nil
}

func sourcesOf(r ports.Release) []portSource {
	var all []portSource
	for _, s := range r.Sources {
		all = append(all, portSource{s.What, s.Where})
	}
	return all
}

func (v portEntries) text() string {
	var b strings.Builder
	rows := [][]string{{"release", "since the one before", "source"}}
	for _, e := range v.Entries {
		rows = append(rows, []string{e.Name, e.New, e.Sources[0].What})
	}
	grid(&b, "", []int{13, 33, 30}, rows)
	b.WriteString("\n")
	para(&b, "", "A version as 3.2.4 is answered by its entry, a month as may-2021 by the newest that is not newer.")
	b.WriteString("preflight ports --release may-2021   all there is on one\npreflight ports -f site.yaml         the flows of a site\n")
	return b.String()
}

// portRelease is what the catalogue has for a release, as JSON.
type portRelease struct {
	Release string       `json:"release"`
	Entry   string       `json:"entry"` // which of the catalogue answers for it
	Sure    string       `json:"sure"`
	Central []portOf     `json:"central"`
	Rim     []portOf     `json:"rim"`
	Notes   []portNote   `json:"notes"`
	Sources []portSource `json:"sources"`
}

type portOf struct {
	Port      uint16   `json:"port"`
	Service   string   `json:"service"`
	Part      string   `json:"part,omitempty"` // what of the service listens, where that is a program of its own
	DialledBy []string `json:"dialled_by"`     // other nodes
	Clients   bool     `json:"clients"`        // browsers too
	Speech    string   `json:"speech"`
	Purpose   string   `json:"purpose"`
	Carried   bool     `json:"carried_over"` // no source for that very release shows it
}

type portNote struct {
	Ports string `json:"ports"`
	Why   string `json:"why"`
}

func releaseOf(r ports.Release) portRelease {
	on := func(role site.Role) []portOf {
		var all []portOf
		for _, p := range r.Of(site.Node{Role: role, Services: site.Services}) {
			v := portOf{
				Port: p.Number, Service: string(p.Service), Part: p.Part.Name, DialledBy: []string{}, Clients: p.Clients,
				Speech: string(p.Speech), Purpose: p.Purpose, Carried: p.Carried,
			}
			for _, d := range p.From {
				v.DialledBy = append(v.DialledBy, d.String())
			}
			all = append(all, v)
		}
		return all
	}
	v := portRelease{Release: r.For, Entry: r.Name, Sure: r.Sure, Central: on(site.Central), Rim: on(site.Rim), Sources: sourcesOf(r)}
	for _, n := range r.Notes {
		v.Notes = append(v.Notes, portNote{n.Ports, n.Why})
	}
	return v
}

func (v portRelease) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "release %s", v.Release)
	if v.Entry != v.Release {
		fmt.Fprintf(&b, ", answered by the entry %s", v.Entry)
	}
	b.WriteString("\n")
	para(&b, "", "how sure: "+v.Sure)
	for _, t := range []struct {
		title string
		all   []portOf
	}{{"the central node", v.Central}, {"a rim node", v.Rim}} {
		fmt.Fprintf(&b, "\n%s listens on, if it runs the service\n", t.title)
		rows := [][]string{{"port", "whose", "dialled by", "for"}}
		for _, p := range t.all {
			rows = append(rows, p.row())
		}
		grid(&b, "  ", []int{4, 20, 20, 28}, rows)
	}
	if carried := v.carried(); len(carried) > 0 {
		b.WriteString("\n")
		para(&b, "", "carried over from other releases, seen in no source for this one: "+strings.Join(carried, " "))
	}
	b.WriteString("\nnot opened, or not as some tables have it\n")
	for _, n := range v.Notes {
		para(&b, "  ", n.Ports+": "+n.Why)
	}
	b.WriteString("\nsources\n")
	for _, s := range v.Sources {
		para(&b, "  ", s.What)
		if s.Where != "" {
			fmt.Fprintf(&b, "    %s\n", s.Where) // an address stays whole
		}
	}
	return b.String()
}

// row is a port in words: its number, whose it is, who dials it, and what for.
func (p portOf) row() []string {
	whose, by := p.Service, p.DialledBy
	if p.Part != "" {
		whose += ", " + p.Part
	}
	if p.Clients {
		by = append(slices.Clone(by), "clients")
	}
	return []string{fmt.Sprint(p.Port), whose, strings.Join(by, ", "), p.Purpose}
}

// carried are the ports that no source for that very release shows.
func (v portRelease) carried() []string {
	var all []string
	for _, p := range slices.Concat(v.Central, v.Rim) {
		if number := fmt.Sprint(p.Port); p.Carried && !slices.Contains(all, number) {
			all = append(all, number)
		}
	}
	slices.Sort(all) // they have as many digits, but for 443
	return all
}

// siteFlows are what the servers of a site, and its clients, have to reach, as JSON.
type siteFlows struct {
	Site    string     `json:"site"`
	Release string     `json:"release"`
	Entry   string     `json:"entry"`
	Flows   []siteFlow `json:"flows"`
	Clients []siteFlow `json:"clients"`
}

type siteFlow struct {
	From     string `json:"from"` // a host, or a network of clients
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	Service  string `json:"service"`
	Why      string `json:"why"`
}

func flowsOf(s site.Site) (siteFlows, error) {
	v := siteFlows{Site: s.Name, Release: s.Release, Flows: []siteFlow{}, Clients: []siteFlow{}}
	r, err := ports.Lookup(s.Release)
	if err != nil {
		return v, err
	}
	all, err := ports.Flows(s)
	if err != nil {
		return v, err
	}
	v.Entry = r.Name
	host := func(name string) string {
		n, _ := s.Node(name)
		return n.Host
	}
	for _, f := range all {
		v.Flows = append(v.Flows, siteFlow{host(f.From), host(f.To), "tcp", f.Port, string(f.Service), f.Why})
	}
	for _, network := range s.Clients {
		from := network.String()
		if network.Bits() == 0 {
			from = "any"
		}
		for _, n := range append([]site.Node{s.Central()}, s.Rims()...) {
			for _, p := range r.Of(n) {
				if p.Clients {
					v.Clients = append(v.Clients, siteFlow{from, n.Host, "tcp", p.Number, string(p.Service), p.Purpose})
				}
			}
		}
	}
	return v, nil
}

func (v siteFlows) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, release %s: what has to be reached, all TCP\n", v.Site, v.Release)
	list := func(all []siteFlow) {
		for i := 0; i < len(all); {
			fmt.Fprintf(&b, "\n%s -> %s\n", all[i].From, all[i].To)
			var rows [][]string
			for first := all[i]; i < len(all) && all[i].From == first.From && all[i].To == first.To; i++ {
				rows = append(rows, []string{fmt.Sprint(all[i].Port), all[i].Service, all[i].Why})
			}
			grid(&b, "  ", []int{4, 10, 60}, rows)
		}
	}
	list(v.Flows)
	list(v.Clients)
	if len(v.Clients) == 0 {
		b.WriteString("\nclients: the site file names no network of browsers\n")
	}
	fmt.Fprintf(&b, "\npreflight ports --release %s   how sure that is, and what is not in it\n", printable.Argument(v.Release))
	return b.String()
}

// grid writes rows in columns of these widths, with what is longer broken between words.
func grid(b *strings.Builder, indent string, widths []int, rows [][]string) {
	for _, row := range rows {
		cells, height := make([][]string, len(row)), 1
		for i, cell := range row {
			cells[i] = fold(cell, widths[i])
			height = max(height, len(cells[i]))
		}
		for h := range height {
			line := indent
			for i := range row {
				text := ""
				if h < len(cells[i]) {
					text = cells[i][h]
				}
				line += text + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text))) + "  "
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

// para writes text in lines of 80 columns, after an indent; the lines after the first are two columns further in if there
// is one.
func para(b *strings.Builder, indent, text string) {
	hanging := indent
	if indent != "" {
		hanging += "  "
	}
	for i, line := range fold(text, 80-len(hanging)) {
		if i > 0 {
			indent = hanging
		}
		b.WriteString(indent + line + "\n")
	}
}

// fold breaks text between words into lines of a width; a word that is longer has one of its own.
func fold(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
