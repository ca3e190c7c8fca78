"""The generator in its own process, against a real streaming server. Counts and failures; never latencies."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httptools
import pytest
import uvloop
from aiohttp import web

from tasks.cloud.programs import files_of
from tasks.records.errors import ToolFailed
from tasks.records.model import Model
from tasks.records.objectives import EachRequest
from tasks.records.reports import Measured
from tasks.records.results import Endpoint
from tasks.validation.load.arrivals import Arrival, arrivals
from tasks.validation.proof import instructions_for, measure, prove
from tasks.validation.summary import tell
from tests.support.builders import ROOT, a_model
from tests.support.heard import Heard
from tests.support.loopback import free_port

KEY = "sk-generator"
Behaviour = Callable[[int, web.Request], str]


class Server:
    """An engine that streams three tokens a request; `behave(n, request)` says how the nth request goes."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.keys: Counter[str] = Counter()
        self.connections: set[object] = set()
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
        app.router.add_post("/tiny/v1/completions", self._completions)
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
        self.connections.add(request.transport)
        if how == "503":
            return web.json_response({"error": {"message": f"busy, {KEY}"}}, status=503)
        if how == "drop":
            assert request.transport
            request.transport.abort()  # as a pod that was killed: a reset, no answer at all
            return web.Response()
        if not body["stream"]:
            usage = {"prompt_tokens": 4, "completion_tokens": 3}
            choice = {"message": {"content": "abc"}, "finish_reason": "length"}
            return web.json_response({"choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if how == "close":
            response.force_close()
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

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        """vLLM's: no role chunk, `text` where chat has a delta; tests/unit/tasks/validation/load/golden/comp_stream.txt."""
        body = await request.json()
        self.bodies.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for n, text in enumerate(("a", "b")):
            finish = "length" if n == 1 else None
            await send(response, choices=[{"index": 0, "text": text, "finish_reason": finish}])
        await send(response, choices=[], usage={"prompt_tokens": 4, "completion_tokens": 2})
        await response.write(b"data: [DONE]\n\n")
        return response


async def send(response: web.StreamResponse, **event: Any) -> None:
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


def a_load_of(**load: Any) -> Model:
    base = {"arrivals": "constant", "rate": 40, "warmup": "250ms", "window": 1, "drain": 2, "stall": 1}
    lengths = {"prompt_tokens": {"mean": 5}, "output_tokens": {"mean": 3}}
    return a_model(name="tiny", load=base | lengths | load, objectives={"errors": 0.5})


def schedule_of(model: Model) -> list[Arrival]:
    return arrivals(instructions_for(model.load, "http://llm/v1", "tiny", each=model.objectives.each))


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
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    schedule = schedule_of(model)
    assert len(server.bodies) == len(schedule)
    assert found.requests == found.succeeded == sum(arrival.counted for arrival in schedule)
    assert found.failures == {}
    assert found.output_tokens_per_second == pytest.approx(3 * found.requests / 1.0)
    assert found.ttft.count == found.e2e.count == found.requests
    assert found.itl.count == 2 * found.requests
    assert found.verdict == "PASS"
    tell(found, heard)
    assert any(line.startswith("PASS") for line in heard.lines)


def test_what_is_asked_of_the_engine(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    prove(a_load_of(warmup=0, window="600ms"), endpoint(server.port), KEY, heard, root=ROOT)
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
    ways = ("good", "503", "error", "cut", "stall", "drop")
    server = serve(lambda n, request: ways[n % 6])
    found = prove(a_load_of(warmup=0), endpoint(server.port), KEY, heard, root=ROOT)
    each = Counter(ways[n % 6] for n in range(len(server.bodies)))
    assert found.requests == len(server.bodies)
    assert found.succeeded == each["good"]
    assert found.failures == {
        "http 503": each["503"],
        "error in a 200": each["error"],
        "connection lost": each["cut"] + each["drop"],
        "stalled": each["stall"],
    }
    assert found.failure_messages == {"http 503": "busy, …", "error in a 200": "engine dead"}
    assert found.verdict == "FAIL"


def test_arrivals_do_not_wait_for_answers(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "stall")
    model = a_load_of(warmup=0, stall=5, drain="200ms")
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    assert len(server.bodies) == found.requests == len(schedule_of(model))
    assert found.failures == {"still running after the drain": found.requests}


def test_answers_in_one_piece_are_measured_too(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    found = prove(
        a_load_of(streaming=False, warmup=0, window="600ms"), endpoint(server.port), KEY, heard, root=ROOT
    )
    assert found.succeeded == found.requests > 0
    assert (found.ttft.count, found.e2e.count) == (0, found.requests)
    assert "stream_options" not in server.bodies[0]


def test_nobody_listening_is_an_error_that_explains_itself(heard: Heard) -> None:
    port = free_port()
    with pytest.raises(ToolFailed) as caught:
        prove(a_load_of(), endpoint(port), KEY, heard, root=ROOT)
    assert f"no answer from http://127.0.0.1:{port}/tiny/v1: connection refused" in caught.value.evidence


def test_a_server_that_is_not_reached_at_once_is_waited_for_where_it_is_told_to(heard: Heard) -> None:
    server, model = Server(lambda n, request: "good"), a_load_of(warmup=0, window="600ms")
    told = instructions_for(model.load, endpoint(server.port).base_url, "tiny", each=EachRequest())
    begins = threading.Timer(1.0, server.__enter__)
    begins.start()
    try:
        found = measure(replace(told, patience=30.0), KEY, heard)
    finally:
        begins.join()
        server.__exit__()
    assert found.succeeded == found.requests > 0


@pytest.mark.parametrize("packages", [(), (uvloop, httptools)], ids=["standard library", "with accelerators"])
@pytest.mark.parametrize("way", ["good", "close"])
def test_it_runs_where_slipway_is_not_installed(
    serve: Serve, tmp_path: Path, packages: tuple[ModuleType, ...], way: str
) -> None:
    """As in its Job: the files it is given, without site-packages."""
    for path, text in files_of("tasks.validation.load").items():
        copy = tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    for package in packages:
        source = Path(str(package.__file__)).parent
        (tmp_path / source.name).symlink_to(source)
    server, model = serve(lambda n, request: way), a_load_of(warmup=0, window="600ms")
    told = instructions_for(model.load, endpoint(server.port).base_url, "tiny", each=EachRequest())
    (tmp_path / "instructions.json").write_text(told.write())
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "tasks.validation.load", "instructions.json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "SLIPWAY_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = Measured.model_validate(json.loads(done.stdout.splitlines()[-1])["measured"])
    assert found.failures == {}
    assert found.succeeded == found.requests == len(server.bodies) > 0


def test_the_completions_endpoint_is_asked_with_a_prompt(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    model = a_load_of(endpoint="completions", warmup=0, window="600ms")
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    assert found.succeeded == found.requests > 0
    assert found.ttft.count == found.requests
    assert len(server.bodies[0]["prompt"].split()) == 5
    assert "messages" not in server.bodies[0]


def test_prompts_of_a_file_are_asked_in_their_order(serve: Serve, heard: Heard, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"prompt": 'say "hé"\n'},
        {"messages": [{"role": "system", "content": "be brief"}], "max_tokens": 7},
    ]
    (tmp_path / "ask.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines))
    server = serve(lambda n, request: "good")
    model = a_load_of(prompts="ask.jsonl", warmup=0, window="600ms", output_tokens={"mean": 3})
    found = prove(model, endpoint(server.port), KEY, heard, root=tmp_path)
    assert found.succeeded == found.requests == len(server.bodies)
    first, second, third = server.bodies[:3]
    assert first["messages"] == third["messages"] == [{"role": "user", "content": 'say "hé"\n'}]
    assert (first["max_tokens"], first["ignore_eos"]) == (3, True)
    assert second["messages"] == lines[1]["messages"]
    assert (second["max_tokens"], "ignore_eos" in second) == (7, False)  # at most 7: it may end before


def test_a_trace_is_replayed_and_cut_to_the_models_context(
    serve: Serve, heard: Heard, tmp_path: Path
) -> None:
    rows = [f"2023-11-16 18:15:4{n}.1234567,{100 + n},{20 + n}" for n in range(8)]
    rows[3] = "2023-11-16 18:15:43.1234567,100000,23"
    (tmp_path / "trace.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    server = serve(lambda n, request: "good")
    model = a_load_of(arrivals="trace", rate=None, trace={"file": "trace.csv", "speed": 10}, warmup=0)
    found = prove(model, endpoint(server.port), KEY, heard, root=tmp_path)
    assert [body["max_tokens"] for body in server.bodies] == list(range(20, 28))
    assert (found.requests, found.cut_to_context, found.offered_rate) == (8, 1, None)
    room = model.engine.max_model_len - 32 - 23
    assert [len(body["messages"][0]["content"].split()) for body in server.bodies][2:5] == [102, room, 104]


def test_callers_that_wait_keep_so_many_requests_under_way(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    model = a_load_of(arrivals="closed", rate=None, concurrency=6, warmup="200ms")
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    assert found.failures == {}
    assert found.in_flight == pytest.approx(6, abs=0.7)
    assert (found.offered_rate, found.cut_to_context) == (None, 0)


def test_callers_are_cut_to_the_models_context_too(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    model = a_load_of(arrivals="closed", rate=None, concurrency=2, warmup=0, prompt_tokens={"mean": 8192})
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    assert found.cut_to_context == len(server.bodies) > 0
    words = {len(body["messages"][0]["content"].split()) for body in server.bodies}
    assert words == {model.engine.max_model_len - 32 - 3}


def test_a_caller_that_is_refused_does_not_hammer(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "503")
    model = a_load_of(arrivals="closed", rate=None, concurrency=2, warmup=0)
    found = prove(model, endpoint(server.port), KEY, heard, root=ROOT)
    assert 0 < found.failures["http 503"] <= 2 * 11  # a tenth of a second between two tries


def test_connections_are_used_again_and_were_opened_before_the_window(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "good")
    found = prove(a_load_of(warmup=0), endpoint(server.port), KEY, heard, root=ROOT)
    assert found.failures == {}
    assert len(server.connections) < len(server.bodies)


def test_a_server_that_closes_after_each_answer_is_measured_all_the_same(serve: Serve, heard: Heard) -> None:
    server = serve(lambda n, request: "close")
    found = prove(a_load_of(warmup=0), endpoint(server.port), KEY, heard, root=ROOT)
    assert (found.failures, found.succeeded) == ({}, len(server.bodies))
    assert len(server.connections) == len(server.bodies)
