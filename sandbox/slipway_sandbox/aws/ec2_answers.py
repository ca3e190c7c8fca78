"""Fields of EC2's answers that moto leaves out or adds, where hashicorp/aws or the product reads them.

- NatGateway.AvailabilityMode: since 6.24 the provider reads subnet and allocation only of a gateway that says `zonal`.
- LaunchTemplateData.TagSpecifications: moto adds the template's own tags, which would be a change in every plan.
- AvailabilityZone.OptInStatus, GroupName, NetworkBorderGroup.
- GetEbsDefaultKmsKeyId: AWS's own key, which an account has until it chooses another.
- DescribeSpotPriceHistory: a part of the example price on demand, another in each zone, which held for an hour at StartTime.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.availability_zones_and_regions import Zone
from moto.ec2.models.nat_gateways import NatGateway
from moto.ec2.responses import EC2Response

from slipway_sandbox.aws.fleets import price_of
from slipway_sandbox.aws.pricing import TABLE


class NatGatewayMissing(EC2ClientError):  # type: ignore[misc]  # moto has no types
    def __init__(self, identity: str) -> None:
        super().__init__("NatGatewayNotFound", f"The Nat Gateway {identity} was not found")


def extend() -> None:
    """Change moto's EC2, once, before it answers."""
    _zones()
    _launch_templates()
    _nat_gateways()
    EC2Response.get_ebs_default_kms_key_id = lambda _self: ActionResult({"KmsKeyId": "alias/aws/ebs"})
    EC2Response.describe_spot_price_history = _spot_prices


def _spot_prices(self: Any) -> ActionResult:
    """Of each type with an example price, 40 % of it in a region's first zone and 3 % more in each further one."""
    start = self._get_param("StartTime") or datetime.now(UTC)
    since = start - timedelta(hours=1)
    kinds, filters = self._get_param("InstanceTypes", []), self._filters_from_querystring()
    offered = self.ec2_backend.describe_spot_price_history(kinds, filters)
    zones = sorted({offer["Location"] for offer in offered})
    history = [
        {
            "InstanceType": offer["InstanceType"],
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": f"{price_of(offer['InstanceType']) * (0.4 + 0.03 * zones.index(offer['Location'])):.6f}",
            "AvailabilityZone": offer["Location"],
            "Timestamp": since.isoformat(),
        }
        for offer in offered
        if offer["InstanceType"] in TABLE["instances"]
    ]
    return ActionResult({"SpotPriceHistory": history})


def _zones() -> None:
    Zone.opt_in_status = "opt-in-not-required"
    Zone.group_name = property(lambda zone: f"{zone.region_name}-zg-1")
    Zone.network_border_group = property(lambda zone: zone.region_name)


def _launch_templates() -> None:
    create = EC2Backend.create_launch_template

    def create_launch_template(
        self: Any, name: str, description: str, template_data: dict[str, Any], tag_spec: Any
    ) -> Any:
        specifications = [
            each
            for each in template_data.pop("TagSpecifications", [])
            if each["ResourceType"] != "launch-template"
        ]
        if specifications:
            template_data["TagSpecifications"] = specifications
        return create(self, name, description, template_data, tag_spec)

    EC2Backend.create_launch_template = create_launch_template


def _nat_gateways() -> None:
    create, delete = EC2Backend.create_nat_gateway, EC2Backend.delete_nat_gateway
    NatGateway.availability_mode = "zonal"

    def create_nat_gateway(self: Any, *arguments: Any, **more: Any) -> Any:
        gateway = create(self, *arguments, **more)
        gateway.address_set[0]["isPrimary"] = True
        return gateway

    def delete_nat_gateway(self: Any, nat_gateway_id: str) -> Any:
        """Its address and its interface go with it."""
        if nat_gateway_id not in self.nat_gateways:
            raise NatGatewayMissing(nat_gateway_id)
        gateway = delete(self, nat_gateway_id)
        for address in list(self.addresses):
            if address.eni is gateway._eni and address.association_id:
                self.disassociate_address(association_id=address.association_id)
        self.enis.pop(gateway._eni.id, None)
        return gateway

    EC2Backend.create_nat_gateway = create_nat_gateway
    EC2Backend.delete_nat_gateway = delete_nat_gateway
