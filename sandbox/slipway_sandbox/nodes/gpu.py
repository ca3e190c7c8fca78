"""The kubelet's side of the device plugin API: GPUs are advertised while the plugin's pod runs on the node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import aiohttp

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.images.table import repository
from slipway_sandbox.nodes.machine import Machine

log = logging.getLogger(__name__)

PLUGIN_IMAGE = "nvcr.io/nvidia/k8s-device-plugin"
LOOK_SECONDS = 0.1


def plugin_runs(machine: Machine) -> bool:
    """Whether a device plugin pod is running and ready on the machine."""
    return any(
        worker.running
        and any(repository(c["image"]) == PLUGIN_IMAGE for c in worker.pod["spec"]["containers"])
        for worker in machine.workers.values()
    )


async def advertise(machines: Callable[[], Iterable[Machine]]) -> None:
    """Keep every GPU node's nvidia.com/gpu in step with its plugin, for ever."""
    while True:
        for machine in machines():
            if not machine.spec.type.gpus or machine.lost or machine.leaving:
                continue
            count = machine.working_gpus() if plugin_runs(machine) else 0
            if count == machine.advertised_gpus:
                continue
            try:
                await machine.advertise_gpus(count)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.code == 404:
                    continue  # the Node was deleted: its instance goes too
                machine.advertised_gpus = -1  # unknown to the API: said again at the next look
                log.warning("node %s: GPUs not advertised: %s", machine.name, error)
        await asyncio.sleep(LOOK_SECONDS)
