package launcher

import (
	"davy/internal/sandbox"
	"davy/internal/sandbox/cgroup"
	"davy/internal/sandbox/oci"
)

// ownKernel: the processes of workloads are a runtime's, and its kernel is in
// the control groups.
func (l *launcher) ownKernel() bool { return l.machine != nil && l.machine.Runtime().OwnKernel }

// workloadUsage is a workload's part of what its control group has used.
func (l *launcher) workloadUsage(u sandbox.Usage) sandbox.Usage {
	if l.ownKernel() {
		u.MemoryBytes = max(0, u.MemoryBytes-oci.OverheadMemory)
		u.MemoryPeakBytes = max(0, u.MemoryPeakBytes-oci.OverheadMemory)
	}
	return u
}

// usage is what the workload of a running box has used. b.mu is held.
func (b *box) usage(l *launcher, g *cgroup.Group) (sandbox.Usage, error) {
	u, err := g.Usage()
	if err != nil || l.ownKernel() {
		return l.workloadUsage(u), err
	}
	b.peak = max(b.peak, g.ProcessPeak(u.MemoryPeakBytes))
	u.MemoryPeakBytes = b.peak
	return u, nil
}

// lastUsage is what the workload of a box has used whose processes are dead.
// The kernel has told of the largest; who was killed for its memory had all
// that it may have. b.mu is held.
func (b *box) lastUsage(l *launcher, oomKilled bool) sandbox.Usage {
	u, _ := b.first.group.Usage()
	u = l.workloadUsage(u)
	if b.work == nil || oomKilled || l.ownKernel() {
		return u
	}
	if most := max(b.peak, b.work.peak()); most > 0 {
		u.MemoryPeakBytes = most
	}
	return u
}

// resetPeak starts the peak anew. b.mu is held.
func (b *box) resetPeak(g *cgroup.Group) error {
	b.peak = 0
	g.ForgetPeaks()
	return g.ResetPeak()
}
