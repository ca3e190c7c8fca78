"""`slipway status` as a table: for a terminal, a pipe and a run's page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tasks.records.costs import Costs
from tasks.records.results import Served
from tasks.records.status import EnvironmentStatus, ModelStatus

HEAD = ("model", "release", "ready", "nodes", "proven", "last drill", "req/min", "USD/h", "USD/M out *")
UNKNOWN = "unknown"
NOTE = "* per million output tokens at the proven rate, by list prices of the GPUs alone"


def cells(one: ModelStatus) -> tuple[str, ...]:
    """One row under HEAD; a cell that could not be read says so, and `reasons` why."""
    served = one.served
    release = (
        f"{served.release} < {served.rolling}" if served and served.rolling else served and served.release
    )
    wanted = "?" if one.replicas_wanted is None else str(one.replicas_wanted)
    told = {
        "release": release or "none",
        "replicas_ready": f"{served.replicas}/{wanted}" if served else "",
        "nodes": "" if one.nodes is None else str(len(one.nodes)),
        "proven_at": _at(served.proven_at if served else None, "not proven"),
        "last_drill_at": _at(one.last_drill_at, "never"),
        "requests_per_minute": _number(one.requests_per_minute, ".1f"),
        "usd_per_hour": _number(one.usd_per_hour, ".2f"),
        "usd_per_million_output_tokens_at_proven_rate": _number(one.usd_per_million, ".2f"),
    }
    return (one.model, *(UNKNOWN if name in one.unknown else value for name, value in told.items()))


def _at(at: datetime | None, none: str) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else none


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def title(found: EnvironmentStatus) -> str:
    """The environment in one line."""
    if why := found.unknown.get("environment"):
        return f"{found.environment}: {why}"
    if found.nodes is None:
        nodes = f"instances {UNKNOWN}"
    else:
        nodes = f"{found.gpu_nodes} GPU nodes, {sum(found.nodes.values())} instances"
    cost = UNKNOWN if found.usd_per_hour is None else f"{found.usd_per_hour:.2f} USD"
    return f"{found.environment}: {nodes}, {cost} an hour by list prices"


def reasons(found: EnvironmentStatus) -> list[str]:
    """Why each unknown cell is one: what is the same for every model once."""
    whole = [f"{name}: {why}" for name, why in found.unknown.items() if name != "environment"]
    known = {*found.unknown.values()}
    own = [
        f"{one.model}: {name}: {why}"
        for one in found.models
        for name, why in one.unknown.items()
        if why not in known
    ]
    return [*whole, *own]


def costs(day: Costs) -> list[str]:
    """What was paid, in a line; then each model at its traffic, which is another basis than the proven rate."""
    hours = ", ".join(f"{each:.2f} h {kind}" for kind, each in day.instance_hours.items()) or "no instance"
    least = "at least " if day.at_least else ""
    parts = [f"{least}{_usd(day.paid_usd)} for {hours}", f"GPU nodes {_usd(day.gpu_usd)}"]
    parts += [f"of it {_usd(day.idle_usd)} while no request ran", f"scale-down saved {_usd(day.saved_usd)}"]
    lines = [f"since {day.since:%Y-%m-%d %H:%M} UTC: {'; '.join(parts)}"]
    for name, one in day.models.items():
        if one.usd_per_million is not None:
            lines.append(
                f"{name}: {one.usd_per_million:.2f} USD per million output tokens at this traffic "
                f"({one.output_tokens:,.0f} tokens, the hours paid)"
            )
    return [*lines, *(f"{name}: {why}" for name, why in day.unknown.items())]


def _usd(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} USD"


def details(served: Served) -> list[str]:
    """What the table has no column for."""
    lines = [f"made from commit {served.made_from}"] if served.made_from else []
    lines += [f"{served.rolling} is being rolled out"] if served.rolling else []
    lines += [str(number) for number in served.tuned]
    lines += [f"last start: {phase}" for phase in served.slow_start]
    for promise in served.promises:
        lines.append(str(promise))
        if promise.next_command:
            lines.append(f"  next: {promise.next_command}")
    return lines


def lines_of(found: EnvironmentStatus) -> list[str]:
    """The whole of it as lines of text."""
    head = title(found)
    if "environment" in found.unknown:
        return [head]
    if not found.models:
        return [head, *(f"  {why}" for why in reasons(found)), f"{found.environment}: no model has a release"]
    lines = [head, *aligned([HEAD, *(cells(one) for one in found.models)]), NOTE]
    lines += [f"  {why}" for why in reasons(found)]
    lines += costs(found.day) if found.day else []
    for served in found.served:
        if told := details(served):
            lines += [served.model, *(f"  {line}" for line in told)]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
