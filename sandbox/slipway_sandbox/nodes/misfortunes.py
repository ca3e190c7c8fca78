"""The faults that strike nodes and pods: looked for in turn, and carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiError, Object
from slipway_sandbox.faults import Faults
from slipway_sandbox.nodes.machine import Machine
from slipway_sandbox.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class Source(Protocol):
    """Where machines come from and go to."""

    def machines(self) -> list[Machine]: ...
    async def reclaim(self, machine: Machine, notice: float) -> None: ...


class Misfortunes:
    """node-lost, spot-reclaim and pod-oom-killed. A node lost by a fault without a count recovers when it is cleared."""

    def __init__(
        self, faults: Faults, settings: Settings, nodes: Source, pods: Callable[[str], list[Object]]
    ) -> None:
        self._faults, self._settings, self._nodes, self._pods = faults, settings, nodes, pods
        self._lost_for_good: set[str] = set()

    async def run(self) -> None:
        while True:
            try:
                for machine in self._nodes.machines():
                    await self._visit(machine)
            except (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError) as error:
                log.warning("a fault was not carried out whole: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _visit(self, machine: Machine) -> None:
        if machine.leaving:
            return
        if machine.lost:
            gone = machine.name in self._lost_for_good
            if not gone and not self._faults.is_on("node-lost", machine.name):
                await machine.recover(self._pods(machine.name))
            return
        if fault := self._faults.hit("node-lost", target=machine.name):
            if fault.count is not None:
                self._lost_for_good.add(machine.name)
            await machine.lose()
        elif self._faults.hit("spot-reclaim", target=machine.name):
            await self._nodes.reclaim(machine, self._settings.spot_notice_seconds)
        else:
            self._out_of_memory(machine)

    def _out_of_memory(self, machine: Machine) -> None:
        for worker in machine.workers.values():
            running = [c for c in worker.containers if c.state.running]
            if running and self._faults.hit("pod-oom-killed", target=worker.name):
                for container in running:
                    container.kill(out_of_memory=True)
