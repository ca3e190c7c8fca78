"""What `slipway status` reports as paid is what an independent meter of the sandbox's EC2 counted, within one percent."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tasks.cloud.prices import instance_hour
from tests.support.clock import until
from tests.support.project import ENVIRONMENT, Project

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("serving")]

MODEL, GPU = "tiny-llama", "g5.2xlarge"
IDLE_SECONDS = 120.0
# EC2 tells launches and ends by the second, which are one percent of this much
GPU_SECONDS = 250.0


class Metering:
    """Counts the instances that run, some times a second."""

    def __init__(self, project: Project) -> None:
        self._ec2, self._over = project.client("ec2"), threading.Event()
        self.seen: list[tuple[float, Counter[str]]] = []
        self._thread = threading.Thread(target=self._count, daemon=True)

    def _count(self) -> None:
        while not self._over.wait(0.1):
            pages = self._ec2.get_paginator("describe_instances").paginate()
            states = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
            running = Counter(
                i["InstanceType"] for i in states if i["State"]["Name"] in ("pending", "running")
            )
            self.seen.append((time.time(), running))

    def __enter__(self) -> Metering:
        self._thread.start()
        return self

    def __exit__(self, *of: object) -> None:
        self._over.set()
        self._thread.join(30)

    def seconds(self, start: float, end: float) -> dict[str, float]:
        """Instance seconds by type between two times."""
        found: dict[str, float] = {}
        for (at, running), (later, _) in itertools.pairwise(self.seen):
            lasted = min(later, end) - max(at, start)
            for kind, count in running.items():
                found[kind] = found.get(kind, 0.0) + max(0.0, lasted) * count
        return found


@pytest.fixture
def metering(project: Project, serving: str) -> Iterator[Metering]:
    with Metering(project) as made:
        yield made


def reported(project: Project) -> dict[str, Any]:
    done = project.run("status", "-e", ENVIRONMENT, "--json").succeeded()
    (found,) = json.loads(done.output[done.output.index("{\n") :])["environments"]
    day: dict[str, Any] = found["last_24_hours"]
    return day


def moment(day: dict[str, Any]) -> float:
    return datetime.fromisoformat(day["until"]).timestamp()


def test_reported_and_metered_agree_within_one_percent(project: Project, metering: Metering) -> None:
    until(lambda: len(metering.seen) > 1, 60)
    before = reported(project)
    # the flow of the schedule keeps what ended
    deadline = time.monotonic() + IDLE_SECONDS
    while "scaled to zero" not in project.run("idle", "-e", ENVIRONMENT).succeeded().output:
        assert time.monotonic() < deadline, "nobody asked it, and it was not idle"
    asleep = reported(project)
    project.run("wake", MODEL, "-e", ENVIRONMENT).succeeded()
    begun = moment(before)
    until(lambda: metering.seconds(begun, time.time()).get(GPU, 0.0) > GPU_SECONDS, 600)
    after = reported(project)

    counted = metering.seconds(begun, moment(after))
    hours = {kind: after["instance_hours"][kind] - before["instance_hours"][kind] for kind in counted}
    for kind, seconds in counted.items():
        assert hours[kind] * 3600 == pytest.approx(seconds, rel=0.01), kind
    pricing = project.client("pricing")
    prices = {kind: instance_hour(pricing, kind, "us-east-1") or 0.0 for kind in counted}
    assert all(prices.values())
    metered = sum(seconds / 3600 * prices[kind] for kind, seconds in counted.items())
    assert after["paid_usd"] - before["paid_usd"] == pytest.approx(metered, rel=0.01)
    assert after["at_least"] is False
    # while it slept one node less ran than its one replica needs
    assert after["saved_usd"] > asleep["saved_usd"] or asleep["saved_usd"] > before["saved_usd"]
