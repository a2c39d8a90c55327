"""Other packages' mixture terms, called as they are installed: scvi-tools and ClustPy, the extra ``bench``.

scvi-tools: ``scvi.module.base.MogPrior.kl``, a Monte Carlo estimate of KL(q(z) || p(z)) from 30 draws per row.

ClustPy: the loss of its VaDE module with a reconstruction term of weight zero, behind a stand-in network that hands out
given posteriors and, as its network does, a fresh sample. ClustPy has no public function of the loss alone, so the
module class, whose name has an underscore, is used. Version 0.0.3 computes another number than VaDE's paper
(arXiv 1611.05148): the log variances enter the responsibilities without their factor 1/2, 1e-10 is added to every
unnormalised responsibility (far from all components, or in many dimensions, they become uniform), and the constant
log(2 pi) / 2 is counted N times on one side and once on the other. `clustpy_formula` states that number.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from forms import LOG_2PI, draw
from gmvae_fast.ops import reference

SCVI_SAMPLES = 30  # fixed inside MogPrior.kl
SCVI_SCALE_OFFSET = 1e-4  # which MogPrior adds to every standard deviation
CLUSTPY_FLOOR = 1e-10
EXTRA = "needs the extra `bench`: make bench-others"


def missing(package: str) -> str | None:
    """Why ``package`` cannot be measured here, or None."""
    return EXTRA if importlib.util.find_spec(package) is None else None


def _import_beside_torchvision(name: str) -> types.ModuleType:
    """Import a module that imports torchvision, also where torchvision's compiled operators do not load.

    The wheels of the package index are linked against CUDA. Beside a CPU-only torch their import ends with "operator
    torchvision::nms does not exist", because it describes operators that nobody has declared. Neither package calls
    those, so declaring them is enough.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as err:
        if "torchvision::" not in str(err):
            raise
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # What a failed import left behind would be found instead of being imported again.
    for stale in [
        m for m in sys.modules if m.partition(".")[0] in ("torchvision", "torchmetrics", "lightning", "scvi")
    ]:
        del sys.modules[stale]
    return importlib.import_module(name)


def scvi_prior(log_weights: Tensor, means: Tensor, log_vars: Tensor) -> Any:
    """A MogPrior equal to the mixture; its parameters: ``prior_logits``, ``prior_means``, ``prior_log_scales``."""
    prior = _import_beside_torchvision("scvi.module.base").MogPrior(*means.shape)
    with torch.no_grad():
        prior.prior_logits.copy_(log_weights)
        prior.prior_means.copy_(means)
        prior.prior_log_scales.copy_(torch.log(torch.exp(0.5 * log_vars) - SCVI_SCALE_OFFSET))
    return prior


def scvi_kl(prior: Any, mean: Tensor, log_var: Tensor) -> Tensor:
    """30-sample estimate of KL(q(z) || p(z)) [N]."""
    estimate: Tensor = prior.kl(torch.distributions.Normal(mean, torch.exp(0.5 * log_var)))
    return estimate


class _GivenPosterior:
    """In the place of ClustPy's network: (z, mean, log_var, reconstruction) for posteriors computed elsewhere."""

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        self.mean, self.log_var = mean, log_var

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return draw(self.mean, self.log_var), self.mean, self.log_var, batch


def clustpy_module(log_weights: Tensor, means: Tensor, log_vars: Tensor) -> Any:
    """ClustPy's VaDE module with the given mixture; its parameters are ``pi`` (logits), ``p_mean``, ``p_log_var``."""
    module = _import_beside_torchvision("clustpy.deep.vade")._VaDE_Module
    arrays = [t.detach().numpy() for t in (log_weights, means, log_vars.exp())]
    return module(means.shape[0], means.shape[1], *arrays)


def clustpy_loss(module: Any, mean: Tensor, log_var: Tensor) -> Tensor:
    """The mixture part of ClustPy's VaDE loss, a mean over rows []."""
    zero: Callable[[Tensor, Tensor], float] = lambda reconstruction, batch: 0.0  # noqa: E731
    loss: Tensor = module.vade_loss(_GivenPosterior(mean, log_var), mean, zero, 1.0, 0.0)
    return loss


def clustpy_formula(
    z: Tensor, mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor
) -> Tensor:
    """The number ClustPy 0.0.3 computes for the sample ``z``, from this package's reference []."""
    density = reference.log_density(z, means, log_vars) - 0.5 * log_vars.sum(1)
    joint = torch.exp(log_weights + density) + CLUSTPY_FLOOR
    gamma = joint / joint.sum(1, keepdim=True)
    kl = reference.component_kl(mean, log_var, means, log_vars)
    rows = (gamma * (kl + gamma.log() - log_weights)).sum(1)
    return rows.mean() + 0.5 * LOG_2PI * (1 - 1 / mean.shape[0])


def clustpy_networks(n_features: int, widths: Sequence[int], embedding_size: int) -> Any:
    """ClustPy's variational autoencoder with a linear output, as its VaDE trains it after the pretraining."""
    vae = _import_beside_torchvision("clustpy.deep.vade")._VaDE_VAE
    network = vae([n_features, *widths, embedding_size], decoder_output_fn=None, random_state=0)
    network.fitted = True
    return network


def clustpy_epoch(
    network: Any, x: Tensor, n_components: int, batch_size: int, learning_rate: float
) -> Callable[[], float]:
    """One epoch of ClustPy's VaDE on rows ``x``, by its own loop and data loader; 0, as it returns no loss."""
    module = _import_beside_torchvision("clustpy.deep.vade")._VaDE_Module(n_components, network.mean.out_features)
    loader = _import_beside_torchvision("clustpy.deep._data_utils").get_dataloader(x, batch_size, shuffle=True)
    optimizer = torch.optim.Adam([*network.parameters(), *module.parameters()], lr=learning_rate)
    squares = torch.nn.MSELoss(reduction="sum")

    def epoch() -> float:
        module.fit(network, loader, loader, 1, torch.device("cpu"), optimizer, squares, 1.0, 1.0)
        return 0.0

    return epoch
