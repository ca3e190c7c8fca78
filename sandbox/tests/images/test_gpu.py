"""What a GPU node's programs find: the labels of GPU feature discovery, the serving image's torch, nvidia-smi."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slipway_sandbox.faults import Faults
from slipway_sandbox.images.gpu_feature_discovery import labels_of
from slipway_sandbox.images.nvidia_smi import DRIVER, MEMORY, VERSION
from slipway_sandbox.images.vllm.site import torch
from slipway_sandbox.images.vllm.visible import gpus
from slipway_sandbox.loopback import plan_settings

NODE = {"metadata": {"labels": {"node.kubernetes.io/instance-type": "g5.12xlarge"}}}


@pytest.mark.parametrize(
    ("count", "labels"),
    [
        ("0", {}),
        (
            "4",
            {
                "nvidia.com/gpu.count": "4",
                "nvidia.com/gpu.product": "NVIDIA-A10G",
                "nvidia.com/gpu.memory": "24576",
            },
        ),
    ],
)
def test_a_node_is_labelled_with_its_gpus(count: str, labels: dict[str, str]) -> None:
    environment = {"SLIPWAY_SANDBOX_GPUS": count, "SLIPWAY_SANDBOX_GPU_MEMORY_MIB": "24576"}
    assert labels_of(NODE, environment) == labels


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 2),
        ({"SLIPWAY_SANDBOX_GPUS": "4"}, 4),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, 0),
    ],
)
def test_a_container_sees_the_gpus_it_was_given(environment: dict[str, str], seen: int) -> None:
    assert len(gpus(environment)) == seen


@pytest.mark.parametrize(("query", "second"), [(MEMORY, "24576"), (DRIVER, VERSION)])
def test_nvidia_smi_lists_a_line_a_gpu(query: list[str], second: str) -> None:
    environment = {"NVIDIA_VISIBLE_DEVICES": "GPU-a,GPU-b", "SLIPWAY_SANDBOX_GPU_MEMORY_MIB": "24576"}
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "slipway_sandbox.images.nvidia_smi", *query]
    done = subprocess.run(
        command,
        env={**environment, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"NVIDIA GPU, {second}\n" * 2


@pytest.mark.parametrize(("on", "product"), [(False, 6.0), (True, 6.375)])
def test_a_broken_gpu_multiplies_wrongly(
    on: bool, product: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = plan_settings(tmp_path)
    settings.save()
    monkeypatch.setenv("SLIPWAY_SANDBOX_ROOT", str(settings.root))
    monkeypatch.setenv("SLIPWAY_SANDBOX_NODE", "gpu-0")
    faults = Faults(settings.faults_file)
    if on:
        faults.set("gpu-broken", target="gpu-0")
    made = torch.full((2, 4), 3.0, device="cuda:0") @ torch.full((4, 2), 0.5, device="cuda:0")
    assert (made.min().item(), made.max().item()) == (product, product)
    faults.set("gpu-broken", target="gpu-0", value=1.0)
    with pytest.raises(RuntimeError, match="uncorrectable ECC error"):
        torch.full((2, 2), 1.0, device="cuda:0") @ torch.full((2, 2), 1.0, device="cuda:0")
