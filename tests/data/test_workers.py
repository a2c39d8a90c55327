"""Reading in other processes: the same snapshots in the same order, and the same training bit for bit."""

import multiprocessing
import os
import pickle

import h5py
import layout_files as files
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import gmvae_fast as gf
from gmvae_fast._batches import Batches
from gmvae_fast.data import SnapshotFileError, Snapshots, open_snapshots, streaming, workers

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more workers than cores
]
METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("workers")
    array = files.numbers(50, 6, 8) + np.arange(50, dtype=np.float32)[:, None, None]
    with h5py.File(path / "contiguous.h5", "w") as f:
        f["u"] = array
    with h5py.File(path / "gzip.h5", "w") as f:
        f.create_dataset("u", data=array, chunks=(3, 6, 8), compression="gzip")
    return path


@pytest.fixture(params=METHODS)
def start_method(request):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def source(folder, name="gzip.h5"):
    return open_snapshots(folder / name, dims="t y x")


class Computed(Dataset):
    """Items that say which process made them."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return torch.full((1, 6, 8), float(i)), os.getpid()


def batches_of(data, n_workers):
    held = Batches(data, workers=n_workers)
    try:
        first = list(held.shuffled(8, torch.Generator().manual_seed(1)))
        second = list(held.ordered(8))
        return [b.clone() for b in first], [b.clone() for b in second], held.moments()
    finally:
        held.close()


@pytest.mark.parametrize("name", ["gzip.h5", "contiguous.h5"])
def test_workers_give_the_same_batches_and_moments(folder, name, start_method, monkeypatch):
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 16 * 6 * 8 * 4)  # windows of 16 snapshots
    data = source(folder, name)
    here = batches_of(data, 0)
    there = batches_of(data, 2)
    for a, b in zip(here[:2], there[:2], strict=True):
        assert [len(x) for x in a] == [len(x) for x in b]
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(here[2].mean, there[2].mean)
    assert torch.equal(here[2].squares, there[2].squares)


def test_training_is_the_same_whatever_the_number_of_workers(folder):
    config = gf.TrainConfig(epochs=3, batch_size=8, n_init=2)
    states, histories = [], []
    for n in (0, 1, 3):
        model = gf.GMVAE((1, 6, 8), n_components=2, widths=(4, 8))
        histories.append(gf.fit(model, source(folder), config, workers=n))
        states.append(model.state_dict())
    for state, history in zip(states[1:], histories[1:], strict=True):
        assert all(torch.equal(state[k], v) for k, v in states[0].items())
        assert [e.loss for e in history.epochs] == [e.loss for e in histories[0].epochs]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", ["lazy", "memory"])
def test_torchs_dataloader_reads_a_source(folder, kind, start_method):
    data = source(folder) if kind == "lazy" else source(folder).load()
    expected = data.fields if kind == "memory" else data.load().fields
    loader = DataLoader(data, batch_size=8, num_workers=2)
    rows = torch.cat(list(loader))
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows, expected)
    if start_method == "spawn":  # each start takes seconds
        return
    shuffled = torch.cat(list(DataLoader(data, batch_size=7, shuffle=True, num_workers=2)))
    assert not torch.equal(shuffled, rows)
    np.testing.assert_array_equal(np.sort(shuffled.flatten(1).sum(1)), np.sort(rows.flatten(1).sum(1)))


def test_items_of_a_dataset_are_made_by_the_workers():
    held = Batches(Computed(), workers=2)
    rows = torch.cat(list(held.ordered(4)))
    np.testing.assert_array_equal(rows[:, 0, 0, 0], np.arange(20))
    assert len(multiprocessing.active_children()) == 2
    held.close()
    assert not multiprocessing.active_children()
    assert torch.equal(rows, torch.cat(list(held.ordered(4))))  # they start again
    held.close()


def test_errors_of_workers_name_the_file(folder, tmp_path):
    with h5py.File(tmp_path / "bad.h5", "w") as f:
        f.create_dataset("u", data=files.numbers(8, 50, 50), chunks=(1, 50, 50), compression="gzip", fletcher32=True)
    content = bytearray((tmp_path / "bad.h5").read_bytes())
    content[-2000:-1000] = b"\xff" * 1000
    (tmp_path / "bad.h5").write_bytes(bytes(content))
    held = Batches(source(tmp_path, "bad.h5"), workers=1)
    with pytest.raises(SnapshotFileError, match=r"bad\.h5: field 'u' cannot be read"):
        list(held.ordered(4))
    held.close()


def test_an_iteration_left_alone_does_not_disturb_the_next(folder):
    held = Batches(source(folder, "contiguous.h5"), workers=2)
    order = held.ordered(4)
    next(order)
    np.testing.assert_array_equal(torch.cat(list(held.ordered(4))), source(folder, "contiguous.h5").fields)
    with pytest.raises(RuntimeError, match="one iteration over the data at a time"):
        list(order)
    held.close()


def test_without_shared_memory_arrays_come_through_pipes(folder, monkeypatch):
    monkeypatch.setattr(workers, "_room_for", lambda size: False)
    held = Batches(source(folder), workers=2)
    np.testing.assert_array_equal(torch.cat(list(held.ordered(4))), source(folder).fields)
    held.close()


def test_arrays_in_memory_need_no_workers():
    held = Batches(Snapshots(files.numbers(6, 1, 3, 4), ("u",)), workers=2)
    assert len(list(held.ordered(4))) == 2
    assert not multiprocessing.active_children()


def test_bad_numbers_of_workers(folder):
    for bad in (-1, 1.5, "two"):
        with pytest.raises(ValueError, match="workers must be an integer >= 0"):
            gf.fit(gf.GMVAE((1, 6, 8)), source(folder), workers=bad)


def test_pickled_batches_have_no_processes(folder):
    held = Batches(source(folder), workers=1)
    next(held.ordered(4))
    again = pickle.loads(pickle.dumps(held))
    assert again._pool is None
    assert torch.equal(again.batch(torch.tensor([3])), held.batch(torch.tensor([3])))
    held.close()
