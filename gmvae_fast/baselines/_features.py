"""Snapshots as rows of numbers, and their principal components."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gmvae_fast._batches import Batches
from gmvae_fast._optional import require
from gmvae_fast.normalisation import Normalised

from ._protocol import Budget, Embedder, Latents

#: Training rows beyond this are not held: their principal components are found batch by batch.
IN_MEMORY_BYTES = 2**30


class PrincipalComponents(Embedder):
    """Projection of normalised snapshots on their leading principal components, by scikit-learn.

    Parameters
    ----------
    train : data
    n_components : int
    seed : int
        Of the randomised solver that scikit-learn takes for large matrices.
    fewer : bool
        Take fewer components where the data have not as many, rather than refuse.

    Attributes
    ----------
    explained : float
        Share of the variance in the components.
    """

    def __init__(self, train: Any, n_components: int, seed: int, *, fewer: bool = False) -> None:
        decomposition = require("sklearn.decomposition", "the baseline", "baselines")
        source = Batches(train, "train")
        self.scaling = Normalised(source.shape)
        self.scaling.set_normalisation(source)
        values = self.scaling.n_values
        most = min(len(source), values)
        if n_components > most and not fewer:
            raise ValueError(
                f"latent_dim must be at most {most}, the smaller of the {len(source)} snapshots and their {values} "
                f"values, got {n_components}"
            )
        n_components = min(n_components, most)
        if 4 * len(source) * values <= IN_MEMORY_BYTES:
            fitted = decomposition.PCA(n_components, random_state=seed)
            fitted.fit(np.concatenate(list(self._batches(source, source.pass_size))))
        else:
            fitted = decomposition.IncrementalPCA(n_components)
            for rows in _at_least(n_components, self._batches(source, source.pass_size)):
                fitted.partial_fit(rows)
            self.notes = ("principal components batch by batch: the data exceed 1 GiB",)
        self.n_fitted = len(source)
        self.explained = float(fitted.explained_variance_ratio_.sum())
        self._mean = torch.from_numpy(fitted.mean_.astype(np.float32))
        self._basis = torch.from_numpy(fitted.components_.astype(np.float32))

    def embed(self, data: Any) -> Latents:
        """Coordinates on the principal components."""
        source = self.scaling._source(data)
        parts = [(torch.from_numpy(rows) - self._mean) @ self._basis.T for rows in self._batches(source)]
        return torch.cat(parts).numpy()

    def reconstruct(self, data: Any) -> npt.NDArray[np.float32]:
        """Mean plus principal components."""
        return self.decode(self.embed(data))

    def decode(self, latents: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Snapshots [N, *input_shape] in data units at coordinates [N, D]."""
        parts = torch.from_numpy(latents.astype(np.float32, copy=False)).split(256)
        return np.concatenate([self._fields(part @ self._basis + self._mean).numpy() for part in parts])

    def _batches(self, source: Batches, size: int = 256) -> Iterator[npt.NDArray[np.float32]]:
        """Normalised values inside the mask [<= size, V], in order."""
        for x in source.ordered(size, torch.device("cpu")):
            x = self.scaling.normalise(x)
            mask = self.scaling.mask
            yield (x.flatten(1) if mask is None else x[..., mask].flatten(1)).contiguous().numpy()

    def _fields(self, rows: Tensor) -> Tensor:
        """Rows [n, V] as snapshots in data units."""
        shape, mask = self.scaling.input_shape, self.scaling.mask
        if mask is None:
            return self.scaling.denormalise(rows.unflatten(1, shape))
        fields = torch.zeros(len(rows), *shape)
        fields[..., mask] = rows.unflatten(1, (shape[0], -1))
        return self.scaling.denormalise(fields)


class Neighbourhood:
    """Rows on which a method measures distances, and those of them that it is fitted on.

    Attributes
    ----------
    projection : PrincipalComponents
    rows [n, F]
        Of all training snapshots, or of a sample of ``limit``.
    notes : list of str
    """

    def __init__(self, train: Any, seed: int, budget: Budget, limit: int | None) -> None:
        self.projection = PrincipalComponents(train, budget.n_features, seed, fewer=True)
        self.notes = [*self.projection.notes]
        rows = self.projection.embed(train)
        chosen = slice(None) if limit is None or len(rows) <= limit else sample(len(rows), limit, seed)
        self.rows = rows[chosen]
        if len(self.rows) < len(rows):
            self.notes.append(f"fitted on a sample of {limit} of {len(rows)} training snapshots (seed {seed})")


def sample(n: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """``size`` of ``n`` indices without replacement, ascending."""
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def _at_least(n: int, batches: Iterator[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
    """The same rows in batches of at least ``n`` (there are as many in all)."""
    waiting: list[npt.NDArray[np.float32]] = []
    ready: npt.NDArray[np.float32] | None = None
    for rows in batches:
        waiting.append(rows)
        if sum(map(len, waiting)) >= n:
            if ready is not None:
                yield ready
            ready, waiting = np.concatenate(waiting), []
    yield np.concatenate([*([] if ready is None else [ready]), *waiting])


@contextmanager
def warnings_as_notes(notes: list[str]) -> Iterator[None]:
    """Gather a library's warnings instead of showing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notes += dict.fromkeys(str(w.message).strip() for w in caught if issubclass(w.category, UserWarning))


@contextmanager
def legacy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, for libraries that take no seed, and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
