package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qlik-preflight/preflight/internal/facts"
	"github.com/qlik-preflight/preflight/internal/firewall"
)

func rimCertificates(in Input) []Finding {
	site, why := siteRoots(in)
	var out []Finding
	for _, n := range in.Site.Rims() {
		if s, ok := in.Servers[n.Name]; ok {
			f := Finding{Server: n.Name, Expected: "no Qlik Sense root but the one of " + in.Site.Central().Name, Level: facts.Observed}
			if why == "" {
				f.Expected = fmt.Sprintf("no Qlik Sense root but %s of %s", strings.Join(subjects(site), " or "), in.Site.Central().Name)
			}
			out = append(out, certificates(f, s, site, why))
		}
	}
	return out
}

// siteRoots are the roots that the central node trusts, or why that says nothing.
func siteRoots(in Input) (roots []facts.Certificate, why string) {
	central := in.Site.Central().Name
	s, ok := in.Servers[central]
	switch {
	case !ok:
		return nil, central + " was not inspected"
	case !s.Certificates.OK():
		return nil, fmt.Sprintf("the certificates of %s could not be read: %s", central, s.Certificates.Unknown)
	case len(s.Roots()) == 0:
		return nil, central + " trusts no Qlik Sense root itself, as before its first start"
	}
	return distinct(s.Roots()), ""
}

// certificates judges those of one rim, by the roots of the site; why says why those are not known. A certificate of the
// site itself is never among those that the remedy names.
func certificates(f Finding, s facts.Server, site []facts.Certificate, why string) Finding {
	const left = "left over from another site or an earlier join"
	roots := distinct(s.Roots())
	foreign := slices.DeleteFunc(slices.Clone(roots), func(c facts.Certificate) bool { return slices.ContainsFunc(site, same(c)) })
	var strange []facts.Certificate // personal ones that no root of the site signed, as far as names tell
	for _, c := range s.Certificates.V {
		if c.Store == "my" && why == "" && !slices.Contains(subjects(site), c.Issuer) {
			strange = append(strange, c)
		}
	}
	switch {
	case !s.Certificates.OK():
		f.Verdict, f.Seen = Unknown, "the certificates could not be read: "+s.Certificates.Unknown
	case len(s.Certificates.V) == 0:
		f.Verdict, f.Seen = Pass, "no Qlik Sense certificates: ready for the join"
	case len(roots) == 0:
		f.Verdict, f.Seen, f.Cause, f.Owner = Warn, "no Qlik Sense root, but in the Personal store "+describe(s.Certificates.V), "may be "+left, "you"
		f.Remedy = remove(f.Server, strange)
	case why != "":
		f.Verdict, f.Seen = Unknown, fmt.Sprintf("trusts %s; whether that is this site's is not known: %s", describe(roots), why)
	case len(foreign) > 0:
		f.Verdict, f.Seen, f.Cause, f.Owner = Fail, "trusts "+describe(foreign), left, "you"
		signed := slices.DeleteFunc(strange, func(c facts.Certificate) bool { return !slices.Contains(subjects(foreign), c.Issuer) })
		f.Remedy = remove(f.Server, append(foreign, signed...))
	case len(roots) > 1 || len(site) > 1:
		f.Verdict, f.Seen = Unknown, "more than one root is trusted, here or on the central node; which is the site's is not known: "+describe(distinct(slices.Concat(roots, site)))
		f.Remedy = "preflight explain rim.certificates"
	case len(strange) > 0:
		f.Verdict, f.Seen, f.Cause, f.Owner = Warn, "trusts this site's root, but in the Personal store another signed "+describe(strange), "may be "+left, "you"
		f.Remedy = remove(f.Server, strange)
	default:
		f.Verdict, f.Seen = Pass, "trusts this site's root"
	}
	return f
}

// remove is what to type to see, and then to remove, certificates. Nothing but their thumbprints names them.
func remove(server string, all []facts.Certificate) string {
	if len(all) == 0 {
		return "preflight explain rim.certificates"
	}
	var thumbprints []string
	for _, c := range all {
		thumbprints = append(thumbprints, c.Thumbprint)
	}
	return fmt.Sprintf(`on %s list them: Get-ChildItem Cert:\LocalMachine\Root, Cert:\LocalMachine\My | Where-Object Thumbprint -in %s; `+
		"if they are not this site's, remove them as preflight explain rim.certificates says", server, firewall.Quote(thumbprints...))
}

func describe(all []facts.Certificate) string {
	var out []string
	for _, c := range all {
		out = append(out, fmt.Sprintf("%s (thumbprint %s, until %s)", c.Subject, c.Thumbprint, c.NotAfter.Format("2006-01-02")))
	}
	return strings.Join(out, ", ")
}

func subjects(all []facts.Certificate) []string {
	var out []string
	for _, c := range all {
		out = appendNew(out, c.Subject)
	}
	return out
}

// same compares certificates by what they are, not by name.
func same(c facts.Certificate) func(facts.Certificate) bool {
	return func(o facts.Certificate) bool { return o.Thumbprint == c.Thumbprint }
}

// distinct leaves out what stands there twice: Windows shows one store for several places.
func distinct(all []facts.Certificate) []facts.Certificate {
	var out []facts.Certificate
	for _, c := range all {
		if !slices.ContainsFunc(out, same(c)) {
			out = append(out, c)
		}
	}
	return out
}
