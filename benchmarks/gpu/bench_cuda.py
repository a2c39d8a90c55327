"""mixture_kl forward + backward and mixture_statistics on a GPU: against plain torch and the device's own limits.

    python benchmarks/gpu/bench_cuda.py [--rows 1000000] [--out FOLDER]

Every contender first reproduces float64 values and gradients on a sample of rows. Times are medians over replays of a
CUDA graph that walks over several input sets, together larger than the second-level cache, so that neither launch
overhead nor a warm cache flatters anyone; "eager" is the same work launched from Python. Ceilings are measured: a large
copy, and a float32 matrix product without TF32. The floor of the work is the larger of

    bytes  (4 N D + 2 N) * 4: mean, log_var and upstream gradient read once, kl and two gradients written once
    FLOPs  9 N K D: difference, two multiply-adds (energy); product, multiply-add, sum (gradients)

and the share is floor / time. For the kernel alone (values and unit gradients) the bytes are (4 N D + N) * 4. Dense
covariances (one Cholesky factor per component) move the same bytes with N K (2 D^2 + 9 D) FLOPs: whitening and its
transpose take D (D + 1) each. Statistics take 12 N K D FLOPs, dense ones N K (2 D^2 + 12 D).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gmvae_fast as gf

# Run as a script, from any folder: only its own is on the path. Appended, so that nothing here hides a package.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from forms import gemm_form, gemm_statistics

SAMPLE = 4096  # rows compared with float64
TOLERANCE = 2e-5  # of the largest value, float32 against float64
EXPANDED_TOLERANCE = 1e-3  # the expanded forms cancel; they are competitors, not standards
CACHE_FACTOR = 4
#: one Python object per input set: mean, log_var, upstream gradient, log_weights, means, log_vars or Cholesky factors
Inputs = list[Tensor]
Step = Callable[[Inputs], Any]


def dense_energies(mean: Tensor, log_var: Tensor, means: Tensor, cholesky: Tensor) -> tuple[Tensor, Tensor]:
    """Energies [N, K] and log determinants [K] by one matrix product with all whitening factors."""
    (k, d), eye = means.shape, torch.eye(means.shape[1], device=means.device, dtype=means.dtype)
    whitening = torch.linalg.solve_triangular(cholesky, eye, upper=False)
    centres = (whitening @ means[:, :, None])[..., 0]
    white = (mean @ whitening.reshape(k * d, d).T).view(-1, k, d) - centres
    energy = log_var.exp() @ whitening.square().sum(1).T + white.square().sum(2)
    return energy, 2 * cholesky.diagonal(dim1=1, dim2=2).log().sum(1)


def dense_gemm_form(mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, cholesky: Tensor) -> Tensor:
    """`gemm_form` for Cholesky factors [K, D, D]; keeps an [N, K, D] array."""
    energy, log_det = dense_energies(mean, log_var, means, cholesky)
    kl = 0.5 * (energy + log_det - log_var.sum(1, keepdim=True) - mean.shape[1])
    return -torch.logsumexp(log_weights - kl, 1)


def dense_gemm_statistics(
    mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, cholesky: Tensor
) -> tuple[Tensor, ...]:
    """`gemm_statistics` with second moments [K, D, D]."""
    (k, d), (energy, log_det) = means.shape, dense_energies(mean, log_var, means, cholesky)
    gamma = torch.softmax(log_weights - 0.5 * (energy + log_det), 1)
    second = ((gamma[:, :, None] * mean[:, None]).flatten(1).T @ mean).view(k, d, d)
    return gamma.sum(0), gamma.T @ mean, second + torch.diag_embed(gamma.T @ log_var.exp())


def from_origin(moments: tuple[Tensor, ...], means: Tensor) -> tuple[Tensor, ...]:
    """Moments about the origin from those about the means."""
    weight, first, second = moments
    return weight, first + weight[:, None] * means, second + 2 * means * first + weight[:, None] * means.square()


def dense_from_origin(moments: tuple[Tensor, ...], means: Tensor) -> tuple[Tensor, ...]:
    weight, first, second = moments
    cross = means[:, :, None] * first[:, None]
    square = weight[:, None, None] * means[:, :, None] * means[:, None]
    return weight, first + weight[:, None] * means, second + cross + cross.mT + square


@dataclass(frozen=True)
class Family:
    """A kind of covariances: how it is drawn and passed, its torch rivals, its work per row and component."""

    label: str
    sizes: list[tuple[int, int]]  # D, K
    keyword: str  # of the operators
    kl: Callable[..., Tensor]
    statistics: Callable[..., tuple[Tensor, ...]]
    from_origin: Callable[[tuple[Tensor, ...], Tensor], tuple[Tensor, ...]]
    kl_flops: Callable[[int], int]
    statistics_flops: Callable[[int], int]

    def draw(self, k: int, d: int, normal: Callable[..., Tensor]) -> Tensor:
        if self.keyword == "log_vars":
            return 0.3 * normal(k, d)
        return torch.diag_embed(torch.exp(0.3 * normal(k, d))) + 0.5 / (d + 1) ** 0.5 * normal(k, d, d).tril(-1)

    def scale(self, means: Tensor, covariances: Tensor) -> Tensor:
        """What torch.ops.gmvae_fast takes: log variances or whitening factors."""
        if self.keyword == "log_vars":
            return covariances
        eye = torch.eye(means.shape[1], device=means.device, dtype=torch.float64)
        whitening: Tensor = torch.linalg.solve_triangular(covariances.double(), eye, upper=False)
        return whitening.to(means.dtype)

    def operator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """An operator that takes mean, log_var, log_weights, means and these covariances by position."""

        def call(*rows_and_mixture: Tensor) -> Any:
            *others, covariances = rows_and_mixture
            options = {"log_vars": None, "cholesky": None, self.keyword: covariances}
            return function(*others, **options)

        return call


DIAGONAL = Family(
    label="",
    sizes=[(2, 3), (8, 16), (32, 32), (64, 64)],
    keyword="log_vars",
    kl=gemm_form,
    statistics=gemm_statistics,
    from_origin=from_origin,
    kl_flops=lambda d: 9 * d,
    statistics_flops=lambda d: 12 * d,
)
DENSE = Family(
    label="full ",
    sizes=[(2, 3), (8, 16), (16, 16), (32, 16), (64, 8)],
    keyword="cholesky",
    kl=dense_gemm_form,
    statistics=dense_gemm_statistics,
    from_origin=dense_from_origin,
    kl_flops=lambda d: 2 * d * d + 9 * d,
    statistics_flops=lambda d: 2 * d * d + 12 * d,
)


def forward_backward(function: Callable[..., Tensor]) -> Step:
    def step(inputs: Inputs) -> tuple[Tensor, ...]:
        mean, log_var, upstream, *mixture = inputs
        kl = function(mean, log_var, *mixture)
        return (kl.detach(), *torch.autograd.grad(kl, (mean, log_var), upstream))

    return step


def unit_gradients(inputs: Inputs) -> tuple[Tensor, ...]:
    """The kernel alone; the last input is the operator's scale."""
    mean, log_var, _, *mixture = inputs
    result: tuple[Tensor, ...] = torch.ops.gmvae_fast.mixture_kl(
        mean.detach(), log_var.detach(), None, *mixture, 0, False, True
    )
    return result[:3]


def draw(family: Family, n: int, d: int, k: int, seed: int) -> Inputs:
    gen = torch.Generator("cuda").manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, device="cuda")

    log_weights = torch.log_softmax(normal(k), 0)
    tensors = [normal(n, d), normal(n, d) - 1, normal(n), log_weights, normal(k, d), family.draw(k, d, normal)]
    for t in tensors[:2]:
        t.requires_grad_()
    return tensors


def largest_error(values: tuple[Tensor, ...], references: tuple[Tensor, ...]) -> float:
    """Largest deviation relative to the largest value; NaN counts as infinite."""
    worst = 0.0
    for value, ref in zip(values, references, strict=True):
        error = float((value.double() - ref).abs().max() / ref.abs().max())
        worst = max(worst, error if error == error else float("inf"))
    return worst


def float64_sample(inputs: Inputs) -> Inputs:
    """The first rows in float64, with their gradients wanted."""
    rows = [t.detach()[:SAMPLE].double() for t in inputs[:3]]
    return [rows[0].requires_grad_(), rows[1].requires_grad_(), rows[2], *(t.double() for t in inputs[3:])]


def milliseconds(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and interquartile range between device events."""
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    quarters = statistics.quantiles(times, n=4)
    return statistics.median(times), quarters[2] - quarters[0]


def time_step(step: Step, sets: list[Inputs], repeats: int) -> dict[str, float]:
    """Milliseconds for one input set, by graph replay and launched from Python."""

    def everything() -> None:
        for inputs in sets:
            step(inputs)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up outside the capture: handles, compilation, allocator
        for _ in range(3):
            everything()
    torch.cuda.current_stream().wait_stream(side)
    eager, _ = milliseconds(everything, repeats)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        everything()
    for _ in range(3):
        graph.replay()
    median, spread = milliseconds(graph.replay, repeats)
    count = len(sets)
    return {"ms": median / count, "iqr_ms": spread / count, "eager_ms": eager / count}


def ceilings() -> dict[str, float]:
    """Copy bandwidth, bytes read plus written, and float32 matrix-product rate of this device."""
    source = torch.randn(1 << 28, device="cuda")  # 1 GiB
    target = torch.empty_like(source)
    target.copy_(source)
    copy, _ = milliseconds(lambda: target.copy_(source), 20)
    copied = 2 * source.numel() * source.element_size()
    torch.backends.cuda.matmul.allow_tf32 = False
    size = 8192
    left, right = torch.randn(size, size, device="cuda"), torch.randn(size, size, device="cuda")
    product = torch.empty_like(left)
    torch.mm(left, right, out=product)
    matmul, _ = milliseconds(lambda: torch.mm(left, right, out=product), 10)
    return {"copy_bytes_per_s": copied / copy * 1e3, "fp32_flops_per_s": 2 * size**3 / matmul * 1e3}


def shares(row: dict[str, Any], bytes_moved: int, flops: int, limits: dict[str, float]) -> None:
    if "ms" not in row:
        return
    memory = bytes_moved / limits["copy_bytes_per_s"] * 1e3
    arithmetic = flops / limits["fp32_flops_per_s"] * 1e3
    row["floor_ms"] = max(memory, arithmetic)
    row["bound_by"] = "memory" if memory > arithmetic else "arithmetic"
    row["roofline_share"] = row["floor_ms"] / row["ms"]


def input_sets(family: Family, n: int, d: int, k: int) -> list[Inputs]:
    """Enough sets that their rows exceed the second-level cache several times."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    count = max(2, min(64, -(-CACHE_FACTOR * cache // (2 * n * d * 4))))
    return [draw(family, n, d, k, seed) for seed in range(count)]


def measure(
    step: Step, sets: list[Inputs], exact: tuple[Tensor, ...], tolerance: float, repeats: int
) -> dict[str, Any]:
    """Error on the sample, then times; a contender that is wrong or cannot run is not timed."""
    try:
        error = largest_error(tuple(v[:SAMPLE] for v in step(sets[0])), exact)
        if not error <= tolerance:
            return {"error": error, "skipped": f"wrong by {error:.1e} of the largest value, more than {tolerance:.0e}"}
        return {"error": error, **time_step(step, sets, repeats)}
    except Exception as err:  # out of memory, or a compiler that gives up: no reason to lose the other rows
        torch.cuda.empty_cache()
        return {"skipped": f"{type(err).__name__}: {str(err).splitlines()[0][:80] if str(err) else ''}"}


def bench_kl(family: Family, n: int, d: int, k: int, repeats: int, limits: dict[str, float]) -> dict[str, Any]:
    torch._dynamo.reset()
    sets = input_sets(family, n, d, k)
    kernel_sets = [[*inputs[:5], family.scale(*inputs[4:])] for inputs in sets]
    native, reference = family.operator(gf.ops.mixture_kl), family.operator(gf.ops.reference.mixture_kl)
    sample, exactly = float64_sample(sets[0]), forward_backward(reference)
    exact = exactly(sample)
    sample[2] = torch.ones_like(sample[2])
    exact_unit = exactly(sample)
    contenders = {
        "native": (forward_backward(native), sets, exact, TOLERANCE),
        "native kernel": (unit_gradients, kernel_sets, exact_unit, TOLERANCE),
        "gemm form": (forward_backward(family.kl), sets, exact, EXPANDED_TOLERANCE),
        "gemm form compiled": (forward_backward(torch.compile(family.kl)), sets, exact, EXPANDED_TOLERANCE),
        "reference": (exactly, sets, exact, TOLERANCE),
        "reference compiled": (forward_backward(torch.compile(reference)), sets, exact, TOLERANCE),
    }
    results = {name: measure(*contender, repeats) for name, contender in contenders.items()}
    flops = n * k * family.kl_flops(d)
    shares(results["native"], (4 * n * d + 2 * n) * 4, flops, limits)
    shares(results["native kernel"], (4 * n * d + n) * 4, flops, limits)
    return results


def bench_statistics(family: Family, n: int, d: int, k: int, repeats: int, limits: dict[str, float]) -> dict[str, Any]:
    operator = family.operator(gf.ops.mixture_statistics)
    reference = family.operator(gf.ops.reference.mixture_statistics)

    def native(inputs: Inputs) -> tuple[Tensor, ...]:
        mean, log_var, _, *mixture = inputs
        stats = operator(mean, log_var, *mixture)
        return stats.weight, stats.first, stats.second

    @torch.no_grad()
    def gemm(inputs: Inputs) -> tuple[Tensor, ...]:
        mean, log_var, _, *mixture = inputs
        return family.statistics(mean, log_var, *mixture)

    sets = input_sets(family, n, d, k)
    # Sums over all rows: the float64 reference adds up slices, as [N, K, D] does not fit.
    mean, log_var, _, *mixture = [t.detach() for t in sets[0]]
    parts = [reference(m, v, *mixture)[:3] for m, v in zip(mean.split(SAMPLE), log_var.split(SAMPLE), strict=True)]
    exact = tuple(torch.stack(part).sum(0) for part in zip(*parts, strict=True))
    results: dict[str, Any] = {"native": measure(native, sets, exact, TOLERANCE, repeats)}
    first, second = native(sets[0]), native(sets[0])
    results["native"]["same_bits_twice"] = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    about_origin = family.from_origin(exact, mixture[1].double())
    results["gemm form"] = measure(gemm, sets, about_origin, EXPANDED_TOLERANCE, repeats)
    shares(results["native"], 2 * n * d * 4, n * k * family.statistics_flops(d), limits)
    return results


def machine() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": properties.L2_cache_size,
        "cuda": torch.version.cuda,
        "cuda_archs": gf.native_status().cuda_archs,
        "torch": torch.__version__,
        "gmvae_fast": gf.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def report(title: str, results: dict[str, Any]) -> None:
    native = results["native"].get("ms")
    for name, row in results.items():
        if "ms" not in row:
            print(f"{title:24} {name:20} {row.get('skipped', 'not timed')}")
            continue
        row["ratio_to_native"] = row["ms"] / native if native else None
        ratio = f"{row['ratio_to_native']:7.2f}x" if native else " " * 8
        share = f"{row['roofline_share']:6.1%} of {row['bound_by']}" if "roofline_share" in row else ""
        print(f"{title:24} {name:20} {row['ms']:9.4f} ms {row['eager_ms']:9.4f} eager {ratio} {share}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=30)
    default = os.environ.get("OUT") or Path(__file__).resolve().parents[1] / "results"
    parser.add_argument("--out", type=Path, default=Path(default))
    options = parser.parse_args()
    if not torch.cuda.is_available() or gf.native_status().cuda_devices == 0:
        print(f"no GPU to measure: {gf.native_status().cuda_message}", file=sys.stderr)
        return 2
    limits = ceilings()
    print(f"{machine()['gpu']}: copy {limits['copy_bytes_per_s'] / 1e12:.2f} TB/s", end=", ")
    print(f"float32 product {limits['fp32_flops_per_s'] / 1e12:.1f} TFLOP/s")
    print(f"{'':24} {'':20} {'by graph':>12} {'':>15} {'over native':>12}")
    groups: dict[str, Any] = {}
    for family in (DIAGONAL, DENSE):
        for bench, operator in ((bench_kl, "mixture_kl"), (bench_statistics, "statistics")):
            for d, k in family.sizes:
                results = bench(family, options.rows, d, k, options.repeats, limits)
                title = f"{family.label}{operator}"
                report(f"{title} D={d} K={k}", results)
                groups[f"{title} N={options.rows} D={d} K={k} float32"] = results
                torch.cuda.empty_cache()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cuda.json"
    content = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "ceilings": limits,
        "groups": groups,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")
    native = [row for group in groups.values() for name, row in group.items() if name.startswith("native")]
    return 0 if all("ms" in row and row.get("same_bits_twice", True) for row in native) else 1


if __name__ == "__main__":
    sys.exit(main())
