"""Validation of label selectors. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation."""

from __future__ import annotations

from collections.abc import Mapping

from slipway_sandbox.kubernetes import names
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object

# Operators, and whether they take values.
_OPERATORS = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}


def label_selector(selector: Object, path: str) -> list[Cause]:
    """`path` is the selector's field."""
    causes = names.labels(f"{path}.matchLabels", selector.get("matchLabels") or {})
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        causes += requirement(expression, f"{path}.matchExpressions[{index}]")
    return causes


def requirement(expression: Object, path: str, operators: Mapping[str, bool] = _OPERATORS) -> list[Cause]:
    """One of a selector's matchExpressions."""
    operator, values = expression["operator"], expression.get("values") or []
    causes = names.qualified_name(f"{path}.key", expression["key"])
    if operator not in operators:
        causes.append(names.bad(f"{path}.operator", operator, "not a valid selector operator"))
    elif operators[operator] and not values:
        causes.append(names.required(f"{path}.values", f"must be specified when `operator` is '{operator}'"))
    elif values and not operators[operator]:
        why = f"may not be specified when `operator` is '{operator}'"
        causes.append(names.forbidden(f"{path}.values", why))
    return causes
