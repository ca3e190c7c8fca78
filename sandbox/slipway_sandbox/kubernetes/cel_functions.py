"""CEL's operators and functions on JSON values, with Kubernetes' list, regex, quantity and string libraries.

kubernetes.io/docs/reference/using-api/cel. Functions in LATER are Kubernetes' and not supported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

from slipway_sandbox.kubernetes import quantities

LATER = frozenset(
    [
        "authorizer",
        "url",
        "isURL",
        "getScheme",
        "getHost",
        "getHostname",
        "getPort",
        "getEscapedPath",
        "getQuery",
        "ip",
        "isIP",
        "cidr",
        "isCIDR",
        "family",
        "isUnspecified",
        "isLoopback",
        "containsIP",
        "containsCIDR",
        "prefixLength",
        "masked",
        "format",
        "named",
        "validate",
        "duration",
        "timestamp",
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfWeek",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getDuration",
        "semver",
        "isSemver",
        "optional",
        "hasValue",
        "value",
        "orValue",
        "dyn",
        "bytes",
        "base64",
    ]
)


class CelError(Exception):
    """Evaluating the expression failed."""


def _no_overload(*_: object) -> CelError:
    return CelError("no such overload")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers compare across types, other values of different types are unequal."""
    if _is_number(a) and _is_number(b):
        return bool(a == b)
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return bool(a == b)


def compare(a: Any, b: Any) -> int:
    """Compare to -1, 0 or 1. Raises CelError for values without an order."""
    alike = (_is_number(a) and _is_number(b)) or (type(a) is type(b) and isinstance(a, (str, bool, Decimal)))
    if not alike:
        raise _no_overload()
    return int(a > b) - int(a < b)


def contained(item: Any, where: Any) -> bool:
    if not isinstance(where, (list, dict)):
        raise _no_overload()
    return any(equal(item, each) for each in where)


def plus(a: Any, b: Any) -> Any:
    if (_is_number(a) and _is_number(b)) or (type(a) is type(b) and isinstance(a, (str, list))):
        return a + b
    raise _no_overload()


def _size(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise _no_overload()
    return len(value)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise CelError("type conversion error") from None


def _double(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CelError("type conversion error") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise CelError("type conversion error")
    return str(value)


def _type(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "double", str: "string", list: "list", dict: "map"}
    return names.get(type(value), "null_type")


def _quantity(text: Any) -> Decimal:
    try:
        return Decimal(quantities.parse(text))
    except (ValueError, ArithmeticError, TypeError):
        raise CelError("quantities must match the regular expression") from None


def _is_quantity(text: Any) -> bool:
    try:
        _quantity(text)
    except CelError:
        return False
    return True


def _on(kind: type, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method of one type; arguments that Python refuses are "no such overload"."""

    def call(value: Any, *arguments: Any) -> Any:
        if not isinstance(value, kind):
            raise _no_overload()
        try:
            return function(value, *arguments)
        except (TypeError, AttributeError):
            raise _no_overload() from None
        except (ValueError, IndexError) as error:
            raise CelError(str(error)) from None
        except re.error as error:
            raise CelError(f"error parsing regexp: {error}") from None

    return call


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise IndexError(f"index out of range: {start}")
    return text[start:stop]


def _index_of(value: str | list[Any], item: Any, start: int = 0) -> int:
    if isinstance(value, str):
        return value.find(item, start)
    return next((i for i, each in enumerate(value) if equal(each, item)), -1)


def _last_index_of(value: str | list[Any], item: Any) -> int:
    if isinstance(value, str):
        return value.rfind(item)
    return next((i for i in reversed(range(len(value))) if equal(value[i], item)), -1)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    return list(text) if separator == "" else text.split(separator, limit - 1 if limit > 0 else -1)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(a, b) <= 0 for a, b in pairwise(items))


def _extreme(items: list[Any], *, sign: int) -> Any:
    if not items:
        raise CelError("min/max called on empty list")
    best = items[0]
    for item in items[1:]:
        if compare(item, best) * sign > 0:
            best = item
    return best


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "int": _int,
    "uint": _int,
    "double": _double,
    "string": _text,
    "type": _type,
    "matches": _on(str, lambda text, pattern: re.search(pattern, text) is not None),
    "quantity": _quantity,
    "isQuantity": _is_quantity,
}

_EITHER: Any = (str, list)
METHODS: dict[str, Callable[..., Any]] = {
    "size": _size,
    "startsWith": _on(str, lambda text, start: text.startswith(start)),
    "endsWith": _on(str, lambda text, end: text.endswith(end)),
    "contains": _on(str, lambda text, part: part in text),
    "matches": _on(str, lambda text, pattern: re.search(pattern, text) is not None),
    "lowerAscii": _on(str, lambda text: text.lower()),
    "upperAscii": _on(str, lambda text: text.upper()),
    "trim": _on(str, lambda text: text.strip()),
    "replace": _on(str, _replace),
    "split": _on(str, _split),
    "substring": _on(str, _substring),
    "charAt": _on(str, lambda text, at: _substring(text, at, min(at + 1, len(text)))),
    "find": _on(str, _find),
    "findAll": _on(str, _find_all),
    "indexOf": _on(_EITHER, _index_of),
    "lastIndexOf": _on(_EITHER, _last_index_of),
    "join": _on(list, lambda items, separator="": separator.join(items)),
    "isSorted": _on(list, _is_sorted),
    "sum": _on(list, lambda items: sum(items)),
    "min": _on(list, lambda items: _extreme(items, sign=-1)),
    "max": _on(list, lambda items: _extreme(items, sign=1)),
    "isGreaterThan": _on(Decimal, lambda a, b: compare(a, b) > 0),
    "isLessThan": _on(Decimal, lambda a, b: compare(a, b) < 0),
    "compareTo": _on(Decimal, compare),
    "sign": _on(Decimal, lambda a: compare(a, Decimal(0))),
    "isInteger": _on(Decimal, lambda a: a == a.to_integral_value()),
    "asInteger": _on(Decimal, int),
    "asApproximateFloat": _on(Decimal, float),
}
