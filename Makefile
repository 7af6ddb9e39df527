# The gate and the everyday commands. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help check test

help: ## List the commands.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

check: ## The whole gate without tests: format, lints, docs, dependencies, oldest Rust.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	scripts/dependencies.sh
	scripts/msrv.sh

test: check ## The gate and every test.
	cargo test --workspace --locked
