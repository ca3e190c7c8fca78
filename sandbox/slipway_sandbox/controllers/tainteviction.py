"""Pods on nodes with NoExecute taints they do not tolerate, or not for ever (pkg/controller/tainteviction)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.node_fit import taints_of, tolerates
from slipway_sandbox.controllers.objects import (
    NODES,
    PODS,
    Key,
    Object,
    is_deleting,
    key_of,
    status_of,
    timestamp,
    uid_of,
    with_condition,
)
from slipway_sandbox.controllers.pods import is_terminal
from slipway_sandbox.controllers.writes import Decision, Delete, Note, Patch

Waiting = Mapping[str, datetime]
"""By uid of a pod that is to go: since when it has been known to be."""


def decide_eviction(
    node: Object, pods: Sequence[Object], waiting: Waiting, now: datetime
) -> tuple[Decision, Waiting]:
    """(pods that go, at once or when their tolerationSeconds are over; those that wait for it now).

    The seconds count from when the pod was first seen beside the taint: not every taint says when it came.
    """
    decision = Decision()
    taints = [taint for taint in taints_of(node) if taint["effect"] == "NoExecute"]
    still: dict[str, datetime] = {}
    for pod in pods:
        if is_deleting(pod) or is_terminal(pod):
            continue
        tolerated = seconds_tolerated(pod, taints)
        if tolerated is None:
            if uid_of(pod) in waiting:
                decision.writes.append(_note(pod, "Cancelling deletion of"))
            continue
        since = waiting.get(uid_of(pod), now)
        left = (since + timedelta(seconds=tolerated) - now).total_seconds()
        if left > 0:
            still[uid_of(pod)] = since
            decision.again(left)
            continue
        why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        decision.writes += [_note(pod, "Marking for deletion"), disrupted(pod, why, now), Delete(PODS, pod)]
    return decision, still


def _note(pod: Object, what: str) -> Note:
    """It knows the pod by its name only."""
    namespace, name = key_of(pod)
    about = {"metadata": {"namespace": namespace, "name": name}}
    return Note(about, "Pod", "TaintManagerEviction", f"{what} Pod {namespace}/{name}")


def disrupted(pod: Object, why: tuple[str, str], now: datetime) -> Patch:
    """The pod ends by no fault of its own: what a job's podFailurePolicy asks for."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": why[0],
        "message": why[1],
        "lastTransitionTime": timestamp(now),
    }
    conditions = with_condition(status_of(pod).get("conditions") or [], condition)
    body = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": conditions}}
    return Patch(PODS, pod, body, "status")


def seconds_tolerated(pod: Object, taints: Sequence[Object]) -> float | None:
    """How long the pod may stay beside these taints: None for ever, 0 not at all."""
    least: float | None = None
    for taint in taints:
        toleration = tolerates(pod["spec"].get("tolerations") or [], taint)
        if toleration is None:
            return 0.0
        seconds = toleration.get("tolerationSeconds")
        if seconds is not None:
            least = max(float(seconds), 0.0) if least is None else min(least, max(float(seconds), 0.0))
    return least


class TaintEvictionController(Controller):
    component = "taint-eviction-controller"
    needs = (NODES, PODS)

    def wire(self) -> None:
        self._waiting: dict[Key, Waiting] = {}
        self.watch_own(NODES)
        self.world.store(PODS).listen(self._pod_changed)

    async def reconcile(self, key: Key) -> None:
        node = self.world.store(NODES).get(*key)
        if node is None:
            self._waiting.pop(key, None)
            return
        pods = [pod for pod in self.world.store(PODS) if pod["spec"].get("nodeName") == key[1]]
        decision, waiting = decide_eviction(node, pods, self._waiting.get(key, {}), self.world.now())
        self._waiting[key] = waiting
        await self.act(key, decision)

    def _pod_changed(self, before: Object | None, after: Object | None) -> None:
        """A pod that came to its node: the node may be tainted."""
        node = (after or {}).get("spec", {}).get("nodeName")
        if node and (before is None or not before["spec"].get("nodeName")):
            self.queue.add(("", node))
