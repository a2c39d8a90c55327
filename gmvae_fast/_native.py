"""The only module that imports compiled code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch  # first, so that the compiled modules share torch's OpenMP runtime

from gmvae_fast._threads import thread_count

cpu: ModuleType
cuda: ModuleType | None
try:
    cpu = import_module("gmvae_fast._cpu")
except ImportError as err:
    raise ImportError(
        "gmvae_fast's compiled module is missing or unloadable. In a source tree run `pip install -e .`; "
        "after a plain `pip install .` start Python outside the source tree, whose folder would be imported instead. "
        f"({err})"
    ) from err
try:
    cuda = import_module("gmvae_fast._cuda")
except ImportError:  # built without nvcc
    cuda = None

#: Scalar types with native kernels, and the suffix of their functions.
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


@dataclass(frozen=True)
class NativeStatus:
    """What is compiled and what is in use.

    Attributes
    ----------
    version : str
        Version that the compiled module was built as.
    cpu_instruction_set : str
        Kernels in use: ``baseline`` (SSE2, NEON or plain), ``avx2`` or ``avx512``; chosen when the module loads.
    cpu_instruction_sets : tuple of str
        Those that this build holds and this processor can run.
    openmp : bool
        Whether the CPU kernels use several threads.
    threads : int
        Threads the kernels use now, torch's intra-op number.
    cuda_built : bool
        Whether the CUDA module was compiled.
    cuda_archs : str
        CUDA architectures it holds, empty when not built.
    cuda_devices : int
        Devices that it can use now.
    cuda_message : str
        Why there are none, or "no error".
    native : dict
        For each device type the dtypes with native kernels; every other combination runs the torch reference.
    """

    version: str
    cpu_instruction_set: str
    cpu_instruction_sets: tuple[str, ...]
    openmp: bool
    threads: int
    cuda_built: bool
    cuda_archs: str
    cuda_devices: int
    cuda_message: str
    native: dict[str, tuple[str, ...]]


def native_status() -> NativeStatus:
    """Say what is compiled, which instruction set and devices are in use, where the torch reference runs instead."""
    devices, message = 0, "built without CUDA"
    if cuda is not None:
        devices, _, message = cuda.device_count()
    dtypes = tuple(str(d).removeprefix("torch.") for d in SUFFIX)
    return NativeStatus(
        version=cpu.__version__,
        cpu_instruction_set=cpu.instruction_set(),
        cpu_instruction_sets=tuple(cpu.instruction_sets()),
        openmp=cpu.openmp,
        threads=thread_count() if cpu.openmp else 1,
        cuda_built=cuda is not None,
        cuda_archs=cuda.compiled_archs if cuda is not None else "",
        cuda_devices=devices,
        cuda_message=message,
        native={"cpu": dtypes, **({"cuda": dtypes} if cuda is not None else {})},
    )


def supports(device_type: str, dtype: torch.dtype) -> bool:
    """Whether a native kernel exists for this device type and dtype; it takes every kind of covariances."""
    return dtype in SUFFIX and (device_type == "cpu" or (device_type == "cuda" and cuda is not None))


def moments_workspace(like: torch.Tensor, n: int, k: int, d: int, covariance: int) -> int:
    """float64 values of scratch that the statistics kernels of ``like``'s device need."""
    module = cpu if cuda is None or like.device.type == "cpu" else cuda
    return int(module.moments_workspace(n, k, d, covariance))


def launch(name: str, like: torch.Tensor, *args: float | list[int]) -> None:
    """Call native function ``name`` for the device and dtype of ``like``: threads or the current stream are added."""
    if like.device.type == "cpu":
        _cpu_function(name, like.dtype)(*args, torch.get_num_threads())
        return
    with torch.cuda.device(like.device):
        stream = torch.cuda.current_stream(like.device).cuda_stream
        getattr(cuda, f"{name}_{SUFFIX[like.dtype]}")(*args, stream)


@functools.cache  # the look-up by name would cost as much as a small kernel
def _cpu_function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    function: Callable[..., None] = getattr(cpu, f"{name}_{SUFFIX[dtype]}")
    return function
