"""Security groups and VPC endpoints."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    one,
    retag_ec2,
    specification,
    tag_map,
)
from slipway_sandbox.terraform.provider.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRINGS,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, timeout, unless_gone

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
    if group is None:
        return None
    return {
        "id": group["GroupId"],
        "arn": session.arn("ec2", f"security-group/{group['GroupId']}"),
        "name": group["GroupName"],
        "description": group["Description"],
        "vpc_id": group.get("VpcId"),
        "owner_id": group["OwnerId"],
        "tags": tag_map(group.get("Tags")),
    }


SECURITY_GROUP = resource(
    {
        "name": optional(STRING, computed=True, forces_new=True),
        "description": optional(STRING, default="Managed by Terraform", forces_new=True),
        "vpc_id": optional(STRING, computed=True, forces_new=True),
        "revoke_rules_on_delete": optional(BOOL, default=False),
        "arn": computed(STRING),
        "owner_id": computed(STRING),
    },
    tags=True,
    create=_create_group,
    settle=_settle_group,
    read=_read_group,
    update=retag_ec2,
    delete=lambda session, state: session.delete(
        lambda: session.client("ec2").delete_security_group(GroupId=state["id"])
    ),
)


def _create_ingress(session: Session, planned: State) -> State:
    peer = (
        {"IpRanges": [compact({"CidrIp": planned["cidr_ipv4"], "Description": planned["description"]})]}
        if planned["cidr_ipv4"]
        else {"UserIdGroupPairs": [{"GroupId": planned["referenced_security_group_id"]}]}
    )
    ports = compact({"FromPort": planned["from_port"], "ToPort": planned["to_port"]})
    made = session.client("ec2").authorize_security_group_ingress(
        GroupId=planned["security_group_id"],
        IpPermissions=[{"IpProtocol": planned["ip_protocol"]} | ports | peer],
        TagSpecifications=specification("security-group-rule", planned),
    )
    identity = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    return {"id": identity, "security_group_rule_id": identity}


def _read_ingress(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    rule = one(
        lambda: ec2.describe_security_group_rules(SecurityGroupRuleIds=[identity])["SecurityGroupRules"]
    )
    if rule is None:
        return None
    return {
        "id": identity,
        "security_group_rule_id": identity,
        "arn": session.arn("ec2", f"security-group-rule/{identity}"),
        "security_group_id": rule["GroupId"],
        "ip_protocol": rule["IpProtocol"],
        "from_port": rule.get("FromPort"),
        "to_port": rule.get("ToPort"),
        "cidr_ipv4": rule.get("CidrIpv4"),
        "referenced_security_group_id": rule.get("ReferencedGroupInfo", {}).get("GroupId"),
        "description": rule.get("Description"),
        "tags": tag_map(rule.get("Tags")),
    }


_SOURCES = ("cidr_ipv4", "referenced_security_group_id")


def _update_ingress(session: Session, prior: State, planned: State) -> None:
    rule = {
        "IpProtocol": planned["ip_protocol"],
        "FromPort": planned["from_port"],
        "ToPort": planned["to_port"],
        "CidrIpv4": planned["cidr_ipv4"],
        "ReferencedGroupId": planned["referenced_security_group_id"],
        "Description": planned["description"],
    }
    if any(prior[name] != planned[name] for name in INGRESS_RULE.schema.attributes if name[:4] != "tags"):
        session.client("ec2").modify_security_group_rules(
            GroupId=planned["security_group_id"],
            SecurityGroupRules=[{"SecurityGroupRuleId": planned["id"], "SecurityGroupRule": compact(rule)}],
        )
    retag_ec2(session, prior, planned)


def _other_source(prior: State, planned: State) -> list[str]:
    """EC2 changes a rule's source, but not from addresses to a group."""
    kinds = [[name for name in _SOURCES if state[name] is not None] for state in (prior, planned)]
    return kinds[0] + kinds[1] if kinds[0] != kinds[1] else []


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
        "referenced_security_group_id": optional(STRING),
        "description": optional(STRING),
        "arn": computed(STRING),
        "security_group_rule_id": computed(STRING),
    },
    tags=True,
    create=_create_ingress,
    read=_read_ingress,
    update=_update_ingress,
    replaces=_other_source,
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
                "PolicyDocument": planned["policy"],
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


def _wait_for_endpoint(session: Session, identity: str, wanted: str | None, within: float) -> None:
    def state() -> str | None:
        endpoint = _endpoint(session, identity)
        return None if endpoint is None else str(endpoint["State"]).lower()

    session.wait(f"EC2 VPC Endpoint ({identity})", state, [wanted], within)


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
        "arn": session.arn("ec2", f"vpc-endpoint/{state['id']}"),
        "vpc_id": shown["VpcId"],
        "service_name": shown["ServiceName"],
        "vpc_endpoint_type": shown["VpcEndpointType"],
        "private_dns_enabled": shown.get("PrivateDnsEnabled", False),
        "policy": shown.get("PolicyDocument"),
        "state": shown["State"].lower(),
        "tags": tag_map(shown.get("Tags")),
    }


def _update_endpoint(session: Session, prior: State, planned: State) -> None:
    changes: dict[str, Any] = {}
    for ours, theirs in _ENDPOINT_LISTS.items():
        before, after = set(prior[ours] or []), set(planned[ours] or [])
        changes[f"Add{theirs}"] = sorted(after - before)
        changes[f"Remove{theirs}"] = sorted(before - after)
    if prior["policy"] != planned["policy"]:
        changes["PolicyDocument"] = planned["policy"]
    if prior["private_dns_enabled"] != planned["private_dns_enabled"]:
        changes["PrivateDnsEnabled"] = planned["private_dns_enabled"]
    if wanted := compact(changes):
        session.client("ec2").modify_vpc_endpoint(VpcEndpointId=planned["id"], **wanted)
    retag_ec2(session, prior, planned)


def _delete_endpoint(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[state["id"]]))
    _wait_for_endpoint(session, state["id"], None, timeout(state, "delete", "10m"))


VPC_ENDPOINT = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "service_name": optional(STRING, forces_new=True),
        "vpc_endpoint_type": optional(STRING, default="Gateway", forces_new=True),
        "route_table_ids": optional(STRINGS, computed=True),
        "subnet_ids": optional(STRINGS, computed=True),
        "security_group_ids": optional(STRINGS, computed=True),
        "private_dns_enabled": optional(BOOL, computed=True),
        "policy": optional(STRING, computed=True, document=True),
        "arn": computed(STRING),
        "state": computed(STRING),
    },
    tags=True,
    timeouts=True,
    create=_create_endpoint,
    settle=lambda session, state: _wait_for_endpoint(
        session, state["id"], "available", timeout(state, "create", "10m")
    ),
    read=_read_endpoint,
    update=_update_endpoint,
    delete=_delete_endpoint,
)

RESOURCES = {
    "aws_security_group": SECURITY_GROUP,
    "aws_vpc_security_group_ingress_rule": INGRESS_RULE,
    "aws_vpc_endpoint": VPC_ENDPOINT,
}
