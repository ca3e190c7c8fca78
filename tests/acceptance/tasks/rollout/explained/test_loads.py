"""A container that does not start, or does not load the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from slipway_sandbox.testing import Faults

from tests.support.gated import GatedRelease, told

Make = Callable[..., GatedRelease]
pytestmark = pytest.mark.timeout(240)


def test_the_image_does_not_exist(release: Make, faults: Faults) -> None:
    # one that no earlier release has pulled onto the node
    image = "vllm/vllm-openai:v0.31.0"
    faults.set("image-not-found", target=image)
    failure = release(engine={"image": image}).failure()
    assert failure.cause.startswith("the image cannot be pulled: the registry does not have it")
    assert image in told(failure)


def test_the_gpus_memory_is_too_small(release: Make, faults: Faults) -> None:
    faults.set("engine-oom")
    failure = release().failure()
    assert failure.cause == "the GPU has too little memory for the weights and flags"
    assert "CUDA out of memory" in told(failure)


def test_the_hosts_memory_is_too_small(release: Make, faults: Faults) -> None:
    faults.set("engine-slow-load", value=20)
    faults.set("pod-oom-killed", target="vllm-*")
    failure = release().failure()
    assert failure.cause == "the container was killed: its memory limit is too small to load the model"
    assert "OOMKilled exit 137" in told(failure)


def test_a_flag_is_unknown_to_the_image(release: Make) -> None:
    failure = release(engine={"extra_args": ["--enable-magic"]}).failure()
    assert failure.cause == "vLLM does not know a flag it was given: --enable-magic"
    assert "unrecognized arguments: --enable-magic" in told(failure)


def test_the_weights_are_not_on_the_volume(release: Make) -> None:
    one = release()
    one.container["args"][0] = "/models/not-there"
    failure = one.failure()
    assert failure.cause.startswith("the model's folder"), told(failure)
    assert "not-there" in told(failure)


def test_a_gated_repo_is_asked_for_at_serving_time(release: Make) -> None:
    one = release()
    one.container["args"][0] = "meta-llama/Llama-3.1-8B-Instruct"
    failure = one.failure()
    assert failure.cause.startswith("vLLM tried to reach the hub")


def test_a_probe_kills_a_load_in_progress(release: Make, faults: Faults) -> None:
    faults.set("engine-slow-load", value=60)
    one = release()
    one.container["startupProbe"] |= {"periodSeconds": 1, "failureThreshold": 2}
    failure = one.failure()
    assert failure.cause == "the start-up probe's budget ended while the model was still loading"


def test_a_load_is_slower_than_its_budget(release: Make, faults: Faults) -> None:
    faults.set("engine-slow-load", value=60)
    failure = release().failure(seconds=6.0)
    assert failure.cause == "the model is still loading at the end of its start-up budget"
    assert "cold_read_mib_s" in str(failure.next_command)


def test_vllm_dies_while_it_loads(release: Make, faults: Faults) -> None:
    faults.set("engine-crash")
    failure = release().failure()
    assert failure.cause == "a CUDA kernel failed"
    assert "CUDA error: an illegal memory access" in told(failure)
