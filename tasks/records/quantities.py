"""Parse Kubernetes quantities ("16Gi", "500m") and durations ("90s", "20m"); write numbers for people.

Quantity format: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, PlainSerializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_SUFFIXES = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_SECONDS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}


def parse_quantity(text: str | int | float) -> float:
    """ "16Gi" -> 17179869184.0, "500m" -> 0.5. Raises ValueError on anything else."""
    match = _QUANTITY.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a Kubernetes quantity such as 500m, 4 or 16Gi")
    return float(match[1]) * _SUFFIXES[match[2] or ""]


def parse_duration(text: str | int | float) -> float:
    """ "90s" -> 90.0, "20m" -> 1200.0; a bare number is seconds. Raises ValueError on anything else."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    match = _DURATION.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 90s, 20m, 1h or 30d")
    return float(Fraction(match[1]) * _SECONDS[match[2]])


def parse_latency(text: Any) -> float:
    """ "500ms" -> 0.5. Raises ValueError on a number without a unit: 500 may mean milliseconds or seconds."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"a latency needs a unit: {text}ms or {text}s")  # noqa: TRY004  pydantic reports ValueErrors
    return parse_duration(text)


def write_duration(seconds: float) -> str:
    """0.5 -> "500ms", 2.0 -> "2s": what `parse_duration` reads back as the same number."""
    exact = Decimal(repr(seconds))
    number, unit = (exact * 1000, "ms") if seconds < 1 else (exact, "s")
    return f"{number.normalize():f}{unit}"


def _checked_quantity(text: str) -> str:
    parse_quantity(text)
    return text


@dataclass(frozen=True)
class Written:
    """The JSON Schema of a value as files write it, where its record keeps it in another type."""

    pattern: str
    number: bool = True

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        text = {"type": "string", "pattern": self.pattern}
        if not self.number:
            return text
        bounds = {"minimum": 0, **handler(schema), "type": "number"}
        return {"anyOf": [bounds, text]}


Quantity = Annotated[
    str,
    BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v),
    AfterValidator(_checked_quantity),
    Written(_QUANTITY.pattern),
]
"""A Kubernetes quantity, kept as it was written."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0, allow_inf_nan=False),
    Written(_DURATION.pattern),
]
"""A duration in seconds, written as "90s" or "20m" in files."""

Latency = Annotated[
    float,
    BeforeValidator(parse_latency),
    Field(gt=0, allow_inf_nan=False),
    PlainSerializer(write_duration, return_type=str),
    Written(_DURATION.pattern, number=False),
]
"""A latency in seconds, written as "500ms" or "2s" in files and in JSON."""


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """0.42 -> "420 ms", 75 -> "1 min 15 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
