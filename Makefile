# One recipe a task; people and checks run the same ones. Checks say `--workspace`: which features dependencies are built with depends on
# what is asked for, and each combination would build them anew. The build directory lies outside the checkout, so that a fresh clone
# finds what an earlier one built.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tollgate/target
CARGO := cargo

.PHONY: demo test setup format lint docs unit e2e generate bench soak fuzz

demo: ## Engine, proxies and a small shop under load: the whole loop on one screen
	$(CARGO) run --release --locked -- demo $(ARGS)

test: setup format lint docs unit ## Everything that has to hold

setup: ## Installs the peers that tests run against, by package name
	@tests/setup.sh

format:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings

docs:
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items

unit: ## Unit, property, SQL-logic and end-to-end tests
	$(CARGO) test --workspace --locked

e2e: setup ## Only the end-to-end scenarios, such as `make e2e ARGS=closed_loop`
	$(CARGO) test --workspace --locked --test e2e -- $(ARGS)

generate: ## Writes what is generated and committed: protobuf code, the vocabulary page and the dashboards
	TOLLGATE_GENERATE=1 $(CARGO) test --locked -p tollgate-api -p tollgate-attributes -p tollgate-dashboards

bench: setup ## Measures beside peers; figures and method in tests/bench/README.md
	tests/bench/run.sh $(ARGS)

soak: ## The property tests of everything that reads outside bytes, and kill -9, with many more cases; hours
	PROPTEST_CASES=100000 TOLLGATE_SEEDS=50000 TOLLGATE_POLICY_CASES=2000000 \
		TOLLGATE_STORE_CASES=5000 \
		$(CARGO) test --release --locked -p tollgate-engine -p tollgate-policies -p tollgate-promql -p tollgate-proxy-client -p tollgate-rollups -p tollgate-store
	TOLLGATE_KILLS=500 $(CARGO) test --release --workspace --locked --test e2e -- storage

fuzz: ## Fuzzes every parser of outside bytes for FUZZ_SECONDS each; needs a C++ compiler, installs cargo-fuzz
	tests/fuzz.sh
