"""Which process owns which snapshots; nothing here needs a second process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmvae_fast._batches import Batches
from gmvae_fast.data import Snapshots, open_snapshots
from gmvae_fast.distributed import Ranks, Share, owned_rows


def snapshots(trajectory: list[int]) -> Snapshots:
    fields = np.arange(2 * len(trajectory), dtype=np.float32).reshape(-1, 1, 2)
    return Snapshots(fields, ("u",), trajectory=np.array(trajectory))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 6))
def test_shares_are_whole_trajectories_and_cover_all(trajectory: list[int], size: int) -> None:
    data = snapshots(trajectory)
    if len(set(trajectory)) < size:
        with pytest.raises(ValueError, match=f"one trajectory for each of the {size} processes.*start at most"):
            owned_rows(data, len(data), Ranks(0, size))
        return
    shares = [owned_rows(data, len(data), Ranks(rank, size)) for rank in range(size)]
    assert all(len(s) for s in shares)
    assert torch.cat(shares).sort().values.tolist() == list(range(len(data)))
    owners = [{trajectory[i] for i in s.tolist()} for s in shares]
    assert sum(map(len, owners)) == len(set(trajectory))


def test_shares_of_equal_trajectories_are_equal_and_consecutive() -> None:
    data = snapshots(np.repeat(np.arange(12), 5).tolist())
    assert [owned_rows(data, 60, Ranks(r, 4)).tolist() for r in range(4)] == [
        list(range(15 * r, 15 * r + 15)) for r in range(4)
    ]


def test_arrays_are_shared_out_by_row() -> None:
    rows = [owned_rows(np.zeros((10, 2)), 10, Ranks(r, 3)).tolist() for r in range(3)]
    assert rows == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("size", [2, 3])
def test_batches_are_those_of_one_process(size: int) -> None:
    """Together the parts of every batch are the batch, and their noise the batch's."""
    data = snapshots(np.repeat(np.arange(9), [4, 1, 7, 3, 3, 9, 2, 5, 6]).tolist())
    whole = list(Batches(data).shuffled(8, torch.Generator().manual_seed(3)))
    parts = [
        list(Share(data, "data", Ranks(r, size)).steps(8, torch.Generator().manual_seed(3), torch.device("cpu")))
        for r in range(size)
    ]
    for b, batch in enumerate(whole):
        rebuilt = torch.empty_like(batch)
        for steps in parts:
            assert steps[b].size == len(batch)
            rebuilt[steps[b].places] = steps[b].rows
        torch.testing.assert_close(rebuilt, batch, rtol=0, atol=0)
    noise = Share(data, "data", Ranks()).noise(torch.Generator().manual_seed(1), 3, torch.zeros(()))
    for r in range(size):
        share = Share(data, "data", Ranks(r, size))
        own = share.noise(torch.Generator().manual_seed(1), 3, torch.zeros(()))
        torch.testing.assert_close(own, noise[share.rows], rtol=0, atol=0)


def test_what_is_evaluated_may_be_cut_anywhere() -> None:
    data = snapshots([4] * 5)
    parts = [owned_rows(data, 5, Ranks(r, 3), "held_out", split_trajectories=True) for r in range(3)]
    assert all(len(part) for part in parts)
    assert torch.cat(parts).tolist() == list(range(5))
    with pytest.raises(ValueError, match="held_out must hold at least one snapshot for each of the 6 processes, got 5"):
        owned_rows(data, 5, Ranks(0, 6), "held_out", split_trajectories=True)


@pytest.mark.parametrize("processes", [1, 4])
def test_processes_of_a_machine_share_its_memory(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice what all of them hold must be free."""
    np.save(tmp_path / "a.npy", np.zeros((8, 1, 2), np.float32))
    data = open_snapshots(tmp_path / "a.npy", dims="b c x", lazy=True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    share = Share(data, "data", Ranks(0, processes))
    needed = 2 * 4 * 2 * len(share.rows) * processes
    for free, held in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr("gmvae_fast._batches.free_memory", lambda free=free: free)
        assert share.hold(2**30) == held
