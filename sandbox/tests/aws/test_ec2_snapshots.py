"""EBS snapshots: pending before they are complete, and as large as their volume was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from slipway_sandbox.aws.ec2_snapshots import progress
from tests.aws.conftest import Aws, until

THEN = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "seconds", "percent"), [(0, 4, 0), (1, 4, 25), (4, 4, 100), (9, 4, 100), (0, 0, 100)]
)
def test_a_snapshot_progresses_with_time(passed: int, seconds: float, percent: int) -> None:
    assert progress(THEN, THEN + timedelta(seconds=passed), seconds) == percent


def test_a_snapshot_is_pending_then_completed_and_keeps_its_size(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=3)["VolumeId"]
    made = ec2.create_snapshot(VolumeId=volume)
    assert made["State"] == "pending"

    def shown() -> dict[str, object]:
        found: dict[str, object] = ec2.describe_snapshots(SnapshotIds=[made["SnapshotId"]])["Snapshots"][0]
        return found

    until(lambda: shown()["State"] == "completed")
    ec2.modify_volume(VolumeId=volume, Size=9)
    assert (shown()["VolumeSize"], shown()["Progress"]) == (3, "100%")
