"""Encoders and decoders for vectors and for 1-D, 2-D and 3-D fields.

An encoder maps normalised snapshots [N, *input_shape] to [N, 2 D] (posterior means, then log variances); a decoder
maps latents [N, D] to [N, *input_shape].
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gmvae_fast._checks import check_integer, nearest
from gmvae_fast._dense import Dense
from gmvae_fast._dense_layers import DenseLayers
from gmvae_fast.ops._normalise import CHANNELS_LAST

NETWORKS = ("auto", "mlp", "conv")
#: Default widths; not tuned per data set.
MLP_WIDTHS = (256, 128)
CONV_CHANNELS = (16, 32, 64, 64)
_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def build_networks(
    input_shape: Sequence[int], latent_dim: int, network: str = "auto", widths: Sequence[int] | None = None
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for ``input_shape``.

    Parameters
    ----------
    input_shape : sequence of int
        (features,) for vectors, (channels, *grid) with one to three grid axes for fields.
    latent_dim : int
    network : {"auto", "mlp", "conv"}
        "auto" is "mlp" for vectors and "conv" for fields.
    widths : sequence of int, optional
        Hidden widths of the encoder from input to latent (the decoder mirrors them): units of each layer of an
        "mlp", channels of each halving stage of a "conv".

    Raises
    ------
    ValueError
        Naming the argument that does not fit.
    """
    shape = check_input_shape(input_shape)
    latent_dim = check_integer("latent_dim", latent_dim, 1)
    if network not in NETWORKS:
        hint = nearest(network, NETWORKS)
        raise ValueError(f"network must be 'auto', 'mlp', 'conv' or a pair of modules, got {network!r}{hint}")
    if network == "auto":
        network = "mlp" if len(shape) == 1 else "conv"
    if network == "conv" and len(shape) == 1:
        raise ValueError(f"network='conv' needs input_shape (channels, *grid), got {shape}; use network='mlp'")
    if widths is None:
        widths = MLP_WIDTHS if network == "mlp" else CONV_CHANNELS
    sizes = _positive_integers(widths)
    if not sizes:
        raise ValueError(f"widths must be a non-empty sequence of positive integers, got {widths!r}")
    if network == "mlp":
        return _mlp(shape, latent_dim, sizes)
    return ConvEncoder(shape, 2 * latent_dim, sizes), ConvDecoder(shape, latent_dim, sizes)


def check_input_shape(input_shape: Any) -> tuple[int, ...]:
    """Shape of one snapshot as a tuple of one to four positive integers."""
    shape = _positive_integers(input_shape)
    if not 1 <= len(shape) <= 4:
        raise ValueError(
            "input_shape must be (features,) or (channels, *grid) with one to three grid axes, all >= 1, "
            f"got {input_shape!r}"
        )
    return shape


def _positive_integers(values: Any) -> tuple[int, ...]:
    """Empty where ``values`` are anything else."""
    try:
        return tuple(check_integer("", value, 1) for value in values)
    except (TypeError, ValueError):
        return ()


def _mlp(shape: tuple[int, ...], latent_dim: int, widths: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    size = math.prod(shape)
    encoder = DenseLayers(nn.Flatten(), *dense_layers((size, *widths, 2 * latent_dim)))
    decoder = DenseLayers(*dense_layers((latent_dim, *reversed(widths), size)), nn.Unflatten(1, shape))
    return encoder, decoder


def dense_layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear layers of ``sizes`` from input to output, with SiLU between them."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [Dense(a, b)] if i == len(sizes) - 2 else [Dense(a, b), nn.SiLU()]
    return layers


def _stage_sizes(grid: tuple[int, ...], stages: int) -> list[tuple[int, ...]]:
    """Grid after each halving, rounding up, as a stride-2 convolution with padding 1 leaves it."""
    sizes = [grid]
    for _ in range(stages):
        sizes.append(tuple((s + 1) // 2 for s in sizes[-1]))
    return sizes


class ConvEncoder(nn.Module):
    """Stages of stride-2 convolutions, then one linear layer; any grid size."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[len(input_shape) - 1]
        layers: list[nn.Module] = []
        for a, b in zip((input_shape[0], *channels[:-1]), channels, strict=True):
            layers += [convolution(a, b, 3, stride=2, padding=1), nn.SiLU()]
        self.stages = nn.Sequential(*layers)
        grid = _stage_sizes(input_shape[1:], len(channels))[-1]
        self.head = Dense(channels[-1] * math.prod(grid), n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, *grid] -> [N, n_outputs]."""
        with _convolutions(x):
            x = self.stages(channels_last(x))
        out: Tensor = self.head(x.flatten(1))
        return out


class ConvDecoder(nn.Module):
    """The encoder's mirror: a small dense net, then transposed convolutions that undo each stage's halving.

    Interpolation followed by a convolution needs four times the arithmetic in two dimensions, on the largest arrays.
    """

    def __init__(self, output_shape: tuple[int, ...], latent_dim: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        transposed = _TRANSPOSED[len(output_shape) - 1]
        self.sizes = _stage_sizes(output_shape[1:], len(channels))[::-1]
        self.first = (channels[-1], *self.sizes[0])
        hidden = 4 * channels[-1]
        self.head = DenseLayers(Dense(latent_dim, hidden), nn.SiLU(), Dense(hidden, math.prod(self.first)))
        outward = (*reversed(channels), output_shape[0])
        self.stages = nn.ModuleList(transposed(a, b, 3, stride=2, padding=1) for a, b in pairwise(outward))
        # torch scales these by the output channels; an output value has 3/2 taps per axis in each input channel.
        taps = 1.5 ** (len(output_shape) - 1)
        for stage, a in zip(self.stages, outward, strict=False):
            for values in stage.parameters():
                nn.init.uniform_(values, -((a * taps) ** -0.5), (a * taps) ** -0.5)

    def forward(self, z: Tensor) -> Tensor:
        """[N, D] -> [N, C, *grid]."""
        x: Tensor = self.head(z)
        with _convolutions(x):
            x = channels_last(x.to(z.dtype).unflatten(1, self.first))
            for size, stage in zip(self.sizes[1:], self.stages, strict=True):
                x = stage(nn.functional.silu(x), output_size=size)
        return x


def _convolutions(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Keeps convolutions on a CPU out of autocast: strided, with few channels, they take twice as long in bfloat16."""
    return torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else contextlib.nullcontext()


def channels_last(x: Tensor) -> Tensor:
    """``x`` [N, C, *grid] in the order in memory in which convolutions are fastest, on CPUs and tensor cores."""
    layout = CHANNELS_LAST.get(x.ndim)
    return x if layout is None else x.contiguous(memory_format=layout)


def parameter_count(*modules: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad)


def start_confident(encoder: nn.Module, latent_dim: int, log_var: float = -4.0) -> None:
    """Start the log variances of a built-in encoder at ``log_var``: early samples then carry information."""
    heads = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    if heads and heads[-1].out_features == 2 * latent_dim:
        with torch.no_grad():
            heads[-1].weight[latent_dim:].mul_(0.1)
            heads[-1].bias[latent_dim:].fill_(log_var)
