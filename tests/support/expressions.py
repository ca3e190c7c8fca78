"""Evaluate the expressions of GitHub's workflow files that those in ci/ use; any other is refused.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[\w-]+(?:\.[\w-]+)*)|(?P<sign>&&|\|\||==|!=|[!()]))"
)
TEMPLATE = re.compile(r"\$\{\{((?:(?!\}\}).)*)\}\}", re.DOTALL)
# what makes a condition hold after a failure, too
STATUS = ("cancelled(", "always(", "failure(")


class UnknownExpression(Exception):
    """What this evaluator does not know."""


def filled(value: Any, known: Mapping[str, Any]) -> Any:
    """A value of a workflow file with its `${{ … }}` evaluated; one that is nothing else keeps its type."""
    if not isinstance(value, str):
        return value
    if whole := TEMPLATE.fullmatch(value.strip()):
        return evaluated(whole[1], known)
    return TEMPLATE.sub(lambda found: _as_text(evaluated(found[1], known)), value)


def holds(condition: str, known: Mapping[str, Any]) -> bool:
    """An `if:`, which may leave the braces out."""
    whole = TEMPLATE.fullmatch(condition.strip())
    return bool(evaluated(whole[1] if whole else condition, known))


def evaluated(text: str, known: Mapping[str, Any]) -> Any:
    """The value of an expression. `known`: contexts by name. Raises UnknownExpression."""
    return _Evaluation(text, known).whole()


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Evaluation:
    def __init__(self, text: str, known: Mapping[str, Any]) -> None:
        self.text, self.known = text, known
        self.tokens: list[tuple[str, str]] = []
        rest = text.strip()
        while rest:
            found = TOKEN.match(rest)
            if not found or not found.lastgroup:
                raise UnknownExpression(f"{rest!r} of {text!r}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            rest = rest[found.end() :].strip()

    def whole(self) -> Any:
        value = self._either()
        if self.tokens:
            raise UnknownExpression(f"{self.tokens[0][1]!r} of {self.text!r}")
        return value

    def _next(self, *signs: str) -> str:
        """Take the next token where it is one of these signs."""
        if self.tokens and self.tokens[0][0] == "sign" and self.tokens[0][1] in signs:
            return self.tokens.pop(0)[1]
        return ""

    def _either(self) -> Any:
        value = self._both()
        while self._next("||"):
            other = self._both()
            value = value or other
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._next("&&"):
            other = self._compared()
            value = value and other
        return value

    def _compared(self) -> Any:
        value = self._one()
        if sign := self._next("==", "!="):
            return (value == self._one()) is (sign == "==")
        return value

    def _one(self) -> Any:
        if self._next("!"):
            return not self._one()
        if self._next("("):
            value = self._either()
            self._close()
            return value
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind != "name":
            raise UnknownExpression(f"{text!r} of {self.text!r}")
        return self._called(text) if self._next("(") else self._looked_up(text)

    def _called(self, name: str) -> Any:
        if name == "cancelled":
            self._close()
            return False
        if name == "fromJSON":
            value = json.loads(self._either())
            self._close()
            return value
        raise UnknownExpression(f"{name}() of {self.text!r}")

    def _close(self) -> None:
        if not self._next(")"):
            raise UnknownExpression(f"no ) in {self.text!r}")

    def _looked_up(self, path: str) -> Any:
        value: Any = self.known
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UnknownExpression(f"{path} of {self.text!r}")
            value = value[name]
        return value
