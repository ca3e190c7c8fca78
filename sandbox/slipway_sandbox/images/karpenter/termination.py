"""A NodeClaim or its node is deleted: drained, its volumes given back, its instance terminated, then let go."""

from __future__ import annotations

import logging
from datetime import timedelta

from slipway_sandbox.controllers.node_fit import tolerates
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    NODES,
    Object,
    Resource,
    annotations_of,
    condition_is,
    condition_of,
    is_deleting,
    name_of,
    parse_time,
    status_of,
    timestamp,
)
from slipway_sandbox.controllers.pods import claim_names
from slipway_sandbox.controllers.writes import Delete, Patch
from slipway_sandbox.images.karpenter.disruption import taint
from slipway_sandbox.images.karpenter.resources import (
    DISRUPTED_TAINT,
    FINALIZER,
    NODE_CLAIMS,
    TERMINATION_TIME,
    seconds_of,
)
from slipway_sandbox.images.karpenter.state import COMPONENT, State
from slipway_sandbox.nodes.eviction import evict, of_daemon_set

log = logging.getLogger("karpenter")


def drainable(pods: list[Object]) -> list[Object]:
    """The pods a drain waits for: a DaemonSet's, and those that tolerate the taint of a node that goes, stay to the end."""
    return [
        pod
        for pod in pods
        if not of_daemon_set(pod) and tolerates(pod["spec"].get("tolerations") or [], DISRUPTED_TAINT) is None
    ]


def instance_of(claim: Object) -> str:
    return str(status_of(claim).get("providerID") or "").rpartition("/")[2]


class Termination:
    """`step` takes one claim that is being deleted as far as it can be taken now."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def node_deleted(self, node: Object) -> None:
        """Somebody deleted the node: its NodeClaim goes with it."""
        provider = node["spec"].get("providerID")
        for claim in self._state.claims():
            if status_of(claim).get("providerID") == provider and not is_deleting(claim):
                await self._state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))

    async def step(self, claim: Object) -> None:
        if FINALIZER not in (claim["metadata"].get("finalizers") or []):
            return
        claim = await self._set_time(claim)
        node = self._state.node_of(claim)
        if node is not None:
            await self._end_node(claim, node)
        elif await self._is_terminated(claim):
            await self._let_go(claim)
            log.info("deleted nodeclaim %s", name_of(claim))

    async def _set_time(self, claim: Object) -> Object:
        """With a terminationGracePeriod the moment is written down after which pods are not asked any more."""
        grace = seconds_of(claim["spec"].get("terminationGracePeriod"))
        if grace is None or TERMINATION_TIME in annotations_of(claim):
            return claim
        until = timestamp(parse_time(claim["metadata"]["deletionTimestamp"]) + timedelta(seconds=grace))
        body = {"metadata": {"annotations": {TERMINATION_TIME: until}}}
        written = await self._state.world.write(COMPONENT, Patch(NODE_CLAIMS, claim, body))
        about = [(claim, "NodeClaim")]
        message = f"All pods will be deleted by {until}"
        self._state.note(about, "TerminationGracePeriodExpiring", message, warning=True)
        return written or claim

    async def _end_node(self, claim: Object, node: Object) -> None:
        state = self._state
        if not is_deleting(node):
            await state.world.write(COMPONENT, Delete(NODES, node))
            return
        gone = instance_of(claim) not in state.alive
        if not (gone and not condition_is(node, "Ready")):
            await taint(state, node)
            if not await self._drained(claim, node) or not await self._detached(claim, node):
                return
        if await self._is_terminated(claim):
            await self._let_go(node, NODES)
            log.info("deleted node %s", name_of(node))

    async def _drained(self, claim: Object, node: Object) -> bool:
        state = self._state
        condition = condition_of(claim, "Drained")
        if condition is None:
            await state.set_condition(claim, "Drained", "Unknown", reason="Draining", message="Draining")
            return False
        if condition["status"] == "True":
            return True
        left = drainable(state.pods_on(node))
        over = self._is_over(claim)
        for pod in left:
            if over:
                path = state.world.client.path("v1", "pods", pod["metadata"]["namespace"], name_of(pod))
                await state.world.client.delete(path, gracePeriodSeconds=0)
            elif not is_deleting(pod) and annotations_of(pod).get("karpenter.sh/do-not-disrupt") != "true":
                if await evict(state.world.client, pod):
                    state.note([(pod, "Pod")], "Evicted", "Evicted pod: NodeClaim terminating")
                else:
                    said = f"Failed to drain node, {len(left)} pods are waiting to be evicted"
                    state.note([(node, "Node")], "FailedDraining", said, warning=True)
        began = parse_time(condition["lastTransitionTime"])
        if left or (state.world.now() - began).total_seconds() < state.timing.drain:
            return False
        await state.set_condition(claim, "Drained", "True")
        return True

    async def _detached(self, claim: Object, node: Object) -> bool:
        """Whether the volumes of the pods that were drained are off the node."""
        state = self._state
        if condition_is(claim, "VolumesDetached") or self._is_over(claim):
            return True
        path = state.world.client.path("storage.k8s.io/v1", "volumeattachments")
        attached = [
            a["spec"] for a in await state.world.client.list(path) if a["spec"]["nodeName"] == name_of(node)
        ]
        staying = {
            (state.world.store(CLAIMS).get(pod["metadata"]["namespace"], name) or {})
            .get("spec", {})
            .get("volumeName")
            for pod in state.pods_on(node)
            for name in claim_names(pod)
        }
        if any(a["source"].get("persistentVolumeName") not in staying for a in attached):
            waiting = "AwaitingVolumeDetachment"
            await state.set_condition(claim, "VolumesDetached", "Unknown", reason=waiting, message=waiting)
            return False
        await state.set_condition(claim, "VolumesDetached", "True")
        return True

    def _is_over(self, claim: Object) -> bool:
        until = annotations_of(claim).get(TERMINATION_TIME)
        return until is not None and self._state.world.now() >= parse_time(until)

    async def _is_terminated(self, claim: Object) -> bool:
        """The instance is told to end; whether it has."""
        state, instance = self._state, instance_of(claim)
        if instance and instance in state.alive:
            await state.cloud.terminate(instance)
            state.alive = await state.cloud.alive()
            await state.set_condition(claim, "InstanceTerminating", "True")
        return instance not in state.alive

    async def _let_go(self, item: Object, resource: Resource = NODE_CLAIMS) -> None:
        finalizers = [f for f in item["metadata"].get("finalizers") or [] if f != FINALIZER]
        body = {"metadata": {"finalizers": finalizers}}
        await self._state.world.write(COMPONENT, Patch(resource, item, body))
