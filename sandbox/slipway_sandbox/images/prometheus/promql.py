"""Parse PromQL with the package promql-parser, and refuse what evaluate.py does not evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import promql_parser
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatrixSelector,
    ParenExpr,
    StringLiteral,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from slipway_sandbox.images.prometheus.storage import Matcher

_OPERATORS: Final = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
# The parser's memory grows by the square of the nesting, and very deep queries crash the process.
_LENGTH_LIMIT: Final = 2000
_DEPTH_LIMIT: Final = 100


class ParseError(Exception):
    """The text is not PromQL, or uses a part this server does not evaluate."""

    def __init__(self, message: str) -> None:
        super().__init__(f"parse error: {message}")


def parse(text: str) -> Expr:
    """Parse a query. Raises ParseError."""
    if len(text) > _LENGTH_LIMIT:
        raise ParseError(f"queries of more than {_LENGTH_LIMIT} characters are not supported by this server")
    try:
        node = promql_parser.parse(text)
    except ValueError as error:
        raise ParseError(str(error)) from error
    _check(node, 0)
    return node


def duration_seconds(text: str) -> float:
    """ "1h30m" is 5400.0. Raises ValueError for anything but a duration."""
    return promql_parser.parse_duration(text).total_seconds()


def matchers_of(node: VectorSelector) -> Sequence[Matcher]:
    """A selector's matchers, with its metric name as one of them."""
    name = [Matcher("__name__", "=", node.name)] if node.name else []
    found = [Matcher(m.name, _OPERATORS[str(m.op)], m.value) for m in node.matchers.matchers]
    return [*name, *found]


def _check(node: Expr, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise ParseError("expression nested too deeply")
    for refusal in _refusals(node):
        raise ParseError(f"{refusal} not supported by this server")
    for below in _below(node):
        _check(below, depth + 1)


def _below(node: Expr) -> list[Expr]:
    match node:
        case ParenExpr() | AggregateExpr():
            return [node.expr]
        case BinaryExpr():
            return [node.lhs, node.rhs]
        case Call():
            return node.args
        case MatrixSelector():
            return [node.vector_selector]
        case _:
            return []


def _refusals(node: Expr) -> Iterator[str]:
    """Unsupported parts of this one node, each with its verb."""
    match node:
        case SubqueryExpr():
            yield "a subquery is"
        case StringLiteral() | UnaryExpr():
            yield f"a {type(node).__name__} is"
        case VectorSelector():
            if node.offset is not None or node.at is not None:
                yield "offset and @ are"
            if node.matchers.or_matchers:
                yield "or between matchers is"
            yield from (f"the regexp {m.value!r} is" for m in matchers_of(node) if not m.is_valid)
        case AggregateExpr() if str(node.op) != "sum":
            yield f"{node.op} is"
        case AggregateExpr() if node.modifier and node.modifier.type == AggModifierType.Without:
            yield "without is"
        case Call() if node.func.name != "vector":
            yield f"the function {node.func.name} is"
        case BinaryExpr() if str(node.op) not in ("+", "*"):
            yield f"the operator {node.op} is"
        case BinaryExpr() if node.modifier and node.modifier.matching is not None:
            yield "on and ignoring are"
