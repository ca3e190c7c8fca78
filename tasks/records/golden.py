"""Golden prompts: JSON lines of what is asked, and what the answer must be like. Raises InvalidDocument with file and line.

{"name": "capital", "prompt": "…", "expect": {"regex": "Paris"}}
{"messages": […], "tools": […], "expect": {"tool_call": {"name": "get_weather", "arguments": {JSON schema}}}}
{"prompt": "…", "response_format": {…}, "expect": {"json_schema": {…}}}
{"prompt": "…"}                                 for an embedding model
{"query": "…", "documents": ["…", …]}           for a score model
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import Field, ValidationError, model_validator

from tasks.records.answers import AnswersProof
from tasks.records.errors import InvalidDocument
from tasks.records.questions import Task
from tasks.records.record import Record

# two answers of each come back in the last hundred lines of a Job's log
MOST_PROMPTS = 48
OWN: Mapping[Task, Path] = {
    "generate": Path(__file__).with_name("golden_chat.jsonl"),
    "embed": Path(__file__).with_name("golden_texts.jsonl"),
    "score": Path(__file__).with_name("golden_pairs.jsonl"),
}


class ToolCall(Record):
    """The tool that must be called; `arguments` is a JSON schema of its arguments."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Expected(Record):
    """What holds of every right answer: one of the three."""

    regex: str | None = None
    json_schema: dict[str, Any] | None = None
    tool_call: ToolCall | None = None

    @model_validator(mode="after")
    def _is_one_that_can_be_checked(self) -> Self:
        given = [one for one in (self.regex, self.json_schema, self.tool_call) if one is not None]
        if len(given) != 1:
            raise ValueError("expect takes one of regex, json_schema and tool_call")
        try:
            re.compile(self.regex or "")
            for schema in (self.json_schema, self.tool_call.arguments if self.tool_call else None):
                Draft202012Validator.check_schema(schema or {})
        except (re.error, SchemaError) as error:
            raise ValueError(f"expect cannot be checked: {str(error).splitlines()[0]}") from error
        return self


class Golden(Record):
    """One prompt of a chat, one text to embed, or one query with the documents to score."""

    name: str = ""
    prompt: str | None = Field(None, min_length=1)
    messages: tuple[dict[str, Any], ...] | None = Field(None, min_length=1)
    query: str | None = Field(None, min_length=1)
    documents: tuple[str, ...] = Field((), max_length=64)
    max_tokens: int | None = Field(None, ge=1, le=512)
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    expect: Expected | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if [self.prompt, self.messages, self.query].count(None) != 2:
            raise ValueError("one of prompt and messages is needed, or query with documents")
        if bool(self.documents) != (self.query is not None):
            raise ValueError("query and documents come together")
        if self.expect and self.expect.tool_call and not self.tools:
            raise ValueError("expect.tool_call needs tools")
        return self

    @property
    def said(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        return list(self.messages or ({"role": "user", "content": self.prompt},))

    def wrong_for(self, task: Task) -> str:
        """Why a model of the task cannot be asked this; empty where it can."""
        if task == "score":
            missing = "" if self.query else "a score model is asked query and documents"
        elif task == "embed":
            missing = "" if self.prompt else "an embedding model is asked prompt"
        else:
            return "query and documents are for a score model" if self.query else ""
        written = self.max_tokens or self.tools or self.response_format or self.expect
        return missing or ("max_tokens, tools, response_format and expect are for chats" if written else "")

    def most(self, proof: AnswersProof) -> int:
        """Tokens of its answer at most."""
        return self.max_tokens or proof.max_tokens


def read_golden(proof: AnswersProof, root: Path, task: Task = "generate") -> tuple[Golden, ...]:
    """The model's prompts, or Slipway's own of the task, each with a name."""
    own = OWN[task]
    path, shown = (root / proof.prompts, proof.prompts) if proof.prompts else (own, own.name)
    if not path.is_file():
        raise InvalidDocument(f"{shown}: there is no such file in {root}", next_command=f"ls {path.parent}")
    try:
        lines = [line for line in enumerate(path.read_text("utf-8").splitlines(), 1) if line[1].strip()]
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"{shown}: not UTF-8: {error}", next_command=f"edit {shown}") from None
    found = [_golden(shown, number, line, task) for number, line in lines]
    names = [golden.name for golden in found]
    if not found or len(found) > MOST_PROMPTS or len(set(names)) < len(names):
        what = f"{len(found)} prompts" if len(set(names)) == len(names) else "two prompts have one name"
        raise InvalidDocument(
            f"{shown}: {what}; one to {MOST_PROMPTS} with different names are asked",
            next_command=f"edit {shown}",
        )
    return tuple(found)


def _golden(file: str, number: int, line: str, task: Task) -> Golden:
    try:
        golden = Golden.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise InvalidDocument(f"{file}:{number}: {what}", next_command=f"edit {file}") from None
    if wrong := golden.wrong_for(task):
        raise InvalidDocument(f"{file}:{number}: {wrong}", next_command=f"edit {file}")
    return golden if golden.name else golden.model_copy(update={"name": f"line {number}"})


# A token of vLLM's tokenizers has a character at least (byte-level ones a byte) and seldom more than six on average.
SHORTEST, LONGEST = 1, 6
TEMPLATE_TOKENS = 32  # of a chat template around one message


def too_long(golden: Golden, proof: AnswersProof, max_model_len: int, task: Task = "generate") -> bool:
    """Whether prompt and answer cannot fit the context, at six characters a token."""
    return _characters(golden) / LONGEST + _written(golden, proof, task) > max_model_len


def may_be_too_long(golden: Golden, proof: AnswersProof, max_model_len: int, task: Task = "generate") -> bool:
    """Whether they might not fit, at a byte a token: only the model's tokenizer tells."""
    most = _characters(golden) / SHORTEST + TEMPLATE_TOKENS + _written(golden, proof, task)
    return most > max_model_len


def _written(golden: Golden, proof: AnswersProof, task: Task) -> int:
    return golden.most(proof) if task == "generate" else 0


def _characters(golden: Golden) -> int:
    if golden.query:
        # each document is read beside the query
        return len(golden.query.encode()) + max(len(one.encode()) for one in golden.documents)
    said = [str(message.get("content") or "") for message in golden.said]
    return len("".join(said).encode()) + sum(len(json.dumps(tool)) for tool in golden.tools)
