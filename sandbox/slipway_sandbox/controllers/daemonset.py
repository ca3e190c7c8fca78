"""DaemonSets: one pod on every node that fits (pkg/controller/daemon). The scheduler binds them, as upstream."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller, namespace_ends
from slipway_sandbox.controllers.node_fit import matches_node_selection, untolerated_taint
from slipway_sandbox.controllers.objects import (
    DAEMON_SETS,
    NODES,
    PODS,
    REVISIONS,
    Key,
    Object,
    annotations_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    scaled_value,
    uid_of,
)
from slipway_sandbox.controllers.pods import (
    from_template,
    is_available,
    is_ready,
    is_terminal,
    next_availability,
    phase,
)
from slipway_sandbox.controllers.revisions import HASH_LABEL, sync_revisions
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Write, update_status

_GENERATION = "deprecated.daemonset.template.generation"  # the API server counts the template's changes in it
_AUTOMATIC = (  # util.AddOrUpdateDaemonPodTolerations
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass
class Plan:
    creates: list[Create] = field(default_factory=list)
    deletes: list[Write] = field(default_factory=list)
    revisions: list[Write] = field(default_factory=list)
    again_in: float | None = None


def pod_template(daemon_set: Object) -> Object:
    """The template with the tolerations every daemon pod has."""
    template: Object = copy.deepcopy(daemon_set["spec"]["template"])
    spec = template["spec"]
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _AUTOMATIC]
    spec["tolerations"] = [*(spec.get("tolerations") or []), *added]
    return template


def should_run(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """(a pod belongs on the node, a pod that is there may stay)."""
    spec = pod_template(daemon_set)["spec"]
    fits = matches_node_selection(spec, node) and spec.get("nodeName") in (None, "", name_of(node))
    stays = fits and untolerated_taint(spec, node, ("NoExecute",)) is None
    return stays and untolerated_taint(spec, node, ("NoSchedule",)) is None, stays


def pods_by_node(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """Pods by the node they are on, or are meant for while the scheduler has not bound them."""
    found: dict[str, list[Object]] = defaultdict(list)
    for pod in sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), name_of(pod))):
        found[_target(pod)].append(pod)
    return found


def _target(pod: Object) -> str:
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or []:
        for requirement in term.get("matchFields") or []:
            if requirement["key"] == "metadata.name":
                return str(requirement["values"][0])
    return ""


def decide_daemon_set(
    daemon_set: Object,
    nodes: Sequence[Object],
    pods: Sequence[Object],
    revisions: Sequence[Object],
    now: datetime,
) -> tuple[Plan, str]:
    """(what to make and delete, hash of the present template)."""
    in_use = {labels_of(pod).get(HASH_LABEL, "") for pod in pods}
    suffix, writes = sync_revisions(daemon_set, DAEMON_SETS, revisions, in_use)
    plan = Plan(revisions=writes)
    if is_deleting(daemon_set):
        return plan, suffix
    there = pods_by_node(pods)
    for node in nodes:
        _place(plan, daemon_set, node, there.pop(name_of(node), []), suffix)
    for strays in there.values():  # their node is gone
        plan.deletes += _drop(daemon_set, [pod for pod in strays if not is_deleting(pod)])
    if not plan.creates and not plan.deletes:
        plan.deletes = _roll(daemon_set, nodes, pods_by_node(pods), suffix, now)
    min_ready = int(daemon_set["spec"].get("minReadySeconds") or 0)
    plan.again_in = next_availability(pods, min_ready, now)
    return plan, suffix


def _place(plan: Plan, daemon_set: Object, node: Object, pods: Sequence[Object], suffix: str) -> None:
    runs, stays = should_run(daemon_set, node)
    alive = [pod for pod in pods if not is_deleting(pod)]
    if not stays:
        plan.deletes += _drop(daemon_set, alive)
        return
    for pod in [pod for pod in alive if is_terminal(pod)]:
        plan.deletes += [_found_ended(daemon_set, node, pod), *_drop(daemon_set, [pod])]
    running = [pod for pod in alive if not is_terminal(pod)]
    plan.deletes += _drop(daemon_set, running[1:])
    if runs and not pods:  # while one is terminating the node is taken, unless a surge is allowed
        plan.creates.append(Create(PODS, _pod(daemon_set, node, suffix)))


def _pod(daemon_set: Object, node: Object, suffix: str) -> Object:
    pod = from_template(pod_template(daemon_set), daemon_set, DAEMON_SETS)
    pod["metadata"]["labels"][HASH_LABEL] = suffix
    if generation := annotations_of(daemon_set).get(_GENERATION):
        pod["metadata"]["labels"]["pod-template-generation"] = generation
    requirement = {"key": "metadata.name", "operator": "In", "values": [name_of(node)]}
    affinity = pod["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    # ReplaceDaemonSetPodNodeNameNodeAffinity: this node alone, instead of the template's own terms.
    required["nodeSelectorTerms"] = [{"matchFields": [requirement]}]
    return pod


def _roll(
    daemon_set: Object,
    nodes: Sequence[Object],
    there: Mapping[str, Sequence[Object]],
    suffix: str,
    now: datetime,
) -> list[Write]:
    """RollingUpdate without surge: old pods that are not available at once, others within maxUnavailable."""
    strategy = daemon_set["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    min_ready = int(daemon_set["spec"].get("minReadySeconds") or 0)
    wanted = [node for node in nodes if should_run(daemon_set, node)[0]]
    limit = (strategy.get("rollingUpdate") or {}).get("maxUnavailable")
    budget = max(scaled_value(limit, len(wanted), round_up=True, default=1), 1)
    old_available: list[Object] = []
    writes: list[Write] = []
    for node in wanted:
        pods = [pod for pod in there.get(name_of(node), []) if not is_deleting(pod)]
        if not any(is_available(pod, min_ready, now) for pod in pods):
            budget -= 1
        for pod in pods:
            if labels_of(pod).get(HASH_LABEL) == suffix:
                continue
            if is_available(pod, min_ready, now):
                old_available.append(pod)
            else:
                writes += _drop(daemon_set, [pod])
    return writes + _drop(daemon_set, old_available[: max(budget, 0)])


def _found_ended(daemon_set: Object, node: Object, pod: Object) -> Note:
    where = f"daemon pod {key_of(pod)[0]}/{name_of(pod)} on node {name_of(node)}"
    if phase(pod) == "Failed":
        message = f"Found failed {where}, will try to kill it"
        return Note(daemon_set, "DaemonSet", "FailedDaemonPod", message, warning=True)
    message = f"Found succeeded {where}, will try to delete it"
    return Note(daemon_set, "DaemonSet", "SucceededDaemonPod", message)


def _drop(daemon_set: Object, pods: Sequence[Object]) -> list[Write]:
    writes: list[Write] = []
    for pod in pods:
        note = Note(daemon_set, "DaemonSet", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        writes += [Delete(PODS, pod), note]
    return writes


def decide_status(
    daemon_set: Object, nodes: Sequence[Object], pods: Sequence[Object], suffix: str, now: datetime
) -> list[Write]:
    min_ready = int(daemon_set["spec"].get("minReadySeconds") or 0)
    there = pods_by_node([pod for pod in pods if not (is_deleting(pod) and is_terminal(pod))])
    counts = {"desired": 0, "current": 0, "misplaced": 0, "ready": 0, "updated": 0, "available": 0}
    for node in nodes:
        on_node = there.get(name_of(node), [])
        if not should_run(daemon_set, node)[0]:
            counts["misplaced"] += bool(on_node)
            continue
        counts["desired"] += 1
        if on_node:
            pod = on_node[0]
            counts["current"] += 1
            counts["ready"] += is_ready(pod)
            counts["available"] += is_available(pod, min_ready, now)
            counts["updated"] += labels_of(pod).get(HASH_LABEL) == suffix
    status: Object = {
        "currentNumberScheduled": counts["current"],
        "numberMisscheduled": counts["misplaced"],
        "desiredNumberScheduled": counts["desired"],
        "numberReady": counts["ready"],
        "observedGeneration": daemon_set["metadata"].get("generation"),
        "updatedNumberScheduled": counts["updated"] or None,
        "numberAvailable": counts["available"] or None,
        "numberUnavailable": counts["desired"] - counts["available"] or None,
    }
    return update_status(DAEMON_SETS, daemon_set, status)


class DaemonSetController(Controller):
    component = "daemonset-controller"
    needs = (DAEMON_SETS, PODS, NODES, REVISIONS)

    def wire(self) -> None:
        self.watch_own(DAEMON_SETS)
        self.watch_children(PODS, "DaemonSet")
        self.world.store(NODES).listen(self._node_changed)

    async def reconcile(self, key: Key) -> None:
        daemon_set = self.world.store(DAEMON_SETS).get(*key)
        if daemon_set is None:
            return
        pods = self.world.store(PODS).owned_by(uid_of(daemon_set))
        nodes = sorted(self.world.store(NODES), key=name_of)
        revisions = self.world.store(REVISIONS).owned_by(uid_of(daemon_set))
        plan, suffix = decide_daemon_set(daemon_set, nodes, pods, revisions, self.world.now())
        await self.act(key, Decision([*plan.revisions, *plan.deletes], plan.again_in))
        refused: ApiError | None = None
        for create in plan.creates:
            refused = await self._make(daemon_set, create)
            if refused is not None:
                break
        pods = self.world.store(PODS).owned_by(uid_of(daemon_set))
        await self.act(key, Decision(decide_status(daemon_set, nodes, pods, suffix, self.world.now())))
        if refused is not None:
            raise refused

    async def _make(self, daemon_set: Object, create: Create) -> ApiError | None:
        try:
            made = await self.world.write(self.component, create)
        except ApiError as error:
            if namespace_ends(error):
                return None
            message = f"Error creating: {error.message}"
            self.world.recorder.note(
                self.component, Note(daemon_set, "DaemonSet", "FailedCreate", message, True)
            )
            return error
        assert made is not None
        note = Note(daemon_set, "DaemonSet", "SuccessfulCreate", f"Created pod: {name_of(made)}")
        self.world.recorder.note(self.component, note)
        return None

    def _node_changed(self, before: Object | None, after: Object | None) -> None:
        """A node's labels or taints decide; its heartbeats do not."""
        if before is not None and after is not None and _placing(before) == _placing(after):
            return
        for daemon_set in self.world.store(DAEMON_SETS):
            self.queue.add(key_of(daemon_set))


def _placing(node: Object) -> tuple[object, object]:
    return labels_of(node), node.get("spec")
