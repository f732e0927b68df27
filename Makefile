# Fovea's task runner. `make demo` and `make test` need nothing but what `prerequisites` checks.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
FOVEA_CACHE ?= $(HOME)/.cache/fovea
export FOVEA_CACHE

# One line, wherever the target folder is.
DEV = $(CARGO) run --quiet --locked -p fovea-dev --
# libtorch as `fovea-dev setup` has put it; every cargo call below sees it.
WITH_TORCH = eval "$$($(DEV) env)" &&

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

.PHONY: demo
demo: prerequisites setup ## Set everything up, caption a picture, stay up till Ctrl-C (ONCE=1: stop after the check)
	@$(WITH_TORCH) $(CARGO) build --locked -p fovea-api -p fovea-operator -p fovea-runner -p fovea-dev
	@$(WITH_TORCH) $(DEV) demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

.PHONY: test
test: prerequisites setup check-generated lint ## Set everything up and run every test
	@$(WITH_TORCH) $(CARGO) build --locked --workspace --bins
	@$(WITH_TORCH) $(CARGO) test --locked --workspace --no-fail-fast

.PHONY: lint
lint: ## Formatting, clippy, licences and advisories' sources
	@$(CARGO) fmt --all --check
	@$(WITH_TORCH) $(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: setup
setup: prerequisites ## Build or fetch the pinned tools into ~/.cache/fovea
	@echo "building fovea-dev, which sets up the rest (some minutes, once)"
	@$(CARGO) build --locked -p fovea-dev
	@$(DEV) setup

.PHONY: prerequisites
prerequisites:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is missing: install Rust with rustup (https://rustup.rs), then try again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing: on Debian, apt-get install build-essential" >&2; exit 1; }

.PHONY: generate
generate: ## Write the generated files (CRDs)
	@$(CARGO) run --quiet --locked -p fovea-crds --bin crdgen

.PHONY: check-generated
check-generated: ## Fail where a generated file is not current
	@$(CARGO) run --quiet --locked -p fovea-crds --bin crdgen -- --check
