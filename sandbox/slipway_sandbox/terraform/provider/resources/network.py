"""The network: VPC, subnets, gateways."""

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
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone

# ------------------------------------------------------------------ VPC

_VPC_SWITCHES = {"enable_dns_support": "EnableDnsSupport", "enable_dns_hostnames": "EnableDnsHostnames"}


def _create_vpc(session: Session, planned: State) -> State:
    made = session.client("ec2").create_vpc(
        CidrBlock=planned["cidr_block"], TagSpecifications=specification("vpc", planned)
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
    shown = {"id": identity, "cidr_block": vpc["CidrBlock"], "tags": tag_map(vpc.get("Tags"))}
    for ours, theirs in _VPC_SWITCHES.items():
        asked = {"VpcId": identity, "Attribute": theirs[0].lower() + theirs[1:]}
        shown[ours] = ec2.describe_vpc_attribute(**asked)[theirs]["Value"]
    return shown


VPC = resource(
    {
        "cidr_block": optional(STRING, computed=True, forces_new=True),
        "enable_dns_support": optional(BOOL, default=True),
        "enable_dns_hostnames": optional(BOOL, computed=True),
    },
    create=_create_vpc,
    settle=_switch_vpc,
    read=_read_vpc,
    update=lambda session, _prior, planned: _switch_vpc(session, planned),
    retag=retag_ec2,
    delete=ec2_deletion("delete_vpc", "VpcId"),
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


def _read_subnet(session: Session, state: State) -> State | None:
    ec2, identity = session.client("ec2"), state["id"]
    subnet = one(lambda: ec2.describe_subnets(SubnetIds=[identity])["Subnets"])
    return subnet and {
        "id": identity,
        "vpc_id": subnet["VpcId"],
        "cidr_block": subnet["CidrBlock"],
        "availability_zone": subnet["AvailabilityZone"],
        "tags": tag_map(subnet.get("Tags")),
    }


SUBNET = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "cidr_block": optional(STRING, forces_new=True),
        "availability_zone": optional(STRING, computed=True, forces_new=True),
    },
    create=_create_subnet,
    read=_read_subnet,
    retag=retag_ec2,
    delete=ec2_deletion("delete_subnet", "SubnetId"),
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
    vpc = attachments[0]["VpcId"] if attachments else None
    return {"id": identity, "vpc_id": vpc, "tags": tag_map(gateway.get("Tags"))}


def _detach_gateway(session: Session, state: State) -> None:
    if not state.get("vpc_id"):
        return
    ec2, where = session.client("ec2"), {"InternetGatewayId": state["id"], "VpcId": state["vpc_id"]}
    session.delete(
        lambda: unless_gone(lambda: ec2.detach_internet_gateway(**where), "NotFound", "Gateway.NotAttached")
    )


def _move_gateway(session: Session, prior: State, planned: State) -> None:
    if prior["vpc_id"] != planned["vpc_id"]:
        _detach_gateway(session, prior)
        _attach_gateway(session, planned)


def _delete_internet_gateway(session: Session, state: State) -> None:
    _detach_gateway(session, state)
    ec2_deletion("delete_internet_gateway", "InternetGatewayId")(session, state)


INTERNET_GATEWAY = resource(
    {"vpc_id": optional(STRING, computed=True)},
    create=_create_internet_gateway,
    settle=_attach_gateway,
    read=_read_internet_gateway,
    update=_move_gateway,
    retag=retag_ec2,
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
    return address and {
        "id": identity,
        "domain": address.get("Domain", "vpc"),
        "public_ip": address["PublicIp"],
        "tags": tag_map(address.get("Tags")),
    }


ADDRESS = resource(
    {"domain": optional(STRING, computed=True, forces_new=True), "public_ip": computed(STRING)},
    create=_create_address,
    read=_read_address,
    retag=retag_ec2,
    delete=ec2_deletion("release_address", "AllocationId"),
)


def _create_nat_gateway(session: Session, planned: State) -> State:
    made = session.client("ec2").create_nat_gateway(
        **compact(
            {
                "SubnetId": planned["subnet_id"],
                "AllocationId": planned["allocation_id"],
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
    what = f"NAT Gateway ({identity})"
    wait_for_state(session, what, lambda: _nat_gateway(session, identity), wanted, within)


def _read_nat_gateway(session: Session, state: State) -> State | None:
    gateway = _nat_gateway(session, state["id"])
    if gateway is None:
        return None
    address = (gateway.get("NatGatewayAddresses") or [{}])[0]
    return {
        "id": state["id"],
        "subnet_id": gateway["SubnetId"],
        "allocation_id": address.get("AllocationId"),
        "public_ip": address.get("PublicIp"),
        "tags": tag_map(gateway.get("Tags")),
    }


def _delete_nat_gateway(session: Session, state: State) -> None:
    ec2_deletion("delete_nat_gateway", "NatGatewayId")(session, state)
    _wait_for_nat_gateway(session, state["id"], None, 30 * 60.0)


NAT_GATEWAY = resource(
    {
        "subnet_id": optional(STRING, forces_new=True),
        "allocation_id": optional(STRING, forces_new=True),
        "public_ip": computed(STRING),
    },
    create=_create_nat_gateway,
    settle=lambda session, state: _wait_for_nat_gateway(session, state["id"], "available", 10 * 60.0),
    read=_read_nat_gateway,
    retag=retag_ec2,
    delete=_delete_nat_gateway,
)

RESOURCES = {
    "aws_vpc": VPC,
    "aws_subnet": SUBNET,
    "aws_internet_gateway": INTERNET_GATEWAY,
    "aws_eip": ADDRESS,
    "aws_nat_gateway": NAT_GATEWAY,
}
