"""The DCGM exporter's page, from the files engines write."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import httpx

from slipway_sandbox.images.dcgm_exporter import Holder, gpu_uuid, page, read_gpus
from slipway_sandbox.loopback import free_port
from tests.images.conftest import Launch

ENTRY = {
    "namespace": "llm", "pod": "vllm-0", "container": "vllm", "gpu_util": 73, "fb_used_mib": 20000,
    "fb_total_mib": 23028, "gpus": 1,
}  # fmt: skip


def write(folder: Path, uid: str, **changes: object) -> Path:
    path = folder / f"{uid}.json"
    path.write_text(json.dumps(ENTRY | changes))
    return path


def test_a_pods_gpu_carries_its_labels_and_the_others_are_idle(tmp_path: Path) -> None:
    write(tmp_path, "u1")
    text = page(read_gpus(tmp_path, 2, 23028, {}, time.time()), "node-1", "NVIDIA-A10G")
    util = re.findall(
        r'^DCGM_FI_DEV_GPU_UTIL\{gpu="(\d)".*namespace="(\w*)",pod="([\w-]*)"\} (\d+)$', text, re.M
    )
    assert util == [("0", "llm", "vllm-0", "73"), ("1", "", "", "0")]
    assert re.findall(r"^DCGM_FI_DEV_FB_FREE.* (\d+)$", text, re.M) == ["3028", "23028"]


def test_the_gpu_a_pod_was_handed_is_the_one_that_shows_it(tmp_path: Path) -> None:
    write(tmp_path, "u1", devices=[gpu_uuid("node-1", 1)])
    assert [gpu.util for gpu in read_gpus(tmp_path, 2, 23028, {}, time.time())] == [0, 73]


def test_two_gpus_of_one_pod_are_two_series(tmp_path: Path) -> None:
    write(tmp_path, "u1", gpus=2)
    assert [gpu.util for gpu in read_gpus(tmp_path, 4, 23028, {}, time.time())] == [73, 73, 0, 0]


def test_what_a_killed_engine_left_behind_is_not_shown(tmp_path: Path) -> None:
    path = write(tmp_path, "u1")
    os.utime(path, (time.time() - 60, time.time() - 60))
    assert read_gpus(tmp_path, 1, 23028, {}, time.time())[0].used == 0


def test_the_api_names_the_pod_better_than_the_engine_can(tmp_path: Path) -> None:
    write(tmp_path, "u1", namespace="", pod="")
    holder = Holder("llm", "vllm-0", "vllm")
    assert read_gpus(tmp_path, 1, 23028, {"u1": holder}, time.time())[0].holder == holder


def test_the_program_serves_the_page_and_ends_on_sigterm(launch: Launch, tmp_path: Path) -> None:
    write(tmp_path, "u1")
    port = free_port()
    env = {
        "SLIPWAY_SANDBOX_GPU_DIR": str(tmp_path),
        "SLIPWAY_SANDBOX_NODE": "node-1",
        "NVIDIA_GPU_COUNT": "1",
    }
    pod = launch(
        "slipway_sandbox.images.dcgm_exporter", ["--address", f":{port}"], port=port, env=env
    ).until_ready()
    answer = httpx.get(pod.url + "/metrics", trust_env=False)
    assert f'UUID="{gpu_uuid("node-1", 0)}"' in answer.text
    assert 'modelName="NVIDIA A10G",Hostname="node-1"' in answer.text
    pod.terminate()
    assert pod.wait(5) == 0
