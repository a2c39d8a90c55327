"""What a reader needs to make a result again: command, versions, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

from gmvae_fast._native import native_status

_PACKAGES = ("gmvae_fast", "torch", "numpy", "scipy", "faiss-cpu", "numba", "scikit-learn", "matplotlib")


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
