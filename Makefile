# The targets that a newcomer needs; `make help` lists them. Each runs on a fresh
# machine that has Go, make and a shell.

VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   := -s -w -X main.version=$(VERSION)
BIN       := bin/cacheproxy
SUITE     := .tools/conformance
FUZZTIME  ?= 10s
BENCHTIME ?= 1s
BENCH     ?= .
# What `make run` puts itself in front of; empty: the built-in shop.
UPSTREAM  ?=
ARGS      ?=
# What make bench-peers measures; by default all, which it records.
BENCHARGS ?= -cases all -peers all -rounds 5 -seconds 1 -record

.PHONY: help run build test lint generate model model-short scale conformance reload chaos consistency security bench bench-peers profile collector coldkey encodings fuzz cover clean image
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

run: build ## build it and start it in front of the demo shop, or of UPSTREAM=http://...
	$(BIN) serve $(if $(UPSTREAM),--upstream '$(UPSTREAM)',--demo) $(ARGS)

build: ## build the static binary bin/cacheproxy
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/cacheproxy

# What measures allocations, memory, hit ratios and time runs by itself and without
# the race detector: under it sync.Pool forgets at random, and all the rest
# multiplies. The conformance suite measures in whole seconds, so it comes last.
test: $(SUITE)/installed ## install what the tests need and run them all with -race
	test/needs.sh redis-server
	bad=0; \
	go test -race $$(go list ./... | grep -v -e /test/conformance -e /test/bench -e /test/chaos -e /test/consistency -e /test/scale) || bad=1; \
	go test -p 1 -run 'Alloc|RSS|Overhead|HitRatio' $$(go list ./... | grep -v /test/) || bad=1; \
	go test -p 1 -count=1 ./test/bench/... ./test/chaos ./test/consistency ./test/scale || bad=1; \
	go -C examples/library test -race ./... || bad=1; \
	go test -count=1 ./test/conformance || bad=1; \
	exit $$bad

conformance: $(SUITE)/installed ## run the public HTTP cache test suite and our own protocol tests
	go test -count=1 -v ./test/conformance

# npm's integrity hashes in the lock file pin every byte that is installed.
$(SUITE)/installed: test/conformance/package.json test/conformance/package-lock.json test/needs.sh
	test/needs.sh go git gcc node npm curl h2load taskset nginx
	mkdir -p $(SUITE)
	cp test/conformance/package.json test/conformance/package-lock.json $(SUITE)/
	cd $(SUITE) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

reload: ## reload 1,000 times while 64 clients read over all protocols
	CACHEPROXY_RELOADS=1000 go test -count=1 -v -run ReloadUnderLoad ./internal/app

chaos: ## let upstreams and Redis fail under load, and write the tables of docs/reliability.md
	test/needs.sh go haproxy redis-server
	go test -count=1 -v ./test/chaos -phase 5s -record

consistency: ## let instances, Redis and what is between them fail under purges, and check what clients read
	test/needs.sh go redis-server
	go test -count=1 -v -timeout 60m ./test/consistency -operations 200000 -faults 200 -limit 15m -purging 10s -bites

model: ## explore the model of the log with spin, and take out each of its rules
	test/needs.sh gcc spin
	docs/model/check.sh

model-short: ## the same in its smallest sizes, with three of the rules
	test/needs.sh gcc spin
	docs/model/check.sh short

scale: ## measure what one log of purges bears, and write the tables of docs/scale.md
	test/needs.sh go redis-server
	go test -count=1 -v -timeout 60m ./test/scale -full -record

security: ## attack the built binary, at full size: a million distinct queries, 100,000 variants
	CACHEPROXY_SECURITY=full go test -count=1 -v -timeout 60m ./test/security

lint: ## gofmt, go vet, staticcheck, govulncheck
	test/lint.sh

generate: ## write anew what is generated from the code
	go generate ./...

bench: ## run the benchmarks; BENCH=Find BENCHTIME=3s choose which and how long
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) ./...

bench-peers: ## measure it beside other servers, and write docs/benchmarks.md; BENCHARGS chooses what
	test/needs.sh go taskset h2load nginx haproxy varnishd traffic_server redis-server
	go test -count=1 -v -timeout 60m -run Peers ./test/bench $(BENCHARGS)

profile: ## list where the processor's time of a hit goes, as docs/architecture.md shows it
	mkdir -p bin
	go test ./internal/app -run '^$$' -bench HitOverTCP -benchtime 5s -o bin/hit.test -cpuprofile bin/hit.prof
	go tool pprof -top -noinlines -relative_percentages -nodecount 24 -tagignore side=load bin/hit.test bin/hit.prof

collector: ## measure the garbage collector's share with a million entries; less than 2 % on an idle machine
	COLLECTOR_ENTRIES=1000000 go test -count=1 -timeout 20m -v -run Collector ./test/bench

coldkey: ## put 500 clients on one cold key of a slow origin; p99 must be within 320 ms on an idle machine
	COLDKEY_GOAL=320ms go test -count=1 -v -run ColdKey ./test/bench

encodings: ## measure br, zstd and gzip at all levels and write the table of docs/encoding.md
	go test -count=1 -v -run EncodersTable ./proxy -row 2s -record

fuzz: ## run every fuzz target for FUZZTIME=10s
	test/fuzz.sh $(FUZZTIME)

cover: ## measure which code the package tests reach, by function, into bin/cover.html
	mkdir -p bin
	go test -short -coverpkg=./... -coverprofile=bin/cover.out ./...
	go tool cover -html=bin/cover.out -o bin/cover.html
	go tool cover -func=bin/cover.out | tail -n 1

clean: ## remove what was built and installed here
	rm -rf bin .tools

image: ## build the container image cacheproxy:VERSION
	docker build --build-arg VERSION='$(VERSION)' --tag 'cacheproxy:$(VERSION)' .
