# The only entry for people and machines. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 5m
BENCH    ?= .
COUNT    ?= 1
SOAKTIME ?= 30m
SEED     ?= 1
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION) -X main.commit=$(COMMIT)

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## a live conference in the browser, without Redis, credentials or a network
	$(GO) run ./cmd/gateway demo

.PHONY: build
build: ## bin/gateway
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/gateway ./cmd/gateway

.PHONY: dist
dist: ## dist/: the binaries of a release for Linux, the same bytes wherever they are built, and their checksums
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' deploy/dist dist

.PHONY: manifests
manifests: ## deploy/k8s, rendered anew from the chart
	cd deploy/check && $(GO) test -count=1 -run TestRendered . -args -update

.PHONY: deps
deps: ## what the tests need beside Go: Redis, Chromium, Node, Prometheus and HAProxy, by apt-get where missing
	@.ci/deps redis-server chromium nodejs npm prometheus haproxy systemd-analyze:systemd update-ca-certificates:ca-certificates

# Tests that bound for how long processes may be silent have the machine to themselves.
TIMED := ./internal/oracle/faults ./internal/rehearse
define go-test
$(GO) test $(1) -count=$(COUNT) $$($(GO) list ./... | grep -vxFf <($(GO) list $(TIMED)))
$(GO) test $(1) -count=$(COUNT) -p 1 $(TIMED)
endef

.PHONY: test
test: deps ## vet and all tests
	$(GO) vet ./...
	$(call go-test)
	$(MAKE) check-deploy

.PHONY: check-deploy
check-deploy: deps ## the tests of deploy/; the first time they compile Helm, which takes minutes
	cd deploy/check && $(GO) tool -n helm >/dev/null && $(GO) vet ./... && $(GO) test -timeout 25m -count=$(COUNT) ./...

.PHONY: race
race: export CGO_ENABLED := 1
race: deps ## all tests under the race detector
	@.ci/deps gcc
	$(call go-test,-race)

.PHONY: faults
faults: deps ## processes under faults for as long as the contract says, its figures as bounds, then a minute of random faults
	$(GO) test -count=1 -v -timeout 20m ./internal/oracle/faults -args -faults.full -faults.conferences 30 -faults.lease 3s

.PHONY: soak
soak: deps ## random faults for SOAKTIME (default 30m); SEED picks others
	$(GO) test -count=1 -v -timeout 0 -run TestMix ./internal/oracle/faults -args -faults.lease 3s -faults.time $(SOAKTIME) -faults.seed $(SEED)

.PHONY: lint
lint: ## golangci-lint, by the rules of .golangci.yml
	$(TOOL) golangci-lint run ./...
	cd deploy/check && $(GO) tool -modfile=../../tools/go.mod golangci-lint run ./...

.PHONY: fmt
fmt: ## rewrite the sources as the linter wants them
	$(TOOL) golangci-lint fmt ./...

.PHONY: vuln
vuln: ## known vulnerabilities in what the code calls
	@.ci/vuln

.PHONY: bench
bench: ## all benchmarks; BENCH=regexp picks some
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem ./...

SCENARIO ?= fanout-1000 fanout-5000 burst many idle slow reconnect flood
RUNS     ?= 5

.PHONY: bench-scale
bench-scale: build ## the table of docs/performance.md; SCENARIO=burst plays one row, RUNS=1 once
	@for s in $(SCENARIO); do taskset -c 1 bin/gateway bench --scenario $$s --core 0 --runs $(RUNS); done

.PHONY: rehearse
rehearse: deps ## a rolling update behind HAProxy with 300 clients: what they notice of it
	$(GO) test -count=1 -v -run TestRehearsal ./internal/rehearse -rehearse.full

.PHONY: fuzz
fuzz: ## every fuzz test, each for FUZZTIME (default 5m)
	@FUZZTIME=$(FUZZTIME) .ci/fuzz

.PHONY: screenshot
screenshot: deps ## docs/demo.png, from the running demo
	@.ci/screenshot

.PHONY: ci
ci: ## all that a change must pass
	$(MAKE) test
	$(MAKE) lint
	$(MAKE) vuln
	$(MAKE) race
