"""Every type this provider answers for."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.terraform.provider.resources import (
    compute,
    data,
    eks_cluster,
    eks_workers,
    iam,
    keys,
    network,
    s3,
)
from sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    STRINGS,
    Block,
    DataSource,
    Resource,
    only,
    optional,
)

RESOURCES: Mapping[str, Resource] = {
    **s3.RESOURCES,
    **keys.RESOURCES,
    **iam.RESOURCES,
    **network.RESOURCES,
    **compute.RESOURCES,
    **eks_cluster.RESOURCES,
    **eks_workers.RESOURCES,
}
DATA_SOURCES: Mapping[str, DataSource] = data.DATA_SOURCES
PROVIDER = Block(
    {
        "region": optional(STRING),
        "profile": optional(STRING),
        "access_key": optional(STRING),
        "secret_key": optional(STRING, sensitive=True),
        "token": optional(STRING),
        "max_retries": optional(NUMBER),
        "allowed_account_ids": optional(STRINGS),
        "s3_use_path_style": optional(BOOL),
        "skip_credentials_validation": optional(BOOL),
        "skip_requesting_account_id": optional(BOOL),
        "skip_metadata_api_check": optional(STRING),
    },
    {"default_tags": only({"tags": optional(STRING_MAP)})},
)
