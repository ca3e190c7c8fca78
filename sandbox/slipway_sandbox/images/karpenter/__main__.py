"""`python -m slipway_sandbox.images.karpenter`, in a pod: the API through $KUBECONFIG, AWS as its SDKs find it, settings as the chart gives them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiClient
from slipway_sandbox.controllers.controller import World, utc_now
from slipway_sandbox.images.karpenter.cloud import Cloud, Unavailable
from slipway_sandbox.images.karpenter.operator import Operator
from slipway_sandbox.images.karpenter.resources import seconds_of
from slipway_sandbox.images.karpenter.state import State, Timing
from slipway_sandbox.images.operator_pod import FORMAT, client_from_kubeconfig, health, until_told_to_end
from slipway_sandbox.service_models import read_lean

log = logging.getLogger("karpenter")


async def run_operator(client: ApiClient, cloud: Cloud, timing: Timing, queue: str) -> None:
    """Run until cancelled. Raises botocore's errors where AWS does not know the cluster or nobody is allowed to ask."""
    cluster, version = await cloud.describe_cluster()
    prices = await cloud.prices()
    async with asyncio.TaskGroup() as group:
        world = World(client, group, utc_now)
        group.create_task(world.recorder.run(), name="events")
        state = State(world, cloud, timing, prices)
        await Operator(state, cluster, version, queue).run()


def timing() -> Timing:
    """Raises ValueError for what is no duration."""
    idle = seconds_of(os.environ.get("BATCH_IDLE_DURATION", "1s"))
    longest = seconds_of(os.environ.get("BATCH_MAX_DURATION", "10s"))
    if idle is None or longest is None:
        raise ValueError("a batch's durations must be given")
    return Timing(batch_idle=idle, batch_max=longest)


async def _main() -> None:
    read_lean()
    asked, queue = timing(), os.environ.get("INTERRUPTION_QUEUE", "")
    cloud = Cloud(os.environ["CLUSTER_NAME"], Unavailable(asyncio.get_running_loop().time, asked.unavailable))
    port = int(os.environ.get("HEALTH_PROBE_PORT", "8081"))
    client = client_from_kubeconfig(Path(os.environ["KUBECONFIG"]))
    async with health(os.environ["SLIPWAY_SANDBOX_POD_IP"], port), client:
        await until_told_to_end(run_operator(client, cloud, asked, queue), log)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORMAT)
    try:
        asyncio.run(_main())
    except (BotoCoreError, ClientError) as refused:
        sys.exit(f"panic: AWS could not be asked: {refused}")
