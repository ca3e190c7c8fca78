"""The EKS cluster."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.eks_waits import (
    wait_for_update,
    wait_until_active,
    wait_until_gone,
)
from slipway_sandbox.terraform.provider.resources.shapes import compact, first, retag_arn
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    STRING,
    STRINGS,
    Problems,
    State,
    computed,
    list_of,
    object_of,
    only,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone


def _vpc_request(block: State) -> dict[str, Any]:
    return compact(
        {
            "subnetIds": block["subnet_ids"],
            "endpointPublicAccess": block["endpoint_public_access"],
            "endpointPrivateAccess": block["endpoint_private_access"],
            "publicAccessCidrs": block["public_access_cidrs"],
        }
    )


_NETWORK = ("subnetIds",)


def _vpc_changes(before: State, after: State) -> list[dict[str, Any]]:
    """EKS takes the network and the endpoint's access apart, each as a whole."""
    was, now = _vpc_request(before), _vpc_request(after)
    parts = [
        {key: value for key, value in now.items() if (key in _NETWORK) is network}
        for network in (True, False)
    ]
    return [
        {"resourcesVpcConfig": part}
        for part in parts
        if any(_settled(was.get(k)) != _settled(v) for k, v in part.items())
    ]


def _settled(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _logging(enabled: list[str], disabled: list[str]) -> dict[str, Any]:
    setups = [{"types": sorted(enabled), "enabled": True}, {"types": sorted(disabled), "enabled": False}]
    return {"clusterLogging": [setup for setup in setups if setup["types"]]}


def _create_cluster(session: Session, planned: State) -> State:
    access, encryption = first(planned["access_config"]), first(planned["encryption_config"])
    logs = planned["enabled_cluster_log_types"]
    made = session.client("eks").create_cluster(
        **compact(
            {
                "name": planned["name"],
                "roleArn": planned["role_arn"],
                "version": planned["version"],
                "resourcesVpcConfig": _vpc_request(planned["vpc_config"][0]),
                "accessConfig": access
                and compact(
                    {
                        "authenticationMode": access["authentication_mode"],
                        "bootstrapClusterCreatorAdminPermissions": access[
                            "bootstrap_cluster_creator_admin_permissions"
                        ],
                    }
                ),
                "encryptionConfig": encryption
                and [
                    {
                        "resources": encryption["resources"],
                        "provider": {"keyArn": encryption["provider"][0]["key_arn"]},
                    }
                ],
                "logging": _logging(logs, []) if logs else None,
                "bootstrapSelfManagedAddons": planned["bootstrap_self_managed_addons"],
                "tags": planned["tags_all"],
            }
        )
    )["cluster"]
    return {"id": made["name"], "arn": made["arn"]}


def _describe(session: Session, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = session.client("eks").describe_cluster(name=name)["cluster"]
    return shown


def _settle_cluster(session: Session, state: State) -> None:
    what = f"EKS Cluster ({state['id']}) create"
    wait_until_active(session, what, lambda: _describe(session, state["id"]), 30 * 60.0)


def _read_cluster(session: Session, state: State) -> State | None:
    shown = unless_gone(lambda: _describe(session, state["id"]))
    if shown is None:
        return None
    setups = (shown.get("logging") or {}).get("clusterLogging") or []
    return {
        "id": shown["name"],
        "name": shown["name"],
        "arn": shown["arn"],
        "role_arn": shown["roleArn"],
        "version": shown["version"],
        "status": shown["status"],
        "endpoint": shown.get("endpoint"),
        "certificate_authority": [{"data": (shown.get("certificateAuthority") or {}).get("data")}],
        "enabled_cluster_log_types": [kind for s in setups if s.get("enabled") for kind in s["types"]],
        "vpc_config": [_shown_vpc(shown.get("resourcesVpcConfig") or {})],
        "access_config": [_shown_access(shown.get("accessConfig") or {})],
        "encryption_config": [
            {"resources": e["resources"], "provider": [{"key_arn": e["provider"]["keyArn"]}]}
            for e in shown.get("encryptionConfig") or []
        ],
        "tags": shown.get("tags") or {},
    }


def _shown_vpc(vpc: dict[str, Any]) -> State:
    return {
        "subnet_ids": vpc.get("subnetIds") or [],
        "endpoint_public_access": vpc.get("endpointPublicAccess", True),
        "endpoint_private_access": vpc.get("endpointPrivateAccess", False),
        "public_access_cidrs": vpc.get("publicAccessCidrs") or [],
        "cluster_security_group_id": vpc.get("clusterSecurityGroupId"),
        "vpc_id": vpc.get("vpcId"),
    }


def _shown_access(access: dict[str, Any]) -> State:
    """EKS never says again whether the creator became administrator: left out, so that what was asked for stays."""
    return {"authentication_mode": access.get("authenticationMode", "CONFIG_MAP")}


def _update_cluster(session: Session, prior: State, planned: State) -> None:
    eks, name = session.client("eks"), planned["id"]
    within = 60 * 60.0
    if prior["version"] != planned["version"]:
        started = eks.update_cluster_version(name=name, version=planned["version"])["update"]
        wait_for_update(session, started, within, name=name)
    changes = _vpc_changes(prior["vpc_config"][0], planned["vpc_config"][0])  # EKS takes one kind at a time
    was, now = (set(state["enabled_cluster_log_types"] or []) for state in (prior, planned))
    if was != now:
        changes.append({"logging": _logging(sorted(now), sorted(was - now))})
    for change in changes:
        started = eks.update_cluster_config(name=name, **change).get("update")
        if started:
            wait_for_update(session, started, within, name=name)


def _delete_cluster(session: Session, state: State) -> None:
    eks, name = session.client("eks"), state["id"]
    unless_gone(lambda: eks.delete_cluster(name=name))
    wait_until_gone(session, f"EKS Cluster ({name}) delete", lambda: _describe(session, name), 15 * 60.0)


LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def _check_cluster(config: State) -> Problems:
    for kind in config.get("enabled_cluster_log_types") or []:
        if isinstance(kind, str) and kind not in LOG_TYPES:
            yield (
                ("enabled_cluster_log_types",),
                f"expected enabled_cluster_log_types to be one of {list(LOG_TYPES)}, got {kind}",
            )


CLUSTER = resource(
    {
        "name": required(STRING, forces_new=True),
        "role_arn": required(STRING, forces_new=True),
        "version": optional(STRING, computed=True),
        "enabled_cluster_log_types": optional(STRINGS),
        "bootstrap_self_managed_addons": optional(BOOL, default=True, forces_new=True),
        "arn": computed(STRING),
        "endpoint": computed(STRING),
        "status": computed(STRING),
        "certificate_authority": computed(list_of(object_of(data=STRING))),
    },
    blocks={
        "vpc_config": only(
            {
                "subnet_ids": required(STRINGS),
                "endpoint_public_access": optional(BOOL, default=True),
                "endpoint_private_access": optional(BOOL, default=False),
                "public_access_cidrs": optional(STRINGS, computed=True),
                "cluster_security_group_id": computed(STRING),
                "vpc_id": computed(STRING),
            },
            min_items=1,
        ),
        "access_config": only(
            {
                "authentication_mode": optional(STRING, computed=True),
                "bootstrap_cluster_creator_admin_permissions": optional(BOOL, forces_new=True),
            },
            computed=True,
        ),
        "encryption_config": only(
            {"resources": required(STRINGS)},
            blocks={"provider": only({"key_arn": required(STRING)}, min_items=1)},
        ),
    },
    create=_create_cluster,
    settle=_settle_cluster,
    read=_read_cluster,
    update=_update_cluster,
    retag=retag_arn("eks", "arn"),
    delete=_delete_cluster,
    validate=_check_cluster,
)

RESOURCES = {
    "aws_eks_cluster": CLUSTER,
}
