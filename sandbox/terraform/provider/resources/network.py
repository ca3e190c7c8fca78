"""The network: VPC, subnets, gateways, routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.terraform.provider.resources.shapes import (
    compact,
    retag_ec2,
    specification,
    split_id,
    tag_map,
)
from sandbox.terraform.provider.schema import (
    BOOL,
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from sandbox.terraform.provider.session import Session, timeout, unless_gone


def one(call: Callable[[], list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The only item a describe call by id answers, or None when EC2 does not know the id (any more)."""
    found = unless_gone(call)
    return found[0] if found else None


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
    delete=lambda session, state: unless_gone(lambda: session.client("ec2").delete_vpc(VpcId=state["id"])),
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
    delete=lambda session, state: unless_gone(
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
        unless_gone(
            lambda: ec2.detach_internet_gateway(InternetGatewayId=identity, VpcId=state["vpc_id"]),
            "NotFound",
            "Gateway.NotAttached",
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
        "subnet_id": optional(STRING, computed=True, forces_new=True),
        "allocation_id": optional(STRING, computed=True, forces_new=True),
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

# ------------------------------------------------------------------ routes


def _create_route_table(session: Session, planned: State) -> State:
    made = session.client("ec2").create_route_table(
        VpcId=planned["vpc_id"], TagSpecifications=specification("route-table", planned)
    )
    return {"id": made["RouteTable"]["RouteTableId"]}


def _route_table(session: Session, identity: str) -> dict[str, Any] | None:
    ec2 = session.client("ec2")
    return one(lambda: ec2.describe_route_tables(RouteTableIds=[identity])["RouteTables"])


def _read_route_table(session: Session, state: State) -> State | None:
    table = _route_table(session, state["id"])
    if table is None:
        return None
    return {
        "id": state["id"],
        "arn": session.arn("ec2", f"route-table/{state['id']}"),
        "vpc_id": table["VpcId"],
        "owner_id": table.get("OwnerId", session.account),
        "tags": tag_map(table.get("Tags")),
    }


ROUTE_TABLE = resource(
    {
        "vpc_id": required(STRING, forces_new=True),
        "arn": computed(STRING),
        "owner_id": computed(STRING),
    },
    tags=True,
    create=_create_route_table,
    read=_read_route_table,
    update=retag_ec2,
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").delete_route_table(RouteTableId=state["id"])
    ),
)

_TARGETS = {"gateway_id": "GatewayId", "nat_gateway_id": "NatGatewayId"}


def _route_request(planned: State) -> dict[str, Any]:
    return compact(
        {"RouteTableId": planned["route_table_id"], "DestinationCidrBlock": planned["destination_cidr_block"]}
        | {theirs: planned[ours] for ours, theirs in _TARGETS.items()}
    )


def _create_route(session: Session, planned: State) -> State:
    session.client("ec2").create_route(**_route_request(planned))
    return {"id": f"r-{planned['route_table_id']}_{planned['destination_cidr_block']}"}


def _read_route(session: Session, state: State) -> State | None:
    table = _route_table(session, state["route_table_id"])
    for route in (table or {}).get("Routes", []):
        if route.get("DestinationCidrBlock") == state["destination_cidr_block"]:
            return {
                "id": state["id"],
                "route_table_id": state["route_table_id"],
                "destination_cidr_block": state["destination_cidr_block"],
                "state": route.get("State", "active"),
                "origin": route.get("Origin", "CreateRoute"),
            } | {ours: route.get(theirs) or "" for ours, theirs in _TARGETS.items()}
    return None


def _import_route(identity: str) -> State:
    names = split_id(identity, "_", "route_table_id", "destination_cidr_block")
    return names | {"id": f"r-{identity}"}


ROUTE = resource(
    {
        "route_table_id": required(STRING, forces_new=True),
        "destination_cidr_block": optional(STRING, forces_new=True),
        "gateway_id": optional(STRING),
        "nat_gateway_id": optional(STRING),
        "origin": computed(STRING),
        "state": computed(STRING),
    },
    create=_create_route,
    read=_read_route,
    update=lambda session, _prior, planned: session.client("ec2").replace_route(**_route_request(planned)),
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").delete_route(
            RouteTableId=state["route_table_id"], DestinationCidrBlock=state["destination_cidr_block"]
        )
    ),
    importer=_import_route,
)


def _associate(session: Session, planned: State) -> State:
    made = session.client("ec2").associate_route_table(
        RouteTableId=planned["route_table_id"], SubnetId=planned["subnet_id"]
    )
    return {"id": made["AssociationId"]}


def _find_association(session: Session, state: State) -> dict[str, Any] | None:
    """By its id; right after an import by SUBNET/TABLE, by those two."""
    subnet, _, table = state["id"].partition("/")
    wanted = (
        [
            {"Name": "association.subnet-id", "Values": [subnet]},
            {"Name": "association.route-table-id", "Values": [table]},
        ]
        if table
        else [{"Name": "association.route-table-association-id", "Values": [state["id"]]}]
    )
    for found in session.client("ec2").describe_route_tables(Filters=wanted)["RouteTables"]:
        for association in found.get("Associations", []):
            if state["id"] in (
                association["RouteTableAssociationId"],
                f"{association.get('SubnetId')}/{found['RouteTableId']}",
            ):
                return dict(association) | {"RouteTableId": found["RouteTableId"]}
    return None


def _read_association(session: Session, state: State) -> State | None:
    found = _find_association(session, state)
    if found is None:
        return None
    return {
        "id": found["RouteTableAssociationId"],
        "subnet_id": found.get("SubnetId"),
        "route_table_id": found["RouteTableId"],
    }


def _import_association(identity: str) -> State:
    return {"id": split_id(identity, "/", "subnet_id", "route_table_id")["id"]}


ROUTE_TABLE_ASSOCIATION = resource(
    {
        # hashicorp/aws swaps the table in place, which gives the association another id; here it is made anew
        "route_table_id": required(STRING, forces_new=True),
        "subnet_id": optional(STRING, forces_new=True),
    },
    create=_associate,
    read=_read_association,
    delete=lambda session, state: unless_gone(
        lambda: session.client("ec2").disassociate_route_table(AssociationId=state["id"])
    ),
    importer=_import_association,
)

RESOURCES = {
    "aws_vpc": VPC,
    "aws_subnet": SUBNET,
    "aws_internet_gateway": INTERNET_GATEWAY,
    "aws_eip": ADDRESS,
    "aws_nat_gateway": NAT_GATEWAY,
    "aws_route_table": ROUTE_TABLE,
    "aws_route": ROUTE,
    "aws_route_table_association": ROUTE_TABLE_ASSOCIATION,
}
