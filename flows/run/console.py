"""Keep a run alive whose worker is gone: rich ends a process that writes into a pipe nobody reads."""

from __future__ import annotations

import logging

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console


def outlive_the_worker() -> None:
    """Let Prefect's console handlers fall silent once their pipe is broken; the log goes on to the server.

    Until then rich's `Console.on_broken_pipe` raises SystemExit in whichever thread logs next.
    """
    loggers = [logging.root, *(logging.getLogger(name) for name in [*logging.root.manager.loggerDict])]
    for logger in loggers:
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler):
                fall_silent_when_broken(handler.console)


def fall_silent_when_broken(console: Console) -> None:
    """Replace what a console does about a broken pipe."""

    def fall_silent() -> None:
        console.quiet = True

    console.on_broken_pipe = fall_silent  # type: ignore[method-assign]
