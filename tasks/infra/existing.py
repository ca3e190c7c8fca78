"""Read what an environment says exists already, as variables of the cluster root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.cloud.aws import Aws, aws_errors
from tasks.cloud.bucket_key import default_key
from tasks.cloud.eks_cluster import FoundCluster, require_cluster
from tasks.cloud.vpc import Network, read_network
from tasks.infra.ownership import require_bucket
from tasks.infra.stacks import StackName
from tasks.infra.state import read_outputs
from tasks.records.environment import Environment


def existing_variables(environment: Environment, aws: Aws) -> dict[str, Any]:
    """`existing_network`, `existing_cluster` and `existing_gpu_node_group` of infra/terraform/cluster.

    Raises InputError for what is not there or cannot carry the nodes, CloudError.
    """
    existing = environment.existing
    if not existing.network:
        return {}
    cluster = require_cluster(existing.cluster, aws) if existing.cluster else None
    # a subnet that comes to the VPC later must not move the nodes
    kept: Sequence[str] = read_outputs(environment, "cluster", aws).get("private_subnet_ids") or ()
    network = read_network(
        existing,
        aws,
        gpu_zone=environment.cluster.gpu.zone,
        vpc=cluster.vpc if cluster else None,
        among=cluster.subnets if cluster else (),
        kept=kept,
    )
    return as_variables(network, cluster, existing.node_group)


def bucket_key(environment: Environment, aws: Aws) -> dict[str, Any]:
    """`existing_kms_key_arn` of infra/terraform/storage, where the model bucket exists and encrypts with a key itself.

    Raises InputError for a bucket that is not there, CloudError.
    """
    existing, bucket = environment.existing, environment.storage.model_bucket
    if not existing.model_bucket or existing.kms_key:
        return {}
    require_bucket(aws, bucket, "storage.model_bucket")
    key = default_key(bucket, aws)
    if key is None:
        return {}
    with aws_errors(f"reading the key {key} of the bucket {bucket}"):
        found = aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    return {"existing_kms_key_arn": found}


def as_variables(network: Network, cluster: FoundCluster | None, node_group: str | None) -> dict[str, Any]:
    """The same from what was read. Pure."""
    variables: dict[str, Any] = {
        "existing_network": {
            "vpc_id": network.vpc,
            "cidrs": list(network.address_ranges),
            "subnet_ids": list(network.subnet_ids),
            "zones": list(network.zones),
        },
        "existing_gpu_node_group": node_group or "",
    }
    if cluster:
        variables["existing_cluster"] = {
            "name": cluster.name,
            "version": cluster.version,
            "endpoint": cluster.endpoint,
            "certificate_authority": cluster.certificate_authority,
        }
    return variables


def staying(environment: Environment, stack: StackName) -> list[str]:
    """What a teardown leaves of all that the environment says exists, as lines; `stack`: beside which it was used. Pure."""
    existing, storage = environment.existing, environment.storage
    said = (
        {
            "the cluster": existing.cluster,
            "its node group": existing.node_group,
            "the VPC": existing.vpc,
            "the subnets": ", ".join(existing.subnets),
        }
        if stack == "cluster"
        else {
            "the model bucket": existing.model_bucket and f"{storage.model_bucket}, with all that is in it,",
            "the key": existing.kms_key,
        }
    )
    return [f"{what} {name} stays: it was there before" for what, name in said.items() if name]


def located(environment: Environment, outputs: dict[str, Any]) -> Environment:
    """The environment with the subnets and address ranges of a network that exists, as the cluster root found them."""
    if not environment.existing.network:
        return environment
    found = {
        "subnets": tuple(outputs["private_subnet_ids"]),
        "address_ranges": tuple(outputs["vpc_cidrs"]),
    }
    return environment.model_copy(update={"existing": environment.existing.model_copy(update=found)})
