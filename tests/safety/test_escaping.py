"""Texts out of data stand in the report as texts."""

import html.parser
from pathlib import Path

import numpy as np

from gmvae_fast import TrainConfig
from gmvae_fast.data import Snapshots, SplitConfig
from gmvae_fast.report import build_report
from gmvae_fast.studies import ModelConfig, StudyFolder, embed_seed, score_seed, summarise, train_seed

EVIL = """<script>alert('x')</script>"><img src=x onerror=alert(1)>&{{7*7}}"""


class _Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.handlers, self.sources = [], [], []
        self._inside = False

    def handle_starttag(self, tag, attributes):
        self._inside = tag == "script"
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.sources += [value for name, value in attributes if name in ("src", "href") and value]

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts.append(data)


def test_the_report_escapes_names_labels_paths_and_notes(tmp_path):
    rng = np.random.default_rng(0)
    n, name = 40, EVIL.replace("/", "|")  # quantities become names in .npz archives
    data = Snapshots(
        rng.normal(size=(n, 2, 8, 8)),
        (f"{name}u", "v"),
        {f"{name}Re": np.arange(n) * 1.0},
        {f"{name}group": np.arange(n) % 2},
        np.arange(n) // 4,
        attributes={
            "system": EVIL,
            "geometry": EVIL,
            "design": EVIL,
            "notes": [EVIL],
            "label_names": {f"{name}group": [EVIL, "b"]},
            EVIL: EVIL,
        },
    )
    folder = StudyFolder(tmp_path / "study<script>alert('x')<")
    train_seed(
        folder,
        data,
        ModelConfig(2, 2, "mlp", (4,)),
        TrainConfig(epochs=2, warmup_epochs=1, n_init=1),
        data_path=EVIL,
        split=SplitConfig(),
        title=EVIL,
        progress=False,
    )
    embed_seed(folder, data, 0)
    score_seed(folder, data, 0, n_neighbors=5)
    summarise(folder)
    page = build_report(folder.path).read_text()
    tags = _Tags()
    tags.feed(page)
    assert "alert('x')" in page.replace("&#39;", "'").replace("&#x27;", "'")  # it is there, as text
    assert not any("alert(" in script for script in tags.scripts)
    assert not any(handler == "onerror" for handler in tags.handlers)
    assert "x" not in tags.sources
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_no_template_and_no_module_switches_escaping_off():
    """What holds for the pages that are not built here, too."""
    from gmvae_fast import report

    root = Path(report.__file__).parent
    assert "autoescape=True" in (root / "environment.py").read_text()
    texts = {path.name: path.read_text() for path in root.rglob("*") if path.suffix in (".py", ".html")}
    assert any(name.endswith(".html") for name in texts)
    for name, text in texts.items():
        for switch in ("|safe", "| safe", "Markup", "autoescape false", "autoescape=False"):
            assert switch not in text, name
