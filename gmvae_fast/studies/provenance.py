"""What a reader needs to make a result again: command, versions, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from gmvae_fast._native import native_status

_PACKAGES = ("gmvae_fast", "torch", "numpy", "scipy", "faiss-cpu", "numba", "scikit-learn", "umap-learn", "matplotlib")


def command_line() -> str:
    """The running command as it can be pasted into a shell."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    return shlex.join([program, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Processor, cores, threads and instruction set."""
    status = native_status()
    return {
        "processor": _processor_name(),
        "cores": str(os.cpu_count()),
        "threads": str(status.threads),
        "instruction set": status.cpu_instruction_set,
        "CUDA devices": str(status.cuda_devices),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def revision() -> str:
    """Git revision of the source tree the package runs from, ``+`` behind it where files differ; empty without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()
