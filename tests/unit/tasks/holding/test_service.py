"""Requests are held over real HTTP while a model wakes, and every one of them hears what became of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tasks.holding.waking import Wake
from tests.support.holding import MODEL, Cluster, Holding, holding, reached


async def held(one: Holding, *, stream: bool = False, count: int = 1) -> list[asyncio.Task[httpx.Response]]:
    """Requests that have a place, each in a task."""
    tasks = [asyncio.create_task(one.ask(stream=stream)) for _ in range(count)]
    await reached(lambda: one.held == count and one.cluster.wakes)
    return tasks


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """OpenAI's error object."""
    found: dict[str, Any] = json.loads(answer.content)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


async def test_a_request_to_a_sleeping_model_wakes_it_and_is_answered() -> None:
    async with holding() as one:
        [asking] = await held(one)
        looks = one.cluster.looks
        await reached(lambda: one.cluster.looks > looks)
        one.cluster.ready = [one.engine_address]
        answer = await asking
    assert answer.json()["choices"] == [{"text": "yes"}]
    assert answer.content.startswith(b" ")  # heartbeats: white space before JSON
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert one.cluster.wakes == 1


async def test_many_requests_wake_it_once_and_all_are_answered() -> None:
    async with holding() as one:
        asking = [*await held(one, count=30)]
        one.cluster.ready = [one.engine_address]
        answers = await asyncio.gather(*asking)
    assert sorted(answer.json()["id"] for answer in answers) == list(range(1, 31))
    assert one.cluster.wakes == 1
    assert one.held == 0


class ByFlow(Cluster):
    """Its replicas are the part of a flow's run: it sleeps on while it is asked for."""

    def wake(self, model: str, replicas: int) -> Wake:
        self.wakes += 1
        return self.last_wake(model)


async def test_a_wake_by_a_flow_is_told_once_however_often_it_is_looked_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="holder")
    async with holding(cluster=ByFlow(expected=2e9)) as one:
        [asking] = await held(one)
        await reached(lambda: one.cluster.wakes >= 3)
        one.cluster.ready = [one.engine_address]
        await asking
    assert caplog.text.count("woken for") == 1


async def test_a_stream_gets_comments_and_then_the_events_as_they_come() -> None:
    async with holding(cluster=Cluster(expected=2e9)) as one:
        async with one.client.stream(
            "POST", "/v1/chat/completions", json={"model": MODEL, "stream": True}
        ) as answer:
            parts = answer.aiter_text()
            heard = await anext(parts)
            assert heard.startswith(f": {MODEL} is starting")
            while ": about " not in heard:  # known once it is woken
                heard += await anext(parts)
            one.cluster.ready = [one.engine_address]
            while "data: " not in heard:
                heard += await anext(parts)
            # the second event has not been written by the engine yet
            assert heard.endswith('data: {"n":1}\n\n')
            one.engine.gate.set()
            rest = "".join([part async for part in parts])
        assert rest == 'data: {"n":2}\n\ndata: [DONE]\n\n'
        assert answer.headers["content-type"].startswith("text/event-stream")
        await reached(lambda: one.cluster.first_tokens == 1)


@pytest.mark.parametrize("status", [200, 400, 429])
async def test_where_the_model_is_ready_before_a_heartbeat_the_status_is_the_engines(status: int) -> None:
    async with holding(heartbeat=15.0) as one:
        one.cluster.ready, one.engine.status = [one.engine_address], status
        answer = await one.ask()
    assert answer.status_code == status
    assert one.cluster.wakes == 0


async def test_a_failure_after_the_status_is_an_error_in_the_body() -> None:
    async with holding() as one:
        plain, streamed = ({"model": MODEL, "stream": stream} for stream in (False, True))
        async with (
            one.client.stream("POST", "/v1/completions", json=plain) as first,
            one.client.stream("POST", "/v1/completions", json=streamed) as second,
        ):
            # a status comes with the first heartbeat
            one.engine.status, one.cluster.ready = 500, [one.engine_address]
            body, events = await first.aread(), (await second.aread()).decode()
    assert (first.status_code, second.status_code) == (200, 200)
    assert json.loads(body)["error"]["message"] == "no"
    told = [line for line in events.splitlines() if line.startswith("data: ")]
    assert json.loads(told[0].removeprefix("data: "))["error"]["message"] == "no"
    assert told[1] == "data: [DONE]"


async def test_past_the_bound_a_request_is_refused_with_the_time_left() -> None:
    async with holding(requests=2, cluster=Cluster(expected=4e9)) as one:
        asking = await held(one, count=2)
        refused = await one.ask()
        assert refused.status_code == 429
        assert error_of(refused)["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) > 1e9
        one.cluster.ready = [one.engine_address]
        await asyncio.gather(*asking)


async def test_bodies_are_bounded_together() -> None:
    async with holding(body_bytes=100) as one:
        refused = await one.ask(prompt="x" * 200)
    assert refused.status_code == 429
    assert "bytes" in error_of(refused)["message"]


async def test_a_refusal_of_a_large_body_arrives_though_the_body_is_still_being_sent() -> None:
    """As NGINX sends it: all of the body, and then it reads."""
    body = json.dumps({"model": MODEL, "prompt": "x" * 12 * 2**20}).encode()
    async with holding(body_bytes=100) as one:
        reader, writer = await asyncio.open_connection(one.client.base_url.host, one.client.base_url.port)
        head = (f"{name}: {value}" for name, value in one.client.headers.items() if name != "connection")
        lines = ["POST /v1/completions HTTP/1.1", "host: h", *head, f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"rate_limit_exceeded" in answer


async def test_a_request_is_held_so_long_and_no_longer() -> None:
    async with holding(longest=0.1, heartbeat=15.0) as one:
        late = await one.ask()
    assert late.status_code == 503
    assert error_of(late)["code"] == "model_not_ready"
    assert late.headers["retry-after"] == "30"  # no start is known


async def test_a_stream_that_is_held_too_long_hears_it_in_the_stream() -> None:
    async with holding(longest=2.0) as one:
        late = await one.ask(stream=True)
    events = [line for line in late.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[0].removeprefix("data: "))["error"]["code"] == "model_not_ready"
    assert (late.status_code, events[-1]) == (200, "data: [DONE]")


async def test_a_model_that_is_not_deployed_any_more_is_refused_at_once() -> None:
    async with holding(heartbeat=15.0, cluster=Cluster(replicas=None)) as one:
        assert (await one.ask()).status_code == 503


async def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    async with holding() as one:
        one.cluster.ready, one.engine.breaks_off = [one.engine_address], True
        one.engine.gate.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await one.ask(stream=True)


async def test_a_pod_that_takes_no_connection_costs_no_request() -> None:
    async with holding() as one:
        one.cluster.ready = ["127.0.0.1:9"]  # discard: nobody listens
        asking = asyncio.create_task(one.ask())
        await reached(lambda: one.cluster.looks >= 2)
        one.cluster.ready = [one.engine_address]
        assert (await asking).json()["choices"] == [{"text": "yes"}]
    assert len(one.engine.asked) == 1


async def test_a_pod_that_goes_again_while_requests_wait_is_woken_again() -> None:
    async with holding() as one:
        [asking] = await held(one)
        one.cluster.replicas = 0
        await reached(lambda: one.cluster.wakes == 2)
        one.cluster.ready = [one.engine_address]
        assert (await asking).status_code == 200


async def test_a_client_that_leaves_is_let_go() -> None:
    async with holding() as one:
        [asking] = await held(one)
        asking.cancel()
        await reached(lambda: one.held == 0)
        one.cluster.ready = [one.engine_address]
        streaming = asyncio.create_task(one.ask(stream=True))
        await reached(lambda: one.engine.asked)
        streaming.cancel()
        await reached(lambda: one.engine.left == 1)
        await reached(lambda: one.held == 0)
    assert len(one.engine.asked) == 1


async def test_after_ready_requests_go_on_by_the_proven_rate() -> None:
    """Of ten that waited not all are asked at once: the engine is cold, and its queue would be everybody's first token."""
    async with holding(rate=5.0, ramp=4.0) as one:
        asking = await held(one, count=10)
        one.cluster.ready = [one.engine_address]
        await reached(lambda: one.engine.asked)
        assert len(one.engine.asked) < 10
        await reached(lambda: len(one.engine.asked) == 10)
        await asyncio.gather(*asking)


async def test_a_pod_gets_no_more_than_its_slots() -> None:
    async with holding(slots=2) as one:
        asking = await held(one, stream=True, count=5)
        one.cluster.ready = [one.engine_address]
        await reached(lambda: len(one.engine.asked) == 2)
        await asyncio.sleep(0.2)
        assert len(one.engine.asked) == 2
        one.engine.gate.set()
        await asyncio.gather(*asking)
    assert len(one.engine.asked) == 5


@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "code"),
    [
        ("POST", {"authorization": "Bearer sk-client"}, b"{}", 401, "invalid_api_key"),
        ("POST", {"x-slipway-model": "other"}, b"{}", 404, "model_not_found"),
        ("POST", {}, b'{"model": "other"}', 404, "model_not_found"),
        ("POST", {}, b"not JSON", 400, None),
        ("POST", {}, b'["model"]', 400, None),
        ("POST", {}, b'{"model": ["tiny"]}', 400, None),
        ("GET", {}, b"", 503, "model_not_ready"),
        ("POST", {}, b" " * (16 * 2**20 + 1), 413, None),
    ],
)
async def test_what_is_wrong_with_a_request_wakes_nothing(
    method: str, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    async with holding() as one:
        answer = await one.client.request(method, "/v1/completions", content=body, headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert one.cluster.wakes == 0
    assert one.held == 0


async def test_the_pod_hears_the_gateways_key_and_not_which_model_the_route_named() -> None:
    async with holding() as one:
        one.cluster.ready = [one.engine_address]
        await one.ask(prompt="grüße")
    [headers], [asked] = one.engine.headers, one.engine.asked
    assert headers["authorization"] == "Bearer sk-engine"
    assert "x-slipway-model" not in headers
    assert asked["prompt"] == "grüße"
