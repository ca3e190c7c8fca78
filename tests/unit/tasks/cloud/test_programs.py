"""What a Job is given of Slipway: the files of its program, and nothing that a plain Python image does not have."""

from __future__ import annotations

import ast
import sys

import pytest

from tasks.cloud.programs import files_of

PROGRAMS = ("tasks.validation.load", "tasks.rollout.endpoint_check", "tasks.rollout.downtime")
# each is imported behind find_spec or `except ImportError`
FASTER_WITH = {"uvloop", "httptools", "pydantic_core"}


def imported(text: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("module", PROGRAMS)
def test_it_imports_the_standard_library_and_slipway_only(module: str) -> None:
    strangers = {f"{path}: {name}" for path, text in files_of(module).items() for name in imported(text)}
    allowed = sys.stdlib_module_names | {"tasks"} | FASTER_WITH
    assert {one for one in strangers if one.split(": ")[1] not in allowed} == set()


def test_a_module_is_given_with_its_packages_and_what_it_imports_at_second_hand() -> None:
    assert set(files_of("tasks.rollout.endpoint_check")) == {
        "tasks/__init__.py",
        "tasks/cloud/__init__.py",
        "tasks/cloud/interruption.py",
        "tasks/cloud/plain_http.py",
        "tasks/cloud/waiting.py",
        "tasks/records/__init__.py",
        "tasks/records/abilities.py",
        "tasks/records/errors.py",
        "tasks/records/questions.py",
        "tasks/records/stop.py",
        "tasks/rollout/__init__.py",
        "tasks/rollout/endpoint_check.py",
    }


def test_a_package_is_given_by_its_main_module() -> None:
    assert "tasks/validation/load/__main__.py" in files_of("tasks.validation.load")
