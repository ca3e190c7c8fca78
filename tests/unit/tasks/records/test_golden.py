"""Golden prompts of a file: what is refused, with its line, and what fits a context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.preflight.answers import judge_answers
from tasks.records.answers import AnswersProof
from tasks.records.errors import InvalidDocument
from tasks.records.golden import MOST_PROMPTS, read_golden
from tasks.records.questions import Task
from tests.support.builders import a_model

FILE = "golden.jsonl"


def read(folder: Path, *lines: Any) -> list[str]:
    write(folder, *lines)
    return [golden.name for golden in read_golden(AnswersProof(prompts=FILE), folder)]


def write(folder: Path, *lines: Any) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / FILE).write_text(text)


def test_slipways_own_prompts_can_be_asked() -> None:
    found = read_golden(AnswersProof(), Path("nowhere"))
    assert len(found) >= 10
    assert all(golden.prompt for golden in found)


def test_a_prompt_without_a_name_is_called_by_its_line(tmp_path: Path) -> None:
    assert read(tmp_path, {"prompt": "a"}, "", {"prompt": "b", "name": "x"}) == ["line 1", "x"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no json", ":2: Invalid JSON"),
        ({}, "one of prompt and messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "one of prompt and messages"),
        ({"prompt": "a", "expected": {}}, "expected: Extra inputs"),
        ({"prompt": "a", "expect": {"regex": "("}}, "expect cannot be checked"),
        ({"prompt": "a", "expect": {"json_schema": {"type": "objekt"}}}, "expect cannot be checked"),
        ({"prompt": "a", "expect": {}}, "one of regex, json_schema and tool_call"),
        ({"prompt": "a", "expect": {"tool_call": {"name": "f"}}}, "needs tools"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "name": "line 1"}, "two prompts have one name"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_line(tmp_path: Path, line: Any, told: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        read(tmp_path, {"prompt": "first"}, line)
    assert told in refused.value.cause
    assert FILE in refused.value.cause


def test_no_file_no_prompts_or_too_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="no such file"):
        read_golden(AnswersProof(prompts=FILE), tmp_path)
    with pytest.raises(InvalidDocument, match="0 prompts"):
        read(tmp_path)
    with pytest.raises(InvalidDocument, match=f"{MOST_PROMPTS + 1} prompts"):
        read(tmp_path, *({"prompt": "a"} for _ in range(MOST_PROMPTS + 1)))


@pytest.mark.parametrize(
    ("characters", "status"), [(100, "ok"), (1500, "warn"), (12_000, "fail"), (50_000, "fail")]
)
def test_a_prompt_longer_than_the_context_is_refused_before_anything_is_touched(
    tmp_path: Path, characters: int, status: str
) -> None:
    write(tmp_path, {"prompt": "x" * characters, "name": "long one"})
    model = a_model(answers={"prompts": FILE}, engine={"max_model_len": 1024})
    row = judge_answers(model, tmp_path)
    assert row
    assert row.status == status
    assert ("long one" in row.detail) is (status != "ok")


def test_a_file_that_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    row = judge_answers(a_model(answers={"prompts": FILE}), tmp_path)
    assert row
    assert row.status == "fail"
    assert judge_answers(a_model(), tmp_path) is None


@pytest.mark.parametrize("task", ["embed", "score"])
def test_slipways_own_texts_fit_a_short_context(task: Task) -> None:
    model = a_model(answers={}, engine={"task": task, "max_model_len": 512})
    row = judge_answers(model, Path("nowhere"))
    assert row
    assert row.status == "ok"
    assert len(read_golden(AnswersProof(), Path("nowhere"), task)) >= 12


@pytest.mark.parametrize(
    ("task", "line", "told"),
    [
        ("embed", {"query": "a", "documents": ["b"]}, ":1: an embedding model is asked prompt"),
        ("embed", {"prompt": "a", "expect": {"regex": "b"}}, "are for chats"),
        ("score", {"prompt": "a"}, ":1: a score model is asked query and documents"),
        ("score", {"query": "a"}, "query and documents come together"),
        ("score", {"query": "a", "documents": ["b"], "max_tokens": 3}, "are for chats"),
        ("generate", {"query": "a", "documents": ["b"]}, ":1: query and documents are for a score model"),
    ],
)
def test_a_line_of_another_task_is_refused(tmp_path: Path, task: Task, line: Any, told: str) -> None:
    write(tmp_path, line)
    with pytest.raises(InvalidDocument) as refused:
        read_golden(AnswersProof(prompts=FILE), tmp_path, task)
    assert told in refused.value.cause


@pytest.mark.parametrize(
    ("task", "line", "status"),
    [
        ("embed", {"prompt": "x" * 400}, "ok"),  # its answer takes no place in the context
        ("embed", {"prompt": "x" * 3200}, "fail"),
        ("score", {"query": "x" * 100, "documents": ["x" * 600, "y"]}, "warn"),
        ("score", {"query": "x" * 1600, "documents": ["x" * 1600, "y"]}, "fail"),
    ],
)
def test_a_text_longer_than_the_context_is_refused(
    tmp_path: Path, task: Task, line: Any, status: str
) -> None:
    write(tmp_path, line)
    row = judge_answers(
        a_model(answers={"prompts": FILE}, engine={"task": task, "max_model_len": 512}), tmp_path
    )
    assert row
    assert row.status == status


def test_a_base_model_has_no_proof_of_answers() -> None:
    with pytest.raises(ValueError, match="chat completions"):
        a_model(answers={}, load={"rate": 1, "endpoint": "completions"})
    for task in ("embed", "score"):
        assert a_model(answers={}, engine={"task": task}).answers
