package escape

// onOwnKernel says which rows read otherwise in gVisor, where the workload's
// system calls are answered by a kernel of its own. What gets through gets
// through to that; the host sees a process with a filter that lets it do next
// to nothing.
var onOwnKernel = map[string]differs{
	"new user namespace":          {why: "without the filter it is a namespace of gVisor's kernel, which needs no second layer", second: reached},
	"new user namespace by clone": {why: "as above", second: reached},

	"packet socket":            {why: "gVisor has none unless it is asked for", unshown: true},
	"vsock":                    {why: "gVisor has none", unshown: true},
	"vsock by a wide argument": {why: "gVisor has none", unshown: true},
	"io_uring":                 {why: "gVisor has none", unshown: true},
	"keyctl":                   {why: "gVisor has none", unshown: true},
	"add_key":                  {why: "gVisor has none", unshown: true},
	"userfaultfd":              {why: "gVisor has none", unshown: true},
	"clone3":                   {why: "gVisor's filters know the error EPERM only, which would refuse threads; its namespaces are its own", harmless: true},

	"asynchronous I/O, of which the host has only so much":         {why: "gVisor's own, with a number of its own", harmless: true},
	"a limit of cores that a program of the host's is not held by": {why: "gVisor writes none", harmless: true},
	"BPF by a socket, whose code is charged to nobody":             {why: "gVisor has none", unshown: true},

	"memory of the first process": {why: "the workload is the first process", harmless: true},
	"host's command line":         {why: "it is gVisor's: BOOT_IMAGE=/vmlinuz-4.19.0-gvisor", harmless: true},
	"device node in the code":     {why: "it is gVisor's device of that number", harmless: true},
	"kernel symbols":              {why: "gVisor has none", stopped: "no such file", unshown: true},
	"control group files":         {why: "an empty directory of gVisor's", stopped: "empty", unshown: true},
	"read a host file":            {why: "the gofer opens files below the container's root only, and has no other to be left", unshown: true},
	"host password file":          {why: "as above", unshown: true},
	"fill the root":               {why: "looks at the directory's permissions first; its directories belong to nobody inside", stopped: "permission denied", unshown: true},

	"abstract socket of the host": {why: "abstract sockets are gVisor's own", unshown: true},
	"shared memory of the host":   {why: "IPC is gVisor's own", unshown: true},
	"host's name":                 {why: "the host name is gVisor's own", unshown: true},
	"path of the control group":   {why: "gVisor shows groups of its own", unshown: true},
	"user ids of another sandbox": {why: "gVisor shows a user namespace of its own", unshown: true},
	"fork bomb":                   {why: "the limit counts threads of gVisor's kernel, which ends when it gets none", stopped: anyhow},
}
