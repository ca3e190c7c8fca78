"""The GPU node group's size, and whether its nodes are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.interruption import nap
from tasks.cloud.kubernetes import Cluster
from tasks.records.environment import Environment
from tasks.records.errors import CapacityUnavailable, CloudError
from tasks.records.progress import Reporter
from tasks.records.results import Infrastructure

ISSUE_SHARE = 1 / 6  # of the time a node may take: so long a health issue may stand before it ends the run


def decide_size(desired: int, *, at_least: int, at_most: int) -> int | None:
    """The size to ask for, None where the present one will do. Never shrinks: scale-down does that."""
    wanted = min(at_least, at_most)
    return wanted if wanted > desired else None


def scale_up(
    infrastructure: Infrastructure,
    environment: Environment,
    aws: Aws,
    cluster: Cluster,
    reporter: Reporter,
    *,
    at_least: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> list[str]:
    """At least so many GPU nodes, Ready; their names. Raises CapacityUnavailable with the node group's health."""
    group = describe(infrastructure, aws)
    size = decide_size(
        int(group["scalingConfig"]["desiredSize"]), at_least=at_least, at_most=environment.cluster.gpu.max
    )
    if size is not None:
        reporter.say(f"GPU node group {infrastructure.gpu_node_group}: asking for {size}")
        set_size(infrastructure, aws, size)
    asked, patience = clock(), environment.deadlines.node_boot * ISSUE_SHARE
    deadline = asked + environment.deadlines.node_boot
    said = -1
    while True:
        ready = ready_nodes(cluster, environment)
        if len(ready) >= at_least:
            return ready
        issues = (describe(infrastructure, aws).get("health") or {}).get("issues") or []
        if issues and clock() >= asked + patience:  # one left from an earlier try goes as nodes come
            raise capacity(infrastructure, issues)
        if len(ready) != said:
            reporter.say(f"{len(ready)} of {at_least} GPU nodes ready")
            said = len(ready)
        if clock() >= deadline:
            raise CloudError(
                f"no GPU node joined within {environment.deadlines.node_boot:.0f} s",
                next_command=f"aws eks describe-nodegroup --cluster-name {infrastructure.cluster_name} "
                f"--nodegroup-name {infrastructure.gpu_node_group}",
            )
        sleep(0.25)


def capacity(infrastructure: Infrastructure, issues: list[dict[str, Any]]) -> CapacityUnavailable:
    return CapacityUnavailable(
        "EC2 gives no GPU node now",
        evidence=[f"{issue.get('code')}: {issue.get('message')}" for issue in issues],
        next_command="try another zone or instance type (cluster.gpu.instance_type), or later",
    )


def scale_to_zero(
    infrastructure: Infrastructure,
    environment: Environment,
    aws: Aws,
    cluster: Cluster,
    reporter: Reporter,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = nap,
) -> None:
    """As few GPU nodes as the environment allows, which is none by default. Raises CloudError at the deadline."""
    fewest = environment.cluster.gpu.min
    set_size(infrastructure, aws, fewest)
    deadline = clock() + environment.deadlines.node_boot
    while len(nodes := gpu_nodes(cluster, environment)) > fewest:
        if clock() >= deadline:
            raise CloudError(
                "GPU nodes did not go away",
                evidence=nodes,
                next_command="kubectl get nodes; kubectl get pdb -A",
            )
        sleep(0.25)
    reporter.say(f"{fewest or 'no'} GPU node is left")


def cluster_exists(name: str, aws: Aws) -> bool:
    """Whether EKS has an active cluster of that name."""
    with aws_errors("looking for the cluster"):
        try:
            status = aws.client("eks").describe_cluster(name=name)["cluster"]["status"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
    return bool(status not in ("DELETING", "FAILED"))


def describe(infrastructure: Infrastructure, aws: Aws) -> dict[str, Any]:
    with aws_errors("reading the GPU node group"):
        found: dict[str, Any] = aws.client("eks").describe_nodegroup(
            clusterName=infrastructure.cluster_name, nodegroupName=infrastructure.gpu_node_group
        )["nodegroup"]
        return found


def set_size(infrastructure: Infrastructure, aws: Aws, size: int) -> None:
    with aws_errors("changing the GPU node group's size"):
        aws.client("eks").update_nodegroup_config(
            clusterName=infrastructure.cluster_name,
            nodegroupName=infrastructure.gpu_node_group,
            scalingConfig={"desiredSize": size},
        )


def gpu_nodes(cluster: Cluster, environment: Environment) -> list[str]:
    gpu = environment.cluster.gpu
    nodes = cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")
    return [node["metadata"]["name"] for node in nodes]


def ready_nodes(cluster: Cluster, environment: Environment) -> list[str]:
    gpu = environment.cluster.gpu
    nodes = cluster.list("v1", "Node", label_selector=f"{gpu.label_key}={gpu.label_value}")
    return [
        node["metadata"]["name"]
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions") or ())
        and not node.get("spec", {}).get("unschedulable")
    ]
