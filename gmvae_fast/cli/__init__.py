"""Command line: thin wrappers around the library, one module a group of commands. See docs/command_line.md.

A new command is a function with `command` above it, and one line here where its module is new.
"""

from gmvae_fast.cli import completion, data, stages, status, study, systems  # noqa: F401 - registers their commands
from gmvae_fast.cli._app import app as app
from gmvae_fast.cli._app import main as main
