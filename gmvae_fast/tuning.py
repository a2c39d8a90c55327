"""How many components: information criteria, pruning, and held-out bounds of trained models, side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmvae_fast._checks import check_integer
from gmvae_fast._covariances import CovarianceError, check_covariance_type
from gmvae_fast._latent_mixture import latent_spread
from gmvae_fast._progress import run_progress
from gmvae_fast._pruning import prune
from gmvae_fast._rows import Rows
from gmvae_fast.gaussian_mixture import GaussianMixture
from gmvae_fast.model import GMVAE
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training import fit

_FLOOR = 1e-6  # added to variances, relative to the mean variance of the latents
_EM_STEPS, _EM_TOLERANCE = 200, 1e-5
_ELBO_SAMPLES = 16


@dataclass(frozen=True)
class ComponentCandidate:
    """What speaks for one number of components; NaN where it was not evaluated.

    Attributes
    ----------
    n_components : int
    log_likelihood : float
        Mean log likelihood of the latents.
    bic, icl : float
        Information criteria of the mixture on the latents; lower is better.
    pruned_bic : float
        The same for the mixture of the pruned path, see `tune_components`.
    smallest_weight : float
        Of the mixture behind ``bic``.
    held_out_elbo : float
        Mean evidence lower bound of held-out snapshots; higher is better.
    held_out_deficit_error : float
        Standard error of its difference from the best one, over snapshots (over trajectories where there are some).
    """

    n_components: int
    log_likelihood: float = math.nan
    bic: float = math.nan
    icl: float = math.nan
    pruned_bic: float = math.nan
    smallest_weight: float = math.nan
    held_out_elbo: float = math.nan
    held_out_deficit_error: float = math.nan


@dataclass(frozen=True)
class ComponentChoice:
    """What `tune_components` returns.

    Attributes
    ----------
    candidates : tuple of ComponentCandidate
        By number of components.
    chosen : dict
        Number of components by criterion: "bic", "icl", "pruning", and "held_out_elbo" where models were trained. A
        criterion by which no candidate could be evaluated is missing.
    """

    candidates: tuple[ComponentCandidate, ...]
    chosen: dict[str, int]

    def table(self) -> list[dict[str, Any]]:
        """One row a candidate, as dicts."""
        return [dataclasses.asdict(candidate) for candidate in self.candidates]

    def __str__(self) -> str:
        names = [f.name for f in dataclasses.fields(ComponentCandidate)]
        lines = ["  ".join(names)]
        for row in self.table():
            lines.append("  ".join(f"{row[name]:{len(name)}.6g}" for name in names))
        lines.append("chosen: " + ", ".join(f"{k} by {name}" for name, k in self.chosen.items()))
        return "\n".join(lines)


def tune_components(
    data: Any,
    ks: Iterable[int],
    *,
    model: Callable[[int], GMVAE] | None = None,
    config: TrainConfig | None = None,
    held_out: Any = None,
    covariance_type: str | None = None,
    n_init: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> ComponentChoice:
    """Compare numbers of components on latents, and by trained models where asked for.

    Parameters
    ----------
    data : array [N, D], or snapshots
        Latents of any method; with ``model``, snapshots as `fit` takes them.
    ks : iterable of int
        Numbers of components; the pruned path starts from the largest.
    model : callable, optional
        Builds an untrained model of K components. Then the latents are the posterior means of its networks under the
        prior N(0, I), which favours no K, and one model is trained for every K where ``held_out`` is given.
    config : TrainConfig, optional
        Of the trained models and, with warm-up epochs alone, of the latents.
    held_out : like ``data``, with ``model`` only
        Snapshots on which the bound of the trained models is compared; without them only latents are.
    covariance_type : {"diag", "spherical", "tied", "full"}, optional
        Of the mixtures on latents; default that of ``model``, else "full".
    n_init : int
        EM starts of each mixture.
    seed : int
        Of the starts. (Models take theirs from ``model`` and ``config``.)
    progress : bool
        Show a bar (only on a terminal).

    Returns
    -------
    ComponentChoice

    Raises
    ------
    ValueError
        For numbers of components that are not distinct integers >= 1 or exceed the rows, for latents that are not
        finite, and for ``config`` or ``held_out`` without ``model``.

    Notes
    -----
    Four criteria, which answer different questions:

    - "bic" counts Gaussians: it needs several for one curved cluster.
    - "icl" counts clusters: it adds the entropy of the assignment.
    - "pruning" starts once from the largest K, removes components under a Dirichlet prior below 1 (Figueiredo & Jain
      2002, IEEE PAMI 24(3), 381-396) and takes the BIC of the mixtures on the way; it needs no restarts.
    - "held_out_elbo" takes the smallest K whose mean bound is within one standard error of the best one's, the error
      being that of the paired difference (Hastie, Tibshirani & Friedman 2009, section 7.10).
    """
    counts = _check_counts(ks)
    if model is None:
        for name, value in (("config", config), ("held_out", held_out)):
            if value is not None:
                raise ValueError(f"{name} needs model=, a callable that builds the models to train")
    example = None if model is None else _build(model, counts[-1])
    kind = covariance_type or (example.prior.covariance_type if example else "full")
    check_covariance_type(kind)
    steps = 2 + (len(counts) if example is not None and held_out is not None else 0)
    with run_progress("components", enabled=progress) as show:
        show(0, steps)
        latents = data if example is None else _neutral_latents(example, data, config or TrainConfig())
        found = _on_latents(latents, counts, kind, n_init, seed, show, steps)
        if model is not None and held_out is not None:
            bounds = {}
            for i, k in enumerate(counts):
                bounds[k] = _held_out_bound(_build(model, k), data, held_out, config or TrainConfig())
                show(3 + i, steps)
            found = _with_bounds(found, bounds, held_out)
    candidates = tuple(found[k] for k in sorted(found))
    return ComponentChoice(candidates, _choose(candidates))


def _check_counts(ks: Iterable[int]) -> list[int]:
    counts = [check_integer("ks", k, 1) for k in ks]
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(f"ks must be distinct integers >= 1, got {counts}")
    return sorted(counts)


def _build(model: Callable[[int], GMVAE], k: int) -> GMVAE:
    built = model(k)
    if not isinstance(built, GMVAE) or built.n_components != k:
        got = f"{built.n_components} components" if isinstance(built, GMVAE) else type(built).__name__
        raise ValueError(f"model must build a GMVAE of {k} components when called with {k}, got {got}")
    return built


def _neutral_latents(model: GMVAE, data: Any, config: TrainConfig) -> Tensor:
    """Posterior means of a plain VAE."""
    fit(model, data, dataclasses.replace(config, scheme="block", warmup_epochs=config.epochs), progress=False)
    return model.embed_tensors(model._source(data))[0]


def _on_latents(
    latents: Any, counts: list[int], kind: str, n_init: int, seed: int, show: Callable[[int, int], None], steps: int
) -> dict[int, ComponentCandidate]:
    """Candidates with the criteria that need latents only; those that pruning came by are among them."""
    rows = Rows(latents, "data")
    if len(rows) < counts[-1]:
        raise ValueError(f"ks must not exceed the {len(rows)} rows of data, got {counts[-1]}")
    points = torch.cat([chunk.double() for _, chunk in rows.chunks(rows.chunk_rows(), check=True)])
    floor = _FLOOR * latent_spread(points)
    found = {}
    for k in counts:
        mixture = GaussianMixture(
            k,
            covariance_type=kind,
            n_init=n_init,
            max_iter=_EM_STEPS,
            tol=_EM_TOLERANCE,
            reg_covar=floor,
            random_state=seed,
        )
        found[k] = ComponentCandidate(k)
        with contextlib.suppress(ValueError):  # more components than distinct rows can carry: not evaluated
            mixture.fit(points)
            found[k] = ComponentCandidate(
                k,
                log_likelihood=mixture.score(points),
                bic=mixture.bic(points),
                icl=mixture.icl(points),
                smallest_weight=float(mixture.weights_.min()),
            )
    show(1, steps)
    with contextlib.suppress(CovarianceError):  # the rest of the path is not evaluated
        for pruned in prune(points, counts[-1], counts[0], kind, added_variance=floor, seed=seed):
            k = pruned.n_components
            found[k] = dataclasses.replace(found.get(k, ComponentCandidate(k)), pruned_bic=pruned.bic)
    show(2, steps)
    return found


def _held_out_bound(model: GMVAE, data: Any, held_out: Any, config: TrainConfig) -> np.ndarray[Any, Any]:
    """ELBO of every held-out snapshot under a model trained now."""
    fit(model, data, config, progress=False)
    return np.asarray(model.elbo(held_out, n_samples=_ELBO_SAMPLES), dtype=np.float64)


def _with_bounds(
    found: dict[int, ComponentCandidate], bounds: dict[int, np.ndarray[Any, Any]], held_out: Any
) -> dict[int, ComponentCandidate]:
    best = max(bounds, key=lambda k: float(bounds[k].mean()))
    groups = getattr(held_out, "trajectory", None)
    result = dict(found)
    for k, values in bounds.items():
        deficit = bounds[best] - values
        if groups is not None:  # frames of one run are not independent
            deficit = np.array([deficit[groups == g].mean() for g in np.unique(groups)])
        error = float(deficit.std(ddof=1) / math.sqrt(len(deficit))) if len(deficit) > 1 else math.nan
        candidate = result.get(k, ComponentCandidate(k))
        result[k] = dataclasses.replace(candidate, held_out_elbo=float(values.mean()), held_out_deficit_error=error)
    return result


def _choose(candidates: tuple[ComponentCandidate, ...]) -> dict[str, int]:
    chosen = {}
    for name, field in (("bic", "bic"), ("icl", "icl"), ("pruning", "pruned_bic")):
        values = {c.n_components: getattr(c, field) for c in candidates if math.isfinite(getattr(c, field))}
        if values:
            chosen[name] = min(values, key=lambda k: values[k])
    trained = [c for c in candidates if math.isfinite(c.held_out_elbo)]
    if trained:
        best = max(c.held_out_elbo for c in trained)
        chosen["held_out_elbo"] = min(  # the best one itself has no deficit
            c.n_components for c in trained if best - c.held_out_elbo <= max(0.0, c.held_out_deficit_error)
        )
    return chosen
