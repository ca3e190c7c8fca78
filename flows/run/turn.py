"""Lock a cluster for one run at a time: deploy, promote, rollback, sweep, scale-down, wake, teardown.

The lock is a global concurrency limit of Prefect, held by a lease. A run labels itself with its process and its lease.
A run that waits looks whether the holder's process on this host is gone; then it releases the lease and marks it Crashed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.run.timeline import ASKED_LABEL, WAITED_LABEL
from tasks.records.environment import Environment
from tasks.records.errors import StateLocked
from tasks.records.owner import is_alive, this_run

# the shortest Prefect allows
LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 3600.0
LOOK_SECONDS = 1.0


@contextmanager
def turn(environment: Environment, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the cluster of `environment` while the block runs. Raises StateLocked after `patience` seconds."""
    name = f"slipway-{environment.cluster.name}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
        asked = time.time()
        lease, waited = _acquire(client, name, patience)
        stop = threading.Event()
        renewing = threading.Thread(target=_renew, args=(lease, stop), daemon=True)
        renewing.start()
        try:
            _label(client, lease, {ASKED_LABEL: asked, WAITED_LABEL: waited})
            yield
        finally:
            stop.set()
            renewing.join(10)
            client.release_concurrency_slots_with_lease(lease)


def _acquire(client: SyncPrefectClient, name: str, patience: float) -> tuple[UUID, float]:
    """The lease, and the seconds it was waited for; 0 where nobody held it."""
    began, refused, told = time.monotonic(), False, False
    while True:
        try:
            answer = client.increment_concurrency_slots_with_lease([name], 1, "concurrency", LEASE_SECONDS)
            return UUID(answer.json()["lease_id"]), time.monotonic() - began if refused else 0.0
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.LOCKED:
                raise
        refused = True
        if free_the_dead(client):
            continue
        if not told:
            get_run_logger().info("another run works on this cluster: waiting for my turn")
            told = True
        if time.monotonic() >= began + patience:
            raise StateLocked(
                f"another run held {name} for {patience:.0f} s",
                next_command="prefect flow-run ls --state Running",
            )
        time.sleep(LOOK_SECONDS)


def free_the_dead(client: SyncPrefectClient) -> int:
    """Release the leases of runs whose process on this host is gone; the number of them."""
    running = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
        )
    )
    here, freed = this_run(time.time()), 0
    for run in running:
        labels: dict[str, Any] = run.labels or {}
        lease = labels.get("slipway.lease")
        if not lease or (labels.get("slipway.host"), labels.get("slipway.boot")) != (here.host, here.boot):
            continue
        if is_alive(int(labels["slipway.pid"]), str(labels["slipway.began"])):
            continue
        get_run_logger().info("run %s was killed: taking over from it", run.name)
        client.set_flow_run_state(run.id, Crashed(message="its process is gone"), force=True)
        client.release_concurrency_slots_with_lease(UUID(str(lease)))
        freed += 1
    return freed


def _label(client: SyncPrefectClient, lease: UUID, waiting: Mapping[str, float]) -> None:
    run_id = flow_run.get_id()
    if run_id:
        me = this_run(time.time())
        client.update_flow_run_labels(
            UUID(run_id),
            {
                "slipway.lease": str(lease),
                "slipway.host": socket.gethostname(),
                "slipway.boot": me.boot,
                "slipway.pid": os.getpid(),
                "slipway.began": me.pid_began,
                **waiting,
            },
        )


def _renew(lease: UUID, stop: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not stop.wait(LEASE_SECONDS / 4):
            client.renew_concurrency_lease(lease, LEASE_SECONDS)
