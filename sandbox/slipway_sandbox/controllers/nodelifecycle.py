"""Taints of nodes by their conditions, and pods of nodes that are gone (pkg/controller/nodelifecycle, podgc).

Leases are not looked at: a node here that falls silent says so in its own conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.node_fit import taints_of
from slipway_sandbox.controllers.objects import (
    NODES,
    PODS,
    Key,
    Object,
    condition_of,
    name_of,
    timestamp,
    uid_of,
)
from slipway_sandbox.controllers.pods import is_terminal
from slipway_sandbox.controllers.tainteviction import disrupted
from slipway_sandbox.controllers.writes import (
    Decision,
    Delete,
    Note,
    Update,
    Write,
    edited,
)

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values()}


def _by_uid(node: Object) -> Object:
    """A node as its controller speaks of it in events: whatever its version."""
    return {"metadata": {"name": name_of(node), "uid": uid_of(node)}}


def _taint(node: Object, now: datetime) -> list[Write]:
    wanted = wanted_taints(node)
    present = taints_of(node)
    known = {(taint["key"], taint["effect"]) for taint in present}
    kept = [t for t in present if t["key"] not in _OURS or (t["key"], t["effect"]) in wanted]
    added: list[Object] = []
    # NoSchedule first: upstream has a loop for it, and another one for NoExecute.
    for key, effect in sorted(wanted - known, key=lambda taint: (taint[1] == "NoExecute", taint[0])):
        added.append({"key": key, "effect": effect, "timeAdded": timestamp(now)})
    if not added and len(kept) == len(present):
        return []
    changed = edited(node)
    changed["spec"]["taints"] = kept + added
    return [Update(NODES, changed)]


def wanted_taints(node: Object) -> set[tuple[str, str]]:
    """(key, effect) of the taints the node's conditions and spec call for."""
    wanted: set[tuple[str, str]] = set()
    ready = condition_of(node, "Ready")
    if ready is not None and ready["status"] != "True":
        key = UNREACHABLE if ready["status"] == "Unknown" else NOT_READY
        wanted |= {(key, "NoSchedule"), (key, "NoExecute")}
    for kind, key in _PRESSURE.items():
        condition = condition_of(node, kind)
        if condition is not None and condition["status"] == "True":
            wanted.add((key, "NoSchedule"))
    if node["spec"].get("unschedulable"):
        wanted.add((UNSCHEDULABLE, "NoSchedule"))
    return wanted


class NodeLifecycleController(Controller):
    component = "node-controller"
    needs = (NODES, PODS)

    def wire(self) -> None:
        self.watch_own(NODES)
        self.world.store(PODS).listen(self._pod_changed)
        self._vanished: dict[str, datetime] = {}
        self._registered: dict[str, Object] = {}

    async def reconcile(self, key: Key) -> None:
        node = self.world.store(NODES).get(*key)
        pods = [pod for pod in self.world.store(PODS) if pod["spec"].get("nodeName") == key[1]]
        now = self.world.now()
        if node is None:
            self._say_removed(key[1])
            await self._collect(key, pods, now)
            return
        self._say_registered(node)
        self._vanished.pop(key[1], None)
        await self.act(key, Decision(_taint(node, now)))

    def _say_registered(self, node: Object) -> None:
        if name_of(node) not in self._registered:
            self._registered[name_of(node)] = _by_uid(node)
            self._say(name_of(node), "RegisteredNode", f"Registered Node {name_of(node)} in Controller")

    def _say_removed(self, name: str) -> None:
        if name in self._registered:
            self._say(name, "RemovingNode", f"Removing Node {name} from Controller")
            del self._registered[name]

    def _say(self, name: str, reason: str, what: str) -> None:
        note = Note(self._registered[name], "Node", reason, f"Node {name} event: {what}")
        self.world.recorder.note(self.component, note)

    async def _collect(self, key: Key, pods: Sequence[Object], now: datetime) -> None:
        """Pods of a node that is gone have no kubelet to end them: removed by force after a grace."""
        if not pods:
            self._vanished.pop(key[1], None)
            return
        since = self._vanished.setdefault(key[1], now)
        left = self.world.timing.orphan_pod_grace - (now - since).total_seconds()
        if left > 0:
            self.queue.add_after(key, left)
            return
        why = ("DeletionByPodGC", "PodGC: node no longer exists")
        for pod in pods:
            if not is_terminal(pod):
                # Nobody is left to say how it ended: the collector says it failed.
                patch = disrupted(pod, why, now)
                patch.body["status"]["phase"] = "Failed"
                await self.world.write(self.component, patch)
            await self.world.write(self.component, Delete(PODS, pod, {"gracePeriodSeconds": 0}))

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        """A pod that came to its node: the node may be tainted, or gone."""
        node = (after or {}).get("spec", {}).get("nodeName")
        if node and (before is None or not before["spec"].get("nodeName")):
            self.queue.add(("", node))
