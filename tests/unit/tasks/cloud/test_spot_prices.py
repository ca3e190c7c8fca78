from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.cloud.spot_prices import SpotPrices

START = datetime(2026, 11, 30, tzinfo=UTC)
KIND = "g5.2xlarge"


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


PRICES = SpotPrices(
    {(KIND, "a"): ((at(-5), 1.0), (at(2), 3.0), (at(4), 2.0)), (KIND, "b"): ((at(-1), 0.5),)}, "no price"
)


@pytest.mark.parametrize(
    ("start", "end", "usd"),
    [
        (0, 2, 2.0),
        (0, 6, 2 * 1.0 + 2 * 3.0 + 2 * 2.0),
        (3, 3.5, 1.5),
        (2, 4, 6.0),
        (5, 6, 2.0),
        (-8, -7, 1.0),  # before the first change: its price
        (3, 3, 0.0),
    ],
)
def test_each_second_counts_at_its_own_price(start: float, end: float, usd: float) -> None:
    assert PRICES.usd(KIND, "a", at(start), at(end)) == pytest.approx(usd)


def test_a_type_or_zone_without_a_price_has_none() -> None:
    assert PRICES.usd(KIND, "c", START, at(1)) is None
    assert PRICES.now("p5.48xlarge", "a") is None


def test_the_newest_price_of_each_zone_cheapest_first() -> None:
    assert PRICES.zones(KIND) == {"b": 0.5, "a": 2.0}
    assert PRICES.now(KIND, "a") == 2.0
