"""The scikit-learn facade: its own checks, pipelines, searches, and that it is the model underneath."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gmvae_fast as gf

ROUNDING = "matrix products in float32 round differently for batches of other sizes or orders"
EXPECTED = {
    "check_methods_subset_invariance": ROUNDING,
    "check_sample_weight_equivalence_on_dense_data": "a repeated row comes in several batches, a weighted one in one",
    "check_methods_sample_order_invariance": ROUNDING + "; score_samples draws from each posterior by place",
}


def small(**options):
    return gf.GMVAEEstimator(**({"n_components": 2, "widths": (8,), "epochs": 8, "random_state": 0} | options))


def blobs(n=120, features=6):
    group = np.arange(n) % 2
    noise = np.random.default_rng(0).standard_normal((n, features))
    return (noise + 6 * group[:, None]).astype(np.float32), group


# beta: on two features of unit variance the unit noise of the decoder explains all that a latent could.
CHECKED = gf.GMVAEEstimator(
    n_components=3,
    widths=(16,),
    epochs=30,
    batch_size=25,
    learning_rate=1e-2,
    train_options={"beta": 0.1, "n_init": 5},
    random_state=0,
)


@parametrize_with_checks([CHECKED], expected_failed_checks=lambda estimator: EXPECTED)
def test_checks_of_scikit_learn(estimator, check, one_thread):
    check(estimator)


def test_it_is_the_model_underneath():
    x, group = blobs()
    estimator = small().fit(x)
    model = estimator.model_
    np.testing.assert_array_equal(estimator.transform(x), model.embed(x).mean)
    np.testing.assert_array_equal(estimator.predict(x), model.predict(x))
    np.testing.assert_array_equal(estimator.labels_, model.predict(x))
    np.testing.assert_array_equal(estimator.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(estimator.score_samples(x), model.elbo(x))
    assert estimator.score(x) == pytest.approx(model.elbo(x).mean(), rel=1e-6)
    np.testing.assert_allclose(estimator.inverse_transform(estimator.transform(x)), model.reconstruct(x), rtol=1e-5)
    assert adjusted_rand_score(group, estimator.labels_) == 1
    assert estimator.weights_.sum() == pytest.approx(1, abs=1e-6)
    assert estimator.means_.shape == (2, 2)
    assert len(estimator.history_.epochs) == estimator.n_iter_ == 8
    assert list(estimator.get_feature_names_out()) == ["gmvaeestimator0", "gmvaeestimator1"]


def test_fields_by_rows_or_by_shape():
    rows, _ = blobs(features=2 * 8 * 6)
    estimator = small(input_shape=(2, 8, 6), widths=(4, 4), epochs=3).fit(rows)
    fields = rows.reshape(-1, 2, 8, 6)
    np.testing.assert_array_equal(estimator.transform(rows), estimator.transform(fields))
    assert estimator.model_.config["input_shape"] == [2, 8, 6]
    drawn, components = estimator.sample(4, component=1)
    assert drawn.shape == (4, 96)
    assert set(components) == {1}
    with pytest.raises(ValueError, match=r"X must be \[N, features\] or \[N, 2, 8, 6\], got \(120, 2, 6, 8\)"):
        estimator.transform(fields.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match="X must have 96 columns for input_shape"):
        small(input_shape=(2, 8, 6)).fit(rows[:, :90])


def test_pipelines_searches_and_clones():
    x, group = blobs()
    pipeline = make_pipeline(StandardScaler(), small())
    assert adjusted_rand_score(group, pipeline.fit_predict(x)) == 1
    search = GridSearchCV(small(epochs=4), {"latent_dim": [1, 2], "learning_rate": [1e-3]}, cv=2).fit(x)
    assert search.best_params_["latent_dim"] in (1, 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    twin = clone(small(train_options={"beta": 2.0}))
    assert twin.get_params() == small(train_options={"beta": 2.0}).get_params()
    np.testing.assert_array_equal(twin.fit(x).transform(x), clone(twin).fit(x).transform(x))


def test_weights_of_rows():
    x, _ = blobs()
    weight = np.repeat([1.0, 0.0], 60)
    np.testing.assert_array_equal(small().fit(x, sample_weight=weight).means_, small().fit(x[:60]).means_)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_options": {"betta": 1}}, "train_options must name fields of TrainConfig, got 'betta'; did you mean"),
        ({"train_options": {"epochs": 3}}, "train_options must name fields of TrainConfig, got 'epochs'"),
        ({"n_components": 121}, "minimum of 121 is required"),
        ({"network": "cnov"}, "did you mean 'conv'"),
        ({"epochs": 0}, "epochs must be an integer >= 1"),
    ],
)
def test_wrong_settings(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options).fit(blobs()[0])


def test_wrong_rows():
    x, _ = blobs()
    with pytest.raises(NotFittedError):
        small().transform(x)
    fitted = small(epochs=2).fit(x)
    broken = x.copy()
    broken[3, 1] = np.nan
    for method in (fitted.fit, fitted.transform, fitted.predict, fitted.score):
        with pytest.raises(ValueError, match="NaN"):
            method(broken)
    with pytest.raises(ValueError, match=r"X must be finite latents \[N, 2\], got shape \(3, 5\)"):
        fitted.inverse_transform(np.zeros((3, 5)))


def test_without_scikit_learn_only_the_estimator_is_missing():
    code = """if True:
        import sys
        sys.modules["sklearn"] = None
        import gmvae_fast as gf
        assert gf.GMVAE((3,))
        try:
            gf.GMVAEEstimator
        except ImportError as error:
            assert "gmvae_fast[baselines]" in str(error), error
        else:
            raise SystemExit("no error")
        try:
            gf.nothing
        except AttributeError:
            pass
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
