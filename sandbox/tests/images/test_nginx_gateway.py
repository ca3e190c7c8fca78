"""The gateway at work: keys, streams, limits, failures, and how it ends. The upstream is a server in this process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from slipway_sandbox.loopback import free_port
from tests.images.conftest import REPOSITORY, Launch, Pod

CONFIG = """
worker_processes auto;
pid /tmp/nginx.pid;
error_log /dev/stderr notice;
events {{ worker_connections 1024; }}
http {{
  map_hash_bucket_size 128;
  map $http_authorization $authorized {{ default 0; include keys/*.map; }}
  log_format main '$remote_addr "$request" $status $upstream_status';
  access_log /dev/stdout main;
  server_tokens off;
  client_max_body_size 1k;
  upstream two {{ server 127.0.0.1:{dead}; server 127.0.0.1:{upstream}; keepalive 8; }}
  server {{
    listen {port} default_server;
    location = /healthz {{ access_log off; default_type text/plain; return 200 "ok\\n"; }}
    location /v1/ {{
      if ($authorized = 0) {{ return 401 '{{"error":"Unauthorized"}}'; }}
      default_type application/json;
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Authorization "";
      proxy_buffering off;
      add_header X-Gateway slipway always;
    }}
    location /buffered/ {{ proxy_pass http://127.0.0.1:{upstream}/v1/; }}
    location /dead {{ proxy_pass http://127.0.0.1:{dead}; }}
    location /slow {{ proxy_pass http://127.0.0.1:{upstream}; proxy_read_timeout 200ms; }}
    location /two {{ proxy_pass http://two; }}
    location /named {{
      resolver 127.0.0.53; set $upstream vllm.llm.svc.cluster.local;
      proxy_pass http://$upstream:{upstream}; proxy_buffering off;
    }}
    location /json {{
      error_page 502 = @sorry; proxy_pass http://127.0.0.1:{dead};
    }}
    location @sorry {{ default_type application/json; return 503 '{{"error":"no engine"}}'; }}
  }}
}}
"""
KEY = {"Authorization": "Bearer secret"}


class Upstream:
    """Answers with what it saw, streams pieces 50 ms apart, or stays silent."""

    def __init__(self) -> None:
        self.closed = 0
        self.port = free_port()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/silent"):
            await asyncio.sleep(30)
        if request.path.endswith("/stream"):
            return await self._stream(request)
        seen = {"path": request.raw_path, "headers": dict(request.headers), "body": await request.text()}
        return web.json_response(seen)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for index in range(6):
                await response.write(f"data: {index}\n\n".encode())
                await asyncio.sleep(0.05)
        except (ConnectionResetError, asyncio.CancelledError):
            self.closed += 1
            raise
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    yield server
    await runner.cleanup()


def mounts(folder: Path) -> str:
    """The pod has a volume for temporary files, as an emptyDir is."""
    (folder / "tmp").mkdir(exist_ok=True)
    return json.dumps({"/tmp": str(folder / "tmp")})  # noqa: S108


@pytest.fixture
async def gateway(launch: Launch, upstream: Upstream, tmp_path: Path) -> Pod:
    port = free_port()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.map").write_text('"Bearer secret" 1;\n')
    (tmp_path / "hosts").write_text("127.0.0.1 vllm.llm.svc.cluster.local\n")
    file = tmp_path / "slipway.conf"
    file.write_text(CONFIG.format(port=port, upstream=upstream.port, dead=free_port()))
    pod = launch(
        "slipway_sandbox.images.nginx",
        ["-g", "daemon off;", "-c", str(file)],
        port=port,
        env={"SLIPWAY_SANDBOX_HOSTS": str(tmp_path / "hosts"), "SLIPWAY_SANDBOX_MOUNTS": mounts(tmp_path)},
    )
    return await asyncio.to_thread(pod.until_ready, "/healthz")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_requests_pass_with_a_key_only(gateway: Pod, session: aiohttp.ClientSession) -> None:
    async with session.get(gateway.url + "/v1/models") as refused:
        assert (refused.status, await refused.text()) == (401, '{"error":"Unauthorized"}')
        assert refused.headers["Content-Type"] == "application/json"
        assert refused.headers["X-Gateway"] == "slipway"
    async with session.get(gateway.url + "/v1/models", headers={"Authorization": "Bearer wrong"}) as refused:
        assert refused.status == 401
    async with session.get(gateway.url + "/v1/models?a=b%20c", headers=KEY) as passed:
        seen = await passed.json()
    assert passed.headers["Server"] == "nginx"
    assert seen["path"] == "/v1/models?a=b%20c"
    assert seen["headers"]["Host"] == "127.0.0.1"
    assert seen["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert not {"Authorization", "Connection"} & set(seen["headers"])


async def test_every_piece_of_a_stream_passes_at_once(gateway: Pod, session: aiohttp.ClientSession) -> None:
    began, arrivals = time.monotonic(), []
    async with session.post(gateway.url + "/v1/stream", headers=KEY, json={}) as response:
        async for _ in response.content.iter_any():
            arrivals += [time.monotonic() - began]
    assert len(arrivals) == 6
    assert arrivals[0] < 0.05
    assert arrivals[-1] >= 0.25


async def test_with_buffering_on_small_pieces_wait(gateway: Pod, session: aiohttp.ClientSession) -> None:
    began = time.monotonic()
    async with session.get(gateway.url + "/buffered/stream") as response:
        await response.content.readany()
    assert time.monotonic() - began >= 0.25


async def test_a_client_that_leaves_takes_the_upstream_along(
    gateway: Pod, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    async with session.get(gateway.url + "/v1/stream", headers=KEY) as response:
        await response.content.readany()
        response.close()
    await asyncio.sleep(0.2)
    assert upstream.closed == 1
    assert '"GET /v1/stream HTTP/1.1" 499 200' in gateway.printed()


async def test_failures_have_nginxs_codes(gateway: Pod, session: aiohttp.ClientSession) -> None:
    async with session.get(gateway.url + "/dead") as refused:
        assert refused.status == 502
        assert "<h1>502 Bad Gateway</h1>" in await refused.text()
    assert "connect() failed (111: Connection refused) while connecting to upstream" in gateway.printed()
    async with session.get(gateway.url + "/slow/silent") as late:
        assert late.status == 504
    async with session.post(gateway.url + "/v1/x", headers=KEY, data=b"x" * 2000) as large:
        assert large.status == 413
    async with session.get(gateway.url + "/nothing") as missing:
        assert missing.status == 404
    async with session.get(gateway.url + "/json") as page:
        assert (page.status, await page.text()) == (503, '{"error":"no engine"}')


async def test_the_next_peer_answers_for_one_that_refuses(
    gateway: Pod, session: aiohttp.ClientSession
) -> None:
    for _ in range(4):
        async with session.post(gateway.url + "/two", data=b"hello") as response:
            assert (await response.json())["body"] == "hello"


async def test_a_name_in_a_variable_is_resolved_for_each_request(
    gateway: Pod, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with session.get(gateway.url + "/named") as response:
        assert response.status == 200
    (tmp_path / "hosts").write_text("# the service is gone\n")
    async with session.get(gateway.url + "/named") as response:
        assert response.status == 502
    assert "vllm.llm.svc.cluster.local could not be resolved (3: Host not found)" in gateway.printed()


async def test_a_reload_takes_new_keys_and_keeps_the_old_ones_when_it_fails(
    gateway: Pod, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    new = {"Authorization": "Bearer new"}
    keys = tmp_path / "keys" / "a.map"
    keys.write_text('"Bearer new" 1;\n')
    gateway.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.2)
    async with session.get(gateway.url + "/v1/x", headers=new) as answer:
        assert answer.status == 200
    keys.write_text('"Bearer newer 1;\n')
    gateway.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.2)
    assert "[emerg]" in gateway.printed()
    async with session.get(gateway.url + "/v1/x", headers=new) as answer:
        assert answer.status == 200


async def test_sigquit_lets_a_stream_end(gateway: Pod, session: aiohttp.ClientSession) -> None:
    async with session.get(gateway.url + "/v1/stream", headers=KEY) as response:
        await response.content.readany()
        gateway.process.send_signal(signal.SIGQUIT)
        await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(gateway.url + "/healthz", headers={"Connection": "close"})
        assert (await response.read()).endswith(b"data: 5\n\n")
    assert await asyncio.to_thread(gateway.wait, 3) == 0


async def test_nginx_s_quit_reaches_the_running_one_by_its_pid_file(gateway: Pod, tmp_path: Path) -> None:
    again = [
        sys.executable,
        "-m",
        "slipway_sandbox.images.nginx",
        "-c",
        str(tmp_path / "slipway.conf"),
        "-s",
        "quit",
    ]
    env = os.environ | {
        "SLIPWAY_SANDBOX_MOUNTS": mounts(tmp_path),
        "SLIPWAY_SANDBOX_HOSTS": str(tmp_path / "hosts"),
    }
    sent = await asyncio.create_subprocess_exec(*again, env=env, cwd=REPOSITORY)
    assert await asyncio.wait_for(sent.wait(), 10) == 0
    assert await asyncio.to_thread(gateway.wait, 3) == 0
    assert "gracefully shutting down" in gateway.printed()
    assert not (tmp_path / "tmp" / "nginx.pid").exists()


async def test_sigterm_after_sigquit_does_not_wait_any_longer(
    gateway: Pod, session: aiohttp.ClientSession
) -> None:
    response = await session.get(gateway.url + "/v1/stream", headers=KEY)
    await response.content.readany()
    gateway.process.send_signal(signal.SIGQUIT)
    await asyncio.sleep(0.05)
    gateway.terminate()
    with pytest.raises(aiohttp.ClientError):
        await response.read()
    assert await asyncio.to_thread(gateway.wait, 3) == 0


async def test_sigterm_breaks_a_stream(gateway: Pod, session: aiohttp.ClientSession) -> None:
    response = await session.get(gateway.url + "/v1/stream", headers=KEY)
    await response.content.readany()
    gateway.terminate()
    with pytest.raises(aiohttp.ClientError):
        await response.read()
    assert await asyncio.to_thread(gateway.wait, 3) == 0


def test_a_wrong_file_ends_it_with_its_place(launch: Launch, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text("events {}\nhttp {\n  bogus on;\n}\n")
    pod = launch("slipway_sandbox.images.nginx", ["-c", str(file)])
    assert pod.wait() == 1
    assert pod.printed() == f'nginx: [emerg] unknown directive "bogus" in {file}:3\n'
