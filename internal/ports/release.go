package ports

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Names are the catalogue entries, the oldest first.
func Names() []string {
	var names []string
	for _, r := range catalogue {
		names = append(names, r.Name)
	}
	return names
}

// months are those of release names.
var months = []string{
	"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
}

var (
	numbered = regexp.MustCompile(`^\d{1,3}(\.\d{1,3}){1,3}$`)
	dated    = regexp.MustCompile(`^([a-z]+)-(20\d\d)$`)
	display  = regexp.MustCompile(`(?i)^Qlik Sense (?:(\d{1,3}(?:\.\d{1,3}){1,3})|([a-z]+) (20\d\d))(?: (?:Patch|SR) ?\d+)?$`)
)

// FromDisplayName is the release that an installed product is, by the name under which Windows lists it: may-2021 for
// "Qlik Sense May 2021 Patch 3", 3.2.4 for "Qlik Sense 3.2.4". It is false for any other product. Whether the catalogue
// answers for that release, Lookup tells.
func FromDisplayName(name string) (release string, ok bool) {
	m := display.FindStringSubmatch(strings.Join(strings.Fields(name), " "))
	switch {
	case m == nil:
		return "", false
	case m[1] != "":
		return m[1], true
	}
	release = strings.ToLower(m[2] + "-" + m[3])
	_, ok = when(release)
	if !ok {
		return "", false
	}
	return release, true
}

// when is the month of a release that is named after one, as a number that grows with time.
func when(release string) (int, bool) {
	m := dated.FindStringSubmatch(release)
	if m == nil {
		return 0, false
	}
	month, year := slices.Index(months, m[1]), 0
	fmt.Sscan(m[2], &year)
	return year*12 + month, month >= 0
}

// Lookup finds the entry that answers for a release: the one of that name; 2.x and 3.x for their versions, as 2.2.4; and
// for a release that is named after its month, as may-2021, the newest that is not newer. Capitals do not matter.
func Lookup(release string) (Release, error) {
	asked := strings.ToLower(release)
	entry, ok := entryFor(asked)
	if !ok {
		return Release{}, unknown(release)
	}
	i := slices.IndexFunc(catalogue, func(r Release) bool { return r.Name == entry })
	r := catalogue[i]
	r.For = asked
	if asked != entry {
		r.Sure += "; that it is the same for " + asked + " is assumed"
	}
	return r, nil
}

// Named is Lookup for a release as somebody writes it: by its own name, or by the one that Windows lists it under.
func Named(text string) (Release, error) {
	if name, ok := FromDisplayName(text); ok {
		text = name
	}
	return Lookup(strings.TrimSpace(text))
}

// entryFor is the name of the entry that answers for a release.
func entryFor(release string) (string, bool) {
	if slices.Contains(Names(), release) {
		return release, true
	}
	// There were 2.0 to 2.2 and 3.0 to 3.2.
	if numbered.MatchString(release) && strings.ContainsRune("23", rune(release[0])) && release[1] == '.' && strings.ContainsRune("012", rune(release[2])) &&
		(len(release) == 3 || release[3] == '.') {
		return release[:1] + ".x", true
	}
	asked, ok := when(release)
	newest := ""
	for _, name := range Names() {
		if at, dated := when(name); ok && dated && at <= asked {
			newest = name
		}
	}
	last, _ := when(catalogue[len(catalogue)-1].Name)
	return newest, newest != "" && asked <= last
}

// UnknownRelease is the error for a release that the catalogue does not answer for.
type UnknownRelease struct {
	Release string
	Hint    string // what is close to it, and what there is
}

func (e *UnknownRelease) Error() string {
	return fmt.Sprintf("release %q is not in the port catalogue; %s", e.Release, e.Hint)
}

func unknown(release string) error {
	names := Names()
	monthly := slices.DeleteFunc(Names(), func(name string) bool {
		_, ok := when(name)
		return !ok
	})
	hint := fmt.Sprintf("it has %s, and every month from %s to %s, as may-2021", strings.Join(names, ", "), monthly[0], monthly[len(monthly)-1])
	last := monthly[len(monthly)-1]
	asked, _ := when(strings.ToLower(release))
	newest, _ := when(last)
	if near := near(release); asked > newest {
		hint = fmt.Sprintf("write %s, the newest that is known, and compare with what the servers listen on", last)
	} else if near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	return &UnknownRelease{release, hint}
}

var (
	words  = regexp.MustCompile(`[a-z]+`)
	year   = regexp.MustCompile(`20\d\d`)
	number = regexp.MustCompile(`^\D*([123])(\.|$)`)
)

// near is what somebody may have meant by a release that is not known, "" if nothing is close.
func near(release string) string {
	release = strings.ToLower(release)
	if y := year.FindString(release); y != "" {
		for _, word := range words.FindAllString(release, -1) {
			for _, month := range months {
				name := month + "-" + y
				if _, ok := entryFor(name); ok && len(word) >= 3 && strings.HasPrefix(month, word[:3]) {
					return name
				}
			}
		}
		return ""
	}
	if m := number.FindStringSubmatch(release); m != nil {
		return map[string]string{"1": "1.0.2", "2": "2.x", "3": "3.x"}[m[1]]
	}
	return ""
}
