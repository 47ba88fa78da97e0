package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/authz"
	"davy/internal/blob/disk"
	"davy/internal/blob/tree"
	"davy/internal/execenv"
	"davy/internal/gateway"
	"davy/internal/iam"
	"davy/internal/invoke"
	"davy/internal/lambda"
	"davy/internal/logs"
	"davy/internal/metrics"
	"davy/internal/operator"
	"davy/internal/runtimes"
	"davy/internal/s3"
	"davy/internal/sandbox/starter"
	"davy/internal/sigv4"
	"davy/internal/state/sqlite"
)

// awsDomain is what functions with hard-wired endpoints ask for.
const awsDomain = "amazonaws.com"

// parts is a built server: what runs, and what must be closed.
type parts struct {
	gateway *gateway.Gateway
	metrics metrics.Registry

	invoker *invoke.Dispatcher
	runs    []func(context.Context) error
	closes  []func() error // in order of building
}

// background are the functions that work until their context ends.
func (p *parts) background() []func(context.Context) error { return p.runs }

// close closes what was built, last first.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closes) - 1; i >= 0; i-- {
		errs = append(errs, p.closes[i]())
	}
	return errors.Join(errs...)
}

// build makes every part and gives each what it needs. endpoint is the URL
// that clients of this machine use.
func build(ctx context.Context, cfg Config, endpoint string) (_ *parts, err error) {
	p := &parts{}
	p.closes = append(p.closes, cfg.Driver.Close)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	in := func(elem string) string { return filepath.Join(cfg.DataDir, elem) }

	// Storage.
	store, err := sqlite.Open(ctx, sqlite.Config{Dir: cfg.DataDir, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	p.closes = append(p.closes, store.Close)
	reserve := store.Reserve()
	diskMetrics(&p.metrics, reserve, cfg.DataDir)
	logStore, err := sqlite.OpenLogs(ctx, sqlite.LogsConfig{Dir: in(logsDir), Log: cfg.Log, Reserve: reserve})
	if err != nil {
		return nil, fmt.Errorf("open logs: %w", err)
	}
	p.closes = append(p.closes, logStore.Close)
	// Two stores of bytes: each service deletes what it alone knows to be
	// without an owner.
	objects, err := disk.Open(disk.Config{Dir: in(objectsDir), Room: reserve.Room, Full: reserve.Low})
	if err != nil {
		return nil, fmt.Errorf("open objects: %w", err)
	}
	packages, err := disk.Open(disk.Config{Dir: in(packagesDir), Room: reserve.Room, Full: reserve.Low})
	if err != nil {
		return nil, fmt.Errorf("open packages: %w", err)
	}

	// Identity.
	install := installation{dir: cfg.DataDir, lend: reserve.Lend}
	ca, err := install.authority(awsDomain, cfg.Domain)
	if err != nil {
		return nil, err
	}
	identity, err := iam.Open(ctx, iam.Config{Store: store})
	if err != nil {
		return nil, fmt.Errorf("start iam: %w", err)
	}
	rootID, rootSecret, err := identity.Bootstrap(ctx, cfg.Account, cfg.RootAccessKey, cfg.RootSecretKey)
	if err != nil {
		return nil, fmt.Errorf("create the account: %w", err)
	}
	if err := install.clientFiles(rootID, rootSecret, endpoint); err != nil && !install.stale(cfg.Log, err) {
		return nil, err
	}
	policies, tags := &resources{iam: identity}, &objectTags{}
	judge, err := authz.New(authz.Config{Identities: identity, Resources: policies, Objects: tags, Entities: identity, Log: cfg.Log, PerKeyDelete: true})
	if err != nil {
		return nil, fmt.Errorf("start authz: %w", err)
	}

	desk := &operations{iam: identity, authz: judge, install: install, endpoint: endpoint}
	if err := desk.writeProfiles(); err != nil && !install.stale(cfg.Log, err) {
		return nil, err
	}

	// Services.
	triggers := &triggers{authz: judge}
	objectService, err := s3.New(s3.Config{
		Store: store, Blobs: objects, Log: cfg.Log,
		Events: triggers, Destinations: triggers, Policies: bucketPolicies{identity}, Deletes: judge, Lists: judge,
	})
	if err != nil {
		return nil, fmt.Errorf("start s3: %w", err)
	}
	policies.s3, tags.s3 = objectService, objectService

	gate, err := openGate(cfg, &p.metrics)
	if err != nil {
		return nil, fmt.Errorf("open the way out: %w", err)
	}
	var publicCA []byte
	if gate != nil {
		publicCA = publicCAs(publicBundles, cfg.Log)
		p.closes = append(p.closes, gate.Close)
	}
	installed, err := runtimes.New(runtimes.Config{
		Dir: cfg.RuntimesDir, View: cfg.RuntimesView, BootDir: in(bootstrapDir),
		CAPEM: ca.CertificatePEM(), PublicCAs: publicCA, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("open runtimes: %w", err)
	}
	var names []string
	var views []tree.View
	for _, r := range runtimes.All() {
		names = append(names, r.Name)
		if major := strconv.Itoa(r.Major); r.Family == runtimes.NodeJS {
			views = append(views, tree.View{Name: runtimes.ModulesView(major), Mounted: runtimes.LayerDir, Folders: runtimes.LayerModules(major)})
		}
	}
	links, err := lambda.NewCodeLinks()
	if err != nil {
		return nil, fmt.Errorf("make code links: %w", err)
	}
	// Built below, called only by requests.
	var environments *execenv.Environments
	var dispatcher *invoke.Dispatcher
	provisioner := newProvisioner(cfg.Log)
	control, err := lambda.New(lambda.Config{
		State: store, Blobs: packages, Roles: executionRoles{judge}, Principals: identity, Objects: codeBucket{objectService},
		CheckZip: checkZip, CheckLayers: checkLayers, CodeURL: links.URL, Runtimes: names, Concurrency: cfg.Concurrency, Log: cfg.Log,
		Retired:       func(functionARN string) { environments.Retire(functionARN) },
		LimitsChanged: func() { dispatcher.LimitsChanged() },
		Provisioner:   provisioner,
	})
	if err != nil {
		return nil, fmt.Errorf("start lambda: %w", err)
	}
	policies.lambda = control

	logService, err := logs.New(logs.Config{State: store, Logs: logStore, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("start logs: %w", err)
	}
	policies.logs = logService
	sink, err := logs.NewSink(ctx, logs.SinkConfig{Service: logService, Permissions: logPermissions{judge}, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("start log sink: %w", err)
	}
	code, err := tree.Open(tree.Config{Dir: in(codeDir), Load: control.CodeZip, Views: views})
	if err != nil {
		return nil, fmt.Errorf("open code: %w", err)
	}

	// Execution. Environments reach the gateway, which is built last.
	inside := &door{ctx: context.WithoutCancel(ctx)}
	meter := newMeter(&p.metrics)
	var egress execenv.WayOut
	if gate != nil {
		egress = wayOut{gate}
	}
	environments, err = execenv.New(ctx, execenv.Config{
		Driver: cfg.Driver, Runtimes: installed, Code: code, Credentials: sessions{identity},
		Logs: sink, Door: inside, Egress: egress, TrustCA: true, Suffixes: []string{awsDomain},
		Starter:    func() (string, error) { return installed.Program(starter.File) },
		PoolMemory: int64(cfg.PoolMemory) << 20, MemoryReserve: int64(cfg.MemoryReserve) << 20, Observer: meter, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("start environments: %w", err)
	}
	meter.environments(&p.metrics, environments)
	provisioner.functions, provisioner.environments = control, environments
	dispatcher, err = invoke.New(invoke.Config{
		Functions: catalogue{control}, Environments: environments, State: store, Permissions: judge,
		RoleError: isRoleError, Observer: meter, Grace: max(cfg.Drain-5*time.Second, time.Second), Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("start invoke: %w", err)
	}
	triggers.invoke, p.invoker = dispatcher, dispatcher

	// The door.
	verifier, err := sigv4.New(sigv4.Config{Keys: identity})
	if err != nil {
		return nil, err
	}
	p.gateway, err = gateway.New(gateway.Config{
		Backends: []gateway.Backend{
			{Service: iamapi.Service, Select: identity.Select},
			{Service: stsapi.Service, Select: identity.SelectSTS},
			{Service: s3api.Service, Impl: objectService},
			{Service: lambdaapi.Service, Impl: lambdaAPI{control, dispatcher, environments}},
			{Service: logsapi.Service, Impl: logService},
		},
		Verifier: verifier, Authorizer: judge, CA: ca, Pages: map[string]http.Handler{
			lambda.CodePath: links.Handler(control.CodeZip),
			operator.Path: operator.Handler(operator.Config{
				Operations: desk, Verifier: verifier, Operator: desk.isOperator, Log: cfg.Log,
			}),
		}, Used: identity.Used, Domain: cfg.Domain, Version: cfg.Version, Told: isFull, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	inside.gateway = p.gateway

	p.runs = append(p.runs, objectService.Run, control.Run, logService.Run, sweepPackages(packages, control, cfg.Log),
		expectFunctions(control, environments, cfg.Log), provisioner.run)
	// Environments end after the dispatcher has let events finish, and their
	// last lines are written before the log store is closed.
	p.closes = append(p.closes, sink.Close, environments.Close)
	return p, nil
}
