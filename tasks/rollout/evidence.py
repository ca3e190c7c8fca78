"""Collect what the cluster shows of a pod: events, log, its claims, its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.records.names import VLLM
from tasks.rollout.explain import Explanation, PodEvidence, explain_first
from tasks.rollout.pod_phases import is_scheduled, pod_phase

LOG_LINES, LAST_LIFE_LINES = 100, 60


def evidence_of(
    cluster: Cluster, pod: Object, group_issues: Callable[[], tuple[str, ...]] = tuple
) -> PodEvidence:
    """What can be seen of one pod now; where it was restarted, the log of its last life too."""
    namespace, name = pod["metadata"]["namespace"], objects.name(pod)
    log = cluster.logs(namespace, name, VLLM, tail=LOG_LINES)
    if any(status.get("restartCount", 0) for status in objects.container_statuses(pod)):
        log = cluster.logs(namespace, name, VLLM, tail=LAST_LIFE_LINES, previous=True) + log
    events = tuple(cluster.events(namespace, name))
    if is_scheduled(pod):
        return PodEvidence(pod, events, tuple(log.splitlines()), node=tuple(node_lines(cluster, pod)))
    claims = tuple(claim_lines(cluster, pod))
    return PodEvidence(pod, events, tuple(log.splitlines()), claims=claims, group=group_issues())


def node_lines(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """What is wrong with the pod's node; empty where it is Ready and not being drained."""
    name = str(objects.node_of(pod))
    node = cluster.get("v1", "Node", name)
    if node is None:
        return [f"node {name} is gone"]
    ready = objects.condition(node, "Ready")
    if ready.get("status") != "True":
        return [f"node {name} is not Ready: {ready.get('reason')}: {ready.get('message')}"]
    taints = [taint["key"] for taint in objects.spec(node).get("taints") or ()]
    interrupted = [key for key in taints if "spot-itn" in key or "ToBeDeleted" in key]
    return [f"node {name} is being drained: {', '.join(interrupted)}"] if interrupted else []


def claim_lines(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    """The events of the pod's unbound claims, which are not among the pod's own."""
    namespace, lines = pod["metadata"]["namespace"], list[str]()
    for volume in objects.spec(pod).get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        # https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
        if "ephemeral" in volume:
            name = f"{objects.name(pod)}-{volume['name']}"
        claim = cluster.get("v1", "PersistentVolumeClaim", name, namespace) if name else None
        if name and claim and objects.status(claim).get("phase") != "Bound":
            lines += [f"claim {name}: {line}" for line in cluster.events(namespace, name)]
    return lines


def explain_pods(cluster: Cluster, pods: Sequence[Object]) -> Explanation | None:
    """The first explanation that any of the pods gives; those that are ready are not looked at closely."""
    return explain_first([evidence_of(cluster, pod) for pod in pods if pod_phase(pod) != "ready"])


def lines_of(cluster: Cluster, pods: Sequence[Object]) -> list[str]:
    """The last events and log lines of each pod, under its name."""
    lines = []
    for pod in pods:
        seen = evidence_of(cluster, pod)
        lines += [f"pod {objects.name(pod)}", *seen.events[-4:], *seen.log[-8:]]
    return lines
