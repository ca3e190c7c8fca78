"""The order in which EC2 lets a network go, which moto mostly does not ask for.

Codes: docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (DependencyViolation,
InvalidIPAddress.InUse); the sentences are those seen in hashicorp/terraform-provider-aws's issues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import EC2Backend

GONE = ("shutting-down", "terminated")


class AddressInUse(EC2ClientError):  # type: ignore[misc]  # moto has no types
    def __init__(self, address: str) -> None:
        super().__init__("InvalidIPAddress.InUse", f"Address {address} is in use.")


def interfaces(backend: Any) -> Iterator[Any]:
    """Network interfaces that are there: those of ended instances are not."""
    for interface in list(backend.enis.values()):
        instance = interface.instance
        if instance is None or instance._state.name not in GONE:
            yield interface


def extend() -> None:
    """Make moto's EC2 refuse, once, before it answers."""
    _subnets_and_vpcs()
    _groups_and_gateways()
    _addresses()


def _subnets_and_vpcs() -> None:
    delete_subnet, delete_vpc = EC2Backend.delete_subnet, EC2Backend.delete_vpc

    def subnet(self: Any, subnet_id: str) -> Any:
        if any(each.subnet.id == subnet_id for each in interfaces(self)):
            raise DependencyViolationError(
                f"The subnet '{subnet_id}' has dependencies and cannot be deleted."
            )
        return delete_subnet(self, subnet_id)

    def vpc(self: Any, vpc_id: str) -> Any:
        gateways = [each for each in self.internet_gateways.values() if each.vpc and each.vpc.id == vpc_id]
        endpoints = [
            each for each in self.vpc_end_points.values() if each.vpc_id == vpc_id and each.state != "deleted"
        ]
        groups = [each for each in self.groups.get(vpc_id, {}).values() if each.name != "default"]
        if gateways or endpoints or groups:
            raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
        return delete_vpc(self, vpc_id)

    EC2Backend.delete_subnet, EC2Backend.delete_vpc = subnet, vpc


def _groups_and_gateways() -> None:
    delete_group, detach = EC2Backend.delete_security_group, EC2Backend.detach_internet_gateway

    def group(self: Any, name: str | None = None, group_id: str | None = None) -> None:
        held = [member.id for each in interfaces(self) for member in each.group_set]
        for each in self.vpc_end_points.values():
            held += each.security_group_ids if each.state != "deleted" else []
        if group_id in held:
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        delete_group(self, name=name, group_id=group_id)

    def gateway(self: Any, internet_gateway_id: str, vpc_id: str) -> None:
        if any(each.eni and each.eni.subnet.vpc_id == vpc_id for each in self.addresses):
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) "
                "before detaching the gateway."
            )
        detach(self, internet_gateway_id, vpc_id)

    EC2Backend.delete_security_group, EC2Backend.detach_internet_gateway = group, gateway


def _addresses() -> None:
    release = EC2Backend.release_address

    def release_address(self: Any, address: str | None = None, allocation_id: str | None = None) -> None:
        for each in self.addresses:
            if each.association_id and allocation_id == each.allocation_id:
                raise AddressInUse(each.public_ip)
        release(self, address=address, allocation_id=allocation_id)

    EC2Backend.release_address = release_address
