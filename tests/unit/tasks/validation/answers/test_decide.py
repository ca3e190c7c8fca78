"""Which answers are as the proven release's, and how often the same release is called another one."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.records.answers import Answer, Answered, AnswersProof, AnswersReport
from tasks.records.golden import Expected
from tasks.validation.answers.decide import agreement, check, drift, judge
from tests.support.golden import an_answer, answered_by

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROOF = AnswersProof()
# flips a token in 4 answers of 10, as batches of another size round otherwise: a bad case
LITTLE: dict[str, Any] = {"flip": 0.002, "jitter": 0.02}  # in one answer of 10
NOISY: dict[str, Any] = {"flip": 0.01, "jitter": 0.05}


def answer(*tokens: str, at: float = -1.0, text: str = "", call: str = "") -> Answer:
    return Answer(text=text, tokens=tokens, logprobs=tuple(at for _ in tokens), tool_call=call)


def judged(
    now: list[Answered], before: list[Answered] | None, proof: AnswersProof = PROOF, **over: Any
) -> AnswersReport:
    proven = judge(before, proof, "p", None, NOW) if before is not None else None
    return judge(now, proof, over.get("profile", "p"), ("r1", proven) if proven else None, NOW)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (answer("a", "b"), answer("a", "b"), 1.0),
        (answer("a", "b"), answer("a", "c"), 0.5),
        (answer("x", "b"), answer("a", "b"), 0.0),  # what follows another token is another text
        (answer("a"), answer("a", "b", "c", "d"), 0.25),
        (answer(), answer(), 1.0),
        (answer(), answer("a"), 0.0),
    ],
)
def test_tokens_agree_up_to_the_first_that_differs(one: Answer, other: Answer, share: float) -> None:
    assert agreement(one, other) == agreement(other, one) == share


def test_drift_is_of_the_tokens_both_chose() -> None:
    assert drift(answer("a", "b", at=-1), answer("a", "c", at=-1.5)) == pytest.approx(0.5)
    assert drift(answer("x"), answer("y", at=-9)) == 0.0


def test_the_first_release_is_compared_with_nothing_and_told() -> None:
    report = judged(answered_by(1), None)
    assert (report.verdict, report.against, report.likeness) == ("PASS", None, None)
    assert "no proven release has answered yet" in report.reasons[0]


def test_other_prompts_are_not_compared() -> None:
    report = judged(answered_by(1), answered_by(2, model=7), profile="other")
    assert report.verdict == "PASS"
    assert "other prompts" in report.reasons[0]


def test_the_same_answers_pass() -> None:
    report = judged(answered_by(1), answered_by(2))
    assert (report.verdict, report.deterministic) == ("PASS", True)
    assert report.likeness
    assert (report.likeness.agreement, report.likeness.drift) == (1.0, 0.0)


def test_other_answers_fail_and_the_furthest_prompt_is_named() -> None:
    report = judged(answered_by(1, model=1), answered_by(2))
    assert report.verdict == "FAIL"
    assert "furthest: p0" in report.reasons[0]


def test_the_same_tokens_with_other_probabilities_fail_by_their_drift() -> None:
    report = judged(answered_by(1, shift=0.3), answered_by(2))
    assert report.verdict == "FAIL"
    assert "differ by 0.3 nats" in report.reasons[0]
    assert judged(answered_by(1, shift=0.3), answered_by(2), AnswersProof(drift=0.5)).verdict == "PASS"


def test_a_release_that_does_not_repeat_itself_is_told_and_its_noise_allowed() -> None:
    report = judged(answered_by(1, **NOISY), answered_by(2, **NOISY))
    assert not report.deterministic
    assert report.verdict == "PASS"


@pytest.mark.parametrize(
    "noise", [{}, {"jitter": 0.02}, {"flip": 0.0005}, {"flip": 0.002}, NOISY, {"flip": 0.05, "jitter": 0.2}]
)
def test_the_same_release_is_seldom_called_another(noise: dict[str, Any]) -> None:
    """100 pairs of the same release, by simulation of its noise: 5 false alarms or fewer."""
    alarms = sum(
        judged(answered_by(pair, **noise), answered_by(pair + 1000, **noise)).verdict == "FAIL"
        for pair in range(100)
    )
    assert alarms <= 5, alarms


@pytest.mark.parametrize("change", [{"model": 1}, {"shift": 0.5}, {"half": True}])
def test_another_release_is_found_through_the_noise(change: dict[str, Any]) -> None:
    """100 pairs of which the newer one is altered: 95 or more are found."""
    found = 0
    for pair in range(100):
        now = altered(pair) if "half" in change else answered_by(pair, **(NOISY | change))
        before = answered_by(pair + 1000, **(LITTLE if "half" in change else NOISY))
        found += judged(now, before).verdict == "FAIL"
    assert found >= 95, found


def altered(seed: int) -> list[Answered]:
    """A release of which half of the prompts are answered otherwise, the same way each time."""
    same, other = answered_by(seed, **LITTLE), answered_by(seed + 7, model=1, **LITTLE)
    return [a if n % 2 else b for n, (a, b) in enumerate(zip(same, other, strict=True))]


def test_one_prompt_of_sixteen_is_found_where_the_engine_is_deterministic() -> None:
    now = answered_by(1)
    now[3] = answered_by(1, model=1)[3]
    report = judged(now, answered_by(2))
    assert report.verdict == "FAIL"
    assert "furthest: p3" in report.reasons[0]


CITY = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
WEATHER = Expected.model_validate({"tool_call": {"name": "weather", "arguments": CITY}})


@pytest.mark.parametrize(
    ("expected", "given", "wrong"),
    [
        (Expected(regex="Paris|Lyon"), answer(text="It is Paris."), ""),
        (Expected(regex="^42$"), answer(text="43"), "does not match"),
        (Expected(json_schema=CITY), answer(text='{"city": "Rome"}'), ""),
        (Expected(json_schema=CITY), answer(text='{"town": "Rome"}'), "'city' is a required property"),
        (Expected(json_schema=CITY), answer(text="Rome"), "is not JSON"),
        (WEATHER, answer(call='{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}'), ""),
        (WEATHER, answer(call='{"name": "weather", "arguments": "{}"}'), "required property"),
        (WEATHER, answer(call='{"name": "time", "arguments": "{}"}'), "time was called, not weather"),
        (WEATHER, answer(text="Sunny."), "no tool was called"),
    ],
)
def test_a_prompts_own_check(expected: Expected, given: Answer, wrong: str) -> None:
    said = check(given, expected)
    assert (said == "") is (wrong == "")
    assert wrong in said


def test_checks_that_fail_fail_the_release_even_the_first() -> None:
    chance = random.Random(1)
    pair = (an_answer(chance, ["a"]), an_answer(chance, ["a"]))
    checked = [Answered(name=f"p{n}", answers=pair, check="wrong" if n < 2 else "") for n in range(10)]
    report = judged(checked, None)
    assert report.verdict == "FAIL"
    assert "2 of 10 checks fail: p0: wrong" in report.reasons[0]
    assert judged(checked, None, AnswersProof(checks=0.8)).verdict == "PASS"
