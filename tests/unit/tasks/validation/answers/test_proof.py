"""What is asked, in which order, and what becomes of answers that do not come or say too little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.cloud import plain_http
from tasks.records.answers import AnswersProof
from tasks.records.errors import ValidationFailed
from tasks.records.golden import Golden
from tasks.validation.answers import asking
from tasks.validation.answers.proof import answered_of, ask_here, instructions_for, profile_of, read_lines
from tests.support.builders import a_model

MODEL = a_model(answers={})
PROOF = AnswersProof()
PROMPTS = (
    Golden(name="one", prompt="a"),
    Golden.model_validate({"name": "two", "prompt": "b", "expect": {"regex": "x"}}),
)
CONTENT = [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]


class Engine:
    """Answers each question in turn, the last answer for all that follow; keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: plain_http.Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers = list(answers)
        monkeypatch.setattr(asking, "ask", self)
        monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.0)

    def __call__(
        self, url: str, headers: Mapping[str, str], body: dict[str, Any], *, seconds: float
    ) -> plain_http.Answer:
        self.asked.append(body)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def said(status: int = 200, **choice: Any) -> plain_http.Answer:
    whole = {"message": {"content": "x"}, "logprobs": {"content": CONTENT}} | choice
    return plain_http.Answer(status, json.dumps({"choices": [whole]}))


def ask_them() -> list[dict[str, Any]]:
    return ask_here(instructions_for(MODEL, PROOF, PROMPTS, "http://gateway/v1"), "secret")


def test_all_are_asked_once_before_any_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, said())
    answered = answered_of(ask_them(), PROMPTS)
    assert [one["messages"][0]["content"] for one in engine.asked] == ["a", "b", "a", "b"]
    assert all(one["temperature"] == 0 and one["logprobs"] and "tools" not in one for one in engine.asked)
    assert [(one.name, one.check) for one in answered] == [("one", None), ("two", "")]
    assert answered[0].answers[0].logprobs == (-0.5,)


def test_a_gateway_that_falters_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(monkeypatch, plain_http.Answer(503, "busy"), said())
    assert len(ask_them()) == 4
    assert len(engine.asked) == 5


def test_a_prompt_the_engine_refuses_is_named_with_its_words_and_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(monkeypatch, said(), plain_http.Answer(400, "maximum context length is 8 (secret)"))
    with pytest.raises(ValidationFailed, match="a golden prompt was not answered") as refused:
        ask_them()
    assert refused.value.evidence == ("two: 400: maximum context length is 8 (…)",)
    assert len(engine.asked) == 2


@pytest.mark.parametrize("answer", [said(logprobs=None), plain_http.Answer(200, "{}")])
def test_an_answer_without_log_probabilities_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: plain_http.Answer
) -> None:
    Engine(monkeypatch, answer)
    with pytest.raises(ValidationFailed) as refused:
        ask_them()
    assert "without log-probabilities" in refused.value.evidence[0]


def test_a_tool_that_was_called_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    call = {"function": {"name": "weather", "arguments": "{}"}}
    Engine(monkeypatch, said(message={"content": None, "tool_calls": [call]}))
    assert json.loads(answered_of(ask_them(), PROMPTS)[0].answers[0].tool_call)["name"] == "weather"


@pytest.mark.parametrize("lines", [[], ["noise"], ['{"done": 3}'], ['{"failed": "one: 500"}']])
def test_a_log_that_does_not_end_well_proves_nothing(lines: list[str]) -> None:
    with pytest.raises(ValidationFailed):
        read_lines(lines, "secret")


def test_answers_to_other_prompts_or_by_other_settings_are_not_compared() -> None:
    same = profile_of(MODEL, PROOF, PROMPTS)
    assert same == profile_of(MODEL, AnswersProof(agreement=0.5, drift=9), PROMPTS)
    for other in (
        profile_of(MODEL, AnswersProof(seed=2), PROMPTS),
        profile_of(MODEL, AnswersProof(max_tokens=7), PROMPTS),
        profile_of(MODEL, PROOF, PROMPTS[:1]),
    ):
        assert other != same
