"""ReplicaSets: as many pods as asked for (pkg/controller/replicaset)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slipway_sandbox.apiclient import ApiError
from slipway_sandbox.controllers.controller import Controller, namespace_ends
from slipway_sandbox.controllers.objects import (
    PODS,
    REPLICA_SETS,
    Key,
    Object,
    condition_of,
    controller_of,
    is_deleting,
    name_of,
    status_of,
    timestamp,
    uid_of,
    with_condition,
)
from slipway_sandbox.controllers.pods import (
    deletion_order,
    from_template,
    has_labels,
    is_active,
    is_available,
    is_ready,
    next_availability,
)
from slipway_sandbox.controllers.writes import Create, Decision, Delete, Note, update_status

BURST = 500  # upstream's BurstReplicas: pods made or deleted in one go


def decide_replicas(
    replica_set: Object, pods: Sequence[Object], related: Sequence[Object] = ()
) -> tuple[list[Create], list[Delete]]:
    """The pods to make and to delete. `related`: pods of the same Deployment, for the order of deletion."""
    if is_deleting(replica_set):
        return [], []
    active = [pod for pod in pods if is_active(pod)]
    missing = int(replica_set["spec"].get("replicas", 1)) - len(active)
    if missing >= 0:
        pod = from_template(replica_set["spec"]["template"], replica_set, REPLICA_SETS)
        return [Create(PODS, pod)] * min(missing, BURST), []
    surplus = deletion_order(active, related)[: min(-missing, BURST)]
    return [], [Delete(PODS, pod) for pod in surplus]


def decide_status(
    replica_set: Object, pods: Sequence[Object], now: datetime, refused: ApiError | None = None
) -> Decision:
    """The status the pods amount to. `refused` is why a pod could not be made."""
    active = [pod for pod in pods if is_active(pod)]
    min_ready = int(replica_set["spec"].get("minReadySeconds") or 0)
    template_labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    conditions = [c for c in status_of(replica_set).get("conditions") or [] if c["type"] != "ReplicaFailure"]
    if refused is not None:
        failure = condition_of(replica_set, "ReplicaFailure") or {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": refused.message,
            "lastTransitionTime": timestamp(now),
        }
        conditions = with_condition(conditions, failure)
    status: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(has_labels(pod, template_labels) for pod in active) or None,
        "readyReplicas": sum(is_ready(pod) for pod in active) or None,
        "availableReplicas": sum(is_available(pod, min_ready, now) for pod in active) or None,
        "observedGeneration": replica_set["metadata"].get("generation"),
        "conditions": conditions or None,
    }
    decision = Decision(update_status(REPLICA_SETS, replica_set, status))
    decision.again(next_availability(active, min_ready, now))
    return decision


class ReplicaSetController(Controller):
    component = "replicaset-controller"
    needs = (REPLICA_SETS, PODS)

    def wire(self) -> None:
        self.watch_own(REPLICA_SETS)
        self.watch_children(PODS, "ReplicaSet")

    async def reconcile(self, key: Key) -> None:
        store = self.world.store(REPLICA_SETS)
        replica_set = store.get(*key)
        if replica_set is None:
            return
        pods = self.world.store(PODS).owned_by(uid_of(replica_set))
        creates, deletes = decide_replicas(replica_set, pods, self._related(replica_set))
        refused = await self._make(replica_set, creates)
        for delete in deletes:
            await self.world.write(self.component, delete)
            self._say(replica_set, "SuccessfulDelete", f"Deleted pod: {name_of(delete.target)}")
        # Status after the act, over what is there now: one write for a pod that was made and counted.
        pods = self.world.store(PODS).owned_by(uid_of(replica_set))
        await self.act(key, decide_status(replica_set, pods, self.world.now(), refused))
        if refused is not None:
            raise refused

    async def _make(self, replica_set: Object, creates: Sequence[Create]) -> ApiError | None:
        for create in creates:
            try:
                made = await self.world.write(self.component, create)
            except ApiError as error:
                if namespace_ends(error):
                    return None
                self._say(replica_set, "FailedCreate", f"Error creating: {error.message}", warning=True)
                return error
            assert made is not None
            self._say(replica_set, "SuccessfulCreate", f"Created pod: {name_of(made)}")
        return None

    def _say(self, replica_set: Object, reason: str, message: str, *, warning: bool = False) -> None:
        self.world.recorder.note(self.component, Note(replica_set, "ReplicaSet", reason, message, warning))

    def _related(self, replica_set: Object) -> list[Object]:
        owner = controller_of(replica_set)
        if owner is None:
            return []
        siblings = self.world.store(REPLICA_SETS).owned_by(owner["uid"])
        pods = self.world.store(PODS)
        return [pod for sibling in siblings for pod in pods.owned_by(uid_of(sibling))]
