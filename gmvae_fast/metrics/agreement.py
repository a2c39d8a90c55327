"""Agreement of found components with known classes; the measures are scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class ClusterAgreement:
    """How well a partition matches known classes.

    Attributes
    ----------
    ari, nmi : float
        Adjusted Rand index (1 equal, 0 chance) and normalised mutual information.
    accuracy : float
        Share of snapshots in their class when every class is matched with one component at most, as well as possible
        (`scipy.optimize.linear_sum_assignment`).
    contingency : int [n_classes, n_components]
        Snapshots of each class (rows, ascending) in each component (columns 0..K-1).
    """

    ari: float
    nmi: float
    accuracy: float
    contingency: npt.NDArray[np.int64]


def cluster_agreement(labels: npt.ArrayLike, components: npt.ArrayLike, n_components: int) -> ClusterAgreement:
    """Compare known ``labels`` [N] with ``components`` [N] in 0..n_components-1.

    Raises
    ------
    ImportError
        Without scikit-learn.
    ValueError
        Where the two differ in length or are empty.
    """
    try:
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    except ImportError as err:
        raise ImportError('cluster agreement needs scikit-learn: pip install "gmvae_fast[baselines]"') from err
    known, found = np.asarray(labels), np.asarray(components)
    if known.shape != found.shape or known.ndim != 1 or known.size == 0:
        raise ValueError(f"labels and components must be [N] with N >= 1, got {known.shape} and {found.shape}")
    classes, index = np.unique(known, return_inverse=True)
    table = np.zeros((len(classes), n_components), dtype=np.int64)
    np.add.at(table, (index, found), 1)
    return ClusterAgreement(
        ari=float(adjusted_rand_score(known, found)),
        nmi=float(normalized_mutual_info_score(known, found)),
        accuracy=float(table[linear_sum_assignment(table, maximize=True)].sum() / known.size),
        contingency=table,
    )
