# Everything a newcomer needs: `make demo` to see csictl work, `make test` to check it. Both install the Debian packages they
# miss and say so; nothing else is expected but Rust.

SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help demo test bench faults tsan build generate sbom reproducible build-packages test-packages test-tools lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: build-packages ## build the release binary, target/release/csictl
	$(CARGO) build --release --locked

demo: build ## build csictl and run plan, apply, status and destroy of an example on real loop devices
	$(SUDO) scripts/demo target/release/csictl

test: test-packages test-tools ## run everything that checks csictl
	scripts/test

bench: test-packages ## compare csictl with a C program, a shell script and findmnt; how fast the CSI driver is
	$(CARGO) bench --locked --no-run --bench compare --bench lifecycle
	$(SUDO) $$(command -v $(CARGO)) bench --locked --bench compare --bench lifecycle

faults: test-packages ## the long form of the crash tests: every kill point of every command, every effect of the simulated machine
	scripts/test faults

tsan: test-packages ## the executor and a whole apply under the thread sanitizer: builds everything anew, half an hour
	$(SUDO) env "PATH=$$PATH" scripts/tsan

generate: build-packages ## write completions/ and man/ anew
	$(CARGO) build --locked
	scripts/generate target/debug/csictl

sbom: ## write the bill of materials, target/csictl.cdx.json (CycloneDX)
	scripts/sbom >target/csictl.cdx.json

reproducible: build-packages ## build twice in two directories and compare the bytes
	scripts/reproducible

build-packages:
	@scripts/packages build

test-packages:
	@scripts/packages build test

test-tools:
	@scripts/tools

clean: ## remove what was built
	$(CARGO) clean
	rm -rf build
