# Each target sets up what it needs: a machine with Python >= 3.10, its venv module and pip is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench publish clean

demo: $(VENV)/.demo
	$(BIN)/verticlip demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	$(BIN)/python -m verticlip.benchmarks --out runs/bench.json

# The small models of the package as ORG/<room>-<name>; HF_TOKEN (or hf auth login) has to allow it.
# make publish ORG=acme DRY=1 checks everything and changes nothing.
publish: $(VENV)/.dev
	@test -n "$(ORG)" || { echo "Say where: make publish ORG=name [DRY=1]" >&2; exit 2; }
	$(BIN)/verticlip hub push --packaged "$(ORG)" $(if $(DRY),--dry-run)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("verticlip needs Python 3.10 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp per set of extras: pip runs again only when pyproject.toml changes.
$(VENV)/.demo: $(BIN)/python pyproject.toml
	@test -f $(VENV)/.dev || $(BIN)/python -m pip install --quiet -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[medical,audio,video,urban,ecommerce,liveness,lancedb,qdrant,train,openvino,dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info runs
