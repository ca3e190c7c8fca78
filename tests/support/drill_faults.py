"""Faults of live objects under which replicas are Ready and answer: how each is made, and what a drill must say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """`kind`: of the object that `change` alters in place. `promise` is not kept, for a cause like `cause` (a regex)."""

    name: str
    kind: str
    change: Callable[[Object], None]
    promise: str
    cause: str


def _trigger(**values: str) -> Callable[[Object], None]:
    def change(scaled: Object) -> None:
        scaled["spec"]["triggers"][0]["metadata"] |= values

    return change


def _other_label(scaled: Object) -> None:
    metadata = scaled["spec"]["triggers"][0]["metadata"]
    metadata["query"] = metadata["query"].replace('model_name="', 'model_name="old-')
    metadata["ignoreNullValues"] = "true"


def _only_waiting(scaled: Object) -> None:
    metadata = scaled["spec"]["triggers"][0]["metadata"]
    metadata["query"] = metadata["query"].partition(" + ")[2]


def _behaviour(direction: str, **values: Any) -> Callable[[Object], None]:
    def change(scaled: Object) -> None:
        scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"][direction] |= values

    return change


def _spec(**values: Any) -> Callable[[Object], None]:
    return lambda thing: thing["spec"].update(values)


def _paused(scaled: Object) -> None:
    scaled["metadata"].setdefault("annotations", {})["autoscaling.keda.sh/paused"] = "true"


def _selector(monitor: Object) -> None:
    monitor["spec"]["selector"]["matchLabels"] = {"app": "vllm-engine"}


def _slot(service: Object) -> None:
    service["spec"]["selector"]["slot"] = "a"


def _keep(pool: Object) -> None:
    pool["spec"]["disruption"]["consolidateAfter"] = "Never"


def _no_budget(pool: Object) -> None:
    pool["spec"]["disruption"]["budgets"] = [{"nodes": "0", "reasons": ["Empty"]}]


def _one_node(pool: Object) -> None:
    pool["spec"]["limits"] = {"nodes": "1"}


# KEDA, its HPA and so `slipway status` tell these too
BEFORE_LOAD = (
    Fault(
        "the ScaledObject is paused", "ScaledObject", _paused, "scale-out", r"is paused by autoscaling\.keda\.sh/paused"
    ),
    Fault("another Prometheus", "ScaledObject", _trigger(serverAddress="http://prometheus.old.svc:9090"), "scale-out", r"KEDA does not call .* ready|gets no demand"),
    Fault("a PodMonitor that selects nothing", "PodMonitor", _selector, "scale-out", r"the PodMonitor vllm selects app=vllm-engine, which no replica has"),
)  # fmt: skip
UNDER_LOAD = (
    Fault("a wrong label, and no answer taken for no load", "ScaledObject", _other_label, "scale-out", r"KEDA's query finds no series, and ignoreNullValues takes that for no load"),
    Fault("a query of waiting requests alone", "ScaledObject", _only_waiting, "scale-out", r"KEDA's query says 0 while the release's own says [1-9]"),
    Fault("the maximum is the minimum", "ScaledObject", _spec(maxReplicaCount=1), "scale-out", r"maxReplicaCount is 1, and 1 run: no load brings another"),
    Fault("a target of a thousand", "ScaledObject", _trigger(threshold="1000"), "scale-out", r"not as the release applied it: .*threshold is 1000"),
    Fault("scaling up is disabled", "ScaledObject", _behaviour("scaleUp", selectPolicy="Disabled"), "scale-out", r"the HPA's scaleUp is Disabled"),
    Fault("an hour before scaling up", "ScaledObject", _behaviour("scaleUp", stabilizationWindowSeconds=3600), "scale-out", r"the HPA's scaleUp waits 3600 s"),
    Fault("a NodePool at its limit", "NodePool", _one_node, "scale-out", r"the NodePool slipway-gpu is at its limit of 1 node$"),
    Fault("a Service that misses new pods", "Service", _slot, "scale-out", r"the Service vllm-\S+ selects slot=a, which the new replica does not have"),
)  # fmt: skip
AFTER_LOAD = (
    Fault("an hour before scaling down", "ScaledObject", _behaviour("scaleDown", stabilizationWindowSeconds=3600), "scale-in", r"the HPA's scaleDown waits 3600 s"),
    Fault("scaling down is disabled", "ScaledObject", _behaviour("scaleDown", selectPolicy="Disabled"), "scale-in", r"the HPA's scaleDown is Disabled"),
    Fault("a NodePool that never consolidates", "NodePool", _keep, "scale-in", r"keeps empty nodes: consolidateAfter is Never"),
    Fault("a NodePool's budget of no node", "NodePool", _no_budget, "scale-in", r"allows no empty node to go: a budget of 0 nodes"),
)  # fmt: skip
PATCHED = BEFORE_LOAD + UNDER_LOAD + AFTER_LOAD
