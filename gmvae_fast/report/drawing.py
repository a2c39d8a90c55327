"""What every figure shares: style, colour-blind-safe colours, safe text, and encoding to a data URI."""

from __future__ import annotations

import base64
import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure

from gmvae_fast.report.reading import Array

PAGE_WIDTH = 10.8  # inches: one inch is about 100 CSS pixels on the page, so 9 pt text reads as 12 px
PNG_DPI = 110
COLOR_LEVELS = 64  # steps of a colour map: fine enough for the eye, and PNG halves in size
WIDE_RANGE = 300.0  # highest over lowest value from which colours are logarithmic
SOLID_GREY = "#9a9a9a"
DIVERGING, SEQUENTIAL, CYCLIC = "RdBu_r", "viridis", "twilight_shifted"

# Okabe & Ito (2008) without black and yellow, then Paul Tol's "muted": distinct with any colour vision.
CATEGORICAL = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
    "#332288", "#999933", "#882255", "#44AA99", "#AA4499", "#117733",
)  # fmt: skip
LINE_STYLES = ("-", "--", "-.", ":")

_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.7,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.5,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "gmvae_fast",  # the same study gives the same bytes
}


@dataclass(frozen=True)
class Image:
    """An encoded figure: a data URI, what is drawn in words, and how wide to show it."""

    uri: str
    alt: str
    width: int  # CSS pixels


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib's defaults plus ours, whatever the user's matplotlibrc says; restored afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """A figure with an Agg canvas and no global state; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure, alt: str) -> Image:
    """Encode a figure with many points or pixels; blank margins left by fixed aspects are trimmed."""
    stream = io.BytesIO()
    figure.savefig(
        stream, format="png", dpi=PNG_DPI, bbox_inches="tight", pad_inches=0.04, pil_kwargs={"optimize": True}
    )
    data = stream.getvalue()
    inches = int.from_bytes(data[16:20], "big") / PNG_DPI  # the width in the IHDR chunk
    return _image("png", data, alt, inches)


def as_svg(figure: Figure, alt: str) -> Image:
    """Encode a line figure; glyphs become paths, so no font is needed to read it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return _image("svg+xml", stream.getvalue(), alt, float(figure.get_size_inches()[0]))


def _image(kind: str, data: bytes, alt: str, inches: float) -> Image:
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Image(uri, alt, round(100 * inches))


def color(i: int) -> str:
    """The colour of component, signal or label number ``i``; repeats after twelve."""
    return CATEGORICAL[i % len(CATEGORICAL)]


def ink_on(background: str) -> str:
    """White or near-black, whichever reads better on ``background``."""
    red, green, blue = to_rgb(background)
    return "#111111" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def line_style(i: int) -> str:
    """A dash pattern that changes when colours repeat, and tells neighbours apart in greyscale."""
    return LINE_STYLES[(i + i // len(CATEGORICAL)) % len(LINE_STYLES)]


def plain(text: str, limit: int = 48) -> str:
    """Text from data made safe for matplotlib: one short printable line, no mathtext from ``$``."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("$", r"\$")


def enumerate_words(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def finite(values: Array) -> Array:
    """The finite entries as a flat float array."""
    values = np.asarray(values, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def limits(values: Array, tail: float = 0.0) -> tuple[float, float]:
    """Lowest and highest finite value, without ``tail`` percent at each end; never an empty interval."""
    kept = finite(values)
    if not len(kept):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(kept, [tail, 100 - tail]))
    if low == high:
        low, high = float(kept.min()), float(kept.max())
    if low == high:
        margin = max(abs(low), 1.0) * 1e-3
        return low - margin, high + margin
    return low, high


def field_scale(values: Array) -> tuple[Normalize, Colormap]:
    """Colours for a physical field: diverging about zero if both signs matter, sequential otherwise."""
    low, high = limits(values, tail=0.5)
    if low < 0 < high and 1 / 3 <= -low / high <= 3:
        return symmetric_scale(values)
    return Normalize(low, high), _colormap(SEQUENTIAL)


def symmetric_scale(values: Array) -> tuple[Normalize, Colormap]:
    """A diverging map with zero in the middle."""
    bound = max(abs(v) for v in limits(values, tail=0.5))
    return Normalize(-bound, bound), _colormap(DIVERGING)


def quantity_scale(name: str, values: Array) -> tuple[Normalize, Colormap]:
    """Colours for a scalar quantity: cyclic if named phase, logarithmic over a wide positive range."""
    if "phase" in name.lower():
        return Normalize(*_period(values)), _colormap(CYCLIC)
    low, high = limits(values, tail=1.0)
    norm = LogNorm(low, high) if low > 0 and high / low > WIDE_RANGE else Normalize(low, high)
    return norm, _colormap(SEQUENTIAL)


def _period(values: Array) -> tuple[float, float]:
    low, high = limits(values)
    for start, end in (
        (0.0, 1.0),
        (-0.5, 0.5),
        (-np.pi, np.pi),
        (0.0, 2 * np.pi),
        (-180.0, 180.0),
        (0.0, 360.0),
    ):
        slack = 1e-6 * (end - start)
        if start - slack <= low and high <= end + slack:
            return start, end
    return low, high


def _colormap(name: str) -> Colormap:
    return matplotlib.colormaps[name].resampled(COLOR_LEVELS).with_extremes(bad=SOLID_GREY)
