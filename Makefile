# Davy. `make demo` and `make test` are the two commands of the README.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
BUILD   := build
DOWNLOADS := $(BUILD)/downloads
BIN     := bin/davy
TOOL    := $(GO) tool -modfile=tools/go.mod
RUNTIMES := $(BUILD)/runtimes

# What a package's tests may take: only what hangs takes so long, on a slow and
# busy machine too.
PATIENCE ?= 30m

export GOFLAGS += -buildvcs=false

.PHONY: build demo test check gate unit e2e sdk load soak ablation race fuzz bench test-cgroup2 gen setup-demo setup-test setup-ric clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/davy

# The lab, end to end, on an empty data directory.
demo: setup-demo
	$(BIN) demo --runtimes $(RUNTIMES)

# Everything that must hold before a commit lands.
test: setup-test gate unit e2e sdk load

check: gate unit

gate:
	@out=$$($(TOOL) gofumpt -l $$(git ls-files -co --exclude-standard '*.go' | grep -v '\.gen\.go$$')); \
		if [ -n "$$out" ]; then echo "not formatted with gofumpt:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) build -o /dev/null ./cmd/davy && CGO_ENABLED=0 GOARCH=$$arch $(GO) vet ./internal/sandbox/... || exit 1; done

unit:
	DAVY_FETCHED_RUNTIMES=$(abspath $(DOWNLOADS)) $(GO) test -timeout $(PATIENCE) $$($(GO) list ./... | grep -v -e /test/e2e -e /test/load -e /test/fulldisk)

e2e: build
	DAVY_RUNTIMES=$(abspath $(RUNTIMES)) DAVY_CLIENTS=$(abspath $(BUILD)/clients) PATH=$(abspath $(BUILD)/venv/bin):$$PATH $(GO) test -timeout $(PATIENCE) ./test/e2e -count=1

# Real SDK clients live in a module of their own, so that the product does not
# carry their dependencies.
sdk: build
	cd test/sdk && DAVY_RUNTIMES=$(abspath $(RUNTIMES)) DAVY_PYTHON=$(abspath $(BUILD)/venv/bin/python) $(GO) vet ./... && \
	DAVY_RUNTIMES=$(abspath $(RUNTIMES)) DAVY_PYTHON=$(abspath $(BUILD)/venv/bin/python) $(GO) test -timeout $(PATIENCE) ./...

# Real servers under load, also killed in the middle of it: counted afterwards.
load: build
	DAVY_RUNTIMES=$(abspath $(RUNTIMES)) $(GO) test -timeout $(PATIENCE) ./test/load ./test/fulldisk -count=1

# The same load again and again, for SOAK.
SOAK ?= 30m
soak: build
	DAVY_RUNTIMES=$(abspath $(RUNTIMES)) SOAK=$(SOAK) $(GO) test ./test/load -run NothingIsLeft -count=1 -timeout 0 -v

# Takes each check of the refusal scenarios out in turn: a script must miss it.
ablation: setup-test
	DAVY_RUNTIMES=$(abspath $(RUNTIMES)) PATH=$(abspath $(BUILD)/venv/bin):$$PATH $(GO) test -tags ablation -run Ablation -v -count=1 -timeout 30m ./test/e2e

race:
	$(GO) test -race $$($(GO) list ./... | grep -v -e /test/)

# Every fuzz target for FUZZTIME each.
FUZZTIME ?= 10s
fuzz:
	scripts/fuzz $(FUZZTIME)

bench: setup-demo
	scripts/bench $(RUNTIMES)

# The sandbox's tests on a machine with control groups of version 2 alone: a
# guest under software emulation, x86-64 or (GUEST_ARCH=arm64) not; and Davy as a
# service of its systemd. STEPS names some (test/guest/init/plan.go, systemd),
# GUEST_RUNSC a static runsc for the steps of gVisor.
test-cgroup2: setup-demo
	DAVY_GUEST_ARCH=$(GUEST_ARCH) DAVY_GUEST_RUNSC=$(GUEST_RUNSC) scripts/guest $(BUILD) $(STEPS)

# Regenerates api/ from AWS's models; the wheel is pinned and not committed.
gen:
	scripts/generate $(BUILD)

setup-demo: build
	scripts/setup demo $(BUILD)
	$(BIN) runtime add --runtimes $(RUNTIMES) --from $(DOWNLOADS)

setup-test: build
	scripts/setup test $(BUILD)
	$(BIN) runtime add --runtimes $(RUNTIMES) --from $(DOWNLOADS)

# AWS's runtime client for Node.js, for its test: built from source, in minutes.
setup-ric:
	scripts/setup ric $(BUILD)

clean:
	rm -rf bin $(BUILD)
