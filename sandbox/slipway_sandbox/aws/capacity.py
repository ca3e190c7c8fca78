"""EC2's capacity: endless, but where the fault `capacity` takes an instance type away, or "TYPE ZONE MARKET"."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend

from slipway_sandbox.faults import Faults


class InsufficientInstanceCapacity(EC2ClientError):  # type: ignore[misc]  # moto has no types
    """docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""

    def __init__(self, instance_type: str, zone: str) -> None:
        super().__init__(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}). "
            "Our system will be working on provisioning additional capacity.",
        )


def extend(faults: Faults) -> None:
    """Make moto's RunInstances refuse what it has none of, once, before it answers."""
    run = EC2Backend.run_instances

    def run_instances(self: Any, image_id: str, count: int, *arguments: Any, **more: Any) -> Any:
        kind, subnet = asked_type(self, more), more.get("subnet_id")
        zone = self.get_subnet(subnet).availability_zone if subnet else more.get("placement") or ""
        offering = f"{kind} {zone} {more.get('instance_market_options') or 'on-demand'}"
        if faults.hit("capacity", target=kind) or faults.hit("capacity", target=offering):
            raise InsufficientInstanceCapacity(kind, zone)
        return run(self, image_id, count, *arguments, **more)

    EC2Backend.run_instances = run_instances


def asked_type(backend: Any, request: dict[str, Any]) -> str:
    """The instance type of a RunInstances: its own, else its launch template's."""
    if request.get("is_instance_type_default") and request.get("launch_template"):
        data = backend._get_template_from_args(request["launch_template"]).data
        return str(data.get("InstanceType") or request["instance_type"])
    return str(request.get("instance_type") or "")
