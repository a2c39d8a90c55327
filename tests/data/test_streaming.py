"""Training and embedding from files: the same numbers as from memory, in bounded memory."""

import subprocess
import sys
import textwrap

import h5py
import layout_files as files
import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast import _batches
from gmvae_fast._batches import Batches
from gmvae_fast.data import Snapshots, open_snapshots, streaming
from gmvae_fast.data.streaming import read_ahead, shuffled_order, window_rows
from gmvae_fast.training import fluctuation_error

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("streams")
    phase = np.linspace(0, 6, 90)[:, None, None]
    y, x = np.mgrid[0:6, 0:8]
    array = (np.sin(x + phase) + 0.3 * y + 0.1 * files.numbers(90, 6, 8)).astype(np.float32)
    with h5py.File(path / "contiguous.h5", "w") as f:
        f["u"] = array
    with h5py.File(path / "chunked.h5", "w") as f:
        f.create_dataset("u", data=array, chunks=(7, 6, 8))
    return path, array


def source(folder, name):
    return open_snapshots(folder[0] / name, dims="t y x")


def model():
    return gf.GMVAE((1, 6, 8), n_components=2, widths=(4, 8))


CONFIG = gf.TrainConfig(epochs=6, batch_size=16, n_init=2)


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- order -------------------------------------------------------------------------------------------------------


def test_without_chunks_the_order_is_a_permutation():
    a = shuffled_order(50, torch.Generator().manual_seed(3))
    assert torch.equal(a, torch.randperm(50, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("window", [1, 4, 12, 1000])
@pytest.mark.parametrize("starts", [[0], [0, 1, 5, 6, 20], list(range(0, 30, 3))])
def test_chunks_are_read_together_and_every_snapshot_comes_once(starts, window):
    starts = torch.tensor(starts)
    order = shuffled_order(30, torch.Generator().manual_seed(1), starts, window)
    assert torch.equal(order.sort().values, torch.arange(30))
    chunk = torch.searchsorted(starts, order, right=True) - 1
    longest = int(torch.diff(starts, append=torch.tensor([30])).max())
    for c in range(len(starts)):
        windows = torch.unique((chunk == c).nonzero().flatten() // window)
        assert int(windows.max() - windows.min()) <= -(-longest // window)
    again = shuffled_order(30, torch.Generator().manual_seed(2), starts, window)
    assert len(starts) == 1 or not torch.equal(order, again)


def test_no_snapshots_have_an_order():
    assert len(shuffled_order(0, torch.Generator(), torch.zeros(0, dtype=torch.long), 4)) == 0


def test_windows_are_whole_batches():
    assert window_rows(100, 8, limit=10_000) == 96
    assert window_rows(10**9, 8) == 8


def test_reading_ahead_keeps_order_and_errors():
    assert list(read_ahead(lambda i: i * i, range(20))) == [i * i for i in range(20)]
    assert list(read_ahead(lambda i: i, [])) == []

    def fails(i):
        if i == 3:
            raise ValueError("three")
        return i

    results = read_ahead(fails, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_reading_ahead_stops_with_its_consumer():
    done = []
    results = read_ahead(done.append, range(1000), depth=2)
    next(results)
    results.close()
    assert len(done) <= 4


# --- training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contiguous.h5", "chunked.h5"])
def test_batches_of_files_are_those_of_memory(folder, name):
    data = source(folder, name)
    batches = Batches(data)
    assert batches.shape == (1, 6, 8)
    rows = torch.cat(list(batches.ordered(16)))
    np.testing.assert_array_equal(rows[:, 0], folder[1])
    order = list(batches.shuffled(16, torch.Generator().manual_seed(0)))
    assert [len(b) for b in order] == [16] * 5 + [10]
    shuffled = torch.cat(order)[:, 0]
    assert not torch.equal(shuffled, rows[:, 0])
    np.testing.assert_array_equal(np.sort(shuffled.flatten(1).sum(1)), np.sort(rows.flatten(1).sum(1)))


def test_training_from_a_file_is_training_from_memory(folder):
    lazy, held = model(), model()
    data = source(folder, "contiguous.h5")
    first = gf.fit(lazy, data, CONFIG, held_out=data.subset(slice(0, 9)))
    second = gf.fit(held, data.load(), CONFIG, held_out=data.load()[:9])
    assert states_equal(lazy, held)
    assert [e.held_out_error for e in first.epochs] == [e.held_out_error for e in second.epochs]
    np.testing.assert_array_equal(lazy.embed(data).mean, lazy.embed(data.fields).mean)
    np.testing.assert_array_equal(lazy.predict(data), lazy.predict(data.load()))
    assert isinstance(lazy.reconstruct(data), np.ndarray)


@pytest.mark.parametrize("name", ["contiguous.h5", "chunked.h5"])
def test_an_interrupted_run_continues_bit_for_bit(folder, name, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 1)  # windows of one batch
    whole, parts = model(), model()
    gf.fit(whole, source(folder, name), CONFIG)

    class Stop(Exception):
        pass

    def stop(record):
        if record.epoch == 4:
            raise Stop

    options = {"checkpoint": tmp_path / "c", "checkpoint_every": 1}
    with pytest.raises(Stop):
        gf.fit(parts, source(folder, name), CONFIG, on_epoch=stop, **options)
    resumed = model()
    gf.fit(resumed, source(folder, name), CONFIG, **options)
    assert states_equal(whole, resumed)


def test_moments_of_one_pass_are_those_of_float64(folder, monkeypatch):
    monkeypatch.setattr(_batches, "_PASS_BYTES", 1000)  # five snapshots at a time
    shifted = (folder[1].astype(np.float64) + 1000).astype(np.float32)[:, None]
    fitted = model()
    fitted.set_normalisation(shifted)
    exact = shifted.astype(np.float64)
    np.testing.assert_allclose(fitted.offset, exact.mean(0), rtol=1e-7)
    std = np.sqrt(((exact - exact.mean(0)) ** 2).mean())
    np.testing.assert_allclose(fitted.scale.flatten(), [std], rtol=1e-6)


def test_not_a_number_is_refused_with_its_snapshot(tmp_path):
    array = files.numbers(20, 6, 8)
    array[13, 2, 2] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="data must be finite in float32, got NaN or inf in snapshot 13"):
        gf.fit(model(), open_snapshots(tmp_path / "a.npy", lazy=True), CONFIG)


# --- masks -------------------------------------------------------------------------------------------------------


def masked(n=60, garbage=0.0):
    array = files.numbers(n, 2, 6, 8)
    mask = np.ones((6, 8), bool)
    mask[2:4, 3:6] = False
    array[:, :, ~mask] = garbage
    return Snapshots(array, ("u", "v"), mask=mask)


def masked_model(**options):
    return gf.GMVAE((2, 6, 8), n_components=2, widths=(4, 8), **options)


@pytest.mark.parametrize("learn_noise", [False, True])
@pytest.mark.parametrize("garbage", [7.0, np.nan, np.inf])
def test_what_stands_outside_the_mask_makes_no_difference(garbage, learn_noise):
    a, b = masked_model(learn_noise=learn_noise), masked_model(learn_noise=learn_noise)
    clean, dirty = masked(), masked(garbage=garbage)
    first = gf.fit(a, clean, CONFIG, held_out=clean[:10])
    second = gf.fit(b, dirty, CONFIG, held_out=dirty[:10])
    assert states_equal(a, b)
    assert [e.loss for e in first.epochs] == [e.loss for e in second.epochs]
    np.testing.assert_array_equal(a.embed(clean).mean, b.embed(dirty.fields).mean)
    assert (a.reconstruct(clean)[:, :, ~clean.mask] == 0).all()
    assert np.isfinite(b.score_samples(dirty)).all()
    assert fluctuation_error(a, clean) == fluctuation_error(b, dirty)


def test_the_loss_and_the_scale_count_cells_inside_the_mask():
    data = masked()
    fitted = masked_model()
    fitted.set_normalisation(data)
    inside = data.fields[:, :, data.mask].astype(np.float64)
    np.testing.assert_allclose(fitted.scale.flatten(), (inside - inside.mean(0)).std((0, 2)), rtol=1e-6)
    assert fitted.n_values == 2 * data.mask.sum()
    fitted.eval()
    x = fitted.normalise(torch.from_numpy(data.fields))
    with torch.no_grad():
        terms = fitted.loss_terms(x, torch.Generator().manual_seed(0))
        mean, log_var = fitted.encode(x)
        noise = torch.empty_like(mean).normal_(generator=torch.Generator().manual_seed(0))
        error = (fitted.decoder(mean + (0.5 * log_var).exp() * noise) - x)[:, :, torch.from_numpy(data.mask)]
    torch.testing.assert_close(terms.reconstruction, 0.5 * error.square().sum((1, 2)))


def test_masks_are_saved_and_checked(tmp_path):
    fitted = masked_model()
    gf.fit(fitted, masked(), CONFIG, checkpoint=tmp_path / "c")
    fitted.save(tmp_path / "m")
    loaded = gf.load(tmp_path / "m")
    assert torch.equal(loaded.mask, fitted.mask)
    np.testing.assert_array_equal(loaded.reconstruct(masked()), fitted.reconstruct(masked()))
    with pytest.raises(ValueError, match="their mask differs"):
        gf.fit(masked_model(), masked().fields, CONFIG, checkpoint=tmp_path / "c")
    gf.fit(fitted, masked().fields, gf.TrainConfig(epochs=1))
    assert fitted.mask is None


# --- memory ------------------------------------------------------------------------------------------------------


MEMORY = """
import resource, sys
import numpy as np, torch
import gmvae_fast as gf
torch.set_num_threads(1)
path, dims = sys.argv[1:3]
data = gf.open_snapshots(path, dims=dims)
model = gf.GMVAE(data.shape, n_components=2, widths=(2, 2, 2, 2))
model.embed(np.zeros((4, *data.shape), np.float32))  # whatever libraries allocate once
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 1_200_000_000,) * 2)
part = data.subset(slice(0, len(data), 100))
history = gf.fit(model, part, gf.TrainConfig(epochs=1, warmup_epochs=1, batch_size=4), progress=False)
print(len(data), len(part), history.epochs[-1].loss, data.read([len(data) - 1]).sum())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_file_larger_than_the_memory_allowed_trains(tmp_path, kind):
    shape = (5000, 1024, 1024)  # 20 GB, holes but for the header
    path = tmp_path / f"big.{kind}"
    if kind == "npy":
        np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    else:
        with h5py.File(path, "w") as f:
            f.create_dataset("u", shape, np.float32)
            f["u"][-1, 0, 0] = 1  # allocates the file
    assert path.stat().st_size > 5 * 2**32 * 0.9
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(path), "t y x"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    n, trained, loss, last = run.stdout.split()
    assert (n, trained) == ("5000", "50")
    assert np.isfinite(float(loss))
    assert float(last) == (1.0 if kind == "h5" else 0.0)


EMBEDDING = """
import sys
import torch
import gmvae_fast as gf

def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) // 1024

torch.set_num_threads(1)
data = gf.open_snapshots(sys.argv[1], dims="t y x", lazy=True)
model = gf.GMVAE(data.shape, n_components=2, network="mlp", widths=(4,))
model.embed(data.subset(slice(0, 20)), batch_size=2)
before = held()
model.embed(data, batch_size=2)
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for private memory")
def test_latents_of_large_snapshots_pin_no_memory(tmp_path):
    """Kept one by one between the blocks of the batches, they pinned 540 MB here."""
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (160, 1024, 1024)).flush()
    command = [sys.executable, "-c", textwrap.dedent(EMBEDDING), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) < 120  # MB
