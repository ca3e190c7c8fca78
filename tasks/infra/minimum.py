"""Raise the GPU node group to a new minimum before terraform does.

EKS refuses a minimum above the desired size, and terraform leaves the desired size alone: it is the scaler's.
"""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.cloud.waiting import REAL, Time, until
from tasks.records.environment import Environment
from tasks.records.errors import CloudError, InputError
from tasks.records.progress import Reporter

# as infra/terraform/cluster/nodes.tf names it
GPU_GROUP = "gpu"
# what an update may start from
SETTLED = ("ACTIVE", "DEGRADED")


def decide_raise(sizes: Mapping[str, int], minimum: int) -> dict[str, int] | None:
    """The scaling to ask for so that a minimum of `minimum` can follow; None where it can now. `sizes`: EKS's scalingConfig."""
    if sizes["desiredSize"] >= minimum:
        return None
    return {
        "minSize": sizes["minSize"],
        "desiredSize": minimum,
        "maxSize": max(sizes["maxSize"], minimum),
    }


def refuse_nodes_that_would_go(environment: Environment, aws: Aws) -> None:
    """Raises InputError where Karpenter is to make the GPU nodes and a node group still has some: they would go at once, with
    what serves on them."""
    names = {"clusterName": environment.eks_cluster, "nodegroupName": GPU_GROUP}
    with aws_errors("looking for the GPU node group"):
        try:
            sizes = aws.client("eks").describe_nodegroup(**names)["nodegroup"]["scalingConfig"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return
            raise
    if sizes["desiredSize"]:
        raise InputError(
            f"the GPU node group has {sizes['desiredSize']} nodes, and cluster.gpu.provisioner: karpenter takes it away",
            evidence=["what serves on them would stop, and start again on nodes that Karpenter makes"],
            next_command="set provisioner: node-group, scale every model down (slipway scale-down), then change it",
        )


def raise_to_minimum(environment: Environment, aws: Aws, reporter: Reporter, time: Time = REAL) -> bool:
    """Whether the group was raised to `cluster.gpu.min`. Raises CloudError where EKS does not take it in time."""
    existing = environment.existing
    if existing.node_group:
        return False
    eks = aws.client("eks")
    group_name = f"{environment.cluster.name}-{GPU_GROUP}" if existing.cluster else GPU_GROUP
    names = {"clusterName": environment.eks_cluster, "nodegroupName": group_name}
    with aws_errors("raising the GPU node group to its minimum"):
        try:
            group = eks.describe_nodegroup(**names)["nodegroup"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
        wanted = decide_raise(group["scalingConfig"], environment.cluster.gpu.min)
        if wanted is None or group["status"] not in SETTLED:
            return False
        reporter.say(f"GPU node group {group_name}: raised to {wanted['desiredSize']}, its new minimum")
        eks.update_nodegroup_config(**names, scalingConfig=wanted)
        until(
            lambda: eks.describe_nodegroup(**names)["nodegroup"]["status"] in SETTLED,
            environment.deadlines.node_boot,
            lambda: CloudError(
                f"the node group {group_name} did not settle at its new minimum",
                next_command=f"aws eks describe-nodegroup --cluster-name {environment.eks_cluster} --nodegroup-name {group_name}",
            ),
            time,
        )
    return True
