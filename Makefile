# `make check` is exactly what CI runs.

CHECKS := tool/quality/run_quality_checks.sh
TOOLS = $(shell tool/quality/install_tools.sh --print-bin)
FUZZTIME ?= 60s
SCENARIO ?= drain

.PHONY: help gen fmt lint test test-integration fuzz bench cover check tools

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Build the pinned tools into the cache
	@tool/quality/install_tools.sh

gen: tools ## Generate: queries, the manifest of the schema, the roles' privileges, the list of exported names
	cd db && $(TOOLS)/sqlc generate
	go test ./db -run TestManifest -update
	go test ./db -run TestPrivileges -update
	go test ./tool/quality/guards -run TestAPI -update

fmt: tools ## Format Go and shell
	$(TOOLS)/golangci-lint fmt
	$(TOOLS)/shfmt -w -i 2 .ci/run $$(git ls-files '*.sh')
	go mod tidy

lint: ## The steps format and analyze
	$(CHECKS) --keep-going --only setup --only format --only analyze

test: ## go test -race -shuffle=on, without integration/ and cmd/
	RUN_COVERAGE=0 $(CHECKS) --only unit

test-integration: ## Real Postgres: oldest and newest major
	RUN_COVERAGE=0 $(CHECKS) --only integration

fuzz: ## Run every fuzz target for FUZZTIME (60s)
	@git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed -E 's|^(([^:]*)/)?[^/:]*:func |./\2 |' | \
		while read -r dir name; do \
			echo "$$name in $$dir"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
		done

bench: ## Stem beside River; SCENARIO=drain (the default), several with commas, or all
	cd bench && go run . --scenario $(SCENARIO) --out results

cover: ## Tests with coverage, and the table
	$(CHECKS) --only unit --only integration --only cli --only coverage

check: ## Everything that CI runs
	$(CHECKS)
