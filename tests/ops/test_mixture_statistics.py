import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import DEVICES, DTYPES, SHAPES, make_mixture, make_rows

import gmvae_fast as gf

OP = gf.ops.mixture_statistics
REFERENCE = gf.ops.reference.mixture_statistics
FIELDS = ("weight", "first", "second", "log_evidence")


def fields(stats):
    return [getattr(stats, f) for f in FIELDS]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_matches_float64(n, k, d, points, dtype, device):
    mean, log_var, _ = make_rows(n, d, dtype, device)
    mixture = make_mixture(k, d, dtype, device)
    stats = OP(mean, None if points else log_var, *mixture)
    expected = REFERENCE(mean, None if points else log_var, *mixture)
    assert stats.count == n
    for value, ref in zip(fields(stats), expected, strict=True):
        assert value.dtype == torch.float64
        bound = 1e-5 if dtype == torch.float32 else 1e-11
        atol = bound * max(1.0, n / 10)
        torch.testing.assert_close(value, ref, rtol=bound, atol=atol)
    torch.testing.assert_close(stats.weight.sum().item(), float(n), rtol=1e-6, atol=0)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_float32_does_not_cancel_at_large_offsets(offset):
    """The variance of a cluster far from the origin keeps the digits that the float32 data hold."""
    mean, log_var, _ = make_rows(4000, 2, torch.float32, offset=offset)
    mixture = make_mixture(1, 2, torch.float32, offset=offset)
    stats = OP(mean, log_var, *mixture)
    variance = stats.second / stats.weight[:, None] - (stats.first / stats.weight[:, None]).square()
    expected = mean.double().var(0, unbiased=False) + log_var.double().exp().mean(0)
    torch.testing.assert_close(variance[0], expected, rtol=1e-6, atol=0)


def test_mixture_gradient_of_the_kl_comes_from_the_statistics():
    mean, log_var, _ = make_rows(300, 3)
    mixture = [m.requires_grad_() for m in make_mixture(4, 3)]
    grads = torch.autograd.grad(gf.ops.mixture_kl(mean, log_var, *mixture).sum(), mixture)
    stats = OP(mean, log_var, *mixture)
    precision = torch.exp(-mixture[2].detach())
    torch.testing.assert_close(grads[0], -stats.weight)
    torch.testing.assert_close(grads[1], -stats.first * precision)
    torch.testing.assert_close(grads[2], 0.5 * (stats.weight[:, None] - stats.second * precision))


def test_evidence_is_minus_the_summed_kl():
    mean, log_var, _ = make_rows(300, 3)
    mixture = make_mixture(4, 3)
    expected = -gf.ops.mixture_kl(mean, log_var, *mixture).sum()
    torch.testing.assert_close(OP(mean, log_var, *mixture).log_evidence, expected)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 200), seed=st.integers(0, 100))
def test_statistics_of_parts_add_up(cut, seed):
    mean, log_var, _ = make_rows(200, 2, seed=seed)
    mixture = make_mixture(3, 2)
    whole = OP(mean, log_var, *mixture)
    parts = OP(mean[:cut], log_var[:cut], *mixture) + OP(mean[cut:], log_var[cut:], *mixture)
    assert parts.count == whole.count
    for a, b in zip(fields(parts), fields(whole), strict=True):
        torch.testing.assert_close(a, b)


def test_statistics_about_another_shift_describe_the_same_data():
    mean, log_var, _ = make_rows(100, 2)
    stats = OP(mean, log_var, *make_mixture(3, 2))
    moved = stats.about(stats.shift + 5)
    torch.testing.assert_close(moved.about(stats.shift).second, stats.second)
    centre = stats.shift + stats.first / stats.weight[:, None]
    torch.testing.assert_close(moved.shift + moved.first / moved.weight[:, None], centre)
    with pytest.raises(ValueError, match=r"shift must have shape \(3, 2\), got \(1, 2\)"):
        stats.about(torch.zeros(1, 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("points", [False, True])
def test_opcheck(points, device):
    mean, log_var, _ = make_rows(5, 2, device=device)
    args = (mean, None if points else log_var, *make_mixture(3, 2, device=device))
    for more in ((), (torch.rand(5, device=device, dtype=torch.float64),)):
        torch.library.opcheck(torch.ops.gmvae_fast.mixture_statistics.default, (*args, *more))


def test_thread_count_does_not_change_a_bit(one_thread):
    mean, log_var, _ = make_rows(20_000, 3, torch.float32)
    mixture = make_mixture(5, 3, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(fields(OP(mean, log_var, *mixture)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_empty_component_has_no_weight():
    mean, log_var, _ = make_rows(100, 2)
    log_weights, means, log_vars = make_mixture(3, 2)
    means[1] = 1e4
    stats = OP(mean, log_var, log_weights, means, log_vars)
    assert stats.weight[1] == 0
    assert all(torch.isfinite(f).all() for f in fields(stats))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_weights_match_float64(n, k, d, points, dtype, device):
    mean, log_var, _ = make_rows(n, d, dtype, device)
    log_var = None if points else log_var
    mixture = make_mixture(k, d, dtype, device)
    weight = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device) * 3
    stats = OP(mean, log_var, *mixture, sample_weight=weight)
    expected = REFERENCE(mean, log_var, *mixture, row_weight=weight.to(dtype))
    assert stats.count == pytest.approx(float(weight.sum()))
    bound = 1e-5 if dtype == torch.float32 else 1e-11
    for value, ref in zip(fields(stats), expected, strict=True):
        torch.testing.assert_close(value, ref, rtol=bound, atol=3 * bound * max(1.0, n / 10))


@pytest.mark.parametrize("kind", ["diag", "full", "tied"])
@pytest.mark.parametrize("points", [False, True])
def test_weights_of_zero_and_whole_numbers_are_subsets_and_repeats(points, kind):
    mean, log_var, _ = make_rows(300, 3)
    log_var = None if points else log_var
    log_weights, means, log_vars = make_mixture(4, 3)
    if kind == "diag":
        mixture = (log_weights, means, log_vars, None)
    else:
        factors = torch.eye(3, dtype=torch.float64) + 0.2 * torch.ones(3, 3, dtype=torch.float64).tril(-1)
        mixture = (log_weights, means, None, factors.expand(4, 3, 3) if kind == "full" else factors)
    times = torch.arange(300) % 4
    weighted = OP(mean, log_var, *mixture, sample_weight=times)
    rows = torch.repeat_interleave(torch.arange(300), times)
    repeated = OP(mean[rows], None if points else log_var[rows], *mixture)
    assert weighted.count == repeated.count == len(rows)
    for a, b in zip(fields(weighted), fields(repeated), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(3), r"shape \(4,\), got \(3,\)"),
        (torch.tensor([1.0, -1.0, 1.0, 1.0]), "at least 0"),
        (torch.tensor([1.0, float("nan"), 1.0, 1.0]), "finite"),
        (torch.tensor([float("nan"), -1.0, 1.0, 1.0]), "finite"),
        (torch.tensor([1.0, 1.0, float("inf"), 1.0]), "finite"),
        (torch.tensor([float("-inf"), 1.0, float("inf"), 1.0]), "finite"),
        (torch.tensor([1.0, 1.0, float("-inf"), 1.0]).half(), "finite"),
        (torch.tensor([1, 1, -1, 1]), "at least 0"),
        (torch.full((4,), 1e308, dtype=torch.float64), "finite .* so must be its sum"),
    ],
)
def test_bad_weights(weight, message):
    mean, log_var, _ = make_rows(4, 2)
    with pytest.raises(ValueError, match=message):
        OP(mean, log_var, *make_mixture(2, 2), sample_weight=weight)
