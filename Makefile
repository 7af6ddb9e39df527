# The gate and the everyday commands. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where `make up` listens, how agents reach that, and where it keeps its state: `make up LISTEN=… PUBLIC_URL=…`.
LISTEN ?= 127.0.0.1:18282
PUBLIC_URL ?=
DATA_DIR ?= $(CURDIR)/.turbopanel
TAG ?= turbopanel/agent:latest

# Continuous integration builds once: nothing incremental to keep.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

.PHONY: help build up demo check contract test examples bench image image-test image-gate clean

help: ## List the commands.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build:
	cargo build --workspace --bins --locked

up: build ## Start a control plane with its own agent for this machine's Docker, in the foreground.
	@scripts/engine.sh ensure
	@echo 'In another terminal, first: export PATH=$$PATH:$(CURDIR)/target/debug TURBOPANEL_DATA_DIR=$(DATA_DIR)'
	@exec target/debug/turbopanel serve --listen "$(LISTEN)" --public-url "$(PUBLIC_URL)" --data-dir "$(DATA_DIR)"

demo: build ## Show everything once, on a control plane and an agent of its own; cleans up.
	@scripts/engine.sh image
	@scripts/demo.sh

check: ## The gate without tests: format, lints, docs, dependencies, layers, oldest Rust.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	scripts/dependencies.sh
	cargo test --package turbopanel-agent --test it --locked -- layers:: contract::
	scripts/msrv.sh

contract: ## Take the contract in proto/ as released: from then on it may only grow.
	TURBOPANEL_RELEASE_CONTRACT=1 cargo test --package turbopanel-agent --test it --locked -- contract::

test: check ## The gate, every test, the demo, the README's examples and the image.
	@scripts/engine.sh image
	@scripts/registry.sh ensure
	@scripts/grpcurl.sh >/dev/null
	@scripts/compose.sh >/dev/null
	@scripts/podman.sh >/dev/null
	cargo test --workspace --locked --no-fail-fast
	@$(MAKE) --no-print-directory demo
	@$(MAKE) --no-print-directory examples
	@$(MAKE) --no-print-directory image-gate

# The image's test, where the image can be built; a tag of its own leaves the user's image alone.
image-gate: build
	@if scripts/static.sh target; then \
		$(MAKE) --no-print-directory image-test TAG=turbopanel/agent:test; \
		docker image rm turbopanel/agent:test >/dev/null; \
	else \
		echo 'image-test: NOT CHECKED, since the static binary cannot be built here; the reason stands above.' >&2; \
	fi

examples: build ## Run the examples of README.md as they stand there, on other ports.
	@scripts/engine.sh image
	@scripts/readme.sh

bench: ## Measure against direct gRPC, the engine's socket and docker logs; target/bench/report.json.
	@scripts/engine.sh image
	@scripts/static.sh >/dev/null
	cargo build --release --locked --package turbopanel-control-plane --bin turbopanel
	cargo bench --locked --package turbopanel-bench

image: ## Build the agent's image without a registry, from a static binary built here.
	@scripts/engine.sh ensure
	@scripts/image.sh "$(TAG)"

image-test: build image ## Start that image by the line that `token create` prints, and reach its agent.
	@scripts/image-test.sh "$(TAG)"

clean: ## Remove everything that was built.
	cargo clean
