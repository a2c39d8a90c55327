"""ELBO and importance-weighted bound of a model whose log p(x) is known: a linear decoder under a Gaussian mixture."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import gmvae_fast as gf
from gmvae_fast.mixture import MixtureParameters

pytestmark = pytest.mark.usefixtures("one_thread")
LOG_NOISE = math.log(0.4)


def linear_model(latent_dim, n_components, features=6, seed=0, covariance_type="diag"):
    """W z + b with noise tau^2 = 0.4; the encoder has the best linear mean and a diagonal posterior."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(features, latent_dim, generator=generator) / 2
    bias = torch.randn(features, generator=generator)
    encoder, decoder = nn.Linear(features, 2 * latent_dim), nn.Linear(latent_dim, features)
    model = gf.GMVAE((features,), latent_dim, n_components, network=(encoder, decoder), covariance_type=covariance_type)
    log_weights = torch.log_softmax(torch.randn(n_components, generator=generator), 0)
    means = torch.randn(n_components, latent_dim, generator=generator)
    if covariance_type == "full":
        factors = torch.randn(n_components, latent_dim, latent_dim, generator=generator).tril() / 3
        model.prior.set(MixtureParameters(log_weights, means, None, factors + torch.eye(latent_dim)))
    else:
        model.prior.set(
            MixtureParameters(log_weights, means, torch.randn(n_components, latent_dim, generator=generator) / 2)
        )
    precision = weight.T @ weight / math.exp(LOG_NOISE) + torch.eye(latent_dim)
    gain = torch.linalg.solve(precision, weight.T) / math.exp(LOG_NOISE)
    with torch.no_grad():
        model.log_noise.fill_(LOG_NOISE)
        decoder.weight.copy_(weight)
        decoder.bias.copy_(bias)
        encoder.weight[:latent_dim] = gain
        encoder.bias[:latent_dim] = -gain @ bias
        encoder.weight[latent_dim:] = 0
        encoder.bias[latent_dim:] = -torch.log(precision.diagonal())
    return model


def exact_log_density(model, x):
    """log sum_c pi_c N(x; W mu_c + b, W Sigma_c W' + tau^2 I), float64."""
    weight, bias = model.decoder.weight.detach().double(), model.decoder.bias.detach().double()
    mixture = model.prior.get()
    parts = []
    for c, covariance in enumerate(mixture.covariances().double()):
        noise = math.exp(LOG_NOISE) * torch.eye(len(bias), dtype=torch.float64)
        distribution = torch.distributions.MultivariateNormal(
            weight @ mixture.means[c].double() + bias, weight @ covariance @ weight.T + noise
        )
        parts.append(mixture.log_weights[c].double() + distribution.log_prob(x.double()))
    return torch.logsumexp(torch.stack(parts), 0)


def snapshots(model, n=400):
    """Drawn from the model."""
    generator = torch.Generator().manual_seed(3)
    z = torch.from_numpy(model.sample(n, seed=5)[0])
    return z + math.exp(0.5 * LOG_NOISE) * torch.randn(z.shape, generator=generator)


@pytest.mark.parametrize("n_samples", [1, 7])
def test_with_the_exact_posterior_every_bound_is_the_log_density(n_samples):
    model = linear_model(1, 1)
    with torch.no_grad():
        weight, prior = model.decoder.weight[:, 0], model.prior.get()
        precision = float(weight.square().sum() / math.exp(LOG_NOISE) + torch.exp(-prior.log_vars[0, 0]))
        gain = weight / math.exp(LOG_NOISE) / precision
        pull = float(prior.means[0, 0] * torch.exp(-prior.log_vars[0, 0]) / precision)
        model.encoder.weight[0] = gain
        model.encoder.bias[0] = pull - gain @ model.decoder.bias
        model.encoder.bias[1] = -math.log(precision)
    x = snapshots(model)
    expected = exact_log_density(model, x)
    bound = model.log_evidence(x, n_samples=n_samples)
    torch.testing.assert_close(bound.double(), expected, rtol=1e-5, atol=2e-5)
    assert float(model.elbo(x, n_samples=200).double().mean()) == pytest.approx(float(expected.mean()), abs=0.02)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_the_bound_lies_below_the_log_density_rises_with_samples_and_converges(covariance_type):
    model = linear_model(2, 3, covariance_type=covariance_type)
    x = snapshots(model)
    expected = exact_log_density(model, x).numpy()
    counts = (1, 4, 16, 256)
    gaps = [model.elbo(x, n_samples=64).numpy() - expected]
    gaps += [model.log_evidence(x, n_samples=n).numpy() - expected for n in counts]
    means = [float(gap.mean()) for gap in gaps]
    error = max(float(gap.std()) / math.sqrt(len(gap)) for gap in gaps[1:])
    assert all(mean < 3 * error for mean in means), "a lower bound in expectation"
    assert means[0] < -0.1, "the encoder is not exact, so the test can tell the bounds apart"
    assert all(a < b for a, b in pairwise(means)), means
    assert abs(means[-1]) < 0.05 * abs(means[0])


def test_one_snapshot_averaged_over_seeds():
    """E[log (1/S) sum w] rises with S for every single snapshot."""
    model = linear_model(2, 2)
    x = snapshots(model, 1).expand(600, -1)
    expected = float(exact_log_density(model, x[:1]))
    means = [float(model.log_evidence(x, n_samples=n, seed=n).double().mean()) for n in (1, 2, 8, 64)]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(expected, abs=0.05)


def test_bounds_are_repeatable_and_in_the_kind_of_the_data():
    model = linear_model(2, 2)
    x = snapshots(model, 50)
    for bound in (model.elbo, model.log_evidence, model.score_samples):
        value = bound(x, n_samples=3)
        assert isinstance(value, torch.Tensor)
        assert value.shape == (50,)
        assert value.dtype == torch.float32
        assert torch.equal(value, bound(x, n_samples=3))
        assert not torch.equal(value, bound(x, n_samples=3, seed=1))
        assert isinstance(bound(x.numpy(), n_samples=1), np.ndarray)
        for name, options in (("n_samples", {"n_samples": 0}), ("batch_size", {"batch_size": 0})):
            with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
                bound(x, **options)
    assert torch.equal(model.elbo(x), model.score_samples(x))


def test_cells_outside_a_mask_do_not_count():
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(20, 1, 4, 5)).astype(np.float32)
    mask = np.ones((4, 5), dtype=bool)
    mask[1, 2:4] = False
    data = gf.data.Snapshots(fields=fields, field_names=("u",), mask=mask)
    model = gf.GMVAE((1, 4, 5), n_components=2, widths=(4,))
    model.set_normalisation(data)
    other = fields.copy()
    other[:, :, ~mask] = 1e6
    for bound in (model.elbo, model.log_evidence):
        np.testing.assert_array_equal(bound(fields), bound(other))
