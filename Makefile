# The commands of the project. `make demo` and `make test` are the two to begin with.

CARGO ?= cargo
# How many random histories `make soak` runs, and how long each fuzz target, in seconds.
RECOUNT_HISTORIES ?= 50000
FUZZ_SECONDS ?= 300
# How many histories it sends through a real broker that is killed; `make test` sends 20.
RECOUNT_KAFKA_ROUNDS ?= 300
# How often it kills the real binary under load, and what decides when; `make test` kills it 20 times.
RECOUNT_KILLS ?= 500
RECOUNT_SEED ?= $(shell date +%s)

# What a build has beside the default, where all of it is tested.
FEATURES = recount-server/kafka,recount-server/object-store
KAFKA = recount-server/kafka,recount-benches/kafka

.PHONY: demo test bench soak lint format fuzz

# The whole story on this machine: a workload, its replay, a table.
demo:
	$(CARGO) run --locked --bin recount -- demo

# Every test, at the sizes that fit a coffee break.
test:
	$(CARGO) test --locked --workspace --features $(FEATURES)

# What the project is measured by, as one table. `make bench ARGS="engine --large"` runs a part.
bench:
	$(CARGO) build --locked --release --bin recount --bin recount-benches --features $(KAFKA)
	target/release/recount-benches $(ARGS)

# What takes too long, or needs what CI can not reach: long histories, fuzzing, the advisory database.
soak: fuzz
	RECOUNT_HISTORIES=$(RECOUNT_HISTORIES) $(CARGO) test --locked --release --package recount-tests
	RECOUNT_KILLS=$(RECOUNT_KILLS) RECOUNT_SEED=$(RECOUNT_SEED) $(CARGO) test --locked --release \
		--package recount-server --features kafka --test kill
	RECOUNT_KAFKA_ROUNDS=$(RECOUNT_KAFKA_ROUNDS) $(CARGO) test --locked --release --package recount-server \
		--features kafka --test kafka_chaos
	.ci/deny check advisories

fuzz:
	.ci/fuzz $(FUZZ_SECONDS)

# Formatting, lints and the dependencies' licences and sources; anything found is an error.
lint:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets --features $(FEATURES),$(KAFKA) -- --deny warnings
	.ci/deny check bans licenses sources

format:
	$(CARGO) fmt --all
