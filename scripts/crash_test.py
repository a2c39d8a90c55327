"""Kill real `gmvae-fast` processes (SIGKILL) at random moments, start them again, compare with an undisturbed run.

    python scripts/crash_test.py --kills 50 --seed 0

After every kill each file under its final name must be whole; after the last one the command is run to its end, which
must give the undisturbed run's files bit for bit and leave no temporary or lock file. Half of the kills come at a
random time while the command works, half at a random one of its file operations (opening, syncing, renaming, deleting
in its folders), where a torn file is likeliest. Exit code 1 on any difference. Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: What is killed: the command line, which may be told to kill itself at its n-th file operation in a folder.
LAUNCHER = """
import json, os, signal, sys, traceback

def main(request):
    import gmvae_fast.cli as cli
    folder, kill_at, count = request["folder"], request["kill_at"], 0

    def operation(path):
        nonlocal count
        if isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(folder):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(event, arguments):
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) or event in ("os.rename", "os.remove"):
            operation(arguments[0])

    def fsync(handle, sync=os.fsync):
        operation(os.readlink(f"/proc/self/fd/{handle}") if os.path.exists("/proc/self/fd") else folder)
        sync(handle)  # killed before: the file is written and not renamed

    sys.addaudithook(audit)
    os.fsync = fsync
    os.chdir(folder)
    os.environ.update(request["environment"])
    sys.argv = ["gmvae-fast", *request["arguments"]]
    try:
        cli.main()
    finally:
        with open(os.path.join(folder, "operations"), "w") as file:
            file.write(str(count))
"""

#: One such process by itself.
ALONE = LAUNCHER + "\nimport gmvae_fast.cli\nprint('ready', flush=True)\nmain(json.loads(sys.argv[1]))\n"

#: A process that has imported everything, and becomes the command in a fork for each request.
NURSERY = (
    LAUNCHER
    + """
import gmvae_fast.cli, gmvae_fast.studies, gmvae_fast.training
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = sys.stderr = open(os.path.join(json.loads(line)["folder"], "stderr"), "w")
            main(json.loads(line))
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
)


@dataclass(frozen=True)
class Job:
    """A command, what it needs, and how its files are checked.

    Attributes
    ----------
    name : str
    arguments : list of str
        Of `gmvae-fast`, run in the job's folder; data lie in the folder above it.
    results : tuple of str
        Files compared bit for bit with the undisturbed run's, by pattern.
    prepare : callable
        Fills a new folder with what the command starts from.
    """

    name: str
    arguments: list[str]
    results: tuple[str, ...]
    prepare: Callable[[Path], None]


class Alone:
    """A new process for every run, as users start them.

    ``environment`` is theirs; it may name a folder for compiled kernels, which is empty after an installation.
    """

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._environment = os.environ | (environment or {})

    def start(self, request: dict[str, Any]) -> tuple[int, Callable[[], int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", ALONE, json.dumps(request)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()  # ready: the imports take most of a short command's time

        def wait() -> int:
            _, err = process.communicate(timeout=600)
            if process.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"{request['arguments']}: exit code {process.returncode}\n{err}")
            return process.returncode

        return process.pid, wait

    def close(self) -> None:
        pass


class Nursery:
    """Forks of one process that has imported everything: as real, and started in no time."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, request: dict[str, Any]) -> tuple[int, Callable[[], int]]:
        stdin, stdout = self._parent.stdin, self._parent.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(request), file=stdin, flush=True)
        child = int(stdout.readline())

        def wait() -> int:
            code = int(stdout.readline())
            if code not in (0, -signal.SIGKILL):
                raise SystemExit(f"{request['arguments']}: {code}\n{Path(request['folder'], 'stderr').read_text()}")
            return code

        return child, wait

    def close(self) -> None:
        self._parent.communicate(timeout=60)


@dataclass
class Outcome:
    """Of one job: kills that came in time, by what they hit; how often the command ended before its kill."""

    job: str
    by_time: int = 0
    by_operation: int = 0
    ended_first: int = 0
    completions: int = 0
    left_by_kills: int = 0

    @property
    def kills(self) -> int:
        return self.by_time + self.by_operation


def run_job(job: Job, kills: int, random_: random.Random, root: Path, processes: Alone | Nursery) -> Outcome:
    """Kill ``job`` so many times; AssertionError with what differs."""
    calm, stormy = root / job.name / "calm", root / job.name / "stormy"
    job.prepare(calm)
    started = time.monotonic()
    assert _run(job, calm, processes) == 0
    seconds = time.monotonic() - started
    operations = int((calm / "operations").read_text())
    expected = _results(job, calm)
    assert expected, f"{job.name}: no results in {calm}"
    outcome = Outcome(job.name)
    while outcome.kills < kills:
        if not stormy.exists():
            job.prepare(stormy)
        by_operation = outcome.by_operation <= outcome.by_time
        if by_operation:
            code = _run(job, stormy, processes, kill_at=random_.randint(1, operations))
        else:
            code = _run(job, stormy, processes, kill_after=random_.uniform(0, seconds))
        if code == 0:  # it ended before
            outcome.ended_first += 1
            _compare(job, expected, stormy, outcome)
            continue
        outcome.by_operation += by_operation
        outcome.by_time += not by_operation
        outcome.left_by_kills += len(_left_over(stormy))
        check_whole(stormy)
    assert _run(job, stormy, processes) == 0
    _compare(job, expected, stormy, outcome)
    return outcome


def _run(job: Job, folder: Path, processes: Alone | Nursery, kill_at: int = 0, kill_after: float | None = None) -> int:
    environment = {"GMVAE_FAST_CACHE": str(folder / "cache")}
    request = {"folder": str(folder), "kill_at": kill_at, "arguments": job.arguments, "environment": environment}
    pid, wait = processes.start(request)
    if kill_after is None:
        return wait()
    # The nursery's child is reaped by its parent: a signal to a process that is gone is an error to overlook.
    timer = threading.Timer(kill_after, lambda: _kill(pid))
    timer.start()
    code = wait()
    timer.cancel()
    return code


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _results(job: Job, folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p for pattern in job.results for p in sorted(folder.glob(pattern))}
    return {name: _content(path) for name, path in found.items()}


def _content(path: Path) -> bytes:
    """The file; of a history without the seconds that epochs took."""
    if path.name != "history.json":
        return path.read_bytes()
    history = json.loads(path.read_text())
    for record in history["epochs"]:
        record.pop("seconds")
    return json.dumps(history, sort_keys=True).encode()


def _compare(job: Job, expected: dict[str, bytes], folder: Path, outcome: Outcome) -> None:
    """The finished folder against the undisturbed one; then it is done with."""
    found = _results(job, folder)
    assert found.keys() == expected.keys(), f"{job.name}: {sorted(found)}, expected {sorted(expected)}"
    different = sorted(name for name in expected if expected[name] != found[name])
    assert not different, f"{job.name}: {', '.join(different)} differ from the undisturbed run's"
    assert not _left_over(folder), f"{job.name}: left over {_left_over(folder)}"
    outcome.completions += 1
    shutil.rmtree(folder)


def _left_over(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name.endswith((".partial", ".lock")))


def check_whole(folder: Path) -> None:
    """Every file under a final name can be read to its end."""
    from gmvae_fast import model, tensor_files
    from gmvae_fast.training import checkpoint

    kinds = {
        "checkpoint.safetensors": (checkpoint.FORMAT, checkpoint.VERSION),
        "model.safetensors": (model.FORMAT, model.FORMAT_VERSION),
    }
    for path in folder.rglob("*"):
        if path.name.startswith("."):
            continue
        if path.name in kinds:
            tensor_files.read_tensors(path, *kinds[path.name])  # checks its CRC
        elif path.suffix == ".npz":
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                for name in archive.files:
                    archive[name]  # checks its CRC
        elif path.suffix == ".json":
            json.loads(path.read_text())


def jobs(root: Path) -> list[Job]:
    """Training, embedding and simulation, small enough to be run many times."""
    from gmvae_fast.data import Snapshots

    generator = np.random.default_rng(0)
    level = generator.uniform(0.5, 2, 160)
    x = np.linspace(0, 2 * np.pi, 64)
    waves = np.sin(level[:, None] * x)[:, None] + 0.05 * generator.normal(size=(160, 1, 64))
    data = root / "data.npz"
    Snapshots(waves, ("u",), {"level": level}).save(data)
    options = ["--network", "mlp", "--widths", "32", "--epochs", "60", "--device", "cpu", "--quiet"]
    train = ["train", str(data), "--out", "study", *options]

    def empty(folder: Path) -> None:
        folder.mkdir(parents=True)

    def trained(folder: Path) -> None:
        if not (root / "trained").exists():
            (root / "trained").mkdir()
            command = [sys.executable, "-m", "gmvae_fast.cli", *train]
            subprocess.run(command, cwd=root / "trained", check=True, capture_output=True)
        shutil.copytree(root / "trained", folder)

    seed = "study/seed_0/"
    fields = tuple(f"{seed}{name}.npz" for name in ("embedding", "mixture", "reconstructions", "samples"))
    simulate = ["simulate", "ignition", "--size", "tiny", "--runs", "12", "--workers", "2", "--quiet"]
    return [
        Job("train", train, tuple(f"{seed}{n}" for n in ("model.safetensors", "split.npz", "history.json")), empty),
        Job("embed", ["embed", "study", "--device", "cpu"], fields, trained),
        Job("simulate", [*simulate, "--out", "out.npz"], ("out.npz", "cache/*/*.npz"), empty),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in all, shared by the commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="train, embed or simulate; default all")
    parser.add_argument("--forks", action="store_true", help="forks of one process with everything imported")
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="gmvae-crash-") as folder:
        environment = {"NUMBA_CACHE_DIR": f"{folder}/numba"}
        processes = Nursery(environment) if options.forks else Alone(environment)
        todo = [job for job in jobs(Path(folder)) if options.only in ("", job.name)]
        shares = [options.kills // len(todo) + (i < options.kills % len(todo)) for i in range(len(todo))]
        survived = 0
        for job, kills in zip(todo, shares, strict=True):
            started = time.monotonic()
            try:
                outcome = run_job(job, kills, random_, Path(folder), processes)
            except AssertionError as error:
                raise SystemExit(f"FAILED: {error}") from error
            survived += outcome.kills
            print(
                f"{job.name:9} {outcome.kills} kills ({outcome.by_time} at a time, {outcome.by_operation} at a file "
                f"operation) survived, {outcome.completions} bit-identical completions, {outcome.left_by_kills} "
                f"temporary and lock files left by kills and removed, {time.monotonic() - started:.0f} s",
                flush=True,
            )
        processes.close()
    print(f"{survived}/{options.kills} kills survived (seed {options.seed})")


if __name__ == "__main__":
    main()
