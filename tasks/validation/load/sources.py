"""Read the files of a load, prompts (JSON lines) and traces (CSV), and say in which line an error is.

Trace: the Azure LLM inference format, https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023: CSV with the columns TIMESTAMP,
ContextTokens, GeneratedTokens. Prompts: an object a line, `prompt` (text) or `messages` (as the chat API takes them), and
optionally `max_tokens`.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tasks.records.errors import InvalidDocument
from tasks.records.questions import GENERATING, Route
from tasks.validation.load.instructions import Instructions

LARGEST_FILE = 512 * 2**20
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
LONGEST_TOKENS = 2_000_000


@dataclass(frozen=True, slots=True)
class TraceRow:
    """`seconds` since the trace's first row."""

    seconds: float
    context_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class GivenPrompt:
    """`messages` is JSON, as it goes into a request; for a plain prompt, one message of a user."""

    text: str | None
    messages: str
    max_tokens: int | None


def read_sources(instructions: Instructions) -> tuple[tuple[TraceRow, ...], tuple[GivenPrompt, ...]]:
    """Read the load's files, with paths relative to `root`. Raises InvalidDocument with file and line."""
    root, trace = Path(instructions.root), instructions.trace
    rows = read_trace(trace.file, root) if trace else ()
    if trace and trace.start > rows[-1].seconds:
        raise InvalidDocument(
            f"{trace.file} is {rows[-1].seconds:.0f} s long: nothing is after start: {trace.start:g}s",
            next_command="set load.trace.start lower",
        )
    prompts = (
        read_prompts(instructions.prompts, root, route=instructions.endpoint) if instructions.prompts else ()
    )
    return rows, prompts


def read_trace(file: str, root: Path) -> tuple[TraceRow, ...]:
    """Read a trace. Returns its rows in order of time. Raises InvalidDocument."""
    with _opened(file, root, newline="") as source:
        reader = csv.reader(source)
        try:
            head = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
            if missing := [name for name in COLUMNS if name not in head]:
                raise _wrong(file, 1, f"no column {missing[0]}; a trace has {','.join(COLUMNS)}")
            places = [head.index(name) for name in COLUMNS]
            rows = [_trace_row(file, reader.line_num, row, places) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise _wrong(file, reader.line_num + 1, f"not readable as CSV: {error}") from None
    if not rows:
        raise _wrong(file, 2, "no rows: a trace needs at least one request")
    rows.sort(key=lambda row: row[0])
    began = rows[0][0]
    return tuple(TraceRow((at - began).total_seconds(), prompt, answer) for at, prompt, answer in rows)


def _trace_row(file: str, line: int, row: list[str], places: list[int]) -> tuple[datetime, int, int]:
    if len(row) <= max(places):
        raise _wrong(file, line, f"{len(row)} columns where {max(places) + 1} are needed")
    stamp, context, generated = (row[place].strip() for place in places)
    try:
        # traces have seven digits of a second; Python reads six
        day, _, digits = stamp.partition(".")
        at = datetime.fromisoformat(f"{day}.{digits[:6]}" if digits.isdigit() else stamp)
    except ValueError:
        raise _wrong(
            file, line, f"TIMESTAMP {stamp!r} is not a time such as 2023-11-16 18:15:46.6805900"
        ) from None
    tokens = []
    for name, text in zip(COLUMNS[1:], (context, generated), strict=True):
        if not text.isdigit() or int(text) > LONGEST_TOKENS:
            raise _wrong(file, line, f"{name} {text!r} is not a count of tokens")
        tokens.append(max(1, int(text)))
    return at if at.tzinfo else at.replace(tzinfo=UTC), tokens[0], tokens[1]


def read_prompts(file: str, root: Path, *, route: Route) -> tuple[GivenPrompt, ...]:
    """Read prompts, one a line, in the file's order. Raises InvalidDocument."""
    prompts = []
    try:
        with _opened(file, root) as source:
            prompts = [_prompt(file, number, line, route) for number, line in _lines(source)]
    except UnicodeDecodeError as error:
        raise _wrong(file, 1, f"not UTF-8: {error}") from None
    if not prompts:
        raise _wrong(file, 1, "no prompts: one JSON object a line is needed")
    return tuple(prompts)


def _lines(source: Any) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(source, 1) if line.strip())


def _prompt(file: str, number: int, line: str, route: Route) -> GivenPrompt:
    try:
        given = json.loads(line)
    except ValueError as error:
        raise _wrong(file, number, f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise _wrong(file, number, "not an object with prompt or messages")
    if unknown := sorted(set(given) - {"prompt", "messages", "max_tokens"}):
        raise _wrong(file, number, f"unknown field {unknown[0]}; it takes prompt or messages, and max_tokens")
    text, messages, most = given.get("prompt"), given.get("messages"), given.get("max_tokens")
    if (text is None) == (messages is None):
        raise _wrong(file, number, "one of prompt and messages is needed")
    if text is not None and (not isinstance(text, str) or not text):
        raise _wrong(file, number, "prompt is not text")
    if messages is not None:
        if route != "chat":
            raise _wrong(file, number, f"messages do not go to the {route} endpoint: give prompt")
        if not _are_messages(messages):
            raise _wrong(file, number, "messages are objects with role and content")
    if most is not None and route not in GENERATING:
        raise _wrong(file, number, f"max_tokens is of text, and {route} generates none")
    if most is not None and (
        not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= LONGEST_TOKENS
    ):
        raise _wrong(file, number, f"max_tokens {most!r} is not a count of tokens")
    return GivenPrompt(text, json.dumps(messages or [{"role": "user", "content": text}]), most)


def _are_messages(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one
            for one in messages
        )
    )


def _opened(file: str, root: Path, newline: str | None = None) -> IO[str]:
    """A text file, or one compressed by gzip where its name says so."""
    path = root / file
    if not path.is_file():
        raise InvalidDocument(f"{file}: there is no such file in {root}", next_command=f"ls {path.parent}")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise InvalidDocument(
            f"{file} has {size / 2**20:.0f} MiB; at most {LARGEST_FILE / 2**20:.0f} MiB are read",
            next_command=f"head -n 100000 {path} > shorter",
        )
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline=newline)
    return path.open(encoding="utf-8", newline=newline)


def _wrong(file: str, line: int, what: str) -> InvalidDocument:
    return InvalidDocument(f"{file}:{line}: {what}", next_command=f"edit {file}")
