"""The decorator of every flow: names, task runner, and a failure that explains itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast, get_type_hints

from prefect import Flow, flow
from prefect.events import emit_event
from prefect.exceptions import Pause, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from flows.run.conclude import concluded, failed, in_a_run, quiet_end
from flows.run.console import outlive_the_worker
from flows.run.label import label_run
from flows.run.tracebacks import leave_out_expected
from flows.run.watch import watched
from tasks.records.errors import SlipwayError
from tasks.records.stop import STOP
from tasks.task import show_markdown

P = ParamSpec("P")
R = TypeVar("R")

BY_THE_AUTOMATION = (
    "Where a rollout had begun, the automation `undo-a-stopped-rollout` starts a rollback that puts back what served "
    "before. What was made until now stays, and the same command continues from it.\n\n"
    "**Next:** `slipway rollback MODEL -e ENVIRONMENT --unfinished`"
)

# automations.yaml ends its watch of a run with this, and not with Prefect's own event of the run's last state: see there
ENDED = "slipway.flow-run.ended"
MORE_TELLS, TELL_SECONDS = 3, 2.0

# a task that waits for its inputs holds a thread: more than the tasks of one deploy
THREADS = 32


def runbook(*, name: str, run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow whose failure is an artifact of the run: cause, evidence, next command."""

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        @functools.wraps(function)
        def explained(*arguments: P.args, **named: P.kwargs) -> R:
            STOP.reset()
            outlive_the_worker()
            leave_out_expected()
            try:
                label_run(name)
                with watched():
                    return cast(R, concluded(name, function(*arguments, **named)))
            except SlipwayError as error:
                if STOP.reason == "cancelled":
                    show_markdown("failure", cancelled_page(error, as_markdown(error)), "cancelled")
                    STOP.reset()
                    return cast(R, Cancelled(message=error.cause))
                if quiet := quiet_end(error):
                    return cast(R, quiet)
                show_markdown("failure", as_markdown(error), error.cause)
                if not in_a_run():
                    raise
                return cast(R, failed(name, error))
            except TerminationSignal as signal:
                show_markdown("failure", cancelled_page(signal, BY_THE_AUTOMATION), "cancelled")
                raise
            except Pause:
                # SQLite loses it where much is written, and Prefect would take a paused run for dead
                for _ in range(MORE_TELLS):
                    _tell_end()
                    STOP.wait(TELL_SECONDS)
                raise
            finally:
                _tell_end()

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


def _tell_end() -> None:
    """Emit the event that this run's process ends in order: no heartbeat is missing after it."""
    if run := flow_run.get_id():
        emit_event(event=ENDED, resource={"prefect.resource.id": f"prefect.flow-run.{run}"})


def cancelled_page(ended: BaseException, then: str) -> str:
    """What a run that was stopped left undone, as a page. Its tasks stand in the exception's notes."""
    left = getattr(ended, "__notes__", [])
    parts = ["## cancelled", "Did not complete: " + ", ".join(f"`{name}`" for name in left) if left else ""]
    return "\n\n".join([*(part for part in parts if part), then])


def as_markdown(error: SlipwayError) -> str:
    """The error as a page: cause, evidence, next command."""
    parts = [f"## {error.cause}"]
    if error.evidence:
        parts.append("```\n" + "\n".join(error.evidence) + "\n```")
    if error.next_command:
        parts.append(f"**Next:** `{error.next_command}`")
    return "\n\n".join(parts)
