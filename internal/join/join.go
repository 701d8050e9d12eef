// Package join takes a rim node into its site, step by step as the guide does. It has a client of the central node's
// repository service (QRS) and the steps themselves, automatic or with a person's help. It writes no events.
package join

// Step is one step of the join.
type Step struct {
	ID    string
	Guide string // its steps in the guide's numbering
	Title string
}

// The steps, in their order.
var (
	NodeStep        = Step{"node", "1-3", "node created"}
	CertificateStep = Step{"certificate", "4-5", "certificate sent"}
	UnlockStep      = Step{"unlock", "6-7", "certificate unlocked"}
	RunningStep     = Step{"running", "8", "rim running"}
	ProxyStep       = Step{"proxy", "9", "rim serves browsers"}
)

// Steps are all steps, in their order.
var Steps = []Step{NodeStep, CertificateStep, UnlockStep, RunningStep, ProxyStep}
