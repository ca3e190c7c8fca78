"""Drills: promises that are kept are seen to act; those that would not be, while everything looks healthy, are found with their cause.

Each fault is a patch of a live object, as somebody's kubectl does it, and is taken back afterwards. All of them share one deploy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "drilled"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
BROKEN = 4
MERGE = "application/merge-patch+json"
OURS = f"/apis/{{}}/namespaces/{NAMESPACE}"
SCALED = OURS.format("keda.sh/v1alpha1") + f"/scaledobjects/{WORKLOAD}"
MONITOR = OURS.format("monitoring.coreos.com/v1") + "/podmonitors/vllm"
HPAS = OURS.format("autoscaling/v2") + "/horizontalpodautoscalers"
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{WORKLOAD}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
POOL = "/apis/karpenter.sh/v1/nodepools/slipway-gpu"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """tiny-llama in an environment with Karpenter: one replica on a node of one GPU, and room for two."""
    gpu = {"provisioner": "karpenter", "max": 2, "consolidate_after": "5s"}
    another_environment(project, WHERE, gpu, deadlines=DEADLINES)
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    scaling = {"min_replicas": 1, "max_replicas": 2, "cooldown": "5s", "requests_per_replica": 2}
    edit(file, {"scaling": scaling})
    try:
        yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    finally:
        file.write_text(before)
        if CLUSTER in project.client("eks").list_clusters()["clusters"]:
            project.run(*TEARDOWN)


# a fault is waited for this long: no longer than what is healthy needs here on a busy machine
DEADLINES = {
    "terraform": "15m",
    "node_boot": "40s",
    "addon": "60s",
    "volume_bind": "30s",
    "pod_start": "40s",
    "image_pull_mib_s": 1000,
    "drain": "30s",
    "gateway": "15s",
}


def request(
    project: Project, method: str, path: str, body: Any = None, kind: str = "application/json"
) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.request(method, path, json=body, headers={"Content-Type": kind})
    answer.raise_for_status()
    return answer.json()


def drill(project: Project, *words: str) -> Done:
    return project.run("drill", MODEL, "-e", WHERE, *words)


def test_what_is_promised_is_seen_to_act_and_dated(project: Project, deployed: Done) -> None:
    before = project.run("status", "-e", WHERE).succeeded().output
    assert "scale-out: UNPROVEN: never seen to act" in before
    done = drill(project).succeeded()
    assert f"{MODEL} in {WHERE}: scale-out: kept" in done.output
    assert f"{MODEL} in {WHERE}: scale-in: kept" in done.output
    assert re.search(r"\d s  it answers requests$", done.output, re.MULTILINE)
    assert re.search(r"\d s  its node is gone$", done.output, re.MULTILINE)
    after = project.run("status", "-e", WHERE).succeeded().output
    assert re.search(r"^  scale-out: last seen to act 20\d\d-", after, re.MULTILINE)
    assert re.search(r"^  scale-in: last seen to act 20\d\d-", after, re.MULTILINE)
