"""Deployments: one ReplicaSet a template, and the way from the old to the new (pkg/controller/deployment)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.deployment_status import decide_status, progress_condition
from slipway_sandbox.controllers.objects import (
    DEPLOYMENTS,
    PODS,
    REPLICA_SETS,
    Key,
    Object,
    annotations_of,
    condition_of,
    controller_of,
    controller_reference,
    is_deleting,
    name_of,
    short_hash,
    status_of,
    uid_of,
)
from slipway_sandbox.controllers.pods import is_terminal
from slipway_sandbox.controllers.rolling import (
    Counts,
    fences,
    new_set_replicas,
    shrink_old_sets,
    spread_scale,
    wanted,
)
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, Update, edited

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
}


def decide_deployment(
    deployment: Object, replica_sets: Sequence[Object], pods: Sequence[Object], now: datetime
) -> Decision:
    """The next step of a Deployment: at most one of create, scale, clean up, then the status.

    `pods` are those of all its ReplicaSets.
    """
    rollout = Rollout(deployment, replica_sets, pods)
    conditions = status_of(deployment).get("conditions") or []
    if not is_deleting(deployment):
        conditions = rollout.step(conditions, now)
    status = decide_status(deployment, replica_sets, rollout.new, conditions, now)
    rollout.decision.writes += status.writes
    rollout.decision.again(status.again_in)
    return rollout.decision


def revision_of(item: Object) -> int:
    text = annotations_of(item).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def size(replica_set: Object) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def same_template(replica_set: Object, deployment: Object) -> bool:
    """EqualIgnoreHash: the templates are the same but for the hash label."""
    theirs = copy.deepcopy(replica_set["spec"]["template"])
    labels = (theirs.get("metadata") or {}).get("labels") or {}
    labels.pop(HASH_LABEL, None)
    ours = deployment["spec"]["template"]
    return _plain(theirs) == _plain(ours)


def _plain(template: Object) -> Object:
    metadata = {name: value for name, value in (template.get("metadata") or {}).items() if value}
    return {**template, "metadata": metadata}


class Rollout:
    """One look at a Deployment; `step` fills `decision`."""

    def __init__(self, deployment: Object, replica_sets: Sequence[Object], pods: Sequence[Object]) -> None:
        self.deployment, self.pods = deployment, pods
        self.all = sorted(replica_sets, key=_age)
        self.new = next((item for item in self.all if same_template(item, deployment)), None)
        self.old = [item for item in self.all if item is not self.new]
        self.desired = wanted(deployment)
        self.limits = fences(deployment)
        self.recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
        self.decision = Decision()

    def step(self, conditions: list[Object], now: datetime) -> list[Object]:
        """Decide; the conditions that come of the act itself (the rest is the status's)."""
        conditions = self._pause_condition(conditions, now)
        paused = bool(self.deployment["spec"].get("paused"))
        if self._scaling() or paused:
            self._scale()
            if paused:
                self._clean_up()
            return conditions
        if self.recreate and self._stop_old():
            return conditions
        if self.new is None:
            return self._create_new(conditions, now)
        if self._sync_revision():
            return conditions
        if condition_of({"status": {"conditions": conditions}}, "Progressing") is None:
            message = f'Found new replica set "{name_of(self.new)}"'
            conditions = progress_condition(
                self.deployment, conditions, "True", "FoundNewReplicaSet", message, now
            )
        if not (self._grow_new() or (not self.recreate and self._shrink_old())):
            self._clean_up()
        return conditions

    def _pause_condition(self, conditions: list[Object], now: datetime) -> list[Object]:
        if not self.deployment["spec"].get("progressDeadlineSeconds"):
            return conditions
        progressing = condition_of({"status": {"conditions": conditions}}, "Progressing") or {}
        reason = progressing.get("reason")
        if reason == "ProgressDeadlineExceeded":
            return conditions
        paused = bool(self.deployment["spec"].get("paused"))
        if paused and reason != "DeploymentPaused":
            return progress_condition(
                self.deployment, conditions, "Unknown", "DeploymentPaused", "Deployment is paused", now
            )
        if not paused and reason == "DeploymentPaused":
            return progress_condition(
                self.deployment, conditions, "Unknown", "DeploymentResumed", "Deployment is resumed", now
            )
        return conditions

    def _scaling(self) -> bool:
        """A set that was last sized for another number of replicas than is wanted now."""
        return any(
            size(item) and annotations_of(item).get(DESIRED, str(self.desired)) != str(self.desired)
            for item in self.all
        )

    def _scale(self) -> None:
        active = [item for item in self.all if size(item)]
        if len(active) <= 1:
            latest = active[0] if active else self.new or max(self.all, key=revision_of, default=None)
            if latest is not None:
                self._resize(latest, self.desired)
            return
        if self.new is not None and self._saturated(self.new):
            for item in self.old:
                self._resize(item, 0)
            return
        if self.recreate:
            return
        counts = [self._counts(item) for item in sorted(active, key=_age, reverse=True)]
        sizes = spread_scale(self.desired, self.limits, counts)
        for item in active:
            self._resize(item, sizes.get(name_of(item), size(item)))

    def _saturated(self, new: Object) -> bool:
        return (
            size(new) == self.desired
            and annotations_of(new).get(DESIRED) == str(self.desired)
            and status_of(new).get("availableReplicas", 0) == self.desired
        )

    def _stop_old(self) -> bool:
        """Recreate: nothing new while anything old is asked for or still running."""
        running = [item for item in self.old if size(item)]
        for item in running:
            self._resize(item, 0)
        new_uid = uid_of(self.new) if self.new else None
        return bool(running) or any(
            not is_terminal(pod) and (controller_of(pod) or {}).get("uid") != new_uid for pod in self.pods
        )

    def _create_new(self, conditions: list[Object], now: datetime) -> list[Object]:
        deployment = self.deployment
        template = copy.deepcopy(deployment["spec"]["template"])
        suffix = short_hash([template, status_of(deployment).get("collisionCount")])
        labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: suffix}
        template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
        name = f"{name_of(deployment)}-{suffix}"
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: suffix}
        total = sum(size(item) for item in self.old)
        replicas = new_set_replicas(self.desired, self.limits, 0, total, recreate=self.recreate)
        revision = str(max((revision_of(item) for item in self.old), default=0) + 1)
        body: Object = {
            "metadata": {
                "name": name,
                "namespace": deployment["metadata"]["namespace"],
                "labels": labels,
                "annotations": {**self._annotations(), REVISION: revision},
                "ownerReferences": [controller_reference(deployment, DEPLOYMENTS)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }
        if deployment["spec"].get("minReadySeconds"):
            body["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
        self.decision.writes.append(Create(REPLICA_SETS, body))
        if replicas:
            self._say("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {replicas}")
        self._sync_own_revision(revision)
        message = f'Created new replica set "{name}"'
        return progress_condition(deployment, conditions, "True", "NewReplicaSetCreated", message, now)

    def _annotations(self) -> dict[str, str]:
        own = annotations_of(self.deployment)
        return {
            **{name: value for name, value in own.items() if name not in _NOT_COPIED},
            DESIRED: str(self.desired),
            MAX: str(self.desired + self.limits.surge),
        }

    def _sync_revision(self) -> bool:
        """An old template made new again gets the next revision; True when the set has to be written for it."""
        assert self.new is not None
        known = annotations_of(self.new)
        newest = max((revision_of(item) for item in self.old), default=0) + 1
        wants = {**known, **self._annotations()}
        if revision_of(self.new) < newest:
            wants[REVISION] = str(newest)
            if REVISION in known:
                history = [past for past in known.get(REVISION_HISTORY, "").split(",") if past]
                wants[REVISION_HISTORY] = ",".join([*history, known[REVISION]])
        min_ready = self.deployment["spec"].get("minReadySeconds") or 0
        changed = wants != known or (self.new["spec"].get("minReadySeconds") or 0) != min_ready
        if changed:
            item = edited(self.new)
            item["metadata"]["annotations"] = wants
            if min_ready:
                item["spec"]["minReadySeconds"] = min_ready
            else:  # left out where it is 0: written, it would be a new generation
                item["spec"].pop("minReadySeconds", None)
            self.decision.writes.append(Update(REPLICA_SETS, item))
        self._sync_own_revision(wants[REVISION])
        return changed

    def _sync_own_revision(self, revision: str) -> None:
        if annotations_of(self.deployment).get(REVISION) == revision:
            return
        item = edited(self.deployment)
        item["metadata"].setdefault("annotations", {})[REVISION] = revision
        self.decision.writes.append(Update(DEPLOYMENTS, item))

    def _grow_new(self) -> bool:
        assert self.new is not None
        total = sum(size(item) for item in self.all)
        replicas = new_set_replicas(self.desired, self.limits, size(self.new), total, recreate=self.recreate)
        return self._resize(self.new, replicas)

    def _shrink_old(self) -> bool:
        assert self.new is not None
        sizes = shrink_old_sets(
            self.desired, self.limits, self._counts(self.new), [self._counts(item) for item in self.old]
        )
        resized = [self._resize(item, sizes[name_of(item)]) for item in self.old if name_of(item) in sizes]
        return any(resized)

    def _counts(self, item: Object) -> Counts:
        most = annotations_of(item).get(MAX, "0")
        return Counts(
            name_of(item),
            size(item),
            int(status_of(item).get("availableReplicas") or 0),
            int(most) if most.isdigit() else 0,
        )

    def _resize(self, item: Object, replicas: int) -> bool:
        """Ask for so many replicas; True when that (or the size noted on the set) is a change."""
        was = size(item)
        noted = {DESIRED: str(self.desired), MAX: str(self.desired + self.limits.surge)}
        if was == replicas and {**annotations_of(item), **noted} == annotations_of(item):
            return False
        changed = edited(item)
        changed["spec"]["replicas"] = replicas
        changed["metadata"].setdefault("annotations", {}).update(noted)
        self.decision.writes.append(Update(REPLICA_SETS, changed))
        if was != replicas:
            way = "up" if replicas > was else "down"
            message = f"Scaled {way} replica set {name_of(item)} from {was} to {replicas}"
            self._say("ScalingReplicaSet", message)
        return True

    def _clean_up(self) -> None:
        """Old sets beyond revisionHistoryLimit go, once the rollout is complete."""
        limit = self.deployment["spec"].get("revisionHistoryLimit", 10)
        if limit is None or not self._complete():
            return
        idle = [
            item
            for item in self.old
            if not size(item)
            and not status_of(item).get("replicas")
            and status_of(item).get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
            and not is_deleting(item)
        ]
        idle.sort(key=revision_of)
        surplus = idle[: max(len(idle) - int(limit), 0)]
        self.decision.writes += [
            Delete(REPLICA_SETS, item, {"propagationPolicy": "Background"}) for item in surplus
        ]

    def _complete(self) -> bool:
        return (
            self.new is not None
            and size(self.new) == self.desired
            and status_of(self.new).get("availableReplicas", 0) == self.desired
            and not any(status_of(item).get("replicas") for item in self.old)
        )

    def _say(self, reason: str, message: str) -> None:
        self.decision.writes.append(Note(self.deployment, "Deployment", reason, message))


def _age(item: Object) -> tuple[str, int, str]:
    return item["metadata"].get("creationTimestamp", ""), revision_of(item), name_of(item)


class DeploymentController(Controller):
    component = "deployment-controller"
    needs = (DEPLOYMENTS, REPLICA_SETS, PODS)

    def wire(self) -> None:
        self.watch_own(DEPLOYMENTS)
        self.watch_children(REPLICA_SETS, "Deployment")
        self.watch(PODS, self._deployments_of_pod)

    async def reconcile(self, key: Key) -> None:
        deployment = self.world.store(DEPLOYMENTS).get(*key)
        if deployment is None:
            return
        sets = self.world.store(REPLICA_SETS).owned_by(uid_of(deployment))
        pods = [pod for item in sets for pod in self.world.store(PODS).owned_by(uid_of(item))]
        await self.act(key, decide_deployment(deployment, sets, pods, self.world.now()))

    def _deployments_of_pod(self, pod: Object) -> list[Key]:
        """Only the end of a pod matters here (Recreate waits for it); its readiness shows in the set's status."""
        owner, namespace = controller_of(pod), pod["metadata"]["namespace"]
        if owner is None or owner["kind"] != "ReplicaSet" or not (is_terminal(pod) or is_deleting(pod)):
            return []
        replica_set = self.world.store(REPLICA_SETS).get(namespace, owner["name"])
        above = controller_of(replica_set) if replica_set is not None else None
        return [(namespace, above["name"])] if above is not None else []
