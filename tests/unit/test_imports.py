"""What the product's tests and benches may import: the sandbox by its door only, and no test module of another's."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from tests.support.builders import ROOT

DOOR = "slipway_sandbox.testing"
FILES = sorted({*ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/**/*.py")} - {Path(__file__)})
UNIT = [file for file in FILES if file.is_relative_to(ROOT / "tests/unit")]


@functools.cache
def imports(file: Path) -> tuple[str, ...]:
    """Every module the file imports, and every one it names in a string, as in `python -m MODULE`."""
    return tuple(_imports(ast.parse(file.read_text())))


def _imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("slipway_sandbox."):
            yield str(node.value)


def support_of(file: Path) -> set[Path]:
    """The modules of tests/support the file stands on, directly or by another of them."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        for name in imports(waiting.pop()):
            if name.startswith("tests.support.") and (module := file_of(name)) not in found:
                found.add(module)
                waiting.append(module)
    return found


def file_of(name: str) -> Path:
    """The file of a module, of what is imported from one, or of a package. Raises StopIteration."""
    parts = name.split(".")
    longest_first = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    files = [ROOT / f"{path}{end}" for path in longest_first for end in (".py", "/__init__.py")]
    return next(file for file in files if file.is_file())


def is_inner(name: str) -> bool:
    """Whether the name is of the sandbox and not of its door."""
    return name.startswith("slipway_sandbox.") and not f"{name}.".startswith(f"{DOOR}.")


def test_the_sandbox_is_reached_by_its_door_only() -> None:
    found = {file: [name for name in imports(file) if is_inner(name)] for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}


def test_no_test_module_and_no_conftest_is_imported() -> None:
    found = [(file, name) for file in FILES for name in imports(file) if name.startswith("tests.")]
    assert [each for each in found if any(is_test(part) for part in each[1].split(".")[:-1])] == []


def is_test(part: str) -> bool:
    return part == "conftest" or part.startswith("test_")


def test_unit_tests_need_no_sandbox() -> None:
    for file in UNIT:
        for module in (file, *support_of(file)):
            needed = [name for name in imports(module) if name.startswith("slipway_sandbox")]
            assert needed == [], f"{file} stands on {module}"


def test_an_inner_module_is_told_from_the_door() -> None:
    names = ["slipway_sandbox.faults.Faults", "slipway_sandbox.testing.Faults", "slipway_sandbox.testing2"]
    assert [is_inner(name) for name in names] == [True, False, True]
