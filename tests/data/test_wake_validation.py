import threading

import pytest

pytest.importorskip("numba")

from gmvae_fast.data.systems import wake
from gmvae_fast.data.systems.wake.validation import _full_checks, _quick_checks


@pytest.fixture(scope="module")
def report():
    return wake.validate(quick=True)


def test_the_quick_validation_passes(report):
    assert report.passed, str(report)


def test_the_report_is_readable(report):
    text = str(report)
    assert "channel 2D-1" in text
    assert "Schaefer & Turek 1996" in text
    assert text.endswith("passed")
    assert set(report.seconds) == {row.case for row in report.rows}


def test_a_value_outside_its_band_or_undefined_fails(report):
    for value, expected in ((0.5, True), (0.0, True), (1.1, False), (float("nan"), False)):
        row = wake.ValidationRow("case", "quantity", value, 0.0, 1.0, "source")
        assert row.passed is expected
        alone = wake.ValidationReport((row,), {}, quick=True)
        assert alone.passed is expected
        assert ("FAIL" in alone.table()) is not expected
    assert not wake.ValidationReport((), {}, quick=True).passed


@pytest.mark.parametrize("checks", [_full_checks, _quick_checks])
def test_bands_are_intervals_and_cases_have_different_names(checks):
    made = checks()
    assert len({check.case for check in made}) == len(made)
    for check in made:
        for band in check.bands:
            assert band.low < band.high


def test_an_interrupted_validation_stops():
    def progress(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wake.validate(quick=True, progress=progress, workers=1)
    assert threading.active_count() < 20
    with pytest.raises(ValueError, match="workers"):
        wake.validate(quick=True, workers=0)
