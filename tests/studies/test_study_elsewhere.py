"""The script that looks at settings on runs and seeds that the study does not score."""

from __future__ import annotations

from pathlib import Path

import pytest
import study_elsewhere
import study_tables

from gmvae_fast.studies.comparison import CASES, PROFILES


def test_other_runs_and_seeds_and_every_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = {seed for profile in PROFILES.values() for seed in profile.seeds}
    assert not scored & set(study_elsewhere.SEEDS)
    assert study_elsewhere.SIMULATION_SEED not in {case.simulate.get("seed", 0) for case in CASES.values()}
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path))
    monkeypatch.setattr(study_elsewhere, "SEEDS", (1000, 1001))
    lines = study_elsewhere.table(CASES["surface_reaction"], "tiny", [0.1, 1.0]).splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        [f"| {beta}", arm] for beta in ("0.1", "1") for arm in ("block", "block, K = 1", "vae")
    ]
    assert " p " in lines[-1]
    assert " p " not in lines[2]


def test_a_table_goes_between_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    study_tables.replace_between(page, "<!-- x -->", "<!-- end of x -->", "new")
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    with pytest.raises(SystemExit, match="no lines"):
        study_tables.replace_between(page, "<!-- y -->", "<!-- end of y -->", "new")
