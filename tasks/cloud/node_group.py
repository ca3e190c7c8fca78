"""Read the GPU node group from EKS, and what EKS says is wrong with it."""

from __future__ import annotations

from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.records.results import Infrastructure


def describe(aws: Aws, infrastructure: Infrastructure) -> dict[str, Any]:
    """The GPU node group as EKS describes it. Raises CloudError."""
    with aws_errors("reading the GPU node group"):
        found: dict[str, Any] = aws.client("eks").describe_nodegroup(
            clusterName=infrastructure.cluster_name, nodegroupName=infrastructure.gpu_node_group
        )["nodegroup"]
        return found


def issues(group: dict[str, Any]) -> list[str]:
    """Its health issues, as "CODE: message". Codes:

    https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html
    """
    found = (group.get("health") or {}).get("issues") or ()
    return [f"{issue.get('code')}: {issue.get('message')}" for issue in found]
