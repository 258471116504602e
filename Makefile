# The project's commands. `make help` lists them. All set-up on a bare Debian 12 with Rust, Go and make is part of them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/sbin:/sbin
# Read by the tests; empty = their defaults.
export SCENARIOS SEED SEEDS SHOW TRIES WIDE N IDLE NAMESPACES POLICY KEEP

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: demo
demo: ## Shows the main job on real servers. KEEP=1 leaves everything up and says what to type next
	@e2e/demo.sh

# The servers that tests start are installed and built beside the compilation of the tests: neither waits for the other.
.PHONY: test
test: ## Every test: units, simulation, kube-apiserver, real servers. SCENARIOS=, SEED= for the order scenarios
	@log=$$(mktemp); ( e2e/stack/install.sh && e2e/stack/promtool.sh && e2e/stack/node/build.sh ) >"$$log" 2>&1 & servers=$$!; \
	cargo test --no-run || { kill $$servers 2>/dev/null; exit 1; }; \
	wait $$servers || { cat "$$log" >&2; exit 1; }; rm -f "$$log"
	RUST_TEST_THREADS=4 cargo test --no-fail-fast

.PHONY: simulate
simulate: ## The operator against models of everything. SEEDS=100000 schedules from SEED=1, SHOW=4711 for one, TRIES=1000 to shrink
	cargo bench --bench simulate

.PHONY: bench
bench: ## One table of times and writes against a floor. N=10000 mailboxes, IDLE=60 seconds at rest, NAMESPACES=200 small tenants
	@e2e/stack/install.sh && e2e/stack/controlplane/build.sh >/dev/null
	cargo bench --bench tenants

# Only the tests that write: the others may fail until all is done.
.PHONY: crds
crds: ## Writes crds/, config/rbac/ and what charts/ has of them from src/api/ and config/
	UPDATE=1 cargo test --quiet --test crds --test packaging what_the

.PHONY: image
image: ## Builds the operator's image without Docker into target/mailtenant.tar (10 minutes)
	@config/image/build.sh target/mailtenant.tar

# 15 MB is what it may have at most: it goes to the machine of each person.
.PHONY: plugin
plugin: ## Builds the kubectl plugin into target/dist/kubectl-mailtenant
	cargo build --locked --profile dist --package mailtenant-plugin --bin kubectl-mailtenant
	@size=$$(stat -c %s "$${CARGO_TARGET_DIR:-target}/dist/kubectl-mailtenant"); echo "kubectl-mailtenant: $$size bytes"; [ "$$size" -lt 15000000 ]

.PHONY: docs
docs: ## Writes the generated parts of docs/ anew
	UPDATE=1 cargo test --quiet --test docs what_the

.PHONY: lint
lint: ## Format, clippy, shellcheck, licences and sources of crates, unused dependencies, as CI does
	@.ci/lint

.PHONY: clean-cache
clean-cache: ## Removes the built control plane, node, helm and the tools of `make lint`; the next run builds them again (11 minutes)
	@cache="$${MAILTENANT_CACHE:-$$HOME/.cache/mailtenant}"; rm -rf "$$cache/bin" "$$cache"/*.lock "$$cache/tools"; echo "removed what was built in $$cache"
