"""Collect the files of one of our programs, so that a Job can run it where Slipway is not installed."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def files_of(module: str) -> Mapping[str, str]:
    """The text of a module (or a package's `__main__`) and of all it imports of Slipway, by path such as tasks/site.py."""
    found: dict[str, str] = {}
    to_do = [f"{module}.__main__" if _is_module(f"{module}.__main__") else module]
    while to_do:
        path, text = _source(to_do.pop())
        if path in found:
            continue
        found[path] = text
        parts = Path(path).parts[:-1]
        # importing a module imports its packages first
        packages = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        to_do += [*packages, *_imported(text)]
    return found


def _source(module: str) -> tuple[str, str]:
    """Path below the root package's parent, and text."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no source file of {module}")
    depth = module.count(".") + (Path(spec.origin).name == "__init__.py")
    file = Path(spec.origin)
    return str(file.relative_to(file.parents[depth])), file.read_text()


def _imported(text: str) -> Iterator[str]:
    """Modules of Slipway that a source imports, also those inside functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tasks."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tasks":
            base = node.module or ""
            yield base
            for alias in node.names:  # `from tasks.cloud import objects`
                if _is_module(f"{base}.{alias.name}"):
                    yield f"{base}.{alias.name}"


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, not a package
        return False
