"""Security groups and VPC endpoints."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    ec2_deletion,
    one,
    retag_ec2,
    specification,
    tag_map,
    wait_for_state,
)
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRINGS,
    State,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ security group


def _create_group(session: Session, planned: State) -> State:
    made = session.client("ec2").create_security_group(
        **compact(
            {
                "GroupName": planned["name"],
                "Description": planned["description"],
                "VpcId": planned["vpc_id"],
                "TagSpecifications": specification("security-group", planned),
            }
        )
    )
    return {"id": made["GroupId"]}


def _settle_group(session: Session, state: State) -> None:
    """AWS opens every new group to the outside; hashicorp/aws takes that rule away, so this does."""
    ec2 = session.client("ec2")
    group = ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"][0]
    if group.get("IpPermissionsEgress"):
        ec2.revoke_security_group_egress(GroupId=state["id"], IpPermissions=group["IpPermissionsEgress"])


def _read_group(session: Session, state: State) -> State | None:
    ec2 = session.client("ec2")
    group = one(lambda: ec2.describe_security_groups(GroupIds=[state["id"]])["SecurityGroups"])
    return group and {
        "id": group["GroupId"],
        "name": group["GroupName"],
        "description": group["Description"],
        "vpc_id": group.get("VpcId"),
        "tags": tag_map(group.get("Tags")),
    }


SECURITY_GROUP = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING, default="Managed by Terraform", forces_new=True),
        "vpc_id": optional(STRING, computed=True, forces_new=True),
    },
    create=_create_group,
    settle=_settle_group,
    read=_read_group,
    retag=retag_ec2,
    delete=ec2_deletion("delete_security_group", "GroupId"),
)


def _ports(planned: State) -> dict[str, Any]:
    ports = compact({"FromPort": planned["from_port"], "ToPort": planned["to_port"]})
    return {"IpProtocol": planned["ip_protocol"], **ports}


def _create_ingress(session: Session, planned: State) -> State:
    peer = compact({"CidrIp": planned["cidr_ipv4"], "Description": planned["description"]})
    made = session.client("ec2").authorize_security_group_ingress(
        GroupId=planned["security_group_id"],
        IpPermissions=[_ports(planned) | {"IpRanges": [peer]}],
        TagSpecifications=specification("security-group-rule", planned),
    )
    return {"id": made["SecurityGroupRules"][0]["SecurityGroupRuleId"]}


def _read_ingress(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    rule = one(
        lambda: ec2.describe_security_group_rules(SecurityGroupRuleIds=[identity])["SecurityGroupRules"]
    )
    return rule and {
        "id": identity,
        "security_group_id": rule["GroupId"],
        "ip_protocol": rule["IpProtocol"],
        "from_port": rule.get("FromPort"),
        "to_port": rule.get("ToPort"),
        "cidr_ipv4": rule.get("CidrIpv4"),
        "description": rule.get("Description"),
        "tags": tag_map(rule.get("Tags")),
    }


def _update_ingress(session: Session, _prior: State, planned: State) -> None:
    rule = compact({"CidrIpv4": planned["cidr_ipv4"], "Description": planned["description"]})
    session.client("ec2").modify_security_group_rules(
        GroupId=planned["security_group_id"],
        SecurityGroupRules=[
            {"SecurityGroupRuleId": planned["id"], "SecurityGroupRule": _ports(planned) | rule}
        ],
    )


def _delete_ingress(session: Session, state: State) -> None:
    ec2 = session.client("ec2")
    unless_gone(
        lambda: ec2.revoke_security_group_ingress(
            GroupId=state["security_group_id"], SecurityGroupRuleIds=[state["id"]]
        )
    )


INGRESS_RULE = resource(
    {
        "security_group_id": required(STRING, forces_new=True),
        "ip_protocol": required(STRING),
        "from_port": optional(NUMBER),
        "to_port": optional(NUMBER),
        "cidr_ipv4": optional(STRING),
        "description": optional(STRING),
    },
    create=_create_ingress,
    read=_read_ingress,
    update=_update_ingress,
    retag=retag_ec2,
    delete=_delete_ingress,
)

# ------------------------------------------------------------------ VPC endpoint

_ENDPOINT_LISTS = {
    "route_table_ids": "RouteTableIds",
    "subnet_ids": "SubnetIds",
    "security_group_ids": "SecurityGroupIds",
}


def _create_endpoint(session: Session, planned: State) -> State:
    made = session.client("ec2").create_vpc_endpoint(
        **compact(
            {
                "VpcId": planned["vpc_id"],
                "ServiceName": planned["service_name"],
                "VpcEndpointType": planned["vpc_endpoint_type"],
                "PrivateDnsEnabled": planned["private_dns_enabled"],
                "TagSpecifications": specification("vpc-endpoint", planned),
            }
            | {theirs: planned[ours] for ours, theirs in _ENDPOINT_LISTS.items()}
        )
    )
    return {"id": made["VpcEndpoint"]["VpcEndpointId"]}


def _endpoint(session: Session, identity: str) -> dict[str, Any] | None:
    ec2 = session.client("ec2")
    found = one(lambda: ec2.describe_vpc_endpoints(VpcEndpointIds=[identity])["VpcEndpoints"])
    return None if found is None or found["State"].lower() == "deleted" else found


def _wait_for_endpoint(session: Session, identity: str, wanted: str | None) -> None:
    what = f"VPC Endpoint ({identity})"
    wait_for_state(session, what, lambda: _endpoint(session, identity), wanted, 10 * 60.0)


def _read_endpoint(session: Session, state: State) -> State | None:
    shown = _endpoint(session, state["id"])
    if shown is None:
        return None
    groups = [group["GroupId"] for group in shown.get("Groups", [])]
    lists = {ours: shown.get(theirs) or [] for ours, theirs in _ENDPOINT_LISTS.items()}
    if groups:
        lists["security_group_ids"] = groups
    return lists | {
        "id": state["id"],
        "vpc_id": shown["VpcId"],
        "service_name": shown["ServiceName"],
        "vpc_endpoint_type": shown["VpcEndpointType"],
        "private_dns_enabled": shown.get("PrivateDnsEnabled", False),
        "tags": tag_map(shown.get("Tags")),
    }


def _update_endpoint(session: Session, prior: State, planned: State) -> None:
    changes: dict[str, Any] = {}
    for ours, theirs in _ENDPOINT_LISTS.items():
        before, after = set(prior[ours] or []), set(planned[ours] or [])
        changes[f"Add{theirs}"] = sorted(after - before)
        changes[f"Remove{theirs}"] = sorted(before - after)
    if prior["private_dns_enabled"] != planned["private_dns_enabled"]:
        changes["PrivateDnsEnabled"] = planned["private_dns_enabled"]
    if wanted := compact(changes):
        session.client("ec2").modify_vpc_endpoint(VpcEndpointId=planned["id"], **wanted)


def _delete_endpoint(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[state["id"]]))
    _wait_for_endpoint(session, state["id"], None)


VPC_ENDPOINT = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "service_name": optional(STRING, forces_new=True),
        "vpc_endpoint_type": optional(STRING, default="Gateway", forces_new=True),
        "route_table_ids": optional(STRINGS, computed=True),
        "subnet_ids": optional(STRINGS, computed=True),
        "security_group_ids": optional(STRINGS, computed=True),
        "private_dns_enabled": optional(BOOL, computed=True),
    },
    create=_create_endpoint,
    settle=lambda session, state: _wait_for_endpoint(session, state["id"], "available"),
    read=_read_endpoint,
    update=_update_endpoint,
    retag=retag_ec2,
    delete=_delete_endpoint,
)

RESOURCES = {
    "aws_security_group": SECURITY_GROUP,
    "aws_vpc_security_group_ingress_rule": INGRESS_RULE,
    "aws_vpc_endpoint": VPC_ENDPOINT,
}
