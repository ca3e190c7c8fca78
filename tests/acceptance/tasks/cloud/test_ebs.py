from __future__ import annotations

import pytest
from slipway_sandbox.settings import ACCESS_KEY, SECRET_KEY

from tasks.cloud.aws import Aws
from tasks.cloud.ebs import ebs_prices, read_ceiling, set_fast_restore


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
