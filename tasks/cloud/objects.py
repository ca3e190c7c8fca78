"""Read Kubernetes objects as they are on the wire, where any part may be missing or null."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.cloud.kubernetes import Cluster, Object
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.names import GPU, KEY_ENTRY
from tasks.records.quantities import parse_quantity

Seen = Mapping[str, Any]


def name(thing: Seen) -> str:
    return str(thing["metadata"]["name"])


def spec(thing: Seen | None) -> dict[str, Any]:
    """Empty where the object or its spec is missing."""
    return (thing or {}).get("spec") or {}


def status(thing: Seen | None) -> dict[str, Any]:
    """Empty where the object or its status is missing."""
    return (thing or {}).get("status") or {}


def labels(thing: Seen | None) -> dict[str, str]:
    return _metadata(thing).get("labels") or {}


def annotations(thing: Seen | None) -> dict[str, str]:
    return _metadata(thing).get("annotations") or {}


def is_terminating(thing: Seen) -> bool:
    """Whether its deletion was asked for."""
    return bool(_metadata(thing).get("deletionTimestamp"))


def condition(thing: Seen | None, kind: str) -> dict[str, Any]:
    """The condition of that type; empty where there is none."""
    return next((c for c in status(thing).get("conditions") or () if c["type"] == kind), {})


def holds(thing: Seen | None, kind: str) -> bool:
    """Whether the condition of that type is True."""
    return condition(thing, kind).get("status") == "True"


def is_ready(thing: Seen | None) -> bool:
    """A pod's or a node's own word."""
    return holds(thing, "Ready")


def has_ended(pod: Seen) -> bool:
    """Succeeded or Failed. Such a pod (evicted, refused by its node) stays listed and holds nothing."""
    return status(pod).get("phase") in ("Succeeded", "Failed")


def living(pods: Iterable[Object]) -> list[Object]:
    """Pods that have not ended; those that are terminating are among them and still hold their GPUs."""
    return [pod for pod in pods if not has_ended(pod)]


def staying(pods: Iterable[Object]) -> list[Object]:
    """Living pods whose deletion nobody asked for."""
    return [pod for pod in living(pods) if not is_terminating(pod)]


def container_statuses(pod: Seen) -> Sequence[dict[str, Any]]:
    return status(pod).get("containerStatuses") or ()


def running_since(pod: Seen) -> str | None:
    """When the first container began to run (RFC 3339); None where it does not run."""
    for first in container_statuses(pod):
        running = (first.get("state") or {}).get("running")
        return None if running is None else str(running.get("startedAt", ""))
    return None


def node_of(pod: Seen) -> str | None:
    """The node a pod was scheduled to."""
    return spec(pod).get("nodeName")


def gpus_requested(pod: Seen) -> int:
    """GPUs the pod's containers request together."""
    requests = ((c.get("resources") or {}).get("requests") or {} for c in spec(pod).get("containers") or ())
    return sum(int(parse_quantity(each.get(GPU, "0"))) for each in requests)


def gpus_allocatable(node: Seen) -> int:
    """GPUs the node's device plugin offers."""
    return int(parse_quantity((status(node).get("allocatable") or {}).get(GPU, "0")))


def pod_template(workload: Seen | None) -> dict[str, Any]:
    """A workload's pod template; empty for what starts no pods."""
    return spec(workload).get("template") or {}


def is_complete(workload: Seen | None) -> bool:
    """A Deployment whose latest spec is fully rolled out and available."""
    if not workload:
        return False
    now, wanted = status(workload), spec(workload).get("replicas", 1)
    return bool(
        now.get("observedGeneration", 0) >= _metadata(workload).get("generation", 1)
        and now.get("updatedReplicas", 0) == wanted
        and now.get("replicas", 0) == wanted
        and now.get("availableReplicas", 0) == wanted
    )


def gpu_nodes(cluster: Cluster, environment: Environment) -> list[Object]:
    """The environment's GPU nodes, by the label its node group gives them."""
    return cluster.list("v1", "Node", label_selector=environment.cluster.gpu.selector)


def read_key(cluster: Cluster, namespace: str, secret: str) -> str:
    """The API key out of its Secret. Raises ClusterError where the Secret or its entry is missing."""
    found = cluster.get("v1", "Secret", secret, namespace)
    data = (found or {}).get("data") or {}
    if KEY_ENTRY not in data:
        raise ClusterError(
            f"the Secret {namespace}/{secret} with the API key is not there",
            next_command=f"kubectl -n {namespace} get secret {secret}",
        )
    return base64.b64decode(data[KEY_ENTRY]).decode()


def _metadata(thing: Seen | None) -> dict[str, Any]:
    return (thing or {}).get("metadata") or {}
