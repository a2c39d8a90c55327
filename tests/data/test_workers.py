"""Reading in other processes: the same snapshots in the same order, and the same training bit for bit."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

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


class Dying(Dataset):
    """Killed for memory, say."""

    def __init__(self):
        self.parent = os.getpid()

    def __len__(self):
        return 20

    def __getitem__(self, i):
        if os.getpid() != self.parent:
            os._exit(9)
        return torch.zeros(1, 6, 8)


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
    assert 1 <= len(multiprocessing.active_children()) <= 2
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


@pytest.mark.parametrize("n", [0, 2])
def test_iterations_do_not_disturb_each_other(folder, n):
    held = Batches(source(folder, "contiguous.h5"), workers=n)
    expected = source(folder, "contiguous.h5").fields
    first = held.ordered(4)
    rows = [next(first)]
    np.testing.assert_array_equal(torch.cat(list(held.ordered(4))), expected)
    abandoned = held.shuffled(4, torch.Generator())
    next(abandoned)
    abandoned.close()
    np.testing.assert_array_equal(torch.cat(rows + list(first)), expected)
    held.close()


@pytest.mark.parametrize("n", [0, 2])
def test_the_next_pass_is_begun_before_it_is_asked_for(folder, n, monkeypatch):
    """Whatever comes, what is read ahead changes neither batches nor the generator."""
    held, plain = Batches(source(folder), workers=n), Batches(source(folder).load())
    a, b = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    begun = []
    for what in "so so s so o o s x so s".replace(" ", ""):
        passes = held.passes
        begun.append(passes._begun is not None)
        if what == "x":  # a resumed run sets the generator back
            a.manual_seed(9), b.manual_seed(9)
        elif what == "s":
            rows = torch.cat(list(held.shuffled(8, a)))
            order = streaming.shuffled_order(50, b, held.chunk_starts, passes.window(8))
            assert torch.equal(rows, plain.batch(order))
            assert torch.equal(a.get_state(), b.get_state())
        else:
            assert torch.equal(torch.cat(list(held.ordered(16))), plain.batch(torch.arange(50)))
    assert begun.count(True) > 8
    held.close()


def test_workers_end_with_a_parent_that_was_killed(folder):
    script = f"""
import os, signal, torch
from gmvae_fast._batches import Batches
from gmvae_fast.data import open_snapshots
held = Batches(open_snapshots({str(folder / "gzip.h5")!r}, dims="t y x"), workers=1)
next(held.ordered(4))
print(*held.passes._executor._processes, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    deadline = time.time() + 30
    while os.path.exists(f"/proc/{killed.stdout.strip()}") and time.time() < deadline:
        time.sleep(0.2)
    assert not os.path.exists(f"/proc/{killed.stdout.strip()}")


def test_a_worker_that_dies_is_an_error(folder):
    held = Batches(Dying(), workers=1)
    with pytest.raises(BrokenProcessPool):
        list(held.ordered(4))
    held.close()


def test_without_shared_memory_arrays_come_through_pipes(folder, monkeypatch):
    monkeypatch.setattr(workers, "_free_shared_memory", lambda: 1000)
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
    assert again._passes is None
    assert torch.equal(again.batch(torch.tensor([3])), held.batch(torch.tensor([3])))
    held.close()
