"""Takes the scheduled runs of a work pool and runs the stand-in flow for each, all in this process, until its input ends.

    python -m bench.server.runs POOL

Prefect's own client and engine do it, and make the requests that a worker and its child make for such a run; what a
child's start costs its host is left out: it is the server that is measured.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_sync
from prefect.states import Pending

LOOK_SECONDS = 1.0
# as a worker asks for them: PREFECT_WORKER_PREFETCH_SECONDS
AHEAD = timedelta(seconds=10)
AT_ONCE = 16


@task(cache_policy=NO_CACHE, persist_result=False)
def look(number: int) -> int:
    get_run_logger().info("looked at %d", number)
    return number


@flow(name="bench-stand-in", persist_result=False)
def stand_in() -> None:
    """Three tasks and a line of log each: about what `idle` does for a model."""
    for number in range(3):
        look(number)


def take(run: FlowRun) -> None:
    """As a worker does: claims the run, waits until it is due, runs it."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Pending())
        claimed = client.read_flow_run(run.id)
    due = claimed.expected_start_time
    left = due.timestamp() - time.time() if due else 0.0
    time.sleep(max(0.0, left))
    run_flow_sync(stand_in, flow_run=claimed, return_type="state")


def wait_for_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    pool = sys.argv[1]
    over = threading.Event()
    threading.Thread(target=wait_for_end, args=(over,), daemon=True).start()
    seen = set()
    with get_client(sync_client=True) as client, ThreadPoolExecutor(AT_ONCE) as hands:
        while not over.wait(LOOK_SECONDS):
            before = datetime.now(UTC) + AHEAD
            for found in client.get_scheduled_flow_runs_for_work_pool(pool, scheduled_before=before):
                if found.flow_run.id not in seen:
                    seen.add(found.flow_run.id)
                    hands.submit(take, found.flow_run)
        hands.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
