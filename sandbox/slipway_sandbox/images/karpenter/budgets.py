"""How many of a NodePool's nodes may be disrupted at once (pkg/apis/v1/nodepool.go). Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from slipway_sandbox.controllers.objects import Object, scaled_value
from slipway_sandbox.images.karpenter.resources import seconds_of

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_LONGEST = 60 * 24 * 32  # minutes looked back for a schedule's last hit


def allowed(budgets: Iterable[Object] | None, reason: str, nodes: int, now: datetime) -> int:
    """The most restrictive budget that is active and applies to `reason`; percentages of `nodes` are rounded up."""
    rules = [{"nodes": "10%"}] if budgets is None else list(budgets)
    found = [
        _nodes(rule, nodes)
        for rule in rules
        if (not rule.get("reasons") or reason in rule["reasons"]) and is_active(rule, now)
    ]
    return min(found, default=nodes)


def _nodes(rule: Object, nodes: int) -> int:
    value = str(rule["nodes"])
    return scaled_value(value if value.endswith("%") else int(value), nodes, round_up=True, default=0)


def is_active(rule: Object, now: datetime) -> bool:
    """A budget without schedule always is; another one for `duration` after each hit, in UTC."""
    if not rule.get("schedule"):
        return True
    minutes = int((seconds_of(rule["duration"]) or 0) // 60)
    minute = now.replace(second=0, microsecond=0)
    looked = range(min(minutes, _LONGEST))
    return any(_hits(rule["schedule"], minute - timedelta(minutes=back)) for back in looked)


def _hits(schedule: str, moment: datetime) -> bool:
    fields = _NAMED.get(schedule, schedule).split()
    values = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    matched = [
        _matches(field, value, bounds) for field, value, bounds in zip(fields, values, _RANGES, strict=True)
    ]
    day, weekday = matched[2], matched[4] or (values[4] == 0 and _matches(fields[4], 7, _RANGES[4]))
    # As cron: where both days are restricted, one of them is enough.
    restricted = not fields[2].startswith("*") and not fields[4].startswith("*")
    days = (day or weekday) if restricted else (day and weekday)
    return matched[0] and matched[1] and matched[3] and days


_NAMES = {
    name: number
    for names, first in (
        ("jan feb mar apr may jun jul aug sep oct nov dec", 1),
        ("sun mon tue wed thu fri sat", 0),
    )
    for number, name in enumerate(names.split(), start=first)
}


def _number(text: str) -> int:
    return _NAMES[text.lower()] if text.lower() in _NAMES else int(text)


def _matches(field: str, value: int, bounds: tuple[int, int]) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            low, high = bounds
        elif "-" in span:
            low, high = (_number(end) for end in span.split("-"))
        else:
            low = _number(span)
            high = bounds[1] if step else low
        if low <= value <= high and (value - low) % int(step or 1) == 0:
            return True
    return False
