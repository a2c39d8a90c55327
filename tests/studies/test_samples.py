"""Checks of new fields, on fields whose answers are known."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from gmvae_fast.data import Snapshots
from gmvae_fast.studies.comparison.questions import samples

HEIGHT, WIDTH = 12, 20


def flow(n: int, factor: float = 1.0) -> np.ndarray:
    """Parallel flow u(y), v = 0, and p: [n, 3, H, W]; free of divergence, with one flux everywhere."""
    y = (np.arange(HEIGHT) + 0.5) / HEIGHT
    fields = np.zeros((n, 3, HEIGHT, WIDTH), dtype=np.float32)
    fields[:, 0] = factor * (np.arange(n) + 1)[:, None, None] * (y * (1 - y))[:, None]
    return fields


def snapshots(fields: np.ndarray, mask: np.ndarray | None = None) -> Snapshots:
    where = {"x": np.arange(WIDTH) * 0.1, "y": np.arange(HEIGHT) * 0.1}
    return Snapshots(fields, ("u", "v", "p"), coordinates=where, mask=mask)


class Arm:
    """Draws ``drawn[c]`` and classifies by the sign of the mean of u."""

    def __init__(self, drawn: list[np.ndarray] | None) -> None:
        self.drawn = drawn

    def sample(self, n: int, component: int, seed: int) -> np.ndarray | None:
        return None if self.drawn is None else self.drawn[component]

    def map(self, data: Snapshots) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(data), 2)), (data.fields[:, 0].mean((1, 2)) < 0).astype(np.int64)


def measured(
    drawn: list[np.ndarray] | None, geometry: str = "channel", quantities: dict[str, np.ndarray] | None = None
) -> dict[tuple[str, str], float]:
    known = dataclasses.replace(snapshots(flow(10)), quantities=quantities or {})
    trained = SimpleNamespace(
        bench=SimpleNamespace(snapshots=known, case=SimpleNamespace(simulate={"geometry": geometry})),
        fitted=Arm(drawn),
        n_components=2,
        train=np.arange(10),
        test=np.arange(10),
        budget=SimpleNamespace(training=SimpleNamespace(seed=0)),
    )
    return {(m.metric, m.detail): m.value for m in samples.measure(trained)}  # type: ignore[arg-type]


def test_physical_fields_that_come_back() -> None:
    found = measured([flow(4), -flow(4)])
    assert found["classified back", ""] == 1
    assert found["divergence", "sampled"] == pytest.approx(0, abs=1e-6)
    assert found["variation of the flux, %", "sampled"] == pytest.approx(0, abs=1e-4)
    assert found["kinetic energy in range, %", ""] == 100
    assert 0 < found["values out of range, %", ""] < 100 / 3  # the negative velocities


def test_fields_that_leak_and_are_classified_elsewhere() -> None:
    leaking = flow(4)
    leaking[:, 0] *= 1 + 0.05 * np.arange(WIDTH)
    found = measured([leaking, flow(4)])
    assert found["classified back", "component 0"] == 1
    assert found["classified back, worst component", ""] == 0
    assert found["classified back", ""] == 0.5
    flux = 1 + 0.05 * np.arange(WIDTH)
    assert found["variation of the flux, %", "sampled"] == pytest.approx(50 * flux.std() / flux.mean(), rel=1e-4)
    assert found["divergence", "sampled"] > 0.05
    assert found["divergence", "simulated"] == pytest.approx(0, abs=1e-6)


def test_drag_is_regressed_on_the_fields() -> None:
    known = flow(40)
    drag = 3 + 2 * known[:, 0].mean((1, 2)).astype(float)
    data = dataclasses.replace(snapshots(known), quantities={"drag": drag})
    regression = samples.DragRegression(data[np.arange(0, 40, 2)])
    np.testing.assert_allclose(regression(data[np.arange(1, 40, 2)]), drag[1::2], rtol=1e-3)
    found = measured([flow(4), flow(4, 100.0)], quantities={"drag": 3 + 2 * flow(10)[:, 0].mean((1, 2)).astype(float)})
    assert found["drag in range, %", ""] == 50
    assert found["drag explained, %", "held out"] == pytest.approx(100, abs=0.1)


def test_where_fields_are_classified() -> None:
    found = measured([flow(4), flow(4)])
    assert {d: v for (m, d), v in found.items() if m == samples.CONFUSION} == {
        "0 -> 0": 1, "0 -> 1": 0, "1 -> 0": 1, "1 -> 1": 0,
    }  # fmt: skip


def test_what_is_not_asked() -> None:
    assert measured(None) == {}
    assert ("variation of the flux, %", "sampled") not in measured([flow(4), flow(4)], "free_stream")


def test_cells_outside_the_mask_do_not_count() -> None:
    mask = np.ones((HEIGHT, WIDTH), dtype=bool)
    mask[4:8, 5:8] = False
    fields = flow(3)
    wild = fields.copy()
    wild[..., ~mask] = 1e6
    assert samples.out_of_range(wild, fields, mask) == 0
    np.testing.assert_array_equal(samples.flux_variation(wild[:, 0], mask) < 1e-6, True)
    known = snapshots(fields, mask)
    np.testing.assert_allclose(samples.kinetic_energy(wild, known), samples.kinetic_energy(fields, known))
