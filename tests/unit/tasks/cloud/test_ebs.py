from __future__ import annotations

import pytest

from tasks.cloud.aws import Aws
from tasks.cloud.ebs import EbsPrices, ebs_prices
from tasks.cloud.prices import price_of

KNOWN = EbsPrices(
    gib_month=0.1, iops_month=0.01, mib_s_month=0.05, snapshot_gib_month=0.05, fast_restore_hour=0.75
)


@pytest.mark.parametrize(
    ("gib", "iops", "mib_s", "usd"),
    [(100, 3000, 125, 10.0), (100, 4000, 125, 20.0), (100, 3000, 225, 15.0), (0, 0, 0, 0.0)],
)
def test_a_volume_costs_its_gib_and_what_is_above_the_free_figures(
    gib: int, iops: int, mib_s: int, usd: float
) -> None:
    assert KNOWN.volume(gib, iops, mib_s) == pytest.approx(usd)


def test_a_price_of_which_a_part_is_unknown_is_unknown_and_says_why() -> None:
    prices = EbsPrices(gib_month=0.1, unknown="nobody answers")
    assert prices.volume(10, 3000, 125) is None
    assert prices.told(prices.volume(10, 3000, 125)) == "price unknown: nobody answers"
    assert KNOWN.told(KNOWN.snapshot(10)) == "0.50 USD a month"
    assert KNOWN.fast_restore(2) == pytest.approx(2 * 730 * 0.75)


def test_what_is_sold_by_gib_a_second_is_priced_by_mib_a_second() -> None:
    dimension = {"unit": "GiBps-mo", "pricePerUnit": {"USD": "40.96"}}
    product = {"product": {}, "terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}}}
    assert price_of(product) == pytest.approx(0.04)


def test_a_pricing_api_that_is_not_there_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "did not answer" in ebs_prices(Aws("us-east-1")).unknown
