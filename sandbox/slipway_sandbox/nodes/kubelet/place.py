"""The environment every container of the sandbox gets: what tells a program where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slipway_sandbox.apiclient import Object
from slipway_sandbox.nodes.kubelet.node import NodeContext


def defaults(node: NodeContext, pod: Object) -> dict[str, str]:
    """What comes before a container's own environment, which may override it."""
    platform = node.platform
    package_root = Path(__file__).resolve().parents[3]
    return {
        "HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"],
        "PYTHONPATH": str(package_root),
        "KUBECONFIG": str(platform.kubeconfig),
        "AWS_ENDPOINT_URL": platform.settings.aws_url,
        "AWS_REGION": platform.settings.region,
        "AWS_DEFAULT_REGION": platform.settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",  # nothing but loopback is ever called
    }


def fixed(node: NodeContext, pod: Object, address: str, devices: Mapping[str, str]) -> dict[str, str]:
    """What no container may override: its place in the sandbox."""
    return {
        "SLIPWAY_SANDBOX_ROOT": str(node.platform.settings.root),
        "SLIPWAY_SANDBOX_CLUSTER": node.platform.cluster,
        "SLIPWAY_SANDBOX_POD_IP": address,
        "SLIPWAY_SANDBOX_POD_NAME": pod["metadata"]["name"],
        "SLIPWAY_SANDBOX_POD_NAMESPACE": pod["metadata"]["namespace"],
        "SLIPWAY_SANDBOX_POD_UID": pod["metadata"]["uid"],
        "SLIPWAY_SANDBOX_NODE": node.name,
        "SLIPWAY_SANDBOX_HOSTS": str(node.platform.hosts_file),
        "SLIPWAY_SANDBOX_GPU_DIR": str(node.gpu_folder),
        "SLIPWAY_SANDBOX_GPUS": str(node.working_gpus()),
        "SLIPWAY_SANDBOX_GPU_MEMORY_MIB": str(node.type.gpu_memory_mib),
        **devices,
    }
