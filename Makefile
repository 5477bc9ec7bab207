# `make help` says what there is. Every target works on a clean clone; `make test` is what continuous integration runs.

FEATURES := --workspace --features courier/simulator
# How many courses of events `make sim` tries, and what `make loadtest` measures.
SEEDS ?= 1000
ARGUMENTS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: ## The inner loop: format, lints, unit tests. Under a minute when warm; installs nothing.
	cargo fmt --all --check
	cargo clippy $(FEATURES) --all-targets --locked -- -D warnings
	cargo test $(FEATURES) --lib --quiet --locked

.PHONY: test
test: tools ## Everything: installs what is missing, then lints, documentation, tests, simulator, browsers.
	./scripts/test

.PHONY: test-django
test-django: tools ## Only the tests of the package in django/, with each version of Django, against the newest build.
	django/tests/run

.PHONY: test-slow
test-slow: ## The tests that take longer than every time: faults with default timeouts, ten minutes of little memory.
	cargo test $(FEATURES) --no-fail-fast --locked -- --ignored

.PHONY: tools
tools: ## Installs only what the tests need and is missing (redis-server, nginx, nchan, Chromium, Node, Python, Django).
	./scripts/install-test-tools

.PHONY: loom
loom: ## Every interleaving of the doorbell protocol between reader and shards.
	RUSTFLAGS="--cfg loom" cargo test --lib --release --target-dir target/loom --locked parking

.PHONY: sim
sim: ## The simulator, optimised, with SEEDS random schedules (make sim SEEDS=1000000).
	SEEDS=$(SEEDS) cargo test --profile sim --features simulator --locked --test simulation whatever -- --nocapture

.PHONY: reference
reference: ## Writes the generated pages under docs/ and the example file from the tables in the code.
	COURIER_WRITE_REFERENCE=1 UPDATE_DOCS=1 cargo test $(FEATURES) --locked --quiet --test reference --test protocol_docs --test access_docs

.PHONY: instructions
instructions: ## Instructions per delivery, connection and heartbeat in user space, and where they go (needs valgrind).
	./scripts/instructions

.PHONY: loadtest
loadtest: ## Measures every scenario beside the peers that are installed, in 15 minutes (or one: make loadtest ARGUMENTS="fanout --help").
ifeq ($(ARGUMENTS),)
	./scripts/loadtest-table
else
	cargo run --release --locked --package loadtest -- $(ARGUMENTS)
endif
