"""Roles and what they may do."""

from __future__ import annotations

import json

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    split_id,
    tag_list,
    tag_map,
)
from slipway_sandbox.terraform.provider.schema import (
    STRING,
    STRINGS,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ role


def _create_role(session: Session, planned: State) -> State:
    made = session.client("iam").create_role(
        **compact(
            {
                "RoleName": planned["name"],
                "AssumeRolePolicyDocument": planned["assume_role_policy"],
                "Description": planned["description"],
                "Path": planned["path"],
                "PermissionsBoundary": planned["permissions_boundary"],
                "Tags": tag_list(planned["tags_all"]),
            }
        )
    )["Role"]
    return {"id": made["RoleName"], "name": made["RoleName"], "arn": made["Arn"]}


def _read_role(session: Session, state: State) -> State | None:
    shown = unless_gone(lambda: session.client("iam").get_role(RoleName=state["id"])["Role"])
    if shown is None:
        return None
    return {
        "id": shown["RoleName"],
        "name": shown["RoleName"],
        "arn": shown["Arn"],
        "description": shown.get("Description") or "",
        "path": shown["Path"],
        "permissions_boundary": shown.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") or "",
        "assume_role_policy": json.dumps(shown["AssumeRolePolicyDocument"]),
        "tags": tag_map(shown.get("Tags")),
    }


def _update_role(session: Session, prior: State, planned: State) -> None:
    iam, name = session.client("iam"), planned["id"]
    if prior["assume_role_policy"] != planned["assume_role_policy"]:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=planned["assume_role_policy"])
    if prior["description"] != planned["description"]:
        iam.update_role(RoleName=name, Description=planned["description"] or "")
    if (boundary := planned["permissions_boundary"]) != prior["permissions_boundary"]:
        if boundary:
            iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=boundary)
        else:
            iam.delete_role_permissions_boundary(RoleName=name)


def _retag_role(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    iam, name = session.client("iam"), state["id"]
    if removed:
        iam.untag_role(RoleName=name, TagKeys=removed)
    if added:
        iam.tag_role(RoleName=name, Tags=tag_list(added))


ROLE = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "assume_role_policy": required(STRING, document=True),
        "description": optional(STRING),
        "path": optional(STRING, default="/", forces_new=True),
        "permissions_boundary": optional(STRING),
        "arn": computed(STRING),
    },
    create=_create_role,
    read=_read_role,
    update=_update_role,
    retag=_retag_role,
    delete=lambda session, state: unless_gone(
        lambda: session.client("iam").delete_role(RoleName=state["id"])
    ),
)

# ------------------------------------------------------------------ inline policy


def _put_role_policy(session: Session, planned: State) -> State:
    session.client("iam").put_role_policy(
        RoleName=planned["role"], PolicyName=planned["name"], PolicyDocument=planned["policy"]
    )
    return {"id": f"{planned['role']}:{planned['name']}"}


def _read_role_policy(session: Session, state: State) -> State | None:
    names = split_id(state["id"], ":", "role", "name")
    iam = session.client("iam")
    shown = unless_gone(lambda: iam.get_role_policy(RoleName=names["role"], PolicyName=names["name"]))
    return None if shown is None else names | {"policy": json.dumps(shown["PolicyDocument"])}


def _delete_role_policy(session: Session, state: State) -> None:
    iam = session.client("iam")
    unless_gone(lambda: iam.delete_role_policy(RoleName=state["role"], PolicyName=state["name"]))


ROLE_POLICY = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "role": required(STRING, forces_new=True),
        "policy": required(STRING, document=True),
    },
    create=_put_role_policy,
    read=_read_role_policy,
    update=lambda session, _prior, planned: void_state(_put_role_policy(session, planned)),
    delete=_delete_role_policy,
    importer=lambda identity: split_id(identity, ":", "role", "name"),
)


def void_state(_state: State) -> None:
    return None


# ------------------------------------------------------------------ attachment


def _attach(session: Session, planned: State) -> State:
    session.client("iam").attach_role_policy(RoleName=planned["role"], PolicyArn=planned["policy_arn"])
    return {"id": f"{planned['role']}/{planned['policy_arn']}"}


def _read_attachment(session: Session, state: State) -> State | None:
    names = split_id(state["id"], "/", "role", "policy_arn")
    iam = session.client("iam")
    attached = unless_gone(
        lambda: iam.list_attached_role_policies(RoleName=names["role"])["AttachedPolicies"]
    )
    found = any(policy["PolicyArn"] == names["policy_arn"] for policy in attached or [])
    return names if found else None


def _detach(session: Session, state: State) -> None:
    iam = session.client("iam")
    unless_gone(lambda: iam.detach_role_policy(RoleName=state["role"], PolicyArn=state["policy_arn"]))


ATTACHMENT = resource(
    {"role": required(STRING, forces_new=True), "policy_arn": required(STRING, forces_new=True)},
    create=_attach,
    read=_read_attachment,
    delete=_detach,
    importer=lambda identity: split_id(identity, "/", "role", "policy_arn"),
)

# ------------------------------------------------------------------ OIDC provider


def _create_oidc_provider(session: Session, planned: State) -> State:
    made = session.client("iam").create_open_id_connect_provider(
        Url=planned["url"], ClientIDList=planned["client_id_list"], Tags=tag_list(planned["tags_all"])
    )
    arn = made["OpenIDConnectProviderArn"]
    return {"id": arn, "arn": arn}


def _read_oidc_provider(session: Session, state: State) -> State | None:
    iam, arn = session.client("iam"), state["id"]
    shown = unless_gone(lambda: iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn))
    if shown is None:
        return None
    return {
        "arn": arn,
        # IAM keeps it without its scheme
        "url": f"https://{shown['Url'].removeprefix('https://')}",
        "client_id_list": shown["ClientIDList"],
        "tags": tag_map(shown.get("Tags")),
    }


def _update_oidc_provider(session: Session, prior: State, planned: State) -> None:
    iam, arn = session.client("iam"), planned["id"]
    before, after = set(prior["client_id_list"]), set(planned["client_id_list"])
    for one in sorted(after - before):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=one)
    for one in sorted(before - after):
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=one)


def _retag_oidc_provider(session: Session, state: State, removed: list[str], added: dict[str, str]) -> None:
    iam, arn = session.client("iam"), state["id"]
    if removed:
        iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn, TagKeys=removed)
    if added:
        iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=tag_list(added))


OIDC_PROVIDER = resource(
    {
        "url": required(STRING, forces_new=True),
        "client_id_list": required(STRINGS),
        "arn": computed(STRING),
    },
    create=_create_oidc_provider,
    read=_read_oidc_provider,
    update=_update_oidc_provider,
    retag=_retag_oidc_provider,
    delete=lambda session, state: unless_gone(
        lambda: session.client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=state["id"])
    ),
)

RESOURCES = {
    "aws_iam_openid_connect_provider": OIDC_PROVIDER,
    "aws_iam_role": ROLE,
    "aws_iam_role_policy": ROLE_POLICY,
    "aws_iam_role_policy_attachment": ATTACHMENT,
}
