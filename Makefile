# Set-up and the package's main jobs. Everything happens in .venv; only Python >= 3.11, a C++ compiler and make are needed.
PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
BENCH_IO_VENV := .venv-bench-io
BIN := $(VENV)/bin
BUILD_INPUTS := pyproject.toml setup.py constraints.txt CMakeLists.txt $(shell find csrc -type f 2>/dev/null)

# Idle OpenMP threads sleep instead of spinning: on shared cores spinning makes small steps many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-vtk setup lint format typecheck bench bench-training bench-training-others bench-io bench-io-well bench-others bench-spectral sanitize validate study clean

demo: setup  ## simulate, train on three seeds, score, report: demo/channel/report.html
	$(BIN)/gmvae-fast demo

test: setup  ## the test suite, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-vtk: setup  ## .vti, .vtr, .vts by VTK itself: half a GB of packages, therefore not in `test`
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[vtk]"
	$(BIN)/python -m pytest tests/data/test_vtk.py

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

BENCH := -m pytest --benchmark-enable --benchmark-only --benchmark-quiet -q -p no:cacheprovider --disable-warnings

bench: setup  ## ratios against the alternatives; answers are checked before timing
	$(BIN)/python $(BENCH) benchmarks/bench_ops.py benchmarks/bench_em.py

bench-io: setup  ## reading each format, warm and cold, with workers; training from files against memory
	$(BIN)/python $(BENCH) benchmarks/bench_io.py benchmarks/bench_io_loaders.py benchmarks/bench_io_training.py

bench-io-well: $(BENCH_IO_VENV)/.ready  ## The Well's layout beside its own dataset class, in an environment of its own
	$(BENCH_IO_VENV)/bin/python $(BENCH) benchmarks/bench_io_loaders.py -k "Well"

# Not in .venv: it pins fsspec.
$(BENCH_IO_VENV)/.ready: $(BUILD_INPUTS)
	test -x $(BENCH_IO_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_IO_VENV)
	$(BENCH_IO_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH_IO_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[bench-io]"
	touch $@

bench-training: setup  ## seconds of a training epoch against plain torch
	$(BIN)/python $(BENCH) benchmarks/bench_training.py

bench-training-others: $(BENCH_VENV)/.ready  ## the same beside ClustPy's VaDE, in an environment of its own
	$(BENCH_VENV)/bin/python $(BENCH) benchmarks/bench_training.py -k clustpy

bench-others: $(BENCH_VENV)/.ready  ## the mixture term beside scvi-tools and ClustPy, in an environment of their own
	$(BENCH_VENV)/bin/python $(BENCH) benchmarks/bench_ops.py -k mixture_kl

# Not in .venv: their requirements are many (2 GB), and what development installs should not depend on them.
$(BENCH_VENV)/.ready: $(BUILD_INPUTS)
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

# The sanitizer's runtime must come first in the process, with the C++ library whose exceptions it watches. torch and
# Python are not instrumented, and keep memory until they end.
RUNTIME = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so)
sanitize: setup  ## operator tests on a CPU module built with AddressSanitizer and UBSan
	GMVAE_BUILD_DIR=build/sanitize GMVAE_CUDA=OFF CMAKE_ARGS=-DGMVAE_SANITIZE=ON \
	  $(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/sanitized .
	LD_PRELOAD="$(RUNTIME)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/sanitized \
	  $(BIN)/python -P -m pytest -q --capture=sys tests/ops tests/training/test_adam.py --deselect tests/ops/test_cuda_math.py

# Up to BENCH_N = 1000000: then the grid of neighbour searches alone takes half an hour.
BENCH_N ?= 200000
bench-spectral: setup  ## the spectral metric against scipy and FAISS; a million latents to scores
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench-spectral]"
	GMVAE_BENCH_N=$(BENCH_N) $(BIN)/python $(BENCH) benchmarks/bench_spectral.py benchmarks/bench_spectral_modes.py
	$(BIN)/python benchmarks/spectral_million.py

study: setup  ## the GM-VAE beside its relatives and baselines: study/all-quick/report.html
	$(BIN)/gmvae-fast study all --profile quick

.PHONY: crash
crash: setup  ## kill -9 at 50 random moments of training, embedding and simulation
	$(BIN)/python scripts/crash_test.py --kills 50

.PHONY: fuzz
fuzz: setup  ## thousands of damaged and hostile files for every reader; the counts go into docs/reliability.md
	$(BIN)/python scripts/fuzz.py --cases 150 --seed 0 --write docs/reliability.md

.PHONY: soak
soak: setup  ## an hour of training, embedding, scoring, saving and loading; memory and open files must stay flat
	nice $(BIN)/python scripts/soak.py --minutes $(SOAK_MINUTES) --csv benchmarks/results/soak.csv --picture docs/pictures/soak.png

SOAK_MINUTES ?= 60

.PHONY: dist check-dist
dist: $(VENV)/.dev  ## source distribution and a wheel of this platform in dist/, checked
	$(BIN)/python scripts/check_dist.py --keep dist

check-dist: $(VENV)/.dev  ## build the source distribution, install from it without the source tree, try it
	$(BIN)/python scripts/check_dist.py

validate: setup  ## the solvers against the literature and exact results
	$(BIN)/gmvae-fast validate wake
	$(BIN)/gmvae-fast validate surface_reaction
	$(BIN)/gmvae-fast validate ignition

clean:
	rm -rf build dist *.egg-info gmvae_fast/_c*.so
