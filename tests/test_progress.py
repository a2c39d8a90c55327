"""What is said about work in pieces where there is no terminal."""

import time

from gmvae_fast._progress import run_progress


def test_a_line_every_half_minute_with_the_time_left(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 20.0, 40.0, 41.0, 3700.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with run_progress("simulating wake") as show:
        show(10, 30)  # found in the cache
        show(11, 30)
        show(14, 30)
        show(15, 30)
        show(29, 30)
    assert capsys.readouterr().err.splitlines() == [
        "simulating wake: 14/30 after 0:00:40, about 0:02:40 left",  # 4 in 40 s, 16 to go
        "simulating wake: 29/30 after 1:01:40, about 0:03:15 left",
    ]


def test_quiet_and_quick_work_says_nothing(monkeypatch, capsys):
    with run_progress("x") as show:
        show(0, 2)
        show(2, 2)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with run_progress("x", enabled=False) as show:
        monkeypatch.setattr(time, "monotonic", lambda: 1e6)
        show(1, 2)
    assert capsys.readouterr().err == ""
