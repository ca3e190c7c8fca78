"""Stand-in for NVIDIA's DCGM exporter: one series per GPU of the node, labelled with the pod that holds it.

Reads the files the engines write, so it exports utilisation and framebuffer only. Names, help and labels follow dcgm-exporter 4
(`default-counters.csv`, with `--kubernetes`); the pod labels are empty while no pod holds the GPU.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from slipway_sandbox.apiclient import ApiClient, ApiError
from slipway_sandbox.images.prometheus.watch import read_kubeconfig

PORT: Final = 9400
STALE_SECONDS: Final = (
    5.0  # seconds; an engine writes twice a second, and one that was killed leaves its file behind
)
POD_SECONDS: Final = 2.0  # seconds until the node's pods are read again
DEFAULT_MEMORY_MIB: Final = 23028
DEFAULT_PRODUCT: Final = "NVIDIA-A10G"
GPU: Final = "nvidia.com/gpu"
FAMILIES: Final[Sequence[tuple[str, str]]] = (
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)."),
)


@dataclass(frozen=True)
class Holder:
    """The container a GPU belongs to."""

    namespace: str = ""
    pod: str = ""
    container: str = ""


@dataclass(frozen=True)
class Reading:
    """One GPU now. Percent and MiB."""

    util: int
    used: int
    total: int
    holder: Holder


def gpu_uuid(node: str, index: int) -> str:
    """The device id the kubelet allocates for the node's GPU of that index."""
    digits = node.encode().hex()[-20:].rjust(20, "0")
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{index:012x}"


def read_gpus(
    folder: Path, count: int, memory_mib: int, holders: Mapping[str, Holder], now: float
) -> list[Reading]:
    """Readings of the node's GPUs by index; a GPU no pod writes about in `folder` is idle. `now` is in epoch seconds."""
    readings = [Reading(0, 0, memory_mib, Holder())] * count
    for path in sorted(folder.glob("*.json")):
        try:
            written, text = path.stat().st_mtime, path.read_text("utf-8")
        except FileNotFoundError:
            continue  # the pod ended between the listing and the reading
        if now - written > STALE_SECONDS:
            continue
        entry: dict[str, Any] = json.loads(text)
        holder = holders.get(path.stem) or Holder(entry["namespace"], entry["pod"], entry["container"])
        reading = Reading(entry["gpu_util"], entry["fb_used_mib"], entry["fb_total_mib"], holder)
        for index in _indices(entry, readings):
            readings[index] = reading
    return readings


def _indices(entry: Mapping[str, Any], readings: Sequence[Reading]) -> list[int]:
    """Indices of the GPUs a pod holds: the ones allocated to it, else the first free ones."""
    devices: list[str] = entry.get("devices") or []
    if devices and all(device.startswith("GPU-") for device in devices):
        held = [int(device.rpartition("-")[2], 16) for device in devices]
        return [index for index in held if index < len(readings)]
    free = [index for index, reading in enumerate(readings) if reading.holder == Holder()]
    return free[: int(entry.get("gpus", 1))]


def page(readings: Sequence[Reading], node: str, product: str) -> str:
    """Render the readings in Prometheus's text format."""
    lines: list[str] = []
    for name, text in FAMILIES:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for index, gpu in enumerate(readings):
            value = {
                "DCGM_FI_DEV_GPU_UTIL": gpu.util,
                "DCGM_FI_DEV_FB_FREE": gpu.total - gpu.used,
                "DCGM_FI_DEV_FB_USED": gpu.used,
            }[name]
            labels = (
                f'gpu="{index}",UUID="{gpu_uuid(node, index)}",pci_bus_id="00000000:00:{0x1E + index:02X}.0",'
                f'device="nvidia{index}",modelName="{product.replace("-", " ")}",Hostname="{node}",'
                f'container="{gpu.holder.container}",namespace="{gpu.holder.namespace}",pod="{gpu.holder.pod}"'
            )
            lines.append(f"{name}{{{labels}}} {value}")
    return "\n".join([*lines, ""])


class Node:
    """This node in the Kubernetes API: its GPU count and product, and the pod that holds each GPU."""

    def __init__(
        self, name: str, kubeconfig: Path | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self._kubeconfig, self._clock = name, kubeconfig, clock
        self._asked = -POD_SECONDS
        self.gpus = 0
        self.product = DEFAULT_PRODUCT
        self.holders: dict[str, Holder] = {}

    async def refresh(self) -> None:
        """Refresh from the API once the last answer is old; keep it while the API cannot be reached."""
        if self._kubeconfig is None or self._clock() - self._asked < POD_SECONDS:
            return
        self._asked = self._clock()
        try:
            async with asyncio.timeout(POD_SECONDS), read_kubeconfig(self._kubeconfig).client() as client:
                await self._ask(client)
        except (ApiError, aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            print(
                f'level=WARN msg="Failed to transform metrics for transform podMapper; {error!r}"',
                file=sys.stderr,
            )

    async def _ask(self, client: ApiClient) -> None:
        node = await client.get(client.path("v1", "nodes", name=self.name))
        if node:
            self.gpus = int(node.get("status", {}).get("capacity", {}).get(GPU, "0"))
            self.product = node["metadata"].get("labels", {}).get("nvidia.com/gpu.product", DEFAULT_PRODUCT)
        pods = await client.list(client.path("v1", "pods"), fieldSelector=f"spec.nodeName={self.name}")
        self.holders = {pod["metadata"]["uid"]: _holder(pod) for pod in pods}


def _holder(pod: dict[str, Any]) -> Holder:
    containers = pod["spec"]["containers"]
    asking = (c for c in containers if GPU in ((c.get("resources") or {}).get("limits") or {}))
    container = next(asking, containers[0])["name"]
    return Holder(pod["metadata"].get("namespace", ""), pod["metadata"]["name"], container)


def make_app(node: Node, folder: Path, environment: Mapping[str, str]) -> web.Application:
    """Serve `/metrics` and `/health`. GPU count: NVIDIA_GPU_COUNT, else the kubelet's, else the node object's."""
    declared = environment.get("NVIDIA_GPU_COUNT") or environment.get("SLIPWAY_SANDBOX_GPUS")
    memory = int(environment.get("SLIPWAY_SANDBOX_GPU_MEMORY_MIB", DEFAULT_MEMORY_MIB))

    async def metrics(_: web.Request) -> web.Response:
        await node.refresh()
        count = int(declared) if declared else node.gpus
        text = page(read_gpus(folder, count, memory, node.holders, time.time()), node.name, node.product)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    return app


async def serve(address: str, port: int, app: web.Application) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port, reuse_address=True).start()
    print(f'level=INFO msg="Starting webserver" address=:{port}', flush=True)
    await ended.wait()
    print('level=INFO msg="Exiting"', flush=True)
    await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(prog="dcgm-exporter")
    parser.add_argument("-a", "--address", default=os.environ.get("DCGM_EXPORTER_LISTEN", f":{PORT}"))
    parser.add_argument("-f", "--collectors", default=os.environ.get("DCGM_EXPORTER_COLLECTORS"))
    parser.add_argument("-k", "--kubernetes", action="store_true")
    parser.add_argument("-c", "--collect-interval", type=int, default=30000)
    args = parser.parse_args()
    kubeconfig = os.environ.get("KUBECONFIG")
    name = os.environ.get("SLIPWAY_SANDBOX_NODE") or os.environ.get("NODE_NAME", "")
    node = Node(name, Path(kubeconfig) if kubeconfig else None)
    app = make_app(node, Path(os.environ["SLIPWAY_SANDBOX_GPU_DIR"]), os.environ)
    address = os.environ.get("SLIPWAY_SANDBOX_POD_IP", "127.0.0.1")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(address, int(args.address.rpartition(":")[2]), app))
    return 0


if __name__ == "__main__":
    sys.exit(main())
