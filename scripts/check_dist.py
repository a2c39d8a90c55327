"""Build the source distribution, install from it where no source tree is, and try what was installed.

    python scripts/check_dist.py --keep dist

1. `python -m build --sdist` in a copy of what git tracks; the archive must hold what building, tests and readers need.
2. pip builds a wheel from the archive alone (in isolation: build requirements come from the index).
3. A fresh virtual environment gets that wheel; its dependencies are those of the environment that runs this script, so
   that torch is not downloaded again.
4. `scripts/smoke.py` of the archive runs there, outside any source tree.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = (
    *("pyproject.toml", "setup.py", "CMakeLists.txt", "constraints.txt", "MANIFEST.in", "Makefile"),
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("csrc/include/gmvae", "csrc/cpu/dispatch.cpp", "csrc/cuda", "csrc/bindings/bind_cpu.cpp"),
    *("gmvae_fast/py.typed", "gmvae_fast/report", "docs/reliability.md", "scripts/smoke.py"),
    *("tests/conftest.py", "tests/formats/v1/model.safetensors", "benchmarks/race.py"),
)
UNWANTED = (".so", ".pyc", ".partial")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def copy_of_tracked(folder: Path) -> None:
    """The files that git tracks, without what lies about in the working tree."""
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def check_content(archive: Path) -> None:
    """Nothing missing, nothing compiled."""
    with tarfile.open(archive) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    missing = [n for n in NEEDED if not any(name == n or name.startswith(f"{n}/") for name in names)]
    unwanted = [name for name in names if name.endswith(UNWANTED)]
    if missing or unwanted:
        raise SystemExit(f"{archive.name}: missing {missing}, unwanted {unwanted}")
    tracked = {
        name for name in run("git", "ls-files", "csrc", "gmvae_fast", cwd=ROOT).split() if (ROOT / name).is_file()
    }
    left_out = sorted(tracked - set(names))
    if left_out:
        raise SystemExit(f"{archive.name}: sources left out: {left_out}")


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """Python of a new environment with ``wheel``; its dependencies are this environment's packages."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    here = [p for p in sys.path if p.endswith("site-packages")]
    (Path(own) / "dependencies.pth").write_text(
        "\n".join(here) + "\n"
    )  # editable installs there are .pth files, not read
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for the archive and the wheel")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gmvae-dist-") as name:
        folder = Path(name)
        copy_of_tracked(folder / "tree")
        run(sys.executable, "-m", "build", "--sdist", "--outdir", folder / "dist", cwd=folder / "tree")
        shutil.rmtree(folder / "tree")
        (archive,) = (folder / "dist").glob("*.tar.gz")
        check_content(archive)
        print(f"{archive.name}: {archive.stat().st_size / 1e6:.2f} MB, complete", flush=True)
        run(
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder / "dist", archive),
            cwd=folder,
            GMVAE_CUDA=os.environ.get("GMVAE_CUDA", "OFF"),
        )
        (wheel,) = (folder / "dist").glob("*.whl")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
        python = fresh_environment(folder / "venv", wheel)
        with tarfile.open(archive) as tar:
            tar.extractall(folder / "unpacked", filter="data")
        (smoke,) = (folder / "unpacked").glob("*/scripts/smoke.py")
        shutil.copy(smoke, folder / "smoke.py")
        told = run(python, folder / "smoke.py", cwd=folder, PYTHONPATH="")
        if str(folder.resolve()) not in told:
            raise SystemExit(f"another gmvae_fast was imported: {told}")
        print(told.strip().replace(str(folder.resolve()), "..."))
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            for path in (archive, wheel):
                shutil.copy(path, options.keep)


if __name__ == "__main__":
    main()
