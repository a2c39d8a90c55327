import inspect
import pkgutil

import numpy as np
import pytest
import torch

import gmvae_fast as gf

NAMES = [
    "GMVAE",
    "Embedding",
    "GaussianMixture",
    "History",
    "MixturePriors",
    "NativeStatus",
    "TrainConfig",
    "data",
    "fit",
    "fuse_dense_layers",
    "generation",
    "load",
    "metrics",
    "native_status",
    "open_snapshots",
    "ops",
    "smoothness",
    "spectral",
    "tune_components",
]


def test_five_lines_fit_a_plain_array(one_thread):
    x = np.random.default_rng(0).normal(size=(200, 8)) + 4 * (np.arange(200) % 2)[:, None]

    model = gf.GMVAE(input_shape=(8,), latent_dim=2, n_components=2)
    history = gf.fit(model, x, gf.TrainConfig(epochs=20))
    labels = model.predict(x)
    latents = model.embed(x).mean
    new, regime = model.sample(5)

    assert len(history.epochs) == 20
    assert len(set(zip(labels, np.arange(200) % 2, strict=True))) == 2
    assert latents.shape == (200, 2)
    assert new.shape == (5, 8)
    assert regime.shape == (5,)


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    assert hasattr(gf, name)
    assert inspect.ismodule(getattr(gf, name)) or getattr(gf, name).__doc__


def test_version():
    assert gf.__version__ == gf.native_status().version


def test_native_status():
    status = gf.native_status()
    assert status.cpu_instruction_set in status.cpu_instruction_sets
    assert status.threads == (torch.get_num_threads() if status.openmp else 1)
    assert status.native["cpu"] == ("float32", "float64")
    assert status.cuda_built == ("cuda" in status.native)
    assert status.cuda_devices >= 0
    assert isinstance(status.cuda_message, str)
    if not status.cuda_built:
        assert (status.cuda_archs, status.cuda_devices) == ("", 0)


def test_public_functions_are_documented():
    for module in (gf, gf.ops, gf.spectral, gf.data, gf.generation, gf.metrics):
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "").startswith("gmvae_fast")
            if ours and not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                assert inspect.getdoc(value), f"{module.__name__}.{name}"
    modules = {m.name for m in pkgutil.iter_modules(gf.__path__)}
    assert {"mixture", "networks", "model", "training"} <= modules
