"""Every operator names the argument that is wrong, what was expected and what came."""

import numpy as np
import pytest
import torch
from mixtures import make_mixture, make_rows

import gmvae_fast as gf


def arguments():
    mean, log_var, z = make_rows(4, 2)
    log_weights, means, log_vars = make_mixture(3, 2)
    return {
        "mean": mean, "log_var": log_var, "z": z,
        "log_weights": log_weights, "means": means, "log_vars": log_vars,
    }  # fmt: skip


def call_kl(**changes):
    values = arguments() | {"z": None} | changes
    extra = {k: values.pop(k) for k in ("z", "assignment") if k in values}
    return gf.ops.mixture_kl(*values.values(), **extra)


BAD = [
    ({"mean": np.zeros((4, 2))}, TypeError, "mean must be a torch.Tensor, got ndarray"),
    ({"log_var": torch.zeros(4, 2)}, TypeError, "log_var must have the dtype.*float64.*got torch.float32"),
    ({"mean": torch.zeros(4).double()}, ValueError, r"mean must have shape \[N, D\].*got \(4,\)"),
    (
        {"log_var": torch.zeros(5, 2).double()},
        ValueError,
        r"log_var must have the shape of mean \(4, 2\), got \(5, 2\)",
    ),
    ({"means": torch.zeros(3, 1).double()}, ValueError, r"means must have shape \[K, 2\].*got \(3, 1\)"),
    ({"means": torch.zeros(0, 2).double()}, ValueError, r"K >= 1.*got \(0, 2\)"),
    (
        {"log_vars": torch.zeros(2, 2).double()},
        ValueError,
        r"log_vars must have the shape of means.*got \(2, 2\)",
    ),
    ({"log_weights": torch.zeros(2).double()}, ValueError, r"log_weights must have shape \[3\], got \(2,\)"),
    (
        {"log_weights": torch.zeros(3).double().to("meta")},
        TypeError,
        "log_weights must have.*device.*got.*meta",
    ),
    ({"assignment": "soft"}, ValueError, "assignment must be 'exact', 'sampled' or 'mean', got 'soft'"),
    ({"assignment": "sampled"}, ValueError, "z must be given for assignment='sampled'.*z missing"),
    ({"z": torch.zeros(4, 2).double()}, ValueError, "assignment='exact' with z given"),
    (
        {"assignment": "sampled", "z": torch.zeros(3, 2).double()},
        ValueError,
        r"z must have the shape of mean \(4, 2\), got \(3, 2\)",
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_mixture_kl(changes, error, message):
    with pytest.raises(error, match=message):
        call_kl(**changes)


def test_integers_are_refused():
    ints = [t.long() for k, t in arguments().items() if k != "z"]
    with pytest.raises(TypeError, match=r"mean must be one of float32, .*got torch.int64"):
        gf.ops.mixture_kl(*ints)


def test_log_responsibilities_names_z():
    values = arguments()
    with pytest.raises(ValueError, match=r"means must have shape \[K, 3\].*z has D = 3"):
        gf.ops.log_responsibilities(
            torch.zeros(4, 3).double(), values["log_weights"], values["means"], values["log_vars"]
        )


def test_mixture_statistics_names_log_var():
    values = arguments()
    with pytest.raises(ValueError, match=r"log_var must have the shape of mean"):
        gf.ops.mixture_statistics(
            values["mean"], values["log_var"][:2], values["log_weights"], values["means"], values["log_vars"]
        )


def test_nan_is_not_hidden():
    mean = arguments()["mean"]
    mean[1, 0] = torch.nan
    value = call_kl(mean=mean)
    assert torch.isnan(value[1])
    assert torch.isfinite(value[[0, 2, 3]]).all()
