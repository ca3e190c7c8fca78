"""Read one exception's text as Python, pydantic and argparse write it: its class, and its message in one line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_CHARACTERS = 600  # of a message: some list every architecture there is

_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: ?(?P<message>.*))?$")
_USAGE = re.compile(r"^(?P<program>[\w./ -]+): error: (?P<message>.*)$")
# "1 validation error for ModelConfig", then for each: its field where it has one, and "  text [type=…, input_value=…]"
_PYDANTIC = re.compile(r"(?P<count>\d+) validation errors? for (?P<title>\S+)")
_DETAIL = re.compile(r" ?\[type=(?P<type>\w+), input_value=.*$", re.DOTALL)
_VALUE = re.compile(r"^(Value error|Assertion failed), ")
_MORE = "For further information visit "


@dataclass(frozen=True)
class Message:
    """An exception's class without its module, and its message in one line.

    `exception` is "usage" for a command line that argparse refused, and empty where a line tells of an end only.
    """

    exception: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.exception, self.text) if part)


def collapsed(text: str) -> str:
    """`text` in one line, cut after MOST_CHARACTERS."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"


def read_exception(lines: Sequence[str]) -> Message:
    """An exception from the line that names it and those that go on; no class where the line names none."""
    first, more = lines[0], lines[1:]
    found = _EXCEPTION.match(first.strip())
    if found is None:
        return Message("", collapsed("\n".join(lines)))
    name = found["name"].rpartition(".")[2]
    text = "\n".join([found["message"] or "", *more])
    return Message(name, collapsed(read_pydantic(text) or text))


def read_usage_error(lines: Sequence[str]) -> Message | None:
    """What argparse says of a command line; None where the line is not argparse's."""
    found = _USAGE.match(lines[0])
    if found is None:
        return None
    text = "\n".join([found["message"], *lines[1:]])
    before, at, _ = text.partition(" validation error")
    if at and (details := read_pydantic(text)):
        argument = before.rpartition(": ")[0]
        return Message("usage", collapsed(f"{argument}: {details}"))
    return Message("usage", collapsed(text))


def read_pydantic(text: str) -> str | None:
    """A ValidationError's errors as "CLASS: message" or "CLASS.field: message"; None where it is none."""
    head = _PYDANTIC.search(text)
    if head is None:
        return None
    found: list[str] = []
    where, words = "", list[str]()
    for line in text[head.end() :].split("\n"):
        if line.strip().startswith(_MORE):
            if words:
                found.append(_error(head["title"], where, "\n".join(words)))
            where, words = "", []
        elif words or line.startswith("  "):
            words.append(line)
        elif line.strip():
            where = line.strip()
    if words:
        found.append(_error(head["title"], where, "\n".join(words)))
    return "; ".join(found) or None


def _error(title: str, where: str, text: str) -> str:
    # the error's own text ends where its type is said; what the value was may hold anything
    message = _VALUE.sub("", _DETAIL.sub("", text).strip())
    return f"{title}{'.' + where if where else ''}: {message}"
