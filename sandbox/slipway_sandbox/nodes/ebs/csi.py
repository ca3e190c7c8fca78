"""The driver with all that stands beside it, run for as long as the nodes are."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import World
from slipway_sandbox.controllers.snapshot_controller import SnapshotContentController, SnapshotController
from slipway_sandbox.nodes.addons import SNAPSHOT_CONTROLLER
from slipway_sandbox.nodes.ebs.definitions import install
from slipway_sandbox.nodes.ebs.driver import EbsDriver
from slipway_sandbox.nodes.ebs.provisioner import Provisioner
from slipway_sandbox.nodes.ebs.registration import Registrar
from slipway_sandbox.nodes.ebs.resizer import Resizer
from slipway_sandbox.nodes.ebs.snapshotter import Snapshotter
from slipway_sandbox.nodes.platform import Platform
from slipway_sandbox.nodes.pod_identity import PodIdentityAgent

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks for the snapshot-controller add-on, until it is there


async def run_storage(platform: Platform, identity: PodIdentityAgent, folder: Path) -> None:
    """Serve claims and snapshots for ever; `folder` holds the volumes' contents. Each part waits for its add-on."""
    driver = EbsDriver(platform, identity, folder)
    async with asyncio.TaskGroup() as group:
        world = World(platform.client, group)
        group.create_task(world.recorder.run())
        group.create_task(Provisioner(platform, driver).run())
        group.create_task(Registrar(world, driver).run())
        group.create_task(Resizer(world, driver).run())
        group.create_task(_snapshots(platform, driver, world, group))


async def _snapshots(platform: Platform, driver: EbsDriver, world: World, group: asyncio.TaskGroup) -> None:
    """Once the add-on is there: its definitions, its controllers, and the driver's sidecar that waits for both.

    An add-on that is deleted leaves them running, as its definitions and what was made of them stay, too.
    """
    while True:
        try:
            if await driver.addons.works(SNAPSHOT_CONTROLLER):
                await install(platform.client)
                break
        except (ApiError, aiohttp.ClientError, TimeoutError, ClientError, BotoCoreError) as error:
            log.warning("snapshot-controller of %s: %s", platform.cluster, error)
        await asyncio.sleep(LOOK_SECONDS)
    group.create_task(SnapshotController(world).run())
    group.create_task(SnapshotContentController(world).run())
    group.create_task(Snapshotter(world, driver, platform.cluster).run())
