"""Files of a load: what is read of them, and the line of what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.records.errors import InvalidDocument
from tasks.records.load import Load
from tasks.records.objectives import EachRequest
from tasks.validation.load.instructions import Instructions
from tasks.validation.load.sources import read_prompts, read_sources, read_trace
from tasks.validation.proof import instructions_for

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
FIRST = "2023-11-16 18:15:46.6805900,374,44\n"


def told(load: dict[str, Any], root: Path) -> Instructions:
    return instructions_for(
        Load.model_validate(load), "http://llm/v1", "llama", each=EachRequest(), root=root
    )


def trace_of(folder: Path, text: str) -> str:
    (folder / "trace.csv").write_text(text)
    return "trace.csv"


def test_the_azure_format_is_read(tmp_path: Path) -> None:
    text = HEAD + FIRST + "2023-11-16 18:15:50.9951690,396,109\n2023-11-16 18:15:47,5,0\n"
    rows = read_trace(trace_of(tmp_path, text), tmp_path)
    assert [(r.context_tokens, r.generated_tokens) for r in rows] == [(374, 44), (5, 1), (396, 109)]
    assert [r.seconds for r in rows] == pytest.approx([0.0, 0.31941, 4.314579])


def test_files_compressed_by_gzip_are_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "trace.csv.gz").write_bytes(gzip.compress((HEAD + FIRST).encode()))
    (tmp_path / "ask.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}'))
    assert [row.context_tokens for row in read_trace("trace.csv.gz", tmp_path)] == [374]
    assert [one.text for one in read_prompts("ask.jsonl.gz", tmp_path, route="chat")] == ["a"]


def test_columns_may_stand_in_another_order_and_others_beside_them(tmp_path: Path) -> None:
    text = "\ufeffModel,GeneratedTokens,TIMESTAMP,ContextTokens\r\nx,44,2024-05-12 00:00:00.003+00:00,374\r\n"
    [row] = read_trace(trace_of(tmp_path, text), tmp_path)
    assert (row.seconds, row.context_tokens, row.generated_tokens) == (0.0, 374, 44)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "trace.csv:1: no column TIMESTAMP"),
        ("TIMESTAMP,ContextTokens\n", "trace.csv:1: no column GeneratedTokens"),
        (HEAD, "trace.csv:2: no rows"),
        (HEAD + FIRST + "yesterday,1,2\n", "trace.csv:3: TIMESTAMP 'yesterday' is not a time"),
        (
            HEAD + FIRST + FIRST + "2023-11-16 18:15:46,-1,2\n",
            "trace.csv:4: ContextTokens '-1' is not a count",
        ),
        (HEAD + "2023-11-16 18:15:46,1,many\n", "trace.csv:2: GeneratedTokens 'many' is not a count"),
        (HEAD + "2023-11-16 18:15:46,1\n", "trace.csv:2: 2 columns where 3 are needed"),
    ],
)
def test_a_trace_that_is_none_says_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidDocument, match=says):
        read_trace(trace_of(tmp_path, text), tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "ask.jsonl:2: not JSON"),
        ("[]", "ask.jsonl:2: not an object"),
        ("{}", "ask.jsonl:2: one of prompt and messages"),
        ('{"prompt": "a", "messages": []}', "ask.jsonl:2: one of prompt and messages"),
        ('{"prompt": 7}', "ask.jsonl:2: prompt is not text"),
        ('{"messages": []}', "ask.jsonl:2: messages are objects"),
        ('{"messages": [{"role": "user"}]}', "ask.jsonl:2: messages are objects"),
        ('{"prompt": "a", "max_tokens": 0}', "ask.jsonl:2: max_tokens 0 is not a count"),
        ('{"prompt": "a", "max_token": 3}', "ask.jsonl:2: unknown field max_token"),
    ],
)
def test_a_prompt_that_is_none_says_where(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "ask.jsonl").write_text('{"prompt": "fine"}\n' + line + "\n")
    with pytest.raises(InvalidDocument, match=says):
        read_prompts("ask.jsonl", tmp_path, route="chat")


def test_messages_do_not_go_to_completions(tmp_path: Path) -> None:
    (tmp_path / "ask.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "x"}]}))
    assert len(read_prompts("ask.jsonl", tmp_path, route="chat")) == 1
    with pytest.raises(InvalidDocument, match="messages do not go to the completions endpoint"):
        read_prompts("ask.jsonl", tmp_path, route="completions")


@pytest.mark.parametrize(
    "load",
    [{"rate": 1, "prompts": "nowhere.jsonl"}, {"arrivals": "trace", "trace": {"file": "nowhere.jsonl"}}],
)
def test_a_file_that_is_not_there_is_said(tmp_path: Path, load: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match=r"nowhere.jsonl: there is no such file"):
        read_sources(told(load, tmp_path))


def test_a_file_without_prompts_is_no_load(tmp_path: Path) -> None:
    (tmp_path / "ask.jsonl").write_text("\n\n")
    with pytest.raises(InvalidDocument, match="no prompts"):
        read_prompts("ask.jsonl", tmp_path, route="chat")


def test_a_start_behind_the_traces_end_is_said(tmp_path: Path) -> None:
    load = {"arrivals": "trace", "trace": {"file": trace_of(tmp_path, HEAD + FIRST), "start": "1h"}}
    with pytest.raises(InvalidDocument, match="nothing is after start"):
        read_sources(told(load, tmp_path))
