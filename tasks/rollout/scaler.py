"""The scaler's part of the gate: KEDA's ScaledObject is ready, and the HPA it made reads the metric."""

from __future__ import annotations

from tasks.cloud.autoscaler import HPA, HPA_SYNC_SECONDS, Obstacle, obstacle_of
from tasks.cloud.scaling import KEDA
from tasks.cloud.waiting import changes, until
from tasks.records import names
from tasks.records.errors import RolloutFailed
from tasks.records.model import Model
from tasks.rollout.context import RolloutContext


def wait_until_scaling(context: RolloutContext, model: Model) -> None:
    """Wait until nothing keeps the model from being scaled. Raises RolloutFailed with what was seen last.

    Where min_replicas is max_replicas nothing scales, and nothing is asked. What the HPA says may be of before the rollout:
    it must hold for longer than the HPA takes from one look to the next.
    """
    scaling, name = model.scaling, names.workload(model)
    if scaling.min_replicas == scaling.max_replicas:
        return
    hold = HPA_SYNC_SECONDS + 5
    say = changes(context.reporter.say)
    seen: Obstacle | None = None
    since: float | None = None

    def look() -> bool | None:
        nonlocal seen, since
        scaled = context.cluster.get(*KEDA, name, context.namespace)
        listed = context.cluster.list(*HPA, context.namespace)
        seen = obstacle_of(name, context.namespace, scaled, listed)
        now = context.time.clock()
        if seen:
            if seen.final:
                raise seen.error()
            since = None
            say(f"scaling: {seen.cause}")
            return None
        if since is None:
            since = now
            say("scaling: the HPA reads the demand")
        return True if now - since >= hold else None

    def late() -> RolloutFailed:
        found = seen or Obstacle(
            f"the scaler of {name} does not stay ready",
            f"kubectl -n {context.namespace} get scaledobject,hpa",
        )
        return found.error()

    # KEDA makes the HPA, which looks every 15 s; the first scrape of a new pod comes before that
    until(look, hold + 4 * HPA_SYNC_SECONDS + 4 * context.environment.scrape_interval, late, context.time)
    context.reporter.say(
        f"scaling: KEDA is ready and its HPA reads the demand, {scaling.min_replicas} to {scaling.max_replicas} replicas"
    )
