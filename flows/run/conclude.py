"""End a run: a named state, and for an error its cause, evidence and next command in the log and no traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.run.endings import Ending, ending_of, ends_quietly, failure_name
from flows.run.events import events_of
from flows.run.label import leave_exit_code
from flows.run.summary import summary
from tasks.records.errors import SlipwayError
from tasks.releases.records import Deployed
from tasks.task import show_link, show_markdown

P = ParamSpec("P")
R = TypeVar("R")


def in_a_run() -> bool:
    """Whether this is a flow run of Prefect, and not a function that is called on its own."""
    return flow_run.get_id() is not None


def here(task: Task[P, R]) -> Callable[P, R]:
    """The task in a run of Prefect; its function where a `slipway` command looks without one."""
    return task if in_a_run() else task.fn


def concluded(flow: str, result: Any) -> Any:
    """The named state that has the flow's result; the result itself outside a run."""
    if not in_a_run():
        return result
    ending = ending_of(flow, result, flow_run.get_parameters())
    _tell(flow, ending, result)
    if ending.failed:
        return Failed(name=ending.name, message=ending.message)
    return Completed(name=ending.name, message=ending.message, data=result)


def failed(flow: str, error: SlipwayError) -> State[Any]:
    """The state of a run that ended with an error, which a `slipway` command raises again."""
    for line in str(error).splitlines():
        get_run_logger().error(line)
    _tell(flow, Ending(failure_name(error), error.cause, failed=True), error)
    leave_exit_code(error.exit_code)
    return Failed(name=failure_name(error), message=error.cause, data=error)


def quiet_end(error: SlipwayError) -> State[Any] | None:
    """The state of a scheduled run that found nothing to do; None where the error is one."""
    context = FlowRunContext.get()
    scheduled = bool(context and context.flow_run and context.flow_run.auto_scheduled)
    if not ends_quietly(error, scheduled=scheduled):
        return None
    get_run_logger().info("%s", error.cause)
    return Completed(name="Nothing deployed", message=error.cause)


def _tell(flow: str, ending: Ending, result: Any) -> None:
    """The run's summary, its events, and a link to where a release answers."""
    page = summary(ending, result, flow_run.get_parameters(), flow_run.get_tags())
    show_markdown(f"summary-{flow.removeprefix('slipway-')}", page, f"{ending.name}: {ending.message}")
    for event in events_of(flow, result, flow_run.get_parameters()):
        emit_event(**event._asdict())
    if isinstance(result, Deployed) and (rollout := result.record.rollout):
        show_link("endpoint", rollout.endpoint.base_url, f"release {rollout.release_id} answers here")
