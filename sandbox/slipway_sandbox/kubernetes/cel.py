"""Compile expressions of the Common Expression Language (CEL), the part that the definitions of the sandbox's charts use.

Grammar: github.com/google/cel-spec/blob/master/doc/langdef.md. Supported: `?:`, `||`, `&&`, `!`, comparisons, fields, strings,
integers, `has()`, `size()` and `all()`; everything else is refused with the definition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<int>\d+)|(?P<string>'[^'\\]*'|\"[^\"\\]*\")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<op>\|\||&&|==|!=|<=|>=|[!<>?:.,()]))"
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_ORDERS: Mapping[str, Callable[[int], bool]] = {
    "<": lambda c: c < 0,
    "<=": lambda c: c <= 0,
    ">": lambda c: c > 0,
    ">=": lambda c: c >= 0,
}


class CelSyntaxError(ValueError):
    """Not an expression, or one with a part that this compiler does not support."""


class CelError(Exception):
    """Evaluating the expression failed."""


@lru_cache(maxsize=512)
def parse(text: str) -> Expression:
    """Compile an expression to a function of `self` and `oldSelf`, which raises CelError. Raises CelSyntaxError."""
    parser = _Parser(text)
    expression = parser.ternary()
    parser.end()
    return expression


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None:
            raise CelSyntaxError(f"Syntax error: token recognition error at: {stripped[at : at + 10]!r}")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _unescaped(name: str) -> str:
    """Unescape a property name: CEL writes a reserved word as `__namespace__`."""
    return name[2:-2] if name.startswith("__") and name.endswith("__") else name


class _Parser:
    """Recursive descent parser; each method reads one level of precedence and returns a closure."""

    def __init__(self, text: str) -> None:
        self._tokens, self._at = _tokens(text), 0
        self._known = ["self", "oldSelf"]

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise CelSyntaxError(f"Syntax error: extraneous input {self._next()[1]!r}")

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<EOF>")

    def _take(self, *wanted: str) -> str:
        """Consume the next operator if it is one of these; else return an empty string."""
        kind, text = self._next()
        if kind != "op" or text not in wanted:
            return ""
        self._at += 1
        return text

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise CelSyntaxError(f"Syntax error: missing {wanted!r} at {self._next()[1]!r}")

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise CelSyntaxError(f"Syntax error: no viable alternative at input {text!r}")
        self._at += 1
        return text

    def ternary(self) -> Expression:
        test = self._either()
        if not self._take("?"):
            return test
        yes = self._either()
        self._expect(":")
        no = self.ternary()
        return lambda s: yes(s) if _bool(test(s)) else no(s)

    def _either(self) -> Expression:
        left = self._both()
        while self._take("||"):
            left = _decided(left, self._both(), by=True)
        return left

    def _both(self) -> Expression:
        left = self._relation()
        while self._take("&&"):
            left = _decided(left, self._relation(), by=False)
        return left

    def _relation(self) -> Expression:
        left = self._unary()
        while operator := self._take("==", "!=", *_ORDERS):
            left = _related(operator, left, self._unary())
        return left

    def _unary(self) -> Expression:
        if self._take("!"):
            inner = self._unary()
            return lambda s: not _bool(inner(s))
        value = self._primary()
        while self._take("."):
            value = self._selected(value)
        return value

    def _selected(self, value: Expression) -> Expression:
        name = self._name()
        if not self._take("("):
            return _field(value, _unescaped(name))
        if name == "all":
            return self._all(value)
        if name != "size":
            raise _undeclared(name)
        self._expect(")")
        return lambda s: _size(value(s))

    def _all(self, value: Expression) -> Expression:
        variable = self._name()
        self._expect(",")
        self._known.append(variable)
        body = self.ternary()
        self._known.pop()
        self._expect(")")
        return lambda s: _holds_for_all(body, [{**s, variable: item} for item in _items(value(s))])

    def _primary(self) -> Expression:
        kind, text = self._next()
        self._at += 1
        if kind in ("int", "string"):
            constant: int | str = int(text) if kind == "int" else text[1:-1]
            return lambda _: constant
        if kind == "name":
            return self._named(text)
        if text != "(":
            raise CelSyntaxError(f"Syntax error: mismatched input {text!r}")
        inner = self.ternary()
        self._expect(")")
        return inner

    def _named(self, name: str) -> Expression:
        if name in _CONSTANTS:
            return lambda _: _CONSTANTS[name]
        if name in ("has", "size") and self._take("("):
            value = self._has() if name == "has" else self.ternary()
            self._expect(")")
            return value if name == "has" else lambda s: _size(value(s))
        if name not in self._known:
            raise _undeclared(name)
        return lambda s: s[name]

    def _has(self) -> Expression:
        """has(a.b.c): whether the last field exists; the fields before it must."""
        owner = self._named(self._name())
        self._expect(".")
        last = _unescaped(self._name())
        while self._take("."):
            owner, last = _field(owner, last), _unescaped(self._name())
        return lambda s: last in _mapping(owner(s))


def _undeclared(name: str) -> CelSyntaxError:
    return CelSyntaxError(f"undeclared reference to '{name}' (in container '')")


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("no such overload")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CelError("no such overload")
    return value


def _items(value: Any) -> list[Any]:
    if not isinstance(value, (list, dict)):
        raise CelError("no such overload")
    return list(value)


def _size(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise CelError("no such overload")
    return len(value)


def _decided(left: Expression, right: Expression, *, by: bool) -> Expression:
    """`||` (by True) and `&&` (by False): a side that decides hides an error on the other."""

    def decide(scope: Scope) -> bool:
        try:
            if _bool(left(scope)) is by:
                return by
        except CelError:
            if _bool(right(scope)) is by:
                return by
            raise
        return _bool(right(scope))

    return decide


def _related(operator: str, left: Expression, right: Expression) -> Expression:
    if operator in ("==", "!="):
        same = operator == "=="
        return lambda s: (left(s) == right(s)) is same

    def compare(scope: Scope) -> bool:
        a, b = left(scope), right(scope)
        if type(a) is not type(b) or not isinstance(a, (int, float, str)):
            raise CelError("no such overload")
        return _ORDERS[operator](int(a > b) - int(a < b))

    return compare


def _field(value: Expression, name: str) -> Expression:
    def read(scope: Scope) -> Any:
        found = _mapping(value(scope))
        if name not in found:
            raise CelError(f"no such key: {name}")
        return found[name]

    return read


def _holds_for_all(body: Expression, scopes: list[dict[str, Any]]) -> bool:
    """Whether the body is true for every item; an error is raised only if it is false for none."""
    failure: CelError | None = None
    for scope in scopes:
        try:
            if not _bool(body(scope)):
                return False
        except CelError as error:
            failure = error
    if failure is not None:
        raise failure
    return True
