"""What the Prefect tasks of all stages share: settings, retries, steps, progress, artifacts."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import prefect
from prefect import Task, get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError

from tasks.records.errors import CloudUnavailable, ClusterError, HubUnavailable, SlipwayError
from tasks.records.progress import SHOWN, Pace, Saying, Step, StepState
from tasks.records.quantities import human_seconds

P = ParamSpec("P")
R = TypeVar("R")

# between two reports of one stage's progress
PROGRESS_SECONDS = 2.0
TRANSIENT = (ClusterError, CloudUnavailable, HubUnavailable)

# Truth lives in the cloud: every task looks again, so nothing is cached and a re-run is always safe.
SETTINGS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

# when tasks wait, begin and end, for the terminal of a `slipway` command. No handler of Prefect hears it
STEPS = logging.getLogger("slipway.steps")
STEPS.propagate = False


def task(**options: Any) -> Callable[[Callable[P, R]], Task[P, R]]:
    """`prefect.task`, whose runs tell STEPS when they begin and end; each attempt of a retry does."""

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @functools.wraps(function)
        def told(*arguments: P.args, **named: P.kwargs) -> R:
            context = TaskRunContext.get()
            # called by another task, as a plain function
            if context is None or context.task.fn is not told:
                return function(*arguments, **named)
            run = context.task_run
            tell_step(run.id, run.name, "begun")
            state: StepState = "failed"
            try:
                result = function(*arguments, **named)
                state = "done"
            finally:
                tell_step(run.id, run.name, state)
            return result

        made: Task[P, R] = prefect.task(**options)(told)
        return made

    return decorate


def tell_step(run: UUID, name: str, state: StepState) -> None:
    """Tell who listens to STEPS. `run`: the task run's id."""
    STEPS.info("%s: %s", name, state, extra={"step": Step(str(run), name, state)})


def transient(task: Any, run: Any, state: Any) -> bool:
    """Retry only after TRANSIENT errors (hub, AWS or API server do not answer), and log the retry."""
    try:
        state.result()
    except TRANSIENT as error:
        line = retry_line(run.name, error, run.run_count, task.retries, task.retry_delay_seconds)
        _logger().info(line, extra=SHOWN)
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
        self._log(logging.INFO, line, Saying(self._stage))

    def detail(self, line: str) -> None:
        self._log(logging.INFO, line, Saying(self._stage, detail=True))

    def warn(self, line: str) -> None:
        self._log(logging.WARNING, line, Saying(self._stage))

    def progress(self, done: float, total: float, unit: str = "bytes", detail: str = "") -> None:
        with self._lock:
            if time.monotonic() - self._last_report < PROGRESS_SECONDS and done < total:
                return
            text = self._pace.describe(done, total, unit, detail)
            self._last_report = time.monotonic()
            share = 100.0 * done / total if total else 100.0
            self._log(logging.INFO, text, Saying(self._stage, share=share))
            self._context.run(self._show, share, text)

    def _log(self, level: int, line: str, saying: Saying) -> None:
        self._logger.log(level, "%s: %s", self._stage, line, extra={"slipway": saying})

    def _show(self, share: float, text: str) -> None:
        if self._artifact is None:
            artifact = create_progress_artifact(share, key=_key(self._stage), description=text)
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


def artifact_key(kind: str, given: Mapping[str, Any]) -> str:
    """`kind-model-environment`: what one model in one environment has made of a kind is one history. Pure.

    A kind that names its environment already is of that, whatever the model. `given`: the run's parameters.
    """
    key, environment = slug(kind), given.get("environment") or ""
    if f"-{environment}-" in f"-{key}-":
        return key
    model = given.get("model") or ""
    parts = [key, "" if f"-{model}-" in f"-{key}-" else model, environment]
    return "-".join(part for part in parts if part)


def in_a_run() -> bool:
    """Whether an artifact would belong to a run of Prefect."""
    return FlowRunContext.get() is not None


def _key(kind: str) -> str:
    context = FlowRunContext.get()
    return artifact_key(kind, context.parameters if context and context.parameters else {})


def show_table(
    kind: str, rows: Sequence[Mapping[str, Any]], title: str, nothing: str = "no difference"
) -> None:
    """Create a table artifact of this run; one that says `nothing` without rows, or an old one would seem to hold."""
    table = [dict(row) for row in rows] or [{"": nothing}]
    create_table_artifact(table, key=_key(kind), description=title)


def show_markdown(kind: str, text: str, title: str) -> None:
    """Create a markdown artifact of this run."""
    create_markdown_artifact(text, key=_key(kind), description=title)


def show_link(kind: str, address: str, title: str) -> None:
    """Create a link artifact of this run."""
    create_link_artifact(address, key=_key(kind), description=title)
