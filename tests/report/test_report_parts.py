"""Numbers as text, and the decisions behind the figures."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from gmvae_fast.report import numbers
from gmvae_fast.report.drawing import field_scale, limits, plain, quantity_scale
from gmvae_fast.report.field_figures import relative_error
from gmvae_fast.report.latent_figures import MAX_POINTS, label_classes, latent_map
from gmvae_fast.report.study import Latents, Mixture


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "n/a"), (math.inf, "n/a"), (0.0, "0"), (12345.0, "12,345"), (1 / 3, "0.3333"), (1.5e-9, "1.5e-09")],
)
def test_number(value: float, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("p", "log10_p", "text"),
    [
        (0.05, math.nan, "0.05"),
        (2e-300, -299.7, "2e-300"),
        (1e-305, -305.0, "10^-305.0"),
        (0.0, -831.25, "10^-831.2"),
        (0.0, math.nan, "< 1e-300"),
        (math.nan, math.nan, "n/a"),
    ],
)
def test_p_value(p: float, log10_p: float, text: str) -> None:
    assert numbers.p_value(p, log10_p) == text


def test_scales() -> None:
    assert quantity_scale("shedding phase", np.array([-3.0, 3.0]))[0].vmax == pytest.approx(math.pi)
    assert quantity_scale("phase", np.array([0.1, 0.9]))[1].name == "twilight_shifted"
    assert isinstance(quantity_scale("enstrophy", np.logspace(0, 4))[0], LogNorm)
    signed, _ = field_scale(np.linspace(-1, 2, 50))
    assert signed.vmin == -signed.vmax  # type: ignore[operator]
    assert field_scale(np.linspace(-0.1, 2, 50))[1].name == "viridis"


def test_limits_of_nothing_and_of_a_constant() -> None:
    assert limits(np.array([np.nan, np.inf])) == (0.0, 1.0)
    low, high = limits(np.full(5, 3.0))
    assert low < 3 < high


def test_plain_text_cannot_start_mathtext() -> None:
    assert plain("a$\n b\x00") == r"a\$ b "
    assert len(plain("x" * 500)) == 48


def test_relative_error_ignores_solid_and_missing_cells() -> None:
    original = np.array([[3.0, 4.0, 100.0, np.nan]])
    rebuilt = np.array([[3.0, 4.5, -7.0, 1.0]])
    assert relative_error(original, rebuilt, np.array([[False, False, True, False]])) == pytest.approx(0.1)
    assert math.isnan(relative_error(0 * original, rebuilt, None))


def test_labels_are_ordered_as_numbers() -> None:
    classes, which = label_classes(np.array(["Re 1500", "Re 250", "Re 750", "Re 250"]))
    assert classes == ("Re 250", "Re 750", "Re 1500")
    assert which.tolist() == [2, 0, 1, 0]


def make_latents(mean: np.ndarray) -> Latents:
    n = len(mean)
    zeros = np.zeros(n, dtype=np.int64)
    return Latents(mean, 0 * mean, np.ones((n, 1)), zeros, zeros > 0, {}, {})


def test_projection_keeps_centres_and_covariances_consistent() -> None:
    rng = np.random.default_rng(1)
    scales = np.array([3.0, 0.1, 1.0])
    mean = rng.normal(size=(4000, 3)) * scales
    view = latent_map(make_latents(mean), Mixture(np.ones(1), np.zeros((1, 3)), np.diag(scales**2)[None]))
    np.testing.assert_allclose(np.cov(view.points.T), view.covariances[0], rtol=0.1, atol=0.1)
    np.testing.assert_allclose(view.centres, 0.0)
    assert "principal axes" in view.note


def test_many_or_non_finite_points_are_announced() -> None:
    mean = np.random.default_rng(2).normal(size=(MAX_POINTS + 5, 2))
    mixture = Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    assert len(latent_map(make_latents(mean), mixture).shown) == MAX_POINTS
    assert "random subset" in latent_map(make_latents(mean), mixture).note
    few = mean[:10].copy()
    few[3] = np.nan
    assert "1 have a non-finite position" in latent_map(make_latents(few), mixture).note


def test_importing_needs_no_extras_and_never_pyplot() -> None:
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = sys.modules['jinja2'] = None\n"
        "import gmvae_fast.report\n"
        "del sys.modules['matplotlib'], sys.modules['jinja2']\n"
        "import gmvae_fast.report.page\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
