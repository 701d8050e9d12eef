package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/qlik-preflight/preflight/internal/lab"
	"github.com/qlik-preflight/preflight/internal/ports"
	"github.com/qlik-preflight/preflight/internal/proof"
	"github.com/qlik-preflight/preflight/internal/record"
)

var updatePorts = flag.Bool("update-ports", false, "write docs/ports.md and the goldens of ports anew")

// same: a text is that of a file, which -update-ports writes anew.
func same(t *testing.T, path, text string) {
	t.Helper()
	if *updatePorts {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(old) != text {
		t.Errorf("%s is not what the catalogue says; go test ./cmd/preflight -run TestPorts -update-ports writes it anew:\n%s", path, text)
	}
}

// TestPorts: what the command shows fits on a screen, and is as it was.
func TestPorts(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"entries": {}, "1.0.2": {"--release", "1.0.2"}, "3.1": {"--release", "3.1"}, "may-2021": {"--release", "May-2021"}, "november-2025": {"--release", "november-2025"},
		"site": {"-f", "testdata/ports/site.yaml"}, "site-1.0.2": {"-f", "testdata/ports/guide.yaml"},
	} {
		o := preflight(t, "", append([]string{"ports"}, args...)...)
		if o.code != 0 || o.stderr != "" {
			t.Fatalf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
		for line := range strings.Lines(o.stdout) {
			if address := strings.HasPrefix(line, "    ") && (strings.Contains(line, "https://") || strings.Contains(line, "github.com/")); utf8.RuneCountInString(line) > 81 && !address {
				t.Errorf("%s: a line of %d: %s", name, utf8.RuneCountInString(line)-1, line)
			}
		}
		same(t, filepath.Join("testdata/ports", name+".txt"), o.stdout)
		var v any
		if o = preflight(t, "", append([]string{"ports", "-o", "json"}, args...)...); json.Unmarshal([]byte(o.stdout), &v) != nil || strings.Contains(o.stdout, "null") {
			t.Errorf("%s: %s", name, o.stdout)
		}
		if o = preflight(t, "", append([]string{"ports", "-o", "jsonl"}, args...)...); strings.Count(o.stdout, "\n") != 1 {
			t.Errorf("%s: %s", name, o.stdout)
		}
	}
}

// TestPortsPage: docs/ports.md is the catalogue.
func TestPortsPage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("# Ports\n\n" +
		"The port catalogue, written out by `go test ./cmd/preflight -run TestPortsPage -update-ports`; `preflight ports` shows the same. All ports\n" +
		"are TCP and inbound. A node needs those of the services that it runs. *Clients* are the networks of people's browsers, as the site file\n" +
		"names them. A port marked *carried over* is in no source for that very release, but in those before or after it.\n\n" +
		"A version is answered by its entry, 3.2.4 by 3.x. A month is answered by the newest entry that is not newer.\n\n" +
		"| release | since the one before |\n|---|---|\n")
	var all []portRelease
	for _, name := range ports.Names() {
		r, err := ports.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, releaseOf(r))
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", name, strings.ReplaceAll(name, ".", ""), r.New)
	}
	for i, v := range all {
		fmt.Fprintf(&b, "\n## %s\n\nHow sure: %s.\n", v.Release, v.Sure)
		same := slices.IndexFunc(all, func(o portRelease) bool { return fmt.Sprint(o.Central, o.Rim) == fmt.Sprint(v.Central, v.Rim) })
		if same < i {
			fmt.Fprintf(&b, "\nThe ports are those of [%s](#%[1]s).\n", all[same].Release)
		} else {
			v.page(&b, "Central node", v.Central)
			v.page(&b, "Rim node", v.Rim)
		}
		b.WriteString("\nNot opened, or not as some tables have it:\n\n")
		for _, n := range v.Notes {
			fmt.Fprintf(&b, "* **%s**: %s\n", n.Ports, n.Why)
		}
		b.WriteString("\nSources:\n\n")
		for _, s := range v.Sources {
			fmt.Fprintf(&b, "* %s", s.What)
			if s.Where != "" {
				fmt.Fprintf(&b, ": %s", s.Where)
			}
			b.WriteString("\n")
		}
	}
	same(t, "../../docs/ports.md", b.String())
}

// page writes the ports of a role as a table.
func (v portRelease) page(b *strings.Builder, title string, all []portOf) {
	fmt.Fprintf(b, "\n**%s**\n\n| port | whose | dialled by | for |\n|---|---|---|---|\n", title)
	for _, p := range all {
		row := p.row()
		if p.Carried {
			row[3] += " (carried over)"
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// TestReleases: a site of another release goes the whole way, also where rims dial rims and one service says nothing.
func TestReleases(t *testing.T) {
	t.Parallel()
	for release, flows := range map[string]int{"november-2025": 44, "2.x": 28, "3.1": 30} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			s := newLab(t, lab.Options{Rims: 2, Release: release})
			run, _ := s.journey(t)
			if want := (record.Flows{Total: flows, Proven: flows}); s.last(t).Verdict.Flows != want {
				t.Errorf("after the apply %+v, want %+v", s.last(t).Verdict.Flows, want)
			}
			first := s.join(t, 0, run, "qs-rim2")
			says(t, flowed(first.stdout), "joined: qs-rim2 is running")
			if half := s.last(t); !half.Verdict.Complete || half.Verdict.Flows.Proven != flows {
				t.Errorf("after the first join %+v", half.Verdict)
			}
			for _, p := range s.last(t).Proofs {
				if p.Phase == proof.CloseOut && (p.Verdict != proof.Service || p.Level != "proven") {
					t.Errorf("%s is %s: %s", p.ID, p.Verdict, p.Seen)
				}
			}
			if strings.Contains(flowed(first.stdout), "not tested; ") {
				t.Errorf("flows that wait for the other rim are held against this one: %s", first.stdout)
			}
			second := s.join(t, 0, run, "qs-rim1")
			says(t, flowed(second.stdout), "joined: qs-rim1 is running")
			checkPhases(t, s.last(t), proof.CloseOut)
			for _, f := range s.last(t).Findings {
				if f.Verdict != "pass" {
					t.Errorf("%s of %s: %s, %s", f.Check, f.Server, f.Verdict, f.Seen)
				}
			}
			if database := slices.ContainsFunc(s.last(t).Proofs, func(p proof.Proof) bool {
				return p.Phase == proof.CloseOut && p.Port == 4432 && p.Target.Owner == "postgres"
			}); database != strings.Contains(release, "-") {
				t.Errorf("the database was proven: %v", database)
			}
		})
	}
}
