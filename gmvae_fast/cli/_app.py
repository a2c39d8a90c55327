"""The application: how a function becomes a command, how it ends, and with which exit code."""

from __future__ import annotations

import contextlib
import errno
import inspect
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gmvae_fast._io import to_jsonable
from gmvae_fast.cli._config import read_config, settings_of, write_config

#: Exit codes: 0 for success; 2 for wrong usage comes from typer.
FAILURE, INTERRUPTED, TERMINATED = 1, 130, 143
_EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError)
_FULL = "; nothing that was there is lost: free some space and run the same command again"
_ADVICE = {errno.ENOSPC: _FULL, getattr(errno, "EDQUOT", errno.ENOSPC): _FULL}

app = typer.Typer(
    help="Gaussian-mixture variational autoencoders for scientific data: simulate, train, embed, score, report.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"gmvae-fast {version('gmvae_fast')}")
        raise typer.Exit


@app.callback()
def _application(
    told: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version, only.")
    ] = False,
) -> None:
    """Options of the application itself."""


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes
    ----------
    text : str
        For people.
    data : dict
        The same for programs, see ``--json``.
    passed : bool
        False ends the command with exit code 1, after the result is printed.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    passed: bool = True


def command(function: Callable[..., Result]) -> Callable[..., Result]:
    """Make ``function`` a command of its name, with ``--config``, ``--dump-config`` and ``--json`` beside its options.

    Parameters
    ----------
    function : callable
        Its parameters are the command's, as typer reads them; every one takes a bool, int, float, str, Path, or a list
        of them, or None by default.
    """
    signature = inspect.signature(function, eval_str=True)

    def run(context: typer.Context, **options: Any) -> None:
        dump, as_json = options.pop("dump_config"), options.pop("as_json")
        options.pop("config")
        if dump:
            chosen = {**options, "as_json": as_json}
            print(write_config(settings_of(context.command, signature), context.info_name or "", chosen), end="")
            return
        try:
            result = function(**options)
        except KeyboardInterrupt:  # typer would end without a word
            raise _Stopped("interrupted", INTERRUPTED) from None
        _print(result, as_json)

    own = [("context", typer.Context, inspect.Parameter.empty)]
    added = [("as_json", _JsonOption, False), ("config", _ConfigOption, None), ("dump_config", _DumpOption, False)]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        *(inspect.Parameter(name, keyword, annotation=kind, default=default) for name, kind, default in own),
        *(p.replace(kind=keyword) for p in signature.parameters.values()),
        *(inspect.Parameter(name, keyword, annotation=kind, default=default) for name, kind, default in added),
    ]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer builds the options from it
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    _SIGNATURES[function.__name__] = signature
    first_line = (function.__doc__ or "").strip().partition("\n")[0]
    app.command(short_help=first_line)(run)  # whole in the list of commands, which would cut it
    return function


_SIGNATURES: dict[str, inspect.Signature] = {}


def _take_config(context: typer.Context, path: Path | None) -> Path | None:
    """Values of the file stand where neither the command line nor an environment variable gives one."""
    if path is None or context.resilient_parsing:
        return path
    name = context.info_name or ""
    try:
        values = read_config(path, name, settings_of(context.command, _SIGNATURES[name]), list(_SIGNATURES))
    except (OSError, ValueError) as err:
        raise typer.BadParameter(str(err)) from err
    context.default_map = {**(context.default_map or {}), **values}
    return path


def _lift_requirements(context: typer.Context, dump: bool) -> bool:
    """``--dump-config`` shows what is still missing instead of asking for it."""
    if dump:
        for parameter in context.command.params:
            parameter.required = False
    return dump


_ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", is_eager=True, callback=_take_config, help="TOML file with options."),
]
_DumpOption = Annotated[
    bool,
    typer.Option("--dump-config", is_eager=True, callback=_lift_requirements, help="Print the options as TOML, only."),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable results.")]


def _print(result: Result, as_json: bool) -> None:
    if as_json and (result.text or result.data):  # processes of a distributed run but the first have neither
        _write(json.dumps(to_jsonable(result.data), indent=1, allow_nan=False))
    elif result.text:
        _write(printable(result.text))
    if not result.passed:
        raise typer.Exit(FAILURE)


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as err:
        raise OSError(err.errno, err.strerror, "standard output") from err


def printable(text: str) -> str:
    """``text`` with control characters spelled out: names out of files must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def main() -> None:
    """Entry point: expected failures become one line on standard error and exit code 1."""
    try:
        with _terminable():
            app(prog_name="gmvae-fast")
    except _Stopped as stop:
        _end(*stop.args)
    except _EXPECTED as err:
        advice = _ADVICE.get(err.errno or 0, "") if isinstance(err, OSError) else ""
        _end(f"error: {err}{advice}" if str(err) else f"error: {type(err).__name__}", FAILURE)


def _end(message: str, code: int) -> NoReturn:
    line = " ".join(printable(message).split())
    print(f"gmvae-fast: {line}", file=sys.stderr)
    raise SystemExit(code)


class _Stopped(BaseException):
    """A signal (message, exit code), as an exception: temporary files are removed on the way out."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Within it SIGTERM raises; signal handlers exist in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise _Stopped("terminated", TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
