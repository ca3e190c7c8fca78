"""Show a run as it goes: a live view on a terminal, plain lines elsewhere. Neither ever ends or holds up the run."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.run.steps import Line, Mark, Running, Steps
from flows.run.streams import Unbroken
from tasks.records.progress import Saying, Step
from tasks.records.quantities import human_seconds

LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "slipway")
STEPS = "slipway.steps"
DRAW_SECONDS = 0.1
# to draw the last lines; a terminal that is stopped (Ctrl-S) does not hold up the end of a command for longer
LAST_SECONDS = 2.0
# lines that stay, kept while the terminal takes none
MOST_LINES = 2000
# rows of the live view besides the steps that run: those that wait, and the cursor's
OTHER_ROWS = 3
NAME_WIDTH, TIME_WIDTH = 42, 10
# of a terminal of at least so many columns, and of a narrower one
BAR_WIDTHS = ((100, 20), (0, 8))
SPINNER, SPINS_A_SECOND = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", 10
MARKS: dict[Mark, tuple[str, str]] = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "warning": ("!", "yellow"),
    "said": (" ", "none"),
}


@contextmanager
def shown(stream: TextIO, *, verbose: bool = False, live: bool = True) -> Iterator[View | Lines]:
    """Show what the stages of the block's run say and do on `stream`, and nothing of Prefect's own.

    What it yields can be `paused`, to ask a person something.

    Args:
        verbose: each of many lines alike too, as of terraform's resources.
        live: draw on a terminal; else lines there too.
    """
    import prefect.main  # noqa: F401  importing it sets logging up anew: ours must come after

    handler: View | Lines = View(stream, verbose) if live and is_drawn_on(stream) else Lines(stream, verbose)
    loggers = [logging.getLogger(name) for name in (*LOGGERS, STEPS)]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def is_drawn_on(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose cursor can be moved and that has our marks."""
    moves = os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return stream.isatty() and moves and (stream.encoding or "").lower().startswith("utf")


class Lines(logging.StreamHandler[Any]):
    """Prints a line for whatever a stage says."""

    def __init__(self, stream: TextIO, verbose: bool) -> None:
        super().__init__(Unbroken(stream))
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        self.addFilter(
            lambda record: (said := saying_of(record)) is not None and (verbose or not said.detail)
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Print on while somebody is asked: nothing is drawn over."""
        yield


class View(logging.Handler):
    """Draws the steps that run and wait; what ended stays above them. Only its own thread touches the terminal."""

    def __init__(self, stream: TextIO, verbose: bool) -> None:
        super().__init__()
        self._steps = Steps(verbose)
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        file: Any = Unbroken(stream)
        self._console = Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._begin()

    def _begin(self) -> None:
        self._over = threading.Event()
        self._drawing = threading.Thread(target=self._draw, args=(self._over,), daemon=True)
        self._drawing.start()

    def _end(self) -> None:
        self._over.set()
        self._drawing.join(LAST_SECONDS)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing while somebody is asked."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(step := getattr(record, "step", None), Step):
            self._lines.extend(self._steps.turn_to(step, record.created))
        elif saying := saying_of(record):
            by = getattr(record, "task_run_id", None)
            warning = record.levelno >= logging.WARNING
            self._lines.extend(self._steps.hear(saying, record.getMessage(), by and str(by), warning=warning))

    def close(self) -> None:
        self._end()
        super().close()

    def _draw(self, ended: threading.Event) -> None:
        console = self._console
        # a stderr that is redirected stays where it is
        with Live(
            console=console, auto_refresh=False, transient=True, redirect_stderr=sys.stderr.isatty()
        ) as live:
            over = False
            while not over:
                over = ended.wait(DRAW_SECONDS)
                lines, view = self._take(time.time(), console.width, console.height)
                for line in lines:
                    console.print(drawn(line), soft_wrap=True)
                live.update(view, refresh=True)

    def _take(self, now: float, width: int, height: int) -> tuple[list[Line], RenderableType]:
        assert self.lock  # noqa: S101  of every logging.Handler
        with self.lock:
            lines = list(self._lines)
            self._lines.clear()
            return lines, view(self._steps, now, width, height)


def saying_of(record: logging.LogRecord) -> Saying | None:
    """How a record is shown; None for one that is not."""
    saying = getattr(record, "slipway", None)
    return saying if isinstance(saying, Saying) else None


def drawn(line: Line) -> Text:
    """A line that stays."""
    mark, style = MARKS[line.mark]
    text = Text(f"{mark} ", style)
    if line.took is None:
        return text.append(line.what)
    text.append(f"{line.what:<{NAME_WIDTH}} {human_seconds(line.took):>{TIME_WIDTH}}", "default")
    return text.append(f"  {line.text}", "dim") if line.text else text


def view(steps: Steps, now: float, width: int, height: int) -> Group:
    """The steps that run, as many as a terminal of that size has room for, and those that wait in one row."""
    room = max(1, height - OTHER_ROWS)
    running = sorted(steps.running.values(), key=lambda step: step.began)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    longest = max((len(step.name) for step in running[:room]), default=0)
    table.add_column(width=min(longest, NAME_WIDTH, width // 2), no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.expand = True
    for step in running[:room]:
        table.add_row(
            Text(_spin(now), "cyan"),
            step.name,
            human_seconds(max(now - step.began, 0.0)),
            _progress(step, width),
        )
    more = len(running) - room
    names = [*([f"{more} more run"] if more > 0 else [])]
    if steps.waiting:
        names.append(f"waiting: {', '.join(steps.waiting.values())}")
    rest = [Text("  " + "; ".join(names), "dim", no_wrap=True, overflow="ellipsis")] if names else []
    return Group(*([table] if running else []), *rest)


def _progress(step: Running, width: int) -> RenderableType:
    text = Text(step.text, "dim", no_wrap=True, overflow="ellipsis")
    if step.share is None or step.share >= 100:
        return text
    row = Table.grid(padding=(0, 1))
    bar = next(wide for least, wide in BAR_WIDTHS if width >= least)
    row.add_column(width=bar)
    row.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    row.expand = True
    row.add_row(ProgressBar(100, step.share, width=bar), text)
    return row


def _spin(now: float) -> str:
    return SPINNER[int(now * SPINS_A_SECOND) % len(SPINNER)]
