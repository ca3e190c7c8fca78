from __future__ import annotations

from typing import Any

import pytest

from tasks.preflight.manifests import disagreements, hygiene, tolerates
from tasks.records.gpu_nodes import Taint
from tests.support.builders import an_environment

TAINT = Taint(key="nvidia.com/gpu", value="true", effect="NoSchedule")
RIGHT: dict[str, Any] = {
    "key": "nvidia.com/gpu",
    "operator": "Equal",
    "value": "true",
    "effect": "NoSchedule",
}


def workload(pod: dict[str, Any], gpu: bool = True) -> dict[str, Any]:
    container = {"name": "c"} | ({"resources": {"limits": {"nvidia.com/gpu": "1"}}} if gpu else {})
    spec = {"containers": [container], "nodeSelector": {"workload": "inference-gpu"}, "tolerations": [RIGHT]}
    template = {"spec": spec | pod}
    return {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": template}}


@pytest.mark.parametrize(
    ("toleration", "matches"),
    [
        (RIGHT, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),  # every effect
        ({"operator": "Exists"}, True),  # everything
        ({"key": "nvidia.com/gpu", "value": "true"}, True),  # Equal is the default
        (RIGHT | {"value": "false"}, False),
        (RIGHT | {"key": "nvidia.com/mig"}, False),
        (RIGHT | {"effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpu", "effect": "NoSchedule"}, False),  # the value "" is not "true"
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_toleration_matches_as_kubernetes_says(toleration: dict[str, Any], matches: bool) -> None:
    assert tolerates(toleration, TAINT) is matches


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        ({"nodeSelector": {}}, "no nodeSelector"),
        ({"nodeSelector": {"workload": "gpu"}}, "nodeSelector workload=gpu matches no GPU node"),
        ({"nodeSelector": {"pool": "inference-gpu"}}, "nodeSelector pool=inference-gpu"),
        ({"tolerations": []}, "is not tolerated"),
        ({"tolerations": [RIGHT | {"value": "false"}]}, "is not tolerated"),
        ({"tolerations": None}, "is not tolerated"),
    ],
)
def test_what_would_keep_a_gpu_pod_pending_is_found(pod: dict[str, Any], problem: str) -> None:
    found = disagreements([workload(pod)], an_environment())
    assert any(problem in line for line in found)
    assert all(line.startswith("Deployment x: ") for line in found)


def test_a_pod_that_agrees_with_the_nodes_is_fine() -> None:
    assert (
        disagreements([workload({}), {"kind": "Service", "metadata": {"name": "s"}}], an_environment()) == []
    )


def test_a_pod_without_gpu_may_run_anywhere() -> None:
    assert (
        disagreements([workload({"nodeSelector": {}, "tolerations": []}, gpu=False)], an_environment()) == []
    )


def test_another_label_in_the_environment_shows() -> None:
    environment = an_environment(cluster={"gpu": {"label_value": "a10g"}})
    assert disagreements([workload({})], environment)


@pytest.mark.parametrize(
    ("variable", "clean"),
    [
        ({"name": "HF_TOKEN", "value": "hf_x"}, False),
        ({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, False),
        ({"name": "VLLM_API_KEY", "value": "sk-1"}, False),
        ({"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, True),
        ({"name": "DB_PASSWORD", "value": "x"}, False),
        ({"name": "HF_HUB_OFFLINE", "value": "1"}, True),
        ({"name": "TOKENIZERS_PARALLELISM", "value": "false"}, True),
        ({"name": "MAX_TOKENS", "value": "5"}, True),
    ],
)
def test_no_secret_is_written_out(variable: dict[str, Any], clean: bool) -> None:
    assert (hygiene({"containers": [{"name": "c", "env": [variable]}]}) == []) is clean


@pytest.mark.parametrize(
    ("probes", "clean"),
    [
        ({"livenessProbe": {}}, False),
        ({"livenessProbe": {}, "startupProbe": {}}, True),
        ({"readinessProbe": {}}, True),
    ],
)
def test_a_liveness_probe_may_not_kill_a_load(probes: dict[str, Any], clean: bool) -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    assert (hygiene({"containers": [{"name": "c", **gpu, **probes}]}) == []) is clean
