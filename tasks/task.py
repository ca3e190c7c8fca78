"""What the Prefect tasks of all stages share: settings, retries, progress, artifacts."""

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

# between two reports of one stage's progress
PROGRESS_SECONDS = 2.0
TRANSIENT = (ClusterError, CloudUnavailable, HubUnavailable)

# Truth lives in the cloud: every task looks again, so nothing is cached and a re-run is always safe.
SETTINGS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


def transient(task: Any, run: Any, state: Any) -> bool:
    """Retry only after TRANSIENT errors (hub, AWS or API server do not answer), and log the retry."""
    try:
        state.result()
    except TRANSIENT as error:
        line = retry_line(run.name, error, run.run_count, task.retries, task.retry_delay_seconds)
        _logger().info(line, extra={"slipway": True})
        return True
    except Exception:  # noqa: BLE001  any other failure of the task: it is final
        return False
    return False


def retry_line(name: str, error: SlipwayError, attempt: int, retries: int, seconds: float) -> str:
    """The log line of a retry. `attempt`: the one that failed, from 1; `seconds` until the next begins. Pure."""
    return f"{name}: {error.cause}: attempt {attempt + 1} of {retries + 1} in {human_seconds(seconds)}"


class RunReporter:
    """Reports progress to the run's log and to a progress artifact."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._logger: Any = _logger()
        self._pace = Pace()
        self._lock = threading.Lock()
        self._artifact: UUID | None = None
        self._last_report = 0.0
        # progress comes from worker threads, which have no run context of their own
        self._context = contextvars.copy_context()

    def say(self, line: str) -> None:
        self._logger.info("%s: %s", self._stage, line, extra={"slipway": True})

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        with self._lock:
            if time.monotonic() - self._last_report < PROGRESS_SECONDS and done < total:
                return
            text = self._pace.describe(done, total, unit, detail)
            self._last_report = time.monotonic()
            self.say(text)
            share = 100.0 * done / total if total else 100.0
            self._context.run(self._show, share, text)

    def _show(self, share: float, text: str) -> None:
        if self._artifact is None:
            artifact = create_progress_artifact(share, key=slug(self._stage), description=text)
            assert isinstance(artifact, UUID)  # noqa: S101  the synchronous form, outside an event loop
            self._artifact = artifact
        else:
            update_progress_artifact(self._artifact, share, description=text)


def _logger() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:  # a task function called on its own, in a test
        return logging.getLogger("slipway")


def slug(text: str) -> str:
    """Make an artifact key: lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")


def show_table(key: str, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Create a table artifact of this run; none without rows."""
    if rows:
        create_table_artifact([dict(row) for row in rows], key=slug(key), description=title)


def show_markdown(key: str, text: str, title: str) -> None:
    """Create a markdown artifact of this run."""
    create_markdown_artifact(text, key=slug(key), description=title)
