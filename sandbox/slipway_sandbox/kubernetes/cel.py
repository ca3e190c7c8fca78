"""Compile expressions of the Common Expression Language (CEL), as rules of CustomResourceDefinitions use it.

Grammar: github.com/google/cel-spec/blob/master/doc/langdef.md. Functions are in cel_functions.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from slipway_sandbox.kubernetes.cel_functions import (
    FUNCTIONS,
    LATER,
    METHODS,
    CelError,
    compare,
    contained,
    equal,
    plus,
)

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)|(?P<int>0x[0-9a-fA-F]+|\d+)u?
    |(?P<string>[rR]?(?:'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>\|\||&&|==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}]))""",
    re.VERBOSE,
)
_MACROS = ("all", "exists", "exists_one", "map", "filter")
_ESCAPES = {"__dash__": "-", "__dot__": ".", "__slash__": "/", "__underscores__": "__"}
_RESERVED = {"namespace", "in", "as", "break", "const", "else", "for", "function", "if", "import", "let", "loop", "package", "return", "var", "void", "while", "true", "false", "null"}  # fmt: skip
_DEPTH = 50  # nesting; Kubernetes allows 250, but its cost limits allow fewer


class CelSyntaxError(ValueError):
    """Not an expression, or a reference to something undeclared."""


class Unsupported(CelSyntaxError):
    """A valid expression in Kubernetes that this evaluator does not support."""


@lru_cache(maxsize=512)
def parse(text: str, variables: tuple[str, ...] = ("self", "oldSelf")) -> Expression:
    """Compile an expression to a function of its variables, which raises CelError. Raises CelSyntaxError, Unsupported."""
    parser = _Parser(text, variables)
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


def unescaped(name: str) -> str:
    """Unescape a property name: CEL writes `a-b` as `a__dash__b` and `in` as `__in__`."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    for written, meant in _ESCAPES.items():
        name = name.replace(written, meant)
    return name


class _Parser:
    """Recursive descent parser; each method reads one level of precedence and returns a closure."""

    def __init__(self, text: str, variables: tuple[str, ...]) -> None:
        self._tokens, self._at = _tokens(text), 0
        self._known = list(variables)
        self._depth = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise CelSyntaxError(f"Syntax error: extraneous input {self._peek()!r}")

    def _peek(self) -> str:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")
        return text if kind in ("op", "name") else ""

    def _take(self, *wanted: str) -> str:
        """Consume the next token if it is one of these; else return an empty string."""
        found = self._peek()
        if found and found in wanted:
            self._at += 1
            return found
        return ""

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise CelSyntaxError(f"Syntax error: missing {wanted!r} at {self._peek() or '<EOF>'!r}")

    def _descend(self) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            raise CelSyntaxError("expression recursion limit exceeded")

    def ternary(self) -> Expression:
        self._descend()
        test = self._either()
        if self._take("?"):
            yes = self._either()
            self._expect(":")
            no = self.ternary()
            condition = test
            test = lambda s: yes(s) if _bool(condition(s)) else no(s)  # noqa: E731
        self._depth -= 1
        return test

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
        left = self._sum()
        while operator := self._take("==", "!=", "<", "<=", ">", ">=", "in"):
            left = _related(operator, left, self._sum())
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while operator := self._take("+", "-"):
            left = _arithmetic(operator, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._unary()
        while operator := self._take("*", "/", "%"):
            left = _arithmetic(operator, left, self._unary())
        return left

    def _unary(self) -> Expression:
        if self._take("!"):
            self._descend()
            inner = self._unary()
            self._depth -= 1
            return lambda s: not _bool(inner(s))
        if self._take("-"):
            self._descend()
            number = self._unary()
            self._depth -= 1
            return lambda s: -_number(number(s))
        return self._member()

    def _member(self) -> Expression:
        value = self._primary()
        while True:
            if self._take("."):
                value = self._selected(value)
            elif self._take("["):
                index = self.ternary()
                self._expect("]")
                value = _indexed(value, index)
            else:
                return value

    def _name(self) -> str:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<EOF>")
        if kind != "name":
            raise CelSyntaxError(f"Syntax error: no viable alternative at input {text!r}")
        self._at += 1
        return text

    def _selected(self, value: Expression) -> Expression:
        name = self._name()
        if not self._take("("):
            return _field(value, unescaped(name))
        if name in _MACROS:
            return self._macro(name, value)
        arguments = self._arguments(")")
        method = METHODS.get(name)
        if method is None:
            raise _undeclared(name)
        return lambda s: method(value(s), *(argument(s) for argument in arguments))

    def _arguments(self, closing: str) -> list[Expression]:
        arguments: list[Expression] = []
        while not self._take(closing):
            arguments.append(self.ternary())
            if not self._take(","):
                self._expect(closing)
                break
        return arguments

    def _macro(self, name: str, value: Expression) -> Expression:
        variable = self._name()
        self._expect(",")
        self._known.append(variable)
        bodies = self._arguments(")")
        self._known.pop()
        return _comprehension(name, value, variable, bodies)

    def _primary(self) -> Expression:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<EOF>")
        self._at += 1
        if kind in ("int", "float", "string"):
            constant = int(text, 0) if kind == "int" else float(text) if kind == "float" else _string(text)
            return lambda _: constant
        if kind == "name":
            return self._named(text)
        if text == "(":
            inner = self.ternary()
            self._expect(")")
            return inner
        if text == "[":
            items = self._arguments("]")
            return lambda s: [item(s) for item in items]
        if text == "{":
            return self._map()
        raise CelSyntaxError(f"Syntax error: mismatched input {text!r}")

    def _map(self) -> Expression:
        pairs: list[tuple[Expression, Expression]] = []
        while not self._take("}"):
            key = self.ternary()
            self._expect(":")
            pairs.append((key, self.ternary()))
            if not self._take(","):
                self._expect("}")
                break
        return lambda s: {key(s): value(s) for key, value in pairs}

    def _named(self, name: str) -> Expression:
        if name in ("true", "false", "null"):
            constant = {"true": True, "false": False, "null": None}[name]
            return lambda _: constant
        if self._take("("):
            if name == "has":
                return self._has()
            arguments = self._arguments(")")
            function = FUNCTIONS.get(name)
            if function is None:
                raise _undeclared(name)
            return lambda s: function(*(argument(s) for argument in arguments))
        if name in self._known:
            return lambda s: s[name]
        raise _undeclared(name)

    def _has(self) -> Expression:
        """has(a.b.c): whether the last field exists; the fields before it must."""
        value = self._primary()
        last: str | None = None
        while not self._take(")"):
            if last is not None:
                value, last = _field(value, last), None
            if self._take("["):
                index = self.ternary()
                self._expect("]")
                value = _indexed(value, index)
            else:
                self._expect(".")
                last = unescaped(self._name())
        if last is None:
            raise CelSyntaxError("invalid argument to has() macro")
        field, owner = last, value
        return lambda s: field in _mapping(owner(s))


def _undeclared(name: str) -> CelSyntaxError:
    if name in LATER:
        return Unsupported(f"{name} is not evaluated here")
    return CelSyntaxError(f"undeclared reference to '{name}' (in container '')")


def _string(text: str) -> str:
    raw = text[0] in "rR"
    try:
        return str(ast.literal_eval(text if raw else text.replace("\n", "\\n")))
    except (SyntaxError, ValueError) as error:
        raise CelSyntaxError(f"Syntax error: {error}") from None


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError("no such overload")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CelError("no such overload")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CelError("no such overload")
    return value


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
    if operator == "in":
        return lambda s: contained(left(s), right(s))
    if operator in ("==", "!="):
        same = operator == "=="
        return lambda s: equal(left(s), right(s)) is same
    holds: dict[str, Callable[[int], bool]] = {
        "<": lambda c: c < 0,
        "<=": lambda c: c <= 0,
        ">": lambda c: c > 0,
        ">=": lambda c: c >= 0,
    }
    check = holds[operator]
    return lambda s: check(compare(left(s), right(s)))


def _arithmetic(operator: str, left: Expression, right: Expression) -> Expression:
    if operator == "+":
        return lambda s: plus(left(s), right(s))

    def compute(scope: Scope) -> Any:
        a, b = _number(left(scope)), _number(right(scope))
        if operator == "-":
            return a - b
        if operator == "*":
            return a * b
        if b == 0 and isinstance(a, int):
            raise CelError("division by zero" if operator == "/" else "modulus by zero")
        if isinstance(a, float):
            return a / b
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero, as in Go
        return quotient if operator == "/" else a - b * quotient

    return compute


def _field(value: Expression, name: str) -> Expression:
    def read(scope: Scope) -> Any:
        found = _mapping(value(scope))
        if name not in found:
            raise CelError(f"no such key: {name}")
        return found[name]

    return read


def _indexed(value: Expression, index: Expression) -> Expression:
    def read(scope: Scope) -> Any:
        found, at = value(scope), index(scope)
        if isinstance(found, dict):
            if at not in found:
                raise CelError(f"no such key: {at}")
            return found[at]
        if not isinstance(found, list) or isinstance(at, bool) or not isinstance(at, int):
            raise CelError("no such overload")
        if not 0 <= at < len(found):
            raise CelError(f"index out of bounds: {at}")
        return found[at]

    return read


def _comprehension(name: str, value: Expression, variable: str, bodies: list[Expression]) -> Expression:
    def items(scope: Scope) -> list[dict[str, Any]]:
        found = value(scope)
        if not isinstance(found, (list, dict)):
            raise CelError("no such overload")
        return [{**scope, variable: item} for item in found]

    if len(bodies) != (2 if name == "map" and len(bodies) == 2 else 1):
        raise CelSyntaxError(f"invalid arguments to {name}()")
    body = bodies[-1]
    if name == "all":
        return lambda s: _any(body, items(s), wanted=False) is False
    if name == "exists":
        return lambda s: _any(body, items(s), wanted=True)
    if name == "exists_one":
        return lambda s: sum(_bool(body(each)) for each in items(s)) == 1
    if name == "filter":
        return lambda s: [each[variable] for each in items(s) if _bool(body(each))]
    test = bodies[0] if len(bodies) == 2 else None
    return lambda s: [body(each) for each in items(s) if test is None or _bool(test(each))]


def _any(body: Expression, scopes: list[dict[str, Any]], *, wanted: bool) -> bool:
    """Whether the body is `wanted` for any item; an error is raised only if it is for none."""
    failure: CelError | None = None
    for scope in scopes:
        try:
            if _bool(body(scope)) is wanted:
                return True
        except CelError as error:
            failure = error
    if failure is not None:
        raise failure
    return False
