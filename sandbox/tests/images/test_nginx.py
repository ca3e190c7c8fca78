"""Pods of the nginx images: what is rewritten for loopback, what is refused, and nginx itself at work and at its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from slipway_sandbox.images.hosts import HostsFile
from slipway_sandbox.images.nginx.rendering import TEMPORARY, PodFiles, Rendering
from slipway_sandbox.loopback import free_port
from tests.images.conftest import REPOSITORY, Launch, Pod

SERVICE = "vllm.llm.svc.cluster.local"
PLACES = " ".join(f"{name} /tmp/{name};" for name in TEMPORARY)
CONFIG = """
pid /tmp/nginx.pid;
error_log /dev/stderr notice;
events {{ worker_connections 1024; }}
http {{
  {places}
  map_hash_bucket_size 128;
  map $http_authorization $authorized {{ default 0; include /etc/nginx/keys/*.map; }}
  log_format main '$remote_addr "$request" $status $upstream_status';
  access_log /dev/stdout main;
  upstream vllm {{ server {service}:{upstream} max_fails=0; server {service}:{upstream} max_fails=0; }}
  server {{
    listen {port};
    location = /healthz {{ access_log off; return 200 "ok\\n"; }}
    location /v1/ {{
      if ($authorized = 0) {{ return 401; }}
      proxy_pass http://vllm/v1/;
      proxy_http_version 1.1;
      proxy_buffering off;
    }}
    location /direct/ {{ proxy_pass http://{service}:{upstream}/v1/; }}
  }}
}}
"""
KEY = {"Authorization": "Bearer secret"}


# --- what is rewritten


@pytest.fixture
def rendered(tmp_path: Path) -> Rendering:
    (tmp_path / "hosts").write_text(f"127.77.100.1 {SERVICE}\n")
    for folder in ("configuration", "keys", "tmp"):
        (tmp_path / folder).mkdir()
    mounts = {
        "/etc/nginx/slipway": str(tmp_path / "configuration"),
        "/etc/nginx/keys": str(tmp_path / "keys"),
        "/tmp": str(tmp_path / "tmp"),  # noqa: S108
    }
    read_only = frozenset({"/", "/etc/nginx/slipway", "/etc/nginx/keys"})
    files = PodFiles(mounts, read_only, tmp_path / "root")
    return Rendering(files, HostsFile(tmp_path / "hosts"), "127.77.1.2", tmp_path / "out")


def rewritten(rendering: Rendering, tmp_path: Path, text: str, given: str = "") -> tuple[str, str]:
    (tmp_path / "configuration" / "nginx.conf").write_text(text)
    main, directives = rendering.render("/etc/nginx/slipway/nginx.conf", given)
    return main.read_text(), directives


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("listen 8080;", "listen 127.77.1.2:8080;"),
        ("listen *:80 default_server;", "listen 127.77.1.2:80 default_server;"),
        ("listen 0.0.0.0:80;", "listen 127.77.1.2:80;"),
        (f"server {SERVICE}:8000 max_fails=0;", "server 127.77.100.1:8000 max_fails=0;"),
        ("proxy_pass http://vllm.llm.svc:8000/v1/;", "proxy_pass http://127.77.100.1:8000/v1/;"),
        ("proxy_pass http://$name;", "proxy_pass http://$name;"),
        ("pid /tmp/nginx.pid;", "pid {tmp}/tmp/nginx.pid;"),
        ("proxy_temp_path /tmp/a 1 2;", "proxy_temp_path {tmp}/tmp/a 1 2;"),
        ("access_log /dev/stdout main;", "access_log /dev/stdout main;"),
        ("access_log /var/log/nginx/access.log main;", "access_log /dev/stdout main;"),
        ("error_log /tmp/error.log;", "error_log {tmp}/tmp/error.log;"),
        ("error_log stderr warn;", "error_log stderr warn;"),
        ("root html;", "root {tmp}/root/etc/nginx/html;"),
        ("include ../keys/*.map;", "include {tmp}/out/etc/nginx/slipway/../keys/*.map;"),
        ("# listen 8080;", "# listen 8080;"),
        ("return 200 'listen 80; pid /tmp/x;';", "return 200 'listen 80; pid /tmp/x;';"),
        ("location /tmp/ { return 404; }", "location /tmp/ { return 404; }"),
        ("set $a ${b}c;", "set $a ${b}c;"),
        ('"Bearer x" 1;', '"Bearer x" 1;'),
    ],
)
def test_only_paths_addresses_and_names_are_rewritten(
    rendered: Rendering, tmp_path: Path, line: str, becomes: str
) -> None:
    text, _ = rewritten(rendered, tmp_path, line)
    assert text == becomes.replace("{tmp}", str(tmp_path))


def test_lines_keep_their_numbers_and_includes_are_copied(rendered: Rendering, tmp_path: Path) -> None:
    (tmp_path / "keys" / "a.map").write_text('"Bearer secret" 1;\n')
    text, _ = rewritten(rendered, tmp_path, "map $a $b {\n  include /etc/nginx/keys/*.map;\n}\nnext;\n")
    assert text.splitlines()[3] == "next;"
    copy = tmp_path / "out/etc/nginx/keys/a.map"
    assert copy.read_text() == '"Bearer secret" 1;\n'
    assert copy.stat().st_mode & 0o077 == 0


def test_the_image_s_module_is_compiled_in_here_and_its_scripts_are_found(
    rendered: Rendering, tmp_path: Path
) -> None:
    module = "load_module /usr/lib/nginx/modules/ngx_http_js_module.so;"
    scripts = "js_import /etc/nginx/slipway/gate.js; js_preload_object /etc/nginx/keys/keys.json;"
    other = "load_module modules/ngx_other_module.so;"
    text, _ = rewritten(rendered, tmp_path, f"{module}\n{other}\nhttp {{ {scripts} }}")
    assert text.startswith(f"\n{other}\nhttp {{ ")
    assert f"js_import {tmp_path}/configuration/gate.js;" in text
    assert f"js_preload_object {tmp_path}/keys/keys.json;" in text


def test_an_upstream_may_be_declared_after_it_is_used(rendered: Rendering, tmp_path: Path) -> None:
    text, _ = rewritten(rendered, tmp_path, "proxy_pass http://models; upstream models { keepalive 2; }")
    assert "http://models;" in text
    assert not [refusal for refusal in rendered.refusals if "host" in refusal]


def test_what_is_not_set_is_as_the_image_has_it(rendered: Rendering, tmp_path: Path) -> None:
    text, directives = rewritten(rendered, tmp_path, "http { server { } }", "daemon off;")
    assert "access_log /dev/stdout;" in text
    assert text.count("listen 127.77.1.2:") == 1
    assert directives.startswith("daemon off;")
    first, *_, last = rendered.refusals
    assert first == 'mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)'
    assert last == 'open() "/run/nginx.pid" failed (30: Read-only file system)'
    assert len(rendered.refusals) == 6


def test_a_configuration_that_writes_on_volumes_only_runs_on_a_read_only_root(
    rendered: Rendering, tmp_path: Path
) -> None:
    rewritten(rendered, tmp_path, f"pid /tmp/nginx.pid; http {{ {PLACES} }}")
    assert rendered.refusals == []


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("server nobody.llm.svc:1;", 'host not found in upstream "nobody.llm.svc:1" in /etc/nginx/slipway/nginx.conf:2'),
        ("proxy_pass http://nobody/;", 'host not found in upstream "nobody" in /etc/nginx/slipway/nginx.conf:2'),
        ("proxy_pass http://8.8.8.8;", 'host not found in upstream "8.8.8.8" in /etc/nginx/slipway/nginx.conf:2'),
        ("resolver kube-dns;", '"resolver" kube-dns: the sandbox has no DNS server in /etc/nginx/slipway/nginx.conf:2'),
        ("listen [::]:80;", '"listen" [::]:80: a pod of the sandbox has one IPv4 address in /etc/nginx/slipway/nginx.conf:2'),
        ("access_log /data/a.log;", 'open() "/data/a.log" failed (30: Read-only file system)'),
        ("client_body_temp_path /etc/nginx/keys/x;", 'mkdir() "/etc/nginx/keys/x" failed (30: Read-only file system)'),
    ],
)  # fmt: skip
def test_what_a_pod_could_not_do_is_refused(
    rendered: Rendering, tmp_path: Path, line: str, refusal: str
) -> None:
    rewritten(rendered, tmp_path, f"pid /tmp/nginx.pid;\n{line}\n")
    assert rendered.refusals == [refusal]


# --- nginx itself


class Upstream:
    """Answers at once, or streams until it is told to end."""

    def __init__(self) -> None:
        self.port = free_port()
        self.go_on = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.endswith("/stream"):
            return web.json_response({"path": request.raw_path})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.go_on.wait()
        await response.write(b"data: last\n\n")
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    yield server
    server.go_on.set()
    await runner.cleanup()


def environment(folder: Path, *read_only: str) -> dict[str, str]:
    """A pod's: three volumes as the gateway has them."""
    for name in ("configuration", "keys", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    mounts = {"/etc/nginx/slipway": "configuration", "/etc/nginx/keys": "keys", "/tmp": "tmp"}  # noqa: S108
    return {
        "SLIPWAY_SANDBOX_HOSTS": str(folder / "hosts"),
        "SLIPWAY_SANDBOX_MOUNTS": json.dumps({path: str(folder / name) for path, name in mounts.items()}),
        "SLIPWAY_SANDBOX_READ_ONLY": json.dumps(read_only),
        "TMPDIR": str(folder / "scratch"),
    }


def arguments(folder: Path, text: str) -> list[str]:
    """Command-line arguments as the kubelet hands them over: with the mount's folder in them."""
    (folder / "scratch").mkdir(exist_ok=True)
    file = folder / "configuration" / "nginx.conf"
    file.write_text(text)
    return ["-c", str(file), "-g", "daemon off;"]


@pytest.fixture
async def gateway(launch: Launch, upstream: Upstream, tmp_path: Path) -> Pod:
    port = free_port()
    env = environment(tmp_path, "/")
    (tmp_path / "keys" / "a.map").write_text('"Bearer secret" 1;\n')
    (tmp_path / "hosts").write_text(f"127.0.0.1 {SERVICE}\n")
    text = CONFIG.format(port=port, upstream=upstream.port, service=SERVICE, places=PLACES)
    pod = launch("slipway_sandbox.images.nginx", arguments(tmp_path, text), port=port, env=env)
    return await asyncio.to_thread(pod.until_ready, "/healthz")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_requests_pass_with_a_key_only_and_are_logged(
    gateway: Pod, session: aiohttp.ClientSession
) -> None:
    async with session.get(gateway.url + "/v1/models") as refused:
        assert refused.status == 401
    async with session.get(gateway.url + "/v1/models?a=b", headers=KEY) as passed:
        assert (await passed.json())["path"] == "/v1/models?a=b"
        assert passed.headers["Server"].startswith("nginx")
    async with session.get(gateway.url + "/direct/models") as direct:
        assert (await direct.json())["path"] == "/v1/models"
    assert '127.0.0.1 "GET /v1/models HTTP/1.1" 401 -' in gateway.printed()


async def test_a_stream_passes_as_it_comes(
    gateway: Pod, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    async with session.get(gateway.url + "/v1/stream", headers=KEY) as response:
        assert await response.content.readany() == b"data: first\n\n"
        upstream.go_on.set()
        assert await response.read() == b"data: last\n\n"


async def test_sigquit_lets_a_stream_end(
    gateway: Pod, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    async with session.get(gateway.url + "/v1/stream", headers=KEY) as response:
        await response.content.readany()
        gateway.process.send_signal(signal.SIGQUIT)
        await closed(gateway)
        upstream.go_on.set()
        assert (await response.read()).endswith(b"data: last\n\n")
    assert await asyncio.to_thread(gateway.wait, 5) == 0


async def test_sigterm_breaks_a_stream(gateway: Pod, session: aiohttp.ClientSession) -> None:
    response = await session.get(gateway.url + "/v1/stream", headers=KEY)
    await response.content.readany()
    gateway.terminate()
    with pytest.raises(aiohttp.ClientError):
        await response.read()
    assert await asyncio.to_thread(gateway.wait, 5) == 0


async def test_nginx_s_quit_reaches_the_running_one_by_its_pid_file(gateway: Pod, tmp_path: Path) -> None:
    assert (tmp_path / "tmp" / "nginx.pid").read_text().strip() == str(gateway.process.pid)
    command = [sys.executable, "-m", "slipway_sandbox.images.nginx", "-s", "quit"]
    command += ["-c", str(tmp_path / "configuration" / "nginx.conf")]
    env = os.environ | environment(tmp_path, "/")
    sent = await asyncio.create_subprocess_exec(*command, env=env, cwd=REPOSITORY)
    assert await asyncio.wait_for(sent.wait(), 10) == 0
    assert await asyncio.to_thread(gateway.wait, 5) == 0


async def closed(gateway: Pod) -> None:
    """Wait until nothing listens at the gateway's port."""
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("events {}\nhttp {\n  bogus on;\n}\n", 'unknown directive "bogus" in {file}:3'),
        (
            f'events {{}}\nhttp {{\n{PLACES} map $http_x $y {{ "Bearer {"k" * 40}" 1; }} }}\n',
            "could not build map_hash, you should increase map_hash_bucket_size: 64",
        ),
        ("events {}\nhttp { }\n", 'mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)'),
        (f"events {{}}\nhttp {{ {PLACES} }}\n", 'open() "/run/nginx.pid" failed (30: Read-only file system)'),
        ("events {}\nhttp { upstream u { server nobody.svc:1; } }\n", 'host not found in upstream "nobody.svc:1" in '),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_run_ends_the_container_with_its_reason(
    launch: Launch, tmp_path: Path, text: str, said: str
) -> None:
    pod = launch(
        "slipway_sandbox.images.nginx",
        arguments_of(tmp_path, text),
        env=environment(tmp_path, "/"),
    )
    assert pod.wait() == 1
    copy = tmp_path / "scratch/nginx/configuration/etc/nginx/slipway/nginx.conf"
    assert "[emerg]" in pod.printed()
    assert said.format(file=copy) in pod.printed()
    assert "test failed" not in pod.printed()


def arguments_of(folder: Path, text: str) -> list[str]:
    environment(folder)
    return arguments(folder, text)


def test_an_image_with_its_own_root_may_write_it(launch: Launch, tmp_path: Path) -> None:
    port = free_port()
    text = f"events {{}}\nhttp {{ server {{ listen {port}; return 204; }} }}\n"
    pod = launch(
        "slipway_sandbox.images.nginx", arguments_of(tmp_path, text), port=port, env=environment(tmp_path)
    )
    pod.until_ready("/")
    assert (tmp_path / "scratch/nginx/root/run/nginx.pid").exists()
    assert (tmp_path / "scratch/nginx/root/var/cache/nginx/client_temp").is_dir()
