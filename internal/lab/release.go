package lab

import (
	"fmt"
	"regexp"
	"strings"
)

// release is a release of Qlik Sense in the lab.
type release struct {
	name    string // as the site file has it
	product string // as Windows lists it
	version string // as the repository service tells it

	generation generation
}

var (
	numbered = regexp.MustCompile(`^([23])\.(x|[0-9]+(\.[0-9]+)*)$`)
	monthly  = regexp.MustCompile(`^([a-z])([a-z]+)-(20[0-9]{2})$`)
)

// releaseOf is the release of a name. Which of them there have been the lab does not know.
func releaseOf(name string) (release, error) {
	low := strings.ToLower(name)
	if low == Release {
		return release{name, "Qlik Sense 1.0.2", "1.0.2", guide}, nil
	}
	if m := numbered.FindStringSubmatch(low); m != nil {
		if m[2] == "x" {
			low = map[string]string{"2": "2.2.4", "3": "3.2.4"}[m[1]] // one of them
		}
		return release{name, "Qlik Sense " + low, low, synchronised}, nil
	}
	if m := monthly.FindStringSubmatch(low); m != nil {
		// The version is the example of the documentation (help.qlik.com, "About: Get").
		return release{name, "Qlik Sense " + strings.ToUpper(m[1]) + m[2] + " " + m[3], "12.0.0", shared}, nil
	}
	return release{}, OptionError(fmt.Sprintf("release %q is not one of Qlik Sense's; write 1.0.2, 2.x, 3.x or a month, as may-2021", name))
}
