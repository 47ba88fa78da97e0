package execenv

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"davy/internal/runtimes"
	"davy/internal/sandbox"
	"davy/internal/sandbox/starter"
)

// extensionDir is where a function's layers bring external extensions.
const extensionDir = runtimes.LayerDir + "/extensions"

// extensionsIn lists the programs of external extensions in a function's
// layers, in the order of their names: every file is one, as on AWS.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
func extensionsIn(mounts []sandbox.Mount) []string {
	var paths []string
	for _, m := range mounts {
		if m.Target != runtimes.LayerDir {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(m.Source, "extensions"))
		if err != nil {
			continue // there is no such folder
		}
		for _, e := range entries {
			if !e.IsDir() {
				paths = append(paths, path.Join(extensionDir, e.Name()))
			}
		}
	}
	return paths
}

// States of an extension, in AWS's words.
const (
	stateStarted     = "Started"
	stateRegistered  = "Registered"
	stateReady       = "Ready"
	stateRunning     = "Running"
	stateInitError   = "InitError"
	stateExitError   = "ExitError"
	stateLaunchError = "LaunchError"
)

// Events that an extension can register for.
const (
	eventInvoke   = "INVOKE"
	eventShutdown = "SHUTDOWN"
)

// extension is a participant in the life of an environment besides the
// runtime: a process of its own (external) or a part of the runtime.
type extension struct {
	name     string
	id       string
	process  int // number in the crew; 0: internal
	state    string
	events   []string // registered for, sorted
	errType  string
	inbox    chan []byte // the next event; holds one
	identity uuid.UUID
}

func (x *extension) external() bool { return x.process > 0 }

func (x *extension) wants(event string) bool { return slices.Contains(x.events, event) }

// extensions are all of a runtime's process. Safe for concurrent use.
type extensions struct {
	mu       sync.Mutex
	function Function // for who registers
	closed   bool     // nobody can register any more
	all      []*extension
	fatal    string        // type of the first error that one reported
	changed  chan struct{} // closed at the next change
}

func newExtensions() *extensions { return &extensions{changed: make(chan struct{})} }

// apiError refuses a request to the Extensions or the Telemetry API.
type apiError struct {
	status int
	kind   string
	text   string
}

func forbid(kind, format string, args ...any) *apiError {
	return &apiError{status: 403, kind: kind, text: fmt.Sprintf(format, args...)}
}

func (s *extensions) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// assign tells which function registers its extensions from now on.
func (s *extensions) assign(f Function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.function = f
}

// launch expects external extensions to register; their numbers in the crew
// count from 1.
func (s *extensions) launch(paths []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range paths {
		s.add(path.Base(p), 1+i)
	}
}

func (s *extensions) add(name string, process int) *extension {
	x := &extension{name: name, process: process, state: stateStarted, inbox: make(chan []byte, 1), identity: uuid.New()}
	x.id = x.identity.String()
	s.all = append(s.all, x)
	return x
}

// launchFailed notes why an external extension does not run.
func (s *extensions) launchFailed(process int, errType string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.process == process {
			x.state, x.errType = stateLaunchError, errType
		}
	}
	s.change()
}

func stateError(x *extension, to, who string) *apiError {
	return forbid("Extension.InvalidExtensionState",
		"State transition from %s to %s failed for extension %s. Error: State transition is not allowed", x.state, to, who)
}

// register admits an extension. One whose name is that of no program in the
// folder of the external ones is internal.
func (s *extensions) register(name string, events []string) (*extension, Function, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(x *extension) bool { return x.name == name && x.external() })
	for _, e := range events {
		switch {
		case e == eventShutdown && i < 0:
			return nil, s.function, forbid("Extension.InvalidEventType", "%s: ShutdownEventNotSupportedForInternalExtension", e)
		case e != eventInvoke && e != eventShutdown:
			return nil, s.function, forbid("Extension.InvalidEventType", "%.100s: ErrorInvalidEventType", e)
		}
	}
	var x *extension
	switch {
	case i >= 0:
		if x = s.all[i]; x.state != stateStarted {
			return nil, s.function, stateError(x, stateRegistered, x.name)
		}
	case s.closed:
		return nil, s.function, forbid("Extension.RegistrationClosed", "Extension registration closed already")
	case slices.ContainsFunc(s.all, func(x *extension) bool { return x.name == name }):
		return nil, s.function, forbid("Extension.InvalidExtensionState", "Extension with this name already registered")
	case len(s.all) >= starter.MaxExtensions:
		return nil, s.function, forbid("Extension.TooManyExtensions", "Extension limit (%d) reached", starter.MaxExtensions)
	default:
		x = s.add(name, 0)
	}
	x.events = slices.Compact(slices.Sorted(slices.Values(events)))
	x.state = stateRegistered
	s.change()
	return x, s.function, nil
}

// find returns the extension that a request comes from.
func (s *extensions) find(id uuid.UUID) (*extension, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(x *extension) bool {
		return x.identity == id && x.state != stateStarted && x.state != stateLaunchError
	})
	if i < 0 {
		return nil, false
	}
	return s.all[i], true
}

// ready notes that an extension waits for its next event, which comes through
// its inbox.
func (s *extensions) ready(x *extension) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.state != stateRegistered && x.state != stateRunning {
		return stateError(x, stateReady, x.id)
	}
	x.state = stateReady
	s.change()
	return nil
}

// reported notes an error that an extension tells: stateInitError or
// stateExitError. The first one counts.
func (s *extensions) reported(x *extension, state, errType string) *apiError {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case x.state == state:
		return nil
	case x.state == stateRegistered, state == stateExitError && (x.state == stateReady || x.state == stateRunning):
	default:
		return stateError(x, state, x.id)
	}
	x.state, x.errType = state, errType
	if s.fatal == "" {
		s.fatal = "Extension." + state
	}
	s.change()
	return nil
}

// fatalType is the type of the first error that an extension told of.
func (s *extensions) fatalType() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}

// close ends registration.
func (s *extensions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// count tells how many extensions there are, and how many are internal.
func (s *extensions) count() (all, internal int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if !x.external() {
			internal++
		}
	}
	return len(s.all), internal
}

// invoke gives the event to who registered for it.
func (s *extensions) invoke(event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.state == stateReady && x.wants(eventInvoke) {
			x.give(event)
		}
	}
}

// shutdown gives the event to the external extensions that registered for it,
// and returns the numbers of those that did not.
func (s *extensions) shutdown(event []byte) (others []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, x := range s.all {
		switch {
		case !x.external():
		case x.wants(eventShutdown):
			x.give(event)
		default:
			others = append(others, x.process)
		}
	}
	return others
}

// give replaces an event that nobody has taken.
func (x *extension) give(event []byte) {
	select {
	case <-x.inbox:
	default:
	}
	if x.state == stateReady {
		x.state = stateRunning
	}
	x.inbox <- event
}

// allRegistered tells that every external extension has registered.
func (s *extensions) allRegistered() bool {
	return !slices.ContainsFunc(s.all, func(x *extension) bool { return x.state == stateStarted })
}

// allReady tells that every extension waits for its next event.
func (s *extensions) allReady() bool {
	return !slices.ContainsFunc(s.all, func(x *extension) bool { return x.state != stateReady })
}

// errInterrupted: what was waited for cannot come any more.
var errInterrupted = errors.New("execenv: interrupted")

// await waits until holds is true, which is asked with the lock held. It fails
// with os.ErrDeadlineExceeded or, when interrupt is closed, errInterrupted.
func (s *extensions) await(holds func() bool, interrupt <-chan struct{}, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-interrupt:
			return errInterrupted
		case <-timer.C:
			return os.ErrDeadlineExceeded
		}
	}
}

// settled says whether all wait for their next event.
func (s *extensions) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allReady()
}

// extensionLine is what the log says of an extension after the init phase.
func extensionLine(x extension) string {
	line := fmt.Sprintf("EXTENSION\tName: %s\tState: %s\tEvents: [%s]", x.name, x.state, strings.Join(x.events, ", "))
	if x.errType != "" {
		line += "\tError Type: " + x.errType
	}
	return line + "\n"
}

// snapshot copies what there is to say of each.
func (s *extensions) snapshot() []extension {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []extension
	for _, x := range s.all {
		all = append(all, extension{name: x.name, state: x.state, events: slices.Clone(x.events), errType: x.errType})
	}
	return all
}
