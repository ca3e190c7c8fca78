"""The generator runs where Slipway is not installed, such as in the serving image: what it may import is bounded."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tests.support.builders import ROOT

FOLDER = ROOT / "tasks" / "validation" / "load"
ALLOWED = {"uvloop", "httptools", "pydantic_core"} | sys.stdlib_module_names


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level
            found.add(node.module)
    return found


def test_it_imports_the_standard_library_uvloop_httptools_and_itself() -> None:
    strangers = {
        f"{file.name}: {name}"
        for file in [*FOLDER.glob("*.py"), ROOT / "tasks" / "records" / "errors.py"]
        for name in imported(file)
        if name.split(".")[0] not in ALLOWED
        and not name.startswith("tasks.validation.load.")
        and name != "tasks.records.errors"
    }
    assert strangers == set()


def test_only_one_module_knows_pydantics_parser_and_does_without_it() -> None:
    [user] = [file for file in FOLDER.glob("*.py") if "pydantic_core" in imported(file)]
    assert "except ImportError:" in user.read_text()
