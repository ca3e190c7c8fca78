"""Stand-in for NVIDIA's GPU feature discovery: labels its node with what its GPUs are, waits, ends on SIGTERM.

The real one writes a file that node-feature-discovery turns into labels; that one is not here. Names of the labels:
NVIDIA/k8s-device-plugin v0.19.3, docs/gpu-feature-discovery/README.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from slipway_sandbox.apiclient import ApiClient, Object
from slipway_sandbox.images.operator_pod import FORMAT, client_from_kubeconfig, until_told_to_end
from slipway_sandbox.nodes.instance_types import instance_type

log = logging.getLogger("gpu-feature-discovery")


def labels_of(node: Object, environment: Mapping[str, str]) -> dict[str, str]:
    """The node's GPU labels; none where the driver finds no GPU. Pure."""
    count = int(environment.get("SLIPWAY_SANDBOX_GPUS", "0"))
    if not count:
        return {}
    kind = instance_type(node["metadata"]["labels"]["node.kubernetes.io/instance-type"])
    return {
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.product": kind.gpu_product,
        "nvidia.com/gpu.memory": environment["SLIPWAY_SANDBOX_GPU_MEMORY_MIB"],
    }


async def label(client: ApiClient) -> None:
    """Label the node once, then wait for ever."""
    path = client.path("v1", "nodes", None, os.environ["NODE_NAME"])
    node = await client.request("GET", path)
    found = labels_of(node, os.environ)
    log.info("labels: %s", found or "no GPU was found")
    await client.patch(path, {"metadata": {"labels": found}})
    await asyncio.Event().wait()


async def _main() -> None:
    client = client_from_kubeconfig(Path(os.environ["KUBECONFIG"]))
    async with client:
        await until_told_to_end(label(client), log)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORMAT)
    asyncio.run(_main())
