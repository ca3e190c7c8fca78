"""Read an EKS cluster that exists, and its GPU node group. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tasks.cloud.aws import Aws, aws_errors, error_code
from tasks.records.environment import Environment
from tasks.records.errors import InputError
from tasks.records.results import Infrastructure


@dataclass(frozen=True)
class FoundCluster:
    """What EKS says of a cluster. `certificate_authority`: base64 of PEM."""

    name: str
    status: str
    version: str
    endpoint: str
    certificate_authority: str
    vpc: str
    subnets: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)

    def infrastructure(self, environment: Environment, gpu_node_group: str = "") -> Infrastructure:
        """How its Kubernetes API is reached, before anything of ours is in it."""
        return Infrastructure(
            cluster_name=self.name,
            endpoint=self.endpoint,
            certificate_authority=self.certificate_authority,
            region=environment.region,
            aws_profile=environment.aws_profile,
            gpu_node_group=gpu_node_group,
        )


def read_cluster(name: str, aws: Aws) -> FoundCluster | None:
    """The cluster, None where EKS has none of that name. Raises AccessDenied, CloudError."""
    with aws_errors(f"reading the EKS cluster {name}"):
        try:
            found = aws.client("eks").describe_cluster(name=name)["cluster"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise
    network = found["resourcesVpcConfig"]
    return FoundCluster(
        name=str(found["name"]),
        status=str(found["status"]),
        version=str(found["version"]),
        endpoint=str(found.get("endpoint", "")),
        certificate_authority=str((found.get("certificateAuthority") or {}).get("data", "")),
        vpc=str(network["vpcId"]),
        subnets=tuple(network["subnetIds"]),
        tags=dict(found.get("tags") or {}),
    )


def require_cluster(name: str, aws: Aws) -> FoundCluster:
    """As `read_cluster`. Raises InputError where there is none."""
    found = read_cluster(name, aws)
    if found is None:
        raise InputError(
            f"there is no EKS cluster {name} in {aws.region}",
            next_command=f"aws eks list-clusters --region {aws.region}; then existing.cluster in the environment's file",
        )
    return found


def read_node_group(cluster: str, name: str, aws: Aws) -> dict[str, Any] | None:
    """A node group as EKS describes it; None where there is none. Raises CloudError."""
    with aws_errors(f"reading the node group {name} of {cluster}"):
        try:
            answer = aws.client("eks").describe_nodegroup(clusterName=cluster, nodegroupName=name)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise
    found: dict[str, Any] = answer["nodegroup"]
    return found
