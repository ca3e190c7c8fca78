"""The generator runs where Slipway is not installed, in a plain Python image: what it may import is bounded."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from tests.support.builders import ROOT

OURS = ("errors", "questions")  # of the records
FOLDER = ROOT / "tasks" / "validation" / "load"


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level
            found.add(node.module)
    return found


def test_it_imports_the_standard_library_and_itself_and_each_accelerator_in_one_place() -> None:
    strangers = {
        f"{file.name}: {name}"
        for file in [*FOLDER.glob("*.py"), *(ROOT / "tasks" / "records" / f"{name}.py" for name in OURS)]
        for name in imported(file)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith("tasks.validation.load.")
        and name not in {f"tasks.records.{one}" for one in OURS}
    }
    assert strangers == {"__main__.py: uvloop", "llhttp.py: httptools", "wire.py: pydantic_core"}


def test_only_one_module_knows_pydantics_parser_and_does_without_it() -> None:
    [user] = [file for file in FOLDER.glob("*.py") if "pydantic_core" in imported(file)]
    assert "except ImportError:" in user.read_text()
