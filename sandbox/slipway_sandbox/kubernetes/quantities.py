"""Resource quantities: `1024Mi` is stored as `1Gi`, `0.5` as `500m`, as kube-apiserver's round trip through Quantity does.

Format: k8s.io/apimachinery/pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+|)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str) -> Decimal:
    """The amount in base units (bytes, cores). Raises ValueError for what is no quantity."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = Decimal(form[1]), form[2]
    if suffix in _BINARY:
        return number * Decimal(1 << _BINARY[suffix])
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:]))


def canonical(text: str) -> str:
    """The one form of an amount: a whole number with the largest suffix that loses nothing. Raises ValueError."""
    amount = parse(text.strip())
    suffix = _FORM.fullmatch(text.strip())[2]  # type: ignore[index]
    if amount == 0:
        return "0"
    if suffix in _BINARY and abs(amount) >= 1024:
        return _largest(amount, {s: Decimal(2) ** power for s, power in _BINARY.items()})
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return text.strip()
    nano = (amount.scaleb(9)).to_integral_value(ROUND_CEILING).scaleb(-9)
    return _largest(nano, {s: Decimal(1).scaleb(power) for s, power in _DECIMAL.items()})


def _largest(amount: Decimal, units: dict[str, Decimal]) -> str:
    for suffix, unit in sorted(units.items(), key=lambda item: -item[1]):
        if amount % unit == 0:
            return f"{int(amount / unit)}{suffix}"
    return str(int(amount.to_integral_value(ROUND_CEILING)))
