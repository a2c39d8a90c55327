"""The one entry point: read a study folder, render its page, write it atomically."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from gmvae_fast._io import atomic_writer
from gmvae_fast.report.loading import load_study

DEFAULT_NAME = "report.html"


def build_report(study_dir: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of one study as a single self-contained HTML file.

    Parameters
    ----------
    study_dir
        Folder written by a study: ``study.json`` and one ``seed_<s>`` folder per seed.
    out
        File to write, or an existing folder to write ``report.html`` into; by default the study folder.

    Returns
    -------
    Path
        The file written. Nothing is written, and an older report stays as it was, if anything fails.

    Raises
    ------
    ReportError
        A mandatory file is missing, or a file is malformed; the message names the file and the fault.
    ImportError
        matplotlib or jinja2 is not installed.
    """
    _require_extras()
    from gmvae_fast.report.page import render_page  # needs the extras, so only after the check

    study_dir = Path(study_dir)
    return _write(render_page(load_study(study_dir)), study_dir if out is None else Path(out))


def build_comparison(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the page of a comparison (`gmvae_fast.studies.comparison`) as a single self-contained HTML file.

    Parameters
    ----------
    folder
        With ``results.csv``: the page is made from that alone.
    out
        As for `build_report`.

    Raises
    ------
    StudyError
        Where there is no result file, or it is damaged.
    ImportError
        matplotlib or jinja2 is not installed.
    """
    _require_extras()
    from gmvae_fast.report.comparison import render_comparison

    return _write(render_comparison(Path(folder)), Path(folder) if out is None else Path(out))


def _write(html: str, target: Path) -> Path:
    if target.is_dir():
        target = target / DEFAULT_NAME
    with atomic_writer(target) as stream:
        # A lone surrogate is legal in JSON but not in UTF-8: write it as a character reference.
        stream.write(html.encode("utf-8", errors="xmlcharrefreplace"))
    return target


def _require_extras() -> None:
    for name in ("matplotlib", "jinja2"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f"the report needs {name}, which could not be imported: "
                'pip install "gmvae_fast[report]" installs what it needs'
            ) from error
