"""kill -9 at a few random moments and file operations; `make crash` does it 50 times, each in a process of its own."""

import random
import signal

import pytest

crash_test = pytest.importorskip("crash_test")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
def jobs(root):
    return {job.name: job for job in crash_test.jobs(root)}


@pytest.fixture(scope="module")
def processes():
    nursery = crash_test.Nursery()
    yield nursery
    nursery.close()


@pytest.mark.parametrize("name", ["train", "embed", "simulate"])
def test_killed_and_started_again_it_gives_the_undisturbed_result(name, root, jobs, processes):
    if name == "simulate":
        pytest.importorskip("numba")
    outcome = crash_test.run_job(jobs[name], 2, random.Random(1), root, processes)
    assert outcome.kills == 2
    assert outcome.completions >= 1


def test_a_torn_file_would_be_noticed(root, jobs, tmp_path):
    jobs["embed"].prepare(tmp_path / "study")
    crash_test.check_whole(tmp_path / "study")
    for name in ("model.safetensors", "checkpoint.safetensors", "split.npz", "history.json"):
        path = tmp_path / "study" / "study" / "seed_0" / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(Exception, match=r"."):
            crash_test.check_whole(tmp_path / "study")
        path.write_bytes(content)
