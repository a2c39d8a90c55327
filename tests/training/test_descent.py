"""One step of the descent: its gradients are those of the loss as it is written down."""

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.model import LossTerms
from gmvae_fast.training.descent import _descend


def terms_of(parameters, rows, *, constant_kl=False):
    encoder, decoder = parameters
    latent = (rows * encoder).sum(1)
    kl = latent.square() if not constant_kl else rows.square().sum(1)
    reconstruction = ((latent[:, None] if not constant_kl else rows) * decoder - rows).square().sum(1)
    return LossTerms(reconstruction, kl, latent, latent, latent)


@pytest.mark.parametrize("constant_kl", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_gradients_are_those_of_the_weighted_loss(n, weighted, constant_kl):
    rows, beta, share = torch.randn(n, 3, dtype=torch.float64), 0.3, 0.25
    weight = torch.rand(n, dtype=torch.float64) if weighted else None
    found = [torch.linspace(-1, 1, 3, dtype=torch.float64).requires_grad_() for _ in range(2)]
    expected = [p.detach().clone().requires_grad_() for p in found]
    _descend(terms_of(found, rows, constant_kl=constant_kl), beta, share, weight)
    terms = terms_of(expected, rows, constant_kl=constant_kl)
    loss = terms.reconstruction + beta * terms.kl
    (share * (loss if weight is None else weight * loss).sum()).backward()
    assert (found[0].grad is None) == (expected[0].grad is None) == constant_kl
    for one, other in zip(found, expected, strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("frozen", ["encoder", "decoder"])
def test_a_part_that_does_not_learn(frozen, one_thread):
    model = gf.GMVAE((10,), n_components=2, widths=(16,))
    getattr(model, frozen).requires_grad_(False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    x = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    gf.fit(model, x, gf.TrainConfig(epochs=2, warmup_epochs=1, batch_size=32, n_init=1))
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith(frozen), name
