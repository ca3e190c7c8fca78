"""GPUs go only where it is proven that nobody uses them, and come back when they are asked for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from slipway_sandbox.testing import Faults

from tests.support.commands import ENVIRONMENT, Region

IDLE = ("scale-down", "tiny-llama", "-e", ENVIRONMENT)
IDLE_SECONDS = 7.0  # the model's idle_after, and the scrapes until the last request is seen

pytestmark = pytest.mark.usefixtures("deployed")


def gpu_nodes(region: Region) -> int:
    group = region.client("eks").describe_nodegroup(clusterName="slipway-sandbox", nodegroupName="gpu")
    return int(group["nodegroup"]["scalingConfig"]["desiredSize"])


@contextmanager
def traffic(region: Region) -> Iterator[None]:
    """A request, and then the next."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            region.complete()
            stop.wait(0.1)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    time.sleep(3)  # a scrape or two must see it
    yield
    stop.set()
    asking.join(10)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("metrics-down", "Prometheus does not answer: not taken for idle"),
        ("metrics-empty", "no series: not taken for idle"),
    ],
)
def test_without_metrics_nothing_is_scaled_down(
    region: Region, faults: Faults, fault: str, said: str
) -> None:
    faults.set(fault)
    done = region.run(*IDLE)
    assert said in done.output
    assert "scaled to zero" not in done.output
    assert "Traceback" not in done.output
    assert gpu_nodes(region) == 1


def test_with_traffic_nothing_is_scaled_down(region: Region) -> None:
    with traffic(region):
        done = region.run(*IDLE).succeeded()
    assert ": left: " in done.output
    assert gpu_nodes(region) == 1


def test_an_idle_model_gives_its_gpus_away_and_a_wake_brings_them_back(region: Region) -> None:
    time.sleep(IDLE_SECONDS)
    assert "scaled to zero" in region.run(*IDLE).succeeded().output
    assert gpu_nodes(region) == 0
    woken = region.run("wake", "tiny-llama", "-e", ENVIRONMENT).succeeded().output
    assert "answers" in woken
    assert re.search(r"cold start of release \w+: scheduled .* in all, last time", woken)
    assert region.complete()
