"""What `smoothness` returns: one record per signal, and the whole with its shared eigenpairs."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray, check_positive_integer, check_sequence
from gmvae_fast.spectral.eigen import EigenPairs, eigenpairs
from gmvae_fast.spectral.graph import KnnGraph
from gmvae_fast.spectral.laplacian import laplacian
from gmvae_fast.spectral.measure import DensityOfStates, NullSpace, SpectralMeasure, measure_block
from gmvae_fast.spectral.quadrature import Bounds

TABLE_FIELDS = (
    "score",
    "dirichlet",
    "expected_dirichlet",
    "geary_c",
    "z_score",
    "p_value",
    "log10_p",
    "z_normal",
    "p_normal",
    "log10_p_normal",
    "p_adjusted",
    "log10_p_adjusted",
)
RESAMPLED_FIELDS = (  # only where they were asked for
    "p_permutation",
    "p_permutation_adjusted",
    "score_lower",
    "score_upper",
    "score_error",
)


class LazySpectrum:
    """What is known of the spectrum of L_sym of one graph: computed when first asked for, kept for all signals."""

    def __init__(self, graph: sparse.csr_array, signals: Mapping[str, FloatArray]) -> None:
        self._graph = graph
        self._signals = signals  # each [N], Deg^(1/2) (f - f_bar)
        self._pairs: EigenPairs | None = None
        self._measured: tuple[tuple[int, int, int], dict[str, SpectralMeasure], DensityOfStates] | None = None

    def measured(self, steps: int, n_probes: int, seed: int) -> tuple[dict[str, SpectralMeasure], DensityOfStates]:
        """Spectral measures of all signals that are not zero, and the density of states, from shared products."""
        key = (steps, n_probes, seed)
        if self._measured is None or self._measured[0] != key:
            matrix = laplacian(self._graph, "symmetric")
            null = NullSpace.of(matrix, np.asarray(self._graph.sum(axis=1), np.float64))
            names = [name for name, signal in self._signals.items() if signal.any()]
            block = (
                np.stack([self._signals[name] for name in names], axis=1) if names else np.empty((matrix.shape[0], 0))
            )
            measures, density = measure_block(matrix, block, null, steps=steps, n_probes=n_probes, seed=seed)
            self._measured = key, dict(zip(names, measures, strict=True)), density
        return self._measured[1:]

    def lowest(self, m: int) -> EigenPairs:
        """The ``m`` lowest pairs; solved again only when ``m`` exceeds what is kept."""
        m = check_positive_integer(m, "m")
        if self._pairs is None or len(self._pairs.values) < m:
            self._pairs = eigenpairs(laplacian(self._graph, "symmetric"), m)
        kept = self._pairs
        return EigenPairs(kept.values[:m], kept.vectors[:, :m], kept.residuals[:m])


@dataclass(frozen=True, eq=False)
class SignalSmoothness:
    """How smoothly one signal varies over the graph. Every number is NaN for a constant signal.

    Attributes
    ----------
    name : str
    score : float
        1 - S / E[S]: 1 is perfectly smooth, 0 what chance gives, negative rougher than chance.
    dirichlet : float
        S = f'Lf / f'f, f centred.
    expected_dirichlet : float
        E[S] = tr(L) / (N - 1), the mean of S over all permutations of f.
    geary_c : float
        Geary's C, equal to S / E[S].
    z_score, p_value, log10_p : float
        (1 - C) over its standard deviation under the randomisation assumption (f permuted over the nodes),
        positive if smoother than chance; the one-sided p-value of the normal approximation, and its
        logarithm, which stays finite where the p-value underflows.
    z_normal, p_normal, log10_p_normal : float
        The same under the normality assumption (f an independent normal sample).
    p_adjusted, log10_p_adjusted : float
        ``p_value`` adjusted for the number of signals (Benjamini & Hochberg).
    p_permutation, p_permutation_adjusted : float
        Monte Carlo p-value, of whole trajectories if groups were given, and adjusted; NaN if not asked for.
    score_lower, score_upper, score_error : float
        Bootstrap interval of the score and standard deviation of its samples; NaN if not asked for.
    score_samples : float64 [B]
        Those samples. With one seed they are paired between embeddings of the same snapshots.
    """

    name: str
    score: float
    dirichlet: float
    expected_dirichlet: float
    geary_c: float
    z_score: float
    p_value: float
    log10_p: float
    z_normal: float
    p_normal: float
    log10_p_normal: float
    _weighted: FloatArray = field(repr=False)  # [N], Deg^(1/2) (f - f_bar)
    _spectrum: LazySpectrum = field(repr=False)
    p_adjusted: float = math.nan
    log10_p_adjusted: float = math.nan
    p_permutation: float = math.nan
    p_permutation_adjusted: float = math.nan
    score_lower: float = math.nan
    score_upper: float = math.nan
    score_error: float = math.nan
    score_samples: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)

    def cumulative_energy(self, m: int) -> FloatArray:
        """Share of the signal in the 1, 2, ..., ``m`` lowest eigenvectors of L_sym, float64 [m].

        Entry l - 1 is sum_(j <= l) (u_j' x)² / x'x with x = Deg^(1/2) (f - f_bar), f_bar = sum_i d_i f_i /
        sum_i d_i, so that x is orthogonal to the null vector of a connected graph. Non-decreasing, 1 at m =
        N. Inside a multiple eigenvalue the curve depends on the basis; only its value at the end of the
        eigenspace does not.

        Raises
        ------
        TypeError, ValueError
            If ``m`` is not an integer from 1 to N.
        EigenConvergenceError
            If the eigenpairs cannot be found.
        """
        pairs = self._spectrum.lowest(m)
        total = float(self._weighted @ self._weighted)
        if total == 0.0:
            return np.full(len(pairs.values), np.nan)
        shares = (pairs.vectors.T @ self._weighted) ** 2 / total
        return np.minimum(np.cumsum(shares), 1.0)

    def low_frequency_energy(self, m: int) -> float:
        """E_m: share of the signal in the ``m`` lowest eigenvectors of L_sym, null ones included; 0 to 1."""
        return float(self.cumulative_energy(m)[-1])

    def spectral_measure(self, *, steps: int = 80, n_probes: int = 8, seed: int = 0) -> SpectralMeasure:
        """Energy of x over the spectrum of L_sym, without eigenvectors; see `spectral_measure` and `density_of_states`.

        Computed for all signals at once, and kept.

        Raises
        ------
        ValueError
            If the signal is constant.
        """
        measures, _ = self._spectrum.measured(steps, n_probes, seed)
        if self.name not in measures:
            raise ValueError(f"signal {self.name!r} has no spectral measure: it is constant on the edges of the graph")
        return measures[self.name]

    def energy_estimate(self, m: int, *, steps: int = 80, n_probes: int = 8, seed: int = 0) -> Bounds:
        """E_m without eigenvectors: an interval that holds it with 99% confidence, and its middle.

        See `SpectralMeasure.low_frequency_energy`. Narrow where the lowest modes lie apart (latents of three dimensions
        and more) or m is large; for small m on curves and sheets take `low_frequency_energy`, or more ``steps``.
        """
        if self.name not in self._spectrum.measured(steps, n_probes, seed)[0]:
            nan = np.asarray(np.nan)
            return Bounds(nan, nan, nan)
        measures, density = self._spectrum.measured(steps, n_probes, seed)
        return measures[self.name].low_frequency_energy(m, density)


@dataclass(frozen=True, eq=False)
class SmoothnessResult(Mapping[str, SignalSmoothness]):
    """Smoothness of several signals over one graph: a mapping from signal name to `SignalSmoothness`.

    Attributes
    ----------
    graph : scipy.sparse.csr_array
        The graph the signals were scored on [N, N].
    n_components : int
        Connected components of the graph. Above 1, read the scores with care: fragmentation alone makes
        signals that differ between the fragments look smooth.
    settings : dict
        How the graph was made: ``n_neighbors``, ``weights``, ``symmetrize``; empty if it was given.
    """

    graph: sparse.csr_array
    n_components: int
    settings: Mapping[str, Any]
    _signals: Mapping[str, SignalSmoothness] = field(repr=False)
    _spectrum: LazySpectrum = field(repr=False)
    _built: KnnGraph | None = field(default=None, repr=False)

    @property
    def recall(self) -> float:
        """Share of the true neighbours in the graph: 1 for exact searches, NaN if the graph was given."""
        return self._built.recall if self._built is not None else math.nan

    @property
    def index(self) -> str:
        """The search that made the graph; empty if the graph was given."""
        return self._built.index if self._built is not None else ""

    @property
    def n_added_edges(self) -> int:
        """Edges that ``connect=True`` added between components."""
        return self._built.n_added_edges if self._built is not None else 0

    def __getitem__(self, name: str) -> SignalSmoothness:
        try:
            return self._signals[name]
        except KeyError:
            raise KeyError(f"no signal {name!r}; the result holds {', '.join(map(repr, self._signals))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._signals)

    def __len__(self) -> int:
        return len(self._signals)

    @property
    def ranking(self) -> tuple[str, ...]:
        """Signal names from the highest score to the lowest; undefined scores last."""
        return tuple(sorted(self, key=lambda name: _last_if_nan(self[name].score)))

    def eigenpairs(self, m: int) -> EigenPairs:
        """The ``m`` lowest eigenpairs of L_sym of the graph; computed once and shared by all signals."""
        return self._spectrum.lowest(m)

    def density_of_states(self, *, steps: int = 80, n_probes: int = 8, seed: int = 0) -> DensityOfStates:
        """Number of eigenvalues of L_sym up to any point, without eigenvectors; shared with the spectral measures."""
        return self._spectrum.measured(steps, n_probes, seed)[1]

    def table(self, *, energies: Sequence[int] = (), as_frame: bool = False) -> Any:
        """One row per signal, as dicts or as a pandas DataFrame.

        Permutation p-values and intervals are there if they were asked for, the number of added edges if there are any.

        Parameters
        ----------
        energies : sequence of int
            Add the low-frequency energies E_m for these m, as ``energy_<m>``. They need eigenpairs.
        as_frame : bool
            Return a ``pandas.DataFrame`` instead of a list of dicts.

        Raises
        ------
        ImportError
            If ``as_frame`` is asked for and pandas is not installed.
        """
        energies = check_sequence(energies, "energies", "number of modes")
        if energies:
            self._spectrum.lowest(max(energies))
        resampled = [c for c in RESAMPLED_FIELDS if not all(math.isnan(getattr(s, c)) for s in self.values())]
        columns = (*TABLE_FIELDS, *resampled)
        rows = []
        for name, signal in self.items():
            row: dict[str, Any] = {"signal": name, "n_components": self.n_components}
            if self._built is not None:
                row["recall"] = self.recall
            if self.n_added_edges:
                row["n_added_edges"] = self.n_added_edges
            row |= {column: getattr(signal, column) for column in columns}
            row |= {f"energy_{m}": signal.low_frequency_energy(m) for m in energies}
            rows.append(row)
        return as_data_frame(rows) if as_frame else rows

    def plot(self, path: Any = None) -> Any:
        """Scores with their intervals, and cumulative energies over the spectrum, as a matplotlib figure.

        Parameters
        ----------
        path : path-like, optional
            Save the figure there as well.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from gmvae_fast.spectral.plots import plot_result  # here, not above: matplotlib is optional

        return plot_result(self, path)

    def __str__(self) -> str:
        components = f"{self.n_components} connected component{'s' if self.n_components > 1 else ''}"
        settings = "".join(f", {key}={value}" for key, value in self.settings.items())
        recall = f", recall {self.recall:.4f}" if self.recall < 1 else ""
        added = (
            f", {self.n_added_edges} edge{'s' if self.n_added_edges > 1 else ''} added" if self.n_added_edges else ""
        )
        lines = [f"{self.graph.shape[0]} nodes{settings}{recall}, {components}{added}"]
        width = max([len("signal"), *map(len, self)])
        permuted = any(not math.isnan(signal.p_permutation) for signal in self.values())
        sampled = any(len(signal.score_samples) for signal in self.values())
        heads = f"  {'p permuted':>10}" * permuted + f"  {'interval of the score':>21}" * sampled
        lines.append(
            f"{'signal':<{width}}  {'score':>8}  {'z':>8}  {'p':>9}  {'z normal':>8}  {'Dirichlet':>10}{heads}"
        )
        for name in self.ranking:
            signal = self[name]
            interval = f"[{signal.score_lower:.4f}, {signal.score_upper:.4f}]"
            lines.append(
                f"{name:<{width}}  {signal.score:8.4f}  {signal.z_score:8.2f}  "
                f"{_format_p(signal.log10_p):>9}  {signal.z_normal:8.2f}  {signal.dirichlet:10.4g}"
                + f"  {signal.p_permutation:10.4f}" * permuted
                + f"  {interval:>21}" * sampled
            )
        return "\n".join(lines)


def as_data_frame(rows: list[dict[str, Any]]) -> Any:
    """``rows`` as a pandas DataFrame."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("as_frame=True needs pandas; install it or use the list of dicts") from error
    return pandas.DataFrame(rows)


def _last_if_nan(score: float) -> float:
    return math.inf if math.isnan(score) else -score


def _format_p(log10_p: float) -> str:
    """A p-value from its logarithm, so that 1e-800 is not printed as 0."""
    if math.isnan(log10_p):
        return "nan"
    if log10_p > -3:
        return f"{10**log10_p:.4f}"
    exponent = math.floor(log10_p)
    return f"{10 ** (log10_p - exponent):.1f}e{exponent:d}"
