"""One place that says how many threads the native libraries may use: as many as torch."""

from __future__ import annotations

import torch


def thread_count() -> int:
    """Number of threads for native kernels, FAISS and numba: torch's intra-op setting."""
    return int(torch.get_num_threads())
