from __future__ import annotations

from typing import Any

import pytest

from tasks.records.objectives import Objectives
from tasks.records.reports import LoadReport
from tasks.validation.reuse import still_proven
from tests.support.reports import a_run

ASKED: dict[str, Any] = {"ttft": {"p95": "500ms"}, "errors": 0.5}


def proven(**over: Any) -> LoadReport:
    return a_run(1, **ASKED).model_copy(update=over)


def test_the_same_release_load_and_objectives_are_proven_still() -> None:
    assert still_proven("a", ("a", proven()), "p1", Objectives.model_validate(ASKED))


def test_nothing_proven_is_measured() -> None:
    assert not still_proven("a", None, "p1", Objectives.model_validate(ASKED))


@pytest.mark.parametrize(
    ("release", "report", "profile", "objectives"),
    [
        ("b", proven(), "p1", ASKED),
        ("a", proven(verdict="FAIL"), "p1", ASKED),
        ("a", proven(verdict="INCONCLUSIVE"), "p1", ASKED),
        ("a", proven(), "p2", ASKED),
        ("a", proven(), "p1", {**ASKED, "ttft": {"p95": "400ms"}}),
        ("a", proven(), "p1", {**ASKED, "ttft": {"p99": "500ms"}}),
        ("a", proven(), "p1", {**ASKED, "output_tokens_per_second": 1}),
        ("a", proven(), "p1", {"errors": 0.5}),
        ("a", proven(), "p1", {**ASKED, "each": {"ttft": "300ms"}}),
    ],
)
def test_whatever_differs_is_measured_again(
    release: str, report: LoadReport, profile: str, objectives: dict[str, Any]
) -> None:
    assert not still_proven(release, ("a", report), profile, Objectives.model_validate(objectives))
