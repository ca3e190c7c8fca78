"""What kube-controller-manager and kube-scheduler do, over any Kubernetes API.

Pure `decide_*` functions take objects and return intended writes; a thin part watches and carries them out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from slipway_sandbox.apiclient import ApiClient
from slipway_sandbox.controllers.controller import Controller, Timing, World, utc_now
from slipway_sandbox.controllers.daemonset import DaemonSetController
from slipway_sandbox.controllers.deployment import DeploymentController
from slipway_sandbox.controllers.disruption import DisruptionController
from slipway_sandbox.controllers.endpoints import EndpointsController
from slipway_sandbox.controllers.ephemeral import EphemeralVolumeController
from slipway_sandbox.controllers.garbage import GarbageCollector
from slipway_sandbox.controllers.job import JobController
from slipway_sandbox.controllers.namespaces import NamespaceController, ServiceAccountController
from slipway_sandbox.controllers.nodelifecycle import NodeLifecycleController
from slipway_sandbox.controllers.replicaset import ReplicaSetController
from slipway_sandbox.controllers.scheduler import Scheduler
from slipway_sandbox.controllers.statefulset import StatefulSetController
from slipway_sandbox.controllers.tainteviction import TaintEvictionController
from slipway_sandbox.controllers.volume_controllers import ClaimController, VolumeController
from slipway_sandbox.faults import Faults

__all__ = ["Timing", "run_controllers"]

CONTROLLERS: tuple[type[Controller], ...] = (
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    DaemonSetController,
    JobController,
    DisruptionController,
    EndpointsController,
    NamespaceController,
    ServiceAccountController,
    ClaimController,
    VolumeController,
    EphemeralVolumeController,
    NodeLifecycleController,
    TaintEvictionController,
)


async def run_controllers(
    client: ApiClient,
    faults: Faults,
    *,
    now: Callable[[], datetime] = utc_now,
    timing: Timing | None = None,
) -> None:
    """Run every controller and the scheduler. Never returns; end it by cancelling.

    A reconcile that fails is logged and retried with back-off. No fault of the catalogue strikes in here: what
    goes wrong around them (api-conflict, api-500, node-lost) they meet as the real ones do, through the API.
    """
    del faults
    async with asyncio.TaskGroup() as group:
        world = World(client, group, now, timing)
        group.create_task(world.recorder.run(), name="events")
        for controller in CONTROLLERS:
            group.create_task(controller(world).run(), name=controller.component)
        group.create_task(GarbageCollector(world).run(), name=GarbageCollector.component)
        group.create_task(Scheduler(world).run(), name="scheduler")
