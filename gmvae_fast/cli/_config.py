"""Options of a command as TOML: a table named after the command, or plain entries for a file about one command."""

from __future__ import annotations

import inspect
import json
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from gmvae_fast._checks import nearest

LARGEST_FILE = 2**20
_NOT_SETTINGS = ("config", "dump_config", "help")
_KINDS = {
    bool: ("true or false", (bool,)),
    int: ("an integer", (int,)),
    float: ("a number", (int, float)),
    str: ("text", (str, int, float)),
    Path: ("a path", (str,)),
}


@dataclass(frozen=True)
class Setting:
    """One option or argument of a command.

    Attributes
    ----------
    key, parameter : str
        Its name in files, and that of the function's parameter.
    kind : type
        bool, int, float, str or Path.
    many : bool
        Whether it takes a list.
    required : bool
    help : str
    """

    key: str
    parameter: str
    kind: type
    many: bool
    required: bool
    help: str


def settings_of(command: Any, signature: inspect.Signature) -> list[Setting]:
    """What can be set of a typer command that was made from a function with this signature."""
    settings = []
    for parameter in command.params:
        if parameter.name in _NOT_SETTINGS:
            continue
        own = signature.parameters.get(parameter.name)
        kind, many = (bool, False) if own is None else _kind(own.annotation)
        longest = max(parameter.opts, key=len).lstrip("-")
        # `required` may have been lifted; the function knows.
        required = own is not None and own.default is inspect.Parameter.empty
        help_text = getattr(parameter, "help", None) or ""
        settings.append(Setting(longest.replace("-", "_").lower(), parameter.name, kind, many, required, help_text))
    return settings


def _kind(annotation: Any) -> tuple[type, bool]:
    """bool, int, float, str or Path out of Annotated, Optional and list, and whether there is a list."""
    many = False
    while typing.get_origin(annotation) is not None:
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        many = many or origin is list
        if origin in (types.UnionType, typing.Union):
            inner = tuple(a for a in inner if a is not type(None))
        annotation = inner[0]
    if annotation not in _KINDS:
        raise TypeError(f"an option must take {', '.join(k.__name__ for k in _KINDS)} or a list, got {annotation!r}")
    return annotation, many


def read_config(
    path: str | os.PathLike[str], command: str, settings: Sequence[Setting], commands: Sequence[str]
) -> dict[str, Any]:
    """Values by parameter that the file gives ``command``.

    Raises
    ------
    OSError
    ValueError
        For a file that is not TOML, tables of other names than ``commands``, and entries that are no option of the
        command or of another type.
    """
    content = _parse(path)
    tables = {k: v for k, v in content.items() if isinstance(v, dict) and k in commands}
    plain = {k: v for k, v in content.items() if k not in tables}
    if tables and not plain and command not in tables:
        raise ValueError(f"{path}: no table [{command}]; there are {', '.join(tables)}")
    known = {s.key: s for s in settings}
    values: dict[str, Any] = {}
    for where, entries in ((f"{path}:", plain), (f"{path}: [{command}]", tables.get(command, {}))):
        for name, value in entries.items():
            setting = known.get(name.replace("-", "_"))
            if setting is None:
                names = [*known, *commands] if entries is plain else list(known)
                raise ValueError(f"{where} {command} has no option {name!r}{nearest(name, names)}")
            values[setting.parameter] = _value(f"{where} {name}", setting, value)
    return values


def _parse(path: str | os.PathLike[str]) -> dict[str, Any]:
    with open(path, "rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{path}: larger than {LARGEST_FILE} bytes, which no file of options is")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as err:
        raise ValueError(f"{path}: not TOML, which is UTF-8 ({err})") from err
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ValueError(f"{path}: not TOML ({err})") from err


def _value(where: str, setting: Setting, value: Any) -> Any:
    if setting.many:
        if isinstance(value, dict):  # [simulate.set] noise = 0.02
            return [f"{key}={json.dumps(inner)}" for key, inner in value.items()]
        return [_scalar(where, setting.kind, item) for item in (value if isinstance(value, list) else [value])]
    if setting.kind is str and isinstance(value, list):  # widths = [64, 64]
        return ",".join(_scalar(where, str, item) for item in value)
    return _scalar(where, setting.kind, value)


def _scalar(where: str, kind: type, value: Any) -> Any:
    expected, accepted = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be {expected}, got {value!r}")
    return kind(value)


def write_config(settings: Sequence[Setting], command: str, values: Mapping[str, Any]) -> str:
    """TOML that `read_config` reads back to the same values; what is required and missing is a comment."""
    entries, missing = {}, []
    for setting in settings:
        value = values.get(setting.parameter)
        if value not in (None, [], ()):
            entries[setting.key] = _plain(value)
        elif setting.required:
            missing.append(f"# {setting.key}: required. {setting.help}".rstrip())
    return "\n".join([tomli_w.dumps({command: entries}).rstrip(), *missing, ""])


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
