"""Where expectation-maximisation starts: means drawn from the data, one variance, or what the caller gives."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from gmvae_fast._covariances import DENSE, covariance_shape, factor_of_precision
from gmvae_fast._rows import CHUNK_BYTES, Rows
from gmvae_fast.m_step import MixtureParameters

INIT_PARAMS = ("k-means++", "kmeans", "random", "random_from_data")
SAMPLE_ROWS = 2**17
_TINY = 1e-300  # keeps the logarithm of a variance finite, in float64
_LLOYD_STEPS = 30


def draw_sample(rows: Rows, k: int, generator: torch.Generator) -> Tensor:
    """All rows where they are few, else a uniform sample without replacement, in order: [M, D] in float64.

    M is at most `SAMPLE_ROWS`, or what makes 64 MiB, but never less than 64 K. Every row is checked for finiteness.
    """
    n, d = rows.shape
    size = max(64 * k, min(SAMPLE_ROWS, CHUNK_BYTES // (8 * d)))
    if n <= size:
        chosen = torch.arange(n)
    else:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        chosen = torch.from_numpy(np.sort(np.random.default_rng(seed).choice(n, size, replace=False)))
    parts = []
    for first, chunk in rows.chunks(rows.chunk_rows(), check=True):
        low, high = torch.searchsorted(chosen, torch.tensor([first, first + len(chunk)])).tolist()
        mine = (chosen[low:high] - first).to(chunk.device)
        parts.append(chunk[mine].double())
        del chunk
    return torch.cat(parts)


def starting_means(sample: Tensor, k: int, method: str, generator: torch.Generator) -> Tensor:
    """K means [K, D] by the method's name in `INIT_PARAMS`, from rows [M, D]."""
    if method == "random_from_data":
        return sample[torch.randperm(len(sample), generator=generator)[:k].to(sample.device)]
    if method == "random":  # means of all rows under random responsibilities
        shares = torch.rand(len(sample), k, generator=generator, dtype=torch.float64).to(sample.device)
        shares = shares / shares.sum(1, keepdim=True)
        center = sample.mean(0)
        means: Tensor = center + shares.T @ (sample - center) / shares.sum(0)[:, None]
        return means
    means = kmeans_plus_plus(sample, k, generator)
    if method == "kmeans":
        center = sample.mean(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty cluster keeps its centre
            found, _ = kmeans2(
                (sample - center).cpu().numpy(), (means - center).cpu().numpy(), iter=_LLOYD_STEPS, minit="matrix"
            )
        means = torch.from_numpy(found).to(sample.device) + center
    return means


def kmeans_plus_plus(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """K rows of ``points`` [N, D], each drawn with probability proportional to its squared distance to those before."""
    n = points.shape[0]
    chosen = [int(torch.randint(n, (1,), generator=generator))]
    distance = (points - points[chosen[0]]).square().sum(1)
    for _ in range(1, k):
        total = distance.sum()
        if not bool(total > 0):  # fewer distinct rows than components: any row will do
            chosen.append(int(torch.randint(n, (1,), generator=generator)))
            continue
        draw = torch.rand(1, generator=generator, dtype=torch.float64).to(points.device) * total
        # right=True passes over rows of no weight, those already chosen
        index = min(int(torch.searchsorted(distance.cumsum(0), draw, right=True)), n - 1)
        chosen.append(index)
        distance = torch.minimum(distance, (points - points[index]).square().sum(1))
    return points[chosen]


def shared_variance(sample: Tensor, means: Tensor) -> Tensor:
    """One variance for all components and coordinates: mean squared distance to the nearest mean, over D."""
    nearest = torch.full_like(sample[:, 0], math.inf)
    for center in means:  # one at a time: differences are exact far from the origin, and no [N, K] is formed
        nearest = torch.minimum(nearest, (sample - center).square().sum(1))
    overall = sample.var(0, unbiased=False).mean()
    return torch.maximum(nearest.mean() / sample.shape[1], 1e-3 * overall)


class GivenStart:
    """What the caller gives of the first mixture, checked; None where it is to be drawn.

    Raises
    ------
    ValueError
        Naming the argument whose shape or values are wrong.
    """

    def __init__(self, weights: Any, means: Any, precisions: Any, kind: str, k: int, d: int) -> None:
        self.kind, self.k, self.d = kind, k, d
        self.weights = _given(weights, (k,), "weights_init")
        self.means = _given(means, (k, d), "means_init")
        self.precisions = _given(precisions, covariance_shape(kind, k, d), "precisions_init")
        if self.weights is not None and (bool((self.weights < 0).any()) or abs(float(self.weights.sum()) - 1) > 1e-4):
            raise ValueError(f"weights_init must not be negative and must sum to 1, got {weights!r}")
        self.scale = None if self.precisions is None else self._scale(self.precisions)

    @property
    def needs_sample(self) -> bool:
        """Whether anything must be drawn from the data."""
        return self.means is None or self.scale is None

    def complete(
        self, sample: Tensor | None, added_variance: float, method: str, generator: torch.Generator
    ) -> MixtureParameters:
        """The first mixture, float64; ``sample`` is used for what is missing."""
        means = self.means
        if means is None:
            assert sample is not None
            means = starting_means(sample, self.k, method, generator)
        weights = torch.full((self.k,), 1 / self.k, dtype=torch.float64) if self.weights is None else self.weights
        scale = self.scale
        if scale is None:
            assert sample is not None
            variance = (shared_variance(sample, means.to(sample.device)) + added_variance).clamp_min(_TINY)
            if self.kind in DENSE:
                eye = torch.eye(self.d, dtype=torch.float64, device=sample.device)
                scale = (variance.sqrt() * eye).expand(covariance_shape(self.kind, self.k, self.d))
            else:
                scale = torch.log(variance).expand(self.k, self.d)
        log_vars, cholesky = (None, scale) if self.kind in DENSE else (scale, None)
        return MixtureParameters(torch.log(weights), means, log_vars, cholesky).clone()

    def _scale(self, precisions: Tensor) -> Tensor:
        """Log variances [K, D], or Cholesky factors of the covariances."""
        if self.kind not in DENSE:
            if not bool((precisions > 0).all()):
                raise ValueError(f"precisions_init must be positive, got {float(precisions.min()):g}")
            per_row = precisions if precisions.ndim == 2 else precisions[:, None]
            return -torch.log(per_row).expand(self.k, self.d)
        if not torch.allclose(precisions, precisions.mT):
            skew = float((precisions - precisions.mT).abs().max())
            raise ValueError(
                f"precisions_init must be symmetric, got entries that differ by {skew:g} from their mirror"
            )
        smallest = float(torch.linalg.eigvalsh(precisions).min())
        if not smallest > 0:
            raise ValueError(f"precisions_init must be positive definite, got an eigenvalue of {smallest:g}")
        return factor_of_precision(precisions)


def _given(value: Any, shape: tuple[int, ...], name: str) -> Tensor | None:
    if value is None:
        return None
    tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return tensor.double()
