"""Gaussian-mixture variational autoencoders by block-coordinate EM, and a spectral smoothness metric."""

from importlib.metadata import version as _version

from gmvae_fast import ops as ops
from gmvae_fast._native import NativeStatus as NativeStatus
from gmvae_fast._native import native_status as native_status

__version__ = _version("gmvae_fast")
