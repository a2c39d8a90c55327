import numpy as np
import pytest

from gmvae_fast.spectral import compare, smoothness

RNG = np.random.default_rng(0)
RUNS, FRAMES = 40, 6
GROUPS = np.repeat(np.arange(RUNS), FRAMES)
CURVE = np.repeat(RNG.random(RUNS), FRAMES) + 0.01 * RNG.normal(size=RUNS * FRAMES)
SIGNALS = {"Re": CURVE, "noise": RNG.normal(size=len(CURVE))}
GOOD = np.stack([CURVE, CURVE**2], axis=1) + 0.01 * RNG.normal(size=(len(CURVE), 2))
BAD = GOOD + 0.5 * RNG.normal(size=GOOD.shape)


def test_the_better_embedding_is_named_by_every_variant():
    found = compare({"good": GOOD, "bad": BAD}, SIGNALS, groups=GROUPS, bootstrap=60)
    clear = found.difference("Re", "good", "bad")
    assert clear.value == pytest.approx(found.results["good"]["Re"].score - found.results["bad"]["Re"].score)
    assert 0 < clear.lower < clear.value < clear.upper
    assert clear.is_clear
    assert clear.variants_agree
    assert set(clear.variants.values()) <= {0, 1}
    assert {"score, k=5", "score, k=10", "score, k=20", "score, gaussian weights", "score, mutual"} < set(
        clear.variants
    )
    assert str(clear).startswith("Re: good over bad by")
    assert "that can tell agree" in str(clear)


def test_noise_cannot_be_told_apart():
    found = compare({"good": GOOD, "bad": BAD}, SIGNALS, groups=GROUPS, bootstrap=60)
    unclear = found.difference("noise", "good", "bad")
    assert not unclear.is_clear
    last = str(found).splitlines()[-1]
    assert (last == "all variants of the metric agree on every ranking") == found.rankings_agree
    assert ("noise (good, bad)" in last) == (not unclear.variants_agree)
    assert "not distinguishable from sampling" in str(unclear)
    assert not found.rankings_agree or unclear.variants_agree


def test_identical_embeddings_do_not_differ():
    """Paired samples: the difference is zero in each of them, not only on average."""
    same = compare({"a": GOOD, "b": GOOD.copy(), "c": BAD}, SIGNALS, bootstrap=20)
    assert len(same.differences) == 6
    found = same.difference("Re", "a", "b")
    assert (found.value, found.lower, found.upper) == (0, 0, 0)
    assert set(found.variants.values()) == {0}
    assert found.variants_agree  # on that there is no difference


def test_results_are_those_of_smoothness_and_the_table_names_the_embedding():
    found = compare({"good": GOOD, "bad": BAD}, SIGNALS, groups=GROUPS, bootstrap=10, permutations=19, n_neighbors=8)
    alone = smoothness(BAD, SIGNALS, n_neighbors=8, groups=GROUPS, bootstrap=10, permutations=19)
    for name in SIGNALS:
        assert found.results["bad"][name].score == alone[name].score
        assert found.results["bad"][name].score_lower == alone[name].score_lower
        assert found.results["bad"][name].p_permutation == alone[name].p_permutation
    assert [(r["embedding"], r["signal"]) for r in found.table()] == [
        (e, s) for e in ("good", "bad") for s in ("Re", "noise")
    ]
    with pytest.raises(KeyError, match="no difference of 'Re' between 'bad' and 'good'"):
        found.difference("Re", "bad", "good")


def test_few_snapshots():
    found = compare({"a": GOOD[:12], "b": BAD[:12]}, SIGNALS["Re"][:12], bootstrap=5)
    assert set(found.results) == {"a", "b"}


@pytest.mark.parametrize(
    ("embeddings", "options", "message"),
    [
        ({"a": GOOD}, {}, "at least two entries"),
        ([GOOD, BAD], {}, "embeddings must be a mapping"),
        ({"a": GOOD, "b": BAD[:-1]}, {}, "of the same snapshots, got lengths"),
        ({"a": GOOD, "b": BAD}, {"bootstrap": 0}, "bootstrap must be at least 1"),
    ],
)
def test_bad_input(embeddings, options, message):
    with pytest.raises(ValueError, match=message):
        compare(embeddings, SIGNALS, **options)


def test_signals_without_a_score_decide_nothing():
    with pytest.warns(UserWarning, match="no score for 'c'") as caught:
        found = compare({"good": GOOD, "bad": BAD}, {"Re": CURVE, "c": np.ones(len(CURVE))}, bootstrap=20)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    undefined = found.difference("c", "good", "bad")
    assert str(undefined) == "c: no score on good or bad, or on both"
    assert not undefined.is_clear
    assert not undefined.variants_agree
    assert found.rankings_agree == found.difference("Re", "good", "bad").variants_agree
    with pytest.warns(UserWarning, match="no score for 'signal'"):
        nothing = compare({"good": GOOD, "bad": BAD}, np.ones(len(CURVE)), bootstrap=2)
    assert not nothing.rankings_agree
    assert str(nothing).endswith("nothing could be ranked")


def test_bad_embeddings_are_named():
    with pytest.raises(ValueError, match="embedding 'bad' holds 1 NaN"):
        compare({"good": GOOD, "bad": np.where(BAD.max() == BAD, np.nan, BAD)}, SIGNALS)
    with pytest.raises(ValueError, match=r"embedding 'bad' must have shape \[N, D\], got"):
        compare({"good": GOOD, "bad": BAD[:, 0]}, SIGNALS)


def test_equal_embeddings_are_alike():
    found = compare({"one": GOOD, "same": GOOD.copy()}, SIGNALS, bootstrap=5)
    assert found.rankings_agree
    assert str(found).splitlines() == [
        "Re: one and same are alike; no variant tells them apart",
        "noise: one and same are alike; no variant tells them apart",
        "all variants of the metric agree on every ranking",
    ]


def test_rounding_is_no_difference():
    # Every latent names all others, so that the graph is complete and every score 0 but for rounding.
    few = compare({"good": GOOD[:8], "bad": BAD[:8]}, {"Re": CURVE[:8]}, n_neighbors=7, bootstrap=5)
    only = few.difference("Re", "good", "bad")
    assert only.variants["score, k=7"] == 0
    assert "good and bad are alike; depends on the metric" in str(only)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"modes": 500}, ValueError, "modes must be at most the number of snapshots, 240, got 500"),
        ({"modes": 0}, ValueError, "modes must be at least 1, got 0"),
        ({"modes": 2.5}, TypeError, "modes must be an integer, got 2.5"),
        ({"embeddings": {1: GOOD, "1": BAD}}, ValueError, "embeddings hold two names that are the same as strings"),
    ],
)
def test_bad_modes_and_names(change, error, message):
    with pytest.raises(error, match=message):
        compare(**{"embeddings": {"good": GOOD, "bad": BAD}, "signals": SIGNALS} | change)
