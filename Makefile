# Fovea's task runner. `make demo` and `make test` need nothing but what `prerequisites` and
# `fovea-setup check` check for.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
FOVEA_CACHE ?= $(HOME)/.cache/fovea
export FOVEA_CACHE
# The release of Kubernetes that the tests run on: v1.35, say; by default the newest.
export FOVEA_KUBERNETES := $(or $(KUBERNETES),$(FOVEA_KUBERNETES))
RELEASES := $(sort $(notdir $(wildcard setup/go/kubernetes/v*)))

BUILT := $(or $(CARGO_TARGET_DIR),target)/debug
DEV := $(BUILT)/fovea-dev
SETUP := $(BUILT)/fovea-setup
# Sets the variables with which the runner is built and run: where `fovea-setup` put libtorch.
WITH_TORCH = eval "$$($(SETUP) env)" &&

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

.PHONY: demo
demo: demo-programs ## Caption two pictures, then run until Ctrl-C (ONCE=1: exit after the check; PORT=8000)
	@$(DEV) demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

PYARROW := $(FOVEA_CACHE)/pyarrow-26.0.1
.PHONY: test
test: check-generated lint failpoints build nodes $(PYARROW)/ready ## Set everything up and run every test (KUBERNETES=v1.35)
	@$(WITH_TORCH) PYARROW=$(PYARROW) $(CARGO) test --locked --workspace --no-fail-fast

.PHONY: test-versions
test-versions: ## Run every test on each release of Kubernetes that is supported, the newest last
	@failed=; for release in $(RELEASES); do \
		$(MAKE) --no-print-directory test KUBERNETES=$$release || failed+=" $$release"; \
	done; [ -z "$$failed" ] || { echo "make: tests failed on$$failed" >&2; exit 1; }

# Reads the Parquet files of batches as their users do.
$(PYARROW)/ready:
	@rm -rf $(@D)
	@python3 -m pip install --quiet --disable-pip-version-check --target $(@D) pyarrow==26.0.1
	@touch $@

# What tests with real nodes need; where they cannot run, it says why they are skipped.
.PHONY: nodes
nodes: dev
	@$(DEV) cluster prepare

.PHONY: cluster
cluster: setup dev ## Start a cluster with real nodes in the background (NODES=1 GPUS=2 INGRESS=1 POLICIES=1; CLUSTER=kind or current)
	@$(DEV) cluster up $(if $(CLUSTER),--kind $(CLUSTER)) $(if $(NODES),--nodes $(NODES)) \
		$(if $(GPUS),--gpus $(GPUS)) $(if $(INGRESS),--ingress) $(if $(POLICIES),--network-policies) $(addprefix --image ,$(wildcard $(IMAGES)/*.tar))

.PHONY: cluster-down
cluster-down: dev ## Stop that cluster, and remove what killed clusters left behind
	@$(DEV) cluster down

PROFILE ?= release
IMAGES := $(or $(CARGO_TARGET_DIR),target)/images
.PHONY: images
images: setup dev ## Build container images into target/images (PROFILE=debug TORCH=cuda)
	@$(WITH_TORCH) $(CARGO) build --locked --workspace --bins $(if $(filter release,$(PROFILE)),--release)
	@$(DEV) images --binaries $(or $(CARGO_TARGET_DIR),target)/$(PROFILE) --out $(IMAGES) \
		$(if $(TORCH),--torch $(TORCH)) --revision "$$(git rev-parse HEAD 2>/dev/null || echo unknown)"

RELEASE = $(DEV) release --binaries $(or $(CARGO_TARGET_DIR),target)/$(PROFILE) --out $(or $(CARGO_TARGET_DIR),target) \
	$(addprefix --torch ,$(TORCH)) $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(TRIAL),--trial)
.PHONY: release
release: setup dev ## Build a release into target/release-<version> (REGISTRY=ghcr.io/you; TORCH=cpu PROFILE=debug TRIAL=1)
	@$(RELEASE) --check >/dev/null
	@$(WITH_TORCH) $(CARGO) build --locked --workspace --bins $(if $(filter release,$(PROFILE)),--release)
	@$(RELEASE)

DENY := $(FOVEA_CACHE)/cargo-deny-$(shell sed -n 's/.*CARGO_DENY.*"\(.*\)".*/\1/p' setup/src/versions.rs)/bin/cargo-deny
.PHONY: faults-batch
faults-batch: build ## Kill everything in random order while batches run; each picture has one row (SEEDS=20 PICTURES=20000)
	@$(WITH_TORCH) FOVEA_CAMPAIGN_SEEDS=$(or $(SEEDS),20) FOVEA_CAMPAIGN_PICTURES=$(or $(PICTURES),20000) FOVEA_CAMPAIGN_SECONDS=300 \
		$(CARGO) test --locked --workspace --test faults -- --nocapture each_picture_has_one_row

.PHONY: deny
deny: setup-tool ## Check licences, sources and advisories of the dependencies (OFFLINE=1: no advisories)
	@$(SETUP) --only deny
	@$(DENY) $(if $(OFFLINE),--offline) check licenses bans sources $(if $(OFFLINE),,advisories)

# libFuzzer needs compiler flags that are not stable yet: RUSTC_BOOTSTRAP lets the pinned toolchain
# take them. What is found lies in runner/fuzz/artifacts, the corpus in runner/fuzz/corpus.
SECONDS ?= 1800
.PHONY: fuzz
fuzz: ## Feed damaged pictures to the decoders (SECONDS=1800)
	@command -v cargo-fuzz >/dev/null || { echo "make: cargo-fuzz is missing: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@mkdir -p runner/fuzz/corpus/preprocess
	@cd runner/fuzz && RUSTC_BOOTSTRAP=1 ASAN_OPTIONS=detect_leaks=0 $(CARGO) fuzz run --fuzz-dir . preprocess \
		corpus/preprocess ../tests/golden/pictures/files -- \
		-max_total_time=$(SECONDS) -max_len=20000 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=100

SCHEMATHESIS := $(FOVEA_CACHE)/schemathesis-4.32.5
.PHONY: fuzz-api
fuzz-api: setup dev $(SCHEMATHESIS)/ready ## Test the API against its OpenAPI document with Schemathesis (EXAMPLES=100)
	@SCHEMATHESIS=$(SCHEMATHESIS)/bin/schemathesis $(if $(EXAMPLES),EXAMPLES=$(EXAMPLES)) \
		$(CARGO) test --locked --workspace --test api -- --ignored --nocapture schemathesis

$(SCHEMATHESIS)/ready:
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	@touch $@

.PHONY: test-kueue
test-kueue: build nodes ## Have the real Kueue admit the runners of a pool
	@$(SETUP) --only kueue
	@$(SETUP) --only chart
	@$(WITH_TORCH) $(CARGO) test --locked --workspace --test pools -- --ignored --nocapture kueue

# MinIO is one of the tools that `build` sets up.
STORES ?= minio versitygw seaweedfs ceph-rgw s3proxy s3mock moto
.PHONY: test-stores
test-stores: build failpoints ## Run Fovea on other object stores, measure them, and write docs/src/stores.md (STORES="seaweedfs moto")
	@for store in $(filter-out minio,$(STORES)); do $(SETUP) --only $$store; done
	@$(WITH_TORCH) FOVEA_STORES="$(STORES)" $(CARGO) test --locked --workspace --test stores -- --ignored --nocapture

.PHONY: lint
lint: setup ## Check formatting, and run clippy
	@$(CARGO) fmt --all --check
	@$(WITH_TORCH) $(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# Whole workspaces, not single packages: each selection of packages unifies their dependencies'
# features anew, and would build half of them a second time.
#
# Go builds the tools while Cargo builds the programs: neither needs the other. Cargo does not take
# its number of jobs from this make.
.PHONY: build
build: setup-tool ## Set everything up and build the programs
	@$(MAKE) --no-print-directory -j 2 setup programs

# As `build`, with no more Go programs than the demo starts.
.PHONY: demo-programs
demo-programs: setup-tool
	@$(MAKE) --no-print-directory -j 2 go-tools programs

# A contributor's commands without the runner and libtorch. `--workspace` keeps the features of all.
.PHONY: dev
dev: setup-tool
	@$(CARGO) build --locked --workspace --bin fovea-dev --bin fovea-guard

.PHONY: programs
programs: libtorch
	@$(WITH_TORCH) env -u MAKEFLAGS -u MFLAGS $(CARGO) build --locked --workspace --bins

.PHONY: go-tools
go-tools: setup-tool
	@$(SETUP) --only tools

# All that is linked with it waits for it; the download is done soon after the first Go build began.
.PHONY: libtorch
libtorch: setup-tool
	@$(SETUP) --only libtorch

# The operator with the points at which a test kills it, under a name of its own.
.PHONY: failpoints
failpoints: setup-tool
	@$(CARGO) build --locked --workspace --bin fovea-operator --features fovea-operator/failpoints
	@cp $(BUILT)/fovea-operator $(BUILT)/fovea-operator-failpoints

.PHONY: setup
setup: setup-tool ## Build or fetch the pinned tools into ~/.cache/fovea
	@$(SETUP)

# A second's build: the tool has no dependencies, so this resolves no features and nothing is
# compiled again for the workspace.
.PHONY: setup-tool
setup-tool: prerequisites
	@$(CARGO) build --locked --quiet -p fovea-setup
	@$(SETUP) check

# Only what is needed before `fovea-setup` is built; `fovea-setup check` checks versions, and lists
# everything that is missing.
define need
	@command -v $(1) >/dev/null || { echo "make: $(1) is missing: $(2)" >&2; exit 1; }
endef

.PHONY: prerequisites
prerequisites:
	$(call need,$(CARGO),install Rust with rustup (https://rustup.rs))
	$(call need,cc,install a C and C++ compiler (Debian: apt-get install build-essential))
	$(call need,go,install Go 1.26 or newer (https://go.dev/dl))
	$(call need,python3,install Python 3 with pip (Debian: apt-get install python3 python3-pip))

# PyPI's torch and transformers, 7 GB unpacked: for this target alone.
BENCH_PYTHON := $(FOVEA_CACHE)/bench-venv/bin/python

.PHONY: bench-runner
bench-runner: setup $(FOVEA_CACHE)/bench-venv/ready ## Time the runner against transformers, in turns, at full size (RUNS=10 MODELS="blip-base")
	@$(WITH_TORCH) $(CARGO) build --locked --release -p fovea-runner --example bench --example preprocess_bench
	@$(BENCH_PYTHON) -m models.parity.bench --cache $(FOVEA_CACHE)/bench \
		--runner $(or $(CARGO_TARGET_DIR),target)/release/examples/bench \
		$(if $(RUNS),--runs $(RUNS)) $(if $(MODELS),--models $(MODELS))

API_BENCH_PYTHON := $(FOVEA_CACHE)/bench-api-venv/bin/python

.PHONY: bench-api
bench-api: setup dev $(FOVEA_CACHE)/bench-api-venv/ready ## Time uploads against FastAPI and bare PutObject, weigh waiting clients and jobs (ROUNDS=5 MINUTES=10; BASE=<program>: uploads of two builds)
	@$(SETUP) --only load
	@$(CARGO) build --locked --release -p fovea-api
	@$(WITH_TORCH) $(CARGO) run --locked --quiet -p fovea-tests --example bench_api -- \
		--api $(or $(CARGO_TARGET_DIR),target)/release/fovea-api --python $(API_BENCH_PYTHON) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(BASE),--base $(BASE))

$(FOVEA_CACHE)/bench-api-venv/ready: tests/bench/api/requirements.txt
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

OPERATOR_BENCH_PYTHON := $(FOVEA_CACHE)/bench-operator-venv/bin/python

.PHONY: bench-operator
bench-operator: setup dev $(FOVEA_CACHE)/bench-operator-venv/ready ## Time jobs through custom resources against Celery with Redis, weigh jobs (ROUNDS=5 JOBS=2000 IDLE=10000; RESTARTS=1; BASE=<folder>: two builds, with the API server)
	$(call need,redis-server,install Redis for the peer (Debian: apt-get install redis-server))
	@$(CARGO) build --locked --release -p fovea-operator
	@$(WITH_TORCH) $(CARGO) run --locked --quiet -p fovea-tests --example bench_operator -- \
		--operator $(or $(CARGO_TARGET_DIR),target)/release/fovea-operator --python $(OPERATOR_BENCH_PYTHON) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JOBS),--jobs $(JOBS)) $(if $(IDLE),--idle $(IDLE)) \
		$(if $(RESTARTS),--restarts) $(if $(BASE),--base $(BASE))

BATCH_BENCH_PYTHON := $(FOVEA_CACHE)/bench-batch-venv/bin/python

.PHONY: bench-batch
bench-batch: setup dev $(FOVEA_CACHE)/bench-batch-venv/ready ## Time batches against Celery, single jobs and bare GETs, weigh a million pictures (ROUNDS=3 PICTURES=20000 MILLION=1000000 TO_THE_END=1)
	$(call need,redis-server,install Redis for the peer (Debian: apt-get install redis-server))
	@$(WITH_TORCH) $(CARGO) build --locked --release --workspace --bins --example bench --example bench_batch
	@$(WITH_TORCH) $(or $(CARGO_TARGET_DIR),target)/release/examples/bench_batch --python $(BATCH_BENCH_PYTHON) \
		--forward $(or $(CARGO_TARGET_DIR),target)/release/examples/bench \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PICTURES),--pictures $(PICTURES)) $(if $(MILLION),--million $(MILLION)) $(if $(TO_THE_END),--to-the-end)

$(FOVEA_CACHE)/bench-batch-venv/ready: tests/bench/batch/requirements.txt
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(FOVEA_CACHE)/bench-operator-venv/ready: tests/bench/operator/requirements.txt
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(FOVEA_CACHE)/bench-venv/ready: models/train/requirements.txt
	@rm -rf $(@D) && python3 -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.PHONY: bench-neighbours
bench-neighbours: SECONDS = 20
bench-neighbours: setup dev ## Measure a quiet tenant beside a hostile one for each kind of resource (ROUNDS=1 SECONDS=20 KINDS="waits lists"; BASE=<folder of another build's programs>)
	@$(WITH_TORCH) $(CARGO) build --locked --release --workspace --bins --example bench_neighbours
	@$(WITH_TORCH) $(or $(CARGO_TARGET_DIR),target)/release/examples/bench_neighbours \
		--programs $(or $(CARGO_TARGET_DIR),target)/release --seconds $(SECONDS) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(KINDS),--kinds $(KINDS)) $(if $(BASE),--base $(BASE))

.PHONY: bench-first-day
bench-first-day: ## Time `make demo` from empty caches, another commit and this one in turn (BASE=<commit>; an hour or more)
	@python3 tests/bench/first_day.py $(if $(BASE),--base $(BASE))

.PHONY: bench-pools
bench-pools: setup dev ## Time pools of pods on a real node: from nothing, while they roll; weigh them (root; ROUNDS=5)
	@$(SETUP) --only node
	@$(WITH_TORCH) $(CARGO) build --locked --release -p fovea-operator -p fovea-runner --bins
	@$(WITH_TORCH) $(CARGO) run --locked --quiet -p fovea-tests --example bench_pools -- \
		--binaries $(or $(CARGO_TARGET_DIR),target)/release $(if $(ROUNDS),--rounds $(ROUNDS))

# Kept apart from the tests: these two take minutes to build once.
MDBOOK := $(FOVEA_CACHE)/mdbook-0.5.4
MDBOOK_MERMAID := $(FOVEA_CACHE)/mdbook-mermaid-0.17.1

.PHONY: docs
docs: $(MDBOOK)/bin/mdbook $(MDBOOK_MERMAID)/bin/mdbook-mermaid ## Build the site of docs/ into target/docs
	@$(MDBOOK_MERMAID)/bin/mdbook-mermaid install docs 2>/dev/null
	@PATH="$(MDBOOK_MERMAID)/bin:$$PATH" $(MDBOOK)/bin/mdbook build docs

# With a target folder of their own, which cargo removes.
$(MDBOOK)/bin/mdbook:
	@env -u CARGO_TARGET_DIR $(CARGO) install --quiet --locked --root $(MDBOOK) \
		--no-default-features --features search mdbook@$(MDBOOK:$(FOVEA_CACHE)/mdbook-%=%)

$(MDBOOK_MERMAID)/bin/mdbook-mermaid:
	@env -u CARGO_TARGET_DIR $(CARGO) install --quiet --locked --root $(MDBOOK_MERMAID) \
		mdbook-mermaid@$(MDBOOK_MERMAID:$(FOVEA_CACHE)/mdbook-mermaid-%=%)

.PHONY: bench-cluster
bench-cluster: setup nodes ## Time the chart on a real node: helm install to a caption, uploads through the ingress, weights (root; ROUNDS=5 UPLOADS=1000 FINISHED=10000)
	@$(SETUP) --only chart
	@$(WITH_TORCH) $(CARGO) build --locked --release --workspace --bins --example bench_cluster
	@$(WITH_TORCH) $(or $(CARGO_TARGET_DIR),target)/release/examples/bench_cluster \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(UPLOADS),--uploads $(UPLOADS)) $(if $(FINISHED),--finished $(FINISHED))

.PHONY: generate
generate: build ## Write the generated files (CRDs, chart, plain manifests, OpenAPI, the plots and the reference in docs)
	@$(BUILT)/crdgen
	@$(DEV) chart generate
	@$(BUILT)/openapi
	@$(CARGO) build --locked --workspace --example autoscale
	@$(BUILT)/examples/autoscale
	@$(WITH_TORCH) $(DEV) docs generate

.PHONY: check-generated
check-generated: build ## Fail if a generated file is not current
	@$(BUILT)/crdgen --check
	@$(DEV) chart check
	@$(BUILT)/openapi --check
	@$(WITH_TORCH) $(DEV) docs check
