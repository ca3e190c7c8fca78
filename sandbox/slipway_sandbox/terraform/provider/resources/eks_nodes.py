"""EKS's managed node groups."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.eks_waits import (
    wait_for_update,
    wait_until_active,
    wait_until_gone,
)
from slipway_sandbox.terraform.provider.resources.shapes import compact, first, retag_arn, split_id
from slipway_sandbox.terraform.provider.schema import (
    NUMBER,
    STRING,
    STRING_LIST,
    STRING_MAP,
    STRINGS,
    Block,
    Problems,
    State,
    computed,
    only,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone
from slipway_sandbox.terraform.provider.values import UNKNOWN

TAINT_EFFECTS = ("NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE")
_SCALING = {"min_size": "minSize", "max_size": "maxSize", "desired_size": "desiredSize"}
_UPDATE = {"max_unavailable": "maxUnavailable"}


def _group(state: State) -> dict[str, str]:
    return {"clusterName": state["cluster_name"], "nodegroupName": state["node_group_name"]}


def _template(planned: State) -> dict[str, Any] | None:
    template = first(planned["launch_template"])
    return template and compact(
        {
            "id": template["id"],
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
                "labels": planned["labels"],
                "taints": _taints(planned),
                "launchTemplate": _template(planned),
                "updateConfig": _update_settings(planned),
                "version": planned["version"],
                "tags": planned["tags_all"],
            }
        ),
    )["nodegroup"]
    return {"id": f"{planned['cluster_name']}:{planned['node_group_name']}", "arn": made["nodegroupArn"]}


def _describe_group(session: Session, state: State) -> dict[str, Any]:
    shown: dict[str, Any] = session.client("eks").describe_nodegroup(**_group(state))["nodegroup"]
    return shown


def _settle_group(session: Session, state: State) -> None:
    what = f"EKS Node Group ({state['id']}) create"
    wait_until_active(session, what, lambda: _describe_group(session, state), 60 * 60.0)


def _read_group(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "cluster_name", "node_group_name")
    shown = unless_gone(lambda: _describe_group(session, names))
    if shown is None:
        return None
    template, settings = shown.get("launchTemplate"), shown.get("updateConfig")
    return names | {
        "arn": shown["nodegroupArn"],
        "status": shown["status"],
        "node_role_arn": shown["nodeRole"],
        "subnet_ids": shown["subnets"],
        "ami_type": shown.get("amiType"),
        "capacity_type": shown.get("capacityType", "ON_DEMAND"),
        "instance_types": shown.get("instanceTypes") or [],
        "labels": shown.get("labels") or {},
        "version": shown.get("version"),
        "scaling_config": [{ours: shown["scalingConfig"][theirs] for ours, theirs in _SCALING.items()}],
        "taint": [
            {"key": taint["key"], "value": taint.get("value"), "effect": taint["effect"]}
            for taint in shown.get("taints") or []
        ],
        "launch_template": [{key: template.get(key) for key in ("id", "version")}] if template else [],
        "update_config": [{ours: settings.get(theirs, 0) for ours, theirs in _UPDATE.items()}]
        if settings
        else [],
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
    eks, within = session.client("eks"), 60 * 60.0
    where = {"name": planned["cluster_name"], "nodegroupName": planned["node_group_name"]}
    if _version_of(prior) != _version_of(planned):
        version = planned["version"] if prior["version"] != planned["version"] else None
        request = compact({"version": version, "launchTemplate": _template(planned)})
        started = eks.update_nodegroup_version(**_group(planned), **request)["update"]
        wait_for_update(session, started, within, **where)
    if changes := _group_changes(prior, planned):
        started = eks.update_nodegroup_config(**_group(planned), **changes)["update"]
        wait_for_update(session, started, within, **where)


def _version_of(state: State) -> tuple[Any, ...]:
    return state["version"], (first(state["launch_template"]) or {}).get("version")


def _delete_group(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("eks").delete_nodegroup(**_group(state)))
    what = f"EKS Node Group ({state['id']}) delete"
    wait_until_gone(session, what, lambda: _describe_group(session, state), 60 * 60.0)


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
        "labels": optional(STRING_MAP),
        "version": optional(STRING, computed=True),
        "arn": computed(STRING),
        "status": computed(STRING),
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
                "version": required(STRING),
            }
        ),
    },
    create=_create_group,
    settle=_settle_group,
    read=_read_group,
    update=_update_group,
    retag=retag_arn("eks", "arn"),
    delete=_delete_group,
    validate=_check_group,
)

RESOURCES = {
    "aws_eks_node_group": NODE_GROUP,
}
