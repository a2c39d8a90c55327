"""Locks between processes: who is refused, what a kill leaves, and that no update is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gmvae_fast import _locks
from gmvae_fast._locks import InUseError, file_lock, folder_lock

pytestmark = pytest.mark.skipif(_locks.fcntl is None, reason="no locks here")

#: Without the package's __init__, which takes seconds to import.
LOAD = f"""
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("_locks", {_locks.__file__!r})
locks = importlib.util.module_from_spec(spec); spec.loader.exec_module(locks)
"""
HOLD = LOAD + "with locks.folder_lock(sys.argv[1]):\n    print('held', flush=True); time.sleep(600)\n"
COUNT = LOAD + (
    "path = pathlib.Path(sys.argv[1])\n"
    "for _ in range(50):\n"
    "    with locks.file_lock(path, wait=True):\n"
    "        path.write_text(str(int(path.read_text()) + 1))\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder's lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path, holder):
    with (
        pytest.raises(InUseError, match=f"in use by process {holder.pid} on .*; wait for it to end"),
        folder_lock(tmp_path),
    ):
        pass


def test_the_lock_of_a_killed_process_is_nobodys(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with folder_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_second_lock_of_the_same_process_is_refused_too(tmp_path):
    path = tmp_path / "new" / "file"
    with file_lock(path):
        with pytest.raises(InUseError, match=f"process {os.getpid()} "), file_lock(path):
            pass
        with file_lock(tmp_path / "new" / "other"):
            pass
    assert list(path.parent.iterdir()) == []


def test_a_forked_child_neither_keeps_nor_drops_the_lock(tmp_path):
    (tmp_path / "orphan").mkdir()
    code = LOAD + (
        "import os\n"
        "with locks.folder_lock(sys.argv[1]):\n"
        "    if os.fork() == 0:\n"
        "        print(os.getpid(), flush=True); time.sleep(600); os._exit(0)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path / "orphan"], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        with pytest.raises(InUseError, match=str(parent.pid)), folder_lock(tmp_path / "orphan"):
            pass
        parent.kill()
        parent.wait()
        parent.stdout.close()  # the child has it too, and lives
        with folder_lock(tmp_path / "orphan"):
            os.kill(child, 0)  # alive
    finally:
        os.kill(child, signal.SIGKILL)
    with folder_lock(tmp_path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(InUseError), folder_lock(tmp_path):
            pass


def test_waiting_ends_with_the_other_lock(tmp_path):
    path, order = tmp_path / "file", []

    def wait():
        with file_lock(path, wait=True):
            order.append("second")

    thread = threading.Thread(target=wait)
    with file_lock(path):
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_no_update_is_lost_between_processes(tmp_path):
    path = tmp_path / "count"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, path]) for _ in range(4)]
    assert [p.wait(60) for p in processes] == [0] * 4
    assert path.read_text() == "200"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_inside_release_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        1 / 0  # noqa: B018
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), folder_lock(tmp_path / "file"):
        pass


def test_without_locks_everybody_may_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "fcntl", None)
    with folder_lock(tmp_path), folder_lock(tmp_path):
        pass
