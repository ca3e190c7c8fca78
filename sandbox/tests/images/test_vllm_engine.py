"""Timing, queueing, load shedding, faults and the two ways down."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from slipway_sandbox.settings import EngineTiming
from tests.images.conftest import Pod, Serve
from tests.images.golden_files import FOLDER

BODY: dict[str, Any] = {"model": "tiny", "prompt": "x", "max_tokens": 32, "ignore_eos": True}
SLOW = EngineTiming(0.05, 0.02, 0.05, 0.1)


@pytest.fixture
def faulty(vllm: Pod) -> Iterator[Pod]:
    """The shared vLLM, its faults switched off again afterwards."""
    yield vllm
    vllm.faults.clear()


async def stream(
    session: aiohttp.ClientSession, pod: Pod, **changes: Any
) -> tuple[int, list[tuple[float, str]]]:
    """Status, and (arrival, line) of every data line."""
    lines: list[tuple[float, str]] = []
    async with session.post(pod.url + "/v1/completions", json=BODY | {"stream": True} | changes) as response:
        async for raw in response.content:
            if raw.strip():
                lines += [(time.monotonic(), raw.decode().strip().removeprefix("data: "))]
        return response.status, lines


async def test_thirty_streams_a_second_keep_their_schedule(vllm: Pod) -> None:
    rate, count, tokens, inter = 30, 45, 32, 0.004
    firsts: list[float] = []
    spans: list[float] = []

    async def one(session: aiohttp.ClientSession, due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        _, lines = await stream(session, vllm, prompt=f"schedule {due}")
        firsts.append(lines[0][0] - due)
        spans.append(
            lines[tokens - 1][0] - lines[0][0] if len(lines) > tokens else lines[-2][0] - lines[0][0]
        )

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        start = time.monotonic() + 0.1
        await asyncio.gather(*(one(session, start + i / rate) for i in range(count)))
    assert statistics.median(firsts) == pytest.approx(0.031, abs=0.010)
    assert statistics.median(spans) == pytest.approx((tokens - 1) * inter, abs=0.008)


async def until_taken(session: aiohttp.ClientSession, pod: Pod, count: int) -> str:
    """The metrics page once `count` requests are running or waiting."""
    async with asyncio.timeout(5):
        while True:
            async with session.get(pod.url + "/metrics") as page:
                text = await page.text()
            found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.M)
            if sum(map(float, found)) == count:
                return text
            await asyncio.sleep(0.01)


async def test_requests_beyond_the_batch_wait_in_order(serve: Serve) -> None:
    pod = serve("--max-num-seqs", "1", timing=EngineTiming(0.05, 0.02, 0.4, 0.01)).until_ready()
    ended: list[int] = []

    async def one(session: aiohttp.ClientSession, index: int) -> None:
        await stream(session, pod, max_tokens=2)
        ended.append(index)

    async with aiohttp.ClientSession() as session:
        tasks = []
        for index in range(3):
            tasks.append(asyncio.create_task(one(session, index)))
            text = await until_taken(session, pod, index + 1)
        await asyncio.gather(*tasks)
    assert 'vllm:num_requests_running{engine="0",model_name="tiny"} 1.0' in text
    assert 'vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0' in text
    assert 'vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 2.0' in text
    assert ended == [0, 1, 2]


async def test_a_full_queue_sheds_with_503_and_streams_with_200(serve: Serve) -> None:
    pod = serve("--max-num-queued-reqs", "1", timing=SLOW).until_ready()
    async with aiohttp.ClientSession() as session:
        first = asyncio.create_task(stream(session, pod, max_tokens=9))
        await until_taken(session, pod, 1)
        async with session.post(pod.url + "/v1/completions", json=BODY) as refused:
            assert refused.status == 503
            assert await refused.text() in (FOLDER / "shed.txt").read_text("utf-8")
        status, lines = await stream(session, pod)
        assert status == 200
        golden = (FOLDER / "shed_stream.txt").read_text("utf-8")
        assert all(f"data: {line}" in golden for _, line in lines)
        assert [line for _, line in lines][-1] == "[DONE]"
        async with session.get(pod.url + "/metrics") as page:
            rejected = 'vllm:admission_rejections_total{model_name="tiny",reason="max_num_queued_reqs"} 2.0'
            assert rejected in await page.text()
        assert (await first)[0] == 200


async def test_a_client_that_leaves_frees_its_place_and_is_no_abort(serve: Serve) -> None:
    pod = serve("--max-num-seqs", "1", timing=SLOW).until_ready()
    async with aiohttp.ClientSession() as session:
        gone = asyncio.create_task(stream(session, pod))
        await until_taken(session, pod, 1)
        gone.cancel()
        _, lines = await asyncio.wait_for(stream(session, pod, max_tokens=1), 2.0)
        assert lines[-1][1] == "[DONE]"
        async with session.get(pod.url + "/metrics") as page:
            assert 'finished_reason="abort",model_name="tiny"} 0.0' in await page.text()


async def test_sigterm_closes_the_port_and_leaves_streams_without_an_end(serve: Serve) -> None:
    pod = serve(timing=SLOW).until_ready()
    async with aiohttp.ClientSession() as session:
        response = await session.post(pod.url + "/v1/completions", json=BODY | {"stream": True})
        await response.content.readline()
        pod.terminate()
        await asyncio.sleep(0.3)
        with pytest.raises(httpx.ConnectError):
            await asyncio.to_thread(httpx.get, pod.url + "/health", trust_env=False)
        while True:  # what was on its way when the signal came
            try:
                assert await asyncio.wait_for(response.content.readline(), 0.5), "the stream must not end"
            except TimeoutError:
                break
        assert pod.process.poll() is None
        response.close()
    assert await asyncio.to_thread(pod.wait, 3.0) == 0


async def test_with_a_shutdown_timeout_streams_end_while_health_is_200_and_new_requests_500(
    serve: Serve,
) -> None:
    pod = serve("--shutdown-timeout", "15", timing=SLOW).until_ready()
    golden = (FOLDER / "sigterm_shutdown_timeout.txt").read_text("utf-8")
    async with aiohttp.ClientSession() as session:
        running = asyncio.create_task(stream(session, pod, max_tokens=8))
        await until_taken(session, pod, 1)
        pod.terminate()
        await asyncio.sleep(0.1)
        async with session.get(pod.url + "/health") as health:
            assert health.status == 200
        async with session.post(pod.url + "/v1/completions", json=BODY) as refused:
            assert refused.status == 500
            assert await refused.text() in golden
        _, lines = await running
        assert lines[-1][1] == "[DONE]"
        assert sum('"text"' in line for _, line in lines) == 8
    assert await asyncio.to_thread(pod.wait, 5.0) == 0


async def test_a_stalled_stream_stops_in_the_middle(faulty: Pod) -> None:
    faulty.faults.set("engine-stall", target="tiny", count=1)
    async with aiohttp.ClientSession() as session:
        response = await session.post(faulty.url + "/v1/completions", json=BODY | {"stream": True})
        received = b""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                async for line in response.content:
                    received += line
        response.close()
        assert 0 < received.count(b'"text"') < 32
        assert (await stream(session, faulty))[1][-1][1] == "[DONE]"


async def test_an_error_in_the_middle_comes_with_200(faulty: Pod) -> None:
    faulty.faults.set("engine-error-in-200", target="vllm-*")
    async with aiohttp.ClientSession() as session:
        status, lines = await stream(session, faulty)
    assert status == 200
    assert json.loads(lines[-2][1])["error"]["code"] == 500
    assert lines[-1][1] == "[DONE]"


def test_engine_500_answers_500(faulty: Pod) -> None:
    faulty.faults.set("engine-500", count=1)
    answers = [
        httpx.post(faulty.url + "/v1/completions", json=BODY, trust_env=False).status_code for _ in range(2)
    ]
    assert answers == [500, 200]


def test_a_fault_for_another_engine_does_not_strike(faulty: Pod) -> None:
    faulty.faults.set("engine-500", target="other")
    assert httpx.post(faulty.url + "/v1/completions", json=BODY, trust_env=False).status_code == 200


def test_a_slow_token_is_late_by_the_faults_value(faulty: Pod) -> None:
    faulty.faults.set("engine-slow-token", value=0.4)
    began = time.monotonic()
    httpx.post(faulty.url + "/v1/completions", json=BODY | {"max_tokens": 1}, trust_env=False)
    assert 0.42 <= time.monotonic() - began < 3


def test_a_wrong_name_is_served(serve: Serve) -> None:
    pod = serve(faults={"engine-wrong-name": {"target": "tiny"}}).until_ready()
    names = [model["id"] for model in httpx.get(pod.url + "/v1/models", trust_env=False).json()["data"]]
    assert names == ["tiny-other"]


def test_the_gpu_file_shows_memory_and_load_and_goes_with_the_pod(serve: Serve, tmp_path: Path) -> None:
    env = {"SLIPWAY_SANDBOX_GPU_DIR": str(tmp_path), "SLIPWAY_SANDBOX_POD_UID": "u-1", "HOSTNAME": "vllm-0"}
    pod = serve(env=env, timing=SLOW).until_ready()
    file = tmp_path / "u-1.json"
    with httpx.stream("POST", pod.url + "/v1/completions", json=BODY | {"stream": True}, trust_env=False):
        time.sleep(1.3)
        shown = json.loads(file.read_text())
    assert shown["pod"] == "vllm-0"
    assert shown["fb_used_mib"] == pytest.approx(0.92 * shown["fb_total_mib"], rel=0.01)
    assert 20 < shown["gpu_util"] <= 100
    pod.terminate()
    assert pod.wait() == 0
    assert not file.exists()
