"""Every type this provider answers for."""

from __future__ import annotations

from collections.abc import Mapping

from slipway_sandbox.terraform.provider.resources import (
    closed_network,
    data,
    eks_access,
    eks_addons,
    eks_cluster,
    eks_nodes,
    endpoints,
    iam,
    interruptions,
    keys,
    launch_template,
    network,
    routes,
    s3,
)
from slipway_sandbox.terraform.provider.schema import (
    STRING,
    STRING_MAP,
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
    **interruptions.RESOURCES,
    **network.RESOURCES,
    **closed_network.RESOURCES,
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
    },
    {"default_tags": only({"tags": optional(STRING_MAP)})},
)
