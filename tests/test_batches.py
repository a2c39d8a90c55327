import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import gmvae_fast as gf
from gmvae_fast._batches import Batches
from gmvae_fast.data.snapshots import Snapshots


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


VALUES = np.arange(24.0).reshape(6, 4)
DTYPES = ["f2", ">f2", "f4", ">f4", "f8", ">f8", "g", "i1", "u1", ">i2", "u2", "i4", "u4", "i8", ">u8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frozen", [False, True])
def test_every_real_dtype(dtype, frozen):
    array = VALUES.astype(dtype)
    array.flags.writeable = not frozen
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns about read-only arrays
        source = Batches(array)
        rows = torch.cat(list(source.ordered(4)))
        picked = source.batch(torch.tensor([5, 0]))
    assert (len(source), source.shape, source.returns_tensor) == (6, (4,), False)
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), VALUES)
    np.testing.assert_array_equal(picked.numpy(), VALUES[[5, 0]])


@pytest.mark.parametrize("array", [VALUES[::-1], VALUES[:, ::-2], np.asfortranarray(VALUES), VALUES > 3])
def test_views_and_booleans(array):
    np.testing.assert_array_equal(torch.cat(list(Batches(array).ordered(2))).numpy(), array)


def test_other_kinds_of_data():
    tensor = torch.tensor(VALUES)
    snapshots = Snapshots(fields=VALUES.reshape(6, 2, 2), field_names=("a", "b"))
    for data, shape in (
        (tensor, (4,)),
        (tensor.clone().requires_grad_(), (4,)),
        (tensor.half(), (4,)),
        (tensor.to(torch.uint8), (4,)),
        (snapshots, (2, 2)),
        (TensorDataset(tensor, tensor), (4,)),
        (Items(list(VALUES)), (4,)),
        (Items([(row, "label") for row in VALUES]), (4,)),
    ):
        source = Batches(data)
        assert source.shape == shape
        assert source.returns_tensor is isinstance(data, torch.Tensor)
        rows = torch.cat(list(source.ordered(4)))
        assert not rows.requires_grad
        np.testing.assert_array_equal(rows.flatten(1).numpy(), VALUES)


def test_a_memory_map_is_read_by_batches(tmp_path):
    path = tmp_path / "big.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (4096, 1024))[:] = 1  # 16 MiB
    for mode in ("r", "r+", "c"):
        tracemalloc.start()
        source = Batches(np.load(path, mmap_mode=mode))
        total = sum(float(rows.sum()) for rows in source.ordered(64))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 4096 * 1024
        assert peak < 2**21, "more than a few batches were in memory"


def test_batches_are_copies():
    array = VALUES.copy()
    Batches(array).batch(torch.arange(6)).zero_()
    np.testing.assert_array_equal(array, VALUES)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([[1.0, 2.0]], TypeError, "data must be an ndarray, a tensor, Snapshots or a torch Dataset .* got list"),
        (None, TypeError, "got NoneType"),
        (np.zeros((0, 3)), ValueError, "data must hold at least one snapshot, got none"),
        (Items([]), ValueError, "data must hold at least one snapshot"),
        (np.zeros(3), ValueError, r"data must be \[N, features\] or .* got shape \(3,\)"),
        (np.float64(3.0), ValueError, r"data must be \[N"),
        (torch.tensor(1.0), ValueError, r"data must be \[N"),
        (np.zeros((3, 2), complex), TypeError, "data must hold real numbers, got dtype complex128"),
        (torch.zeros(3, 2, dtype=torch.complex64), TypeError, "data must hold real numbers, got dtype torch.complex64"),
        (np.array([["a"]]), TypeError, "data must hold real numbers"),
        (np.array([[None]]), TypeError, "data must hold real numbers, got dtype object"),
        (np.ma.masked_array(np.zeros((3, 2)), mask=True), TypeError, "got a masked array"),
        (Items([torch.zeros(2, dtype=torch.complex64)]), TypeError, "complex64 in item 0"),
    ],
)
def test_bad_data_is_named(data, error, message):
    with pytest.raises(error, match=message):
        Batches(data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_check_finite_names_the_first_bad_snapshot(bad):
    array = np.zeros((700, 3))
    array[301, 2] = array[500, 0] = bad
    array.flags.writeable = False
    with pytest.raises(ValueError, match="held_out must be finite in float32, got NaN or inf in snapshot 301"):
        Batches(array, "held_out").check_finite()
    Batches(np.zeros((3, 2))).check_finite()


def test_a_pass_in_order_copies_nothing_and_writes_nothing():
    values = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    before = values.copy()
    parts = list(Batches(values).ordered(8))
    assert [len(part) for part in parts] == [8, 8, 4]
    assert all(np.shares_memory(part.numpy(), values) for part in parts)
    model = gf.GMVAE((3,), n_components=2, widths=(4,))
    gf.fit(model, values, gf.TrainConfig(epochs=2, warmup_epochs=1, n_init=1), progress=False)
    model.elbo(values)
    model.reconstruct(values)
    np.testing.assert_array_equal(values, before)
