"""Training in bfloat16 and compiled training are the same training, to their rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import gmvae_fast as gf
from gmvae_fast.training.run import Run


def fields(shape, n=96):
    rng = np.random.default_rng(0)
    patterns = 2 * rng.standard_normal((2, *shape))
    return (patterns[np.arange(n) % 2] + 0.3 * rng.standard_normal((n, *shape))).astype(np.float32)


def losses(shape, network, **options):
    model = gf.GMVAE(shape, latent_dim=2, n_components=2, widths=(16, 16), network=network)
    config = gf.TrainConfig(epochs=8, warmup_epochs=4, batch_size=32, n_init=2, refits=0, **options)
    history = gf.fit(model, fields(shape), config, progress=False)
    return model, np.array([epoch.loss for epoch in history.epochs])


@pytest.mark.parametrize(("shape", "network"), [((24,), "mlp"), ((2, 8, 12), "conv"), ((2, 8, 12), "mlp")])
def test_bfloat16_follows_float32(shape, network):
    full, expected = losses(shape, network)
    half, found = losses(shape, network, precision="bfloat16")
    assert not np.array_equal(found, expected)  # it is another arithmetic
    np.testing.assert_allclose(found, expected, rtol=0.02)
    assert all(p.dtype == torch.float32 for p in half.state_dict().values())
    x = fields(shape)
    assert adjusted_rand_score(full.predict(x), half.predict(x)) == 1


def test_only_the_products_of_the_networks_are_rounded(monkeypatch):
    x = fields((24,))
    model = gf.GMVAE((24,), n_components=2, widths=(16, 16))
    run = Run(model, x, gf.TrainConfig(epochs=4, warmup_epochs=1, n_init=2, precision="bfloat16"))
    hidden, seen = [], []
    model.encoder[1].register_forward_hook(lambda *call: hidden.append(call[2].dtype))

    def watched(*args, **kwargs):
        found = model.loss_terms(*args, **kwargs)
        seen.append({getattr(found, field.name).dtype for field in dataclasses.fields(found)})
        return found

    monkeypatch.setattr(run.descent, "_terms", watched)
    run.one_epoch()
    assert set(hidden) == {torch.bfloat16}
    assert seen
    assert all(dtypes == {torch.float32} for dtypes in seen)
    hidden.clear()
    run._latents()
    assert set(hidden) == {torch.float32}  # of the M-step


def test_an_interrupted_run_in_bfloat16_goes_on_bit_for_bit(tmp_path):
    x = fields((24,))

    def fitted(epochs_of_run):
        model = gf.GMVAE((24,), n_components=2, widths=(16, 16))
        config = gf.TrainConfig(epochs=6, warmup_epochs=2, n_init=2, precision="bfloat16")

        def stop(record):
            if record.epoch == epochs_of_run:
                raise KeyboardInterrupt

        options = {"checkpoint": tmp_path / "run", "checkpoint_every": 1} if epochs_of_run else {}
        try:
            gf.fit(model, x, config, progress=False, on_epoch=stop, **options)
        except KeyboardInterrupt:
            gf.fit(model, x, config, progress=False, **options)
        return model.state_dict()

    whole, resumed = fitted(0), fitted(3)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_compiled_training_is_eager_training():
    expected = losses((24,), "mlp")[1]
    found = losses((24,), "mlp", compile=True)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"precision": "bflot16"}, ValueError, "precision must be one of float32, bfloat16.*did you mean 'bfloat16'"),
        ({"precision": None}, ValueError, "precision must be one of"),
        ({"compile": "yes"}, TypeError, "compile must be True or False, got 'yes'"),
    ],
)
def test_wrong_settings(options, error, words):
    with pytest.raises(error, match=words):
        gf.TrainConfig(**options)


def test_benchmark_contender_computes_the_same():
    import bench_training as bench

    case = bench.Case((12,), 64, 16, 2, 2, {"widths": (8,)})
    x = bench.snapshots(case)
    run = bench.native(case, x)
    plain = bench.plain(case, run, x)  # compares losses and M-steps itself
    first = plain.epoch()
    assert np.isfinite(first)
    shares = bench.shares(case, run)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0
