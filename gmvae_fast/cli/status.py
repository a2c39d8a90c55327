"""info"""

from __future__ import annotations

import dataclasses

from gmvae_fast.cli._app import Result, command


@command
def info() -> Result:
    """What is compiled, which instruction set and devices are in use, thread counts, versions."""
    import torch

    import gmvae_fast as gf
    from gmvae_fast.studies import provenance

    status = dataclasses.asdict(gf.native_status())
    status["torch_threads"] = torch.get_num_threads()
    status["versions"] = provenance.versions()
    status["machine"] = provenance.machine()
    lines = []
    for key, value in status.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"{key.replace('_', ' '):22} {', '.join(text) if isinstance(text, tuple) else text}")
    return Result("\n".join(lines), status)
