"""EKS's image of GPU nodes: the release that it recommends."""

from __future__ import annotations

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.records.errors import CloudError

LATEST = "al2023@latest"


def recommended_release(aws: Aws, kubernetes: str) -> str:
    """The release a new GPU node group gets, such as 1.35.4-20260714; empty where EKS has none of that version."""
    name = f"/aws/service/eks/optimized-ami/{kubernetes}/amazon-linux-2023/x86_64/nvidia/recommended/release_version"
    with aws_errors("asking which node image EKS recommends"):
        try:
            return str(aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])
        except ClientError as error:
            if error_code(error) == "ParameterNotFound":
                return ""
            raise


def pinned(alias: str, aws: Aws, kubernetes: str) -> str:
    """The alias with a version: `latest` becomes the one that EKS recommends now, so that every node until the next deploy has
    the image of this one. Raises CloudError.

    A release is KUBERNETES-DAY, an alias' version v and the day (aws/karpenter-provider-aws 1d92708,
    pkg/providers/amifamily/al2023.go, resolvePath).
    """
    if alias != LATEST:
        return alias
    release = recommended_release(aws, kubernetes)
    if not release:
        raise CloudError(
            f"EKS recommends no AL2023 image with GPU drivers for Kubernetes {kubernetes}",
            next_command="set cluster.gpu.ami to a version, or another cluster.kubernetes_version, in the environment's file",
        )
    return f"al2023@v{release.rpartition('-')[2]}"
