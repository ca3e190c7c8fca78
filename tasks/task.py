"""Prefect's side of every stage: who hears progress, what a task's settings are, what may be retried.

Like the `task.py` of each stage, and unlike everything beside them, this imports Prefect.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError

from tasks.records.errors import CloudUnavailable, ClusterError, HubUnavailable, SlipwayError
from tasks.records.progress import Pace
from tasks.records.quantities import human_seconds

PROGRESS_SECONDS = 2.0  # at most so often a progress artifact is written and a line is said
TRANSIENT = (ClusterError, CloudUnavailable, HubUnavailable)

# Truth lives in the cloud: every task looks again, so nothing is cached and a re-run is always safe.
SETTINGS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def transient(task: Any, run: Any, state: Any) -> bool:
    """Retry only what may pass next time: the hub, AWS or the API server not answering. Says that it is, and why."""
    try:
        state.result()
    except TRANSIENT as error:
        line = told_retry(run.name, error, run.run_count, task.retries, task.retry_delay_seconds)
        _logger().info(line, extra={"slipway": True})
        return True
    except Exception:  # noqa: BLE001  any other failure of the task: it is final
        return False
    return False


def told_retry(name: str, error: SlipwayError, attempt: int, retries: int, seconds: float) -> str:
    """The one line for a task that is tried again. `attempt` counts from 1; `seconds` until the next begins. Pure."""
    return f"{name}: {error.cause}: attempt {attempt + 1} of {retries + 1} in {human_seconds(seconds)}"


class RunReporter:
    """Tells the run's log and, for what takes time, a progress artifact of the run."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._logger: Any = _logger()
        self._pace = Pace()
        self._lock = threading.Lock()
        self._artifact: UUID | None = None
        self._told = 0.0
        # progress comes from worker threads, which do not know the run they work for
        self._context = contextvars.copy_context()

    def say(self, line: str) -> None:
        self._logger.info("%s: %s", self._stage, line, extra={"slipway": True})

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        with self._lock:
            if time.monotonic() - self._told < PROGRESS_SECONDS and done < total:
                return
            text = self._pace.describe(done, total, unit, detail)
            self._told = time.monotonic()
            self.say(text)
            share = 100.0 * done / total if total else 100.0
            self._context.run(self._show, share, text)

    def _show(self, share: float, text: str) -> None:
        if self._artifact is None:
            made = create_progress_artifact(share, key=slug(self._stage), description=text)
            assert isinstance(made, UUID)  # noqa: S101  the synchronous form, outside an event loop
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, share, description=text)


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:  # a task function called on its own, in a test
        return logging.getLogger("slipway")


def slug(text: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")


def show_table(key: str, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """A table artifact of this run; nothing for no rows."""
    if rows:
        create_table_artifact([dict(row) for row in rows], key=slug(key), description=title)


def show_markdown(key: str, text: str, title: str) -> None:
    create_markdown_artifact(text, key=slug(key), description=title)
