"""Go durations, as Terraform's timeouts blocks and Helm's --timeout write them."""

from __future__ import annotations

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """A Go duration in seconds: "40m" is 2400, "1h30m" is 5400. Raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is no duration such as 40m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
