"""The built page: self-contained, complete, escaped, the same bytes for the same study."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from gmvae_fast.report import build_report

HOSTILE = "<script>alert(1)</script>\"'$x^{$&"


class Page(HTMLParser):
    """Tags with their attributes, the text, and the cells of every table."""

    VOID = frozenset({"meta", "img", "br", "hr", "link"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"unbalanced </{tag}>"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == first)

    @property
    def images(self) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, study_maker: Callable[..., Path]) -> Path:
    return build_report(study_maker(tmp_path_factory.mktemp("plain") / "study", seeds=(0, 7)))


@pytest.fixture(scope="module")
def page(built: Path) -> Page:
    return Page(built.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, study_maker: Callable[..., Path]) -> str:
    root = study_maker(tmp_path_factory.mktemp("hostile") / "study", hostile=HOSTILE, dim=5)
    return build_report(root).read_text(encoding="utf-8")


def decode(uri: str) -> np.ndarray | ET.Element:
    kind, data = re.fullmatch(r"data:image/(png|svg\+xml);base64,([A-Za-z0-9+/=]+)", uri).groups()  # type: ignore[union-attr]
    raw = base64.b64decode(data, validate=True)
    return matplotlib.image.imread(io.BytesIO(raw), format="png") if kind == "png" else ET.fromstring(raw)


def test_is_self_contained(built: Path, page: Page) -> None:
    assert built.name == "report.html"
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/")), (tag, name)
        assert not any(name.startswith("on") for name in attrs)
    html = built.read_text(encoding="utf-8")
    assert "@import" not in html
    assert "url(" not in html
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)


def test_tags_balance_and_anchors_exist(page: Page) -> None:
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}


def test_every_image_decodes_and_says_what_it_shows(page: Page) -> None:
    assert len(page.images) == 1 + 2 * 8
    for attrs in page.images:
        assert len(attrs["alt"] or "") > 30
        assert 300 < int(attrs["width"] or 0) < 1200
        picture = decode(attrs["src"] or "")
        if isinstance(picture, np.ndarray):
            assert picture.std() > 0.01, "blank image"


def test_first_seed_is_open_others_closed(page: Page) -> None:
    runs = [attrs for tag, attrs in page.tags if tag == "details" and attrs.get("class") == "run"]
    assert ["open" in attrs for attrs in runs] == [True, False]


def test_score_table_holds_every_number(page: Page) -> None:
    assert page.row("log Re") == ["log Re", "0.9971", "0.03277", "61.52", "10^-831.2", "62.72", "< 1e-300", "0.8685"]
    assert page.row("phase") == ["phase", "0.4123", "6.641", "25.44", "0.0321", "25.93", "0.0456", "0.3591"]
    assert page.row("drag") == ["drag", "-0.0123", "11.44", "-0.7589", "0.0321", "-0.7737", "0.0456", "n/a"]


def test_score_table_shows_permutations_and_intervals_where_they_were_asked_for(
    tmp_path: Path, study_maker: Callable[..., Path], page: Page
) -> None:
    study = study_maker(tmp_path / "study")
    path = next(study.glob("seed_*/scores.json"))
    scores = json.loads(path.read_text())
    scores["rows"][0] |= {"p_permutation": 0.005, "score_lower": 0.99, "score_upper": 0.998}
    path.write_text(json.dumps(scores))
    resampled = Page(build_report(study).read_text(encoding="utf-8"))
    first, second = (resampled.row(row["signal"]) for row in scores["rows"][:2])
    assert first[-2:] == ["0.005", "0.99 to 0.998"]
    assert second[-2:] == ["n/a", "n/a"]
    assert resampled.row("signal")[-2:] == ["p (permuted)", "score, 95% interval"]
    assert page.row("signal")[-1] == "low-frequency energy"


def test_tables_and_statements(page: Page) -> None:
    assert page.row("held_out_error") == ["held_out_error", "0.0213 ± 0.0017", "0.0211", "0.0281"]
    assert page.row("error") == ["error", "0.0213", "<= 0.05", "✗ fail"]
    assert page.row("2D-1") == ["2D-1", "Cd", "5.58", "5.5 to 5.6", "ST", "✓ pass"]
    assert page.row("Re 250") == ["Re 250", "0", "20", "0", "20"]
    assert page.row("graph components") == ["graph components", "4", "2"]
    assert page.row("held out, v") == ["held out, v", "n/a"]
    for words in (
        "gmvae-fast demo --seeds 0",
        "two cores",
        "Fragmentation makes any signal look smooth",
        "2 graph components",
        "quick checks only",
        "two-dimensional",
        "0 of 1 targets are met",
        "component 2",
    ):
        assert words in page.words


def test_hostile_strings_are_text(hostile: str) -> None:
    page = Page(hostile)
    assert "<script" not in hostile
    assert not any(tag == "script" for tag, _ in page.tags)
    for start in ("Wake regimes", "log Re", "group", "Re 250", "two-dimensional", "reseed", "c 2", "two cores", "conv"):
        assert start + HOSTILE in page.words, start
    assert all(attrs["alt"] for attrs in page.images)
    assert any(HOSTILE in (attrs["alt"] or "") for attrs in page.images)


def test_more_than_two_dimensions_are_announced(hostile: str) -> None:
    assert "5 dimensions: what is shown is its projection on the first two principal axes" in Page(hostile).words


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, study_maker: Callable[..., Path]) -> Path:
    """The report of one-dimensional fields in a one-dimensional latent space, every optional file absent."""
    root = study_maker(tmp_path_factory.mktemp("line") / "study", one_d=True, dim=1)
    for name in ("validation.json", "summary.json", "coordinates.npz", "seed_0/metrics.json", "seed_0/samples.npz"):
        (root / name).unlink()
    return build_report(root)


def test_one_dimension_and_absent_files(line: Path) -> None:
    page = Page(line.read_text(encoding="utf-8"))
    for words in (
        "validation.json is absent",
        "summary.json is absent",
        "no metrics.json",
        "No generated fields were stored",
        "One latent dimension",
    ):
        assert words in page.words
    assert page.row("Re 250") == ["Re 250", "0", "20", "0", "20"], "counted from the embedding"
    assert sum("Held-out snapshot" in (attrs["alt"] or "") for attrs in page.images) == 2


def test_same_bytes_again_and_no_global_state(line: Path, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    again = build_report(line.parent, tmp_path)
    assert again == tmp_path / "report.html"
    assert again.read_bytes() == line.read_bytes()
    assert dict(matplotlib.rcParams) == before
    assert list(tmp_path.iterdir()) == [again]
