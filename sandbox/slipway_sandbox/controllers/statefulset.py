"""StatefulSets: pods with a name, an order and claims of their own (pkg/controller/statefulset).

Not here: partitions, ordinals that do not begin at 0, persistentVolumeClaimRetentionPolicy, adoption of orphans.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import (
    CLAIMS,
    PODS,
    REVISIONS,
    STATEFUL_SETS,
    Key,
    Object,
    controller_of,
    is_deleting,
    labels_of,
    matches_selector,
    name_of,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import (
    from_template,
    is_available,
    is_ready,
    is_terminal,
    next_availability,
)
from slipway_sandbox.controllers.revisions import HASH_LABEL, hash_of, sync_revisions, template_of
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Write, update_status


@dataclass(frozen=True)
class Observed:
    """A set with what is there of it. `claims`: those of its namespace by name."""

    stateful_set: Object
    pods: Sequence[Object]
    revisions: Sequence[Object]
    claims: Mapping[str, Object] = field(default_factory=dict)


def decide_stateful_set(seen: Observed, now: datetime) -> Decision:
    """The next step: claims and pods in order, one at a time unless podManagementPolicy is Parallel."""
    item = seen.stateful_set
    own = [pod for pod in seen.pods if (controller_of(pod) or {}).get("uid") == uid_of(item)]
    in_use = {_suffix(item, labels_of(pod).get(HASH_LABEL, "")) for pod in own}
    current = _suffix(item, status_of(item).get("currentRevision", ""))
    update, writes = sync_revisions(item, STATEFUL_SETS, seen.revisions, in_use | {current})
    current = current if template_of(seen.revisions, current) else update
    decision = Decision(writes)
    if not is_deleting(item):
        decision.writes += _converge(seen, own, update, now)
    decision.writes += update_status(STATEFUL_SETS, item, _status(item, own, current, update, now))
    decision.again(next_availability(own, int(item["spec"].get("minReadySeconds") or 0), now))
    return decision


def _suffix(item: Object, revision: str) -> str:
    return revision.removeprefix(f"{name_of(item)}-")


def ordinal(item: Object, pod: Object) -> int:
    tail = name_of(pod).removeprefix(f"{name_of(item)}-")
    return int(tail) if tail.isdigit() else -1


def _replicas(item: Object) -> int:
    replicas = item["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _converge(seen: Observed, own: Sequence[Object], update: str, now: datetime) -> list[Write]:
    item = seen.stateful_set
    parallel = item["spec"].get("podManagementPolicy") == "Parallel"
    min_ready = int(item["spec"].get("minReadySeconds") or 0)
    by_ordinal = {ordinal(item, pod): pod for pod in own}
    wanted = range(_replicas(item))
    writes: list[Write] = []
    for number in wanted:
        pod = by_ordinal.get(number)
        if pod is None:
            writes += _make(seen, number, update)
        elif is_terminal(pod) and not is_deleting(pod):
            writes += [Delete(PODS, pod), _deleted(item, pod)]
        elif not is_deleting(pod) and is_available(pod, min_ready, now):
            continue
        if not parallel:
            return writes
    surplus = sorted(
        (pod for number, pod in by_ordinal.items() if number not in wanted),
        key=lambda pod: -ordinal(item, pod),
    )
    for pod in surplus:
        if not is_deleting(pod):
            writes += [Delete(PODS, pod), _deleted(item, pod)]
        if not parallel:
            return writes
    if writes or (item["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return writes
    return _update(item, [by_ordinal[number] for number in wanted], update, min_ready, now)


def _update(item: Object, pods: Sequence[Object], update: str, min_ready: int, now: datetime) -> list[Write]:
    """RollingUpdate: from the last pod down, each one after its successor is healthy."""
    for pod in sorted(pods, key=lambda pod: -ordinal(item, pod)):
        if _suffix(item, labels_of(pod).get(HASH_LABEL, "")) != update and not is_deleting(pod):
            return [Delete(PODS, pod), _deleted(item, pod)]
        if is_deleting(pod) or not is_available(pod, min_ready, now):
            return []
    return []


def _make(seen: Observed, number: int, suffix: str) -> list[Write]:
    item = seen.stateful_set
    name = f"{name_of(item)}-{number}"
    template = copy.deepcopy(template_of(seen.revisions, suffix) or item["spec"]["template"])
    template.pop("$patch", None)
    pod = from_template(template, item, STATEFUL_SETS)
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] |= {
        HASH_LABEL: f"{name_of(item)}-{suffix}",
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(number),
    }
    pod["spec"]["hostname"] = name
    pod["spec"]["subdomain"] = item["spec"].get("serviceName", "")
    writes: list[Write] = []
    volumes = []
    for claim in item["spec"].get("volumeClaimTemplates") or []:
        claim_name = f"{name_of(claim)}-{name}"
        volumes.append({"name": name_of(claim), "persistentVolumeClaim": {"claimName": claim_name}})
        if claim_name not in seen.claims:
            subject = f"Claim {claim_name} Pod {name} in StatefulSet {name_of(item)}"
            made = Note(item, "StatefulSet", "SuccessfulCreate", f"Create {subject} success")
            failed = f"Create Claim {claim_name} for Pod {name} in StatefulSet {name_of(item)} failed error: "
            refused = Note(item, "StatefulSet", "FailedCreate", failed, warning=True)
            writes.append(Create(CLAIMS, _claim(item, claim, claim_name), made, refused))
    replaced = {volume["name"] for volume in volumes}
    kept = [volume for volume in pod["spec"].get("volumes") or [] if volume["name"] not in replaced]
    if volumes or kept:
        pod["spec"]["volumes"] = [*volumes, *kept]
    subject = f"Create Pod {name} in StatefulSet {name_of(item)}"
    made = Note(item, "StatefulSet", "SuccessfulCreate", f"{subject} successful")
    refused = Note(item, "StatefulSet", "FailedCreate", f"{subject} failed error: ", warning=True)
    return [*writes, Create(PODS, pod, made, refused)]


def _claim(item: Object, template: Object, name: str) -> Object:
    metadata: Object = {
        "name": name,
        "namespace": item["metadata"]["namespace"],
        "labels": {**labels_of(template), **((item["spec"].get("selector") or {}).get("matchLabels") or {})},
    }
    if template["metadata"].get("annotations"):
        metadata["annotations"] = template["metadata"]["annotations"]
    return {"metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def _deleted(item: Object, pod: Object) -> Note:
    message = f"Delete Pod {name_of(pod)} in StatefulSet {name_of(item)} successful"
    return Note(item, "StatefulSet", "SuccessfulDelete", message)


def _status(item: Object, own: Iterable[Object], current: str, update: str, now: datetime) -> Object:
    min_ready = int(item["spec"].get("minReadySeconds") or 0)
    alive = [pod for pod in own if not is_terminal(pod)]
    prefix = f"{name_of(item)}-"

    def at(suffix: str) -> int:
        return sum(
            labels_of(pod).get(HASH_LABEL) == prefix + suffix and not is_deleting(pod) for pod in alive
        )

    ready = sum(is_ready(pod) for pod in alive)
    updated = at(update)
    complete = updated == len(alive) == ready == _replicas(item)
    if complete:
        current = update
    return {
        "observedGeneration": item["metadata"].get("generation"),
        "replicas": len(alive),
        "readyReplicas": ready or None,
        "availableReplicas": sum(is_available(pod, min_ready, now) for pod in alive),
        "currentReplicas": at(current) or None,
        "updatedReplicas": updated or None,
        "currentRevision": prefix + current,
        "updateRevision": prefix + update,
        "collisionCount": 0,
    }


class StatefulSetController(Controller):
    component = "statefulset-controller"
    needs = (STATEFUL_SETS, PODS, CLAIMS, REVISIONS)

    def wire(self) -> None:
        self.watch_own(STATEFUL_SETS)
        self.watch_children(PODS, "StatefulSet")
        self.watch_children(REVISIONS, "StatefulSet")

    async def reconcile(self, key: Key) -> None:
        item = self.world.store(STATEFUL_SETS).get(*key)
        if item is None:
            return
        selector = item["spec"].get("selector")
        pods = [
            pod
            for pod in self.world.store(PODS).owned_by(uid_of(item))
            if matches_selector(selector, labels_of(pod))
        ]
        seen = Observed(
            item,
            pods,
            [r for r in self.world.store(REVISIONS).owned_by(uid_of(item)) if hash_of(r)],
            {name_of(claim): claim for claim in self.world.store(CLAIMS).within(key[0])},
        )
        await self.act(key, decide_stateful_set(seen, self.world.now()))
