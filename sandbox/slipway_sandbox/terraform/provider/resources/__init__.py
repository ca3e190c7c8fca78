"""Every type this provider answers for."""

from __future__ import annotations

from collections.abc import Mapping

from slipway_sandbox.terraform.provider.resources import (
    data,
    eks_access,
    eks_addons,
    eks_cluster,
    eks_nodes,
    endpoints,
    iam,
    keys,
    launch_template,
    network,
    routes,
    s3,
)
from slipway_sandbox.terraform.provider.schema import (
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
    **routes.RESOURCES,
    **endpoints.RESOURCES,
    **launch_template.RESOURCES,
    **eks_cluster.RESOURCES,
    **eks_access.RESOURCES,
    **eks_addons.RESOURCES,
    **eks_nodes.RESOURCES,
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
