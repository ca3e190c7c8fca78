from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.infra.capacity import MARKET, NOTE, TYPE, Came, came_of, fresh, keep, read, rows
from tasks.infra.pool import remember
from tests.support.heard import Heard

NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
REFUSED = ("NodeClaim: InsufficientCapacityError: InsufficientInstanceCapacity: no g6.xlarge",)


def came(refused: tuple[str, ...] = REFUSED, minutes: float = 10.0, **more: Any) -> Came:
    rung = {"instance_type": "g5.xlarge", "zone": "eu-west-1b", "market": "spot"}
    return Came(**rung | more, at=NOW - timedelta(minutes=minutes), refused=refused)


def a_claim(name: str, created: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created, "labels": labels}}


LAUNCHED = {TYPE: "g5.xlarge", "topology.kubernetes.io/zone": "eu-west-1b", MARKET: "spot"}


@pytest.mark.parametrize(
    ("last", "memory", "begins"),
    [
        (came(), 3600.0, True),
        (came(minutes=61.0), 3600.0, False),
        (came(refused=()), 3600.0, False),  # Karpenter's own order is the cheapest first
        (came(), 0.0, False),
        (None, 3600.0, False),
    ],
)
def test_the_next_run_begins_with_what_came_after_a_refusal_while_that_is_fresh(
    last: Came | None, memory: float, begins: bool
) -> None:
    assert (fresh(last, NOW, memory) is not None) is begins


def test_what_came_is_the_newest_node_claim_that_ec2_has_launched() -> None:
    claims = [
        a_claim("a", "2026-11-30T09:00:00Z", **{**LAUNCHED, TYPE: "g6.xlarge"}),
        a_claim("b", "2026-11-30T09:05:00Z", **LAUNCHED),
        a_claim("c", "2026-11-30T09:06:00Z"),  # not launched yet
    ]
    assert came_of(claims, list(REFUSED), NOW) == came(minutes=0)
    assert came_of(claims[2:], [], NOW) is None


class Cluster:
    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def patch(self, api: str, kind: str, name: str, body: Any) -> None:
        self.notes |= body["metadata"]["annotations"]


def test_it_is_kept_with_the_node_pool_and_read_again() -> None:
    cluster: Any = Cluster()
    keep(cluster, came())
    assert read({"metadata": {"annotations": cluster.notes}}) == came()


@pytest.mark.parametrize("text", ["", "{}", "no json"])
def test_what_cannot_be_read_is_no_memory(text: str) -> None:
    assert read({"metadata": {"annotations": {NOTE: text}}}) is None
    assert read(None) is None


def test_a_memory_that_held_keeps_its_age_and_goes_stale(heard: Heard) -> None:
    cluster: Any = Cluster()
    remember(cluster, came(refused=(), minutes=0), came(), heard)
    assert read({"metadata": {"annotations": cluster.notes}}) == came()
    remember(cluster, came(refused=(), minutes=0, zone="eu-west-1a"), came(), heard)
    assert read({"metadata": {"annotations": cluster.notes}}) == came((), 0, zone="eu-west-1a")


def test_the_table_says_what_was_tried_refused_and_had() -> None:
    found = rows(came(), list(REFUSED), [a_claim("slipway-gpu-b", "2026-11-30T09:05:00Z", **LAUNCHED)])
    assert [(row["step"], row["what"]) for row in found] == [
        ("begun with", "g5.xlarge in eu-west-1b, spot: it came last, at 09:50 UTC"),
        ("refused", REFUSED[0]),
        ("came", "slipway-gpu-b: g5.xlarge, eu-west-1b, spot"),
    ]
