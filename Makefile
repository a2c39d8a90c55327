# Set-up and the package's main jobs. Everything happens in .venv; only Python >= 3.11, a C++ compiler and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_INPUTS := pyproject.toml setup.py constraints.txt CMakeLists.txt $(shell find csrc -type f 2>/dev/null)

# Idle OpenMP threads sleep instead of spinning: on shared cores spinning makes small steps many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test setup lint format typecheck bench bench-spectral validate clean

demo: setup  ## simulate, train on three seeds, score, report: demo/channel/report.html
	$(BIN)/gmvae-fast demo

test: setup  ## the test suite
	$(BIN)/python -m pytest

setup: $(VENV)/.ready

# In editable mode: pytest run from the source tree imports it, compiled modules included.
$(VENV)/.ready: $(BUILD_INPUTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,test]"
	touch $@

$(VENV)/.dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/clang-format -i $$(find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

typecheck: $(VENV)/.dev
	$(BIN)/mypy

bench: setup  ## ratios against the alternatives; answers are checked before timing
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only -q -p no:cacheprovider

bench-spectral: setup  ## neighbours, assembly and products of the spectral metric up to N = 1e6: half an hour
	GMVAE_BENCH_N=1000000 $(BIN)/python -m pytest benchmarks/bench_spectral.py --benchmark-enable --benchmark-only -q -p no:cacheprovider

validate: setup  ## the flow solver against the literature
	$(BIN)/gmvae-fast validate wake

clean:
	rm -rf build dist *.egg-info gmvae_fast/_c*.so
