"""When Karpenter may take a node away, as tables: budgets and their schedules, what counts against them, pods' comings and goings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from slipway_sandbox.apiclient import Object
from slipway_sandbox.images.karpenter.budgets import allowed, is_active
from slipway_sandbox.images.karpenter.disruption import counted
from slipway_sandbox.images.karpenter.podevents import is_event

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("budgets", "nodes", "expected"),
    [
        (None, 15, 2),  # 10%, rounded up
        ([], 15, 15),
        ([{"nodes": "0"}], 15, 0),
        ([{"nodes": "3"}, {"nodes": "50%"}], 4, 2),
        ([{"nodes": "0", "reasons": ["Drifted"]}], 4, 4),
        ([{"nodes": "0", "reasons": ["Empty"]}], 4, 0),
        ([{"nodes": "0", "schedule": "0 12 * * *", "duration": "1h"}], 4, 0),
        ([{"nodes": "0", "schedule": "0 9 * * mon-fri", "duration": "8h"}], 4, 0),
        ([{"nodes": "0", "schedule": "0 9 * * sat,sun", "duration": "8h"}], 4, 4),
        ([{"nodes": "0", "schedule": "@daily", "duration": "1h"}], 4, 4),
    ],
)
def test_budgets(budgets: list[Object] | None, nodes: int, expected: int) -> None:
    assert allowed(budgets, "Empty", nodes, NOON) == expected


@pytest.mark.parametrize(
    ("schedule", "active"),
    [
        ("*/15 * * * *", True),
        ("31 12 * * *", False),
        ("30 12 4 * 0", True),
        ("0 0 1 1 *", False),
        ("29 12 * 3 3", True),
    ],
)
def test_a_schedule_is_cron(schedule: str, active: bool) -> None:
    assert is_active({"schedule": schedule, "duration": "5m"}, NOON) is active


def condition(kind: str, status: str = "True") -> Object:
    return {"type": kind, "status": status}


def member(*conditions: Object) -> Object:
    return {"status": {"conditions": list(conditions)}}


@pytest.mark.parametrize(
    ("claim", "node", "going", "expected"),
    [
        (member(condition("Initialized")), member(condition("Ready")), False, (1, 0)),
        (member(condition("Initialized")), member(condition("Ready")), True, (1, 1)),
        (member(condition("Initialized")), member(condition("Ready", "Unknown")), False, (1, 1)),
        (member(condition("Initialized", "Unknown")), member(condition("Ready")), False, (0, 0)),
        (
            member(condition("Initialized"), condition("InstanceTerminating")),
            member(condition("Ready")),
            True,
            (0, 0),
        ),
        (member(), None, False, (0, 0)),
    ],
)
def test_which_nodes_a_budget_is_of_and_which_use_it_up(
    claim: Object, node: Object | None, going: bool, expected: tuple[int, int]
) -> None:
    assert counted([(claim, node, going)]) == expected


WAITING: Object = {"spec": {"nodeName": "n"}, "metadata": {}, "status": {"phase": "Pending"}}
UNBOUND: Object = {**WAITING, "spec": {}}
RUNNING: Object = {**WAITING, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (UNBOUND, WAITING, True),
        (WAITING, RUNNING, False),
        (RUNNING, {**RUNNING, "status": {"phase": "Succeeded"}}, True),
        (RUNNING, {**RUNNING, "metadata": {"deletionTimestamp": "now"}}, True),
        (RUNNING, None, True),
        (None, RUNNING, True),
        (None, UNBOUND, False),
        (RUNNING, {**RUNNING, "metadata": {"ownerReferences": [{"kind": "DaemonSet"}]}}, False),
    ],
)
def test_what_counts_as_a_pods_coming_or_going(
    before: Object | None, after: Object | None, expected: bool
) -> None:
    assert is_event(before, after) is expected
