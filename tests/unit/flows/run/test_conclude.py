"""What a run leaves at its end."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.states import Completed

import flows.run.conclude
from flows.run.conclude import concluded, failed
from tasks.records.errors import Inconclusive
from tasks.records.results import IdleDecision
from tests.support.stage import DEPLOYED


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(kind, description) of each artifact."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(flows.run.conclude, "in_a_run", lambda: True)
    for name in ("show_markdown", "show_link"):
        monkeypatch.setattr(flows.run.conclude, name, lambda kind, what, title: seen.append((kind, title)))
    return seen


@pytest.mark.parametrize(
    ("flow", "result", "name", "kind"),
    [
        ("slipway-deploy", DEPLOYED, "Proven", "summary-deploy"),
        ("slipway-idle", {}, "Nothing to judge", "summary-idle"),
        ("slipway-drift", [{"resource": "x"}], "Drifted", "summary-drift"),
        (
            "slipway-scale-down",
            IdleDecision(act=True, reason="", evidence=()),
            "Scaled to zero",
            "summary-scale-down",
        ),
    ],
)
def test_a_run_ends_in_a_named_state_with_its_result_and_a_summary(
    shown: list[tuple[str, str]], flow: str, result: Any, name: str, kind: str
) -> None:
    state = concluded(flow, result)
    assert (state.name, state.type, state.data) == (name, Completed().type, result)
    assert [one for one, _ in shown] == [kind]


def test_a_failure_is_a_state_and_lines_of_the_log(
    shown: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    codes: list[int] = []

    class Log:
        error = lines.append

    monkeypatch.setattr(flows.run.conclude, "get_run_logger", Log)
    monkeypatch.setattr(flows.run.conclude, "leave_exit_code", codes.append)
    error = Inconclusive("the generator was late", evidence=["p99 30 ms"], next_command="again")
    state = failed("slipway-validate", error)
    assert (state.name, state.message, state.data) == ("Inconclusive", error.cause, error)
    assert codes == [4]
    assert lines == ["the generator was late", "  | p99 30 ms", "  next: again"]
    assert shown == [("summary-validate", "Inconclusive: the generator was late")]
