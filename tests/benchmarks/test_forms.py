"""The plain-torch contenders compute what they are compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from accuracy import check, errors_at_offsets, largest_error
from bench_em import sklearn_fit, start
from em_forms import gemm_sweep
from forms import gemm_form, gemm_log_responsibilities, gemm_statistics, monte_carlo_kl
from gmvae_fast.ops import reference
from kl_contenders import Problem, check_monte_carlo
from others import clustpy_formula


@pytest.fixture
def inputs():
    return [t.detach() for t in Problem(50, 4, 3, "rows").inputs(torch.float64)]


def test_gemm_forms_equal_the_reference(inputs):
    mean, _, *mixture = inputs
    torch.testing.assert_close(gemm_form(*inputs), reference.mixture_kl(*inputs))
    torch.testing.assert_close(
        gemm_log_responsibilities(mean, *mixture), reference.log_responsibilities(mean, *mixture)
    )
    weight, first, second, _ = reference.mixture_statistics(*inputs)
    means = mixture[1]
    about_origin = first + weight[:, None] * means, second + 2 * means * first + weight[:, None] * means.square()
    torch.testing.assert_close(gemm_statistics(*inputs), (weight, *about_origin))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied", "full"])
def test_gemm_sweeps_equal_scikit_learn(covariance_type):
    gen = torch.Generator().manual_seed(3)
    x = torch.randn(400, 8, generator=gen, dtype=torch.float64)
    mixture = sklearn_fit(x, covariance_type)
    ours = gemm_sweep(x, start(x, covariance_type), covariance_type, 1e-6)
    for mine, right in zip(ours, (mixture.weights_, mixture.means_, mixture.covariances_), strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(right))
    # A second sweep starts from unequal weights and covariances.
    second = GaussianMixture(
        16,
        covariance_type=covariance_type,
        max_iter=1,
        tol=1e9,
        weights_init=mixture.weights_,
        means_init=mixture.means_,
        precisions_init=np.ascontiguousarray(mixture.precisions_),
    ).fit(x.numpy())
    again = gemm_sweep(x, ours, covariance_type, 1e-6)
    torch.testing.assert_close(again[1], torch.from_numpy(second.means_))
    torch.testing.assert_close(again[2], torch.from_numpy(second.covariances_))


def test_monte_carlo_passes_its_check():
    check_monte_carlo("Monte Carlo", Problem(300, 4, 3, "rows"), lambda: ())


def test_monte_carlo_of_one_component_has_the_closed_form_as_mean(inputs):
    mean, log_var, _, means, log_vars = inputs
    torch.manual_seed(0)
    mixture = torch.zeros(1, dtype=torch.float64), means[:1], log_vars[:1]
    draws = torch.stack([monte_carlo_kl(mean, log_var, *mixture, samples=100) for _ in range(20)])
    error = draws.mean() - reference.component_kl(mean, log_var, *mixture[1:]).mean()
    assert abs(error) < 5 * draws.mean(1).std() / 20**0.5


def test_clustpy_formula_is_vade_for_unit_variances(inputs):
    """Its two departures vanish there: no log variance to count twice, no component far enough for the floor."""
    mean, log_var, log_weights, means, _ = inputs
    mean, means, zeros = 0.1 * mean, 0.1 * means, torch.zeros_like(means)
    z = mean + 0.1
    vade = reference.mixture_kl(mean, log_var, log_weights, means, zeros, assignment="sampled", z=z).mean()
    constant = 0.5 * np.log(2 * np.pi) * (1 - 1 / len(mean))
    torch.testing.assert_close(
        clustpy_formula(z, mean, log_var, log_weights, means, zeros), vade + constant, rtol=1e-6, atol=0
    )


def test_errors_are_relative_and_nan_is_infinite():
    right = torch.tensor([1.0, -4.0])
    assert largest_error([right + torch.tensor([0.0, 0.4])], [right]) == pytest.approx(0.1)
    assert largest_error([right * float("nan")], [right]) == float("inf")
    assert errors_at_offsets(lambda o: [right + o], lambda o: [right]) == pytest.approx(
        {"0": 0, "10": 2.5, "100": 25, "1000": 250}
    )
    with pytest.raises(AssertionError, match="native is wrong by 1.0e-01"):
        check("native", 0.1, 0.01)
    with pytest.raises(AssertionError, match="inf"):
        check("native", float("inf"), 0.01)
