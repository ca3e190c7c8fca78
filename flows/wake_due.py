"""Wake due: bring back every model whose file names the time that has come. Runs on a schedule, before office hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from prefect import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from flows.run.choices import Choice, EnvironmentName, Measured, read_models
from flows.run.due import due
from flows.run.runbook import runbook
from flows.wake import wake_one
from tasks.records.catalogue import load_environment
from tasks.records.errors import NothingDeployed, SlipwayError
from tasks.records.model import Model
from tasks.records.progress import SHOWN

# a worker takes a run up 10 s before it is due (PREFECT_WORKER_PREFETCH_SECONDS of 3.8.8), and while this flow runs the
# next run is cancelled: so this one looks ahead, and looks again before it ends
AHEAD = timedelta(seconds=60)
LOOKS = 60


@runbook(name="slipway-wake-due", run_name="wake what is due in {environment}")
def wake_due(
    environment: EnvironmentName,
    minutes: float = Field(0, ge=0, le=1440, description="wake also what was due so many minutes before"),
    measure_from: Measured = "cluster",
) -> dict[str, str]:
    """Wake each model whose file names the time that has come.

    That is `scaling.wake`, since this run was due. A model that was never deployed there is left out.
    """
    where = load_environment(environment)
    models = read_models(None)
    began = flow_run.get_scheduled_start_time() - timedelta(minutes=minutes)
    woken: dict[str, str] = {}
    failed: list[SlipwayError] = []
    for model in coming(models, began, lambda: datetime.now(UTC)):
        try:
            woken[model.name] = wake_one(Choice(model, where), measure_from)
        except NothingDeployed as nothing:
            get_run_logger().info("%s", nothing.cause, extra=SHOWN)
        except SlipwayError as error:
            get_run_logger().warning("%s: %s", model.name, error.cause, extra=SHOWN)
            failed.append(error)
    if failed:
        raise failed[0]
    return woken


def coming(models: list[Model], began: datetime, now: Callable[[], datetime]) -> Iterator[Model]:
    """The models that are due from `began` on, until none is; each time names a model once."""
    after = began - timedelta(microseconds=1)
    for _ in range(LOOKS):
        until = now() + AHEAD
        found = due(models, after, until)
        yield from found
        if not found:
            return
        after = until
