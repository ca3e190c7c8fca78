"""Start a run of a deployment and follow it to its end; cancel it where CI ends first."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun, Log, WorkerStatus
from prefect.client.schemas.sorting import ArtifactSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling
from prefect.utilities.urls import url_for

from flows.ci.decide import Seen, Step, decide, exit_code
from flows.run.tags import EXIT_LABEL, WANTED_COMMIT_TAG, flow_name
from tasks.records.errors import CloudUnavailable, InputError, Interrupted, SlipwayError, ToolTimedOut

LOOK_SECONDS = 2.0
# terraform ends its calls, and what served before is put back
CANCEL_SECONDS = 300.0
PAGE = 200
# of Prefect's own, beside what the stages say
NOISE = ("Finished in state", "View at", "Created task run", "Beginning flow run")

Say = Callable[[str], None]


def run_in_prefect(
    flow: str,
    model: str,
    environment: str,
    *,
    ref: str | None,
    timeout: float,
    summary: Path | None,
    say: Say,
    parameters: Mapping[str, str] | None = None,
) -> int:
    """Run the deployment of `flow` for an environment, and follow it; the exit code of `slipway`.

    `ref`: the commit the worker must have. `timeout` in seconds. `summary`: a file that Markdown is appended to.
    `parameters`: of the run, besides the model.
    Raises InputError without such a deployment, ToolTimedOut where no worker takes the run or it takes too long, and
    Interrupted where CI ends it; the run is cancelled then. Raises CloudUnavailable where Prefect stops answering.
    """
    with get_client(sync_client=True) as client, ends_by_signal():
        run = _start(client, flow, environment, {"model": model, **(parameters or {})}, ref)
        say(f"{run.name}: {url_for(run) or run.id}")
        try:
            step = _follow(client, run, timeout, say)
        except httpx.HTTPError as error:
            # asked again by Prefect's client for a minute: the run cannot be cancelled from here either
            raise CloudUnavailable(
                f"Prefect does not answer, and the run {run.name} may go on without this job: {error}",
                next_command=f"prefect flow-run inspect {run.id}",
            ) from error
        except BaseException:
            _cancel(client, run.id, say)
            raise
        if step != "ended":
            _cancel(client, run.id, say)
            raise _given_up(step, run, timeout)
        ended = client.read_flow_run(run.id)
        _write_summary(client, ended, summary)
        return _tell(client, ended, say)


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """Raise Interrupted on SIGTERM and SIGINT, which CI sends to a job that is cancelled or too long."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(
            f"CI ended this job ({signal.Signals(number).name})", next_command="run the same job again"
        )

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _start(
    client: SyncPrefectClient, flow: str, environment: str, parameters: Mapping[str, str], ref: str | None
) -> FlowRun:
    try:
        found = client.read_deployment_by_name(f"{flow_name(flow)}/{environment}")
    except ObjectNotFound as missing:
        raise InputError(
            f"Prefect has no deployment {flow_name(flow)}/{environment}",
            evidence=[f"PREFECT_API_URL is {client.api_url}"],
            next_command=f"slipway prefect apply -e {environment}",
        ) from missing
    tags = ["ci", *([f"{WANTED_COMMIT_TAG}{ref}"] if ref else [])]
    return client.create_flow_run_from_deployment(
        found.id, parameters={name: value for name, value in parameters.items() if value}, tags=tags
    )


def _follow(client: SyncPrefectClient, run: FlowRun, timeout: float, say: Say) -> Step:
    began, told, asked = time.monotonic(), _Told(run.id), False
    waits_since: float | None = None
    while True:
        now = client.read_flow_run(run.id)
        told.say_new(client, say)
        if now.state and now.state.is_paused() and not asked:
            asked = True
            say(f"waits for an approval: resume it in Prefect: {url_for(run) or run.id}")
        at = time.monotonic()
        waits_since = (waits_since or at) if now.state and now.state.is_scheduled() else None
        waited = None if waits_since is None else at - waits_since
        step = decide(_seen(client, now, waited, at - began), timeout)
        if step != "follow":
            return step
        time.sleep(LOOK_SECONDS)


def _seen(client: SyncPrefectClient, run: FlowRun, waited: float | None, elapsed: float) -> Seen:
    assert run.state  # noqa: S101  a run has one from the beginning
    workers = 0
    if waited is not None and run.work_pool_name:
        living = client.read_workers_for_work_pool(run.work_pool_name)
        workers = sum(worker.status == WorkerStatus.ONLINE for worker in living)
    return Seen(run.state.is_final(), waited, workers, elapsed)


class _Told:
    """Which lines of a run's log were said already."""

    def __init__(self, run: UUID) -> None:
        self._run = run
        self._after = datetime.now(UTC) - timedelta(minutes=5)
        self._ids: set[UUID] = set()

    def say_new(self, client: SyncPrefectClient, say: Say) -> None:
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[self._run]),
            level=LogFilterLevel(ge_=20),
            timestamp=LogFilterTimestamp(after_=self._after),
        )
        found: list[Log] = []
        while page := client.read_logs(wanted, limit=PAGE, offset=len(found), sort=LogSort.TIMESTAMP_ASC):
            found += page
        for line in found:
            if line.id not in self._ids and not line.message.startswith(NOISE):
                say(f"{line.timestamp:%H:%M:%S}  {line.message}")
        if found:
            self._ids = {line.id for line in found}
            # a line may reach the server after a later one
            self._after = found[-1].timestamp - timedelta(seconds=5)


def _cancel(client: SyncPrefectClient, run: UUID, say: Say) -> None:
    """Cancel a run and wait for its end: nothing of it starts later, and what it began is stopped in order."""
    state = client.read_flow_run(run).state
    if state is None or state.is_final():
        return
    waits = state.is_scheduled()
    say(f"cancelling the run: it {'never began' if waits else 'stops in order'}")
    client.set_flow_run_state(
        run, Cancelled(message="CI ended first") if waits else Cancelling(), force=waits
    )
    deadline = time.monotonic() + CANCEL_SECONDS
    while time.monotonic() < deadline:
        state = client.read_flow_run(run).state
        if state is None or state.is_final():
            return
        time.sleep(LOOK_SECONDS)
    say(f"the run did not end within {CANCEL_SECONDS:.0f} s of its cancellation: look at it in Prefect")


def _given_up(step: Step, run: FlowRun, timeout: float) -> SlipwayError:
    if step == "no worker":
        return ToolTimedOut(
            f"no worker of the pool {run.work_pool_name} took the run; it is cancelled and will not begin later",
            next_command=f"prefect worker start --pool {run.work_pool_name}",
        )
    return ToolTimedOut(
        f"the run did not end within {timeout:.0f} s; it is cancelled", next_command="give a longer --timeout"
    )


def _artifact(client: SyncPrefectClient, run: UUID, kind: str) -> str:
    """The text of the last artifact of this kind that the run made; empty without one."""
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(like_=f"{kind}-%")
        ),
        sort=ArtifactSort.CREATED_DESC,
    )
    return str(found[0].data) if found else ""


def _write_summary(client: SyncPrefectClient, run: FlowRun, file: Path | None) -> None:
    parts = [text for kind in ("summary", "failure") if (text := _artifact(client, run.id, kind))]
    if file and parts:
        link = url_for(run)
        with file.open("a") as out:
            out.write("\n\n".join([*parts, *([f"[The run in Prefect]({link})"] if link else [])]) + "\n")


def _tell(client: SyncPrefectClient, run: FlowRun, say: Say) -> int:
    """Say how the run ended: its cause and evidence where it failed. The exit code."""
    assert run.state  # noqa: S101
    say(f"{run.state.name}: {run.state.message or ''}".rstrip(": "))
    code = exit_code(run.state.type.value, run.state.name or "", run.labels.get(EXIT_LABEL))
    if code and (failure := _artifact(client, run.id, "failure")):
        say(failure)
    return code
