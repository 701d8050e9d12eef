package rule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Profile is one of the three kinds of network that Windows tells apart. The numbers are NET_FW_PROFILE_TYPE2's.
type Profile uint8

// The profiles. Zero is no profile, or one not known.
const (
	Domain  Profile = 1
	Private Profile = 2
	Public  Profile = 4
)

func (p Profile) String() string {
	switch p {
	case 0:
		return "unknown"
	case Domain:
		return "Domain"
	case Private:
		return "Private"
	case Public:
		return "Public"
	}
	return fmt.Sprintf("Profile(%d)", uint8(p))
}

// Profiles is a set of profiles. In JSON it is a list of words: ["domain","private"].
type Profiles uint8

// AllProfiles is what a rule without a Profile field is for.
const AllProfiles = Profiles(Domain | Private | Public)

// Has reports whether the set holds p.
func (ps Profiles) Has(p Profile) bool { return ps&Profiles(p) != 0 }

// List gives the profiles of the set in the order Domain, Private, Public.
func (ps Profiles) List() []Profile {
	return slices.DeleteFunc([]Profile{Domain, Private, Public}, func(p Profile) bool { return !ps.Has(p) })
}

// String gives "Domain,Private".
func (ps Profiles) String() string {
	var names []string
	for _, p := range ps.List() {
		names = append(names, p.String())
	}
	return strings.Join(names, ",")
}

// MarshalJSON writes the list of lower-case names.
func (ps Profiles) MarshalJSON() ([]byte, error) {
	names := []string{}
	for _, p := range ps.List() {
		names = append(names, strings.ToLower(p.String()))
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (ps *Profiles) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	*ps = 0
	for _, name := range names {
		p, ok := profileOf(name)
		if !ok {
			return fmt.Errorf("%q is no firewall profile", name)
		}
		*ps |= p
	}
	return nil
}

func profileOf(word string) (Profiles, bool) {
	for _, p := range AllProfiles.List() {
		if strings.EqualFold(word, p.String()) {
			return Profiles(p), true
		}
	}
	return 0, false
}
