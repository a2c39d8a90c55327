"""A mistyped name is answered with the nearest one, wherever names are taken."""

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.data import Snapshots, SplitConfig, balanced_weights, split_by_condition


def _data():
    return Snapshots(
        np.zeros((12, 1, 4, 4)), ("u",), {"Reynolds": np.arange(12.0)}, {"group": np.arange(12) % 2}, np.arange(12)
    )


def _smoothness(**options):
    return gf.smoothness(
        np.random.default_rng(0).normal(size=(30, 2)), {"a": np.arange(30.0)}, n_neighbors=3, **options
    )


def _kl(assignment):
    one = torch.zeros(1, 1)
    return gf.ops.mixture_kl(one, one, torch.zeros(1), one, one, assignment=assignment)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: gf.TrainConfig(scheme="blok"), "block"),
        (lambda: gf.TrainConfig(assignment="exat"), "exact"),
        (lambda: gf.TrainConfig(mixture_start="latent"), "latents"),
        (lambda: gf.TrainConfig(on_nan="masked"), "mask"),
        (lambda: gf.TrainConfig.from_dict({"learning_rte": 1}), "learning_rate"),
        (lambda: gf.GMVAE((4,), covariance_type="diga"), "diag"),
        (lambda: gf.GMVAE((4,), network="mpl"), "mlp"),
        (lambda: gf.GaussianMixture(2, init_params="kmeens").fit(np.ones((9, 2))), "kmeans"),
        (lambda: _kl("sampeld"), "sampled"),
        (lambda: _smoothness(weights="binari"), "binary"),
        (lambda: _smoothness(index="exakt"), "exact"),
        (lambda: SplitConfig("trajektory"), "trajectory"),
        (lambda: split_by_condition(_data(), "Reynold"), "Reynolds"),
        (lambda: split_by_condition(_data(), "Reynolds", "betwen"), "between"),
        (lambda: gf.data.split_by_trajectory(_data(), stratify="grup"), "group"),
        (lambda: balanced_weights(_data(), "groop"), "group"),
        (lambda: gf.data.window(_data(), shape=(2, 2), resampling="linaer"), "linear"),
        (lambda: gf.data.systems.simulate("wak"), "wake"),
        (lambda: gf.data.systems.simulate("wake", geometry="chanel"), "channel"),
        (lambda: gf.data.systems.simulate("wake", sead=1), "seed"),
    ],
)
def test_the_nearest_name_is_told(call, meant):
    with pytest.raises((ValueError, TypeError), match=f"did you mean '{meant}'"):
        call()


def test_names_of_fields_formats_and_options_of_files(tmp_path):
    _data().save(tmp_path / "a.npz")
    for options, meant in (
        ({"fields": ["U_"], "lazy": True}, "u"),
        ({"format": "pdbench"}, "pdebench"),
        ({"nan": "keap"}, "keep"),
        ({"window": {"strid": 2}}, "stride"),
    ):
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            gf.open_snapshots(tmp_path / "a.npz", **options)
    with pytest.raises(ValueError, match="did you mean 'float32'"):
        gf.data.convert_snapshots(_data(), tmp_path / "b.h5", dtype="flaot32")
