import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gmvae_fast.data import SnapshotFileError, Snapshots, open_snapshots


def make(n=6, channels=2, grid=(3, 4), **changes):
    rng = np.random.default_rng(0)
    arguments = {
        "fields": rng.standard_normal((n, channels, *grid)),
        "field_names": tuple("uvp"[:channels]),
        "quantities": {"Re": np.linspace(1, 2, n), "phase": np.full(n, np.nan)},
        "labels": {"group": np.arange(n) % 2},
        "trajectory": np.arange(n) // 2,
        "time": np.linspace(0, 1, n),
        "coordinates": {"x": np.arange(grid[-1]), "y": np.arange(grid[-2])},
        "mask": np.ones(grid, dtype=bool),
        "attributes": {"system": "test", "label_names": {"group": ["a", "b"]}, "shape": (1, 2)},
    }
    return Snapshots(**(arguments | changes))


def assert_same(a, b):
    np.testing.assert_array_equal(a.fields, b.fields)
    assert a.fields.dtype == b.fields.dtype == np.float32
    assert a.field_names == b.field_names
    assert a.attributes == b.attributes
    for kind in ("quantities", "labels", "coordinates"):
        left, right = getattr(a, kind), getattr(b, kind)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    np.testing.assert_array_equal(a.trajectory, b.trajectory)
    np.testing.assert_array_equal(a.time, b.time)
    assert (a.mask is None) == (b.mask is None)
    if a.mask is not None:
        np.testing.assert_array_equal(a.mask, b.mask)


def test_save_and_load_return_the_same_snapshots(tmp_path):
    snapshots = make()
    snapshots.save(tmp_path / "run.npz")
    assert_same(snapshots, Snapshots.load(tmp_path / "run.npz"))
    assert_same(snapshots, open_snapshots(tmp_path / "run.npz"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.npz"]


@settings(max_examples=20, deadline=None)
@given(
    fields=hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=5, max_side=4)),
    name=st.text(st.characters(codec="utf-8", exclude_characters="\x00/\\"), min_size=1, max_size=8),
)
def test_any_real_fields_survive_a_file(fields, name, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "x.npz"
    names = tuple(f"{name}{i}" for i in range(fields.shape[1]))
    snapshots = Snapshots(fields, names, attributes={"note": name})
    snapshots.save(path)
    assert_same(snapshots, Snapshots.load(path))


def test_no_snapshots_at_all_are_allowed(tmp_path):
    empty = make().subset([])
    assert len(empty) == 0
    empty.save(tmp_path / "empty.npz")
    assert_same(empty, Snapshots.load(tmp_path / "empty.npz"))


@pytest.mark.parametrize(
    ("indices", "expected"), [(2, [2]), (slice(1, 3), [1, 2]), ([4, 0], [4, 0]), (-1, [5]), ("bool", [0, 5])]
)
def test_subsets_carry_everything_along(indices, expected):
    snapshots = make()
    if isinstance(indices, str):
        indices = np.isin(np.arange(6), [0, 5])
    part = snapshots[indices]
    np.testing.assert_array_equal(part.fields, snapshots.fields[expected])
    np.testing.assert_array_equal(part.quantities["Re"], snapshots.quantities["Re"][expected])
    np.testing.assert_array_equal(part.labels["group"], snapshots.labels["group"][expected])
    np.testing.assert_array_equal(part.trajectory, snapshots.trajectory[expected])
    assert part.attributes == snapshots.attributes


@pytest.mark.parametrize("indices", [[6], [-7], [0.5], np.ones(5, dtype=bool), [[0, 1]]])
def test_bad_indices_are_refused(indices):
    with pytest.raises((IndexError, ValueError)):
        make().subset(indices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": np.zeros((3, 2))}, "fields"),
        ({"fields": np.zeros((6, 2, 3, 4), dtype=complex)}, "fields"),
        ({"field_names": ("u",)}, "field_names"),
        ({"field_names": ("u", "u")}, "field_names"),
        ({"field_names": "uv"}, "field_names"),
        ({"quantities": {"Re": np.zeros(5)}}, "Re"),
        ({"quantities": {"Re": ["a"] * 6}}, "Re"),
        ({"labels": {"group": np.zeros(6)}}, "group"),
        ({"labels": {"Re": np.zeros(6, dtype=int)}}, "both contain"),
        ({"trajectory": np.zeros(5, dtype=int)}, "trajectory"),
        ({"trajectory": np.zeros(6)}, "trajectory"),
        ({"time": np.zeros((6, 1))}, "time"),
        ({"coordinates": {"x": np.zeros(3)}}, "coordinates"),
        ({"coordinates": {"z": np.zeros(3)}}, "coordinates"),
        ({"mask": np.ones((3, 4))}, "mask"),
        ({"mask": np.ones((4, 3), dtype=bool)}, "mask"),
    ],
)
def test_the_constructor_names_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_the_callers_arrays_and_dictionaries_are_not_changed():
    attributes = {"shape": (1, 2)}
    quantities = {"Re": [1, 2, 3, 4, 5, 6]}
    make(attributes=attributes, quantities=quantities)
    assert attributes == {"shape": (1, 2)}
    assert quantities == {"Re": [1, 2, 3, 4, 5, 6]}


@pytest.mark.parametrize("kept", [0, 10, 300, 0.5, 0.95])
def test_a_file_cut_short_is_named(tmp_path, kept):
    path = tmp_path / "cut.npz"
    make().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    for read in (Snapshots.load, open_snapshots):
        with pytest.raises(SnapshotFileError, match=r"cut\.npz"):
            read(path)


def test_a_file_with_flipped_bytes_is_named(tmp_path):
    path = tmp_path / "flipped.npz"
    make().save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(SnapshotFileError, match=r"flipped\.npz"):
        Snapshots.load(path)


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    np.savez(path, **arrays)


@pytest.mark.parametrize("part", ["metadata", "fields", "trajectory", "time"])
def test_a_missing_part_is_named(tmp_path, part):
    path = tmp_path / "part.npz"
    make().save(path)
    rewrite(path, **{part: None})
    with pytest.raises(SnapshotFileError, match=part):
        Snapshots.load(path)


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        json.dumps([1]),
        json.dumps({"format": "other"}),
        json.dumps({"format": "gmvae_fast.snapshots", "format_version": 99}),
        json.dumps({"format": "gmvae_fast.snapshots", "format_version": 1}),
        json.dumps({"format": "gmvae_fast.snapshots", "format_version": 1, "field_names": ["u"], "attributes": {}}),
    ],
)
def test_bad_metadata_are_refused(tmp_path, metadata):
    path = tmp_path / "meta.npz"
    make().save(path)
    rewrite(path, metadata=np.array(metadata))
    with pytest.raises(SnapshotFileError, match=r"meta\.npz"):
        Snapshots.load(path)


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, fields=np.array([{}], dtype=object))
    with pytest.raises(SnapshotFileError, match="objects"):
        open_snapshots(path)


def test_missing_files_and_unknown_suffixes(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_snapshots(tmp_path / "none.npz")
    (tmp_path / "data.xyz").write_bytes(b"nothing known")
    with pytest.raises(SnapshotFileError, match=r"no reader for '.xyz'.*\.npz"):
        open_snapshots(tmp_path / "data.xyz")


@pytest.mark.parametrize(("shape", "expected"), [((5, 7), (5, 1, 7)), ((5, 3, 4), (5, 1, 3, 4)), ((5, 2, 3, 4),) * 2])
def test_single_arrays_are_read(tmp_path, shape, expected):
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", array)
    for name in ("a.npy", "a.npz"):
        snapshots = open_snapshots(tmp_path / name)
        assert snapshots.fields.shape == expected
        np.testing.assert_array_equal(snapshots.fields.ravel(), array.ravel())


def test_ambiguous_and_one_dimensional_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 3)), b=np.zeros(2))
    np.save(tmp_path / "line.npy", np.zeros(4))
    for name in ("two.npz", "line.npy"):
        with pytest.raises(SnapshotFileError, match=name):
            open_snapshots(tmp_path / name)
