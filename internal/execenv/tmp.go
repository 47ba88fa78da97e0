package execenv

import "davy/internal/sandbox"

// leftTmp is what a process of an environment has left in /tmp. The next
// process of this environment finds it there, and no other ever does: the name
// is the environment's own, or that of the spare that became its first process.
//
// Lambda's reset of an environment whose runtime has failed "does not clear the
// /tmp directory content prior to the next init phase".
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
type leftTmp struct {
	name string // Spec.Tmp; empty: nothing is left
	of   sandbox.Sandbox
}

// endKeepingTmp ends the environment's process. The next is one of the
// environment's own, not one of the pool, if this one has left files.
func (e *environment) endKeepingTmp(p *process) {
	p.leavesTmp = true
	p.end()
	e.left = leftTmp{}
	if p.sb.Exit().TmpKept {
		e.left = leftTmp{name: p.tmp, of: p.sb}
	}
}

// dropTmp is for an environment that ends.
func (e *environment) dropTmp() {
	if e.left.name != "" {
		e.left.of.DropTmp()
		e.left = leftTmp{}
	}
}
