"""completion"""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined] # behind --show-completion

from gmvae_fast._checks import nearest
from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import SHELLS, complete_shell


@command
def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh, fish, powershell or pwsh.", autocompletion=complete_shell)],
) -> Result:
    """Print the script that completes commands and options in a shell, whichever is running."""
    if shell not in SHELLS:
        raise ValueError(f"shell must be one of {', '.join(SHELLS)}, got {shell!r}{nearest(shell, SHELLS)}")
    script = get_completion_script(prog_name="gmvae-fast", complete_var="_GMVAE_FAST_COMPLETE", shell=shell)
    return Result(script, {"shell": shell, "script": script})
