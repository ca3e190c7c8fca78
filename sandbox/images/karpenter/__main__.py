"""`python -m sandbox.images.karpenter`, in a pod: the API through $KUBECONFIG, AWS as its SDKs find it, settings as the chart gives them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.apiclient import ApiClient
from sandbox.controllers.controller import World, utc_now
from sandbox.images.karpenter.cloud import Cloud, Unavailable
from sandbox.images.karpenter.operator import Operator
from sandbox.images.karpenter.resources import seconds_of
from sandbox.images.karpenter.state import State, Timing
from sandbox.images.keda import client_from_kubeconfig
from sandbox.service_models import read_lean

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


async def _serve_health(host: str, port: int) -> web.AppRunner:
    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.router.add_get("/healthz", fine)
    application.router.add_get("/readyz", fine)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def _timing() -> Timing:
    idle, longest = os.environ.get("BATCH_IDLE_DURATION", "1s"), os.environ.get("BATCH_MAX_DURATION", "10s")
    return Timing(batch_idle=seconds_of(idle) or 1.0, batch_max=seconds_of(longest) or 10.0)


async def _main() -> None:
    read_lean()
    loop = asyncio.get_running_loop()
    cloud = Cloud(os.environ["CLUSTER_NAME"], Unavailable(loop.time))
    port = int(os.environ.get("HEALTH_PROBE_PORT", "8081"))
    runner = await _serve_health(os.environ["SLIPWAY_SANDBOX_POD_IP"], port)
    async with client_from_kubeconfig(Path(os.environ["KUBECONFIG"])) as client:
        queue = os.environ.get("INTERRUPTION_QUEUE", "")
        task = asyncio.create_task(run_operator(client, cloud, _timing(), queue))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            log.info("Shutdown signal received, waiting for all workers to finish")
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s"
    )
    try:
        asyncio.run(_main())
    except (BotoCoreError, ClientError) as refused:
        sys.exit(f"panic: AWS could not be asked: {refused}")
