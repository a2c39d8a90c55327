#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build the CUDA module, run the operator tests on the device, look for
# memory errors and races, train with and without CUDA graphs and over NCCL, measure against the device's own limits.
#
#   scripts/gpu_check.sh                    build, test, sanitize, graphs, nccl, bench
#   STEPS="build test" scripts/gpu_check.sh some of it
#
# Needs nvcc and a Python with torch (CUDA), pybind11, cmake, ninja, setuptools, pytest, pytest-benchmark, hypothesis.
# It installs into a folder of its own and leaves that Python untouched.
#   PYTHON  interpreter (python3)
#   WHEELS  folder with wheels of what that Python lacks, installed without an index (.whl)
#   SITE    where packages go (a fresh temporary folder); with STEPS lacking build, where an earlier run put them
#   OUT     where results go (benchmarks/results)
# Exit status: 0 all is well, 1 something failed, 2 there is no GPU or no nvcc.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Commands run in another folder: relative paths must keep their meaning.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
python=$(absolute "$(command -v "${PYTHON:-python3}")")
wheels=$(absolute "${WHEELS:-$root/.whl}")
site=$(absolute "${SITE:-$(mktemp -d)}")
OUT=$(absolute "${OUT:-$root/benchmarks/results}")
mkdir -p "$site"
export OUT
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
steps=" ${STEPS:-build test sanitize graphs nccl bench} "
failed=()

say() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }

# A failing step does not keep the later ones from running: one visit to a GPU should tell everything.
step() {
  local name=$1
  shift
  case $steps in *" $name "*) ;; *) return 0 ;; esac
  say "$name"
  "$@" || failed+=("$name")
}

if ! "$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)'; then
  echo "no GPU: torch of $python finds no CUDA device, so there is nothing to check here" >&2
  exit 2
fi
if ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
  echo "no nvcc: install the CUDA toolkit or set CUDA_HOME" >&2
  exit 2
fi

# Runs outside the source tree, which would otherwise be imported in place of the package just built.
outside() {
  (cd "$site" && "$@")
}

# `step` takes away set -e inside a function, hence the explicit returns.
build() {
  local pip=("$python" -m pip install --quiet --no-deps --no-compile --upgrade --target "$site")
  local files=("$wheels"/*.whl)
  if [ -e "${files[0]}" ]; then
    "${pip[@]}" --no-index "${files[@]}" || return 1
  fi
  # No isolation and no dependencies: what that Python has is what is tested.
  GMVAE_CUDA=ON "${pip[@]}" --no-build-isolation "$root" || return 1
  outside "$python" -c '
import sys, gmvae_fast as gf
status = gf.native_status()
print(gf.__file__, status, sep="\n")
sys.exit(0 if status.cuda_built and status.cuda_devices else 1)'
}

# The emulation of the kernels (test_cuda_math.py) runs on the host; every other machine does that.
pytest=("$python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -p no:cacheprovider -q
  --ignore "$root/tests/ops/test_cuda_math.py" "$root/tests/ops")

run_tests() {
  outside "${pytest[@]}"
}

# One shape for every kind of row: registers of one thread, lanes of a warp, memory; tiles with a remainder. Dense
# covariances: registers, local memory, a warp.
sanitize() {
  if ! command -v compute-sanitizer >/dev/null; then
    echo "compute-sanitizer is not installed: no check for memory errors and races" >&2
    return 1
  fi
  local cases='cuda and (matches_float64 or values_and_gradients) and (33-10-8 or 257-16-4 or 255-3-2 or 40-2-300)'
  cases="$cases or dense_matches_float64 and (257-5-2 or 129-5-8 or 64-7-16 or 65-3-17 or 33-2-70)"
  local tool status=0
  for tool in memcheck racecheck; do
    say "compute-sanitizer --tool $tool"
    outside compute-sanitizer --tool "$tool" --error-exitcode 1 --report-api-errors no --print-limit 20 \
      --kernel-name kernel_substring=gmvae "${pytest[@]}" -x -k "$cases" || status=1
  done
  return $status
}

graphs() {
  outside "$python" "$root/benchmarks/gpu/graphs.py"
}

# One process exchanges with itself; with two GPUs, two with each other.
nccl() {
  outside "$python" "$root/scripts/nccl_check.py" || return 1
  if [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -ge 2 ]; then
    outside "$python" -m torch.distributed.run --standalone --nproc-per-node 2 "$root/scripts/nccl_check.py" || return 1
  fi
}

bench() {
  outside "$python" "$root/benchmarks/gpu/bench_cuda.py" --out "$OUT"
}

step build build
if [ ${#failed[@]} -gt 0 ]; then
  echo "the build failed: nothing else can run" >&2
  exit 1
fi
step test run_tests
step sanitize sanitize
step graphs graphs
step nccl nccl
step bench bench

if [ ${#failed[@]} -gt 0 ]; then
  say "failed: ${failed[*]}"
  exit 1
fi
say "all steps passed"
