"""The EKS cluster and who may enter it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.terraform.provider.resources.shapes import compact, first, split_id, tag_changes
from sandbox.terraform.provider.schema import (
    BOOL,
    STRING,
    STRINGS,
    Block,
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
from sandbox.terraform.provider.session import Session, WaitFailed, timeout, unless_gone
from sandbox.terraform.provider.values import UNKNOWN

# ------------------------------------------------------------------ shared by everything of EKS


def retag_eks(session: Session, prior: State, planned: State, arn: str) -> None:
    removed, added = tag_changes(prior, planned)
    eks = session.client("eks")
    if removed:
        eks.untag_resource(resourceArn=arn, tagKeys=removed)
    if added:
        eks.tag_resource(resourceArn=arn, tags=added)


def wait_for_update(session: Session, update: dict[str, Any], within: float, **what: str) -> None:
    """Wait until an update EKS accepted is through. Raises WaitFailed with the errors EKS names."""

    def status() -> str:
        shown = session.client("eks").describe_update(updateId=update["id"], **what)["update"]
        if shown["status"] in ("Failed", "Cancelled"):
            raise WaitFailed(f"EKS update {update['id']} {shown['status']}: {shown.get('errors')}")
        return str(shown["status"])

    session.wait(f"EKS update {update['id']}", status, ["Successful"], within)


def health(shown: dict[str, Any]) -> str:
    """The issues EKS reports, as one text: the reason when a wait fails."""
    issues = (shown.get("health") or {}).get("issues") or []
    return "; ".join(f"{issue.get('code')}: {issue.get('message')}" for issue in issues)


def wait_until_active(
    session: Session, what: str, describe: Callable[[], dict[str, Any]], within: float
) -> None:
    """Wait for status ACTIVE. Raises WaitFailed, with EKS's own issues where it names any."""
    seen: dict[str, Any] = {}

    def status() -> str:
        seen.update(describe())
        return str(seen["status"])

    try:
        session.wait(what, status, ["ACTIVE"], within)
    except WaitFailed as failure:
        raise WaitFailed(f"{failure}. last error: {health(seen) or 'none reported'}") from failure


def wait_until_gone(
    session: Session, what: str, describe: Callable[[], dict[str, Any]], within: float
) -> None:
    """Wait until EKS knows it no more. A DELETE_FAILED raises WaitFailed."""

    def status() -> str | None:
        shown = unless_gone(describe)
        return None if shown is None else str(shown["status"])

    session.wait(what, status, [None], within)


# ------------------------------------------------------------------ cluster


def _vpc_request(block: State, *, creating: bool) -> dict[str, Any]:
    wish = {
        "endpointPublicAccess": block["endpoint_public_access"],
        "endpointPrivateAccess": block["endpoint_private_access"],
        "publicAccessCidrs": block["public_access_cidrs"],
    }
    if creating:
        wish |= {"subnetIds": block["subnet_ids"], "securityGroupIds": block["security_group_ids"]}
    return compact(wish)


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
                "resourcesVpcConfig": _vpc_request(planned["vpc_config"][0], creating=True),
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
    within = timeout(state, "create", "30m")
    wait_until_active(
        session, f"EKS Cluster ({state['id']}) create", lambda: _describe(session, state["id"]), within
    )


def _read_cluster(session: Session, state: State) -> State | None:
    shown = unless_gone(lambda: _describe(session, state["id"]))
    if shown is None:
        return None
    setups = (shown.get("logging") or {}).get("clusterLogging") or []
    issuer = ((shown.get("identity") or {}).get("oidc") or {}).get("issuer")
    return {
        "id": shown["name"],
        "name": shown["name"],
        "arn": shown["arn"],
        "role_arn": shown["roleArn"],
        "version": shown["version"],
        "platform_version": shown.get("platformVersion"),
        "status": shown["status"],
        "endpoint": shown.get("endpoint"),
        "created_at": str(shown["createdAt"]),
        "certificate_authority": [{"data": (shown.get("certificateAuthority") or {}).get("data")}],
        "identity": [{"oidc": [{"issuer": issuer}]}],
        "enabled_cluster_log_types": [kind for s in setups if s.get("enabled") for kind in s["types"]],
        "vpc_config": [_shown_vpc(shown.get("resourcesVpcConfig") or {})],
        "access_config": [_shown_access(shown.get("accessConfig") or {}, state)],
        "encryption_config": [
            {"resources": e["resources"], "provider": [{"key_arn": e["provider"]["keyArn"]}]}
            for e in shown.get("encryptionConfig") or []
        ],
        "tags": shown.get("tags") or {},
    }


def _shown_vpc(vpc: dict[str, Any]) -> State:
    return {
        "subnet_ids": vpc.get("subnetIds") or [],
        "security_group_ids": vpc.get("securityGroupIds") or [],
        "endpoint_public_access": vpc.get("endpointPublicAccess", True),
        "endpoint_private_access": vpc.get("endpointPrivateAccess", False),
        "public_access_cidrs": vpc.get("publicAccessCidrs") or [],
        "cluster_security_group_id": vpc.get("clusterSecurityGroupId"),
        "vpc_id": vpc.get("vpcId"),
    }


def _shown_access(access: dict[str, Any], state: State) -> State:
    """EKS never says again whether the creator became administrator, so what was asked for stays."""
    asked = (first(state.get("access_config") or []) or {}).get("bootstrap_cluster_creator_admin_permissions")
    return {
        "authentication_mode": access.get("authenticationMode", "CONFIG_MAP"),
        "bootstrap_cluster_creator_admin_permissions": asked,
    }


def _update_cluster(session: Session, prior: State, planned: State) -> None:
    eks, name = session.client("eks"), planned["id"]
    within = timeout(planned, "update", "60m")
    retag_eks(session, prior, planned, prior["arn"])
    if prior["version"] != planned["version"]:
        started = eks.update_cluster_version(name=name, version=planned["version"])["update"]
        wait_for_update(session, started, within, name=name)
    changes: list[dict[str, Any]] = []  # EKS takes one kind of change at a time
    before, after = prior["vpc_config"][0], planned["vpc_config"][0]
    if _vpc_request(before, creating=False) != _vpc_request(after, creating=False):
        changes.append({"resourcesVpcConfig": _vpc_request(after, creating=False)})
    was, now = (set(state["enabled_cluster_log_types"] or []) for state in (prior, planned))
    if was != now:
        changes.append({"logging": _logging(sorted(now), sorted(was - now))})
    mode = (first(planned["access_config"]) or {}).get("authentication_mode")
    if mode and mode != (first(prior["access_config"]) or {}).get("authentication_mode"):
        changes.append({"accessConfig": {"authenticationMode": mode}})
    for change in changes:
        started = eks.update_cluster_config(name=name, **change).get("update")
        if started:
            wait_for_update(session, started, within, name=name)


def _delete_cluster(session: Session, state: State) -> None:
    eks, name = session.client("eks"), state["id"]
    unless_gone(lambda: eks.delete_cluster(name=name))
    within = timeout(state, "delete", "15m")
    wait_until_gone(session, f"EKS Cluster ({name}) delete", lambda: _describe(session, name), within)


LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
AUTHENTICATION_MODES = ("API", "API_AND_CONFIG_MAP", "CONFIG_MAP")


def _check_cluster(config: State) -> Problems:
    for kind in config.get("enabled_cluster_log_types") or []:
        if isinstance(kind, str) and kind not in LOG_TYPES:
            yield (
                ("enabled_cluster_log_types",),
                f"expected enabled_cluster_log_types to be one of {list(LOG_TYPES)}, got {kind}",
            )
    access = config.get("access_config")
    for block in access if isinstance(access, list) else []:
        mode = UNKNOWN if block is UNKNOWN else block.get("authentication_mode")
        if isinstance(mode, str) and mode not in AUTHENTICATION_MODES:
            yield (
                ("access_config", 0, "authentication_mode"),
                f"expected access_config.0.authentication_mode to be one of {list(AUTHENTICATION_MODES)}, got {mode}",
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
        "platform_version": computed(STRING, varies=True),
        "created_at": computed(STRING),
        "certificate_authority": computed(list_of(object_of(data=STRING))),
        "identity": computed(list_of(object_of(oidc=list_of(object_of(issuer=STRING))))),
    },
    blocks={
        "vpc_config": only(
            {
                "subnet_ids": required(STRINGS, forces_new=True),
                "security_group_ids": optional(STRINGS, forces_new=True),
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
            forces_new=True,
        ),
    },
    tags=True,
    timeouts=True,
    create=_create_cluster,
    settle=_settle_cluster,
    read=_read_cluster,
    update=_update_cluster,
    delete=_delete_cluster,
    validate=_check_cluster,
)

# ------------------------------------------------------------------ access entry


def _create_entry(session: Session, planned: State) -> State:
    made = session.client("eks").create_access_entry(
        **compact(
            {
                "clusterName": planned["cluster_name"],
                "principalArn": planned["principal_arn"],
                "type": planned["type"],
                "kubernetesGroups": planned["kubernetes_groups"],
                "username": planned["user_name"],
                "tags": planned["tags_all"],
            }
        )
    )["accessEntry"]
    return {
        "id": f"{planned['cluster_name']}:{planned['principal_arn']}",
        "access_entry_arn": made["accessEntryArn"],
    }


def _read_entry(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "cluster_name", "principal_arn")
    wanted = {"clusterName": names["cluster_name"], "principalArn": names["principal_arn"]}
    shown = unless_gone(lambda: session.client("eks").describe_access_entry(**wanted)["accessEntry"])
    if shown is None:
        return None
    return names | {
        "access_entry_arn": shown["accessEntryArn"],
        "type": shown["type"],
        "kubernetes_groups": shown.get("kubernetesGroups") or [],
        "user_name": shown.get("username"),
        "created_at": str(shown.get("createdAt")),
        "tags": shown.get("tags") or {},
    }


def _update_entry(session: Session, prior: State, planned: State) -> None:
    if any(prior[key] != planned[key] for key in ("kubernetes_groups", "user_name")):
        session.client("eks").update_access_entry(
            clusterName=planned["cluster_name"],
            principalArn=planned["principal_arn"],
            kubernetesGroups=planned["kubernetes_groups"] or [],
            **compact({"username": planned["user_name"]}),
        )
    retag_eks(session, prior, planned, prior["access_entry_arn"])


def _delete_entry(session: Session, state: State) -> None:
    wanted = {"clusterName": state["cluster_name"], "principalArn": state["principal_arn"]}
    unless_gone(lambda: session.client("eks").delete_access_entry(**wanted))


ACCESS_ENTRY = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "principal_arn": required(STRING, forces_new=True),
        "type": optional(STRING, default="STANDARD", forces_new=True),
        "kubernetes_groups": optional(STRINGS, computed=True),
        "user_name": optional(STRING, computed=True),
        "access_entry_arn": computed(STRING),
        "created_at": computed(STRING),
    },
    tags=True,
    create=_create_entry,
    read=_read_entry,
    update=_update_entry,
    delete=_delete_entry,
    importer=lambda identity: split_id(identity, ":", "cluster_name", "principal_arn"),
)

# ------------------------------------------------------------------ access policy association


def _associate_policy(session: Session, planned: State) -> State:
    scope = planned["access_scope"][0]
    session.client("eks").associate_access_policy(
        clusterName=planned["cluster_name"],
        principalArn=planned["principal_arn"],
        policyArn=planned["policy_arn"],
        accessScope=compact({"type": scope["type"], "namespaces": scope["namespaces"]}),
    )
    return {"id": "#".join(planned[key] for key in ("cluster_name", "principal_arn", "policy_arn"))}


def _read_policy(session: Session, state: State) -> State | None:
    names = split_id(state["id"], "#", "cluster_name", "principal_arn", "policy_arn")
    wanted = {"clusterName": names["cluster_name"], "principalArn": names["principal_arn"]}
    eks = session.client("eks")
    found = unless_gone(lambda: eks.list_associated_access_policies(**wanted)["associatedAccessPolicies"])
    shown = next((policy for policy in found or [] if policy["policyArn"] == names["policy_arn"]), None)
    if shown is None:
        return None
    scope = shown["accessScope"]
    return names | {
        "access_scope": [{"type": scope["type"], "namespaces": scope.get("namespaces") or []}],
        "associated_at": str(shown.get("associatedAt")),
    }


def _disassociate_policy(session: Session, state: State) -> None:
    wanted = {"clusterName": "cluster_name", "principalArn": "principal_arn", "policyArn": "policy_arn"}
    request = {theirs: state[ours] for theirs, ours in wanted.items()}
    unless_gone(lambda: session.client("eks").disassociate_access_policy(**request))


ACCESS_POLICY_ASSOCIATION = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "principal_arn": required(STRING, forces_new=True),
        "policy_arn": required(STRING, forces_new=True),
        "associated_at": computed(STRING),
    },
    blocks={
        "access_scope": Block(
            {
                "type": required(STRING, forces_new=True),
                "namespaces": optional(STRINGS, forces_new=True),
            },
            min_items=1,
            max_items=1,
        )
    },
    create=_associate_policy,
    read=_read_policy,
    delete=_disassociate_policy,
    importer=lambda identity: split_id(identity, "#", "cluster_name", "principal_arn", "policy_arn"),
)

RESOURCES = {
    "aws_eks_cluster": CLUSTER,
    "aws_eks_access_entry": ACCESS_ENTRY,
    "aws_eks_access_policy_association": ACCESS_POLICY_ASSOCIATION,
}
