from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud.instances import instances_of
from tests.support.builders import an_environment

LAUNCHED = datetime(2026, 11, 30, 9, tzinfo=UTC)
ENDED = datetime(2026, 11, 30, 12, 1, 2, tzinfo=UTC)


class Ec2:
    """DescribeInstances as AWS answers it, which a filter by the cluster's tag selects."""

    def __init__(self, **by_tag: list[dict[str, Any]]) -> None:
        self.by_tag, self.asked = by_tag, []  # type: ignore[var-annotated]

    def client(self, service: str) -> Ec2:
        return self

    def get_paginator(self, operation: str) -> Ec2:
        return self

    def paginate(self, Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N803
        self.asked.append(Filters)
        found = self.by_tag["managed" if Filters[0]["Name"] == "tag:eks:cluster-name" else "karpenter"]
        return [{"Reservations": [{"Instances": found}]}]


def described(identity: str, state: str = "running", reason: str = "") -> dict[str, Any]:
    return {
        "InstanceId": identity,
        "InstanceType": "g5.2xlarge",
        "LaunchTime": LAUNCHED,
        "Placement": {"AvailabilityZone": "us-east-1a"},
        "State": {"Name": state},
        "StateTransitionReason": reason,
    }


@pytest.mark.parametrize(
    ("state", "reason", "runs", "ended"),
    [
        ("pending", "", True, None),
        ("running", "", True, None),
        ("shutting-down", "User initiated (2026-11-30 12:01:02 GMT)", False, ENDED),
        ("terminated", "User initiated (2026-11-30 12:01:02 UTC)", False, ENDED),
        ("terminated", "Server.SpotInstanceTermination: Instance was terminated", False, None),
    ],
)
def test_an_instance_that_ended_says_when(
    state: str, reason: str, *, runs: bool, ended: datetime | None
) -> None:
    aws: Any = Ec2(managed=[described("i-1", state, reason)], karpenter=[])
    (found,) = instances_of(an_environment(), aws)
    assert (found.runs, found.ended_at, found.launched_at) == (runs, ended, LAUNCHED)


def test_nodes_of_either_provisioner_are_found_once() -> None:
    both = described("i-1")
    aws: Any = Ec2(managed=[both], karpenter=[both, described("i-2")])
    assert [one.id for one in instances_of(an_environment(), aws)] == ["i-1", "i-2"]


def test_in_a_cluster_that_exists_only_our_own_count() -> None:
    aws: Any = Ec2(managed=[], karpenter=[])
    instances_of(an_environment(existing={"cluster": "theirs"}), aws)
    assert {each["Name"] for filters in aws.asked for each in filters} == {
        "tag:eks:cluster-name",
        "tag:eks:eks-cluster-name",
        "tag:slipway:environment",
    }
