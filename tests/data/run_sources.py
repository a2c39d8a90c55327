"""Sources whose snapshots are runs with conditions, for tests of splits and weights."""

import numpy as np

from gmvae_fast.data import Snapshots


def make_runs(lengths, reynolds=None, interval=0.5, groups=None):
    """Runs of the given lengths [R]; Re by run (default 100, 200, ...), `wobble` varies along each run."""
    n = sum(lengths)
    ids = np.repeat(np.arange(len(lengths)) * 3, lengths)
    reynolds = 100.0 * (1 + np.arange(len(lengths))) if reynolds is None else np.asarray(reynolds, float)
    frame = np.concatenate([np.arange(k) for k in lengths]) if lengths else np.zeros(0)
    labels = {} if groups is None else {"group": np.repeat(groups, lengths)}
    return Snapshots(
        np.random.default_rng(0).standard_normal((n, 1, 4)),
        ("u",),
        quantities={"Re": np.repeat(reynolds, lengths), "wobble": np.arange(n, dtype=float)},
        labels=labels,
        trajectory=ids,
        time=interval * frame,
    )
