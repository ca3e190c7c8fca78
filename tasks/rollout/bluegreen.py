"""Blue-green: the new release proves itself on a Deployment of its own, then all traffic moves to it at once.

The green Deployment is temporary. The release starts as `green-vllm-MODEL`, the Service is pointed at it, and while it
carries the traffic, the Deployment that everything else knows by name (KEDA, idle scale-down, drift, rollback) takes the
same release. Then the Service is pointed back and green is deleted. The price is a second start; the gain is that no name
ever changes, and that a run that dies in between leaves only a Deployment, which the next run deletes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from tasks.cloud import objects
from tasks.cloud.kubernetes import Object
from tasks.records.model import Model
from tasks.records.names import MODEL_LABEL, green_label, workload
from tasks.rollout.context import RolloutContext
from tasks.rollout.strategy import rolling_update


def green_name(model: Model) -> str:
    """The green Deployment. No model's own has such a name: those begin with vllm-."""
    return f"green-{workload(model)}"


def green_of(deployment: Object, model: Model, replicas: int) -> Object:
    """The same Deployment under another name and label, which neither Service nor Deployment selects. Pure."""
    green = copy.deepcopy(deployment)
    label = {MODEL_LABEL: green_label(model)}
    green["metadata"]["name"] = green_name(model)
    green["spec"] |= {"replicas": replicas, "strategy": rolling_update(surge=1, unavailable=0)}
    for labels in (
        green["metadata"]["labels"],
        green["spec"]["selector"]["matchLabels"],
        green["spec"]["template"]["metadata"]["labels"],
    ):
        labels |= label
    return green


def to_green(service: Object, model: Model) -> Object:
    """The Service, pointed at the green pods. Pure."""
    turned = copy.deepcopy(service)
    turned["spec"]["selector"][MODEL_LABEL] = green_label(model)
    return turned


def exists(context: RolloutContext, model: Model) -> bool:
    """Whether there is a green Deployment."""
    return context.workload(green_name(model)) is not None


def tidy(context: RolloutContext, model: Model, documents: Sequence[Object]) -> bool:
    """Clean up after a run that died. True where its green Deployment still carries the traffic and so stays.

    Where the model's own Deployment is complete, the Service is pointed back at it and green is deleted now.
    """
    if not exists(context, model):
        return False
    if not objects.is_complete(context.workload(workload(model))):
        return True
    turn_back(context, model, documents)
    return False


def turn_back(context: RolloutContext, model: Model, documents: Sequence[Object]) -> None:
    """Point the Service at the model's own Deployment and delete the green one."""
    context.cluster.apply(next(d for d in documents if d["kind"] == "Service"))
    remove(context, model)


def remove(context: RolloutContext, model: Model) -> None:
    """Delete the green Deployment and wait until its pods have drained. Raises RolloutFailed."""
    name = green_name(model)
    if not context.cluster.delete("apps/v1", "Deployment", name, context.namespace, propagation="Foreground"):
        return
    seconds = model.engine.drain + model.engine.shutdown_timeout + context.environment.deadlines.drain
    context.wait_until(
        lambda: not exists(context, model), seconds, f"the Deployment {name} does not go away", name
    )
