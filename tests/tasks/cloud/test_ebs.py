from __future__ import annotations

import pytest

from sandbox.settings import ACCESS_KEY, SECRET_KEY
from tasks.cloud.aws import Aws
from tasks.cloud.ebs import EbsPrices, ebs_prices, price_of, read_ceiling, set_fast_restore

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


@pytest.fixture
def pricing(stage_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client that is made now reads, for the AWS of `stage_aws`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", stage_aws.client("ec2").meta.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)


@pytest.mark.usefixtures("pricing")
def test_every_price_is_read_from_the_pricing_api_also_in_a_region_with_a_prefix() -> None:
    here = ebs_prices(Aws("us-east-1"))
    assert None not in (here.volume(1, 1, 1), here.snapshot(1), here.fast_restore(1))
    there = ebs_prices(Aws("eu-west-1"))
    assert there.gib_month
    assert here.gib_month
    assert there.gib_month > here.gib_month


@pytest.mark.usefixtures("pricing")
def test_a_region_without_prices_says_so() -> None:
    prices = ebs_prices(Aws("eu-central-1"))
    assert prices.gib_month is None
    assert "lists no gib_month" in prices.unknown


def test_a_pricing_api_that_is_not_there_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert "did not answer" in ebs_prices(Aws("us-east-1")).unknown


def test_what_an_instance_reads_from_ebs_is_ec2s_figure_in_mib(stage_aws: Aws) -> None:
    assert read_ceiling(stage_aws, "g5.2xlarge") == pytest.approx(437.5e6 / 2**20)


def test_fast_restore_is_switched_on_and_off(stage_aws: Aws) -> None:
    ec2 = stage_aws.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]

    def zones() -> list[str]:
        mine = [{"Name": "snapshot-id", "Values": [snapshot]}]
        found = ec2.describe_fast_snapshot_restores(Filters=mine)["FastSnapshotRestores"]
        return [each["AvailabilityZone"] for each in found]

    set_fast_restore(stage_aws, snapshot, ["us-east-1a", "us-east-1b"], [])
    assert zones() == ["us-east-1a", "us-east-1b"]
    set_fast_restore(stage_aws, snapshot, [], ["us-east-1a"])
    assert zones() == ["us-east-1b"]
