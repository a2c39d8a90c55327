"""Seconds of a training epoch, against the same model in plain torch and against ClustPy's VaDE.

    make bench-training
    make bench-training-others      # with ClustPy, in an environment of its own
    python benchmarks/bench_training.py     # processor seconds, where the machine is busy
    python benchmarks/bench_training.py --profile   # milliseconds of each of torch's operators in an epoch of ours

An epoch is what `fit` repeats once the mixture is there: Adam over all batches in a new order, a pass of all latents,
an M-step, diagnostics. The plain form (`plain_torch.PlainGMVAE`) does the same but the diagnostics. ClustPy trains the
mixture with the networks and has no M-step. All start from the same weights, with equal batches and threads.

Answers first: the plain form's loss and M-step are those of the package for the same weights and draws; ClustPy (0.0.3)
computes another loss, see `others.clustpy_formula`, and is an anchor of speed only; "as VaDE" is its method (scheme
"joint", a sampled assignment), which takes no pass of all latents.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, profiler

import gmvae_fast as gf
import others
from gmvae_fast import ops
from gmvae_fast._memory import freed_memory_kept
from gmvae_fast._threads import threads_for
from gmvae_fast.training.adam import Adam
from gmvae_fast.training.run import Run
from plain_torch import PlainGMVAE, PlainTraining, plain_network
from race import Race, run_race

RATE = 1e-4  # so that none diverges over the epochs of a benchmark, on noise


@dataclass(frozen=True)
class Case:
    """Networks and data of one race."""

    shape: tuple[int, ...]
    n: int
    batch_size: int
    latent_dim: int
    n_components: int
    network: dict[str, Any]

    def model(self) -> gf.GMVAE:
        torch.manual_seed(0)
        return gf.GMVAE(self.shape, latent_dim=self.latent_dim, n_components=self.n_components, **self.network)


CASES = {
    "mlp 784-500-500-2000-10": Case((784,), 4096, 256, 10, 10, {"widths": (500, 500, 2000)}),
    "mlp 128-64-64-2": Case((128,), 8192, 64, 2, 2, {"widths": (64, 64)}),
    "conv (3, 64, 128)": Case((3, 64, 128), 256, 64, 2, 3, {}),
}


def snapshots(case: Case) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Groups of noisy patterns, as many as components."""
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((case.n_components, *case.shape))
    values = patterns[rng.integers(case.n_components, size=case.n)] + 0.5 * rng.standard_normal((case.n, *case.shape))
    return values.astype(np.float32)


def native(case: Case, x: np.ndarray[Any, Any], **options: Any) -> Run:
    """A run of the package, its mixture fitted."""
    settings = {"epochs": 100_000, "warmup_epochs": 1, "n_init": 2, "refits": 0, "validate_every": 100_000}
    run = Run(case.model(), x, gf.TrainConfig(batch_size=case.batch_size, learning_rate=RATE, **settings, **options))
    for _ in range(2):
        epoch_of(run)()
    return run


def epoch_of(run: Run) -> Callable[[], float]:
    """One epoch, on the threads and with the memory that `fit` would take."""

    def epoch() -> float:
        with threads_for(run.descent.step_work), freed_memory_kept():
            return run.one_epoch().loss

    return epoch


def plain(case: Case, run: Run, x: np.ndarray[Any, Any]) -> PlainTraining:
    """The plain form with the run's networks, mixture and normalised data, after its answers are checked."""
    model = run.model
    networks = (plain_network(part) for part in (model.encoder, model.decoder))
    mine = PlainGMVAE(*networks, case.n_components, case.latent_dim)
    for name in ("log_weights", "means", "log_vars"):
        getattr(mine, name).copy_(getattr(model.prior.get(), name))
    rows = model.normalise(torch.from_numpy(x)).contiguous()  # as one's own code would have them
    noise = torch.randn(case.batch_size, case.latent_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        terms = model.loss_terms(rows[: case.batch_size], None, noise=noise)
        torch.testing.assert_close(
            mine(rows[: case.batch_size], noise), terms.reconstruction + terms.kl, rtol=1e-4, atol=1e-3
        )
        expected = run.model.prior.statistics(*model.embed_tensors(run.source.local)).weight
    before = copy.deepcopy(mine.state_dict())
    mine.m_step(rows, case.batch_size)
    torch.testing.assert_close(mine.log_weights.exp().double(), expected / expected.sum(), rtol=1e-3, atol=1e-6)
    mine.load_state_dict(before)
    return PlainTraining(mine, rows, case.batch_size, RATE)


def of_training(case: Case, run: Run, x: np.ndarray[Any, Any]) -> dict[str, Callable[[], float]]:
    """The contenders of every case."""
    return {
        "native": epoch_of(run),
        "native, compiled": epoch_of(native(case, x, compile=True)),
        "native, bfloat16": epoch_of(native(case, x, precision="bfloat16")),
        "native, bfloat16, compiled": epoch_of(native(case, x, precision="bfloat16", compile=True)),
        "plain torch": plain(case, run, x).epoch,
    }


def processor_seconds(contenders: dict[str, Callable[[], float]], rounds: int = 5) -> dict[str, float]:
    """Of one call, over all threads, in turns, medians: what a machine that others use as well changes least."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            started = time.process_time()
            call()
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def shares(case: Case, run: Run) -> dict[str, float]:
    """Share of each part in the sum of all, each measured by itself on the package's own code."""
    model = run.model
    steps = list(run.source.steps(case.batch_size, torch.Generator(), model.device))
    x = model.normalise(steps[0].rows)
    mean, log_var = (part.detach() for part in model.encode(x))
    mixture = model.prior.parameters_tuple

    def read() -> None:
        for part in run.source.steps(case.batch_size, torch.Generator(), model.device):
            model.normalise(part.rows)

    def networks() -> None:
        z, spread = model.encode(x)
        (model.decode(z) - x).square().sum().add(spread.sum()).backward()

    def mixture_term() -> None:
        leaves = [mean.requires_grad_(), log_var.requires_grad_()]
        torch.autograd.grad(ops.mixture_kl(*leaves, *mixture).sum(), leaves)

    optimizer = Adam(copy.deepcopy(model).parameters(), lr=0.0)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    parts: dict[str, tuple[Callable[[], Any], int]] = {
        "read": (read, 1),
        "networks": (networks, len(steps)),
        "mixture": (mixture_term, len(steps)),
        "optimiser": (optimizer.step, len(steps)),
        "latents, M-step, diagnostics": (run._update, 1),
    }
    with threads_for(run.descent.step_work):
        race = Race({name: call for name, (call, _) in parts.items()})
        for _ in range(5):
            race.round()
    seconds = {name: race.summary()[name]["median_us"] * parts[name][1] for name in parts}
    model.zero_grad()
    return {name: value / sum(seconds.values()) for name, value in seconds.items()}


@pytest.mark.parametrize("name", CASES)
def test_epoch(benchmark: Any, name: str) -> None:
    case = CASES[name]
    x = snapshots(case)
    run = native(case, x)
    contenders = of_training(case, run, x)
    benchmark.group = (
        f"epoch of {case.n} snapshots, batches of {case.batch_size}, {name}, {torch.get_num_threads()} threads"
    )
    table = run_race(benchmark, contenders, seconds=40.0, at_least=5, at_most=25)
    for row in table.values():
        row["snapshots_per_s"] = case.n / row["median_us"] * 1e6
        row["MB_per_s"] = row["snapshots_per_s"] * x[0].nbytes / 1e6
    table["native"]["shares"] = shares(case, run)
    assert all(np.isfinite(call()) for call in contenders.values())


@pytest.mark.skipif(others.missing("clustpy") is not None, reason=str(others.missing("clustpy")))
def test_epoch_beside_clustpy(benchmark: Any) -> None:
    case = CASES["mlp 784-500-500-2000-10"]
    benchmark.group = (
        f"epoch of {case.n} snapshots, batches of {case.batch_size}, ClustPy's networks 784-500-500-2000-10, "
        f"{torch.get_num_threads()} threads"
    )
    run_race(benchmark, beside_clustpy(case), seconds=40.0, at_least=5, at_most=25)


def beside_clustpy(case: Case) -> dict[str, Callable[[], float]]:
    """The contenders with ClustPy's networks: what ClustPy does, all by Adam, and an epoch with the exact M-step."""
    x = snapshots(case)
    run = native(case, x)
    same = others.clustpy_networks(case.shape[0], case.network["widths"], case.latent_dim)
    rows = run.model.normalise(torch.from_numpy(x))
    vade = {"scheme": "joint", "assignment": "sampled", "m_step_every": 100_000}

    def ours(*, fused: bool = True, **options: Any) -> Callable[[], float]:
        pair = _pair(same)
        network = tuple(map(gf.fuse_dense_layers, pair)) if fused else pair
        return epoch_of(native(dataclasses.replace(case, network={"network": network}), x, **options))

    return {
        "native, as VaDE": ours(**vade),
        "native, as VaDE, bfloat16": ours(**vade, precision="bfloat16"),
        "native, as VaDE, layers not fused": ours(**vade, fused=False),
        "native": ours(),
        "native, bfloat16": ours(precision="bfloat16"),
        "ClustPy VaDE": others.clustpy_epoch(copy.deepcopy(same), rows, case.n_components, case.batch_size, RATE),
    }


class _Heads(nn.Module):
    """ClustPy's encoder and its two heads as one module."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae_encoder, self.mean, self.log_variance = vae.encoder, vae.mean, vae.log_variance

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.vae_encoder(x)
        return torch.cat([self.mean(hidden), self.log_variance(hidden)], 1)


def _pair(vae: Any) -> tuple[nn.Module, nn.Module]:
    vae = copy.deepcopy(vae)
    return _Heads(vae), vae.decoder


def operators(case: Case, *, epochs: int = 3, **options: Any) -> dict[str, float]:
    """Milliseconds of an epoch within each operator of torch's, those of others that it calls not counted."""
    epoch = epoch_of(native(case, snapshots(case), **options))
    epoch()
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU]) as found:
        for _ in range(epochs):
            epoch()
    return {event.key: event.self_cpu_time_total / epochs / 1e3 for event in found.key_averages()}


def print_operators(least: float = 0.01) -> None:
    """Of every case in both precisions: the operators that take ``least`` of an epoch or more."""
    for name, case in CASES.items():
        for precision in ("float32", "bfloat16"):
            found = operators(case, precision=precision)
            total = sum(found.values())
            print(f"{name}, {precision}: {total:.0f} ms")
            for key, value in sorted(found.items(), key=lambda item: -item[1]):
                if value >= least * total:
                    print(f"    {key[:44]:44s} {value:6.1f} ms, {value / total:4.0%}", flush=True)


def main() -> None:
    """Print processor seconds of every case and their ratios to the last contender, plain torch or ClustPy."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--profile", action="store_true", help="milliseconds of each operator in an epoch instead")
    if parser.parse_args().profile:
        print_operators()
        return
    for name, case in CASES.items():
        x = snapshots(case)
        _print_seconds(name, of_training(case, native(case, x), x))
    if others.missing("clustpy") is None:
        _print_seconds("ClustPy's networks", beside_clustpy(CASES["mlp 784-500-500-2000-10"]))


def _print_seconds(name: str, contenders: dict[str, Callable[[], float]]) -> None:
    seconds = processor_seconds(contenders)
    last = list(seconds.values())[-1]
    for contender, value in seconds.items():
        print(f"{name:24s} {contender:26s} {value:.3f} s, {last / value:.2f}x", flush=True)


if __name__ == "__main__":
    main()
