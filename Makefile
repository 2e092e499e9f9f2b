# Every target is one plain command that also works without make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Images set it to stay small; without the cache each process of a test compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test quick check check-forms fuzz cases dashboards schema formats lock sbom bench bench-store soak faults mutants clean

install: $(VENV)/.dev

demo: $(VENV)/.demo  ## replay recorded provider traffic and show what it cost; ARGS=--once ends by itself
	@$(BIN)/tallyspan demo $(ARGS)

test: $(VENV)/.dev  ## the whole test suite, offline
	$(BIN)/pytest -n auto --dist worksteal -q $(ARGS)

quick: $(VENV)/.dev  ## the tests that need no engine, no other process, no browser: under a minute
	$(BIN)/pytest -n auto --dist worksteal -q -m fast $(ARGS)

check: $(VENV)/.dev check-forms  ## format, lint, types, layers, workflows and forms
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

check-forms: $(VENV)/.dev  ## workflows, and forms of issues
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

fuzz: $(VENV)/.dev  ## a minute of inputs nobody has seen, for the decoders and the usage readers
	@$(BIN)/pytest -q -p no:xdist --hypothesis-profile=fuzz tests/collector/test_fuzz.py

dashboards: $(VENV)/.dev  ## write Grafana's dashboards and the console's pages.json anew
	PYTHONPATH=grafana $(BIN)/python -m tallyspan_grafana

schema: $(VENV)/.dev  ## write the first migration, grants and tables of the docs anew from schema.py
	$(BIN)/python -m tallyspan_clickhouse.generate

formats: $(VENV)/.dev  ## write anew what is made of formats, providers and recordings: docs, the demo's data
	$(BIN)/python tests/fixtures/format_files.py

lock:  ## the versions and hashes that the image installs; needs uv
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --upgrade pyproject.toml --extra collector \
		--extra librechat --extra mcp --extra oidc --extra statements --generate-hashes --python-version 3.12 --python-platform linux -o deploy/requirements.txt

sbom:  ## what the collector's image is made of: CycloneDX, on stdout
	@$(PYTHON) scripts/sbom.py

bench: $(VENV)/.created  ## every benchmark, one figure a line; ARGS=instrumentation runs that one
	@$(BIN)/python bench $(ARGS)

bench-store: $(VENV)/.created  ## the store with ROWS calls (default a million): latency, bytes
	@ROWS=$(or $(ROWS),1000000) $(BIN)/python bench store

soak: $(VENV)/.dev  ## every kind of fault under load for MINUTES (default 10): nothing lost, nothing twice; ARGS="--seed 7"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[soak]' || true
	@$(BIN)/python bench/soak.py --minutes $(or $(MINUTES),10) $(ARGS)

cases: $(VENV)/.dev  ## random cases of the properties that need an engine, ten times as many as `make test` tries
	@$(BIN)/pytest -q -n auto --hypothesis-profile=fuzz \
		$$(grep -rl --include='test_*.py' --exclude-dir=node_modules '^from cases import' tests) $(ARGS)

faults: $(VENV)/.dev  ## power loss, failing disk calls, cut connections at every point, and many lives; an hour
	@$(BIN)/pytest -q -n 0 --every-point $(addprefix tests/collector/ingest/test_,power_loss.py io_faults.py \
		cut_connections.py machine.py) $(ARGS)

mutants: $(VENV)/.dev  ## changes in the code that a test must notice; ARGS="--part pricing --mutants 60"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	@PATH="$(BIN):$$PATH" $(BIN)/python bench/mutants.py $(ARGS)

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.created:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip || true  # installs in half the time
	@touch $@

$(VENV)/.demo: $(VENV)/.created pyproject.toml
	@echo "installing (the first time about a minute: an engine of 180 MB comes along)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml
	@echo "installing with the tools for tests"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo
