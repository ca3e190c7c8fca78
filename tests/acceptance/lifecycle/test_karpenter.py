"""Nodes come because pods ask: a deploy, load, idleness, a wake and a teardown in an environment with Karpenter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.commands import Done
from tests.support.project import Project, another_environment, edit

pytestmark = pytest.mark.long

MODEL, WORKLOAD, WHERE = "tiny-llama", "vllm-tiny-llama", "elastic"
CLUSTER, NAMESPACE = f"slipway-{WHERE}", f"llm-{WHERE}"
CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
TEARDOWN = ("teardown", "-e", WHERE, "--models", "delete", "--volumes", "delete")
PATIENCE = 180.0


@pytest.fixture(scope="module")
def deployed(project: Project) -> Iterator[Done]:
    """tiny-llama in an environment of its own: one replica, and room for two on nodes of one GPU."""
    another_environment(
        project, WHERE, {"provisioner": "karpenter", "max": 2, "consolidate_after": "6s"}
    )
    file = project.home / "models" / f"{MODEL}.yaml"
    before = file.read_text()
    edit(file, {"scaling": {"min_replicas": 1, "max_replicas": 2, "cooldown": "5s", "requests_per_replica": 2}})
    try:
        yield project.run("deploy", MODEL, "-e", WHERE).succeeded()
    finally:
        file.write_text(before)
        project.run(*TEARDOWN)


def get(project: Project, path: str, **query: str) -> Any:
    with project.sandbox.api(CLUSTER) as api:
        answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def gpu_nodes(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(project, "/api/v1/nodes", labelSelector="workload=inference-gpu")["items"]
    return found


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)


def test_the_node_was_made_for_a_pod(project: Project, deployed: Done) -> None:
    assert "asking Karpenter for nodes for 1 replica" in deployed.output
    (node,) = gpu_nodes(project)
    labels = node["metadata"]["labels"]
    assert labels["karpenter.sh/nodepool"] == "slipway-gpu"
    assert labels["node.kubernetes.io/instance-type"] == "g5.2xlarge"
    assert labels["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"
    assert [(t["key"], t["value"]) for t in node["spec"]["taints"]] == [("nvidia.com/gpu", "true")]
    groups = project.client("eks").list_nodegroups(clusterName=CLUSTER)["nodegroups"]
    assert groups == ["system"]


@pytest.mark.usefixtures("deployed")
def test_nothing_is_left_of_it(project: Project) -> None:
    assert "nothing is left" in project.run(*TEARDOWN).succeeded().output
    mine = [{"Name": "tag:slipway:environment", "Values": [WHERE]}]
    reservations = project.client("ec2").describe_instances(Filters=mine)["Reservations"]
    states = {i["State"]["Name"] for r in reservations for i in r["Instances"]}
    assert states == {"terminated"}
    assert "QueueUrls" not in project.client("sqs").list_queues()
    assert project.client("events").list_rules()["Rules"] == []
    assert project.client("iam").list_instance_profiles()["InstanceProfiles"] == []
