"""Where native code finds torch's matrix products: the stable C interface of the torch that runs."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

import torch

from gmvae_fast import _native
from gmvae_fast._dense import faster_elsewhere

_NAMES = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}


@functools.cache
def torch_products() -> tuple[int, ...] | None:
    """Addresses and type numbers in the order of ``TorchProducts`` in csrc/include/gmvae/dense_chain.h, None without.

    None as well where torch and the native module use different OpenMP runtimes: each thread of the one would then
    start threads of the other.
    """
    try:
        if address_of("omp_in_parallel") != _native.cpu.openmp_runtime():
            return None
        calls = map(
            address_of,
            (
                "aoti_torch_create_tensor_from_blob",
                "aoti_torch_delete_tensor_object",
                "aoti_torch_get_data_ptr",
                "aoti_torch_cpu_mm_out",
            ),
        )
        onednn = address_of("aoti_torch_cpu__linear_pointwise") if faster_elsewhere() else 0
        library = _library()
        return (*calls, onednn, library.aoti_torch_dtype_float32(), library.aoti_torch_dtype_bfloat16())
    except (AttributeError, OSError):  # an older torch, one without OpenMP, one linked into a single library
        return None


def address_of(name: str) -> int:
    """Address of a C function of torch's, or of a library that torch loads.

    Raises
    ------
    AttributeError, OSError
        Without the function, or without the library.
    """
    return ctypes.cast(getattr(_library(), name), ctypes.c_void_p).value or 0


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _NAMES.get(sys.platform, "libtorch_cpu.so")))
