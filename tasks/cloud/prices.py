"""Today's list prices of a region, from AWS's Price List Query API.

It is served in few regions; us-east-1 has the prices of all:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.config import Config

from tasks.cloud.aws import Aws

PRICING_REGION = "us-east-1"
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
