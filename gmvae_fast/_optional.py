"""Optional dependencies."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, what: str, extra: str = "data") -> ModuleType:
    """Import an optional dependency, or say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {module}: pip install 'gmvae_fast[{extra}]'") from error
