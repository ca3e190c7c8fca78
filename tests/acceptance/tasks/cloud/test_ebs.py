from __future__ import annotations

import pytest
from slipway_sandbox.testing import Sandbox

from tasks.cloud.aws import Aws
from tasks.cloud.ebs import ebs_prices, read_ceiling, set_fast_restore
from tests.support.clouds import aws_over


def test_every_price_is_read_from_the_pricing_api_also_in_a_region_with_a_prefix(
    sandbox_aws: Sandbox,
) -> None:
    here = ebs_prices(aws_over(sandbox_aws))
    assert None not in (here.volume(1, 1, 1), here.snapshot(1), here.fast_restore(1))
    there = ebs_prices(aws_over(sandbox_aws, "eu-west-1"))
    assert there.gib_month
    assert here.gib_month
    assert there.gib_month > here.gib_month


def test_a_region_without_prices_says_so(sandbox_aws: Sandbox) -> None:
    prices = ebs_prices(aws_over(sandbox_aws, "eu-central-1"))
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
