"""Snapshots in the units of a network: training mean, standard deviation and mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gmvae_fast._batches import Batches
from gmvae_fast.data.incomplete import IncompleteMoments
from gmvae_fast.data.moments import Moments
from gmvae_fast.networks import check_input_shape
from gmvae_fast.ops._normalise import masked, normalised


class Normalised(nn.Module):
    """What every method that reads snapshots does to them first, and undoes in its outputs.

    The training mean (per value) is subtracted and the result divided by the training standard deviation (per channel;
    per feature for vectors). Where the training data have a mask, cells outside it are 0 in both directions.

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one snapshot: (features,) or (channels, *grid).
    """

    offset: Tensor
    scale: Tensor
    mask: Tensor | None
    gaps: Tensor | None

    def __init__(self, input_shape: Sequence[int]) -> None:
        super().__init__()
        shape = self.input_shape = check_input_shape(input_shape)
        self.register_buffer("offset", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape[:1] + (1,) * (len(shape) - 1)))
        self.register_buffer("mask", None)  # bool [*grid], taken from masked data
        self.register_buffer("gaps", None)  # there where values may be missing, see `TrainConfig.on_nan`

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.offset.device

    def set_normalisation(self, data: Any) -> None:
        """Take mean, standard deviation and mask from ``data`` in one streaming pass, or from one that is remembered.

        Moments are float64, see `gmvae_fast.data.moments`; cells outside the mask do not count.
        """
        source = self._source(data)
        moments = source.moments(self.device)
        if not moments.finite:
            source.check_finite()  # says where
        self.take_moments(moments, source.mask)

    def take_moments(self, moments: Moments | IncompleteMoments, mask: Tensor | None) -> list[int]:
        """Normalise by ``moments`` of snapshots with ``mask``; the channels that do not vary beyond rounding.

        Those keep their units, unless rounding alone is more than 1 in them: a channel of 1e30 has rounding of 1e23.
        """
        self.mask = None if mask is None else mask.to(self.device)
        std = moments.std(self.n_values // self.input_shape[0])
        magnitude = moments.mean.abs().reshape(len(std), -1).amax(1)
        rounding = 1e-6 * magnitude
        varies = (std > rounding) & (std >= torch.finfo(torch.float32).tiny)
        std = torch.where(varies, std, rounding.clamp_min(1))
        with torch.no_grad():
            self.offset.copy_(moments.mean)
            self.scale.copy_(std.reshape(self.scale.shape))
        return (~varies).nonzero().flatten().tolist()

    @property
    def channels_last(self) -> bool:
        """Whether `normalise` puts fields into this order in memory, where it can do so on the way."""
        return False

    @property
    def n_values(self) -> int:
        """Values of one snapshot that count: channels times cells inside the mask."""
        cells = math.prod(self.input_shape[1:]) if self.mask is None else int(self.mask.sum())
        return self.input_shape[0] * cells

    def _masked(self, x: Tensor) -> Tensor:
        """Zero outside the mask, whatever stood there."""
        return masked(x, self.mask)

    def normalise(self, x: Tensor) -> Tensor:
        """Data units -> network units; 0 outside the mask."""
        return normalised(x, self.offset, self.scale, self.mask, channels_last=self.channels_last)

    def denormalise(self, x: Tensor) -> Tensor:
        """Network units -> data units; 0 outside the mask."""
        return self._masked(x * self.scale + self.offset)

    def filled(self, x: Tensor) -> Tensor:
        """Normalised snapshots whose missing values (NaN, inf) are the mean, where the model was trained on such."""
        return x if self.gaps is None else torch.where(torch.isfinite(x), x, torch.zeros_like(x))

    def differences(self, decoded: Tensor, x: Tensor) -> Tensor:
        """``decoded - x`` of normalised snapshots, 0 at values that are missing."""
        difference = decoded - x
        return difference if self.gaps is None else torch.where(torch.isfinite(x), difference, torch.zeros_like(x))

    def known_values(self, x: Tensor) -> Tensor | int:
        """How many values of each of the normalised snapshots count: [N], or the same number for all."""
        if self.gaps is None:
            return self.n_values
        return self.n_values - (~torch.isfinite(x)).flatten(1).sum(1)

    def _source(self, data: Any) -> Batches:
        source = data if isinstance(data, Batches) else Batches(data)
        if source.shape != self.input_shape:
            raise ValueError(
                f"{source.name} must hold snapshots of shape {self.input_shape} (the model's input_shape), "
                f"got {source.shape}"
            )
        return source

    @staticmethod
    def _like(source: Batches, value: Tensor) -> Any:
        return value.to(source.home) if source.returns_tensor else value.cpu().numpy()
