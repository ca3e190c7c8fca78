"""The image of a worker has the programs that the errors' next commands name."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.builders import ROOT

PROGRAMS = ("aws", "helm", "kubectl", "terraform")


def hints() -> list[str]:
    """Every literal text that product code gives as `next_command`."""
    found = []
    for file in [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "next_command":
                found += [text.value for text in ast.walk(node.value) if isinstance(text, ast.Constant)]
    return [text for text in found if isinstance(text, str)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_is_named_is_in_the_image(program: str) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(rf"/usr/local/bin/{program}$", text, re.MULTILINE)


def test_the_programs_are_those_that_are_named() -> None:
    named = {program for program in PROGRAMS if any(text.startswith(f"{program} ") for text in hints())}
    assert {"aws", "kubectl"} <= named
