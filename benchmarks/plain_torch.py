"""The GM-VAE as one writes it in plain torch: modules, a DataLoader, Adam, the formulas with broadcasting.

The same method as `gmvae_fast.fit` with scheme "block": an epoch of Adam with the mixture frozen, then a pass of all
latents and a closed-form M-step.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gmvae_fast.networks import ConvDecoder, ConvEncoder


def plain_network(network: nn.Module) -> nn.Module:
    """The same layers and weights as one writes them: torch's own, in a row, in its default memory order."""
    if isinstance(network, ConvEncoder):
        layers = [*network.stages, nn.Flatten(), network.head]
    elif isinstance(network, ConvDecoder):
        layers = [*network.head, nn.Unflatten(1, network.first)]
        for small, large, stage in zip(network.sizes, network.sizes[1:], network.stages, strict=False):
            up = copy.deepcopy(stage)
            up.output_padding = tuple(b - (2 * a - 1) for a, b in zip(small, large, strict=True))
            layers += [nn.SiLU(), up]
    else:
        layers = list(network)
    return nn.Sequential(*map(_plain_layer, layers)).to(memory_format=torch.contiguous_format)


def _plain_layer(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Linear):
        return copy.deepcopy(layer)
    plain = nn.Linear(layer.in_features, layer.out_features)
    plain.load_state_dict(layer.state_dict())
    return plain


class PlainGMVAE(nn.Module):
    """Encoder, decoder and a mixture of K diagonal Gaussians in D dimensions."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, k: int, d: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("log_weights", torch.full((k,), 1 / k).log())
        self.register_buffer("means", torch.zeros(k, d))
        self.register_buffer("log_vars", torch.zeros(k, d))

    def component_kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(m, s^2) || N(mu_c, sigma_c^2)) [N, K]."""
        mean, log_var = mean[:, None], log_var[:, None]
        ratio = (log_var.exp() + (mean - self.means).square()) / self.log_vars.exp()
        return 0.5 * (self.log_vars - log_var + ratio - 1).sum(2)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Negative ELBO of each snapshot [N], exact assignment, without the Gaussian constant."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        decoded = self.decoder(mean + torch.exp(0.5 * log_var) * noise)
        reconstruction = 0.5 * (decoded - x).square().flatten(1).sum(1)
        return reconstruction - torch.logsumexp(self.log_weights - self.component_kl(mean, log_var), 1)

    @torch.no_grad()
    def m_step(self, x: Tensor, batch_size: int) -> None:
        """Weights, means and variances of least KL over all snapshots."""
        parts = [self.encoder(rows) for rows in x.split(batch_size)]
        mean, log_var = torch.cat(parts).double().chunk(2, dim=1)
        gamma = torch.softmax(self.log_weights - self.component_kl(mean, log_var), 1)
        weight = gamma.sum(0)
        means = gamma.T @ mean / weight[:, None]
        spread = (mean[:, None] - means).square() + log_var.exp()[:, None]
        variances = (gamma[:, :, None] * spread).sum(0) / weight[:, None]
        for buffer, value in (
            (self.log_weights, (weight / weight.sum()).log()),
            (self.means, means),
            (self.log_vars, variances.log()),
        ):
            buffer.copy_(value)


class PlainTraining:
    """Epochs of `PlainGMVAE` on normalised snapshots ``x``."""

    def __init__(self, model: PlainGMVAE, x: Tensor, batch_size: int, learning_rate: float) -> None:
        self.model, self.x, self.batch_size = model, x, batch_size
        self.loader = DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=True)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def epoch(self) -> float:
        """Mean loss of one epoch."""
        total = 0.0
        for (x,) in self.loader:
            loss = self.model(x, torch.randn(len(x), self.model.means.shape[1])).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(x)
        self.model.m_step(self.x, self.batch_size)
        return total / len(self.x)
