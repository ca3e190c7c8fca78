"""Pods that fit nowhere get NodeClaims; NodePools say what they have."""

from __future__ import annotations

import logging

from slipway_sandbox.controllers.objects import (
    CLAIMS,
    DAEMON_SETS,
    NAMESPACES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Object,
    condition_is,
    condition_of,
    is_deleting,
    labels_of,
    name_of,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import is_terminal, requests
from slipway_sandbox.controllers.snapshot import NodeInfo, Snapshot, take_snapshot
from slipway_sandbox.controllers.writes import Create, Patch
from slipway_sandbox.images.karpenter.claims import claim_of
from slipway_sandbox.images.karpenter.offerings import resources
from slipway_sandbox.images.karpenter.packing import Packing, daemons_on
from slipway_sandbox.images.karpenter.resources import (
    DISRUPTED_TAINT,
    NODE_CLAIMS,
    NODE_POOLS,
    conditioned,
    same_taint,
    with_root,
)
from slipway_sandbox.images.karpenter.state import COMPONENT, State

log = logging.getLogger("karpenter")
POOL_PARTS = ("ValidationSucceeded", "NodeClassReady")


def is_provisionable(pod: Object) -> bool:
    """A pod the scheduler found no node for (pkg/utils/pod/scheduling.go)."""
    condition = condition_of(pod, "PodScheduled") or {}
    owners = pod["metadata"].get("ownerReferences") or []
    return (
        condition.get("status") == "False"
        and condition.get("reason") == "Unschedulable"
        and not pod["spec"].get("nodeName")
        and not is_deleting(pod)
        and not is_terminal(pod)
        and not any(owner["kind"] in ("DaemonSet", "Node") for owner in owners)
    )


class Batch:
    """A round begins once no new pod has come for `idle` seconds, or `longest` after the first."""

    def __init__(self, idle: float, longest: float) -> None:
        self._idle, self._longest = idle, longest
        self._seen: set[str] = set()
        self._first = self._last = 0.0

    def is_due(self, pods: list[Object], now: float) -> bool:
        uids = {uid_of(pod) for pod in pods}
        if not self._seen & uids:
            self._first = now
        if uids - self._seen:
            self._last = now
        self._seen = uids
        return bool(uids) and (now - self._last >= self._idle or now - self._first >= self._longest)


class Provisioner:
    """`step` looks at the pending pods, and asks for the nodes they need."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._batch = Batch(state.timing.batch_idle, state.timing.batch_max)
        self._said: dict[str, str] = {}  # pod uid -> the last thing said about it

    async def step(self, clock: float) -> None:
        state = self._state
        pending = [pod for pod in state.world.store(PODS) if is_provisionable(pod)]
        uids = {uid_of(pod) for pod in pending}
        state.nominated = {uid: name for uid, name in state.nominated.items() if uid in uids}
        self._said = {uid: said for uid, said in self._said.items() if uid in uids}
        if not self._batch.is_due(pending, clock):
            return
        daemons = [_pod_of(daemon_set) for daemon_set in state.world.store(DAEMON_SETS)]
        plan = Packing(self._snapshot(daemons), state.pools(), daemons).decide(pending)
        for pod, node in plan.nominations:
            self._nominate(pod, node)
        for pod, why in plan.errors:
            self._say(pod, "FailedScheduling", f"Failed to schedule pod, {why}", warning=True)
        for draft in plan.drafts:
            claim = await state.world.write(COMPONENT, Create(NODE_CLAIMS, claim_of(draft)))
            assert claim is not None
            log.info("created nodeclaim %s for %d pod(s)", name_of(claim), len(draft.pods))
            for pod in draft.pods:
                self._nominate(pod, name_of(claim))

    def _nominate(self, pod: Object, name: str) -> None:
        """`name`: a NodeClaim's, or a node's."""
        store = self._state.world.store(NODE_CLAIMS)
        claim = store.get("", name)
        if claim is None:
            claim = next((c for c in store if status_of(c).get("nodeName") == name), None)
        if claim is None:
            return  # a node Karpenter did not make: the scheduler's own affair
        self._state.nominated[uid_of(pod)] = name_of(claim)
        node = status_of(claim).get("nodeName")
        where = f"nodeclaim/{name_of(claim)}" + (f", node/{node}" if node else "")
        self._say(pod, "Nominated", f"Pod should schedule on: {where}")

    def _say(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        if self._said.get(uid_of(pod)) != message:
            self._said[uid_of(pod)] = message
            self._state.note([(pod, "Pod")], reason, message, warning=warning)

    def _snapshot(self, daemons: list[Object]) -> Snapshot:
        """The nodes that stay, and the NodeClaims that are to become nodes, as they will be."""
        world = self._state.world
        coming = {name_of(claim): claim for claim in self._state.claims() if not is_deleting(claim)}
        unready = {name: claim for name, claim in coming.items() if not condition_is(claim, "Initialized")}
        names = {status_of(claim).get("nodeName") for claim in unready.values()}
        nodes = [
            node
            for node in world.store(NODES)
            if name_of(node) not in names
            and not is_deleting(node)
            and not any(same_taint(t, DISRUPTED_TAINT) for t in node["spec"].get("taints") or [])
        ]
        snapshot = take_snapshot(
            nodes,
            world.store(PODS),
            claims=world.store(CLAIMS),
            volumes=world.store(VOLUMES),
            classes=world.store(STORAGE_CLASSES),
            namespaces=world.store(NAMESPACES),
        )
        snapshot.nodes += [info for claim in unready.values() if (info := self._coming(claim, daemons))]
        return snapshot

    def _coming(self, claim: Object, daemons: list[Object]) -> NodeInfo | None:
        """A NodeClaim as the node it will be; None where nothing is known of it."""
        node, allocatable = self._state.node_of(claim), status_of(claim).get("allocatable")
        labels = labels_of(claim)
        if allocatable is None:
            expected = self._state.expected(claim)
            if expected is None:
                return None
            allocatable = resources(expected.type, allocatable=True)
            labels = {**labels, **expected.labels()}
        posed: Object = {
            "metadata": {
                "name": name_of(node) if node else name_of(claim),
                "labels": {
                    **labels,
                    **(labels_of(node) if node else {"kubernetes.io/hostname": name_of(claim)}),
                },
            },
            "spec": {"taints": claim["spec"].get("taints") or []},
            "status": {"allocatable": allocatable},
        }
        info = NodeInfo(posed)
        there = self._state.pods_on(node) if node else []
        owners = {owner["uid"] for pod in there for owner in pod["metadata"].get("ownerReferences") or []}
        for pod in (*there, *(d for d in daemons_on(posed, daemons) if d["metadata"]["owner"] not in owners)):
            info.add(pod, requests(pod))
        return info


def _pod_of(daemon_set: Object) -> Object:
    """The pod a DaemonSet would make, for sums only; `owner` in its metadata is the DaemonSet's uid."""
    template = daemon_set["spec"]["template"]
    metadata = {
        "name": name_of(daemon_set),
        "namespace": daemon_set["metadata"].get("namespace", ""),
        "labels": (template.get("metadata") or {}).get("labels") or {},
        "uid": f"daemon-{uid_of(daemon_set)}",
        "owner": uid_of(daemon_set),
    }
    return {"metadata": metadata, "spec": template["spec"]}


async def report_pool(state: State, pool: Object) -> None:
    """The NodePool's status: what its nodes have together, whether it can make more."""
    usage = state.usage(pool)
    now = state.now()
    item: Object = {**pool, "status": {**status_of(pool)}}
    item["status"]["nodes"] = int(usage["nodes"])
    item["status"]["resources"] = {name: str(amount) for name, amount in sorted(usage.items())}
    item["status"] = conditioned(item, "ValidationSucceeded", "True", now)
    if state.class_of(pool["spec"]["template"]["spec"]) is not None:
        item["status"] = conditioned(item, "NodeClassReady", "True", now)
    else:
        lacking = {"reason": "NodeClassNotReady", "message": "NodeClass is not ready"}
        item["status"] = conditioned(item, "NodeClassReady", "False", now, **lacking)
    status = with_root(item, POOL_PARTS, now)
    if status != status_of(pool):
        await state.world.write(COMPONENT, Patch(NODE_POOLS, pool, {"status": status}, "status"))
