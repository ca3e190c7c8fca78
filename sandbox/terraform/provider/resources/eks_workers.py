"""What runs on an EKS cluster by EKS's hand: node groups, add-ons, pod identity."""

from __future__ import annotations

from typing import Any

from sandbox.terraform.provider.resources.eks_cluster import (
    retag_eks,
    wait_for_update,
    wait_until_active,
    wait_until_gone,
)
from sandbox.terraform.provider.resources.shapes import compact, first, split_id
from sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_LIST,
    STRING_MAP,
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
from sandbox.terraform.provider.session import Session, timeout, unless_gone
from sandbox.terraform.provider.values import UNKNOWN

# ------------------------------------------------------------------ node group

TAINT_EFFECTS = ("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")
_SCALING = {"min_size": "minSize", "max_size": "maxSize", "desired_size": "desiredSize"}
_UPDATE = {"max_unavailable": "maxUnavailable", "max_unavailable_percentage": "maxUnavailablePercentage"}


def _group(state: State) -> dict[str, str]:
    return {"clusterName": state["cluster_name"], "nodegroupName": state["node_group_name"]}


def _template(planned: State) -> dict[str, Any] | None:
    template = first(planned["launch_template"])
    return template and compact(
        {
            "id": template["id"],
            "name": None if template["id"] else template["name"],
            "version": template["version"],
        }
    )


def _taints(state: State) -> list[dict[str, Any]]:
    return [
        compact({key: taint[key] or None for key in ("key", "value", "effect")})
        for taint in state["taint"] or []
    ]


def _scaling(state: State) -> dict[str, Any]:
    return {theirs: state["scaling_config"][0][ours] for ours, theirs in _SCALING.items()}


def _update_settings(state: State) -> dict[str, Any]:
    block = first(state["update_config"] or []) or {}
    return {theirs: block[ours] for ours, theirs in _UPDATE.items() if block.get(ours)}


def _create_group(session: Session, planned: State) -> State:
    made = session.client("eks").create_nodegroup(
        **_group(planned),
        nodeRole=planned["node_role_arn"],
        subnets=planned["subnet_ids"],
        scalingConfig=_scaling(planned),
        **compact(
            {
                "amiType": planned["ami_type"],
                "capacityType": planned["capacity_type"],
                "instanceTypes": planned["instance_types"],
                "diskSize": planned["disk_size"],
                "labels": planned["labels"],
                "taints": _taints(planned),
                "launchTemplate": _template(planned),
                "updateConfig": _update_settings(planned),
                "version": planned["version"],
                "releaseVersion": planned["release_version"],
                "tags": planned["tags_all"],
            }
        ),
    )["nodegroup"]
    return {"id": f"{planned['cluster_name']}:{planned['node_group_name']}", "arn": made["nodegroupArn"]}


def _describe_group(session: Session, state: State) -> dict[str, Any]:
    shown: dict[str, Any] = session.client("eks").describe_nodegroup(**_group(state))["nodegroup"]
    return shown


def _settle_group(session: Session, state: State) -> None:
    within = timeout(state, "create", "60m")
    what = f"EKS Node Group ({state['id']}) create"
    wait_until_active(session, what, lambda: _describe_group(session, state), within)


def _read_group(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "cluster_name", "node_group_name")
    shown = unless_gone(lambda: _describe_group(session, names))
    if shown is None:
        return None
    template, settings = shown.get("launchTemplate"), shown.get("updateConfig")
    resources = shown.get("resources") or {}
    groups = [{"name": group["name"]} for group in resources.get("autoScalingGroups") or []]
    return names | {
        "arn": shown["nodegroupArn"],
        "status": shown["status"],
        "node_role_arn": shown["nodeRole"],
        "subnet_ids": shown["subnets"],
        "ami_type": shown.get("amiType"),
        "capacity_type": shown.get("capacityType", "ON_DEMAND"),
        "instance_types": shown.get("instanceTypes") or [],
        "disk_size": shown.get("diskSize"),
        "labels": shown.get("labels") or {},
        "version": shown.get("version"),
        "release_version": shown.get("releaseVersion"),
        "scaling_config": [{ours: shown["scalingConfig"][theirs] for ours, theirs in _SCALING.items()}],
        "taint": [
            {"key": taint["key"], "value": taint.get("value"), "effect": taint["effect"]}
            for taint in shown.get("taints") or []
        ],
        "launch_template": [{key: template.get(key) for key in ("id", "name", "version")}]
        if template
        else [],
        "update_config": [{ours: settings.get(theirs, 0) for ours, theirs in _UPDATE.items()}]
        if settings
        else [],
        "resources": [{"autoscaling_groups": groups}],
        "tags": shown.get("tags") or {},
    }


def _group_changes(prior: State, planned: State) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if _scaling(prior) != _scaling(planned):
        changes["scalingConfig"] = _scaling(planned)
    before, after = prior["labels"] or {}, planned["labels"] or {}
    if before != after:
        gone = [key for key in before if key not in after]
        changes["labels"] = compact({"addOrUpdateLabels": after, "removeLabels": gone})
    was, now = _taints(prior), _taints(planned)
    added, removed = [t for t in now if t not in was], [t for t in was if t not in now]
    if added or removed:
        changes["taints"] = compact({"addOrUpdateTaints": added, "removeTaints": removed})
    if _update_settings(prior) != _update_settings(planned) and _update_settings(planned):
        changes["updateConfig"] = _update_settings(planned)
    return changes


def _update_group(session: Session, prior: State, planned: State) -> None:
    eks, within = session.client("eks"), timeout(planned, "update", "60m")
    where = {"name": planned["cluster_name"], "nodegroupName": planned["node_group_name"]}
    retag_eks(session, prior, planned, prior["arn"])
    if _version_of(prior) != _version_of(planned):
        started = eks.update_nodegroup_version(
            **_group(planned),
            **compact(
                {
                    "version": planned["version"] if prior["version"] != planned["version"] else None,
                    "launchTemplate": _template(planned),
                    "force": planned["force_update_version"],
                }
            ),
        )["update"]
        wait_for_update(session, started, within, **where)
    if changes := _group_changes(prior, planned):
        started = eks.update_nodegroup_config(**_group(planned), **changes)["update"]
        wait_for_update(session, started, within, **where)


def _version_of(state: State) -> tuple[Any, ...]:
    return (
        state["version"],
        state["release_version"],
        (first(state["launch_template"]) or {}).get("version"),
    )


def _delete_group(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("eks").delete_nodegroup(**_group(state)))
    what, within = f"EKS Node Group ({state['id']}) delete", timeout(state, "delete", "60m")
    wait_until_gone(session, what, lambda: _describe_group(session, state), within)


def _check_group(config: State) -> Problems:
    taints = config.get("taint")
    for taint in taints if isinstance(taints, list) else []:
        effect = None if taint is UNKNOWN else taint.get("effect")
        if isinstance(effect, str) and effect not in TAINT_EFFECTS:
            yield ("taint",), f"expected taint effect to be one of {list(TAINT_EFFECTS)}, got {effect}"
    capacity = config.get("capacity_type")
    if isinstance(capacity, str) and capacity not in ("ON_DEMAND", "SPOT", "CAPACITY_BLOCK"):
        yield (
            ("capacity_type",),
            f"expected capacity_type to be ON_DEMAND, SPOT or CAPACITY_BLOCK, got {capacity}",
        )


NODE_GROUP = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "node_group_name": optional(STRING, computed=True, forces_new=True),
        "node_role_arn": required(STRING, forces_new=True),
        "subnet_ids": required(STRINGS, forces_new=True),
        "ami_type": optional(STRING, computed=True, forces_new=True),
        "capacity_type": optional(STRING, computed=True, forces_new=True),
        "instance_types": optional(STRING_LIST, computed=True, forces_new=True),
        "disk_size": optional(NUMBER, computed=True, forces_new=True),
        "labels": optional(STRING_MAP),
        "version": optional(STRING, computed=True),
        "release_version": optional(STRING, computed=True),
        "force_update_version": optional(BOOL),
        "arn": computed(STRING),
        "status": computed(STRING),
        "resources": computed(list_of(object_of(autoscaling_groups=list_of(object_of(name=STRING))))),
    },
    blocks={
        "scaling_config": only({name: required(NUMBER) for name in _SCALING}, min_items=1),
        "taint": Block(
            {"key": required(STRING), "value": optional(STRING), "effect": required(STRING)},
            nesting="set",
            max_items=50,
        ),
        "update_config": only({name: optional(NUMBER) for name in _UPDATE}, computed=True),
        "launch_template": only(
            {
                "id": optional(STRING, computed=True, forces_new=True),
                "name": optional(STRING, computed=True, forces_new=True),
                "version": required(STRING),
            }
        ),
    },
    tags=True,
    timeouts=True,
    create=_create_group,
    settle=_settle_group,
    read=_read_group,
    update=_update_group,
    delete=_delete_group,
    validate=_check_group,
)

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
    "aws_eks_node_group": NODE_GROUP,
    "aws_eks_addon": ADDON,
    "aws_eks_pod_identity_association": POD_IDENTITY,
}
