"""Embeddings and scores of a release beside the proven one's: which are the same, and how often that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.records.answers import Answer, Answered, AnswersProof, AnswersReport
from tasks.validation.answers.asking import packed
from tasks.validation.answers.decide import cosine_distance, drift, judge, unpacked
from tasks.validation.answers.summary import answers_table, tell_answers
from tests.support.golden import embedded_by, scored_by
from tests.support.heard import Heard

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROOF = AnswersProof()
# of a vector of 64 numbers, each 0.125 on average
ROUNDING: dict[str, Any] = {"jitter": 0.002}
NOISY: dict[str, Any] = {"jitter": 0.02}
By = Callable[..., list[Answered]]


def judged(now: list[Answered], before: list[Answered] | None, proof: AnswersProof = PROOF) -> AnswersReport:
    proven = judge(before, proof, "p", None, NOW) if before is not None else None
    return judge(now, proof, "p", ("r1", proven) if proven else None, NOW)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ([1, 0], [1, 0], 0),
        ([1, 0], [5, 0], 0),  # the direction counts
        ([1, 0], [0, 1], 1),
        ([1, 0], [-1, 0], 2),
        ([1, 0], [1, 1], 1 - 0.5**0.5),
    ],
)
def test_the_cosine_distance_of_packed_vectors(one: list[float], other: list[float], distance: float) -> None:
    assert cosine_distance(packed(one), packed(other)) == pytest.approx(distance, abs=1e-6)


def test_half_precision_moves_a_vector_by_next_to_nothing() -> None:
    [answered] = embedded_by(1, texts=1, dimensions=4096)
    vector = answered.answers[0].vector
    assert len(vector) < 16 * 1024  # of a line that containerd does not cut
    assert cosine_distance(packed(list(unpacked(vector))), vector) < 1e-6


@pytest.mark.parametrize("vector", [[], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_vector_without_a_direction_is_none(vector: list[float]) -> None:
    with pytest.raises(ValueError, match="no"):
        packed(vector)


def test_scores_differ_by_their_mean_difference() -> None:
    assert drift(Answer(scores=(0.5, 0.1)), Answer(scores=(0.4, 0.4))) == pytest.approx(0.2)


@pytest.mark.parametrize(("by", "measure"), [(embedded_by, "cosine"), (scored_by, "score")])
def test_the_same_release_passes_and_another_fails_by_name(by: By, measure: str) -> None:
    same = judged(by(1), by(2))
    assert (same.verdict, same.measure, same.deterministic) == ("PASS", measure, True)
    assert same.likeness
    assert (same.likeness.agreement, same.likeness.drift) == (1.0, 0.0)
    other = judged(by(1, model=1), by(2))
    assert other.verdict == "FAIL"
    assert "beyond the noise" in other.reasons[0]
    assert "furthest: p" in other.reasons[0]


def test_limits_are_the_model_files() -> None:
    turned = embedded_by(1, turn=0.02)
    assert judged(turned, embedded_by(2)).verdict == "FAIL"
    assert judged(turned, embedded_by(2), AnswersProof(cosine=0.1)).verdict == "PASS"
    shifted = scored_by(1, shift=0.05)
    assert judged(shifted, scored_by(2)).verdict == "FAIL"
    assert judged(shifted, scored_by(2), AnswersProof(score=0.06)).verdict == "PASS"


def test_vectors_of_another_length_fail_and_are_not_compared() -> None:
    report = judged(embedded_by(1, dimensions=32), embedded_by(2))
    assert (report.verdict, report.likeness) == ("FAIL", None)
    assert report.reasons == ("p0 is answered with 32 numbers, by release r1 with 64",)


@pytest.mark.parametrize(("by", "what"), [(embedded_by, "vectors"), (scored_by, "scores")])
def test_a_release_that_does_not_repeat_itself_is_told(by: By, what: str) -> None:
    report = judged(by(1, **NOISY), by(2, **NOISY))
    assert (report.verdict, report.deterministic) == ("PASS", False)
    told = Heard()
    tell_answers(report, told)
    assert f"not deterministic: asked twice, it repeated 0.0% of its {what}" in told.lines[-1]


def test_the_table_has_a_row_a_text() -> None:
    before = judged(embedded_by(2), None)
    [row, *_] = answers_table(judged(embedded_by(1), embedded_by(2)), before)
    assert (row["cosine distance"], row["as itself"], row["answer"]) == (
        "0",
        "100%",
        "a vector of 64 numbers",
    )


@pytest.mark.parametrize("by", [embedded_by, scored_by])
@pytest.mark.parametrize("noise", [{}, ROUNDING, NOISY, {"jitter": 0.1}])
def test_the_same_release_is_seldom_called_another(by: By, noise: dict[str, Any]) -> None:
    """100 pairs of the same release: 5 false alarms or fewer."""
    alarms = sum(judged(by(n, **noise), by(n + 1000, **noise)).verdict == "FAIL" for n in range(100))
    assert alarms <= 5, alarms


@pytest.mark.parametrize(
    ("by", "change"),
    [
        (embedded_by, {"model": 1}),
        (embedded_by, {"turn": 0.02}),
        (scored_by, {"model": 1}),
        (scored_by, {"shift": 0.05}),
    ],
)
def test_another_release_is_found_through_the_noise(by: By, change: dict[str, Any]) -> None:
    """100 pairs of which the newer one is altered: 95 or more are found."""
    found = sum(
        judged(by(n, **ROUNDING, **change), by(n + 1000, **ROUNDING)).verdict == "FAIL" for n in range(100)
    )
    assert found >= 95, found
