"""What one API server of the sandbox does under a cluster's load: long lists, many watchers.

    python sandbox/bench/control_plane.py [--objects 2000] [--watchers 200] [--rounds 5] [--json FILE]

It starts one server in a process of its own and asks it over TLS, as every client does. Times are of this machine, with
nothing else running.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

PROJECT = Path(__file__).resolve().parents[1]
TOKEN = "bench"
NAMESPACE = "/api/v1/namespaces/default"


@dataclass(frozen=True)
class Server:
    pid: int
    url: str
    trust: ssl.SSLContext

    def cpu_seconds(self) -> float:
        """What it has used so far, from /proc/PID/stat."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """One API server in a process of its own, ended on the way out."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        command = [
            sys.executable,
            "-m",
            "slipway_sandbox.kubernetes",
            "--token",
            TOKEN,
            "--kubeconfig",
            str(kubeconfig),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
                ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
                yield Server(process.pid, cluster["server"], ssl.create_default_context(cadata=ca))
            finally:
                process.terminate()


@contextlib.asynccontextmanager
async def session_to(target: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        target.url,
        headers={"Authorization": f"Bearer {TOKEN}"},
        connector=aiohttp.TCPConnector(ssl=target.trust, limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        read_bufsize=1 << 20,
    ) as session:
        yield session


def pod(name: str) -> dict[str, Any]:
    """A pod as a Deployment of the product makes it, in size."""
    probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 5}
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "args": ["--model", "/models/m", "--served-model-name", "m", "--max-model-len", "8192"],
        "ports": [{"name": "http", "containerPort": 8000}],
        "env": [{"name": f"VARIABLE_{n}", "value": str(n)} for n in range(8)],
        "resources": {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"nvidia.com/gpu": "1"}},
        "readinessProbe": probe,
        "livenessProbe": probe,
    }
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": {"containers": [container]}}


async def call(session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Any:
    async with session.request(method, path, **options) as response:
        answer = await response.json(loads=json.loads)
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer}")
        return answer


async def fill(session: aiohttp.ClientSession, count: int) -> None:
    waiting = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        async with waiting:
            await call(session, "POST", f"{NAMESPACE}/pods", json=pod(f"pod-{number:05d}"))

    await asyncio.gather(*map(make, range(count)))


async def list_bytes(session: aiohttp.ClientSession) -> int:
    """The whole list, read as bytes: a client's parsing is not the server's time."""
    async with session.get(f"{NAMESPACE}/pods") as response:
        return len(await response.read())


class Watcher:
    """Follows one pod; `arrived` holds when each of its annotations was seen."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self._session, self._name = session, name
        self.ready = asyncio.Event()
        self.arrived: dict[str, float] = {}

    async def run(self) -> None:
        query = {"watch": "true", "fieldSelector": f"metadata.name={self._name}"}
        async with self._session.get(f"{NAMESPACE}/pods", params=query) as response:
            async for line in response.content:
                seen = time.monotonic()
                annotations = json.loads(line)["object"]["metadata"].get("annotations") or {}
                self.ready.set()
                if "round" in annotations:
                    self.arrived.setdefault(annotations["round"], seen)


async def watch_delays(session: aiohttp.ClientSession, watchers: int, rounds: int) -> list[float]:
    """Seconds from the answer to a patch being asked for to its event's arrival, one a watched pod and round."""
    names = [f"pod-{n:05d}" for n in range(watchers)]
    following = [Watcher(session, name) for name in names]
    tasks = [asyncio.create_task(watcher.run()) for watcher in following]
    delays: list[float] = []
    try:
        await asyncio.wait_for(asyncio.gather(*(w.ready.wait() for w in following)), 60)
        for number in range(rounds):
            for name, watcher in zip(names, following, strict=True):
                body = json.dumps({"metadata": {"annotations": {"round": str(number)}}})
                headers = {"Content-Type": "application/merge-patch+json"}
                began = time.monotonic()
                await call(session, "PATCH", f"{NAMESPACE}/pods/{name}", data=body, headers=headers)
                while str(number) not in watcher.arrived:
                    if time.monotonic() - began > 10:
                        raise SystemExit(f"no event for {name} within 10 s")
                    await asyncio.sleep(0)
                delays.append(watcher.arrived[str(number)] - began)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return delays


async def measure(target: Server, objects: int, watchers: int, rounds: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    async with session_to(target) as session:
        began = time.monotonic()
        await fill(session, objects)
        figures["create_ms_each"] = [(time.monotonic() - began) * 1000 / objects]
        for _ in range(rounds):
            began = time.monotonic()
            await list_bytes(session)
            figures.setdefault("list_ms", []).append((time.monotonic() - began) * 1000)
        before, began = target.cpu_seconds(), time.monotonic()
        delays = await watch_delays(session, watchers, rounds)
        figures["event_ms"] = [delay * 1000 for delay in delays]
        figures["event_p99_ms"] = [statistics.quantiles(figures["event_ms"], n=100)[98]]
        figures["server_cpu_while_watched"] = [(target.cpu_seconds() - before) / (time.monotonic() - began)]
        figures["server_rss_mib"] = [target.rss_mib()]
    return figures


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python sandbox/bench/control_plane.py", description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with server() as target:
        figures = asyncio.run(measure(target, given.objects, given.watchers, given.rounds))
    summary = {name: spread(values) for name, values in figures.items()}
    print(f"{given.objects} pods, {given.watchers} of them watched, {given.rounds} rounds")
    for name, found in summary.items():
        print(f"{name:<26} median {found['median']:8.2f}   min {found['min']:8.2f}   max {found['max']:8.2f}")
    if given.json:
        given.json.write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
