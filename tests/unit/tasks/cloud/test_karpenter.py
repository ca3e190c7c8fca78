from __future__ import annotations

from typing import Any

import pytest

from tasks.cloud.karpenter import cause_of, lacking, refused_claims, unschedulable

EARLY, SINCE, LATE = "2026-11-29T10:00:00Z", "2026-11-29T10:00:30Z", "2026-11-29T10:01:00Z"
NO_CAPACITY = (
    "insufficient capacity, with fleet error(s), InsufficientInstanceCapacity: We currently do not have sufficient "
    "g5.2xlarge capacity in the Availability Zone you requested"
)


def event(name: str, reason: str, message: str, at: str = LATE) -> dict[str, Any]:
    return {
        "involvedObject": {"name": name},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
    }


def test_what_ec2_refused_a_claim_that_is_gone_is_told_once() -> None:
    events = [
        event(
            f"slipway-gpu-{n}", "InsufficientCapacityError", f"NodeClaim slipway-gpu-{n} event: {NO_CAPACITY}"
        )
        for n in range(3)
    ]
    assert refused_claims(events, [], SINCE) == [f"NodeClaim: InsufficientCapacityError: {NO_CAPACITY}"]


@pytest.mark.parametrize(
    "seen",
    [
        event("slipway-gpu-a", "InsufficientCapacityError", NO_CAPACITY, EARLY),  # of an earlier wait
        event("others-a", "InsufficientCapacityError", NO_CAPACITY),
        event("slipway-gpu-a", "DisruptionTerminating", "Disrupting NodeClaim: Empty"),
    ],
)
def test_what_says_nothing_of_this_wait_is_passed_over(seen: dict[str, Any]) -> None:
    assert refused_claims([seen], [], SINCE) == []


def test_a_claim_that_is_there_and_fails_to_launch_says_why() -> None:
    launched = {
        "type": "Launched",
        "status": "Unknown",
        "reason": "LaunchFailed",
        "message": "UnauthorizedOperation",
    }
    claim = {"metadata": {"name": "slipway-gpu-a"}, "status": {"conditions": [launched]}}
    assert refused_claims([], [claim], SINCE) == ["NodeClaim: LaunchFailed: UnauthorizedOperation"]


def test_only_karpenters_last_word_on_a_pod_counts_and_not_the_schedulers() -> None:
    events = [
        event(
            "pod",
            "FailedScheduling",
            "Failed to schedule pod, node limits have been exhausted for nodepool",
            LATE,
        ),
        event("pod", "FailedScheduling", "Failed to schedule pod, something else", SINCE),
        event("pod", "FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", LATE),
        event("other", "FailedScheduling", "Failed to schedule pod, something else", LATE),
    ]
    assert unschedulable(events, {"pod"}, SINCE) == [
        "Karpenter: node limits have been exhausted for nodepool"
    ]


def test_conditions_that_do_not_hold_are_told_and_ready_is_not_repeated() -> None:
    conditions = [
        {"type": "SubnetsReady", "status": "True"},
        {"type": "InstanceProfileReady", "status": "False", "reason": "Failed", "message": "no role x"},
        {"type": "Ready", "status": "False", "reason": "NotReady", "message": "InstanceProfileReady=False"},
    ]
    assert lacking({"status": {"conditions": conditions}}, "EC2NodeClass a") == [
        "EC2NodeClass a: InstanceProfileReady: Failed: no role x"
    ]
    assert lacking({"status": {}}, "NodePool a") == ["NodePool a: Karpenter has not looked at it yet"]
    assert lacking(None, "NodePool a") == ["there is no NodePool a"]


@pytest.mark.parametrize(
    ("line", "cause", "command"),
    [
        (f"NodeClaim: InsufficientCapacityError: {NO_CAPACITY}", "EC2 has no capacity", "alternative_types"),
        (
            "NodeClaim: InsufficientCapacityError: insufficient capacity, with fleet error(s), VcpuLimitExceeded: You have "
            "requested more vCPU capacity than your current vCPU limit of 8 allows",
            "vCPU quota",
            "service-quotas",
        ),
        (
            "Karpenter: all available instance types exceed limits for nodepool (NodePool=slipway-gpu)",
            "at its limit, cluster.gpu.max",
            "environments/prod.yaml",
        ),
        (
            "Karpenter: node limits have been exhausted for nodepool (NodePool=slipway-gpu)",
            "at its limit, cluster.gpu.max",
            "cluster.gpu.max",
        ),
        (
            "Karpenter: no instance type met the scheduling requirements or had enough resources, Insufficient memory",
            "has room for a replica",
            "cluster.gpu.instance_type",
        ),
        (
            "EC2NodeClass slipway-gpu: InstanceProfileReady: InstanceProfileCreationFailed: An error occurred (NoSuchEntity)",
            "a role of Karpenter's is missing",
            "slipway drift -e prod",
        ),
        (
            "NodeClaim: LaunchFailed: UnauthorizedOperation: You are not authorized to perform this operation",
            "may not do it",
            "slipway drift -e prod",
        ),
        (
            "EC2NodeClass slipway-gpu: SubnetsReady: SubnetsNotFound: SubnetSelector did not match any Subnets",
            "cannot use the NodePool",
            "kubectl describe nodepool",
        ),
        ("Karpenter: something new", "Karpenter makes none", "logs deploy/karpenter"),
    ],
)
def test_what_karpenter_says_is_a_cause_with_a_next_command(line: str, cause: str, command: str) -> None:
    said, then = cause_of([line], "prod")
    assert cause in said
    assert command in then
