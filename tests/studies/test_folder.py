import json

import numpy as np
import pytest

from gmvae_fast.metrics import cluster_agreement
from gmvae_fast.studies import PRESETS, StudyError, StudyFolder
from gmvae_fast.studies.presets import Bound
from gmvae_fast.studies.stages import summarise


def test_update_keeps_what_it_does_not_change(tmp_path):
    folder = StudyFolder(tmp_path / "s")
    folder.update_study(title="a", seeds=[1, 0])
    folder.update_study(title="b")
    assert folder.study() == {"title": "b", "seeds": [1, 0]}
    assert folder.seeds() == [0, 1]


def test_numbers_that_json_lacks_become_null(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.write_json("x.json", {"a": np.float32("nan"), "b": np.arange(2)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [0, 1]}


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(StudyError, match="study.json"):
        StudyFolder(tmp_path).study()


def test_damaged_npz_is_named(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.write_npz("a.npz", {"x": np.arange(100)})
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:60])
    with pytest.raises(StudyError, match=r"a.npz: not a whole"):
        folder.read_npz("a.npz")


def test_summary_is_the_mean_and_deviation_over_seeds(tmp_path):
    folder = StudyFolder(tmp_path)
    for seed, error in ((0, 0.1), (1, 0.3)):
        metrics = {"held_out_error": error, "train_error": 0.0, "ari": {"g": 1.0}, "nmi": {}, "occupancy": [0.4, 0.6]}
        folder.write_json(f"seed_{seed}/metrics.json", metrics)
        folder.write_json(f"seed_{seed}/scores.json", {"n_components": 2, "rows": [{"signal": "Re", "score": 0.5}]})
    metrics = summarise(folder, [0, 1])["metrics"]
    assert metrics["held_out_error"]["values"] == [0.1, 0.3]
    assert metrics["held_out_error"]["mean"] == pytest.approx(0.2)
    assert metrics["held_out_error"]["std"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert metrics["smallest occupancy"]["values"] == [0.4, 0.4]


def test_a_bound_judges_the_worst_seed():
    summary = {"metrics": {"e": {"values": [0.1, 0.2]}}}
    assert Bound("e", "e", 0.15, "below").check(summary) == {
        "name": "e", "value": 0.2, "bound": "< 0.15", "passed": False,
    }  # fmt: skip
    assert Bound("e", "e", 0.05, "above").check(summary)["passed"]


def test_presets_are_what_the_page_promises():
    assert {name: preset.system for name, preset in PRESETS.items()} == {
        "channel": "wake", "free_stream": "wake", "surface_reaction": "surface_reaction",
    }  # fmt: skip
    channel = PRESETS["channel"]
    assert channel.simulate["n_runs"] >= 180
    assert (channel.model.latent_dim, channel.model.n_components) == (2, 3)


def test_cluster_agreement_of_a_renamed_partition():
    agreement = cluster_agreement([5, 5, 7, 7, 9], [2, 2, 0, 0, 1], 4)
    assert agreement.ari == 1
    assert agreement.nmi == pytest.approx(1)
    np.testing.assert_array_equal(agreement.contingency, [[0, 0, 2, 0], [2, 0, 0, 0], [0, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"got \(1,\) and \(2,\)"):
        cluster_agreement([1], [0, 1], 2)
