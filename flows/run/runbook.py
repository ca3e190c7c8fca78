"""The decorator of every flow: names, task runner, and a failure that explains itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, get_type_hints

from prefect import Flow, flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.records.errors import SlipwayError
from tasks.task import show_markdown

P = ParamSpec("P")
R = TypeVar("R")

# a task that waits for its inputs holds a thread: more than the tasks of one deploy
THREADS = 32


def runbook(*, name: str, run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow whose failure is an artifact of the run: cause, evidence, next command."""

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        @functools.wraps(function)
        def explained(*arguments: P.args, **named: P.kwargs) -> R:
            try:
                return function(*arguments, **named)
            except SlipwayError as error:
                show_markdown("failure", as_markdown(error), error.cause)
                raise

        # Prefect makes the form from these: names are looked up where the function was written, not here
        explained.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        explained.__annotations__ = get_type_hints(function, include_extras=True)
        decorated: Flow[P, R] = flow(
            name=name,
            flow_run_name=run_name,
            task_runner=ThreadPoolTaskRunner(max_workers=THREADS),  # type: ignore[arg-type]
        )(explained)
        return decorated

    return decorate


def as_markdown(error: SlipwayError) -> str:
    """The error as a page: cause, evidence, next command."""
    parts = [f"## {error.cause}"]
    if error.evidence:
        parts.append("```\n" + "\n".join(error.evidence) + "\n```")
    if error.next_command:
        parts.append(f"**Next:** `{error.next_command}`")
    return "\n\n".join(parts)
