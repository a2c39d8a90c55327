import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.generation import regime_recall


@pytest.fixture
def model(one_thread):
    """Decoder and encoder are one another's inverse, so components are told apart as well as they stand apart."""
    encoder = torch.nn.Linear(2, 4)
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([torch.eye(2), torch.zeros(2, 2)]))
        encoder.bias.copy_(torch.tensor([0.0, 0.0, -12.0, -12.0]))
    return gf.GMVAE((2,), latent_dim=2, n_components=3, network=(encoder, torch.nn.Identity()))


def _place(model, means, log_vars=0.0):
    with torch.no_grad():
        model.prior.means.copy_(torch.tensor(means))
        model.prior.log_vars.fill_(log_vars)


def test_components_far_apart_are_recognised(model):
    _place(model, [[-9.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    found = regime_recall(model, 200)
    np.testing.assert_array_equal(found.recall, [1, 1, 1])
    np.testing.assert_array_equal(found.confusion, 200 * np.eye(3))


def test_overlap_is_counted_as_theory_has_it(model):
    """Unit Gaussians at a distance of 2 are told apart with probability Phi(1) = 0.841."""
    _place(model, [[-1.0, 0.0], [1.0, 0.0], [50.0, 0.0]])
    found = regime_recall(model, 4000, seed=1)
    np.testing.assert_allclose(found.recall, [0.841, 0.841, 1], atol=0.02)
    np.testing.assert_array_equal(found.confusion.sum(1), 4000)


def test_errors(model):
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        regime_recall(model, 0)
