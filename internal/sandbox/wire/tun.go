package wire

import "strings"

// Tuns is the number of "tun:" entries of Listen. What each of them is made of
// (pid1.OpenTun) travels beside a Plan, between the pipe for the exit status
// and the trees of its mounts.
func (c Create) Tuns() int {
	n := 0
	for _, l := range c.Listen {
		if strings.HasPrefix(l, "tun:") {
			n++
		}
	}
	return n
}
