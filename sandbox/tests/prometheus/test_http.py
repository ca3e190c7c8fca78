"""Prometheus's HTTP API as a client sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.prometheus.http import Api, number
from slipway_sandbox.images.prometheus.storage import Storage
from tests.prometheus.conftest import serve

NOW = 1_700_000_000.0


@pytest.fixture
async def url(session: aiohttp.ClientSession, faults: Faults) -> AsyncIterator[str]:
    storage = Storage()
    for n in range(10):
        labels = (("__name__", "requests_total"), ("pod", "a"))
        storage.append(NOW - 9 + n + 0.1234, [(labels, 10.0 * n)])
    api = Api(storage, faults, lambda: NOW + 1)
    runner, port = await serve(api.application())
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def ask(session: aiohttp.ClientSession, url: str, **parameters: str) -> tuple[int, Any]:
    async with session.get(url, params=parameters) as answer:
        return answer.status, await answer.json()


async def test_an_instant_query(session: aiohttp.ClientSession, url: str) -> None:
    status, body = await ask(session, url + "/api/v1/query", query="requests_total", time=str(NOW + 0.5))
    assert status == 200
    assert body == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [
                {"metric": {"__name__": "requests_total", "pod": "a"}, "value": [NOW + 0.5, "90"]},
            ],
        },
    }


async def test_a_range_selector_answers_a_matrix_of_raw_samples(
    session: aiohttp.ClientSession, url: str
) -> None:
    _, body = await ask(session, url + "/api/v1/query", query="requests_total[2s]")
    assert body["data"]["resultType"] == "matrix"
    assert body["data"]["result"][0]["values"] == [[NOW - 1 + 0.123, "80"], [NOW + 0.123, "90"]]


async def test_a_form_by_post(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url + "/api/v1/query", data={"query": "vector(1)"}) as answer:
        assert (await answer.json())["data"]["result"][0]["value"][1] == "1"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"query": "sum("}, 'invalid parameter "query": parse error'),
        ({"query": "up", "time": "soon"}, 'cannot parse "soon" to a valid timestamp'),
    ],
)
async def test_bad_requests(
    session: aiohttp.ClientSession, url: str, parameters: dict[str, str], message: str
) -> None:
    status, body = await ask(session, url + "/api/v1/query", **parameters)
    assert (status, body["status"], body["errorType"]) == (400, "error", "bad_data")
    assert message in body["error"]


async def test_fault_metrics_down(session: aiohttp.ClientSession, url: str, faults: Faults) -> None:
    faults.set("metrics-down")
    status, body = await ask(session, url + "/api/v1/query", query="1")
    assert (status, body["errorType"]) == (503, "unavailable")


async def test_fault_metrics_empty(session: aiohttp.ClientSession, url: str, faults: Faults) -> None:
    faults.set("metrics-empty")
    status, body = await ask(session, url + "/api/v1/query", query="requests_total")
    assert (status, body["data"]["result"]) == (200, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (0.5, "0.5"),
        (1e21, "1" + "0" * 21),
        (1e-7, "0.0000001"),
        (float("-inf"), "-Inf"),
        (100.0, "100"),
    ],
)
def test_numbers_are_written_without_exponent(value: float, text: str) -> None:
    assert number(value) == text


async def test_ready_and_healthy(session: aiohttp.ClientSession, url: str) -> None:
    for path in ("healthy", "ready"):
        async with session.get(f"{url}/-/{path}") as answer:
            assert answer.status == 200


async def test_a_large_matrix_takes_little_time_to_answer(
    session: aiohttp.ClientSession, faults: Faults
) -> None:
    storage = Storage()
    labels = [(("__name__", "m"), ("n", str(n))) for n in range(200)]
    for n in range(600):
        storage.append(NOW - 600 + n, [(each, float(n)) for each in labels])
    api = Api(storage, faults, lambda: NOW)
    runner, port = await serve(api.application())
    try:
        began = time.process_time()
        _, body = await ask(session, f"http://127.0.0.1:{port}/api/v1/query", query="m[10m]")
        assert sum(len(series["values"]) for series in body["data"]["result"]) >= 119_000
        assert time.process_time() - began < 5
    finally:
        await runner.cleanup()
