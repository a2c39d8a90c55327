"""What `scripts/fuzz.py` damages: for every reader of the package a folder of whole files, and how they are used."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: Of snapshots that a case reads, as `gmvae-fast inspect` reads a few.
READ_BYTES = 2**24


@dataclass(frozen=True)
class Reader:
    """A way into the package from outside.

    Attributes
    ----------
    name : str
    build : callable
        Fills an empty folder with whole files.
    use : callable
        Opens the folder's files and reads all of them; what it raises is the case's outcome.
    documented : callable
        The exceptions that its documentation names for damaged files.
    needs : tuple of str
        Packages without which it is left out.
    damaged : str
        Pattern of the files that are damaged.
    """

    name: str
    build: Callable[[Path], None]
    use: Callable[[Path], object]
    documented: Callable[[], tuple[type[BaseException], ...]]
    needs: tuple[str, ...] = ()
    damaged: str = "*"

    @property
    def available(self) -> bool:
        return all(importlib.util.find_spec(name) for name in self.needs)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- snapshots -------------------------------------------------------------------------------------------------------


def _snapshot_errors() -> tuple[type[BaseException], ...]:
    from gmvae_fast.data import SnapshotFileError

    return SnapshotFileError, FileNotFoundError


def read_some(data: Any) -> None:
    """Every table, and as many snapshots as a cautious user reads at a time, from both ends."""
    n = len(data)
    row_bytes = 4 * int(np.prod(data.shape, dtype=object))
    count = int(min(n, max(1, READ_BYTES // max(1, row_bytes))))
    for rows in (np.arange(count), np.arange(n - count, n), np.arange(0, n, max(1, n // count))[:count]):
        values = data.read(rows)
        assert values.shape == (len(rows), *data.shape)
        assert values.dtype == np.float32
    assert len(data.trajectory) == len(data.time) == n
    assert all(len(v) == n for v in (*data.quantities.values(), *data.labels.values()))
    repr(data)


def _opened(pattern: str, **options: Any) -> Callable[[Path], None]:
    """Use of the files that match: as they are told apart by `open_snapshots`, lazily and in memory."""

    def use(folder: Path) -> None:
        import gmvae_fast as gf

        path = folder if pattern == "." else folder / pattern
        read_some(gf.open_snapshots(path, **options))
        gf.data.inspect_snapshots(path, **options)

    return use


def _npy(folder: Path) -> None:
    np.save(folder / "a.npy", numbers(6, 2, 4, 5))


def _use_npy(folder: Path) -> None:
    import gmvae_fast as gf

    for lazy in (True, False):
        read_some(gf.open_snapshots(folder / "a.npy", lazy=lazy))


def _snapshots() -> Any:
    from gmvae_fast.data import Snapshots

    return Snapshots(
        numbers(6, 2, 4, 5),
        ("u", "v"),
        {"Re": np.arange(6.0)},
        {"group": np.arange(6) % 2},
        np.arange(6) // 3,
        np.arange(6.0) % 3,
        {"x": np.arange(5.0)},
        np.arange(20).reshape(4, 5) != 7,
        {"label_names": {"group": ["a", "b"]}},
    )


def _npz(folder: Path) -> None:
    _snapshots().save(folder / "a.npz")


def _npz_compressed(folder: Path) -> None:
    _snapshots().save(folder / "b.npz")
    with np.load(folder / "b.npz") as archive:
        np.savez_compressed(folder / "a.npz", **archive)
    (folder / "b.npz").unlink()


def _use_npz(folder: Path) -> None:
    import gmvae_fast as gf

    for lazy in (True, False):
        read_some(gf.open_snapshots(folder / "a.npz", lazy=lazy))


def _well(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.hdf5", "w") as file:
        file.attrs.update(dataset_name="f", grid_type="cartesian", n_spatial_dims=2, n_trajectories=2, Re=5.0)
        file.attrs["simulation_parameters"] = ["Re"]
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        for name, n in (("time", 3), ("x", 4), ("y", 5)):
            dims[name] = np.linspace(0, 1, n)
        file.create_group("boundary_conditions")
        file.create_group("scalars")["energy"] = numbers(2, 3)
        file["scalars/energy"].attrs.update(sample_varying=True, time_varying=True)
        for rank, name in enumerate(("density", "velocity")):
            data = file.create_group(f"t{rank}_fields").create_dataset(name, data=numbers(2, 3, 4, 5, *[2] * rank))
            data.attrs.update(dim_varying=[True, True], sample_varying=True, time_varying=True)


def _pdebench(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        for name in ("density", "pressure", "Vx", "Vy"):
            file.create_dataset(name, data=numbers(2, 3, 4, 5), chunks=(1, 1, 4, 5), compression="gzip")
        for axis, n in zip("xy", (4, 5), strict=True):
            file[f"{axis}-coordinate"] = np.arange(n, dtype=np.float32)
        file["t-coordinate"] = np.linspace(0, 1, 4, dtype=np.float32)


def _pdebench_groups(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        for i in range(2):
            file[f"{i:04d}/data"] = numbers(3, 4, 5, 2, seed=i)
            for axis, n in zip("txy", (3, 4, 5), strict=True):
                file[f"{i:04d}/grid/{axis}"] = np.linspace(0, 1, n)


def _jhtdb(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        for t in (1, 2):
            file[f"Velocity_{t:04d}"] = numbers(3, 4, 5, 3, seed=t)
            file[f"Pressure_{t:04d}"] = numbers(3, 4, 5, 1, seed=t)
        for axis, n in zip("zyx", (3, 4, 5), strict=True):
            file[f"{axis}coor"] = np.arange(n, dtype=np.float32)


def _plain_hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("u", data=numbers(2, 3, 4, 5), chunks=(1, 3, 4, 5), compression="gzip", shuffle=True)
        file.create_dataset("v", data=numbers(2, 3, 4, 5), fletcher32=True)


def _converted(folder: Path) -> None:
    import gmvae_fast as gf

    gf.data.convert_snapshots(_snapshots(), folder / "a.h5", compression="gzip", dtype="bfloat16")


def _zarr(version: int) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import zarr

        root = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=version)
        for name in ("u", "v"):
            named = {"dimension_names": ("sample", "time", "y", "x")} if version == 3 else {}
            array = root.create_array(name, shape=(2, 3, 4, 5), chunks=(1, 3, 4, 5), dtype="f4", **named)
            array[:] = numbers(2, 3, 4, 5)
            if version == 2:
                array.attrs["_ARRAY_DIMENSIONS"] = ["sample", "time", "y", "x"]
        if version == 2:
            zarr.consolidate_metadata(folder / "a.zarr")

    return build


def _netcdf(engine: str, format: str | None) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        import xarray

        data = xarray.Dataset(
            {"u": (("time", "y", "x"), numbers(3, 4, 5)), "Re": (("time",), np.arange(3.0))},
            {"time": np.arange(3.0), "y": np.arange(4.0), "x": np.arange(5.0)},
        )
        data.to_netcdf(folder / "a.nc", engine=engine, format=format)

    return build


def _vtk_series(folder: Path) -> None:
    import meshio

    axes = np.meshgrid(np.arange(4.0), np.arange(3.0), [0.0], indexing="ij")
    points = np.stack([a.ravel() for a in axes], 1)
    quads = [[3 * i + j, 3 * (i + 1) + j, 3 * (i + 1) + j + 1, 3 * i + j + 1] for i in range(3) for j in range(2)]
    rows = []
    for t in range(2):
        mesh = meshio.Mesh(points, [("quad", quads)], {"u": numbers(12, seed=t)}, {"p": [numbers(6, seed=t)]})
        mesh.write(folder / f"f{t}.vtu", binary=t == 0)
        rows.append(f'<DataSet timestep="{t}.5" file="f{t}.vtu"/>')
    text = f'<?xml version="1.0"?>\n<VTKFile type="Collection"><Collection>{"".join(rows)}</Collection></VTKFile>'
    (folder / "a.pvd").write_text(text)


def _vtk_legacy(folder: Path) -> None:
    import meshio

    _vtk_series(folder)
    for t in range(2):
        meshio.read(folder / f"f{t}.vtu").write(folder / f"f{t}.vtk", binary=t == 0)
        (folder / f"f{t}.vtu").unlink()
    (folder / "a.pvd").unlink()
    files = [{"name": f"f{t}.vtk", "time": t + 0.5} for t in range(2)]
    (folder / "a.vtk.series").write_text(json.dumps({"file-series-version": "1.0", "files": files}))


#: Of VTK's XML formats: kind of grid, and how the frames store their values.
_VTK_STORED = (("Ascii", False), ("Binary", True), ("Appended", True), ("Appended", False))


def _vtk_own(suffix: str) -> Callable[[Path], None]:
    """Frames that VTK itself writes: a lattice of points with values at points and in cells."""

    def build(folder: Path) -> None:
        from vtkmodules import vtkIOLegacy, vtkIOXML

        for t, (mode, compressed) in enumerate(_VTK_STORED):
            grid, kind = _vtk_grid(suffix, t)
            if suffix == "vtk":
                writer = vtkIOLegacy.vtkGenericDataObjectWriter()
                (writer.SetFileTypeToASCII, writer.SetFileTypeToBinary)[t % 2]()
            else:
                writer = getattr(vtkIOXML, f"vtkXML{kind}Writer")()
                getattr(writer, f"SetDataModeTo{mode}")()
                writer.SetEncodeAppendedData(t == 2)
                if not compressed:
                    writer.SetCompressorTypeToNone()
            writer.SetInputData(grid)
            writer.SetFileName(str(folder / f"f{t}.{suffix}"))
            writer.Write()

    return build


def _vtk_grid(suffix: str, seed: int) -> tuple[Any, str]:
    """A grid of 4 x 3 x 2 points and the name of its kind."""
    from vtkmodules import vtkCommonDataModel as model
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints

    x, y, z = (np.arange(float(n)) for n in (4, 3, 2))
    points = np.stack([a.ravel() for a in np.meshgrid(z, y, x, indexing="ij")[::-1]], 1)
    scattered = vtkPoints()
    scattered.SetData(numpy_to_vtk(points, deep=True))
    grid: Any
    if suffix in ("vti", "vtk"):
        grid, kind = model.vtkImageData(), "ImageData"
        grid.SetDimensions(4, 3, 2)
    elif suffix == "vtr":
        grid, kind = model.vtkRectilinearGrid(), "RectilinearGrid"
        grid.SetDimensions(4, 3, 2)
        for axis, along in zip("XYZ", (x, y, z), strict=True):
            getattr(grid, f"Set{axis}Coordinates")(numpy_to_vtk(along, deep=True))
    elif suffix == "vts":
        grid, kind = model.vtkStructuredGrid(), "StructuredGrid"
        grid.SetDimensions(4, 3, 2)
        grid.SetPoints(scattered)
    else:
        grid, kind = model.vtkUnstructuredGrid(), "UnstructuredGrid"
        grid.SetPoints(scattered)
        for j in range(2):
            for i in range(3):
                below = [4 * j + i, 4 * j + i + 1, 4 * j + i + 5, 4 * j + i + 4]
                grid.InsertNextCell(model.VTK_HEXAHEDRON, 8, [*below, *(c + 12 for c in below)])
    for data, n in ((grid.GetPointData(), 24), (grid.GetCellData(), 6)):
        for name, components in (("p", 1), ("U", 3)):
            array = numpy_to_vtk(numbers(n, components, seed=seed), deep=True)
            array.SetName(name)
            data.AddArray(array)
    return grid, kind


def _by_library(module: str, pattern: str) -> Callable[[Path], None]:
    """As where the other library that reads .vtu and .vtk is missing."""

    def use(folder: Path) -> None:
        from gmvae_fast.data.formats import vtk_frames

        vtk_frames._installed = lambda name: name == module  # of this case's process
        _opened(pattern)(folder)

    return use


def _png(folder: Path) -> None:
    from PIL import Image

    for t in range(3):
        Image.fromarray((numbers(6, 8, seed=t) * 40 + 100).clip(0, 255).astype(np.uint8)).save(folder / f"f{t}.png")


def _tiff(folder: Path) -> None:
    import tifffile

    for t in range(3):
        tifffile.imwrite(folder / f"f{t}.tif", (numbers(6, 8, seed=t) * 400 + 1000).astype(np.uint16))


def _tiff_pages(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "a.tif", (numbers(3, 6, 8) * 400 + 1000).astype(np.uint16), compression="zlib")


# -- tables ----------------------------------------------------------------------------------------------------------


def _csv(folder: Path) -> None:
    np.save(folder / "a.npy", numbers(2, 3, 4, 5))
    rows = [f"{i // 3},{i % 3},{i * 0.5},{'ab'[i % 2]}" for i in range(6)]
    (folder / "t.csv").write_text("\n".join(["trajectory,time_index,Re,regime", *rows]))


def _parquet(folder: Path) -> None:
    import pandas

    np.save(folder / "a.npy", numbers(2, 3, 4, 5))
    frame = pandas.DataFrame({"Re": np.arange(6.0), "regime": ["a", "b"] * 3})
    frame.to_parquet(folder / "t.parquet", engine="fastparquet", compression="GZIP")


def _use_table(folder: Path) -> None:
    import gmvae_fast as gf

    table = folder / ("t.csv" if (folder / "t.csv").exists() or not (folder / "t.parquet").exists() else "t.parquet")
    read_some(gf.open_snapshots(folder / "a.npy", dims="b t y x", quantities=table))


# -- configurations --------------------------------------------------------------------------------------------------


def _run_toml(folder: Path) -> None:
    text = 'data = "a.npz"\nout = "study"\nwidths = [64, 64]\nepochs = 20\nlearning_rate = 1e-3\nresume = false\n'
    (folder / "run.toml").write_text(f"[train]\n{text}\n[simulate]\nsystem = 'wake'\nset = {{ noise = 0.02 }}\n")


def _use_run_toml(folder: Path) -> None:
    """The command's own exit codes are its documented outcomes; what escapes from it is not."""
    from typer.testing import CliRunner

    import gmvae_fast.cli  # noqa: F401 - its commands
    from gmvae_fast.cli._app import app

    for command in ("train", "simulate"):
        result = CliRunner().invoke(app, [command, "--config", str(folder / "run.toml"), "--dump-config"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in (0, 2):
            raise AssertionError(f"exit code {result.exit_code}")
        if result.exit_code == 2:
            raise ValueError(result.output[-300:])


def _split(folder: Path) -> None:
    value = {"by": "condition", "test_fraction": 0.3, "validation_fraction": 0.2, "quantity": "Re", "held_out": "above"}
    (folder / "split.json").write_text(json.dumps(value))
    training = {"scheme": "block", "epochs": 3, "batch_size": 4, "priors": {}, "seed": 0}
    (folder / "training.json").write_text(json.dumps(training))


def _use_split(folder: Path) -> None:
    """Configurations out of a file, as a study stores them, applied to sound data."""
    from gmvae_fast._reading import read_json
    from gmvae_fast.data import Snapshots, SplitConfig
    from gmvae_fast.train_config import TrainConfig

    TrainConfig.from_dict(read_json(folder / "training.json", dict)).resolved()
    data = Snapshots(numbers(24, 1, 4), ("u",), {"Re": np.arange(24.0) // 2}, trajectory=np.arange(24) // 2)
    SplitConfig(**read_json(folder / "split.json", dict)).apply(data)


def _usage() -> tuple[type[BaseException], ...]:
    return ValueError, TypeError, FileNotFoundError, IsADirectoryError


# -- models and studies ----------------------------------------------------------------------------------------------


def _small_model() -> Any:
    import gmvae_fast as gf

    return gf.GMVAE((5,), latent_dim=2, n_components=2, widths=[4], seed=1)


def _model(folder: Path) -> None:
    _small_model().save(folder / "a.safetensors")


def _use_model(folder: Path) -> None:
    import gmvae_fast as gf

    gf.load(folder / "a.safetensors").embed(numbers(3, 5))


def _generator(folder: Path) -> None:
    from gmvae_fast.generation import ConditionalGenerator

    made = ConditionalGenerator(widths=(4,), steps=2)
    made.fit(_small_model(), numbers(8, 5), {"Re": np.arange(8.0)}).save(folder / "a.safetensors")


def _use_generator(folder: Path) -> None:
    from gmvae_fast.generation import ConditionalGenerator

    ConditionalGenerator.load(folder / "a.safetensors", _small_model()).predict({"Re": 1.5})


def _model_errors() -> tuple[type[BaseException], ...]:
    from gmvae_fast.tensor_files import ModelFileError

    return ModelFileError, FileNotFoundError


def _training() -> Any:
    import gmvae_fast as gf

    return gf.TrainConfig(epochs=2, warmup_epochs=1, batch_size=4, n_init=1)


def _checkpoint(folder: Path) -> None:
    import gmvae_fast as gf

    gf.fit(_small_model(), numbers(8, 5), _training(), checkpoint=folder / "a.safetensors", progress=False)


def _use_checkpoint(folder: Path) -> None:
    """Restored into a run of its configuration, without the lock of `fit`, which would write beside it."""
    from gmvae_fast.training import checkpoint
    from gmvae_fast.training.run import Run

    checkpoint.restore(Run(_small_model(), numbers(8, 5), _training()), folder / "a.safetensors")


def _checkpoint_errors() -> tuple[type[BaseException], ...]:
    return (*_model_errors(), ValueError)  # ValueError: of another configuration


def _study(folder: Path) -> None:
    from gmvae_fast.data import SplitConfig
    from gmvae_fast.studies import ModelConfig, StudyFolder, embed_seed, score_seed, summarise, train_seed

    study = StudyFolder(folder / "study")
    data = _snapshots().subset(np.tile(np.arange(6), 6))
    model = ModelConfig(2, 2, "mlp", (4,))
    split = SplitConfig("frame", allow_leakage=True)
    train_seed(study, data, model, _training(), split=split, progress=False)
    embed_seed(study, data, 0)
    score_seed(study, data, 0, n_neighbors=3)
    summarise(study)


def _use_study(folder: Path) -> None:
    """What embed, score and report read of it."""
    from gmvae_fast.report import load_study
    from gmvae_fast.studies import StudyFolder

    study = StudyFolder(folder / "study")
    for path in sorted((folder / "study").rglob("*")):
        name = str(path.relative_to(folder / "study"))
        if path.suffix == ".json":
            study.read_json(name)
        elif path.suffix == ".npz":
            study.read_npz(name)
    load_study(folder / "study")


def _study_errors() -> tuple[type[BaseException], ...]:
    from gmvae_fast.report import ReportError
    from gmvae_fast.studies.folder import StudyError

    return StudyError, ReportError, FileNotFoundError


def _results(folder: Path) -> None:
    from gmvae_fast.studies.comparison.rows import Row
    from gmvae_fast.studies.comparison.store import ResultStore

    store = ResultStore(folder)
    for seed in range(3):
        row = Row("wake", "block", "", seed, "smoothness", "score", "Re", 0.5 + seed, f"hash{seed}", "", "numpy=2", 1.0)
        store.append([row, row])


def _use_results(folder: Path) -> None:
    """Opened for reading, and for going on, in a copy: going on mends the file."""
    import shutil
    import tempfile

    from gmvae_fast.studies.comparison.store import ResultStore, load_results

    load_results(folder / "results.csv")
    with tempfile.TemporaryDirectory(dir=folder) as other:
        shutil.copy(folder / "results.csv", other)
        ResultStore(other).results()


def _cache(folder: Path) -> None:
    from gmvae_fast.data.cache import write_entry

    write_entry(folder / "a.npz", {"fields": numbers(3, 4), "Re": np.arange(3.0)})


def _use_cache(folder: Path) -> None:
    """A damaged entry is None and a warning: the run is computed again."""
    from gmvae_fast.data.cache import read_entry

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if read_entry(folder / "a.npz") is None and caught:
            raise ValueError(str(caught[0].message))


def _copied(folder: Path) -> None:
    """A compressed file and its decoded copy, which is what is damaged."""
    import h5py

    from gmvae_fast.data import copied, open_snapshots

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("u", data=numbers(6, 4, 5), chunks=(2, 4, 5), compression="gzip")
    _aged(folder / "a.h5")
    copied(open_snapshots(folder / "a.h5", dims="t y x"), folder)
    (made,) = folder.glob("*.npy")
    made.rename(folder / "copy.npy")


def _aged(path: Path) -> None:
    """Written long enough ago to be told from a later file by its time of change."""
    os.utime(path, (1e9, 1e9))


def _use_copied(folder: Path) -> None:
    """In the place of the copy that would be made: whatever is read of it is what the file holds."""
    import shutil
    import tempfile

    from gmvae_fast.data import SnapshotFileError, copied, open_snapshots

    source = open_snapshots(folder / "a.h5", dims="t y x")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        copied(source, name)
        (place,) = Path(name).glob("*.npy")
        place.unlink()
        if (folder / "copy.npy").is_dir():
            place.mkdir()
        elif (folder / "copy.npy").exists():
            shutil.copy(folder / "copy.npy", place)
        try:
            found = copied(source, name).fields
        except SnapshotFileError:
            np.testing.assert_array_equal(copied(source, name).fields[:, 0], numbers(6, 4, 5))
            raise
        np.testing.assert_array_equal(found[:, 0], numbers(6, 4, 5))
        if caught:
            raise SnapshotFileError(str(caught[0].message))


def _moments(folder: Path) -> None:
    """Statistics of an earlier pass, as the cache keeps them."""
    import torch

    from gmvae_fast.data import moments

    moments._path = lambda _: folder / "a.npz"
    moments.store_moments({}, moments.Moments.of(torch.from_numpy(numbers(6, 2, 4))))


def _use_moments(folder: Path) -> None:
    """None where they cannot be read: the pass is made again."""
    import torch

    from gmvae_fast.data import moments

    moments._path = lambda _: folder / "a.npz"
    found = moments.stored_moments({}, (2, 4))
    if found is None:
        raise ValueError("not used")
    whole = moments.Moments.of(torch.from_numpy(numbers(6, 2, 4)))
    assert found.count == whole.count
    assert torch.equal(found.mean, whole.mean)
    assert torch.equal(found.squares, whole.squares)


def _none() -> tuple[type[BaseException], ...]:
    return (ValueError,)


READERS = {
    reader.name: reader
    for reader in (
        Reader("npy", _npy, _use_npy, _snapshot_errors),
        Reader("npz", _npz, _use_npz, _snapshot_errors),
        Reader("npz-deflated", _npz_compressed, _use_npz, _snapshot_errors),
        Reader("hdf5-the-well", _well, _opened("a.hdf5"), _snapshot_errors, ("h5py",)),
        Reader("hdf5-pdebench", _pdebench, _opened("a.h5"), _snapshot_errors, ("h5py",)),
        Reader("hdf5-pdebench-groups", _pdebench_groups, _opened("a.h5"), _snapshot_errors, ("h5py",)),
        Reader("hdf5-jhtdb", _jhtdb, _opened("a.h5"), _snapshot_errors, ("h5py",)),
        Reader("hdf5-plain", _plain_hdf5, _opened("a.h5", dims="b t y x"), _snapshot_errors, ("h5py",)),
        Reader("hdf5-own", _converted, _opened("a.h5"), _snapshot_errors, ("h5py",)),
        Reader("zarr-2", _zarr(2), _opened("a.zarr"), _snapshot_errors, ("zarr",)),
        Reader("zarr-3", _zarr(3), _opened("a.zarr"), _snapshot_errors, ("zarr",)),
        Reader("netcdf-3", _netcdf("scipy", None), _opened("a.nc"), _snapshot_errors, ("xarray",)),
        Reader("netcdf-4", _netcdf("h5netcdf", None), _opened("a.nc"), _snapshot_errors, ("xarray", "h5netcdf")),
        Reader("vtk-pvd", _vtk_series, _by_library("meshio", "a.pvd"), _snapshot_errors, ("meshio",)),
        Reader("vtk-series", _vtk_legacy, _by_library("meshio", "a.vtk.series"), _snapshot_errors, ("meshio",)),
        *(
            Reader(
                f"vtk-{suffix}",
                _vtk_own(suffix),
                _by_library("vtkmodules", "f*.*v*"),
                _snapshot_errors,
                ("vtkmodules",),
            )
            for suffix in ("vti", "vtr", "vts", "vtu", "vtk")
        ),
        Reader("png-folder", _png, _opened("."), _snapshot_errors, ("PIL",)),
        Reader("tiff-folder", _tiff, _opened("."), _snapshot_errors, ("tifffile",)),
        Reader("tiff-pages", _tiff_pages, _opened("a.tif"), _snapshot_errors, ("tifffile",)),
        Reader("csv-table", _csv, _use_table, _snapshot_errors, (), "t.*"),
        Reader("parquet-table", _parquet, _use_table, _snapshot_errors, ("pandas", "fastparquet"), "t.*"),
        Reader("run.toml", _run_toml, _use_run_toml, _usage),
        Reader("configurations", _split, _use_split, _usage),
        Reader("model", _model, _use_model, _model_errors),
        Reader("generator", _generator, _use_generator, _model_errors),
        Reader("checkpoint", _checkpoint, _use_checkpoint, _checkpoint_errors),
        Reader("study", _study, _use_study, _study_errors),
        Reader("study-results", _results, _use_results, _study_errors),
        Reader("cache-entry", _cache, _use_cache, _none),
        Reader("decoded-copy", _copied, _use_copied, _snapshot_errors, ("h5py",), "copy.npy"),
        Reader("statistics", _moments, _use_moments, _none),
    )
}
