"""Blue-green: the new release proves itself on pods of its own before anybody is sent to it, then all are, at once.

The green Deployment is temporary. The release comes up there (`green-vllm-MODEL`), the Service is turned to it, and
while it carries the traffic the Deployment that everything else knows by name (KEDA, idle scale-down, drift, going back)
takes the same release. Then the Service is turned back and green goes. The price is a second start; the gain is that no
name ever changes, and a run that dies in between leaves nothing but a Deployment that the next run takes away.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tasks.records.model import Model
from tasks.rollout.gateway import is_complete
from tasks.rollout.manifests import MODEL_LABEL, deployment_strategy, green_label, workload_name
from tasks.rollout.place import Place

Document = dict[str, Any]


def green_name(model: Model) -> str:
    """No model's own workload is called so: theirs begin with vllm-."""
    return f"green-{workload_name(model)}"


def green_of(deployment: Document, model: Model, replicas: int) -> Document:
    """The same pods under another name and label, so that neither Service nor Deployment takes them for its own. Pure."""
    green = copy.deepcopy(deployment)
    label = {MODEL_LABEL: green_label(model)}
    green["metadata"]["name"] = green_name(model)
    green["spec"] |= {"replicas": replicas, "strategy": deployment_strategy("RollingUpdate")}
    for labels in (
        green["metadata"]["labels"],
        green["spec"]["selector"]["matchLabels"],
        green["spec"]["template"]["metadata"]["labels"],
    ):
        labels |= label
    return green


def to_green(service: Document, model: Model) -> Document:
    """The Service, turned to the green pods. Pure."""
    turned = copy.deepcopy(service)
    turned["spec"]["selector"][MODEL_LABEL] = green_label(model)
    return turned


def is_there(place: Place, model: Model) -> bool:
    return place.workload(green_name(model)) is not None


def tidy(place: Place, model: Model, documents: Sequence[Document]) -> bool:
    """Whether a run that died left a green one that still carries the traffic: it stays until the release does.

    Where the model's own Deployment is complete, the Service is turned to that and green goes now.
    """
    if not is_there(place, model):
        return False
    if not is_complete(place.workload(workload_name(model)) or {}):
        return True
    turn_back(place, model, documents)
    return False


def turn_back(place: Place, model: Model, documents: Sequence[Document]) -> None:
    """The Service leads to the model's own Deployment, and there is no green one any more."""
    place.cluster.apply(next(d for d in documents if d["kind"] == "Service"))
    remove(place, model)


def remove(place: Place, model: Model) -> None:
    """Take the green Deployment away and wait until its pods have drained. Raises RolloutFailed."""
    name, namespace = green_name(model), place.environment.namespace
    if not place.cluster.delete("apps/v1", "Deployment", name, namespace, propagation="Foreground"):
        return
    seconds = model.engine.drain + model.engine.shutdown_timeout + place.environment.deadlines.drain
    place.wait_until(
        lambda: not is_there(place, model), seconds, f"the Deployment {name} does not go away", name
    )
