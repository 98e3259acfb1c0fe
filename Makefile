# make help tells what there is. Only Go, make, gcc and (for what is missing)
# apt as root are taken for granted.

GO ?= go
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Skips become failures: everything must run. Unset to see what a machine lacks.
NO_SKIP ?= 1
# The tools that make the BPF objects, one major: other ones make other bytes.
CLANG := clang-14

.PHONY: help build generate demo test test-unit test-explore test-lab test-e2e test-kernels test-kernels-check test-page test-host incidents example reproducible chaos check lint generated tidy bench bench-parts

help: ## this page
	@echo 'mapgossip keeps eBPF maps the same on any number of hosts.'
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'
	@echo
	@echo 'demo and test boot small emulated machines where this one refuses BPF trampolines. As'
	@echo 'root they install what is missing (qemu-system-x86, bpftool) and fetch Debian kernels'
	@echo 'once, to ~/.cache/mapgossip; they say so first.'

build: ## bin/mapgossip, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/mapgossip ./cmd/mapgossip

demo: ## three hosts with three kernels keep one map the same, before your eyes
	@$(GO) run ./test/cmd/demo

test: test-unit test-lab ## all tests, on this kernel and on others in emulated machines (as root)
	@$(MAKE) --no-print-directory -j2 test-explore test-e2e # the one computes, the other mostly waits

test-unit: # every package under the race detector; map syscalls on this kernel
	MAPGOSSIP_NO_SKIP=$(NO_SKIP) $(GO) test -race ./...

test-explore: # every interleaving that can befall a key, and all seeds and stories, 200 of TestChaos among them
	MAPGOSSIP_EXHAUSTIVE=1 $(GO) test -count=1 -timeout 20m -skip '^TestSimulation$$' .

test-lab: # the emulated machines themselves
	$(GO) test -count=1 -tags lab ./test/lab/... ./test/cmd/labrun

test-e2e: # agents on several hosts, trampolines and packets
	$(GO) test -count=1 -timeout 20m -tags e2e -skip '^TestIncidents$$' ./test

test-page: # the page at / in a headless Chromium; MAPGOSSIP_SCREENSHOTS=DIR keeps what it shows
	@command -v chromium >/dev/null || { echo "installing chromium: needed to test the page"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }
	$(GO) test -count=1 -tags page -run '^TestPage' ./cmd/mapgossip

incidents: ## five things go wrong on three hosts, and are found by status and metrics; writes deploy/INCIDENTS.md
	MAPGOSSIP_TRANSCRIPT=$(CURDIR)/deploy/INCIDENTS.md $(GO) test -count=1 -timeout 20m -tags e2e -run '^TestIncidents$$' ./test

example: build ## a TCP connection outlives its firewall, in network namespaces of this machine (as root)
	@for tool in $(CLANG):$(CLANG) socat:socat bpftool:bpftool ip:iproute2; do \
		command -v $${tool%%:*} >/dev/null || missing="$${missing:-} $${tool##*:}"; done; \
	test -e /usr/include/bpf/bpf_helpers.h || missing="$${missing:-} libbpf-dev"; \
	if [ -n "$${missing:-}" ]; then \
		echo "installing$$missing: needed by the example"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; \
	mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
	CLANG=$(CLANG) examples/conntrack/run.sh bin/mapgossip

test-host: ## the systemd unit and the image on an emulated Debian, with systemd and Podman (as root; fetches some 200 MB of Debian's packages, takes 5 minutes)
	@for tool in debootstrap:debootstrap cpio:cpio qemu-system-x86_64:qemu-system-x86; do \
		command -v $${tool%%:*} >/dev/null || missing="$${missing:-} $${tool##*:}"; done; \
	if [ -n "$${missing:-}" ]; then \
		echo "installing$$missing: needed to make and to run a Debian host"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
	$(GO) test -count=1 -v -timeout 30m -tags host -run '^TestHost' ./test/deploy

reproducible: # two clones in two places, with caches of their own, make one program
	$(GO) test -count=1 -timeout 20m -tags reproducible -run '^TestReproducible$$' ./test/deploy

KERNELS ?= 5.10 6.1 6.12 6.18 newest
test-kernels: ## KERNELS="5.10 6.1 6.12 6.18 newest": every way to change every type of map, races, losses and mapwatch's tests on each, by each kind of preemption; makes the README's table (10 to 20 minutes a kernel)
	$(GO) run ./test/cmd/kernels -kernels "$(KERNELS)"

test-kernels-check: # these kernels do what the table says, and pass the tests
	$(GO) run ./test/cmd/kernels -check -preempt none -kernels "$(KERNELS)"

SEEDS ?= 1000
chaos: ## SEEDS=1000 stories of members that come, go, crash, part and drift; stops at the first that goes wrong and prints it
	MAPGOSSIP_CHAOS=$(SEEDS) $(GO) test -count=1 -timeout 12h -run '^TestChaos$$' .

check: lint tidy generated test ## what CI runs: formatting, vet, generated files, tests, each benchmark once, a small table of figures, two kernels, the page, reproducibility, the example, the demo, the incidents
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...
	$(GO) run ./test/cmd/bench -entries 50000 -run '^(pipe|agents|hot|exchange|join|load|differ|members)$$'
	$(MAKE) test-kernels-check KERNELS='6.1 6.18'
	$(MAKE) test-page reproducible example demo
	MAPGOSSIP_TRANSCRIPT= $(GO) test -count=1 -timeout 20m -tags e2e -run '^TestIncidents$$' ./test

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags guest . ./mapwatch/...
	$(GO) vet -tags lab ./test/lab/... ./test/cmd/labrun
	$(GO) vet -tags e2e ./test
	$(GO) vet -tags page ./cmd/mapgossip
	$(GO) vet -tags reproducible,host ./test/deploy

tidy: # go.mod names what is used, no more
	$(GO) mod tidy -diff

generate: ## make the BPF objects and their Go loaders again, from bpf/
	@for tool in $(CLANG):$(CLANG) llvm-strip-14:llvm-14; do \
		command -v $${tool%%:*} >/dev/null || missing="$${missing:-} $${tool##*:}"; done; \
	test -e /usr/include/bpf/bpf_helpers.h || missing="$${missing:-} libbpf-dev"; \
	if [ -n "$${missing:-}" ]; then \
		echo "installing$$missing: needed to make BPF objects from C"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
	$(GO) generate ./mapwatch ./test/stage ./test/ways

generated: generate # what is committed is what the sources give
	@changed=$$(git status --porcelain -- mapwatch test/stage test/ways/ways_bpfel*); test -z "$$changed" || { echo "generated files differ:"; echo "$$changed"; exit 1; }

bench: ## a table of figures, each beside a yardstick measured in the same run (as root, Linux 6.16)
	$(GO) run ./test/cmd/bench

bench-parts: ## every Go benchmark
	$(GO) test -run '^$$' -bench . ./...
