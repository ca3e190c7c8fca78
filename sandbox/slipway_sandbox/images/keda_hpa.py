"""The HPA that KEDA makes of a ScaledObject, and the status kube-controller-manager would write into it. Pure.

Sources: kedacore/keda v2.20.2 controllers/keda/hpa.go; kubernetes pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from slipway_sandbox.controllers.objects import Object, Resource, uid_of
from slipway_sandbox.images.keda_scaling import Reading

AUTOSCALERS = Resource("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
OWNER = "scaledobject.keda.sh/name"


def _config(item: Object) -> Object:
    return (item["spec"].get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}


def hpa_name(item: Object) -> str:
    """The name a ScaledObject gives, or keda-hpa-NAME."""
    return str(_config(item).get("name") or f"keda-hpa-{item['metadata']['name']}")


def hpa_of(item: Object, api: str, kind: str) -> Object:
    """The HPA of a ScaledObject whose target is of that kind."""
    spec, metadata = item["spec"], item["metadata"]
    selector = {"matchLabels": {OWNER: metadata["name"]}}
    metrics = [_metric(index, trigger, selector) for index, trigger in enumerate(spec["triggers"])]
    owner = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "name": metadata["name"],
        "uid": uid_of(item),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    body = {
        "scaleTargetRef": {"apiVersion": api, "kind": kind, "name": spec["scaleTargetRef"]["name"]},
        "minReplicas": max(int(spec.get("minReplicaCount") or 0), 1),
        "maxReplicas": int(spec.get("maxReplicaCount") or 100),
        "metrics": metrics,
    }
    if behavior := _config(item).get("behavior"):
        body["behavior"] = behavior
    return {
        "metadata": {"name": hpa_name(item), "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "spec": body,
    }


def _metric(index: int, trigger: Object, selector: Object) -> Object:
    kind = trigger.get("metricType", "AverageValue")
    field = "averageValue" if kind == "AverageValue" else "value"
    target = {"type": kind, field: str(trigger["metadata"].get("threshold", "1"))}
    name = {"name": f"s{index}-{trigger['type']}", "selector": selector}
    return {"type": "External", "external": {"metric": name, "target": target}}


def hpa_status(replicas: int, readings: Sequence[Reading]) -> Object:
    """The status at the controller's look: what it could read, and why it does not scale."""
    able = _condition(
        "AbleToScale",
        "True",
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    )
    return {
        "currentReplicas": replicas,
        "desiredReplicas": replicas,
        "currentMetrics": [_current(reading, replicas) for reading in readings if reading.error is None],
        "conditions": [able, _active(replicas, readings)],
    }


def _active(replicas: int, readings: Sequence[Reading]) -> Object:
    if replicas == 0:
        message = "scaling is disabled since the replica count of the target is zero"
        return _condition("ScalingActive", "False", "ScalingDisabled", message)
    failed = [reading for reading in readings if reading.error is not None]
    if failed and len(failed) == len(readings):
        message = (
            f"the HPA was unable to compute the replica count: unable to get external metric {failed[0].name}: "
            f"unable to fetch metrics from external metrics API: {failed[0].error}"
        )
        return _condition("ScalingActive", "False", "FailedGetExternalMetric", message)
    read = ", ".join(f"external metric {reading.name}" for reading in readings if reading.error is None)
    message = f"the HPA was able to successfully calculate a replica count from {read}"
    return _condition("ScalingActive", "True", "ValidMetricFound", message)


def _current(reading: Reading, replicas: int) -> Object:
    value = reading.value / max(1, replicas) if reading.average else reading.value
    amount = f"{round(value * 1000)}m"
    field = "averageValue" if reading.average else "value"
    return {"type": "External", "external": {"metric": {"name": reading.name}, "current": {field: amount}}}


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
