"""`slipway status --watch`: look, draw, wait, until Ctrl-C."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.run.status_table import HEAD, NOTE, UNKNOWN, cells, costs, lines_of, reasons, title
from tasks.records.costs import Costs
from tasks.records.status import EnvironmentStatus

Looking = Callable[[], Sequence[EnvironmentStatus]]
# waits so many seconds; true where it is to end
Wait = Callable[[float], bool]
# between two looks at the costs of a day
COSTS_SECONDS = 300.0


class WithCosts(Protocol):
    """A look; of the last day's costs only where it is asked to."""

    def __call__(self, *, with_costs: bool) -> Sequence[EnvironmentStatus]: ...


def rarely(look: WithCosts, clock: Callable[[], float] = time.monotonic) -> Looking:
    """Look at the costs of a day, which read a day of samples, every COSTS_SECONDS only; between, tell the last ones."""
    last: dict[str, Costs] = {}
    due = 0.0

    def looked() -> Sequence[EnvironmentStatus]:
        nonlocal due
        fresh = clock() >= due
        found = look(with_costs=fresh)
        if fresh:
            due = clock() + COSTS_SECONDS
            last.clear()
            last.update({one.environment: one.day for one in found if one.day})
        return [one.model_copy(update={"day": last.get(one.environment)}) for one in found]

    return looked


def until_interrupted(look: WithCosts, every: float, *, as_json: bool) -> None:
    """Watch from this terminal; Ctrl-C ends it at once and is no error, even in the middle of a look."""
    # nothing is under way that would have to end in order
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # what stages say would be drawn over; it is in the table
    logging.getLogger("slipway").addHandler(logging.NullHandler())
    over = threading.Event()
    try:
        if as_json:
            stream(rarely(look), every, over.wait, print)
        else:
            watch(rarely(look), every, over.wait, Console())
    except KeyboardInterrupt:
        return


def watch(look: Looking, every: float, wait: Wait, console: Console) -> None:
    """Draw on a terminal in place; elsewhere print each look."""
    if not console.is_terminal:
        while True:
            for found in look():
                console.print("\n".join(lines_of(found)), markup=False, highlight=False, soft_wrap=True)
            if wait(every):
                return
    with Live(Text("looking …"), console=console, auto_refresh=False) as live:
        while True:
            live.update(drawn(look(), every), refresh=True)
            if wait(every):
                return


def stream(look: Looking, every: float, wait: Wait, say: Callable[[str], None]) -> None:
    """Print one JSON document a line."""
    while True:
        say(as_json(look(), indent=None))
        if wait(every):
            return


def as_json(found: Sequence[EnvironmentStatus], indent: int | None = 2) -> str:
    """The document of `--json`: docs/watching.md."""
    return json.dumps({"environments": [one.document() for one in found]}, indent=indent)


def drawn(found: Sequence[EnvironmentStatus], every: float) -> RenderableType:
    """A table of each environment, and when they were looked at."""
    parts: list[RenderableType] = []
    for one in found:
        parts.append(Text(title(one), style="bold"))
        if one.models:
            parts += [_table(one), Text(NOTE, style="dim")]
        parts += [Text(f"  {why}", style="yellow") for why in reasons(one)]
        parts += [Text(line) for line in costs(one.day)] if one.day else []
        parts += [Text(f"  trouble: {cause}", style="red") for cause in one.troubles]
    parts.append(Text(f"{datetime.now(UTC):%H:%M:%S} UTC, every {every:g} s; Ctrl-C ends", style="dim"))
    return Group(*parts)


def _table(found: EnvironmentStatus) -> Table:
    table = Table(*HEAD, box=None, pad_edge=False)
    for one in found.models:
        table.add_row(*(Text(cell, style="yellow" if cell == UNKNOWN else "") for cell in cells(one)))
    return table
