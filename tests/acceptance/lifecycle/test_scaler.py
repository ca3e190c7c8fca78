"""A deploy with room to scale passes its gate only where KEDA's HPA reads the demand and scales alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.commands import Done
from tests.support.project import ENVIRONMENT, Project, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD = "tiny-llama", "vllm-tiny-llama"
HPAS = "/apis/autoscaling/v2/namespaces/llm/horizontalpodautoscalers"
SCALED = f"/apis/keda.sh/v1alpha1/namespaces/llm/scaledobjects/{WORKLOAD}"
PAUSED = "autoscaling.keda.sh/paused"


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """A deploy of tiny-llama with one replica, and room for two."""
    project.serve()
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, {"scaling": {"min_replicas": 1, "max_replicas": 2}})
    try:
        yield project.deploy().succeeded()
    finally:
        file.write_text(before)


def test_the_hpa_reads_the_demand_before_the_release_is_proven(project: Project, deployed: Done) -> None:
    assert "its HPA reads the demand, 1 to 2 replicas" in deployed.output
    hpa = project.get(f"{HPAS}/keda-hpa-{WORKLOAD}")
    assert hpa["spec"]["behavior"]["scaleUp"]["policies"] == [
        {"type": "Pods", "value": 4, "periodSeconds": 15}
    ]
    assert hpa["status"]["currentMetrics"][0]["external"]["current"]["averageValue"]


@pytest.mark.usefixtures("deployed")
def test_status_tells_measured_numbers_from_defaults(project: Project) -> None:
    said = project.run("status", "-e", ENVIRONMENT).succeeded().output
    assert "scaling.requests_per_replica 16: default" in said
    assert "engine.max_num_seqs 32: given" in said


@pytest.mark.usefixtures("deployed")
def test_a_second_scaler_fails_the_gate(project: Project) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": WORKLOAD}
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-cpu"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 2},
    }
    project.send("POST", HPAS, body)
    try:
        refused = project.deploy()
    finally:
        project.send("DELETE", f"{HPAS}/by-cpu", None)
    assert refused.code != 0
    assert f"by-cpu scales the Deployment {WORKLOAD} beside KEDA" in refused.output
    assert project.complete()


@pytest.mark.usefixtures("deployed")
def test_a_paused_scaled_object_fails_the_gate(project: Project) -> None:
    def pause(value: str | None) -> None:
        body = {"metadata": {"annotations": {PAUSED: value}}}
        project.send("PATCH", SCALED, body, "application/merge-patch+json")

    pause("true")
    try:
        refused = project.deploy()
    finally:
        pause(None)
    assert refused.code != 0
    assert f"the ScaledObject {WORKLOAD} is paused by {PAUSED}" in refused.output
    assert project.complete()
