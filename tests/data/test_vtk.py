"""VTK files: series of regular grids become snapshots; other grids and OpenFOAM cases are told what to do."""

import base64
import json
import pickle
import zlib

import layout_files as files
import meshio
import numpy as np
import pytest

from gmvae_fast.data import SnapshotFileError, open_snapshots
from gmvae_fast.data.formats import vtk_frames
from gmvae_fast.data.formats.vtk_frames import IrregularGridError, lattice

NX, NY, NZ, T = 4, 3, 2, 3


@pytest.fixture(params=["vtk", "meshio"])
def library(request, monkeypatch):
    """Each library that can read .vtk and .vtu, if it is installed."""
    module = {"vtk": "vtkmodules", "meshio": "meshio"}[request.param]
    pytest.importorskip(module)
    monkeypatch.setattr(vtk_frames, "_installed", lambda name: name == module)
    return request.param


def field(*shape, seed=0):
    return files.numbers(*shape, seed=seed)


def points_of(x, y, z):
    """Points of a lattice, x fastest, [n, 3]."""
    grid = np.meshgrid(z, y, x, indexing="ij")
    return np.stack([grid[2], grid[1], grid[0]], -1).reshape(-1, 3)


def hexahedra(nx, ny, nz):
    """Cells of a lattice of nx x ny x nz points, x fastest."""
    i, j, k = np.meshgrid(np.arange(nx - 1), np.arange(ny - 1), np.arange(nz - 1), indexing="ij")
    corner = ((k * ny + j) * nx + i).transpose(2, 1, 0).ravel()
    below = np.stack([corner, corner + 1, corner + 1 + nx, corner + nx], 1)
    return np.concatenate([below, below + nx * ny], 1)


def numbers_of(values):
    return " ".join(map(repr, values.astype(float).ravel().tolist()))


def write_image(path, arrays, *, cells=False, storage="ascii", time=None):
    """A .vti file by its documentation; ``arrays`` [z, y, x] or [z, y, x, components]."""
    shape = next(iter(arrays.values())).shape[:3]
    extent = " ".join(f"0 {n - (not cells)}" for n in reversed(shape))
    kind = "CellData" if cells else "PointData"
    parts, appended = [], b""
    for name, values in arrays.items():
        components = 1 if values.ndim == 3 else values.shape[3]
        head = f'<DataArray type="Float32" Name="{name}" NumberOfComponents="{components}"'
        raw = values.astype("<f4").tobytes()
        if storage == "ascii":
            parts.append(f'{head} format="ascii">{numbers_of(values)}</DataArray>')
        elif storage == "zlib":
            packed = zlib.compress(raw)
            head_bytes = np.array([1, len(raw), 0, len(packed)], "<u4").tobytes()
            text = base64.b64encode(head_bytes).decode() + base64.b64encode(packed).decode()
            parts.append(f'{head} format="binary">{text}</DataArray>')
        else:
            parts.append(f'{head} format="appended" offset="{len(appended)}"/>')
            appended += np.uint32(len(raw)).tobytes() + raw
    stamp = ""
    if time is not None:
        stamp = '<FieldData><DataArray type="Float64" Name="TimeValue" NumberOfTuples="1" format="ascii">'
        stamp += f"{time}</DataArray></FieldData>"
    compressor = ' compressor="vtkZLibDataCompressor"' if storage == "zlib" else ""
    text = (
        f'<?xml version="1.0"?>\n<VTKFile type="ImageData" version="0.1" byte_order="LittleEndian"{compressor}>'
        f'<ImageData WholeExtent="{extent}" Origin="1 0 -1" Spacing="0.5 1 2">'
        f'{stamp}<Piece Extent="{extent}"><{kind}>{"".join(parts)}</{kind}></Piece></ImageData>'
    ).encode()
    tail = b'<AppendedData encoding="raw">_' + appended + b"</AppendedData>" if appended else b""
    path.write_bytes(text + tail + b"</VTKFile>")


def write_legacy(path, arrays, x, y, z):
    """A rectilinear grid in a legacy .vtk file, by its documentation."""
    lines = [
        "# vtk DataFile Version 3.0",
        "test",
        "ASCII",
        "DATASET RECTILINEAR_GRID",
        f"DIMENSIONS {len(x)} {len(y)} {len(z)}",
    ]
    for axis, along in zip("XYZ", (x, y, z), strict=True):
        lines += [f"{axis}_COORDINATES {len(along)} double", " ".join(map(str, along))]
    lines.append(f"POINT_DATA {len(x) * len(y) * len(z)}")
    for name, values in arrays.items():
        kind = "VECTORS {} float" if values.ndim == 4 else "SCALARS {} float 1\nLOOKUP_TABLE default"
        lines += [kind.format(name), numbers_of(values)]
    path.write_text("\n".join(lines) + "\n")


# --- series --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["ascii", "zlib", "appended"])
@pytest.mark.parametrize("cells", [False, True])
def test_image_data(tmp_path, storage, cells):
    pytest.importorskip("vtkmodules")
    p, u = field(T, NZ, NY, NX), field(T, NZ, NY, NX, 3, seed=1)
    for i, number in enumerate((2, 10, 9)):
        write_image(tmp_path / f"out{number}.vti", {"p": p[i], "U": u[i]}, cells=cells, storage=storage)
    data = open_snapshots(tmp_path / "out*.vti")
    assert data.attributes["layout"] == "vtk"
    assert data.field_names == ("p", "U_x", "U_y", "U_z")
    assert data.shape == (4, NZ, NY, NX)
    order = [0, 2, 1]  # 2, 9, 10
    np.testing.assert_array_equal(data.fields[:, 0], p[order])
    np.testing.assert_array_equal(data.fields[:, 1:], u[order].transpose(0, 4, 1, 2, 3))
    np.testing.assert_array_equal(data.trajectory, 0)
    np.testing.assert_array_equal(data.time, [0, 1, 2])
    np.testing.assert_allclose(data.coordinates["x"], 1 + 0.5 * (np.arange(NX) + 0.5 * cells))
    np.testing.assert_allclose(data.coordinates["z"], -1 + 2 * (np.arange(NZ) + 0.5 * cells))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).read([2, 0]), data.fields[[2, 0]])
    part = open_snapshots(tmp_path, fields=["U_y"], window={"crop": {"x": (1, 3)}})
    np.testing.assert_array_equal(part.fields[:, 0], u[order][..., 1:3, 1])


def test_rectilinear_grids(tmp_path, library):
    x, y, z = np.array([0.0, 1, 3, 6]), np.array([0.0, 0.5, 2]), np.array([0.0])
    p, u = field(T, 1, NY, NX), field(T, 1, NY, NX, 3, seed=1)
    for i in range(T):
        write_legacy(tmp_path / f"{i}.vtk", {"p": p[i], "U": u[i]}, x, y, z)
    data = open_snapshots(tmp_path)
    assert data.shape == (4, NY, NX)
    np.testing.assert_array_equal(data.fields[:, 0], p[:, 0])
    np.testing.assert_array_equal(data.fields[:, 2], u[:, 0, ..., 1])
    np.testing.assert_allclose(data.coordinates["x"], x)
    np.testing.assert_allclose(data.coordinates["y"], y)


def test_blocks_of_hexahedra_are_lattices(tmp_path, library):
    """As foamToVTK writes them: cells of a block, here with points and cells in any order."""
    x, y, z = np.linspace(0, 3, NX + 1), np.linspace(0, 1, NY + 1) ** 2, np.array([0.0, 0.1])
    points, cells = points_of(x, y, z), hexahedra(NX + 1, NY + 1, 2)
    rng = np.random.default_rng(0)
    p = field(NY, NX)
    point_order, cell_order = rng.permutation(len(points)), rng.permutation(len(cells))
    place = np.argsort(point_order)
    for suffix in (".vtu", ".vtk"):
        mesh = meshio.Mesh(
            points[point_order],
            [("hexahedron", place[cells][cell_order])],
            point_data={"p": np.arange(len(points), dtype=np.float32)[point_order]},
            cell_data={"p": [p.ravel()[cell_order]], "cellID": [np.arange(len(cells))[cell_order]]},
        )
        mesh.write(tmp_path / f"case_0{suffix}")
        data = open_snapshots(tmp_path / f"case_0{suffix}")
        assert data.field_names == ("p",)
        assert data.attributes["values"] == "cell"
        np.testing.assert_array_equal(data.fields[0, 0], p)
        np.testing.assert_allclose(data.coordinates["y"], (y[1:] + y[:-1]) / 2, rtol=1e-6)
        at_points = open_snapshots(tmp_path / f"case_0{suffix}", fields="point/p")
        np.testing.assert_array_equal(at_points.fields.ravel(), np.arange(len(points)))
        chosen = open_snapshots(tmp_path / f"case_0{suffix}", fields=["cellID"])
        np.testing.assert_array_equal(chosen.fields.ravel(), np.arange(len(cells)))


# --- times ---------------------------------------------------------------------------------------------------------


def series(folder, times=(0.5, 2.0, 0.1)):
    """Rectilinear files whose times are not in the order of their names."""
    p = field(len(times), 1, NY, NX)
    for i in range(len(times)):
        write_legacy(folder / f"s_{i}.vtk", {"p": p[i]}, np.arange(NX), np.arange(NY), [0.0])
    return p[:, 0], np.array(times)


def write_pvd(path, times, parts=None):
    sets = "".join(f'<DataSet timestep="{t}" part="0" file="s_{i}.vtk"/>' for i, t in enumerate(times))
    path.write_text(
        f'<?xml version="1.0"?><VTKFile type="Collection"><Collection>{sets}{parts or ""}</Collection></VTKFile>'
    )


def write_series(path, times):
    listed = [{"name": f"s_{i}.vtk", "time": t} for i, t in enumerate(times)]
    path.write_text(json.dumps({"file-series-version": "1.0", "files": listed}))


@pytest.mark.parametrize("name", ["run.pvd", "s.vtk.series"])
def test_lists_give_times(tmp_path, library, name):
    p, times = series(tmp_path)
    (write_pvd if name.endswith("pvd") else write_series)(tmp_path / name, times)
    for path in (tmp_path / name, tmp_path):
        data = open_snapshots(path)
        np.testing.assert_allclose(data.time, np.sort(times))
        np.testing.assert_array_equal(data.fields[:, 0], p[np.argsort(times)])
        assert len(data._handles.files[0].parts) >= 4
    beside = open_snapshots(tmp_path / "*.vtk")  # the order is the pattern's, the times are known
    np.testing.assert_allclose(beside.time, times)


def test_runs_in_folders_are_trajectories(tmp_path, library):
    for run in "ab":
        (tmp_path / run).mkdir()
        series(tmp_path / run)
    data = open_snapshots([tmp_path / "a", tmp_path / "b"])
    np.testing.assert_array_equal(data.trajectory, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(open_snapshots(str(tmp_path / "*/*.vtk")).trajectory, [0, 0, 0, 1, 1, 1])


def test_times_in_the_files(tmp_path):
    pytest.importorskip("vtkmodules")
    for i, t in enumerate((0.25, 0.75)):
        write_image(tmp_path / f"{i}.vti", {"p": field(NZ, NY, NX)}, time=t)
    np.testing.assert_allclose(open_snapshots(tmp_path).time, [0.25, 0.75])


def test_internal_blocks_of_foam_to_vtk(tmp_path, library):
    p = field(2, NY, NX)
    cells = hexahedra(NX + 1, NY + 1, 2)
    points = points_of(np.arange(NX + 1.0), np.arange(NY + 1.0), [0.0, 1.0])
    for i in range(2):
        (tmp_path / f"VTK/case_{i}").mkdir(parents=True)
        mesh = meshio.Mesh(points, [("hexahedron", cells)], cell_data={"p": [p[i].ravel()]})
        mesh.write(tmp_path / f"VTK/case_{i}/internal.vtu")
        (tmp_path / f"VTK/case_{i}.vtm").write_text(
            f'<?xml version="1.0"?><VTKFile type="vtkMultiBlockDataSet"><vtkMultiBlockDataSet>'
            f'<DataSet name="internal" file="case_{i}/internal.vtu"/>'
            f'<Block name="boundary"><DataSet name="inlet" file="case_{i}/boundary/inlet.vtp"/></Block>'
            f"</vtkMultiBlockDataSet></VTKFile>"
        )
    listed = [{"name": f"case_{i}.vtm", "time": 0.1 * i} for i in range(2)]
    (tmp_path / "VTK/case.vtm.series").write_text(json.dumps({"file-series-version": "1.0", "files": listed}))
    data = open_snapshots(tmp_path / "VTK")
    np.testing.assert_array_equal(data.fields[:, 0], p)
    np.testing.assert_allclose(data.time, [0, 0.1])
    joined = open_snapshots(str(tmp_path / "VTK/case_*/internal.vtu"), joined=True)
    np.testing.assert_array_equal(joined.trajectory, 0)
    np.testing.assert_array_equal(joined.fields, data.fields)


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_raw_openfoam_cases_say_what_to_do(tmp_path):
    (tmp_path / "case/system").mkdir(parents=True)
    (tmp_path / "case/system/controlDict").write_text("FoamFile{}")
    (tmp_path / "case/case.foam").write_text("")
    for path in (tmp_path / "case", tmp_path / "case/case.foam"):
        with pytest.raises(SnapshotFileError, match=r"case.*run foamToVTK in it and open .*VTK"):
            open_snapshots(path)
    (tmp_path / "case/VTK").mkdir()
    with pytest.raises(SnapshotFileError, match="open its VTK output"):
        open_snapshots(tmp_path / "case")


def test_irregular_grids_say_what_was_found(tmp_path, library):
    points = np.random.default_rng(0).random((12, 3))
    mesh = meshio.Mesh(points, [("tetra", np.arange(12).reshape(3, 4))], point_data={"p": np.arange(12.0)})
    mesh.write(tmp_path / "a.vtu")
    with pytest.raises(
        SnapshotFileError, match=r"a\.vtu.*12 points do not lie on a rectangular lattice.*Resample To Image"
    ):
        open_snapshots(tmp_path / "a.vtu")


@pytest.mark.parametrize(
    "points",
    [
        points_of([0, 1], [0, 1], [0, 1])[:7],
        np.repeat(points_of([0, 1], [0, 1], [0, 1])[:4], 2, 0),
        points_of([0, 1], [0, 1], [0, 1]) + np.arange(24).reshape(8, 3) * 1e-3,
    ],
)
def test_what_is_no_lattice(points):
    with pytest.raises(IrregularGridError, match="some points do not lie on a rectangular lattice"):
        lattice(np.asarray(points, dtype=np.float64), "some points")


def test_rounding_does_not_split_a_lattice():
    x = np.linspace(1000, 1001, 50).astype(np.float32).astype(np.float64)
    points = points_of(x, [0, 1], [0])
    noisy = points + np.random.default_rng(0).uniform(-1e-5, 1e-5, points.shape) * [1, 0, 0]
    axes, order = lattice(noisy, "points")
    assert [len(a) for a in axes] == [50, 2, 1]
    np.testing.assert_array_equal(order, np.arange(100))


def test_damaged_files_are_named(tmp_path):
    series(tmp_path)
    text = (tmp_path / "s_2.vtk").read_text()
    (tmp_path / "s_2.vtk").write_text(text[: len(text) // 2])
    with pytest.raises(SnapshotFileError, match=r"s_2\.vtk"):
        open_snapshots(tmp_path / "*.vtk").read([2])
    mesh = meshio.Mesh(points_of([0, 1], [0, 1], [0, 1]), [("hexahedron", hexahedra(2, 2, 2))])
    mesh.point_data["p"] = np.arange(8.0)
    mesh.write(tmp_path / "a.vtu")
    whole = (tmp_path / "a.vtu").read_bytes()
    for size in (0, 20, len(whole) // 2):
        (tmp_path / "a.vtu").write_bytes(whole[:size])
        with pytest.raises(SnapshotFileError, match=r"a\.vtu: \w"):  # with a reason
            open_snapshots(tmp_path / "a.vtu")


def test_unlike_files_are_named(tmp_path, library):
    p, _ = series(tmp_path)
    text = (tmp_path / "s_2.vtk").read_text()
    data = open_snapshots(tmp_path)
    (tmp_path / "s_2.vtk").write_text(text.replace("SCALARS p", "SCALARS q"))
    with pytest.raises(SnapshotFileError, match=r"s_2\.vtk: no point/p; it has point/q"):
        data.read([2])
    data.close()
    write_legacy(tmp_path / "s_2.vtk", {"p": p[2, :2][None]}, np.arange(NX), np.arange(2), [0.0])
    with pytest.raises(SnapshotFileError, match=r"s_2\.vtk: point/p is \(1, 2, 4\), in the first file \(1, 3, 4\)"):
        data.read([2])


def test_lists_that_cannot_be_followed(tmp_path, library):
    _, times = series(tmp_path)
    write_pvd(tmp_path / "a.pvd", times, '<DataSet timestep="0.5" part="1" file="s_1.vtk"/>')
    with pytest.raises(SnapshotFileError, match=r"a\.pvd.*several files for one time"):
        open_snapshots(tmp_path / "a.pvd")
    write_series(tmp_path / "b.series", times)
    with pytest.raises(SnapshotFileError, match="several series, pass one of a.pvd, b.series"):
        open_snapshots(tmp_path)
    (tmp_path / "c.pvd").write_text("<VTKFile>")
    with pytest.raises(SnapshotFileError, match=r"c\.pvd"):
        open_snapshots(tmp_path / "c.pvd")


def test_without_vtk_image_data_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(vtk_frames, "_installed", lambda name: name == "meshio")
    write_image(tmp_path / "a.vti", {"p": field(NZ, NY, NX)})
    with pytest.raises(ImportError, match=r"a\.vti .*needs VTK: pip install 'gmvae_fast\[vtk\]'"):
        open_snapshots(tmp_path / "a.vti")
