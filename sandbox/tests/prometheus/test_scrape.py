"""Scraping a real page over HTTP."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp
import pytest

from slipway_sandbox.images.prometheus import evaluate
from slipway_sandbox.images.prometheus.discovery import targets
from slipway_sandbox.images.prometheus.exposition import Malformed, samples
from slipway_sandbox.images.prometheus.promql import parse
from slipway_sandbox.images.prometheus.scrape import Scraper, State
from slipway_sandbox.images.prometheus.storage import Storage
from tests.prometheus.conftest import PAGE, Page, cluster, pod, pod_monitor


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def state_of(page: Page, **endpoint: Any) -> State:
    (target,) = targets(cluster(pod("p", page.address), monitor=pod_monitor(endpoint)), 0.5)
    return State(target)


def ask(storage: Storage, query: str, time: float) -> list[tuple[dict[str, str], float]]:
    value = evaluate.instant(storage, parse(query), time)
    assert isinstance(value, list)
    return [(dict(point.labels), point.value) for point in value if isinstance(point, evaluate.Point)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def scraper(storage: Storage, session: aiohttp.ClientSession, clock: Clock) -> Scraper:
    return Scraper(storage, session, clock)


async def test_samples_carry_the_targets_labels(
    page: Page, scraper: Scraper, storage: Storage, clock: Clock
) -> None:
    await scraper.scrape(state_of(page))
    ((labels, value),) = ask(storage, "vllm:num_requests_waiting", clock.now)
    assert value == 3
    assert labels["pod"] == "p" and labels["model_name"] == "tiny"
    ((_, up),) = ask(storage, 'up{job="llm/vllm"}', clock.now)
    assert up == 1


@pytest.mark.parametrize(("honor", "expected"), [(False, ("llm", "its-own")), (True, ("its-own", None))])
async def test_a_label_of_the_page_that_the_target_has_too(
    page: Page,
    scraper: Scraper,
    storage: Storage,
    clock: Clock,
    honor: bool,
    expected: tuple[str, str | None],
) -> None:
    await scraper.scrape(state_of(page, honorLabels=honor))
    ((labels, value),) = ask(storage, "odd", clock.now)
    assert math.isinf(value)
    assert (labels["namespace"], labels.get("exported_namespace")) == expected


async def test_a_failing_page_is_down_and_its_series_end(
    page: Page, scraper: Scraper, storage: Storage, clock: Clock
) -> None:
    state = state_of(page)
    await scraper.scrape(state)
    page.status = 500
    clock.now += 1
    await scraper.scrape(state)
    assert ask(storage, "vllm:num_requests_waiting", clock.now) == []
    assert [value for _, value in ask(storage, "up", clock.now)] == [0]


async def test_a_series_the_page_no_longer_has_ends(
    page: Page, scraper: Scraper, storage: Storage, clock: Clock
) -> None:
    state = state_of(page)
    await scraper.scrape(state)
    page.text = PAGE.partition("odd")[0]
    clock.now += 1
    await scraper.scrape(state)
    assert ask(storage, "odd", clock.now) == []
    assert ask(storage, "vllm:num_requests_waiting", clock.now)


async def test_a_page_that_is_no_metrics_page_is_down(
    page: Page, scraper: Scraper, storage: Storage, clock: Clock
) -> None:
    page.text = "<html>"
    await scraper.scrape(state_of(page))
    assert [value for _, value in ask(storage, "up", clock.now)] == [0]


async def test_the_path_and_parameters_are_asked_for(page: Page, scraper: Scraper) -> None:
    await scraper.scrape(state_of(page, path="/deep", params={"a": ["1"]}))
    assert page.asked == ["/deep?a=1"]


async def test_a_target_that_disappears_ends_its_series(
    page: Page, scraper: Scraper, storage: Storage, clock: Clock
) -> None:
    """Also where it is found gone in the millisecond of its last sample: the clock stands."""
    await scraper.update(
        targets(cluster(pod("p", page.address), monitor=pod_monitor({"interval": "100ms"})), 0.05)
    )
    await asyncio.wait_for(page.thrice.wait(), 5)
    assert ask(storage, "up", clock.now)
    await scraper.update([])
    stopped = len(page.asked)
    assert ask(storage, "up", clock.now + 0.001) == []
    await asyncio.sleep(0.2)
    assert len(page.asked) == stopped


def test_the_text_format() -> None:
    ((name, labels, value), (_, odd, _)) = samples(PAGE)
    assert (name, value) == ("vllm:num_requests_waiting", 3.0)
    assert labels == {"engine": "0", "model_name": "tiny"}
    assert odd["text"] == 'a"b\\c\nd, }'


@pytest.mark.parametrize("line", ["a{b=c} 1", "a", 'a{b="c" 1', "a one", "1a 2"])
def test_what_is_not_the_text_format(line: str) -> None:
    with pytest.raises(Malformed):
        list(samples(line))
