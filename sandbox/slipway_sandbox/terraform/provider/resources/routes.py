"""Route tables, their routes and their associations."""

from __future__ import annotations

from typing import Any

from slipway_sandbox.terraform.provider.resources.shapes import (
    compact,
    ec2_deletion,
    one,
    retag_ec2,
    specification,
    split_id,
    tag_map,
)
from slipway_sandbox.terraform.provider.schema import (
    STRING,
    State,
    computed,
    optional,
    required,
    resource,
)
from slipway_sandbox.terraform.provider.session import Session, unless_gone


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
    return table and {"id": state["id"], "vpc_id": table["VpcId"], "tags": tag_map(table.get("Tags"))}


ROUTE_TABLE = resource(
    {"vpc_id": required(STRING, forces_new=True)},
    create=_create_route_table,
    read=_read_route_table,
    retag=retag_ec2,
    delete=ec2_deletion("delete_route_table", "RouteTableId"),
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


def _reassociate(session: Session, prior: State, planned: State) -> None:
    swapped = session.client("ec2").replace_route_table_association(
        AssociationId=prior["id"], RouteTableId=planned["route_table_id"]
    )
    planned["id"] = swapped["NewAssociationId"]


def _import_association(identity: str) -> State:
    return {"id": split_id(identity, "/", "subnet_id", "route_table_id")["id"]}


ROUTE_TABLE_ASSOCIATION = resource(
    {
        "id": computed(
            STRING, varies=True
        ),  # EC2 swaps the table in place and gives the association another id
        "route_table_id": required(STRING),
        "subnet_id": optional(STRING, forces_new=True),
    },
    create=_associate,
    read=_read_association,
    update=_reassociate,
    delete=ec2_deletion("disassociate_route_table", "AssociationId"),
    importer=_import_association,
)

RESOURCES = {
    "aws_route_table": ROUTE_TABLE,
    "aws_route": ROUTE,
    "aws_route_table_association": ROUTE_TABLE_ASSOCIATION,
}
