"""The network: VPC, subnets, gateways."""

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
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, timeout, unless_gone

# ------------------------------------------------------------------ VPC

_VPC_SWITCHES = {"enable_dns_support": "EnableDnsSupport", "enable_dns_hostnames": "EnableDnsHostnames"}


def _create_vpc(session: Session, planned: State) -> State:
    made = session.client("ec2").create_vpc(
        CidrBlock=planned["cidr_block"],
        InstanceTenancy=planned["instance_tenancy"],
        TagSpecifications=specification("vpc", planned),
    )
    return {"id": made["Vpc"]["VpcId"]}


def _switch_vpc(session: Session, state: State) -> None:
    for ours, theirs in _VPC_SWITCHES.items():
        session.client("ec2").modify_vpc_attribute(
            VpcId=state["id"], **{theirs: {"Value": bool(state[ours])}}
        )


def _read_vpc(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    vpc = one(lambda: ec2.describe_vpcs(VpcIds=[identity])["Vpcs"])
    if vpc is None:
        return None
    switches = {
        ours: ec2.describe_vpc_attribute(VpcId=identity, Attribute=theirs[0].lower() + theirs[1:])[theirs][
            "Value"
        ]
        for ours, theirs in _VPC_SWITCHES.items()
    }
    return switches | {
        "id": identity,
        "arn": session.arn("ec2", f"vpc/{identity}"),
        "cidr_block": vpc["CidrBlock"],
        "instance_tenancy": vpc.get("InstanceTenancy", "default"),
        "owner_id": vpc["OwnerId"],
        "default_security_group_id": _default_of(
            ec2.describe_security_groups(
                Filters=[
                    {"Name": "vpc-id", "Values": [identity]},
                    {"Name": "group-name", "Values": ["default"]},
                ]
            )["SecurityGroups"],
            "GroupId",
        ),
        "main_route_table_id": _default_of(
            ec2.describe_route_tables(
                Filters=[
                    {"Name": "vpc-id", "Values": [identity]},
                    {"Name": "association.main", "Values": ["true"]},
                ]
            )["RouteTables"],
            "RouteTableId",
        ),
        "tags": tag_map(vpc.get("Tags")),
    }


def _default_of(items: list[dict[str, Any]], key: str) -> str | None:
    return str(items[0][key]) if items else None


def _update_vpc(session: Session, prior: State, planned: State) -> None:
    if prior["instance_tenancy"] != planned["instance_tenancy"]:
        session.client("ec2").modify_vpc_tenancy(
            VpcId=planned["id"], InstanceTenancy=planned["instance_tenancy"]
        )
    _switch_vpc(session, planned)
    retag_ec2(session, prior, planned)


VPC = resource(
    {
        "cidr_block": optional(STRING, computed=True, forces_new=True),
        "instance_tenancy": optional(STRING, default="default"),
        "enable_dns_support": optional(BOOL, default=True),
        "enable_dns_hostnames": optional(BOOL, computed=True),
        "arn": computed(STRING),
        "owner_id": computed(STRING),
        "default_security_group_id": computed(STRING),
        "main_route_table_id": computed(STRING),
    },
    tags=True,
    create=_create_vpc,
    settle=_switch_vpc,
    read=_read_vpc,
    update=_update_vpc,
    replaces=lambda prior, planned: (
        # a tenancy is only ever taken back
        ["instance_tenancy"] if prior["instance_tenancy"] != planned["instance_tenancy"] != "default" else []
    ),
    delete=lambda session, state: session.delete(lambda: session.client("ec2").delete_vpc(VpcId=state["id"])),
)

# ------------------------------------------------------------------ subnet


def _create_subnet(session: Session, planned: State) -> State:
    made = session.client("ec2").create_subnet(
        **compact(
            {
                "VpcId": planned["vpc_id"],
                "CidrBlock": planned["cidr_block"],
                "AvailabilityZone": planned["availability_zone"],
                "TagSpecifications": specification("subnet", planned),
            }
        )
    )
    return {"id": made["Subnet"]["SubnetId"]}


def _publish(session: Session, state: State) -> None:
    session.client("ec2").modify_subnet_attribute(
        SubnetId=state["id"], MapPublicIpOnLaunch={"Value": bool(state["map_public_ip_on_launch"])}
    )


def _read_subnet(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    subnet = one(lambda: ec2.describe_subnets(SubnetIds=[identity])["Subnets"])
    if subnet is None:
        return None
    return {
        "id": identity,
        "arn": subnet.get("SubnetArn") or session.arn("ec2", f"subnet/{identity}"),
        "vpc_id": subnet["VpcId"],
        "cidr_block": subnet["CidrBlock"],
        "availability_zone": subnet["AvailabilityZone"],
        "availability_zone_id": subnet.get("AvailabilityZoneId"),
        "map_public_ip_on_launch": subnet.get("MapPublicIpOnLaunch", False),
        "tags": tag_map(subnet.get("Tags")),
    }


def _update_subnet(session: Session, prior: State, planned: State) -> None:
    if prior["map_public_ip_on_launch"] != planned["map_public_ip_on_launch"]:
        _publish(session, planned)
    retag_ec2(session, prior, planned)


SUBNET = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "cidr_block": optional(STRING, forces_new=True),
        "availability_zone": optional(STRING, computed=True, forces_new=True),
        "availability_zone_id": optional(STRING, computed=True, forces_new=True),
        "map_public_ip_on_launch": optional(BOOL, default=False),
        "arn": computed(STRING),
    },
    tags=True,
    create=_create_subnet,
    settle=lambda session, state: _publish(session, state) if state["map_public_ip_on_launch"] else None,
    read=_read_subnet,
    update=_update_subnet,
    delete=lambda session, state: session.delete(
        lambda: session.client("ec2").delete_subnet(SubnetId=state["id"])
    ),
)

# ------------------------------------------------------------------ internet gateway


def _create_internet_gateway(session: Session, planned: State) -> State:
    made = session.client("ec2").create_internet_gateway(
        TagSpecifications=specification("internet-gateway", planned)
    )
    return {"id": made["InternetGateway"]["InternetGatewayId"]}


def _attach_gateway(session: Session, state: State) -> None:
    if state.get("vpc_id"):
        session.client("ec2").attach_internet_gateway(InternetGatewayId=state["id"], VpcId=state["vpc_id"])


def _read_internet_gateway(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    gateway = one(lambda: ec2.describe_internet_gateways(InternetGatewayIds=[identity])["InternetGateways"])
    if gateway is None:
        return None
    attachments = gateway.get("Attachments", [])
    return {
        "id": identity,
        "arn": session.arn("ec2", f"internet-gateway/{identity}"),
        "vpc_id": attachments[0]["VpcId"] if attachments else None,
        "tags": tag_map(gateway.get("Tags")),
    }


def _update_internet_gateway(session: Session, prior: State, planned: State) -> None:
    if prior["vpc_id"] != planned["vpc_id"]:
        if prior["vpc_id"]:
            session.client("ec2").detach_internet_gateway(
                InternetGatewayId=planned["id"], VpcId=prior["vpc_id"]
            )
        _attach_gateway(session, planned)
    retag_ec2(session, prior, planned)


def _delete_internet_gateway(session: Session, state: State) -> None:
    ec2, identity = session.client("ec2"), state["id"]
    if state.get("vpc_id"):
        session.delete(
            lambda: unless_gone(
                lambda: ec2.detach_internet_gateway(InternetGatewayId=identity, VpcId=state["vpc_id"]),
                "NotFound",
                "Gateway.NotAttached",
            ),
        )
    unless_gone(lambda: ec2.delete_internet_gateway(InternetGatewayId=identity))


INTERNET_GATEWAY = resource(
    {"vpc_id": optional(STRING, computed=True), "arn": computed(STRING)},
    tags=True,
    create=_create_internet_gateway,
    settle=_attach_gateway,
    read=_read_internet_gateway,
    update=_update_internet_gateway,
    delete=_delete_internet_gateway,
)

# ------------------------------------------------------------------ elastic address and NAT gateway


def _create_address(session: Session, planned: State) -> State:
    made = session.client("ec2").allocate_address(
        Domain=planned["domain"] or "vpc", TagSpecifications=specification("elastic-ip", planned)
    )
    return {"id": made["AllocationId"]}


def _read_address(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    address = one(lambda: ec2.describe_addresses(AllocationIds=[identity])["Addresses"])
    if address is None:
        return None
    return {
        "id": identity,
        "allocation_id": identity,
        "arn": session.arn("ec2", f"elastic-ip/{identity}"),
        "domain": address.get("Domain", "vpc"),
        "public_ip": address["PublicIp"],
        "tags": tag_map(address.get("Tags")),
    }


ADDRESS = resource(
    {
        "domain": optional(STRING, computed=True, forces_new=True),
        "allocation_id": computed(STRING),
        "arn": computed(STRING),
        "public_ip": computed(STRING),
    },
    tags=True,
    create=_create_address,
    read=_read_address,
    update=retag_ec2,
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").release_address(AllocationId=state["id"])
    ),
)


def _create_nat_gateway(session: Session, planned: State) -> State:
    made = session.client("ec2").create_nat_gateway(
        **compact(
            {
                "SubnetId": planned["subnet_id"],
                "AllocationId": planned["allocation_id"],
                "ConnectivityType": planned["connectivity_type"],
                "TagSpecifications": specification("natgateway", planned),
            }
        )
    )
    return {"id": made["NatGateway"]["NatGatewayId"]}


def _nat_gateway(session: Session, identity: str) -> dict[str, Any] | None:
    ec2 = session.client("ec2")
    found = one(lambda: ec2.describe_nat_gateways(NatGatewayIds=[identity])["NatGateways"])
    return None if found is None or found["State"] == "deleted" else found


def _wait_for_nat_gateway(session: Session, identity: str, wanted: str | None, within: float) -> None:
    def state() -> str | None:
        gateway = _nat_gateway(session, identity)
        return None if gateway is None else str(gateway["State"])

    session.wait(f"EC2 NAT Gateway ({identity})", state, [wanted], within)


def _read_nat_gateway(session: Session, state: State) -> State | None:
    gateway = _nat_gateway(session, state["id"])
    if gateway is None:
        return None
    address = (gateway.get("NatGatewayAddresses") or [{}])[0]
    return {
        "id": state["id"],
        "subnet_id": gateway["SubnetId"],
        "allocation_id": address.get("AllocationId"),
        "connectivity_type": gateway.get("ConnectivityType", "public"),
        "public_ip": address.get("PublicIp"),
        "private_ip": address.get("PrivateIp"),
        "tags": tag_map(gateway.get("Tags")),
    }


def _delete_nat_gateway(session: Session, state: State) -> None:
    unless_gone(lambda: session.client("ec2").delete_nat_gateway(NatGatewayId=state["id"]))
    _wait_for_nat_gateway(session, state["id"], None, timeout(state, "delete", "30m"))


NAT_GATEWAY = resource(
    {
        "subnet_id": optional(STRING, forces_new=True),
        "allocation_id": optional(STRING, forces_new=True),
        "connectivity_type": optional(STRING, default="public", forces_new=True),
        "public_ip": computed(STRING),
        "private_ip": optional(STRING, computed=True, forces_new=True),
    },
    tags=True,
    timeouts=True,
    create=_create_nat_gateway,
    settle=lambda session, state: _wait_for_nat_gateway(
        session, state["id"], "available", timeout(state, "create", "10m")
    ),
    read=_read_nat_gateway,
    update=retag_ec2,
    delete=_delete_nat_gateway,
)

RESOURCES = {
    "aws_vpc": VPC,
    "aws_subnet": SUBNET,
    "aws_internet_gateway": INTERNET_GATEWAY,
    "aws_eip": ADDRESS,
    "aws_nat_gateway": NAT_GATEWAY,
}
