"""Damaged and hostile files for every reader of the package: what each does is a documented exception, or the content.

    python scripts/fuzz.py --cases 150 --seed 0 --write docs/reliability.md

For each reader (`fuzz_readers.READERS`) a folder of whole files is damaged at random (`fuzz_damage.DAMAGES`, seeded) or
made to harm by the means of its format (`fuzz_damage.HARMS`: sizes that are not so, bombs, names that leave the folder,
pickles, deep nesting), and used as a user would. Every case runs in a process of its own, with bounded address space
and time. What counts as a finding: any other exception (MemoryError, RecursionError, KeyError, zlib.error),
an end by a signal, a case that takes too long or too much memory, a harm that is not refused, a file written, and
whatever lies outside the folder being read, changed or executed. Exit code 1 where there are findings. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fuzz_damage
from fuzz_readers import READERS, Reader

from gmvae_fast._checks import check_integer, nearest

#: Of one case: address space beyond what the process starts with, resident memory beyond it, seconds.
ADDRESS_SPACE, RESIDENT, SECONDS = 3 * 2**30, 2**30, 20.0
#: What the reader of VTK files imports when it reads the first one.
VTK = tuple(f"vtkmodules.{name}" for name in ("vtkIOXML", "vtkIOLegacy", "vtkFiltersCore", "util.numpy_support"))
START, END = "<!-- fuzz: written by `make fuzz` -->", "<!-- end of fuzz -->"


@dataclass(frozen=True)
class Case:
    reader: str
    kind: str
    number: int
    harm: bool = False

    def __str__(self) -> str:
        return f"{self.reader}: {self.kind}" + ("" if self.harm else f" #{self.number}")


@dataclass(frozen=True)
class Outcome:
    """``result`` is "read", "refused", or "finding" with what was found in ``detail``."""

    case: Case
    result: str
    detail: str
    seconds: float
    resident: int


def plan(names: list[str], cases: int) -> list[Case]:
    """``cases`` damaged folders of each reader, evenly of every kind of damage, and all harms."""
    kinds = [*fuzz_damage.DAMAGES, "lost file"]
    found = []
    for name in names:
        found += [Case(name, kinds[i % len(kinds)], i) for i in range(cases)]
        found += [Case(name, kind, 0, harm=True) for kind in fuzz_damage.HARMS.get(name, {})]
    return found


def wanted(cases: int, only: str = "", kind: str = "") -> list[Case]:
    """The plan for the readers whose names start with ``only``, of it the cases whose kinds contain ``kind``.

    Raises
    ------
    ValueError
        Where there are none; the nearest name is in it.
    """
    names = [name for name in READERS if name.startswith(only)]
    if not names:
        raise ValueError(f"--only must be one of {', '.join(READERS)}, got {only!r}{nearest(only, READERS)}")
    available = [name for name in names if READERS[name].available]
    if not available:
        raise ValueError(f"--only {only}: the packages that {', '.join(names)} needs are missing")
    planned = plan(available, check_integer("--cases", cases, 0))
    found = [case for case in planned if kind in case.kind]
    if not found:
        kinds = sorted({case.kind for case in planned})
        raise ValueError(f"--kind must be one of {', '.join(kinds)}, got {kind!r}{nearest(kind, kinds)}")
    return found


def run_cases(cases: list[Case], seed: int, root: Path) -> Iterator[Outcome]:
    """Each in a fork of this process."""
    whole: dict[str, Path] = {}
    for case in cases:
        if case.reader not in whole:
            whole[case.reader] = root / "whole" / case.reader
            _build(READERS[case.reader], whole[case.reader])
        sandbox = root / "case"
        shutil.rmtree(sandbox, ignore_errors=True)
        sandbox.mkdir()
        fuzz_damage.make_outside(sandbox / "outside")
        (sandbox / "temporary").mkdir()
        shutil.copytree(whole[case.reader], sandbox / "files")
        yield _run(case, seed, sandbox)


def _build(reader: Reader, folder: Path) -> None:
    """In a fork: libraries start threads that forks of this process would not have. What is whole must be read."""
    folder.mkdir(parents=True)

    def work() -> None:
        reader.build(folder)
        reader.use(folder)

    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit(f"{reader.name}: the whole files are not read")


def _run(case: Case, seed: int, sandbox: Path, *, make: bool = True) -> Outcome:
    def work() -> dict[str, Any]:
        if make:
            _make(case, seed, sandbox)
        before = _tree(sandbox)
        started = time.monotonic()
        found = _use(case, sandbox)
        return {**found, "seconds": time.monotonic() - started, "before": before}

    found = _fork(work, SECONDS)
    if found["result"] == "unmade":
        raise SystemExit(f"{case}: cannot be made: {found['detail']}")
    changed: list[str] = []
    if "before" in found:  # the process came to its end
        changed = sorted({name for name, _ in set(found["before"].items()) ^ set(_tree(sandbox).items())})
    if changed and found["result"] != "finding":
        found |= {"result": "finding", "detail": f"files changed: {', '.join(changed)}"}
    return Outcome(case, found["result"], found["detail"], found.get("seconds", SECONDS), found.get("resident", 0))


class _UnmadeError(Exception):
    """A mistake of the campaign, not of the package."""


def _make(case: Case, seed: int, sandbox: Path) -> None:
    rng = random.Random(f"{seed} {case}")
    folder, pattern = sandbox / "files", READERS[case.reader].damaged
    try:
        if case.harm:
            fuzz_damage.HARMS[case.reader][case.kind](folder)
        elif case.kind == "lost file":
            fuzz_damage.lose(folder, pattern, rng)
        else:
            fuzz_damage.damage(folder, pattern, case.kind, rng)
    except Exception as error:
        raise _UnmadeError(f"{type(error).__name__}: {error}") from error
    # What making took does not count: 5 resets the largest resident memory (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")


def _use(case: Case, sandbox: Path) -> dict[str, Any]:
    reader = READERS[case.reader]
    faulthandler.disable()
    os.chdir(sandbox / "temporary")
    os.environ |= {"TMPDIR": str(sandbox / "temporary"), "GMVAE_FAST_CACHE": str(sandbox / "temporary")}
    tempfile.tempdir = None
    warnings.simplefilter("ignore")
    documented = reader.documented()
    start = _status("VmRSS")
    limit = _status("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, sandbox, opened))
    result, detail = "read", ""
    try:
        reader.use(sandbox / "files")
    except documented as error:
        result, detail = "refused", f"{type(error).__name__}: {error}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        result, detail = "finding", f"{type(error).__name__} in {place}: {str(error)[:300]}"
        if os.environ.get("FUZZ_TRACEBACK"):
            traceback.print_exc()
    resident = max(0, _status("VmHWM") - start)
    if result == "read" and case.harm:
        result, detail = "finding", "was to be refused"
    if resident > RESIDENT:
        result, detail = "finding", f"{resident / 2**20:.0f} MiB resident; {detail[:200]}"
    if opened:
        result, detail = "finding", f"{opened[0]}; {detail[:200]}"
    return {"result": result, "detail": detail[:600], "resident": resident}


#: Of Python's audit events those that no reader has use for.
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "pickle.find_class", "socket.connect")


def _watch(event: str, arguments: tuple[Any, ...], sandbox: Path, found: list[str]) -> None:
    """Notes what leaves the folder by way of Python."""
    if event in _FORBIDDEN and not (event == "subprocess.Popen" and "read_parquet" in str(arguments[1])):
        found.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(str(sandbox / "outside")) or path in ("/etc/hostname", "/etc/passwd"):
            found.append(f"opened {path}")


def _status(key: str) -> int:
    """Bytes of an entry of this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def _fork(work: Any, seconds: float) -> dict[str, Any]:
    """The JSON object that ``work()`` returns in a fork of this process, or how that ended."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        quiet = os.open(os.devnull, os.O_RDWR)
        if not os.environ.get("FUZZ_TRACEBACK"):
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
        code = 1
        with contextlib.suppress(BaseException):
            try:
                answer = json.dumps(work())
            except BaseException as error:
                result = "unmade" if isinstance(error, _UnmadeError) else "finding"
                answer = json.dumps({"result": result, "detail": f"{type(error).__name__}: {error}"[:500]})
            os.write(writable, answer.encode("utf-8", "replace"))
            code = 0
        os._exit(code)
    os.close(writable)
    content = b""
    deadline = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([readable], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(readable, 65536) if ready else None
        if not piece:
            break
        content += piece
    os.close(readable)
    if piece is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if piece is None:
        return {"result": "finding", "detail": f"more than {seconds:g} s"}
    if os.WIFSIGNALED(status):
        return {"result": "finding", "detail": f"ended by {signal.Signals(os.WTERMSIG(status)).name}"}
    answer: dict[str, Any] = json.loads(content) if content else {"result": "finding", "detail": "no answer"}
    return answer


def _tree(sandbox: Path) -> dict[str, str]:
    """Size and time of change of everything in the folder of files and outside of it."""
    found = {}
    for name in ("files", "outside"):
        for path in (sandbox / name).rglob("*"):
            state = path.lstat()
            if not path.is_dir():
                found[str(path.relative_to(sandbox))] = f"{state.st_size} {state.st_mtime_ns}"
            else:
                found[str(path.relative_to(sandbox))] = "folder"
    return found


def table(outcomes: list[Outcome]) -> str:
    """Markdown: by reader how many cases were read, refused, findings; and the largest memory and time."""
    rows = [
        "| reader | damaged | made to harm | read | refused | findings | memory, MB | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    by_reader: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_reader.setdefault(outcome.case.reader, []).append(outcome)
    for name, own in [*by_reader.items(), ("all", outcomes)]:
        counts = Counter(o.result for o in own)
        harms = sum(o.case.harm for o in own)
        rows.append(
            f"| {name} | {len(own) - harms} | {harms} | {counts['read']} | {counts['refused']} | {counts['finding']} "
            f"| {max(o.resident for o in own) / 1e6:.0f} | {max(o.seconds for o in own):.1f} |"
        )
    return "\n".join(rows)


def write(path: Path, text: str) -> None:
    """Put ``text`` between the marks of the page."""
    page = path.read_text()
    before, mark, rest = page.partition(START)
    if not mark or END not in rest:
        raise SystemExit(f"{path}: no place for the table (between {START!r} and {END!r})")
    path.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")


def import_everything() -> None:
    """Before the forks, so that no case pays for imports, in time or in memory."""
    import importlib

    import gmvae_fast

    for name in ("gmvae_fast.cli", "gmvae_fast.report", "gmvae_fast.studies.comparison", "h5py", "zarr", "xarray"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in ("tifffile", "PIL.Image", "pandas", "fastparquet", "meshio", "h5netcdf", "scipy.io", *VTK):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    model = gmvae_fast.GMVAE((5,), widths=[4])
    torch.optim.Adam(model.parameters(), fused=True)  # imports a second's worth


def campaign(planned: list[Case], seed: int, say: bool = True) -> list[Outcome]:
    """All outcomes; findings are told as they come."""
    import_everything()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="gmvae-fuzz-") as folder:
        for outcome in run_cases(planned, seed, Path(folder).resolve()):
            outcomes.append(outcome)
            if say and (outcome.result == "finding" or os.environ.get("FUZZ_SHOW")):
                print(f"{outcome.result.upper()} {outcome.case}: {outcome.detail}", file=sys.stderr, flush=True)
    return outcomes


def in_a_process_of_its_own(cases: int, seed: int) -> list[Outcome]:
    """`campaign` where libraries have started no threads yet, which forks would not have."""
    code = (
        "import json, dataclasses, fuzz; outcomes = fuzz.campaign(fuzz.wanted(%d), %d); "
        "print(json.dumps([dataclasses.asdict(o) for o in outcomes]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code % (cases, seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Outcome(**{**o, "case": Case(**o["case"])}) for o in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=150, help="damaged folders of each reader, beside its harms")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name starts so")
    parser.add_argument("--kind", default="", help="cases whose kind contains this")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    try:
        planned = wanted(options.cases, options.only, options.kind)
    except ValueError as error:
        parser.error(str(error))
    started = time.monotonic()
    outcomes = campaign(planned, options.seed)
    findings = sum(outcome.result == "finding" for outcome in outcomes)
    text = table(outcomes)
    print(text)
    print(f"{len(outcomes)} cases, {findings} findings (seed {options.seed}), {time.monotonic() - started:.0f} s")
    missing = [name for name, reader in READERS.items() if not reader.available]
    if missing:
        print(f"left out, their packages are missing: {', '.join(missing)}")
    if options.write is not None:
        note = f"`python scripts/fuzz.py --cases {options.cases} --seed {options.seed}`: {len(outcomes)} cases."
        write(options.write, f"{note}\n\n{text}")
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
