"""Convert an Environment to the variables of the terraform roots, and their outputs to records. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tasks.records.environment import Environment
from tasks.records.model import Model
from tasks.records.results import Infrastructure, StorageOutputs


def storage_variables(environment: Environment) -> dict[str, Any]:
    """The variables of infra/terraform/storage."""
    cache = environment.storage.image_cache
    return {
        "region": environment.region,
        "name": environment.cluster.name,
        "environment": environment.name,
        "tags": dict(environment.tags),
        "bucket_name": environment.storage.model_bucket,
        "existing_bucket": environment.existing.model_bucket,
        "existing_kms_key_arn": environment.existing.kms_key,
        "bucket_force_destroy": environment.storage.force_destroy,
        "reader_arns": list(environment.storage.reader_arns),
        "access_log_bucket": environment.storage.access_log_bucket or "",
        "image_cache": cache
        and {
            "prefix": cache.prefix,
            "upstream": cache.upstream,
            "credential_arn": cache.credential_arn,
        },
        "kms_deletion_window_days": environment.storage.key_deletion_days,
        "secret_recovery_window_days": environment.storage.secret_recovery_days,
    }


def is_among(caller: str, principals: Collection[str]) -> bool:
    """Whether the identity `caller` (STS's Arn) is one of `principals` (IAM's users and roles).

    STS names an assumed role without its path: arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION.
    """
    _, _, _, _, account, resource = caller.split(":", 5)
    if not resource.startswith("assumed-role/"):
        return caller in principals
    role = resource.split("/")[1]
    return any(
        arn.split(":")[4] == account and ":role/" in arn and arn.rsplit("/", 1)[1] == role
        for arn in principals
    )


def streamed_models(made: Mapping[str, Collection[str]], model: Model | None) -> dict[str, list[str]]:
    """The prefixes of the model bucket that the pods of each streamed model may read: those of its repos.

    `made`: the same of the last apply. It stays until teardown: a release that streams may serve, or be put back, after its
    file says volume or another repo, or is gone. `model`: the one that is deployed now.
    """
    found = {name: set(prefixes) for name, prefixes in made.items()}
    if model and model.weights == "stream":
        found.setdefault(model.name, set()).add(model.source.repo)
    return {name: sorted(prefixes) for name, prefixes in sorted(found.items())}


def cluster_variables(
    environment: Environment, storage: StorageOutputs, caller: str, streamed: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The variables of infra/terraform/cluster. `caller` is STS's Arn of whoever applies them; `streamed`: of `streamed_models`."""
    cluster = environment.cluster
    gpu, system = cluster.gpu, cluster.system
    variables: dict[str, Any] = {
        "region": environment.region,
        "name": cluster.name,
        "environment": environment.name,
        "tags": dict(environment.tags),
        "iam_path": environment.iam.path,
        "permissions_boundary_arn": environment.iam.permissions_boundary,
        "kubernetes_version": cluster.kubernetes_version,
        "vpc_cidr": cluster.vpc_cidr,
        "nat_gateways": cluster.nat,
        "interface_endpoints": cluster.interface_endpoints,
        "flow_logs": {"rejected": "REJECT", "all": "ALL", "off": "OFF"}[cluster.flow_logs],
        "image_cache_prefix": environment.storage.image_cache.prefix
        if environment.storage.image_cache
        else "",
        "endpoint_public_access": bool(cluster.public_access_cidrs),
        "admin_principal_arns": sorted(cluster.admin_principal_arns),
        # EKS refuses a second access entry for the creator: bootstrapped, or listed, never both
        "bootstrap_cluster_creator_admin_permissions": not is_among(caller, cluster.admin_principal_arns),
        "system_instance_types": [system.instance_type],
        "system_min_size": system.count,
        "system_desired_size": system.count,
        "system_max_size": max(4, system.count),
        "zones": list(cluster.zones),
        "gpu_provisioner": "karpenter" if gpu.uses_karpenter else "node-group",
        "gpu_zone": gpu.zone or "",
        "gpu_label": {"key": gpu.label_key, "value": gpu.label_value},
        "gpu_taint": {"key": gpu.taint.key, "value": gpu.taint.value, "effect": gpu.taint.eks_effect},
        "model_bucket_arn": storage.bucket_arn,
        "model_kms_key_arn": storage.kms_key_arn,
        "namespace": environment.namespace,
        "streamed_models": dict(streamed),
        "load_balancer_controller": environment.gateway.tls is not None,
    }
    if not gpu.uses_karpenter:
        variables |= {
            "gpu_instance_types": [gpu.instance_type],
            "gpu_capacity_type": gpu.capacity_type,
            "gpu_min_size": gpu.min,
            # the group is made with its smallest size: asking for nodes is scale_up's, which tells missing capacity at once
            "gpu_desired_size": gpu.min,
            "gpu_max_size": gpu.max,
            "gpu_volume_gib": gpu.volume_gib,
            "gpu_volume_iops": gpu.volume_iops,
            "gpu_volume_throughput": gpu.volume_throughput,
        }
    if cluster.public_access_cidrs:
        variables["endpoint_public_access_cidrs"] = list(cluster.public_access_cidrs)
    return variables


def storage_outputs(outputs: dict[str, Any]) -> StorageOutputs:
    return StorageOutputs(
        bucket=outputs["bucket"],
        bucket_arn=outputs["bucket_arn"],
        kms_key_arn=outputs["kms_key_arn"],
        hub_token_secret_arn=outputs["hub_token_secret_arn"],
        evidence_key_arn=outputs.get("evidence_key_arn", ""),  # states of before there was one
    )


def infrastructure(outputs: dict[str, Any], environment: Environment) -> Infrastructure:
    return Infrastructure(
        cluster_name=outputs["cluster_name"],
        endpoint=outputs["cluster_endpoint"],
        certificate_authority=outputs["cluster_ca"],
        region=environment.region,
        aws_profile=environment.aws_profile,
        gpu_node_group=outputs["gpu_node_group"],
        gpu_zone=outputs.get("gpu_zone", ""),
        streamed=tuple(
            (model, prefix)
            for model, prefixes in (outputs.get("streamed_models") or {}).items()
            for prefix in prefixes
        ),
        vpc_id=outputs.get("vpc_id", ""),
    )
