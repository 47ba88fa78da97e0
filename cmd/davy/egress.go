package main

import (
	"flag"
	"strings"

	"davy/internal/server"
)

// egressFlags are the settings of what functions may reach.
func egressFlags(fs *flag.FlagSet, e *server.Egress) {
	fs.StringVar(&e.Mode, "egress", "internet", "what functions reach besides the AWS APIs: `internet` (public addresses, not this machine or private networks) or none")
	fs.Var((*list)(&e.Allow), "egress-allow", "`CIDR[:PORT]` of a private network or of this machine that functions reach as well; repeated or separated by commas")
	fs.Var((*list)(&e.Deny), "egress-deny", "`CIDR[:PORT]` that functions do not reach whatever else is said; repeated or separated by commas")
}

// list is a flag that may be given more than once, with commas.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}
