"""Gaussian-mixture variational autoencoders by block-coordinate EM, and a spectral smoothness metric."""

import os as _os
import sys as _sys
from importlib.metadata import version as _version

if _os.path.basename(_sys.argv[0] if _sys.argv else "") == "gmvae-fast":
    # For the command only, and before torch loads OpenMP: idle threads sleep instead of spinning. On cores shared
    # with other work spinning made small training steps up to ten times slower; on quiet cores it gains little.
    _os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from gmvae_fast import baselines as baselines
from gmvae_fast import data as data
from gmvae_fast import distributed as distributed
from gmvae_fast import generation as generation
from gmvae_fast import metrics as metrics
from gmvae_fast import ops as ops
from gmvae_fast import spectral as spectral
from gmvae_fast._dense_layers import fuse_dense_layers as fuse_dense_layers
from gmvae_fast._native import NativeStatus as NativeStatus
from gmvae_fast._native import native_status as native_status
from gmvae_fast.data import open_snapshots as open_snapshots
from gmvae_fast.distributed import RankLost as RankLost
from gmvae_fast.gaussian_mixture import GaussianMixture as GaussianMixture
from gmvae_fast.history import History as History
from gmvae_fast.mixture import MixturePriors as MixturePriors
from gmvae_fast.model import GMVAE as GMVAE
from gmvae_fast.model import Embedding as Embedding
from gmvae_fast.model import load as load
from gmvae_fast.spectral import smoothness as smoothness
from gmvae_fast.tensor_files import ModelFileError as ModelFileError
from gmvae_fast.train_config import TrainConfig as TrainConfig
from gmvae_fast.training import TrainingDiverged as TrainingDiverged
from gmvae_fast.training import fit as fit
from gmvae_fast.tuning import ComponentChoice as ComponentChoice
from gmvae_fast.tuning import tune_components as tune_components

__version__ = _version("gmvae_fast")


def __getattr__(name: str) -> object:
    """`GMVAEEstimator`, which needs scikit-learn: imported when asked for."""
    if name == "GMVAEEstimator":
        from gmvae_fast.estimator import GMVAEEstimator

        return GMVAEEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
