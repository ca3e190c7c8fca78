"""Every switch of the catalogue is thrown by a test of the product, which shows what a user then sees: docs/faults.md names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from slipway_sandbox.faults import CATALOGUE, Faults, UnknownFault

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def table() -> dict[str, list[str]]:
    """The tests of each fault, as docs/faults.md has them."""
    rows = ROW.findall((ROOT / "docs/faults.md").read_text())
    return {name: re.findall(r"`([^`]+)`", tests) for name, _seen, tests in rows}


def source_of(test: str) -> str:
    """A function of a test file with its decorators, e.g. "tests/x.py::test_y". Raises StopIteration where it is not there."""
    file, _, name = test.partition("::")
    text = (ROOT / file).read_text()
    functions = (
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    found = next(node for node in functions if node.name == name)
    first = min([found.lineno, *(each.lineno for each in found.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : found.end_lineno])


def test_the_table_of_faults_has_every_one() -> None:
    assert list(table()) == list(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_fault_is_set_by_the_tests_the_table_names_and_one_is_the_products(name: str) -> None:
    tests = table()[name]
    assert [test for test in tests if f'"{name}"' not in source_of(test)] == []
    assert [test for test in tests if test.startswith(("tests/tasks/", "tests/lifecycle/"))]


def test_a_fault_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFault, match="hub-428"):
        Faults(tmp_path / "faults.json").set("hub-428")


def test_a_count_is_used_up_by_its_target_only(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.json")
    faults.set("s3-denied", target="Put*", count=2)
    assert faults.hit("s3-denied", "GetObject") is None
    assert [bool(faults.hit("s3-denied", "PutObject")) for _ in range(3)] == [True, True, False]
    assert faults.active() == []


def test_a_probability_is_asked_of_chance(tmp_path: Path) -> None:
    rolls = iter([0.4, 0.6])
    faults = Faults(tmp_path / "faults.json", lambda: next(rolls))
    faults.set("hub-5xx", probability=0.5)
    assert faults.hit("hub-5xx")
    assert not faults.hit("hub-5xx")
