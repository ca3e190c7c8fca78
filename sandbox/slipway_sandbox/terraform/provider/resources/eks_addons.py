"""EKS add-ons, and the pod identities they and others take their roles from."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.eks_waits import (
    retag_eks,
    wait_for_update,
    wait_until_active,
    wait_until_gone,
)
from slipway_sandbox.terraform.provider.resources.shapes import compact, split_id
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, timeout, unless_gone

# ------------------------------------------------------------------ add-on


def _addon(state: State) -> dict[str, str]:
    return {"clusterName": state["cluster_name"], "addonName": state["addon_name"]}


def _create_addon(session: Session, planned: State) -> State:
    made = session.client("eks").create_addon(
        **_addon(planned),
        **compact(
            {
                "addonVersion": planned["addon_version"],
                "configurationValues": planned["configuration_values"],
                "resolveConflicts": planned["resolve_conflicts_on_create"],
                "serviceAccountRoleArn": planned["service_account_role_arn"],
                "tags": planned["tags_all"],
            }
        ),
    )["addon"]
    return {"id": f"{planned['cluster_name']}:{planned['addon_name']}", "arn": made["addonArn"]}


def _describe_addon(session: Session, state: State) -> dict[str, Any]:
    shown: dict[str, Any] = session.client("eks").describe_addon(**_addon(state))["addon"]
    return shown


def _settle_addon(session: Session, state: State) -> None:
    what, within = f"EKS Add-On ({state['id']}) create", timeout(state, "create", "20m")
    wait_until_active(session, what, lambda: _describe_addon(session, state), within)


def _read_addon(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "cluster_name", "addon_name")
    shown = unless_gone(lambda: _describe_addon(session, names))
    if shown is None:
        return None
    return names | {
        "arn": shown["addonArn"],
        "addon_version": shown["addonVersion"],
        "configuration_values": shown.get("configurationValues") or "",
        "service_account_role_arn": shown.get("serviceAccountRoleArn") or "",
        "created_at": str(shown.get("createdAt")),
        "modified_at": str(shown.get("modifiedAt")),
        "tags": shown.get("tags") or {},
    }


def _update_addon(session: Session, prior: State, planned: State) -> None:
    eks = session.client("eks")
    changed = [key for key in ("addon_version", "configuration_values") if prior[key] != planned[key]]
    if changed:
        request = {
            "addonVersion": planned["addon_version"],
            "configurationValues": planned["configuration_values"],
            "resolveConflicts": planned["resolve_conflicts_on_update"],
        }
        started = eks.update_addon(**_addon(planned), **compact(request))["update"]
        where = {"name": planned["cluster_name"], "addonName": planned["addon_name"]}
        wait_for_update(session, started, timeout(planned, "update", "20m"), **where)
    retag_eks(session, prior, planned, prior["arn"])


def _delete_addon(session: Session, state: State) -> None:
    keep = {"preserve": True} if state.get("preserve") else {}
    unless_gone(lambda: session.client("eks").delete_addon(**_addon(state), **keep))
    what, within = f"EKS Add-On ({state['id']}) delete", timeout(state, "delete", "40m")
    wait_until_gone(session, what, lambda: _describe_addon(session, state), within)


ADDON = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "addon_name": required(STRING, forces_new=True),
        "addon_version": optional(STRING, computed=True),
        "configuration_values": optional(STRING, computed=True, document=True),
        "resolve_conflicts_on_create": optional(STRING),
        "resolve_conflicts_on_update": optional(STRING),
        "service_account_role_arn": optional(STRING),
        "preserve": optional(BOOL),
        "arn": computed(STRING),
        "created_at": computed(STRING),
        "modified_at": computed(STRING, varies=True),
    },
    tags=True,
    timeouts=True,
    create=_create_addon,
    settle=_settle_addon,
    read=_read_addon,
    update=_update_addon,
    delete=_delete_addon,
    importer=lambda identity: split_id(identity, ":", "cluster_name", "addon_name"),
)

# ------------------------------------------------------------------ pod identity


def _create_identity(session: Session, planned: State) -> State:
    made = session.client("eks").create_pod_identity_association(
        clusterName=planned["cluster_name"],
        namespace=planned["namespace"],
        serviceAccount=planned["service_account"],
        roleArn=planned["role_arn"],
        **compact({"tags": planned["tags_all"]}),
    )["association"]
    return {
        "id": made["associationId"],
        "association_id": made["associationId"],
        "association_arn": made["associationArn"],
    }


def _association(state: State) -> dict[str, str]:
    return {"clusterName": state["cluster_name"], "associationId": state["association_id"]}


def _read_identity(session: Session, state: State) -> State | None:
    eks = session.client("eks")
    shown = unless_gone(lambda: eks.describe_pod_identity_association(**_association(state))["association"])
    if shown is None:
        return None
    return {
        "id": shown["associationId"],
        "association_id": shown["associationId"],
        "association_arn": shown["associationArn"],
        "cluster_name": shown["clusterName"],
        "namespace": shown["namespace"],
        "service_account": shown["serviceAccount"],
        "role_arn": shown["roleArn"],
        "tags": shown.get("tags") or {},
    }


def _update_identity(session: Session, prior: State, planned: State) -> None:
    if prior["role_arn"] != planned["role_arn"]:
        session.client("eks").update_pod_identity_association(
            **_association(prior), roleArn=planned["role_arn"]
        )
    retag_eks(session, prior, planned, prior["association_arn"])


def _import_identity(identity: str) -> State:
    names = split_id(identity, ",", "cluster_name", "association_id")
    return names | {"id": names["association_id"]}


POD_IDENTITY = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "namespace": required(STRING, forces_new=True),
        "service_account": required(STRING, forces_new=True),
        "role_arn": required(STRING),
        "association_arn": computed(STRING),
        "association_id": computed(STRING),
    },
    tags=True,
    create=_create_identity,
    read=_read_identity,
    update=_update_identity,
    delete=lambda session, state: unless_gone(
        lambda: session.client("eks").delete_pod_identity_association(**_association(state))
    ),
    importer=_import_identity,
)

RESOURCES = {
    "aws_eks_addon": ADDON,
    "aws_eks_pod_identity_association": POD_IDENTITY,
}
