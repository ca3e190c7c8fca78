"""The loop: look at everything, take each thing one step further, wait for news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.objects import NODES, Object, condition_is, is_deleting, labels_of, name_of
from slipway_sandbox.controllers.writes import Delete
from slipway_sandbox.images.karpenter.claims import Cluster
from slipway_sandbox.images.karpenter.cloud import LaunchFailed
from slipway_sandbox.images.karpenter.disruption import Disruption
from slipway_sandbox.images.karpenter.lifecycle import Lifecycle
from slipway_sandbox.images.karpenter.nodeclasses import NodeClasses
from slipway_sandbox.images.karpenter.offerings import CAPACITY_TYPE, TYPE, ZONE
from slipway_sandbox.images.karpenter.podevents import PodEvents
from slipway_sandbox.images.karpenter.provisioning import Provisioner, report_pool
from slipway_sandbox.images.karpenter.resources import FINALIZER, NODE_CLAIMS, NODE_CLASSES, NODE_POOLS
from slipway_sandbox.images.karpenter.state import COMPONENT, NEEDS, State
from slipway_sandbox.images.karpenter.termination import Termination, instance_of

log = logging.getLogger("karpenter")
PASSING = (ApiError, aiohttp.ClientError, TimeoutError, BotoCoreError, ClientError, LaunchFailed)
SPOT_WARNING = "EC2 Spot Instance Interruption Warning"
SHORTEST = 0.1  # seconds between two rounds, however much news there is
NEWS = (NODE_POOLS, NODE_CLAIMS, NODE_CLASSES, *(r for r in NEEDS if r.plural in ("pods", "nodes")))


class Operator:
    """`queue`: the interruption queue's name, empty where there is none."""

    def __init__(self, state: State, cluster: Cluster, version: str, queue: str) -> None:
        self._state, self._queue = state, queue
        self._classes = NodeClasses(state, version)
        self._lifecycle = Lifecycle(state, cluster)
        self._termination = Termination(state)
        self._provisioner = Provisioner(state)
        self._pod_events = PodEvents(state)
        self._disruption = Disruption(state, self._pod_events)
        self._news = asyncio.Event()
        self._looked = self._disrupted = float("-inf")
        self._has_looked = False
        self._trouble: dict[str, str] = {}

    async def run(self) -> None:
        """Never returns; end it by cancelling."""
        for store in [self._state.world.store(resource) for resource in NEEDS]:
            await store.synced.wait()
        for resource in NEWS:
            self._state.world.store(resource).listen(lambda _before, _after: self._news.set())
        while True:
            self._news.clear()
            await self._round(asyncio.get_running_loop().time())
            await asyncio.sleep(SHORTEST)
            try:
                async with asyncio.timeout(self._state.timing.look):
                    await self._news.wait()
            except TimeoutError:
                continue  # time alone changes answers too

    async def _round(self, clock: float) -> None:
        state, world = self._state, self._state.world
        if clock - self._looked >= state.timing.cloud:
            self._looked = clock
            await self._guarded("instances", self._look())
        for node_class in world.store(NODE_CLASSES):
            await self._guarded(f"ec2nodeclass {name_of(node_class)}", self._classes.step(node_class, clock))
        for node in world.store(NODES):
            if is_deleting(node) and FINALIZER in (node["metadata"].get("finalizers") or []):
                await self._guarded(f"node {name_of(node)}", self._termination.node_deleted(node))
        for claim in state.claims():
            stage = self._termination if is_deleting(claim) else self._lifecycle
            await self._guarded(f"nodeclaim {name_of(claim)}", stage.step(claim))
        await self._guarded("provisioning", self._provisioner.step(clock))
        for pool in world.store(NODE_POOLS):
            await self._guarded(f"nodepool {name_of(pool)}", report_pool(state, pool))
        await self._guarded("pod events", self._pod_events.step())
        if clock - self._disrupted >= state.timing.look:
            self._disrupted = clock
            await self._guarded("disruption", self._disruption.step())

    async def _guarded(self, what: str, step: Awaitable[None]) -> None:
        """A step that fails is taken again in the next round; the same failure is logged once."""
        try:
            await step
            self._trouble.pop(what, None)
        except PASSING as error:
            stale = isinstance(error, ApiError) and error.code in (404, 409)
            if not stale and self._trouble.get(what) != str(error):
                log.warning("%s: %s", what, error)
            self._trouble[what] = str(error)

    # --- what EC2 says by itself

    async def _look(self) -> None:
        """Which instances there are; what has no partner on the other side goes. Then the interruption queue."""
        state = self._state
        claims = state.claims()
        # The first look is taken anyway: it finds what an earlier run launched and never wrote down.
        if self._has_looked and not claims and not state.alive and not self._queue:
            return
        state.alive = await state.cloud.alive()
        self._has_looked = True
        for claim in claims:
            instance, node = instance_of(claim), state.node_of(claim)
            ready = node is not None and condition_is(node, "Ready")
            if instance and instance not in state.alive and not ready and not is_deleting(claim):
                log.info("garbage collecting nodeclaim %s: its instance is gone", name_of(claim))
                await self._lifecycle.delete(claim)
        named = {instance_of(claim) for claim in claims}
        for instance, launched in state.alive.items():
            age = (state.world.now() - launched).total_seconds()
            if instance not in named and age > state.timing.orphan:
                log.info("garbage collecting instance %s: no nodeclaim has it", instance)
                await state.cloud.terminate(instance)
        if self._queue:
            await self._interruptions()

    async def _interruptions(self) -> None:
        state = self._state
        for kind, instance, receipt in await state.cloud.interruptions(self._queue):
            claim = next((c for c in state.claims() if instance_of(c) == instance), None)
            if kind == SPOT_WARNING and claim is not None and not is_deleting(claim):
                await self._interrupted(claim)
            await state.cloud.done_with(self._queue, receipt)

    async def _interrupted(self, claim: Object) -> None:
        state, labels = self._state, labels_of(claim)
        state.cloud.unavailable.mark((labels[TYPE], labels[ZONE], labels[CAPACITY_TYPE]))
        both = [(claim, "NodeClaim"), (state.node_of(claim), "Node")]
        state.note(both, "SpotInterrupted", "Spot interruption warning was triggered", warning=True)
        said = "Interruption triggered termination for the NodeClaim"
        state.note([(claim, "NodeClaim")], "TerminatingOnInterruption", said, warning=True)
        await state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))
