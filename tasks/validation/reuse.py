"""Decide whether the last proof still stands, so that a deploy that changes nothing measures nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.records.objectives import Objectives
from tasks.records.reports import LoadReport, ObjectiveResult
from tasks.validation.judge import judge


def still_proven(
    release_id: str, before: tuple[str, LoadReport] | None, profile: str, objectives: Objectives
) -> bool:
    """Whether the last proof is of this very release, under this very load, against these very objectives.

    Args:
        release_id: The release that serves after the rollout.
        before: The release proven last, and its report.
        profile: Digest of the model's present load, as `proof.profile` makes it.
        objectives: The model's present objectives.
    """
    if before is None:
        return False
    proven_id, report = before
    asked = judge(objectives, report)
    return (
        proven_id == release_id
        and report.verdict == "PASS"
        and report.profile == profile
        and _bounds(report.objectives) == _bounds(asked)
        and report.each == objectives.each
    )


def _bounds(results: Iterable[ObjectiveResult]) -> list[tuple[str, str | None, float]]:
    return [(result.figure, result.percentile, result.bound) for result in results]
