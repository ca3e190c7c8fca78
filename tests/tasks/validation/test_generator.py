"""The generator in its own process, against a real streaming server. Counts and failures; never latencies."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from tasks.spec.errors import ToolFailed
from tasks.spec.model import Model
from tasks.spec.records import Endpoint
from tasks.validation.arrivals import arrivals
from tasks.validation.validation import prove
from tests.tasks.builders import a_model
from tests.tasks.conftest import Heard, free_port

KEY = "sk-generator"
Behaviour = Callable[[int, web.Request], str]


class Server:
    """An engine that streams three tokens a request; `behave(n, request)` says how the nth request goes."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.keys: Counter[str] = Counter()
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(),), daemon=True
        )

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/tiny/v1/models", self._models)
        app.router.add_post("/tiny/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self._up.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "tiny"}]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.keys[request.headers.get("Authorization", "")] += 1
        how = self.behave(len(self.bodies) - 1, request)
        if how == "503":
            return web.Response(status=503, text="busy")
        if not body["stream"]:
            usage = {"prompt_tokens": 4, "completion_tokens": 3}
            choice = {"message": {"content": "abc"}, "finish_reason": "length"}
            return web.json_response({"choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for n, text in enumerate(("", "a", "b", "c")):
            if how == "stall" and n == 2:
                await asyncio.sleep(30)
            if how == "cut" and n == 2:
                assert request.transport
                request.transport.close()
                return response
            finish = "length" if n == 3 else None
            await send(response, choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])
            await asyncio.sleep(0.01)
        if how == "error":
            await send(response, error={"message": "engine dead", "code": 500})
        await send(response, choices=[], usage={"prompt_tokens": 4, "completion_tokens": 3})
        await response.write(b"data: [DONE]\n\n")
        return response


async def send(response: web.StreamResponse, **event: Any) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


def a_load_of(**load: Any) -> Model:
    base = {"arrivals": "constant", "rate": 40, "warmup": "250ms", "window": 1, "drain": 2, "stall": 1}
    lengths = {"prompt_tokens": {"mean": 5}, "output_tokens": {"mean": 3}}
    return a_model(name="tiny", load=base | lengths | load, objectives={"max_error_rate": 0.5})


def endpoint(port: int) -> Endpoint:
    url = f"http://127.0.0.1:{port}/tiny/v1"
    return Endpoint(base_url=url, served_name="tiny", key_namespace="llm", key_secret="s")


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Server]]:
    servers: list[Server] = []

    def start(behave: Behaviour) -> Server:
        servers.append(Server(behave))
        return servers[-1].__enter__()

    yield start
    for server in servers:
        server.__exit__()


Serve = Callable[[Behaviour], Server]


def test_every_request_is_sent_and_the_window_is_counted(serve: Serve, heard: Heard) -> None:
    server, model = serve(lambda n, request: "good"), a_load_of()
    found = prove(model, endpoint(server.port), KEY, heard)
    schedule = arrivals(model.load)
    assert len(server.bodies) == len(schedule)
    assert found.requests == found.succeeded == sum(arrival.counted for arrival in schedule)
    assert found.failures == {}
    assert found.output_tokens_per_second == pytest.approx(3 * found.requests / 1.0)
    assert found.ttft.count == found.e2e.count == found.requests
    assert found.itl.count == 2 * found.requests
    assert found.verdict == "PASS"
    assert any(line.startswith("PASS") for line in heard.lines)


def test_what_is_asked_of_the_engine(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    prove(a_load_of(warmup=0, window="600ms"), endpoint(server.port), KEY, heard)
    asked = server.bodies[0]
    assert (asked["model"], asked["max_tokens"], asked["stream"], asked["ignore_eos"]) == (
        "tiny",
        3,
        True,
        True,
    )
    assert asked["stream_options"] == {"include_usage": True}
    assert set(server.keys) == {f"Bearer {KEY}"}
    prompts = {body["messages"][0]["content"] for body in server.bodies}
    assert len(prompts) == len(server.bodies)


def test_each_way_to_fail_is_counted_under_its_name(serve: Serve, heard: Heard) -> None:
    ways = ("good", "503", "error", "cut", "stall")
    server = serve(lambda n, request: ways[n % 5])
    found = prove(a_load_of(warmup=0), endpoint(server.port), KEY, heard)
    each = Counter(ways[n % 5] for n in range(len(server.bodies)))
    assert found.requests == len(server.bodies)
    assert found.succeeded == each["good"]
    assert found.failures == {
        "http 503": each["503"],
        "error in a 200": each["error"],
        "connection lost": each["cut"],
        "stalled": each["stall"],
    }
    assert found.verdict == "FAIL"


def test_arrivals_do_not_wait_for_answers(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "stall")
    model = a_load_of(warmup=0, stall=5, drain="200ms")
    found = prove(model, endpoint(server.port), KEY, heard)
    assert len(server.bodies) == found.requests == len(arrivals(model.load))
    assert found.failures == {"still running after the drain": found.requests}


def test_answers_in_one_piece_are_measured_too(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    found = prove(a_load_of(streaming=False, warmup=0, window="600ms"), endpoint(server.port), KEY, heard)
    assert found.succeeded == found.requests > 0
    assert (found.ttft.count, found.e2e.count) == (0, found.requests)
    assert "stream_options" not in server.bodies[0]


def test_nobody_listening_is_an_error_that_explains_itself(heard: Heard) -> None:
    with pytest.raises(ToolFailed):
        prove(a_load_of(), endpoint(free_port()), KEY, heard)
