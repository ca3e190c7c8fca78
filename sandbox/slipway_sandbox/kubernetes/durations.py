"""Ages as kubectl writes them."""

from __future__ import annotations

import datetime as dt


def age_of(then: str, now: dt.datetime) -> str:
    """Time since `then` in the largest unit of which two have passed: 45s, 12m, 3h, 2d."""
    if not then:
        return "<unknown>"
    seconds = max(int((now - dt.datetime.fromisoformat(then.replace("Z", "+00:00"))).total_seconds()), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
