"""What is asked, in which order, and what becomes of answers that do not come or say too little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.cloud import plain_http
from tasks.records.answers import Answered, AnswersProof
from tasks.records.errors import ValidationFailed
from tasks.records.golden import Golden
from tasks.validation.answers import asking
from tasks.validation.answers.asking import packed
from tasks.validation.answers.decide import unpacked
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
        self.urls: list[str] = []
        self.answers = list(answers)
        monkeypatch.setattr(asking, "ask", self)
        monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.0)

    def __call__(
        self,
        url: str,
        headers: Mapping[str, str],
        body: dict[str, Any],
        *,
        seconds: float,
        way: plain_http.Way,
    ) -> plain_http.Answer:
        self.asked.append(body)
        self.urls.append(url)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def said(status: int = 200, **choice: Any) -> plain_http.Answer:
    whole = {"message": {"content": "x"}, "logprobs": {"content": CONTENT}} | choice
    return plain_http.Answer(status, json.dumps({"choices": [whole]}))


def ask_them() -> list[dict[str, Any]]:
    return ask_here(instructions_for(MODEL, PROOF, PROMPTS, {"base_url": "http://gateway/v1"}), "secret")


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


def pooled(task: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Answered]:
    """What a model of the task is asked, and what becomes of its answer."""
    engine = Engine(monkeypatch, plain_http.Answer(200, json.dumps(answer)))
    line = {"prompt": "a"} if task == "embed" else {"query": "a", "documents": ["b", "c"]}
    prompts = (Golden.model_validate({"name": "one", **line}),)
    model = a_model(answers={}, engine={"task": task})
    lines = ask_here(instructions_for(model, PROOF, prompts, {"base_url": "http://gateway/v1"}), "secret")
    [answered] = answered_of(lines, prompts)
    return engine, answered


def test_an_embedding_model_is_asked_for_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, answered = pooled("embed", {"data": [{"index": 0, "embedding": [3, 4]}]}, monkeypatch)
    assert engine.urls == ["http://gateway/v1/embeddings"] * 2
    assert engine.asked == [{"model": "llama", "input": "a"}] * 2
    assert unpacked(answered.answers[0].vector) == pytest.approx((0.6, 0.8), abs=1e-3)


def test_a_score_model_is_asked_to_score_and_its_scores_are_in_the_documents_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = [{"index": 1, "score": 0.1}, {"index": 0, "score": 0.9}]
    engine, answered = pooled("score", {"data": data}, monkeypatch)
    assert engine.urls == ["http://gateway/v1/score"] * 2
    assert engine.asked[0] == {"model": "llama", "text_1": "a", "text_2": ["b", "c"]}
    assert answered.answers[0].scores == (0.9, 0.1)


@pytest.mark.parametrize(
    ("task", "entry"),
    [
        ("embed", {"embedding": [float("nan")]}),
        ("embed", {"embedding": []}),
        ("embed", {}),
        ("score", {"score": float("inf")}),
        ("score", {"score": None}),
    ],
)
def test_vectors_and_scores_that_are_no_numbers_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, task: str, entry: dict[str, Any]
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        pooled(task, {"data": [{"index": 0, **entry}]}, monkeypatch)
    assert "one: answered without" in refused.value.evidence[0]


def test_a_vector_whose_length_changes_proves_nothing() -> None:
    lines = [
        {"name": "one", "turn": turn, "vector": packed([1.0] * count)} for turn, count in enumerate((2, 3))
    ]
    with pytest.raises(ValidationFailed, match="with 2 numbers, then with 3"):
        answered_of(lines, PROMPTS[:1])
