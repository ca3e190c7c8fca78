"""Who is asked what, in which order, and what is made of the answers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud import plain_http
from tasks.cloud.waiting import Time
from tasks.records.answers import AnswersProof
from tasks.records.golden import Golden
from tasks.records.model import Model
from tasks.records.pairs import Paired, PairSettings
from tasks.validation.answers import asking as answering
from tasks.validation.pairs.asking import ask_in_turn
from tasks.validation.pairs.proof import judge_pairs, pair_instructions, paired_rows
from tests.support.builders import a_model

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, LATER = ["http://old/v1"], ["http://new-a/v1", "http://new-b/v1"]
PROMPTS = tuple(Golden(name=name, prompt=name) for name in ("one", "two", "three"))
SETTINGS = PairSettings(count=60)


class Engines:
    """Both releases: `seconds` an answer takes by its host, `text` what it says; keeps who was asked what."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], text: dict[str, str]
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        self.now, self.seconds, self.text = 0.0, seconds, text
        self.noise: Callable[[], float] = lambda: 1.0
        monkeypatch.setattr(answering, "ask", self)

    def __call__(
        self,
        url: str,
        headers: Mapping[str, str],
        body: dict[str, Any],
        *,
        seconds: float,
        way: plain_http.Way,
    ) -> plain_http.Answer:
        host = url.split("/")[2]
        self.asked.append((host, body["messages"][0]["content"]))
        self.now += self.seconds.get(host, 0.1) * self.noise()
        said = self.text.get(host, "x")
        content = [{"token": said, "logprob": -0.5}]
        choice = {"message": {"content": said}, "logprobs": {"content": content}}
        return plain_http.Answer(200, json.dumps({"choices": [choice]}))


def asked(
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float] | None = None,
    text: dict[str, str] | None = None,
    model: Model | None = None,
) -> tuple[Engines, Paired]:
    engines = Engines(monkeypatch, seconds or {}, text or {})
    model = model or a_model(answers={})
    told = pair_instructions(model, AnswersProof(), SETTINGS, PROMPTS, BEFORE, LATER)
    lines: list[dict[str, Any]] = []
    ask_in_turn(told, "secret", lines.append, Time(clock=lambda: engines.now))
    assert len(lines) == 2 * 2 * len(PROMPTS)
    return engines, judge_pairs(lines, model, SETTINGS, PROMPTS, "r1", NOW)


def test_each_prompt_is_asked_of_both_one_right_after_the_other_and_who_is_first_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines, paired = asked(monkeypatch)
    pairs = list(zip(engines.asked[::2], engines.asked[1::2], strict=True))
    assert all(first[1] == second[1] for first, second in pairs)
    assert all((first[0] == "old") is not (second[0] == "old") for first, second in pairs)
    firsts = [first[0] == "old" for first, _ in pairs]
    assert abs(firsts.count(True) - firsts.count(False)) <= 1
    assert {host for host, _ in engines.asked} == {"old", "new-a", "new-b"}
    assert paired.time
    assert paired.time.pairs == SETTINGS.count  # the first round is not counted


def test_the_same_release_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, paired = asked(monkeypatch)
    assert paired.verdict == "PASS"
    assert paired.time
    assert paired.time.estimate == pytest.approx(0)
    assert "100.0% of greedy tokens are those of release r1" in paired.reasons[1]


@pytest.mark.parametrize(
    ("sigma", "budget", "pairs"), [(0.001, 1e9, 60), (0.15, 1e9, 240), (0.15, 30.0, 120), (0.15, 0.0, 60)]
)
def test_more_pairs_are_asked_as_long_as_they_do_not_tell_and_the_time_for_it_lasts(
    monkeypatch: pytest.MonkeyPatch, sigma: float, budget: float, pairs: int
) -> None:
    engines, chance = Engines(monkeypatch, {}, {}), random.Random(1)
    engines.noise = lambda: chance.lognormvariate(0, sigma)
    told = pair_instructions(a_model(), AnswersProof(), SETTINGS, PROMPTS, BEFORE, LATER)
    lines: list[dict[str, Any]] = []
    ask_in_turn(told | {"budget": budget}, "secret", lines.append, Time(clock=lambda: engines.now))
    paired = judge_pairs(lines, a_model(), SETTINGS, PROMPTS, "r1", NOW)
    assert paired.time
    assert paired.time.pairs == pairs
    assert len(engines.asked) == 2 * (pairs + len(PROMPTS))


def test_a_slower_release_fails_with_how_much_and_how_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    _, paired = asked(monkeypatch, {"new-a": 0.105, "new-b": 0.105})
    assert paired.verdict == "FAIL"
    assert (
        paired.reasons[0]
        == "answers take +5.0% (+5.0% to +5.0%, 60 pairs) longer than those of release r1; 2.0% is allowed"
    )
    assert paired_rows(paired)[0] == {
        "figure": "time of an answer",
        "change": "+5.0%",
        "how sure": "+5.0% to +5.0%",
    }


def test_other_answers_fail_where_the_models_file_asks_for_a_proof_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = {"new-a": "y", "new-b": "y"}
    _, paired = asked(monkeypatch, text=other)
    assert paired.verdict == "FAIL"
    assert "0.0% of greedy tokens" in paired.reasons[0]
    _, paired = asked(monkeypatch, text=other, model=a_model())
    assert paired.verdict == "PASS"
    assert paired.likeness
    assert paired.likeness.agreement == 0


def test_a_refused_prompt_is_told_with_who_refused_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        answering, "ask", lambda *of, **named: plain_http.Answer(400, "maximum context length is 8")
    )
    told = pair_instructions(a_model(), AnswersProof(), SETTINGS, PROMPTS, BEFORE, LATER)
    with pytest.raises(answering.AskingFailed, match=r"^now: one: 400: maximum context length"):
        ask_in_turn(told, "secret", lambda line: None)


def test_a_base_model_is_not_asked_in_pairs() -> None:
    with pytest.raises(ValueError, match=r"rollout\.pairs: golden prompts are asked as chat"):
        a_model(rollout={"pairs": {}}, load={"rate": 1, "endpoint": "completions"})
