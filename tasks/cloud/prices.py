"""Today's list prices of a region, from AWS's Price List Query API.

It is served in few regions; us-east-1 has the prices of all:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tasks.cloud.aws import Aws

PRICING_REGION = "us-east-1"
CONTROL_PLANE, EXTENDED, NAT = "control plane", "extended support", "NAT gateway"
# How each is sold: service, product family, the end of its usage type. Extended support is charged on top of the control
# plane. Usage types as bills show them: USE1-AmazonEKS-Hours:perCluster, USE1-AmazonEKS-Hours:extendedSupport (2026-09).
_SOLD_AS = {
    CONTROL_PLANE: ("AmazonEKS", "Compute", "AmazonEKS-Hours:perCluster"),
    EXTENDED: ("AmazonEKS", "Compute", "AmazonEKS-Hours:extendedSupport"),
    NAT: ("AmazonEC2", "NAT Gateway", "NatGateway-Hours"),
}
# of 100 products at most; a product family has some tens a region
PAGES = 5


def pricing(aws: Aws) -> Any:
    """A client that answers soon or not at all: no price is worth a long wait."""
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 2})
    return aws.session.client("pricing", region_name=PRICING_REGION, config=config)


def products(client: Any, service: str, **fields: str) -> Iterator[dict[str, Any]]:
    """The price list's products of a service (AmazonEC2, AmazonEKS) whose attributes are `fields`."""
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=service, Filters=filters, PaginationConfig={"MaxItems": PAGES * 100}
    )
    for page in pages:
        yield from (json.loads(product) for product in page["PriceList"])


def price_of(product: dict[str, Any]) -> float:
    """USD for one unit of a price list's product; GiB/s are converted to MiB/s. Raises KeyError, ValueError."""
    for term in product["terms"]["OnDemand"].values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"]["USD"])
            if usd:
                return usd / 1024 if str(dimension["unit"]).lower().startswith("gibps") else usd
    raise ValueError(f"{product['product'].get('sku')} has no price in USD")


def instance_hour(client: Any, kind: str, region: str) -> float | None:
    """USD an hour of an instance type with Linux, on demand; None where the list has none. Raises KeyError, ValueError."""
    found = None
    for product in products(
        client,
        "AmazonEC2",
        instanceType=kind,
        regionCode=region,
        operatingSystem="Linux",
        tenancy="Shared",
        preInstalledSw="NA",
        capacitystatus="Used",
    ):
        found = price_of(product)
    return found


def instance_price(aws: Aws, kind: str) -> float | None:
    """The same in the region of `aws`. Never raises: None where the Pricing API does not say."""
    try:
        return instance_hour(pricing(aws), kind, aws.region)
    except (ClientError, BotoCoreError, KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Prices:
    """USD an hour by CONTROL_PLANE, EXTENDED, NAT and instance type; `unknown`: why others are missing."""

    hour: Mapping[str, float]
    unknown: str = ""


def hourly(aws: Aws, kinds: Iterable[str]) -> Prices:
    """Today's list prices of what is sold by the hour, and of these instance types.

    Never raises: an unknown price carries its reason.
    """
    found: dict[str, float] = {}
    try:
        client = pricing(aws)
        for name, (service, family, usage) in _SOLD_AS.items():
            for product in products(client, service, productFamily=family, regionCode=aws.region):
                sold_as = str(product["product"]["attributes"].get("usagetype", ""))
                if sold_as == usage or sold_as.endswith(f"-{usage}"):
                    found[name] = price_of(product)
        for kind in kinds:
            if (usd := instance_hour(client, kind, aws.region)) is not None:
                found[kind] = usd
    except (ClientError, BotoCoreError) as error:
        return Prices(found, f"the Pricing API did not answer ({error})")
    except (KeyError, ValueError) as error:
        return Prices(found, f"the Pricing API's answer was not understood ({error!r})")
    return Prices(found, f"the Pricing API does not list it in {aws.region}")


@dataclass(frozen=True)
class WithinCeiling:
    """Instance types by `cluster.gpu.price_ceiling`: those that a node may be of, and the others, each with why not."""

    types: tuple[str, ...]
    left_out: tuple[str, ...]


def within_ceiling(types: Sequence[str], hour: Mapping[str, float], ceiling: float | None) -> WithinCeiling:
    """Which types cost no more than the ceiling; one whose price is not known does not count as within it. Pure.

    Args:
        hour: list prices on demand, by type. They stand for spot too: its price moves.
    """
    if ceiling is None:
        return WithinCeiling(tuple(types), ())
    kept = tuple(kind for kind in types if kind in hour and hour[kind] <= ceiling)
    prices = {kind: f"{hour[kind]:.3f} USD an hour" if kind in hour else "price unknown" for kind in types}
    return WithinCeiling(kept, tuple(f"{kind}: {prices[kind]}" for kind in types if kind not in kept))
