"""The tree a query becomes, and the type of each node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["scalar", "instant vector", "range vector", "string"]
SCALAR: Type = "scalar"
VECTOR: Type = "instant vector"
RANGE: Type = "range vector"
STRING: Type = "string"


@dataclass(frozen=True)
class Matcher:
    """`label op value`; op is = != =~ or !~. A regular expression matches the whole value."""

    label: str
    op: str
    value: str
    pattern: re.Pattern[str] | None = field(default=None, compare=False)

    def accepts(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label, "")
        if self.pattern is not None:
            return (self.pattern.fullmatch(value) is not None) == (self.op == "=~")
        return (value == self.value) == (self.op == "=")


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Selector:
    """An instant vector selector, or a range vector selector when `seconds` is set."""

    matchers: tuple[Matcher, ...]
    seconds: float | None = None


@dataclass(frozen=True)
class Call:
    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Aggregate:
    op: str
    expr: Node
    labels: tuple[str, ...]
    without: bool


@dataclass(frozen=True)
class Binary:
    """`matching`: None compares all labels; otherwise (on, labels), ignoring when `on` is false."""

    op: str
    left: Node
    right: Node
    as_bool: bool
    matching: tuple[bool, tuple[str, ...]] | None


@dataclass(frozen=True)
class Negate:
    expr: Node


Node = Number | Text | Selector | Call | Aggregate | Binary | Negate

COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})
AGGREGATIONS = frozenset({"sum", "avg", "max", "min", "count"})

_OVER_TIME = ("avg", "min", "max", "sum", "count", "last", "present")
# name -> (types of its arguments, how many of the last may be left out, what it returns)
SIGNATURES: dict[str, tuple[tuple[Type, ...], int, Type]] = {
    **dict.fromkeys(("rate", "increase", "irate", "delta", "changes", "resets"), ((RANGE,), 0, VECTOR)),
    **{f"{name}_over_time": ((RANGE,), 0, VECTOR) for name in _OVER_TIME},
    **dict.fromkeys(("absent", "abs", "ceil", "floor", "timestamp"), ((VECTOR,), 0, VECTOR)),
    "absent_over_time": ((RANGE,), 0, VECTOR),
    "quantile_over_time": ((SCALAR, RANGE), 0, VECTOR),
    "histogram_quantile": ((SCALAR, VECTOR), 0, VECTOR),
    "clamp_min": ((VECTOR, SCALAR), 0, VECTOR),
    "clamp_max": ((VECTOR, SCALAR), 0, VECTOR),
    "round": ((VECTOR, SCALAR), 1, VECTOR),
    "scalar": ((VECTOR,), 0, SCALAR),
    "vector": ((SCALAR,), 0, VECTOR),
    "time": ((), 0, SCALAR),
}


def type_of(node: Node) -> Type:
    match node:
        case Number():
            return SCALAR
        case Text():
            return STRING
        case Selector(seconds=seconds):
            return VECTOR if seconds is None else RANGE
        case Call(function=function):
            return SIGNATURES[function][2]
        case Aggregate():
            return VECTOR
        case Negate(expr=expr):
            return type_of(expr)
        case Binary(left=left, right=right):
            return SCALAR if type_of(left) == type_of(right) == SCALAR else VECTOR
