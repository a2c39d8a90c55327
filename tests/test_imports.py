"""Modules of a part import one another one way, within functions and for type checkers too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gmvae_fast

PACKAGE = Path(gmvae_fast.__file__).parent


def _modules(folder):
    found = {}
    for path in folder.rglob("*.py"):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(name, path, modules):
    """Modules that a file names; a name out of a package may be a module of it."""
    base = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{a.name}" if f"{module}.{a.name}" in modules else module for a in node.names)


def _graph(folder):
    modules = _modules(folder)
    return {name: {m for m in _imported(name, path, modules) if m in modules} for name, path in modules.items()}


@pytest.mark.parametrize("part", ["data", "studies", "training", "generation", "report", "spectral"])
def test_no_import_circles(part):
    graph = _graph(PACKAGE / part)
    assert graph
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_data_are_below_training_and_studies():
    for name, path in _modules(PACKAGE / "data").items():
        imported = set(_imported(name, path, {}))
        assert not {m for m in imported if m.startswith(("gmvae_fast.training", "gmvae_fast.studies"))}, name
