"""EKS add-ons, and the pod identities they and others take their roles from."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.eks_waits import (
    wait_for_update,
    wait_until_active,
    wait_until_gone,
)
from slipway_sandbox.terraform.provider.resources.shapes import compact, retag_arn, split_id
from slipway_sandbox.terraform.provider.schema import (
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

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
                "tags": planned["tags_all"],
            }
        ),
    )["addon"]
    return {"id": f"{planned['cluster_name']}:{planned['addon_name']}", "arn": made["addonArn"]}


def _describe_addon(session: Session, state: State) -> dict[str, Any]:
    shown: dict[str, Any] = session.client("eks").describe_addon(**_addon(state))["addon"]
    return shown


def _settle_addon(session: Session, state: State) -> None:
    what = f"EKS Add-On ({state['id']}) create"
    wait_until_active(session, what, lambda: _describe_addon(session, state), 20 * 60.0)


def _read_addon(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "cluster_name", "addon_name")
    shown = unless_gone(lambda: _describe_addon(session, names))
    if shown is None:
        return None
    return names | {
        "arn": shown["addonArn"],
        "addon_version": shown["addonVersion"],
        "configuration_values": shown.get("configurationValues") or "",
        "tags": shown.get("tags") or {},
    }


def _update_addon(session: Session, _prior: State, planned: State) -> None:
    eks = session.client("eks")
    request = {
        "addonVersion": planned["addon_version"],
        "configurationValues": planned["configuration_values"],
        "resolveConflicts": planned["resolve_conflicts_on_update"],
    }
    started = eks.update_addon(**_addon(planned), **compact(request))["update"]
    where = {"name": planned["cluster_name"], "addonName": planned["addon_name"]}
    wait_for_update(session, started, 20 * 60.0, **where)


def _delete_addon(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("eks").delete_addon(**_addon(state)))
    what = f"EKS Add-On ({state['id']}) delete"
    wait_until_gone(session, what, lambda: _describe_addon(session, state), 40 * 60.0)


ADDON = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "addon_name": required(STRING, forces_new=True),
        "addon_version": optional(STRING, computed=True),
        "configuration_values": optional(STRING, computed=True, document=True),
        "resolve_conflicts_on_create": optional(STRING),
        "resolve_conflicts_on_update": optional(STRING),
        "arn": computed(STRING),
    },
    create=_create_addon,
    settle=_settle_addon,
    read=_read_addon,
    update=_update_addon,
    retag=retag_arn("eks", "arn"),
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
    session.client("eks").update_pod_identity_association(**_association(prior), roleArn=planned["role_arn"])


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
    create=_create_identity,
    read=_read_identity,
    update=_update_identity,
    retag=retag_arn("eks", "association_arn"),
    delete=lambda session, state: unless_gone(
        lambda: session.client("eks").delete_pod_identity_association(**_association(state))
    ),
    importer=_import_identity,
)

RESOURCES = {
    "aws_eks_addon": ADDON,
    "aws_eks_pod_identity_association": POD_IDENTITY,
}
