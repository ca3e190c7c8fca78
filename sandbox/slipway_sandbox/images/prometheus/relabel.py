"""Relabelling rules of PodMonitor and ServiceMonitor (monitoring.coreos.com/v1, RelabelConfig)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_KNOWN = ("replace", "keep", "drop", "labelmap", "labeldrop", "labelkeep")


class UnknownAction(ValueError):
    """A relabelling action this stand-in does not support."""


def relabel(labels: Mapping[str, str], rules: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Apply the rules to `labels`; None when a rule drops them. Raises UnknownAction."""
    result = dict(labels)
    for rule in rules:
        action = str(rule.get("action", "replace")).lower()
        if action not in _KNOWN:
            raise UnknownAction(f"relabelling action {action!r} is not known here")
        pattern = re.compile(str(rule.get("regex", "(.*)")), re.DOTALL)
        joined = rule.get("separator", ";").join(
            result.get(name, "") for name in rule.get("sourceLabels", [])
        )
        match = pattern.fullmatch(joined)
        replacement = _python_template(str(rule.get("replacement", "$1")))
        if (action == "keep" and match is None) or (action == "drop" and match is not None):
            return None
        if action == "replace" and match is not None:
            value = match.expand(replacement)
            if value:
                result[rule["targetLabel"]] = value
            else:
                result.pop(rule["targetLabel"], None)
        elif action == "labelmap":
            result |= {
                found.expand(replacement): value
                for name, value in list(result.items())
                if (found := pattern.fullmatch(name))
            }
        elif action in ("labeldrop", "labelkeep"):
            keep = action == "labelkeep"
            result = {n: v for n, v in result.items() if (pattern.fullmatch(n) is not None) == keep}
    return result


def _python_template(replacement: str) -> str:
    """Convert $1 and ${1} to Python's template syntax."""
    escaped = replacement.replace("\\", "\\\\")
    return re.sub(r"\$(?:\{(\w+)\}|(\d+))", lambda m: rf"\g<{m[1] or m[2]}>", escaped)
