"""Who may enter an EKS cluster, and as what."""

from __future__ import annotations

from slipway_sandbox.terraform.provider.resources.shapes import compact, retag_arn, split_id
from slipway_sandbox.terraform.provider.schema import (
    STRING,
    Block,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ access entry


def _create_entry(session: Session, planned: State) -> State:
    made = session.client("eks").create_access_entry(
        **compact(
            {
                "clusterName": planned["cluster_name"],
                "principalArn": planned["principal_arn"],
                "type": planned["type"],
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
        "tags": shown.get("tags") or {},
    }


def _delete_entry(session: Session, state: State) -> None:
    wanted = {"clusterName": state["cluster_name"], "principalArn": state["principal_arn"]}
    unless_gone(lambda: session.client("eks").delete_access_entry(**wanted))


ACCESS_ENTRY = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "principal_arn": required(STRING, forces_new=True),
        "type": optional(STRING, default="STANDARD", forces_new=True),
        "access_entry_arn": computed(STRING),
    },
    create=_create_entry,
    read=_read_entry,
    retag=retag_arn("eks", "access_entry_arn"),
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
        accessScope={"type": scope["type"]},
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
    return names | {"access_scope": [{"type": shown["accessScope"]["type"]}]}


def _disassociate_policy(session: Session, state: State) -> None:
    wanted = {"clusterName": "cluster_name", "principalArn": "principal_arn", "policyArn": "policy_arn"}
    request = {theirs: state[ours] for theirs, ours in wanted.items()}
    unless_gone(lambda: session.client("eks").disassociate_access_policy(**request))


ACCESS_POLICY_ASSOCIATION = resource(
    {
        "cluster_name": required(STRING, forces_new=True),
        "principal_arn": required(STRING, forces_new=True),
        "policy_arn": required(STRING, forces_new=True),
    },
    blocks={"access_scope": Block({"type": required(STRING, forces_new=True)}, min_items=1, max_items=1)},
    create=_associate_policy,
    read=_read_policy,
    delete=_disassociate_policy,
    importer=lambda identity: split_id(identity, "#", "cluster_name", "principal_arn", "policy_arn"),
)

RESOURCES = {
    "aws_eks_access_entry": ACCESS_ENTRY,
    "aws_eks_access_policy_association": ACCESS_POLICY_ASSOCIATION,
}
