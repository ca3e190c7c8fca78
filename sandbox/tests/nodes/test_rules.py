"""The kubelet's rules that are pure functions: phases, back-off, images, addresses, devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway_sandbox.images.table import image_id, resolve
from slipway_sandbox.kubernetes.defaults import qos_class
from slipway_sandbox.nodes.addresses import AddressesExhausted, AddressPool, Block
from slipway_sandbox.nodes.kubelet.backoff import Backoff
from slipway_sandbox.nodes.kubelet.devices import AdmissionRefused, DeviceManager
from slipway_sandbox.nodes.kubelet.status import ContainerState, phase


def state(kind: str, code: int = 0, *, before: bool = False) -> ContainerState:
    made = ContainerState("c", "i")
    made.state = {kind: {"exitCode": code}} if kind == "terminated" else {kind: {}}
    made.last_state = {"terminated": {"exitCode": 1}} if before else {}
    return made


RUNS, WAITS = state("running"), state("waiting")
DONE, FAILED, CRASHED = state("terminated"), state("terminated", 1), state("waiting", before=True)


@pytest.mark.parametrize(
    ("policy", "inits", "containers", "expected"),
    [
        ("Always", [], [WAITS], "Pending"),
        ("Always", [], [RUNS, WAITS], "Running"),
        ("Always", [], [CRASHED], "Running"),
        ("Always", [], [DONE], "Running"),
        ("OnFailure", [], [DONE], "Succeeded"),
        ("OnFailure", [], [FAILED], "Running"),
        ("Never", [], [DONE, FAILED], "Failed"),
        ("Never", [], [DONE, RUNS], "Running"),
        ("Never", [FAILED], [WAITS], "Failed"),
        ("Always", [RUNS], [WAITS], "Pending"),
        ("Always", [CRASHED], [WAITS], "Pending"),
    ],
)
def test_a_phase_follows_from_states_and_policy(
    policy: str, inits: list[ContainerState], containers: list[ContainerState], expected: str
) -> None:
    assert phase(policy, inits, containers) == expected


def test_crash_pauses_double_up_to_thirty_times_the_base_after_a_free_restart() -> None:
    backoff = Backoff(10, first_free=True)
    assert [backoff.pause() for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_long_good_run_forgets_the_pauses() -> None:
    backoff = Backoff(10, first_free=True)
    for _ in range(4):
        backoff.pause()
    assert backoff.pause(ran_for=600) == 0


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({k: {"cpu": "1", "memory": "1Gi"} for k in ("limits", "requests")}, "Guaranteed"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_the_qos_class_is_decided_by_cpu_and_memory(resources: dict[str, Any], expected: str) -> None:
    assert qos_class({"containers": [{"resources": resources}]}) == expected


@pytest.mark.parametrize(
    "image",
    [
        "vllm/vllm-openai",
        "vllm/vllm-openai:v0.11.0",
        "docker.io/vllm/vllm-openai:v0.11.0@sha256:" + "0" * 64,
        "nginx:1.29",
        "docker.io/library/nginx",
        "registry.k8s.io/pause:3.10",
        "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.0",
    ],
)
def test_any_tag_or_digest_of_a_known_image_resolves(image: str) -> None:
    assert resolve(image) is not None


@pytest.mark.parametrize("image", ["vllm/vllm", "localhost:5000/nginx", "evil.io/vllm/vllm-openai", ""])
def test_other_images_are_unknown(image: str) -> None:
    assert resolve(image) is None


def test_an_image_id_keeps_the_digest_asked_for() -> None:
    assert image_id("nginx:1@sha256:abc") == "nginx@sha256:abc"
    assert image_id("nginx:1") != image_id("nginx:2")


def test_command_and_args_replace_entrypoint_and_cmd_as_the_api_says() -> None:
    image = resolve("nginx")
    assert image is not None
    assert image.argv(None, None) == ["nginx", "-g", "daemon off;"]
    assert image.argv(None, ["-t"]) == ["nginx", "-t"]
    assert image.argv(["sh"], None) == ["sh"]


def test_shims_give_a_shell_the_images_programs(tmp_path: Path) -> None:
    image = resolve("vllm/vllm-openai")
    assert image is not None
    shims = image.shims(tmp_path)
    assert {"python3", "vllm", "sh"} <= {path.name for path in shims.iterdir()}


def test_a_freed_address_comes_last_again() -> None:
    pool = AddressPool("127.9")
    first = pool.take(Block.PODS)
    pool.release(first)
    assert pool.take(Block.PODS) != first
    assert first == "127.9.1.1"


def test_a_block_of_addresses_ends() -> None:
    pool = AddressPool("127.9")
    taken = {pool.take(Block.KUBELETS) for _ in range(4 * 254)}
    assert len(taken) == 4 * 254
    with pytest.raises(AddressesExhausted):
        pool.take(Block.KUBELETS)


def test_a_gpu_belongs_to_one_pod_until_it_is_released() -> None:
    def wants(uid: str, count: int) -> dict[str, Any]:
        limits = {"limits": {"nvidia.com/gpu": str(count)}}
        return {"metadata": {"uid": uid}, "spec": {"containers": [{"resources": limits}]}}

    devices = DeviceManager("node", lambda: 2)
    one = devices.admit(wants("a", 1))["NVIDIA_VISIBLE_DEVICES"]
    with pytest.raises(AdmissionRefused, match="Requested: 2, Available: 1"):
        devices.admit(wants("b", 2))
    two = devices.admit(wants("b", 1))["NVIDIA_VISIBLE_DEVICES"]
    assert one != two
    devices.release("a")
    assert devices.admit(wants("c", 1))["NVIDIA_VISIBLE_DEVICES"] == one
