"""Nodes on which nothing runs go, and those whose time is over, as the NodePool and its budgets allow."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sandbox.controllers.objects import (
    NODES,
    Object,
    annotations_of,
    condition_is,
    condition_of,
    is_deleting,
    name_of,
    parse_time,
    status_of,
    timestamp,
    uid_of,
)
from sandbox.controllers.writes import Delete, Patch
from sandbox.images.karpenter.budgets import allowed
from sandbox.images.karpenter.resources import (
    DISRUPTED_TAINT,
    DO_NOT_DISRUPT,
    NODE_CLAIMS,
    NODE_POOLS,
    same_taint,
    seconds_of,
)
from sandbox.images.karpenter.state import COMPONENT, State
from sandbox.nodes.eviction import of_daemon_set

log = logging.getLogger("karpenter")


def residents(pods: Iterable[Object]) -> list[Object]:
    """The pods a node is there for: neither a DaemonSet's, nor ended, nor on their way out."""
    return [pod for pod in pods if not of_daemon_set(pod) and not is_deleting(pod)]


def blocking(claim: Object, node: Object, pods: Iterable[Object]) -> str:
    """Why a node must not be disrupted; empty where nothing forbids it."""
    said = f'disruption is blocked through the "{DO_NOT_DISRUPT}" annotation'
    if any(annotations_of(item).get(DO_NOT_DISRUPT) == "true" for item in (claim, node)):
        return said
    held = next((pod for pod in pods if annotations_of(pod).get(DO_NOT_DISRUPT) == "true"), None)
    return (
        f'pod has "{DO_NOT_DISRUPT}" annotation ({held["metadata"]["namespace"]}/{name_of(held)})'
        if held
        else ""
    )


class Disruption:
    """`step` looks at every NodeClaim once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._residents: dict[str, frozenset[str]] = {}
        self._said: dict[str, str] = {}

    async def step(self) -> None:
        for pool in self._state.world.store(NODE_POOLS):
            claims = self._state.claims_of(name_of(pool))
            for claim in claims:
                if not is_deleting(claim) and self._is_expired(claim):
                    log.info("expired nodeclaim %s", name_of(claim))
                    await self._state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))
            await self._consolidate(pool, [claim for claim in claims if not self._is_expired(claim)])

    def _is_expired(self, claim: Object) -> bool:
        limit = seconds_of(claim["spec"].get("expireAfter"))
        born = parse_time(claim["metadata"]["creationTimestamp"])
        return limit is not None and (self._state.world.now() - born).total_seconds() >= limit

    async def _consolidate(self, pool: Object, claims: list[Object]) -> None:
        empty = [
            claim for claim in claims if not is_deleting(claim) and await self._is_consolidatable(pool, claim)
        ]
        candidates = [claim for claim in empty if self._may_go(claim)]
        if not candidates:
            return
        budgets = (pool["spec"].get("disruption") or {}).get("budgets")
        going = sum(is_deleting(claim) for claim in claims)
        left = allowed(budgets, "Empty", len(claims), self._state.world.now()) - going
        if left <= 0:
            said = "No allowed disruptions for disruption reason Empty due to blocking budget"
            self._say(pool, "NodePool", said)
        for claim in candidates[: max(left, 0)]:
            await self._disrupt(claim)

    async def _is_consolidatable(self, pool: Object, claim: Object) -> bool:
        """Whether nothing came to the node or went from it for the NodePool's consolidateAfter; said in a condition."""
        state, node = self._state, self._state.node_of(claim)
        if node is None or not condition_is(claim, "Initialized"):
            return False
        claim = await self._remember(claim, node)
        wait = seconds_of((pool["spec"].get("disruption") or {}).get("consolidateAfter") or "0s")
        initialized = condition_of(claim, "Initialized")
        assert initialized is not None
        times = [status_of(claim).get("lastPodEventTime"), initialized["lastTransitionTime"]]
        quiet = max(parse_time(time) for time in times if time)
        if wait is None or (state.world.now() - quiet).total_seconds() < wait:
            if condition_of(claim, "Consolidatable") is not None:
                kept = [c for c in status_of(claim)["conditions"] if c["type"] != "Consolidatable"]
                await state.set_status(claim, {**status_of(claim), "conditions": kept})
            return False
        await state.set_condition(claim, "Consolidatable", "True")
        return not residents(state.pods_on(node)) and name_of(claim) not in state.nominated.values()

    async def _remember(self, claim: Object, node: Object) -> Object:
        """The claim with the time of the last pod's coming or going."""
        now = frozenset(uid_of(pod) for pod in residents(self._state.pods_on(node)))
        before = self._residents.get(uid_of(claim))
        self._residents[uid_of(claim)] = now
        if now == before or (before is None and not now):
            return claim
        status = {**status_of(claim), "lastPodEventTime": timestamp(self._state.world.now())}
        await self._state.set_status(claim, status)
        return {**claim, "status": status}

    def _may_go(self, claim: Object) -> bool:
        node = self._state.node_of(claim)
        assert node is not None
        why = blocking(claim, node, self._state.pods_on(node))
        if why:
            self._say(claim, "NodeClaim", why)
        return not why

    def _say(self, item: Object, kind: str, message: str) -> None:
        if self._said.get(uid_of(item)) != message:
            self._said[uid_of(item)] = message
            self._state.note([(item, kind)], "DisruptionBlocked", message)

    async def _disrupt(self, claim: Object) -> None:
        state, node = self._state, self._state.node_of(claim)
        assert node is not None
        log.info("disrupting node(s), empty: %s", name_of(claim))
        await taint(state, node)
        await state.set_condition(claim, "DisruptionReason", "True", reason="Empty", message="Empty")
        state.note([(node, "Node")], "DisruptionTerminating", "Disrupting Node: Empty")
        state.note([(claim, "NodeClaim")], "DisruptionTerminating", "Disrupting NodeClaim: Empty")
        await state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))


async def taint(state: State, node: Object) -> None:
    """No pod that does not tolerate it comes to the node any more."""
    taints = node["spec"].get("taints") or []
    if any(same_taint(t, DISRUPTED_TAINT) for t in taints):
        return
    version = {"resourceVersion": node["metadata"]["resourceVersion"]}
    body = {"metadata": version, "spec": {"taints": [*taints, DISRUPTED_TAINT]}}
    await state.world.write(COMPONENT, Patch(NODES, node, body))
