"""Golden prompts: JSON lines of what is asked, and what the answer must be like. Raises InvalidDocument with file and line.

{"name": "capital", "prompt": "…", "expect": {"regex": "Paris"}}
{"messages": […], "tools": […], "expect": {"tool_call": {"name": "get_weather", "arguments": {JSON schema}}}}
{"prompt": "…", "response_format": {…}, "expect": {"json_schema": {…}}}
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import Field, ValidationError, model_validator

from tasks.records.answers import AnswersProof
from tasks.records.errors import InvalidDocument
from tasks.records.record import Record

# two answers of each come back in the last hundred lines of a Job's log
MOST_PROMPTS = 48
OWN = Path(__file__).with_name("golden_chat.jsonl")


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
    """One prompt of a chat."""

    name: str = ""
    prompt: str | None = Field(None, min_length=1)
    messages: tuple[dict[str, Any], ...] | None = Field(None, min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=512)
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    expect: Expected | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("one of prompt and messages is needed")
        if self.expect and self.expect.tool_call and not self.tools:
            raise ValueError("expect.tool_call needs tools")
        return self

    @property
    def said(self) -> list[dict[str, Any]]:
        """The messages of the request."""
        return list(self.messages or ({"role": "user", "content": self.prompt},))

    def most(self, proof: AnswersProof) -> int:
        """Tokens of its answer at most."""
        return self.max_tokens or proof.max_tokens


def read_golden(proof: AnswersProof, root: Path) -> tuple[Golden, ...]:
    """The model's prompts, or Slipway's own, each with a name."""
    path, shown = (root / proof.prompts, proof.prompts) if proof.prompts else (OWN, OWN.name)
    if not path.is_file():
        raise InvalidDocument(f"{shown}: there is no such file in {root}", next_command=f"ls {path.parent}")
    try:
        lines = [line for line in enumerate(path.read_text("utf-8").splitlines(), 1) if line[1].strip()]
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"{shown}: not UTF-8: {error}", next_command=f"edit {shown}") from None
    found = [_golden(shown, number, line) for number, line in lines]
    names = [golden.name for golden in found]
    if not found or len(found) > MOST_PROMPTS or len(set(names)) < len(names):
        what = f"{len(found)} prompts" if len(set(names)) == len(names) else "two prompts have one name"
        raise InvalidDocument(
            f"{shown}: {what}; one to {MOST_PROMPTS} with different names are asked",
            next_command=f"edit {shown}",
        )
    return tuple(found)


def _golden(file: str, number: int, line: str) -> Golden:
    try:
        golden = Golden.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise InvalidDocument(f"{file}:{number}: {what}", next_command=f"edit {file}") from None
    return golden if golden.name else golden.model_copy(update={"name": f"line {number}"})


# A token of vLLM's tokenizers has a character at least (byte-level ones a byte) and seldom more than six on average.
SHORTEST, LONGEST = 1, 6
TEMPLATE_TOKENS = 32  # of a chat template around one message


def too_long(golden: Golden, proof: AnswersProof, max_model_len: int) -> bool:
    """Whether prompt and answer cannot fit the context, at six characters a token."""
    return _characters(golden) / LONGEST + golden.most(proof) > max_model_len


def may_be_too_long(golden: Golden, proof: AnswersProof, max_model_len: int) -> bool:
    """Whether they might not fit, at a byte a token: only the model's tokenizer tells."""
    return _characters(golden) / SHORTEST + TEMPLATE_TOKENS + golden.most(proof) > max_model_len


def _characters(golden: Golden) -> int:
    said = [str(message.get("content") or "") for message in golden.said]
    return len("".join(said).encode()) + sum(len(json.dumps(tool)) for tool in golden.tools)
