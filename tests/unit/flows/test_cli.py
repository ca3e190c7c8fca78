"""What the command line says before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli import check_sandbox
from tasks.records.errors import InputError


@pytest.mark.parametrize(
    ("running", "next_command"),
    [(True, ". .sandbox/env"), (False, "slipway sandbox up --detach && . .sandbox/env")],
)
def test_a_shell_without_the_sandboxs_variables_is_told_of_them(
    tmp_path: Path, running: bool, next_command: str
) -> None:
    if running:
        (tmp_path / ".sandbox").mkdir()
        (tmp_path / ".sandbox" / "env").touch()
    with pytest.raises(InputError) as caught:
        check_sandbox("sandbox", {}, tmp_path)
    assert caught.value.next_command == next_command


@pytest.mark.parametrize(
    ("environment", "variables"), [("sandbox", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}), ("staging", {})]
)
def test_a_shell_that_has_them_and_other_environments_are_let_through(
    tmp_path: Path, environment: str, variables: dict[str, str]
) -> None:
    check_sandbox(environment, variables, tmp_path)
