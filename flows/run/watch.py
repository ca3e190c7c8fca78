"""Watch the state of a run from its process: a cancelled run stops as by Ctrl-C, a run that lives is not Crashed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Running

from tasks.records.progress import SHOWN
from tasks.records.stop import STOP

LOOK_SECONDS = 5.0
# a worker sends SIGTERM to a run within seconds; one that is gone, or has been restarted, does not
LOOKS_FOR_A_WORKER = 3

Verdict = Literal["go on", "stop", "revive"]


@contextmanager
def watched() -> Iterator[None]:
    """Stop the block soon after its run was cancelled, or ended by another than its worker."""
    run_id = flow_run.get_id()
    if not run_id:
        yield
        return
    looks = LOOKS_FOR_A_WORKER if deployment.id else 1
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(UUID(run_id), looks, over, get_run_logger()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LOOK_SECONDS)


def judge(state: State[Any] | None, looks: int) -> Verdict:
    """What a running process does about its run's state. Pure.

    Crashed by the heartbeats' automation, which fires as soon as a server was away for longer than it waits:
    the process that reads this is alive.

    Args:
        looks: how many more times the run has to be seen cancelled, or in a final state.
    """
    if state is None:
        return "go on"
    if state.is_crashed():
        return "revive"
    if state.is_cancelling() or state.is_final():
        return "stop" if looks <= 1 else "go on"
    return "go on"


def _watch(run_id: UUID, looks: int, over: threading.Event, logger: Any) -> None:
    left = looks
    with get_client(sync_client=True) as client:
        while not over.wait(LOOK_SECONDS):
            try:
                state = client.read_flow_run(run_id).state
                verdict = judge(state, left)
                if verdict == "revive" and not STOP.is_set():
                    logger.warning("Crashed by Prefect, but its process lives: Running again")
                    client.set_flow_run_state(run_id, Running(message="its process lives"), force=True)
            except (httpx.HTTPError, OSError, ObjectNotFound) as error:
                logger.debug("the run's state cannot be read: %s", error)
                continue
            if verdict == "stop":
                logger.info("%s by Prefect: stopping in order", state and state.name, extra=SHOWN)
                STOP.ask("cancelled")
                return
            left = left - 1 if state and (state.is_cancelling() or state.is_final()) else looks
