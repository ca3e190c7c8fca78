"""Collect what the cluster shows of a pod: events, log, its claims, its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.cloud import objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.records.names import VLLM
from tasks.rollout.explain import Explanation, PodEvidence, explain_first
from tasks.rollout.pod_phases import is_scheduled, pod_phase

# Of a life that ended: a start that fails in one of eight ranks writes some 100 KiB (vLLM 0.32.0: 24 KiB with one). Of one
# that runs, the start has the phases and is read four times a second.
ENDED_BYTES, RUNNING_BYTES = 256 * 1024, 48 * 1024
END_LINES = (1000, 250, 60, 15)  # of a longer log; fewer, until they fit into as many bytes
LEFT_OUT = "… lines of the log are left out here …"


def evidence_of(
    cluster: Cluster, pod: Object, group_issues: Callable[[], tuple[str, ...]] = tuple
) -> PodEvidence:
    """What can be seen of one pod now; where it was restarted, the log of its last life too."""
    namespace, name = pod["metadata"]["namespace"], objects.name(pod)
    statuses = objects.container_statuses(pod)
    runs = all("running" in (status.get("state") or {}) for status in statuses)
    log = read_log(cluster, namespace, name, RUNNING_BYTES if runs else ENDED_BYTES)
    previous: tuple[str, ...] = ()
    if any(status.get("restartCount", 0) for status in statuses):
        previous = read_log(cluster, namespace, name, ENDED_BYTES, previous=True)
    events = tuple(cluster.events(namespace, name))
    if is_scheduled(pod):
        return PodEvidence(pod, events, log, previous=previous, node=tuple(node_lines(cluster, pod)))
    claims = tuple(claim_lines(cluster, pod))
    return PodEvidence(pod, events, log, previous=previous, claims=claims, group=group_issues())


def read_log(
    cluster: Cluster, namespace: str, pod: str, limit: int, *, previous: bool = False
) -> tuple[str, ...]:
    """The engine's log where it has `limit` bytes at most; else as many of its start, and of its end."""
    start = cluster.logs(namespace, pod, VLLM, tail=None, limit=limit, previous=previous)
    # the API may return slightly less than the limit (PodLogOptions.limitBytes)
    if len(start.encode()) < limit * 0.9:
        return tuple(start.splitlines())
    for count in END_LINES:
        # of more bytes than the limit the API returns the first, and the end is what is wanted
        end = cluster.logs(namespace, pod, VLLM, tail=count, limit=limit, previous=previous)
        if len(end.encode()) < limit * 0.9:
            break
    return joined(start.splitlines(), end.splitlines())


def joined(start: Sequence[str], end: Sequence[str]) -> tuple[str, ...]:
    """A log from its first and its last lines, each line once where they overlap. Pure.

    The last line of `start` may be cut.
    """
    whole = list(start[:-1])
    for at in range(len(whole)):
        if whole[at:] == list(end[: len(whole) - at]):
            return (*whole[:at], *end)
    return (*whole, LEFT_OUT, *end)


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
