"""Explain why the gateway does not reach vLLM, or is not reached: by the network policies in force, else by the logs."""

from __future__ import annotations

from tasks.cloud import objects
from tasks.cloud.inside import GATEWAY_PORT
from tasks.cloud.kubernetes import Cluster
from tasks.cloud.reachability import Path, Pod, shutters
from tasks.records.environment import Environment
from tasks.records.errors import RolloutFailed
from tasks.records.names import GATEWAY, VALIDATION, VLLM_PORT
from tasks.records.reports import MeasureFrom


def explain(cluster: Cluster, namespace: str, workload: str, cut: RolloutFailed) -> RolloutFailed:
    """The same failure with its cause: the network policies where they shut the path. Reads the cluster as it is now."""
    policies = cluster.list("networking.k8s.io/v1", "NetworkPolicy", namespace)
    source, destination = (_pods(cluster, namespace, name) for name in (GATEWAY, workload))
    said = [*cut.evidence, *_last_words(cluster, namespace)]
    shut = shutters(policies, Path(source, destination, VLLM_PORT, True, ""))
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


def explain_unreached(
    cluster: Cluster, environment: Environment, measure_from: MeasureFrom, cut: RolloutFailed
) -> RolloutFailed:
    """The failure to reach the gateway with its cause: where it was asked from, and the policies that shut that way."""
    namespace = environment.namespace
    if measure_from == "here":
        internal = environment.gateway.scheme == "internal"
        return RolloutFailed(
            f"{cut.cause} from here" + (": its load balancer is internal to the VPC" if internal else ""),
            evidence=cut.evidence,
            next_command="the same command without --from here: the gate then runs inside the cluster",
        )
    policies = cluster.list("networking.k8s.io/v1", "NetworkPolicy", namespace)
    asking = Pod("the gate's job", namespace, {"app": VALIDATION})
    shut = shutters(policies, Path(asking, _pods(cluster, namespace, GATEWAY), GATEWAY_PORT, True, ""))
    if not shut:
        return RolloutFailed(
            f"{cut.cause} to a job inside the cluster",
            evidence=[*cut.evidence, "the namespace's network policies leave the path open"],
            next_command=f"kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={GATEWAY}",
        )
    return RolloutFailed(
        f"network policies cut the path from the gate's job to the gateway: {' and '.join(shut)}",
        evidence=cut.evidence,
        next_command=f"kubectl -n {namespace} get networkpolicy -o yaml; slipway deploy applies k8s/*/networkpolicy.yaml",
    )


def _pods(cluster: Cluster, namespace: str, name: str) -> Pod:
    """A Deployment's pods as one end of a path."""
    template = objects.pod_template(cluster.get("apps/v1", "Deployment", name, namespace))
    return Pod(name, namespace, objects.labels(template), {"http": VLLM_PORT})


def _last_words(cluster: Cluster, namespace: str) -> list[str]:
    """The last lines that each gateway pod logged about its upstreams."""
    lines: list[str] = []
    for pod in cluster.list("v1", "Pod", namespace, label_selector=f"app={GATEWAY}"):
        log = cluster.logs(namespace, objects.name(pod), tail=40)
        lines += [line for line in log.splitlines() if "upstream" in line][-2:]
    return lines
