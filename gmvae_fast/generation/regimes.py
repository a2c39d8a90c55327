"""Are fields of a regime recognised as such?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_integer
from gmvae_fast.model import GMVAE


@dataclass(frozen=True)
class RegimeRecall:
    """Where generated fields are classified to.

    Attributes
    ----------
    recall : float64 [K]
        Share of the fields drawn from each component that are classified back to it.
    confusion : int64 [K, K]
        Fields drawn from each component (rows) by the component they are classified to (columns).
    """

    recall: npt.NDArray[np.float64]
    confusion: npt.NDArray[np.int64]


def regime_recall(model: GMVAE, n: int = 256, *, seed: int = 0) -> RegimeRecall:
    """Draw ``n`` latents from each component, decode them, encode the fields again, and count.

    Overlapping components lower the shares, as does a decoder whose fields its own encoder does not recognise.
    """
    n, seed = check_integer("n", n, 1), check_integer("seed", seed)
    confusion = np.zeros((model.n_components, model.n_components), dtype=np.int64)
    for c in range(model.n_components):
        fields, _ = model.sample(n, component=c, seed=seed + c)
        confusion[c] = np.bincount(model.predict(fields), minlength=model.n_components)
    return RegimeRecall(confusion.diagonal() / n, confusion)
