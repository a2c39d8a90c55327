"""Sizes that VTK files claim, and files that they name; no VTK is needed to look at them."""

import pytest

from gmvae_fast.data.formats.vtk_claims import check_claims

IMAGE = '<VTKFile type="ImageData"><ImageData WholeExtent="{0}"><Piece Extent="{0}"></Piece></ImageData></VTKFile>'
LEGACY = "# vtk DataFile Version 3.0\nt\nBINARY\nDATASET STRUCTURED_POINTS\nDIMENSIONS {}\nPOINT_DATA {}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.vti", IMAGE.format("0 9999999 0 9999999 -5 5")),
        ("a.vti", IMAGE.format(f"0 {'9' * 5000} 0 1 0 1")),
        ("a.vti", IMAGE.format("0 9999 0 9999 0 9").replace("</Piece>", '<A NumberOfComponents="99999"/></Piece>')),
        ("a.vtu", '<VTKFile><Piece NumberOfPoints = "9999999999999" NumberOfCells="1"/></VTKFile>'),
        ("a.vtu", "<VTKFile><Piece NumberOfPoints='4' NumberOfCells='9999999999999'/></VTKFile>"),
        ("a.vtk", LEGACY.format("9999999 9999999 2", 4)),
        ("a.vtk", LEGACY.format("2 2 1", 10**13)),
        ("a.vtk", LEGACY.format("2 2 1", 4) + f"FIELD FieldData 1\np 3 {10**13} float\n"),
        ("a.vtk", LEGACY.format("2 2 1", 4) + f"CELLS 2 {10**13}\n"),
    ],
)
def test_sizes_beyond_memory_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"^claims \d+ points, cells or values, which needs .* of memory"):
        check_claims(str(tmp_path / name))


@pytest.mark.parametrize("text", ["", "no VTK", IMAGE.format("0 127 0 63 0 0"), LEGACY.format("128 64 1", 8192)])
def test_what_fits_is_left_to_vtk(tmp_path, text):
    (tmp_path / "a.vti").write_text(text)
    check_claims(str(tmp_path / "a.vti"))


@pytest.mark.parametrize("extent", ["0 3 0 2 0 1", "0 9999999 0 9999999 0 9"])
@pytest.mark.parametrize("source", ["b.vti", "../b.vti", "/etc/hostname"])
def test_pieces_of_parallel_files(tmp_path, source, extent):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "b.vti").write_text(IMAGE.format(extent))
    (folder / "a.pvti").write_text(f'<VTKFile><PImageData><Piece Source="{source}"/></PImageData></VTKFile>')
    if source != "b.vti":
        with pytest.raises(ValueError, match="does not lie in its folder"):
            check_claims(str(folder / "a.pvti"))
    elif extent.startswith("0 3"):
        check_claims(str(folder / "a.pvti"))
    else:
        with pytest.raises(ValueError, match=r"^its piece b\.vti claims"):
            check_claims(str(folder / "a.pvti"))
