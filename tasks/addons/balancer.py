"""The load balancer that proves the AWS Load Balancer Controller: made for a Service without pods, looked at, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from tasks.cloud import load_balancer, objects
from tasks.cloud.kubernetes import Cluster, Object
from tasks.cloud.waiting import REAL, Time, until_none
from tasks.records.environment import Environment
from tasks.records.errors import ClusterError
from tasks.records.names import ENVIRONMENT_TAG, GATEWAY

WORKLOAD = "aws-load-balancer-controller"


def probe_name(environment: Environment) -> str:
    """Two environments may share a cluster."""
    return f"slipway-verify-lb-{environment.name}"


def document(environment: Environment, namespace: str, root: Path) -> Object:
    """The Service. What it makes has the environment's tag: the inventory finds it."""
    found: Object = yaml.safe_load((root / "k8s/addons/verify/load-balancer.yaml").read_text())
    found["metadata"] |= {"name": probe_name(environment), "namespace": namespace}
    annotations = found["metadata"]["annotations"]
    annotations[f"{load_balancer.PREFIX}-additional-resource-tags"] = f"{ENVIRONMENT_TAG}={environment.name}"
    if environment.existing.subnets:
        annotations[f"{load_balancer.PREFIX}-subnets"] = ",".join(environment.existing.subnets)
    return found


def missing(cluster: Cluster, environment: Environment, namespace: str, root: Path) -> list[str]:
    """What the controller does not bring yet: the gateway's load balancer, or before there is a gateway, the probe's."""
    gateway = cluster.get("v1", "Service", GATEWAY, environment.namespace)
    if objects.spec(gateway).get("loadBalancerClass") == load_balancer.CLASS and load_balancer.host_of(
        gateway
    ):
        return []
    if not objects.status(cluster.get("apps/v1", "Deployment", WORKLOAD, namespace)).get("availableReplicas"):
        return [f"{WORKLOAD} is not available yet"]
    name = probe_name(environment)
    probe = cluster.get("v1", "Service", name, namespace)
    if probe is None:
        cluster.apply(document(environment, namespace, root))
        return ["a probe load balancer was asked for"]
    if load_balancer.host_of(probe):
        return []
    return ["the probe load balancer has no address yet", *cluster.events(namespace, name)[-3:]]


def remove(cluster: Cluster, environment: Environment, namespace: str, *, time: Time = REAL) -> None:
    """Delete the probe and wait until the controller has removed its load balancer. Raises ClusterError where it stays."""
    name = probe_name(environment)
    if not cluster.delete("v1", "Service", name, namespace):
        return

    def left() -> list[Object]:
        found = cluster.get("v1", "Service", name, namespace)
        return [found] if found else []

    def late(seen: Sequence[Object]) -> ClusterError:
        return ClusterError(
            f"the load balancer of the probe {namespace}/{name} did not go away",
            evidence=cluster.events(namespace, name)[-3:],
            next_command=f"kubectl -n {namespace} describe service {name}",
        )

    until_none(left, environment.deadlines.drain, late, time)
