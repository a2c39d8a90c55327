"""One VTK file as arrays over a rectangular lattice, read by VTK (which pyvista brings too) or meshio."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .container import require
from .vtk_claims import check_claims

#: Suffixes that meshio reads; VTK reads all.
MESHIO = (".vtk", ".vtu")
XML = (".vti", ".vtr", ".vts", ".vtu", ".pvti", ".pvtr", ".pvts", ".pvtu")
FRAME_SUFFIXES = (".vtk", *XML)
_SAME = 1e-6  # of the extent: coordinates that differ by less are one

Floats = npt.NDArray[np.float64]


class IrregularGridError(ValueError):
    """Points or cells that do not form a rectangular lattice."""


@dataclass(frozen=True)
class RawFrame:
    """What a library read: values of points and cells, flat, and where they lie.

    Places are either the coordinates along each axis, (x, y, z) with x fastest in the values, or the points [n, 3].
    """

    kind: str
    values: dict[str, dict[str, npt.NDArray[Any]]]  # "point" or "cell" -> name -> [n, ...]
    places: dict[str, tuple[Floats, Floats, Floats] | Floats]
    time: float | None = None


@dataclass
class Lattices:
    """Brings frames into the order of their lattices; what was found for one file serves all like it."""

    _known: dict[str, tuple[Floats, tuple[Floats, Floats, Floats], npt.NDArray[np.int64]]] = field(default_factory=dict)

    def arrays(self, frame: RawFrame, which: str) -> tuple[dict[str, npt.NDArray[Any]], tuple[Floats, ...]]:
        """Values of points or cells as [z, y, x, ...], and the coordinates along x, y, z."""
        place = frame.places[which]
        if isinstance(place, tuple):
            axes, order = place, None
        else:
            axes, order = self._ordered(place, f"{frame.kind} whose {len(place)} {which}s")
        shape = tuple(len(a) for a in reversed(axes))
        arranged = {}
        for name, values in frame.values[which].items():
            flat = values if order is None else values[order]
            arranged[name] = flat.reshape(*shape, *flat.shape[1:])
        return arranged, axes

    def _ordered(self, points: Floats, what: str) -> tuple[tuple[Floats, Floats, Floats], npt.NDArray[np.int64]]:
        known = self._known.get(what)
        if known is None or not np.array_equal(known[0], points):
            known = self._known[what] = (points, *lattice(points, what))
        return known[1:]


def lattice(points: Floats, what: str) -> tuple[tuple[Floats, Floats, Floats], npt.NDArray[np.int64]]:
    """Coordinates along x, y, z of points [n, 3] on a rectangular lattice, and the order that makes x the fastest.

    Raises
    ------
    IrregularGridError
    """
    axes, places = [], []
    for values in points.T:
        ordered = np.sort(values)
        gap = _SAME * (ordered[-1] - ordered[0]) + 8 * np.finfo(np.float32).eps * np.abs(ordered).max(initial=0)
        starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf) > gap)
        centres = np.add.reduceat(ordered, starts) / np.diff([*starts, len(ordered)])
        axes.append(centres)
        places.append(np.searchsorted((centres[1:] + centres[:-1]) / 2, values))
    nx, ny, nz = (len(a) for a in axes)
    flat = (places[2] * ny + places[1]) * nx + places[0]
    if nx * ny * nz != len(points) or len(np.unique(flat)) != len(points):
        raise IrregularGridError(
            f"{what} do not lie on a rectangular lattice ({nx}, {ny}, {nz} different x, y, z); resample it onto one "
            "(ParaView: Resample To Image; pyvista: grid.sample of an ImageData) and save that as .vti"
        )
    return (axes[0], axes[1], axes[2]), np.argsort(flat)


def read_frame(path: str) -> RawFrame:
    """The file, by VTK if it is installed, else by meshio; .vtk the other way round.

    VTK takes an ASCII .vtk file that is cut short for a whole one, with arbitrary values for what is missing.

    Raises
    ------
    ImportError
        Where neither can.
    ValueError
        For a damaged file or other kinds of data.
    """
    suffix = Path(path).suffix.lower()
    readers = [_by_vtk] if _installed("vtkmodules") else []
    if suffix in MESHIO and _installed("meshio"):
        readers.insert(0 if suffix == ".vtk" else len(readers), _by_meshio)
    if readers:
        return readers[0](path, suffix)
    raise ImportError(f"{path} ({suffix}) needs VTK: pip install 'gmvae_fast[vtk]' (meshio reads .vtk and .vtu only)")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _by_meshio(path: str, suffix: str) -> RawFrame:
    reader = require(f"meshio.{suffix[1:]}", f"{path} ({suffix})", "vtk")
    mesh = reader.read(path)
    points = np.asarray(mesh.points, dtype=np.float64)
    centres = [points[block.data].mean(axis=1) for block in mesh.cells]
    kinds = ", ".join(sorted({block.type for block in mesh.cells}))
    return RawFrame(
        f"a grid of {kinds or 'points'}",
        {
            "point": {str(name): _components(values) for name, values in mesh.point_data.items()},
            "cell": {str(name): _components(np.concatenate(parts)) for name, parts in mesh.cell_data.items()},
        },
        {"point": points, "cell": np.concatenate(centres) if centres else np.zeros((0, 3))},
    )


def _components(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[n] or [n, components], whatever way the library writes them."""
    return values.reshape(len(values)) if values.size == len(values) else values.reshape(len(values), -1)


def _by_vtk(path: str, suffix: str) -> RawFrame:
    check_claims(path)
    if suffix == ".vtk":
        reader = require("vtkmodules.vtkIOLegacy", path, "vtk").vtkGenericDataObjectReader()
    else:
        reader = require("vtkmodules.vtkIOXML", path, "vtk").vtkXMLGenericDataObjectReader()
    errors: list[str] = []
    reader.AddObserver("ErrorEvent", _collector(errors))
    reader.SetFileName(path)
    reader.Update()
    data = reader.GetOutput()
    if errors or data is None:
        raise ValueError("; ".join(errors) or "VTK reads nothing from it")
    if not data.IsA("vtkDataSet"):
        raise ValueError(f"holds a {data.GetClassName()}, expected a grid")
    return RawFrame(
        f"a {data.GetClassName()}",
        {"point": _vtk_values(data.GetPointData()), "cell": _vtk_values(data.GetCellData())},
        _vtk_places(data),
        _vtk_time(data),
    )


def _collector(errors: list[str]) -> Any:
    """Observer that keeps VTK's messages, which would go to standard error."""

    def keep(source: Any, event: str, message: str = "") -> None:
        errors.append(" ".join(str(message).split()) or event)

    keep.CallDataType = "string0"  # type: ignore[attr-defined]  # how VTK is told to pass the message
    return keep


def _vtk_array(array: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = require("vtkmodules.util.numpy_support", "VTK", "vtk").vtk_to_numpy(array)
    return values


def _vtk_values(data: Any) -> dict[str, npt.NDArray[Any]]:
    arrays = [data.GetArray(i) for i in range(data.GetNumberOfArrays())]
    return {a.GetName() or f"array_{i}": _components(_vtk_array(a)) for i, a in enumerate(arrays) if a is not None}


def _vtk_places(data: Any) -> dict[str, tuple[Floats, Floats, Floats] | Floats]:
    points: tuple[Floats, Floats, Floats]
    if data.IsA("vtkImageData"):
        if not data.GetDirectionMatrix().IsIdentity():
            raise IrregularGridError("the image is turned (its Direction is not the identity); resample it")
        sizes, start = data.GetDimensions(), data.GetExtent()[::2]
        x, y, z = (
            data.GetOrigin()[i] + data.GetSpacing()[i] * (start[i] + np.arange(sizes[i], dtype=np.float64))
            for i in range(3)
        )
        points = (x, y, z)
    elif data.IsA("vtkRectilinearGrid"):
        stored = (data.GetXCoordinates(), data.GetYCoordinates(), data.GetZCoordinates())
        x, y, z = (_vtk_array(a).astype(np.float64) for a in stored)
        points = (x, y, z)
    else:
        return _vtk_scattered(data)
    return {"point": points, "cell": (_between(points[0]), _between(points[1]), _between(points[2]))}


def _between(along: Floats) -> Floats:
    """Centres of cells; of an axis with one point the point itself."""
    return along if len(along) == 1 else (along[1:] + along[:-1]) / 2


def _vtk_scattered(data: Any) -> dict[str, tuple[Floats, Floats, Floats] | Floats]:
    centres = require("vtkmodules.vtkFiltersCore", "VTK", "vtk").vtkCellCenters()
    centres.SetInputData(data)
    centres.Update()
    found: dict[str, tuple[Floats, Floats, Floats] | Floats] = {}
    for which, source in (("point", data), ("cell", centres.GetOutput())):
        points = source.GetPoints()
        held = points is not None and points.GetNumberOfPoints() > 0
        found[which] = _vtk_array(points.GetData()).astype(np.float64) if held else np.zeros((0, 3))
    return found


def _vtk_time(data: Any) -> float | None:
    """The field "TimeValue", by which VTK's own writers and foamToVTK store the time."""
    array = data.GetFieldData().GetArray("TimeValue")
    return float(array.GetTuple1(0)) if array is not None and array.GetNumberOfTuples() == 1 else None
