"""PromQL's words. https://prometheus.io/docs/prometheus/latest/querying/basics/"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_TOKEN = re.compile(
    rf"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<duration>{_DURATION}(?![\w.]))
    | (?P<number>0[xX][0-9a-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<identifier>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<string>"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `[^`]*`)
    | (?P<operator>==|!=|>=|<=|=~|!~|[-+*/%^<>=(){{}}\[\],:@])
    """,
    re.VERBOSE,
)
_UNIT_SECONDS = {
    "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0,
}  # fmt: skip


class ParseError(ValueError):
    """The query is not PromQL, or not the part of it this stand-in knows; worded as Prometheus does."""

    def __init__(self, position: int, text: str, message: str) -> None:
        line = text.count("\n", 0, position) + 1
        column = position - (text.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"{line}:{column}: parse error: {message}")


@dataclass(frozen=True)
class Token:
    """`kind` is duration, number, identifier, string, operator or end."""

    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "end of input"
        if self.kind == "operator":
            return f'"{self.text}"'
        return f'{self.kind} "{self.text}"' if self.kind != "string" else f"string {self.text}"


def tokens(text: str) -> list[Token]:
    """Every token, an `end` last. Raises ParseError."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            if text[position] in "\"'`":
                raise ParseError(position, text, "unterminated quoted string")
            raise ParseError(position, text, f"unexpected character: {text[position]!r}")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match.group(), position))
        position = match.end()
    return [*found, Token("end", "", len(text))]


def duration_seconds(text: str) -> float:
    """ "1h30m" is 5400.0. Raises ValueError for anything but a duration."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"not a valid duration string: {text!r}")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))


def string_value(token: str) -> str:
    """What a quoted string says. Raises ValueError for an unknown escape."""
    if token.startswith("`"):
        return token[1:-1]
    try:
        value = ast.literal_eval(token)
    except SyntaxError as error:
        raise ValueError(f"invalid escape in {token}") from error
    return str(value)
