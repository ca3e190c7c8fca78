"""What is wrong with a LabelSelector. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation."""

from __future__ import annotations

from slipway_sandbox.kubernetes import names
from slipway_sandbox.kubernetes.errors import Cause
from slipway_sandbox.kubernetes.store import Object


def label_selector(selector: Object, path: str) -> list[Cause]:
    """`path` is the selector's field."""
    causes = names.labels(f"{path}.matchLabels", selector.get("matchLabels") or {})
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        where, operator = f"{path}.matchExpressions[{index}]", expression["operator"]
        if operator in ("In", "NotIn"):
            if not expression.get("values"):
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                causes.append(names.required(f"{where}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if expression.get("values"):
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                causes.append(names.forbidden(f"{where}.values", why))
        else:
            causes.append(names.bad(f"{where}.operator", operator, "not a valid selector operator"))
        causes += names.qualified_name(f"{where}.key", expression["key"])
    return causes
