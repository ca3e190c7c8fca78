"""Why the gateway does not get through to vLLM: do the policies in force shut the path, or what does NGINX say?"""

from __future__ import annotations

from typing import Any

from tasks.cloud.kubernetes import Cluster
from tasks.cloud.reachability import Path, Pod, shutters
from tasks.records.errors import RolloutFailed
from tasks.rollout.gateway import GATEWAY


def explain(cluster: Cluster, namespace: str, workload: str, cut: RolloutFailed) -> RolloutFailed:
    """The same failure, with the network policies as they are in the cluster now as its cause where they are it."""
    policies = cluster.list("networking.k8s.io/v1", "NetworkPolicy", namespace)
    source, destination = (_pods(cluster, namespace, name) for name in (GATEWAY, workload))
    said = [*cut.evidence, *_last_words(cluster, namespace)]
    shut = shutters(policies, Path(source, destination, 8000, True, ""))
    if not shut:
        return RolloutFailed(
            cut.cause,
            evidence=[*said, "the namespace's network policies leave the path open"],
            next_command=f"kubectl -n {namespace} logs deployment/{GATEWAY}",
        )
    return RolloutFailed(
        f"network policies cut the path from the gateway to vLLM: {' and '.join(shut)}",
        evidence=said,
        next_command=f"kubectl -n {namespace} get networkpolicy -o yaml; slipway deploy applies k8s/*/networkpolicy.yaml",
    )


def _pods(cluster: Cluster, namespace: str, name: str) -> Pod:
    """A Deployment's pods as one end of a path."""
    found: dict[str, Any] = cluster.get("apps/v1", "Deployment", name, namespace) or {}
    template = (found.get("spec") or {}).get("template") or {}
    return Pod(name, namespace, (template.get("metadata") or {}).get("labels") or {}, {"http": 8000})


def _last_words(cluster: Cluster, namespace: str) -> list[str]:
    """What the gateway logged of it."""
    lines: list[str] = []
    for pod in cluster.list("v1", "Pod", namespace, label_selector=f"app={GATEWAY}"):
        log = cluster.logs(namespace, pod["metadata"]["name"], tail=40)
        lines += [line for line in log.splitlines() if "upstream" in line][-2:]
    return lines
