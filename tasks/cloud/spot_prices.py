"""What spot instances cost over a time, by EC2's price history: 90 days, by type and zone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from tasks.cloud.aws import Aws

# both names of Linux, as Karpenter asks (github.com/aws/karpenter-provider-aws, GetSpotPricing; read 2026-11)
PRODUCTS = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]
HOUR = 3600.0


@dataclass(frozen=True)
class SpotPrices:
    """By (type, zone): when each price began and USD an hour, oldest first. `unknown`: why others are missing."""

    changes: Mapping[tuple[str, str], tuple[tuple[datetime, float], ...]] = field(default_factory=dict)
    unknown: str = ""

    def now(self, kind: str, zone: str) -> float | None:
        """USD an hour by the newest price; None where there is none. Pure."""
        changes = self.changes.get((kind, zone))
        return changes[-1][1] if changes else None

    def zones(self, kind: str) -> dict[str, float]:
        """The newest price in each zone that has one, cheapest first. Pure."""
        found = {zone: changes[-1][1] for (each, zone), changes in self.changes.items() if each == kind}
        return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))

    def usd(self, kind: str, zone: str, start: datetime, end: datetime) -> float | None:
        """USD of one instance between two times, each second at the price of that second. Pure.

        A time before the first change counts at the first price. None where no price is known.
        """
        changes = self.changes.get((kind, zone))
        if not changes:
            return None
        begins = [start, *(at for at, _ in changes[1:]), end]
        spans = zip(itertools.pairwise(begins), changes, strict=True)
        return sum(
            _seconds(max(begin, start), min(until, end)) * usd / HOUR for (begin, until), (_, usd) in spans
        )


def spot_prices(aws: Aws, kinds: Iterable[str], since: datetime, until: datetime) -> SpotPrices:
    """Prices between two times, and the one that held at `since`. Never raises: what is missing has its reason.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
    """
    found: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
    wanted = sorted(set(kinds))
    if not wanted:
        return SpotPrices()
    try:
        pages = aws.client("ec2").get_paginator("describe_spot_price_history")
        for page in pages.paginate(
            InstanceTypes=wanted, ProductDescriptions=PRODUCTS, StartTime=since, EndTime=until
        ):
            for one in page["SpotPriceHistory"]:
                key = (str(one["InstanceType"]), str(one["AvailabilityZone"]))
                found.setdefault(key, []).append((one["Timestamp"], float(one["SpotPrice"])))
    except (ClientError, BotoCoreError) as error:
        return SpotPrices({}, f"EC2 did not tell spot prices ({error})")
    except (KeyError, ValueError) as error:
        return SpotPrices({}, f"EC2's answer about spot prices was not understood ({error!r})")
    changes = {key: tuple(sorted(each)) for key, each in found.items()}
    return SpotPrices(changes, f"EC2 has no spot price of it in {aws.region}")


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
