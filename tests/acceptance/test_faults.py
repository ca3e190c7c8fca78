"""Every fault of the sandbox is set by a test of the product, which docs/faults.md names."""

from __future__ import annotations

import ast
import re

import pytest
from slipway_sandbox.testing import FAULTS

from tests.support.builders import ROOT

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


def test_the_table_has_every_fault_in_the_catalogues_order() -> None:
    assert tuple(table()) == FAULTS


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_set_by_the_tests_of_its_row_and_one_is_the_products(name: str) -> None:
    tests = table()[name]
    assert [test for test in tests if f'"{name}"' not in source_of(test)] == []
    assert [test for test in tests if test.startswith("tests/acceptance/")]
