"""Nodes on which nothing runs go, and those whose time is over, as the NodePool and its budgets allow."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from slipway_sandbox.controllers.objects import (
    NODES,
    Object,
    annotations_of,
    condition_is,
    condition_of,
    is_deleting,
    name_of,
    parse_time,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.writes import Delete, Patch
from slipway_sandbox.images.karpenter.budgets import allowed
from slipway_sandbox.images.karpenter.podevents import PodEvents
from slipway_sandbox.images.karpenter.resources import (
    DISRUPTED_TAINT,
    DO_NOT_DISRUPT,
    NODE_CLAIMS,
    NODE_POOLS,
    same_taint,
    seconds_of,
)
from slipway_sandbox.images.karpenter.state import COMPONENT, State
from slipway_sandbox.nodes.eviction import of_daemon_set

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


def counted(nodes: Iterable[tuple[Object, Object | None, bool]]) -> tuple[int, int]:
    """(nodes a budget is of, those of them that use it up) of (NodeClaim, its node, whether it is going).

    pkg/controllers/disruption/helpers.go, BuildDisruptionBudgetMapping: what is not initialized yet, or terminated already,
    does not count; what is going or not ready uses the budget up, whatever the reason.
    """
    counting = [
        (node, going)
        for claim, node, going in nodes
        if node and condition_is(claim, "Initialized") and not condition_is(claim, "InstanceTerminating")
    ]
    return len(counting), sum(going or not condition_is(node, "Ready") for node, going in counting)


class Disruption:
    """`step` looks at every NodeClaim once."""

    def __init__(self, state: State, events: PodEvents) -> None:
        self._state, self._events = state, events
        self._said: dict[str, str] = {}

    async def step(self) -> None:
        pools = list(self._state.world.store(NODE_POOLS))
        for pool in pools:
            claims = self._state.claims_of(name_of(pool))
            for claim in claims:
                if not is_deleting(claim) and self._is_expired(claim):
                    log.info("expired nodeclaim %s", name_of(claim))
                    await self._state.world.write(COMPONENT, Delete(NODE_CLAIMS, claim))
            await self._consolidate(pool, claims)
        there = {uid_of(item) for item in (*pools, *self._state.claims())}
        self._said = {uid: said for uid, said in self._said.items() if uid in there}

    def _is_expired(self, claim: Object) -> bool:
        limit = seconds_of(claim["spec"].get("expireAfter"))
        born = parse_time(claim["metadata"]["creationTimestamp"])
        return limit is not None and (self._state.world.now() - born).total_seconds() >= limit

    def _is_going(self, claim: Object) -> bool:
        return is_deleting(claim) or self._is_expired(claim)

    async def _consolidate(self, pool: Object, claims: list[Object]) -> None:
        staying = [claim for claim in claims if not self._is_going(claim)]
        empty = [claim for claim in staying if await self._is_consolidatable(pool, claim)]
        candidates = [claim for claim in empty if self._may_go(claim)]
        if not candidates:
            return
        nodes, going = counted((claim, self._state.node_of(claim), self._is_going(claim)) for claim in claims)
        budgets = (pool["spec"].get("disruption") or {}).get("budgets")
        permitted = allowed(budgets, "Empty", nodes, self._state.world.now())
        if not permitted:
            said = "No allowed disruptions for disruption reason Empty due to blocking budget"
            self._say(pool, "NodePool", said)
        for claim in candidates[: max(permitted - going, 0)]:
            await self._disrupt(claim)

    async def _is_consolidatable(self, pool: Object, claim: Object) -> bool:
        """Whether the node is empty, and nothing came to it or went for the NodePool's consolidateAfter; that is said in a condition."""
        state, node = self._state, self._state.node_of(claim)
        initialized = condition_of(claim, "Initialized")
        if node is None or initialized is None or initialized["status"] != "True":
            return False
        wait = seconds_of((pool["spec"].get("disruption") or {}).get("consolidateAfter") or "0s")
        empty = not residents(state.pods_on(node))
        written = (initialized["lastTransitionTime"], status_of(claim).get("lastPodEventTime"))
        times = [*(parse_time(time) for time in written if time), self._events.last(name_of(node))]
        quiet = (state.world.now() - max(time for time in times if time)).total_seconds()
        if wait is None or quiet < wait:
            if condition_of(claim, "Consolidatable") is not None:
                kept = [c for c in status_of(claim)["conditions"] if c["type"] != "Consolidatable"]
                await state.set_status(claim, {**status_of(claim), "conditions": kept})
            return False
        await state.set_condition(claim, "Consolidatable", "True")
        return empty and name_of(claim) not in state.nominated.values()

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
