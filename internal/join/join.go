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
	NodeStep        = Step{"node", "1-3", "create the node"}
	CertificateStep = Step{"certificate", "4-5", "send the certificate"}
	UnlockStep      = Step{"unlock", "6-7", "unlock the certificate"}
	RunningStep     = Step{"running", "8", "wait until it runs"}
	ProxyStep       = Step{"proxy", "9", "let it serve browsers"}
)

// Steps are all steps, in their order.
var Steps = []Step{NodeStep, CertificateStep, UnlockStep, RunningStep, ProxyStep}
