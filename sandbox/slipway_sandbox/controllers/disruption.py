"""PodDisruptionBudgets: how many pods may go now (pkg/controller/disruption)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from slipway_sandbox.controllers.controller import Controller
from slipway_sandbox.controllers.objects import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    matches_selector,
    name_of,
    parse_time,
    scaled_value,
    status_of,
    timestamp,
    with_condition,
)
from slipway_sandbox.controllers.pods import is_ready, is_terminal
from slipway_sandbox.controllers.writes import Decision, update_status

# An eviction the API server allowed, whose pod has not begun to go within this time, did not happen.
_EVICTION_SECONDS = 120


def decide_budget(
    budget: Object, pods: Sequence[Object], scale: Callable[[Sequence[Object]], int], now: datetime
) -> Decision:
    """The budget's status over the pods it selects. `scale`: replicas their controllers want, for percentages."""
    pods = [pod for pod in pods if not is_terminal(pod)]
    pending = _pending_evictions(budget, pods, now)
    expected, desired = _expectation(budget, pods, scale)
    healthy = sum(is_ready(pod) and not is_deleting(pod) and name_of(pod) not in pending for pod in pods)
    allowed = max(healthy - desired, 0) if expected else 0
    enough = allowed > 0
    condition = {
        "type": "DisruptionAllowed",
        "status": "True" if enough else "False",
        "reason": "SufficientPods" if enough else "InsufficientPods",
        "message": "",
        "lastTransitionTime": timestamp(now),
        "observedGeneration": budget["metadata"].get("generation"),
    }
    status: Object = {
        "observedGeneration": budget["metadata"].get("generation"),
        "disruptedPods": pending or None,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": with_condition(status_of(budget).get("conditions") or [], condition),
    }
    decision = Decision(update_status(DISRUPTION_BUDGETS, budget, status))
    if pending:
        decision.again(float(_EVICTION_SECONDS))
    return decision


def _pending_evictions(budget: Object, pods: Sequence[Object], now: datetime) -> dict[str, str]:
    waiting = {name_of(pod) for pod in pods if not is_deleting(pod)}
    return {
        name: moment
        for name, moment in (status_of(budget).get("disruptedPods") or {}).items()
        if name in waiting and parse_time(moment) + timedelta(seconds=_EVICTION_SECONDS) > now
    }


def _expectation(
    budget: Object, pods: Sequence[Object], scale: Callable[[Sequence[Object]], int]
) -> tuple[int, int]:
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        expected = scale(pods)
        gone = scaled_value(spec["maxUnavailable"], expected, round_up=True, default=0)
        return expected, max(expected - gone, 0)
    minimum = spec.get("minAvailable", 1)
    if isinstance(minimum, str) and minimum.endswith("%"):
        expected = scale(pods)
        return expected, scaled_value(minimum, expected, round_up=True, default=1)
    return len(pods), int(minimum)


class DisruptionController(Controller):
    component = "controllermanager"  # as upstream's events call it
    needs = (DISRUPTION_BUDGETS, PODS, REPLICA_SETS, DEPLOYMENTS, STATEFUL_SETS, JOBS)

    def wire(self) -> None:
        self.watch_own(DISRUPTION_BUDGETS)
        self.watch(PODS, self._budgets_of)

    async def reconcile(self, key: Key) -> None:
        budget = self.world.store(DISRUPTION_BUDGETS).get(*key)
        if budget is None or is_deleting(budget):
            return
        selector = budget["spec"].get("selector")
        pods = [
            pod for pod in self.world.store(PODS).within(key[0]) if matches_selector(selector, labels_of(pod))
        ]
        await self.act(key, decide_budget(budget, pods, self._scale, self.world.now()))

    def _budgets_of(self, pod: Object) -> list[Key]:
        return [
            key_of(budget)
            for budget in self.world.store(DISRUPTION_BUDGETS).within(pod["metadata"]["namespace"])
            if matches_selector(budget["spec"].get("selector"), labels_of(pod))
        ]

    def _scale(self, pods: Sequence[Object]) -> int:
        """Replicas the controllers of these pods want, each controller counted once."""
        wanted: dict[str, int] = {}
        for pod in pods:
            top = self._top(pod)
            if top is not None:
                replicas = top["spec"].get("replicas", top["spec"].get("parallelism"))
                wanted[top["metadata"]["uid"]] = 1 if replicas is None else int(replicas)
        return sum(wanted.values())

    def _top(self, pod: Object) -> Object | None:
        owner = controller_of(pod)
        namespace = pod["metadata"]["namespace"]
        resources = {"StatefulSet": STATEFUL_SETS, "ReplicaSet": REPLICA_SETS, "Job": JOBS}
        if owner is None or owner["kind"] not in resources:
            return None
        found = self.world.store(resources[owner["kind"]]).get(namespace, owner["name"])
        if found is None or owner["kind"] != "ReplicaSet":
            return found
        above = controller_of(found)
        if above is None or above["kind"] != "Deployment":
            return found
        return self.world.store(DEPLOYMENTS).get(namespace, above["name"])
