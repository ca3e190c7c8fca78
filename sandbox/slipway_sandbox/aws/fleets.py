"""CreateFleet of type `instant`, as Karpenter asks for it: the cheapest override that EC2 has capacity for is launched.

moto's own fleet takes any override and knows no failure. Here each override is tried in the order of its price and counts against
capacity and quotas; what was refused stands in `Errors`, as EC2 tells it
(docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html). The order is that of the allocation strategy
`lowest-price`; spot's `price-capacity-optimized` takes the same one, on-demand prices in the place of spot prices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.fleets import random_fleet_id
from moto.ec2.responses import EC2Response

from slipway_sandbox.aws.pricing import TABLE
from slipway_sandbox.aws.wire import Document


@dataclass(frozen=True)
class Request:
    """What every instance of one fleet has in common."""

    lifecycle: str  # "spot" or "on-demand"
    tags: Mapping[str, Mapping[str, str]]  # by resource type


def extend() -> None:
    """Give moto's EC2 the instant fleet; other types stay moto's."""
    others = EC2Response.create_fleet

    def create_fleet(self: Any) -> Any:
        if self._get_param("Type") != "instant":
            return others(self)
        self.error_on_dryrun()
        wanted = self._get_param("TargetCapacitySpecification", {})
        request = Request(
            lifecycle=wanted.get("DefaultTargetCapacityType") or "on-demand",
            tags={
                each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
                for each in self._get_param("TagSpecifications", [])
            },
        )
        overrides = by_price(self._get_param("LaunchTemplateConfigs", []))
        launched, errors = launch(self.ec2_backend, overrides, int(wanted["TotalTargetCapacity"]), request)
        return ActionResult({"FleetId": random_fleet_id(), "Instances": launched, "Errors": errors})

    EC2Response.create_fleet = create_fleet


def by_price(configs: list[Document]) -> list[tuple[Document, Document]]:
    """(launch template, override) pairs, the cheapest type first; a type without a price comes last."""
    pairs = [
        (config["LaunchTemplateSpecification"], override)
        for config in configs
        for override in config.get("Overrides") or [{}]
    ]
    return sorted(pairs, key=lambda pair: price_of(pair[1].get("InstanceType", "")))


def price_of(instance_type: str) -> float:
    """USD an hour on demand in the table's first region."""
    row = TABLE["instances"].get(instance_type)
    return float(row["usd"]) if row else math.inf


def launch(
    backend: Any, pairs: list[tuple[Document, Document]], count: int, request: Request
) -> tuple[list[Document], list[Document]]:
    """(Instances, Errors): `count` instances of the first override that can be had."""
    errors: list[Document] = []
    for template, override in pairs:
        about = {
            "LaunchTemplateAndOverrides": {"LaunchTemplateSpecification": template, "Overrides": override},
            "Lifecycle": request.lifecycle,
        }
        try:
            instances = _run(backend, template, override, count, request)
        except EC2ClientError as error:
            errors.append(about | {"ErrorCode": error.code, "ErrorMessage": error.message})
            continue
        kind = {"InstanceIds": [i.id for i in instances], "InstanceType": instances[0].instance_type}
        return [about | kind], errors
    return [], errors


def _run(backend: Any, template: Document, override: Document, count: int, request: Request) -> list[Any]:
    """The instances. Raises EC2ClientError where EC2 has none to give."""
    kind = override.get("InstanceType") or ""  # the template's where the override names none
    market: Document = {"instance_market_options": "spot"} if request.lifecycle == "spot" else {}
    named = {key: value for key, value in template.items() if value}
    reservation = backend.run_instances(
        image_id=override.get("ImageId") or "",
        count=count,
        user_data=None,
        security_group_names=[],
        launch_template=named,
        instance_type=kind or "m1.small",  # EC2's own default
        is_instance_type_default=not kind,
        subnet_id=override.get("SubnetId"),
        region_name=backend.region_name,
        tags={name: dict(tags) for name, tags in request.tags.items()},
        **market,
    )
    return list(reservation.instances)
